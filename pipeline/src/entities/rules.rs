//! Entities that need no dictionary: dates, years, amounts, percentages, ordinals, numbers.

use std::sync::LazyLock;

use memtrain_corpora::mask::is_whole_word;
use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Entity, EntityLabel, EntitySource};
use regex::Regex;

const MONTH: &str = "(?:January|February|March|April|May|June|July|August|September|October|November|December)";
const NUMBER: &str = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?";
const LARGE: &str = "(?:hundred|thousand|million|billion|trillion)";
const UNIT: &str = "(?:km/h|mph|km²|km2|km|kilometres?|kilometers?|metres?|meters?|m|cm|mm|centimetres?|miles?|mi|feet|foot|ft|inches|inch|yards?|acres?|hectares?|ha|square (?:kilometres?|kilometers?|metres?|meters?|miles?|feet)|kg|kilograms?|grams?|g|tonnes?|tons?|pounds?|lb|litres?|liters?|gallons?|°C|°F|degrees|watts?|kW|MW|volts?|hours?|minutes?|seconds?|days?|weeks?|months?|years?)";

/// One pattern and the kind of what it finds.
static RULES: LazyLock<Vec<(EntityLabel, Regex)>> = LazyLock::new(|| {
    let rules = [
        (EntityLabel::Date, format!(r"\d{{1,2}}(?:st|nd|rd|th)? {MONTH}(?:,? \d{{3,4}})?")),
        (EntityLabel::Date, format!(r"{MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:, \d{{3,4}})?")),
        (EntityLabel::Date, format!(r"{MONTH},? \d{{3,4}}")),
        (EntityLabel::Date, r"\d{4}-\d{2}-\d{2}".to_owned()),
        (EntityLabel::Date, r"\d{1,4} (?:BC|BCE|AD|CE)".to_owned()),
        (EntityLabel::Date, r"(?:1\d|20)\d\ds?".to_owned()),
        (EntityLabel::Time, r"\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]\.?m\.?)?".to_owned()),
        (EntityLabel::Percent, format!(r"(?:{NUMBER}) ?(?:%|percent|per cent)")),
        (EntityLabel::Money, format!(r"(?:US)?[$£€¥] ?(?:{NUMBER})(?: {LARGE})?")),
        (EntityLabel::Money, format!(r"(?:{NUMBER})(?: {LARGE})? (?:dollars|euros?|pounds sterling|yen)")),
        (EntityLabel::Quantity, format!(r"(?:{NUMBER})(?: {LARGE})?[ \u{{a0}}-]?{UNIT}")),
        (EntityLabel::Ordinal, r"\d+(?:st|nd|rd|th)".to_owned()),
        (EntityLabel::Cardinal, format!(r"(?:{NUMBER})(?: {LARGE})?")),
    ];
    rules.into_iter().filter_map(|(label, pattern)| Some((label, Regex::new(&pattern).ok()?))).collect()
});

/// All finds of all rules, overlapping ones too; single digits are too common to be entities.
pub(crate) fn find(index: &ScalarIndex) -> Vec<Entity> {
    let text = index.text();
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (label, pattern) in RULES.iter() {
        for hit in pattern.find_iter(text) {
            let bare = hit.as_str().len() < 2;
            if !bare && is_whole_word(text, &hit.range()) && !inside_number(text, &hit.range()) {
                found.extend(Entity::new(index, hit.range(), *label, EntitySource::Rule, None));
            }
        }
    }
    found
}

/// The kind of a surface that is a date, an amount or a number as a whole.
pub(crate) fn classify(surface: &str) -> Option<EntityLabel> {
    RULES
        .iter()
        .find(|(_, pattern)| pattern.find(surface).is_some_and(|hit| hit.len() == surface.len()))
        .map(|(label, _)| *label)
}

/// Whether a find cuts a longer number in two, as `20` in `1,200.20.3`.
fn inside_number(text: &str, span: &memtrain_corpora::Span) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let point = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| b".,".contains(byte));
    let before = point(span.start.checked_sub(1)) && digit(span.start.checked_sub(2));
    before || (point(Some(span.end)) && digit(Some(span.end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entities::without_overlaps;

    #[test]
    fn all_patterns_compile() {
        assert_eq!(RULES.len(), 13);
    }

    #[test]
    fn finds_dates_amounts_and_numbers() {
        let text = "On 12 March 1984 it cost $3.5 million, 40% of 1,200 people; 25 km away in the 1990s, on May 4, the 3rd of 7.";
        let found: Vec<_> = without_overlaps(find(&ScalarIndex::new(text)))
            .into_iter()
            .map(|entity| (entity.surface, entity.label))
            .collect();
        let expected = [
            ("12 March 1984", EntityLabel::Date),
            ("$3.5 million", EntityLabel::Money),
            ("40%", EntityLabel::Percent),
            ("1,200", EntityLabel::Cardinal),
            ("25 km", EntityLabel::Quantity),
            ("1990s", EntityLabel::Date),
            ("May 4", EntityLabel::Date),
            ("3rd", EntityLabel::Ordinal),
        ];
        assert_eq!(found, expected.map(|(surface, label)| (surface.to_owned(), label)));
    }

    #[test]
    fn classifies_whole_surfaces_only() {
        assert_eq!(classify("1984"), Some(EntityLabel::Date));
        assert_eq!(classify("12 March"), Some(EntityLabel::Date));
        assert_eq!(classify("Apollo 11"), None);
    }
}
