//! `memtrain world`: the fictional encyclopedia as a dump.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::store;
use memtrain_corpora::world::{self, WorldConfig};

use super::counts::count;
use super::print::print_line;
use super::written::written_path;

/// Arguments of `memtrain world`.
#[derive(Debug, Args)]
pub struct WorldArgs {
    /// Dump to write, bz2-compressed MediaWiki XML
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: PathBuf,
    /// Articles
    #[arg(long, default_value_t = WorldConfig::default().num_pages, value_parser = count::<u64>)]
    pub pages: u64,
    /// Pages as long as real articles, for measurements
    #[arg(long)]
    pub long: bool,
    /// The same seed gives the same encyclopedia
    #[arg(long, default_value_t = WorldConfig::default().seed)]
    pub seed: u64,
}

/// Writes the dump and says what is in it.
///
/// # Errors
/// If the file cannot be written.
pub fn run(args: &WorldArgs) -> anyhow::Result<()> {
    let config = match args.long {
        true => WorldConfig::long_pages(args.seed, args.pages),
        false => WorldConfig { seed: args.seed, num_pages: args.pages, ..WorldConfig::default() },
    };
    store::check_file(&args.out, world::is_dump)?;
    let summary = world::write_dump(&args.out, &config)?;
    print_line!("{summary}")?;
    Ok(())
}
