//! Rows of the corpus, readers of dumps and wikitext, and the store that all files go through.
//!
//! All other crates of the workspace may depend on this one; it depends on none of them.
//!
//! * [`dump`] streams the pages of a MediaWiki export; [`wikitext`] turns a page's markup into prose with
//!   sections and link spans.
//! * [`extracted`] reads texts that somebody has already cleaned: Parquet, JSON lines, WikiExtractor's output.
//! * [`article`], [`passage`], [`entity`], [`document`] are the rows of the corpus, each with its Parquet schema.
//! * [`languages`] tells what is known of a language, by its file.
//! * [`json`] takes rows as other programs write them.
//! * [`unpack`] opens text files however they are packed.
//! * [`mask`] finds and replaces the occurrences of an entity.
//! * [`store`] is the only place that touches the file system: atomic files, Parquet tables, hashes.
//! * [`world`] writes a fictional encyclopedia as a genuine MediaWiki dump.
//!
//! Spans in memory are **byte** ranges of UTF-8 strings; spans in tables are **Unicode scalar** ranges, so that
//! `text[start:end]` is right in Python. The conversion happens once, in the table code.

pub mod article;
pub mod document;
pub mod dump;
mod dump_error;
pub mod entity;
#[cfg(feature = "extracted")]
pub mod extracted;
pub mod json;
pub mod languages;
pub mod mask;
pub mod passage;
pub mod rng;
mod scalar;
pub mod store;
pub mod unpack;
pub mod visible;
pub mod wikitext;
pub mod world;

pub use article::{Article, Link, Redirect, Section};
pub use document::{Document, DocumentEntity, DocumentPassage, PassageRole, Split};
pub use entity::{Entity, EntityLabel, EntitySource, Mention, PassageEntities, PassageMentions};
pub use passage::{Passage, PassageArticle, PassageHead, PassageText};

/// A half-open byte range of a UTF-8 string.
pub type Span = std::ops::Range<usize>;
