//! The world as a MediaWiki export, schema 0.11: <https://www.mediawiki.org/xml/export-0.11.xsd>.

use std::io::{self, Write};

use quick_xml::escape::partial_escape;
use sha1_smol::Sha1;

use super::{Kind, WorldPage};

const NAMESPACES: &[(i32, &str)] = &[
    (-2, "Media"),
    (-1, "Special"),
    (0, ""),
    (1, "Talk"),
    (2, "User"),
    (3, "User talk"),
    (4, "Project"),
    (5, "Project talk"),
    (6, "File"),
    (7, "File talk"),
    (8, "MediaWiki"),
    (9, "MediaWiki talk"),
    (10, "Template"),
    (11, "Template talk"),
    (12, "Help"),
    (13, "Help talk"),
    (14, "Category"),
    (15, "Category talk"),
];

/// Writes the opening tag and the site's description.
pub(super) fn open(out: &mut impl Write) -> io::Result<()> {
    out.write_all(
        b"<mediawiki xmlns=\"http://www.mediawiki.org/xml/export-0.11/\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
        xsi:schemaLocation=\"http://www.mediawiki.org/xml/export-0.11/ \
        http://www.mediawiki.org/xml/export-0.11.xsd\" version=\"0.11\" xml:lang=\"en\">\n\
        \x20 <siteinfo>\n    <sitename>Worldwiki</sitename>\n    <dbname>worldwiki</dbname>\n\
        \x20   <base>https://world.example.org/wiki/Main_Page</base>\n    <generator>memtrain world</generator>\n\
        \x20   <case>first-letter</case>\n    <namespaces>\n",
    )?;
    for (key, name) in NAMESPACES {
        if name.is_empty() {
            writeln!(out, "      <namespace key=\"{key}\" case=\"first-letter\" />")?;
        } else {
            writeln!(out, "      <namespace key=\"{key}\" case=\"first-letter\">{name}</namespace>")?;
        }
    }
    out.write_all(b"    </namespaces>\n  </siteinfo>\n")
}

/// Writes one page with its one revision.
pub(super) fn page(out: &mut impl Write, page: &WorldPage) -> io::Result<()> {
    let WorldPage { title, ns, id, revision_id, timestamp, redirect, text } = page;
    writeln!(out, "  <page>\n    <title>{}</title>\n    <ns>{ns}</ns>\n    <id>{id}</id>", partial_escape(title))?;
    if let Some(target) = redirect {
        writeln!(out, "    <redirect title=\"{}\" />", quick_xml::escape::escape(target))?;
    }
    let sha1 = base36(&Sha1::from(text).digest().bytes());
    writeln!(
        out,
        "    <revision>\n      <id>{revision_id}</id>\n      <timestamp>{timestamp}</timestamp>\n      <contributor>\n        \
        <username>Scribe</username>\n        <id>1</id>\n      </contributor>\n      <origin>{revision_id}</origin>\n      \
        <model>wikitext</model>\n      <format>text/x-wiki</format>\n      \
        <text bytes=\"{}\" sha1=\"{sha1}\" xml:space=\"preserve\">{}</text>\n      <sha1>{sha1}</sha1>\n    \
        </revision>\n  </page>",
        text.len(),
        partial_escape(text),
    )
}

/// Closes the document.
pub(super) fn close(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"</mediawiki>\n")
}

/// The pages of other namespaces that stand before the articles: (namespace, title, text).
pub(super) fn front_matter() -> Vec<(i32, String, String)> {
    let mut pages = vec![
        (4, "Project:About".to_owned(), "This encyclopedia describes a world that does not exist.".to_owned()),
        (6, "File:Map of the land.png".to_owned(), "A map of the land. {{Citation needed}}".to_owned()),
        (10, "Template:Cite book".to_owned(), "''{{{title}}}'', page {{{page|}}}".to_owned()),
        (10, "Template:Citation needed".to_owned(), "<sup>[citation needed]</sup>".to_owned()),
        (10, "Template:Reflist".to_owned(), "<references />".to_owned()),
        (10, "Template:Year".to_owned(), "{{{1}}}<noinclude>[[Category:Templates]]</noinclude>".to_owned()),
        (14, "Category:Templates".to_owned(), String::new()),
        (14, "Category:Things of the land".to_owned(), "All pages.".to_owned()),
    ];
    for kind in Kind::ALL {
        let (noun, plural) = (kind.noun(), kind.plural());
        let parameters = "{| class=\"infobox\"\n! {{{name}}}\n|}";
        pages.push((10, format!("Template:Infobox {noun}"), parameters.to_owned()));
        let about = format!("Pages about {}.\n\n[[Category:Things of the land]]", plural.to_lowercase());
        pages.push((14, format!("Category:{plural}"), about));
    }
    pages
}

/// A SHA-1 digest as MediaWiki writes it: base 36, 31 digits.
fn base36(digest: &[u8; 20]) -> String {
    let mut number = *digest;
    let mut digits = [b'0'; 31];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 36) as u8;
            remainder = value % 36;
        }
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[remainder as usize];
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of the empty page, known to every MediaWiki.
    #[test]
    fn digest_of_the_empty_text() {
        assert_eq!(base36(&Sha1::from("").digest().bytes()), "phoiac9h4m842xq45sp7s6u21eteeq1");
    }
}
