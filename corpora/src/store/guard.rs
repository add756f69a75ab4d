//! Validation of a Parquet file before the decoder believes its sizes.
//!
//! The `parquet` crate (60.1) takes counts of the file for true and allocates by them: children of the schema, values of a
//! dictionary page, totals of a delta encoding, sizes of a page before compression; and it descends into a schema as deep as that
//! is. A file of a few hundred bytes asks for gigabytes so, or overflows the stack. Here every such number is held against the
//! bytes that are there:
//!
//! * [`check_footer`] walks the footer, without a copy of it and to a bounded depth, before the crate parses it.
//! * [`PageFile`] checks the sizes in the header of each page before the crate unpacks it.
//! * [`CheckedPages`] checks the counts of each unpacked page, and adds up what a batch of rows takes when it is decoded.
//!
//! All of it should be reported upstream; `docs/inputs.md` says what was found.

mod content;
mod footer;
mod pages;
mod thrift;

pub(super) use footer::check_footer;
pub(super) use pages::{Batches, Selected};
