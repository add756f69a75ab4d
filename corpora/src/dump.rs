//! The pages of a MediaWiki XML export, streamed.
//!
//! ```no_run
//! use memtrain_corpora::{dump, wikitext};
//! let mut reader = dump::open(std::path::Path::new("enwiki-pages-articles.xml.bz2"))?;
//! let context = wikitext::WikiContext::from_site(reader.site_info());
//! let mut skipped = 0;
//! for page in &mut reader {
//!     match page {
//!         Ok(page) if page.ns == 0 && page.redirect.is_none() => {
//!             let clean = wikitext::clean(&page.text, &context);
//!             println!("{}: {} words", page.title, clean.text.split_whitespace().count());
//!         }
//!         Ok(_) => {}
//!         Err(error) if error.is_skippable() => skipped += 1,
//!         Err(error) => return Err(error),
//!     }
//! }
//! # Ok::<(), memtrain_corpora::dump::DumpError>(())
//! ```

mod page;
mod part;
mod reader;
mod redirect;
mod references;
mod revisions;
mod site;

pub use crate::dump_error::DumpError;
pub use page::Page;
#[cfg(feature = "extracted")]
pub(crate) use page::too_long;
pub use part::{Part, open_part, parts};
pub use reader::{DumpReader, from_reader, open};
pub(crate) use redirect::target as redirect_target;
pub(crate) use references::character_reference;
#[cfg(feature = "extracted")]
pub(crate) use references::unescape;
pub(crate) use site::MAX_FIELD_BYTES;
pub use site::SiteInfo;
