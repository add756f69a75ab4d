//! Redirects that only the text tells of.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::languages;

/// The word after `#` in the languages of all wikis, small; every wiki also understands the English one.
static WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| languages::redirect_words().iter().map(String::as_str).chain(["redirect"]).collect());

/// Target of a page's text, if it is a redirect: `#WORD [[Target]]` at the beginning. The part after `#` of the target and
/// the label are dropped.
pub(crate) fn target(text: &str) -> Option<String> {
    let rest = text.trim_start().strip_prefix(['#', '＃'])?.trim_start();
    let open = rest.find("[[")?;
    let word = rest[..open].trim_end().trim_end_matches(':').trim_end();
    // The longest word of the table has a dozen letters: anything longer is a numbered list, and lower-casing it is waste.
    if word.len() > 64 || !WORDS.contains(word.to_lowercase().as_str()) {
        return None;
    }
    let link = &rest[open + 2..];
    let link = &link[..link.find("]]")?];
    let title = link.split(['|', '#', '\n']).next()?;
    let title = title.replace('_', " ");
    let title = title.trim().trim_start_matches(':').trim_start();
    (!title.is_empty()).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_languages_are_known() {
        for text in [
            "#REDIRECT [[A b]]",
            "#WEITERLEITUNG [[a_b]]",
            "#перенаправление: [[:A b#c|d]]",
            "＃転送 [[A b]]",
            "#đổi[[A b]] x",
        ] {
            let target = target(text);
            assert_eq!(target.map(|target| target.to_lowercase()).as_deref(), Some("a b"), "{text}");
        }
        for text in ["# one [[a]]", "#REDIRECT", "redirect [[a]]", "#REDIRECT [[]]"] {
            assert_eq!(target(text), None, "{text}");
        }
    }
}
