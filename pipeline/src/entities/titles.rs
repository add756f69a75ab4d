//! Titles of articles.

/// `Mercury (planet)` → `Mercury`.
pub(crate) fn without_qualifier(title: &str) -> &str {
    match title.rfind(" (") {
        Some(at) if at > 0 && title.ends_with(')') => &title[..at],
        _ => title,
    }
}
