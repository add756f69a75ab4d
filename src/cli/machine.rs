//! The machine that a run is planned for, as dry runs are told of it.

use clap::Args;

use super::counts::{count, held, positive, share};

/// Arguments about the machine that a run is planned for.
#[derive(Clone, Debug, Default, Args)]
pub struct MachineArgs {
    /// With `--dry-run`: plan for a card of so many GiB, and refuse what does not fit; this machine's memory without it
    #[arg(long, value_name = "GIB", requires = "dry_run", value_parser = positive)]
    pub device_memory: Option<f64>,
    /// With `--dry-run`: share of the peak that is reached, for the time of a step
    #[arg(long, value_name = "SHARE", requires = "dry_run", value_parser = share)]
    pub mfu: Option<f64>,
    /// With `--dry-run`: peak of the device in 10¹² operations a second (without it `train.peak_tflops`, what is known of the card, or
    /// what is measured of the processor)
    #[arg(long, value_name = "TFLOPS", requires = "dry_run", value_parser = positive)]
    pub peak_tflops: Option<f64>,
    /// With `--dry-run`: sequences whose keys and values are cached at one time (without it as many as `sampler.cache_gib`, or half of what is left, has room for)
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = count::<usize>)]
    pub live_sequences: Option<usize>,
    /// With `--dry-run`: processes that train together, a device each (without it what a launcher's environment says, else 1)
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = held)]
    pub ranks: Option<usize>,
}
