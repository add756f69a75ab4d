//! The only place that touches the file system.
//!
//! * [`AtomicFile`], [`write_atomic`]: a file appears whole and durable under its name, or not at all.
//! * [`TableWriter`], [`TableReader`], [`read_table`]: the Parquet tables of the corpus; [`Row`] is what a row type gives,
//!   [`View`] some of its columns. With the feature `tables`, which is on by default.
//! * [`number_passages`]: the passages of a file numbered from another number on, without decoding what else is in it.
//! * [`open`], [`read`]: regular files alone, of bounded size; [`open_stream`]: pipes that the process was handed, too.
//! * [`write_json`], [`read_json`]: small metadata files.
//! * [`lock`]: keeps two workers from the same work.
//! * [`claim`], [`replace`], [`remove_owned`]: folders that bear our mark, so that no others are ever replaced or removed;
//!   [`check_file`] is the same for single files, [`check_as_written`] compares a folder with its mark.
//! * [`resolve`], [`relation`]: targets of paths, and whether two are the same.
//! * [`Verifier`]: compares files with the hashes that were recorded when they were written.
//! * [`link_durably`], [`link_target`]: symbolic links, for people to follow.
//! * [`hash_file`], [`hash_input`], [`hash_bytes`]: BLAKE3, as lower-case hexadecimal.
//!
//! Everything else in the workspace goes through here (`clippy.toml` bans `std::fs`), so that every error names its path
//! and what was being done, and nothing half-written ever stands in place of something whole.

mod as_written;
mod atomic;
#[cfg(feature = "tables")]
pub mod columns;
#[cfg(feature = "tables")]
mod copied;
mod error;
mod file;
#[cfg(feature = "tables")]
mod foreign;
#[cfg(feature = "tables")]
mod guard;
mod json;
mod lines;
mod links;
mod lock;
mod owned;
mod resolve;
#[cfg(feature = "tables")]
mod rows;
#[cfg(feature = "tables")]
mod table;
#[cfg(feature = "tables")]
mod table_file;
#[cfg(feature = "tables")]
mod table_reader;
#[cfg(feature = "tables")]
mod values;
mod verified;

pub use crate::scalar::ScalarIndex;
#[cfg(feature = "tables")]
pub use arrow::array::RecordBatch;
pub use as_written::{check_as_written, differences};
pub use atomic::{AtomicFile, check_file, is_temporary, sweep_temporaries, sweep_temporaries_of, write_atomic};
pub use error::{RowError, StoreError, TO_UTF8};
pub use file::{
    MAX_READ_BYTES, MAX_WEIGHTS_BYTES, append, create_dir_all, exists, hash_bytes, hash_file, hash_input, head, is_dir,
    len, link_durably, list, open, open_stream, read, read_at_most, read_stream, read_to_string,
    read_to_string_at_most, remove_dir_all, remove_empty_dir, remove_file, rename_durably, try_exists,
};
#[cfg(feature = "tables")]
pub use foreign::{ColumnKind, TextColumns, text_columns};
pub use json::{read_json, write_json};
pub use lines::{MAX_LINE_BYTES, lines};
pub use links::{link_target, sweep_links};
pub use lock::{LockGuard, lock};
pub use owned::{
    MARKER, Marker, Occupant, OwnedFile, Sibling, UNFINISHED, check_replaceable, claim, clear_unfinished,
    hidden_sibling, mark, occupant, remove_owned, replace,
};
pub use resolve::{Relation, is_link, is_mount_point, refuse_overlap, relation, resolve};
#[cfg(feature = "tables")]
pub use rows::number_passages;
#[cfg(feature = "tables")]
pub use table::{Row, TableSummary, TableWriter};
#[cfg(feature = "tables")]
pub use table_reader::{TableReader, View, read_table};
#[cfg(feature = "tables")]
pub use values::{JsonRows, json_rows};
pub use verified::{Verifier, is_older};

/// Result of the store's functions.
pub type Result<T> = std::result::Result<T, StoreError>;
