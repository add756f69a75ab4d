//! The header of an export.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The longest field of a header.
pub(crate) const MAX_FIELD_BYTES: usize = 1024;
/// Namespaces of a wiki; the largest have some fifty.
const MAX_NAMESPACES: usize = 1024;

/// What a dump's `<siteinfo>` says about the wiki; fields it lacks are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteInfo {
    /// Name of the wiki: `Wikipedia`.
    pub sitename: String,
    /// Name of its database: `enwiki`. Schemas before 0.9 do not have it.
    pub dbname: String,
    /// Address of its main page.
    pub base: String,
    /// Software that wrote the dump.
    pub generator: String,
    /// `first-letter` or `case-sensitive`: how titles begin.
    pub case: String,
    /// Language of the wiki, from `xml:lang`.
    pub language: String,
    /// Version of the export schema: `0.11`.
    pub schema: String,
    /// Number and name of each namespace; that of the articles is 0 and has no name.
    pub namespaces: Vec<(i32, String)>,
}

impl SiteInfo {
    /// Reads the part of a dump before its first page. What cannot be understood is left empty: a dump without a header is
    /// still a dump.
    pub(super) fn parse(header: &[u8]) -> SiteInfo {
        let mut site = SiteInfo::default();
        let header = String::from_utf8_lossy(header);
        let mut reader = Reader::from_str(&header);
        reader.config_mut().check_end_names = false;
        let mut field = String::new();
        let mut key = None;
        let mut text = String::new();
        loop {
            match reader.read_event() {
                Ok(Event::Start(start)) => {
                    if start.local_name().into_inner() == "mediawiki" {
                        site.read_root(&start);
                    }
                    key = attribute(&start, "key").and_then(|key| key.trim().parse().ok());
                    field = start.local_name().into_inner().to_owned();
                    text.clear();
                }
                Ok(Event::Empty(start)) => {
                    let number = attribute(&start, "key").and_then(|key| key.trim().parse().ok());
                    if start.local_name().into_inner() == "namespace" {
                        site.set("namespace", number, "");
                    }
                }
                Ok(Event::Text(piece)) => text.push_str(&piece),
                Ok(Event::GeneralRef(name)) => super::references::push_reference(&mut text, &name),
                Ok(Event::End(_)) => {
                    site.set(&field, key, text.trim());
                    field.clear();
                }
                Ok(Event::Eof) | Err(_) => return site,
                Ok(_) => {}
            }
        }
    }

    fn read_root(&mut self, root: &BytesStart) {
        let field = |name| attribute(root, name).filter(|value| value.len() <= MAX_FIELD_BYTES).unwrap_or_default();
        self.language = field("xml:lang");
        self.schema = field("version");
    }

    /// Every page takes something of these, so that what is far too long or too many is no name.
    fn set(&mut self, field: &str, key: Option<i32>, text: &str) {
        match (field, key) {
            _ if text.len() > MAX_FIELD_BYTES => {}
            ("namespace", Some(_)) if self.namespaces.len() == MAX_NAMESPACES => {}
            ("sitename", _) => self.sitename = text.to_owned(),
            ("dbname", _) => self.dbname = text.to_owned(),
            ("base", _) => self.base = text.to_owned(),
            ("generator", _) => self.generator = text.to_owned(),
            ("case", _) => self.case = text.to_owned(),
            ("namespace", Some(key)) => self.namespaces.push((key, text.to_owned())),
            _ => {}
        }
    }

    /// Address of a page: the base with its last part replaced by the title.
    pub fn page_url(&self, title: &str) -> String {
        let folder = self.base.rfind('/').map_or("", |slash| &self.base[..=slash]);
        let mut url = String::with_capacity(folder.len() + title.len());
        url.push_str(folder);
        for byte in title.bytes() {
            match byte {
                b' ' => url.push('_'),
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => url.push(char::from(byte)),
                b'-' | b'_' | b'.' | b'~' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b',' | b';' | b':' | b'@'
                | b'/' => {
                    url.push(char::from(byte));
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url
    }

    /// Namespace of a title, for schemas whose pages do not say: the number of the name before the first colon.
    pub fn namespace_of(&self, title: &str) -> i32 {
        let Some((prefix, _)) = title.split_once(':') else {
            return 0;
        };
        let same = |name: &str| !name.is_empty() && name.to_lowercase() == prefix.to_lowercase();
        self.namespaces.iter().find(|(_, name)| same(name)).map_or(0, |(number, _)| *number)
    }
}

/// An attribute's value with its references resolved.
pub(super) fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    Some(super::references::unescape(&attribute.value).into_owned())
}
