//! Page ids where the inputs come from several wikis.

use std::path::Path;

use memtrain_corpora::dump::{DumpError, SiteInfo};
use memtrain_corpora::extracted::{self, Form, made_id, recognise};

/// Keeps the pages of several wikis apart, each of which counts its pages from one: the wiki that the first input is of keeps its page ids,
/// those of every other are made of its address and the page id.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbering {
    /// Host of the first input's wiki; `None` where all ids are taken as they are.
    first: Option<String>,
}

impl Numbering {
    /// By the beginning of the first of several inputs, for which `site` gives what its header says; one input alone is of one wiki.
    pub(super) fn of(
        files: &[impl AsRef<Path>],
        site: impl FnOnce() -> Result<SiteInfo, DumpError>,
    ) -> Result<Numbering, DumpError> {
        let [first, _, ..] = files else { return Ok(Numbering::default()) };
        let first = first.as_ref();
        let address = match recognise(first)? {
            Form::MediaWiki => Some(site()?.base),
            _ => extracted::open(first)?.find_map(Result::ok).map(|text| text.url),
        };
        Ok(Numbering { first: address.as_deref().and_then(host).map(str::to_owned) })
    }

    /// The number of a page; `address` is its own or that of its wiki. Where either wiki is not known, it is taken for the first.
    pub(super) fn id(&self, page_id: u64, address: &str) -> u64 {
        match (&self.first, host(address)) {
            (Some(first), Some(host)) if first != host => made_id(&format!("{host}/{page_id}")),
            _ => page_id,
        }
    }
}

/// `en.wikipedia.org` of `https://en.wikipedia.org/wiki/Main_Page`.
fn host(address: &str) -> Option<&str> {
    let host = address.split_once("//")?.1.split('/').next()?;
    (!host.is_empty()).then_some(host)
}
