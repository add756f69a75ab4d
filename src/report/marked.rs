//! Texts as HTML: escaped, with the words that matter marked.

use minijinja::HtmlEscape;
use similar::{ChangeTag, TextDiff};

/// What stands in a document for what is hidden.
const PLACEHOLDERS: [&str; 2] = ["[MASK]", "[TARGET]"];

/// A text, escaped, with placeholders in bold and each occurrence of `target` marked.
pub(super) fn marked(text: &str, target: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    while let Some((at, len, is_target)) = next(rest, target) {
        out.push_str(&HtmlEscape(&rest[..at]).to_string());
        let found = HtmlEscape(&rest[at..at + len]);
        let shown =
            if is_target { format!("<mark>{found}</mark>") } else { format!("<b class=\"hidden\">{found}</b>") };
        out.push_str(&shown);
        rest = &rest[at + len..];
    }
    out.push_str(&HtmlEscape(rest).to_string());
    out
}

/// The first thing to mark: where, how long, and whether it is the target.
fn next(text: &str, target: &str) -> Option<(usize, usize, bool)> {
    let placeholders = PLACEHOLDERS.iter().filter_map(|word| Some((text.find(word)?, word.len(), false)));
    let target = (!target.trim().is_empty()).then(|| text.find(target)).flatten().map(|at| (at, target.len(), true));
    placeholders.chain(target).min_by_key(|&(at, ..)| at)
}

/// The memory `after` as HTML, what was not in `before` as `<ins>` and what is no longer there as `<del>`, by words.
pub(super) fn changed(before: &str, after: &str, target: &str) -> String {
    let diff = TextDiff::from_words(before, after);
    let (mut html, mut lost, mut new) = (String::new(), String::new(), String::new());
    let mut flush = |lost: &mut String, new: &mut String, same: &str| {
        for (tag, text) in [("del", lost), ("ins", new)] {
            if !text.is_empty() {
                html += &format!("<{tag}>{}</{tag}>", marked(text, target));
                text.clear();
            }
        }
        html += &marked(same, target);
    };
    for change in diff.iter_all_changes() {
        let word = change.value();
        match change.tag() {
            ChangeTag::Delete => lost.push_str(word),
            ChangeTag::Insert => new.push_str(word),
            // The space between two changed words belongs to the change.
            ChangeTag::Equal if word.trim().is_empty() && !(lost.is_empty() && new.is_empty()) => {
                lost.push_str(word);
                new.push_str(word);
            }
            ChangeTag::Equal => flush(&mut lost, &mut new, word),
        }
    }
    flush(&mut lost, &mut new, "");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_and_placeholders_are_marked_in_any_order() {
        assert_eq!(
            marked("Lorn & [MASK] in Lorn", "Lorn"),
            "<mark>Lorn</mark> &amp; <b class=\"hidden\">[MASK]</b> in <mark>Lorn</mark>"
        );
        assert_eq!(marked("a < b", ""), "a &lt; b");
    }

    #[test]
    fn neighbouring_changes_are_one() {
        assert_eq!(changed("a b c d", "a x y d", ""), "a <del>b c </del><ins>x y </ins>d");
    }

    proptest! {
        /// Without its tags, and without what was lost, a change is the new text; without what came in, the old one.
        #[test]
        fn a_change_holds_both_texts(before in "[a-c <&]{0,40}", after in "[a-c <&]{0,40}") {
            let html = changed(&before, &after, "");
            let without = |tag: &str| {
                let mut text = html.clone();
                while let Some(at) = text.find(&format!("<{tag}>")) {
                    let end = text.find(&format!("</{tag}>")).expect("closed") + tag.len() + 3;
                    text.replace_range(at..end, "");
                }
                text
            };
            let plain = |text: String, tag: &str| text.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), "");
            let escaped = |text: &str| HtmlEscape(text).to_string();
            prop_assert_eq!(plain(without("del"), "ins"), escaped(&after));
            prop_assert_eq!(plain(without("ins"), "del"), escaped(&before));
        }
    }
}
