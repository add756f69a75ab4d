//! The run folder: configuration, records, rollouts, checkpoints, and resuming from them.
//!
//! A run is a folder that nobody shares:
//!
//! ```text
//! runs/<name>/
//!   config.toml               the configuration that the run began with, defaults included
//!   manifest.json             versions and hashes of what the run was started from, and what was changed since
//!   .memtrain.json            says that the folder is a run's
//!   metrics.jsonl             one line a step, a function of configuration and inputs alone
//!   timings.jsonl             one line a step, what the clock said
//!   evaluations.jsonl         one line a held-out evaluation
//!   rollouts.jsonl            one line a rollout table: its size and hash
//!   tb/                       the same for TensorBoard
//!   rollouts/step_000001.parquet
//!   checkpoints/step_000100/  a policy directory, with training_state/ in it
//!   checkpoints/latest        link to the newest checkpoint
//!   checkpoints/best          link to the one with the highest held-out reward
//!   logs/attempt_1.log        one a start
//! ```
//!
//! * [`RunDirectory`] opens it, for a new run or to go on with one; [`RunReader`] reads it, and finds what is damaged.
//! * [`Records`] keeps metrics, timings and evaluations, as [`JsonLines`] and in [`tensorboard`] files; [`RolloutRow`] is a row of the rollout table.
//! * [`Checkpoints`] writes and finds checkpoints.
//! * [`change`] says which keys of the configuration may change between two starts, [`branch`] makes a run that goes on from
//!   another one's checkpoint.
//! * [`signal`] turns signals into a request to stop; [`progress`] shows how far things are, [`watch`] says what
//!   is waited for when nothing moves, [`log`] keeps what was said, [`fold`] fits it to a terminal.
//!
//! Resuming goes back to the newest checkpoint: [`RunDirectory::rewind`] drops what was written after it, so that a run
//! that was killed and started again leaves the same bytes as one that was not.

pub mod branch;
pub mod change;
pub mod checkpoint;
pub mod crc32c;
pub mod directory;
pub mod error;
pub mod fold;
pub mod json_lines;
mod layout;
mod links;
pub mod log;
pub mod manifest;
pub mod progress;
pub mod reader;
pub mod records;
pub mod rollouts;
pub mod signal;
pub mod tensorboard;
mod terminal;
pub mod trash;
pub mod watch;

pub use change::{KeyClass, KeyClasses};
pub use checkpoint::{Checkpoint, Checkpoints, Retention, Schedule, TrainingState};
pub use directory::{RunDirectory, RunSetup, check_out};
pub use error::RunError;
pub use json_lines::JsonLines;
pub use manifest::Manifest;
pub use memtrain_rollout_types::RolloutKind;
pub use reader::{RunReader, Verification};
pub use records::Records;
pub use rollouts::RolloutRow;

use std::path::Path;

use memtrain_corpora::store::{self, StoreError};

/// Contents of a file; `None` where there is none. A file that cannot be looked at is an error, not an absent one: what is
/// absent is written anew.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match store::read(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// Result of the functions of a run.
pub type Result<T> = std::result::Result<T, RunError>;
