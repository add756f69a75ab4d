//! `memtrain eval compare`.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::store;

use super::super::written::written_path;
use super::{check_out, with_hint};
use crate::cli::counts::held;
use crate::cli::failure::Usage;
use crate::cli::print::print_line;
use crate::eval::compare::{CompareConfig, Comparison, compare, table};
use crate::eval::record::load;

/// Arguments of `memtrain eval compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folder of the first evaluation
    pub a: PathBuf,
    /// Folder of the second; the first itself, to compare two methods of one evaluation
    pub b: PathBuf,
    /// Compare this method of A …
    #[arg(long, value_name = "NAME", requires = "method_b")]
    pub method_a: Option<String>,
    /// … with this method of B [default: each with itself]
    #[arg(long, value_name = "NAME", requires = "method_a")]
    pub method_b: Option<String>,
    /// Draws of the bootstrap
    #[arg(long, value_name = "N", default_value_t = CompareConfig::default().resamples, value_parser = held)]
    pub resamples: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write the comparison as JSON
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Compares and prints.
///
/// # Errors
/// If a folder is no evaluation, or they have nothing in common.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    check_out::<Comparison>(args.out.as_deref())?;
    let ((note_a, a), (note_b, b)) = (with_hint(load(&args.a))?, with_hint(load(&args.b))?);
    if note_a.benchmark != note_b.benchmark {
        let wrong = format!("`{}` and `{}` cannot be compared", note_a.benchmark, note_b.benchmark);
        return Err(Usage(wrong).into());
    }
    if note_a.settings.get("tasks") != note_b.settings.get("tasks") {
        tracing::warn!("the two evaluations have read different task tables; items of the same name are paired");
    }
    if note_a.settings.get("answerer") != note_b.settings.get("answerer") {
        tracing::warn!("the banks of the two evaluations were read by different answerers");
    }
    let methods = args.method_a.clone().zip(args.method_b.clone());
    let config = CompareConfig { resamples: args.resamples, seed: args.seed, methods };
    let comparison = compare(&a, &b, &config).map_err(|wrong| anyhow::anyhow!(wrong))?;
    if comparison.only_in_a + comparison.only_in_b > 0 {
        let (a, b) = (comparison.only_in_a, comparison.only_in_b);
        tracing::warn!("left out because the other has them not: {a} items of A, {b} of B");
    }
    if let Some(path) = &args.out {
        store::write_json(path, &comparison)?;
    }
    if args.json {
        print_line!("{}", serde_json::to_string(&comparison)?)?;
    } else {
        let (draws, seed) = (comparison.resamples, comparison.seed);
        print_line!("{}percent; paired bootstrap over tasks, {draws} draws, seed {seed}", table(&comparison))?;
    }
    Ok(())
}
