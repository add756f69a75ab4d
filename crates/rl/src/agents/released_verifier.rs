//! The verifier of MemTrain's released code, which is MemAgent's, in the order of its steps.
//!
//! 1. Of the response the last 300 characters count, lower-cased.
//! 2. Where they hold `\boxed` and a space, the answer is what follows the last of these, up to the next `$`, braces or not.
//! 3. Else it is in the braces after the last `\boxed`. Where these are never closed, or something stands in between, there is no
//!    answer: an earlier box is not looked for. A `\fbox` is never an answer.
//! 4. Both sides lose line feeds, `\!`, `\left`, `\right`, degree signs, `\$` and `%`; two backslashes become one, `tfrac` and
//!    `dfrac` become `frac`, a point behind a space or an opening brace gets a 0 before it; then all spaces go.
//!
//! So `5 %` is `5` and `New York` is `newyork`, while punctuation, articles, accents and Unicode forms tell answers apart. An answer
//! of which nothing is left is never right here ([`super::answer::Equality::holds`]); there it equals a gold of which nothing is left.

/// Characters of a response that are looked at.
const WINDOW: usize = 300;

/// The answer of a response, not yet lower-cased.
///
/// ```
/// use memtrain_rl::agents::released_verifier::last_boxed;
/// assert_eq!(last_boxed(r"\boxed{a} or \boxed{f{x}y}."), Some("f{x}y"));
/// assert_eq!(last_boxed(r"\boxed{a} or \boxed{never closed"), None);
/// assert_eq!(last_boxed(r"it is $\boxed 5$ indeed"), Some("5"));
/// ```
pub fn last_boxed(response: &str) -> Option<&str> {
    const BOX: &str = r"\boxed";
    let start = response.char_indices().rev().nth(WINDOW - 1).map_or(0, |(at, _)| at);
    let window = &response[start..];
    // Commands are compared as they read once they are lower-cased, which keeps the places of ASCII letters.
    let lower = window.to_ascii_lowercase();
    if let Some(at) = lower.rfind(r"\boxed ") {
        let answer = &window[at + BOX.len() + 1..];
        return Some(answer.split('$').next().unwrap_or(answer));
    }
    let contents = window[lower.rfind(BOX)? + BOX.len()..].strip_prefix('{')?;
    let mut depth = 1_usize;
    let end = contents.char_indices().find_map(|(at, sign)| {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    });
    Some(&contents[..end?])
}

/// What is taken out or replaced, one after the other.
const REPLACED: [(&str, &str); 15] = [
    ("\n", ""),
    (r"\!", ""),
    (r"\\", r"\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    (r"\left", ""),
    (r"\right", ""),
    (r"^{\circ}", ""),
    (r"^\circ", ""),
    (r"\$", ""),
    (r"\%", ""),
    ("%", ""),
    (" .", " 0."),
    ("{.", "{0."),
    (" ", ""),
];

/// The form in which answers are compared.
pub fn normalise(answer: &str) -> String {
    REPLACED.iter().fold(answer.to_lowercase(), |text, (old, new)| text.replace(old, new))
}

#[cfg(test)]
mod tests {
    use super::super::answer::Equality;

    /// Responses, a gold, and whether the released rule takes the one for the other: worked out from the steps by hand.
    #[test]
    fn the_rule_case_by_case() {
        let far = |filler: usize| format!(r"\boxed{{Lorn}}{}", "x".repeat(filler));
        let cases: [(&str, &str, bool); 27] = [
            (r"It is \boxed{Lorn}.", "Lorn", true),
            (r"\BOXED{LORN}", "lorn", true),
            (r"\boxed{New  York}", "New York", true),
            (r"\boxed{NewYork}", "New York", true),
            ("\\boxed{New\nYork}", "New York", true),
            (r"\boxed{5 \%}", "5", true),
            (r"\boxed{5}", "5%", true),
            (r"\boxed{\$5}", "5", true),
            (r"\boxed{$5}", "5", false),
            (r"\boxed{the Lorn}", "Lorn", false),
            (r"\boxed{Lorn.}", "Lorn", false),
            (r"\boxed{Zurich}", "Zürich", false),
            ("\\boxed{Zu\u{308}rich}", "Zürich", false),
            (r"\boxed{Lorn} or \boxed{Velm}", "Lorn", false),
            (r"\boxed{Lorn} or \boxed{Velm", "Lorn", false),
            (r"\boxed{Lorn} or \boxed Velm", "Velm", true),
            (r"\boxed Velm$ or \boxed{Lorn}", "Velm", true),
            (r"\boxed {Lorn}", "Lorn", false),
            (r"\fbox{Lorn}", "Lorn", false),
            (r"\boxed{\fbox{Lorn}}", "Lorn", false),
            (r"\boxed{\boxed{Lorn}}", "Lorn", true),
            (r"\boxed{a{b}c}", "a{b}c", true),
            (r"\boxed{\dfrac{1}{2}}", r"\frac{1}{2}", true),
            (r"\boxed{\left( .5 \right)}", "(0.5)", true),
            (r"\boxed{90^\circ}", "90", true),
            (r"\boxed{a\\b}", r"a\b", true),
            (r"\boxed{}", "Lorn", false),
        ];
        for (response, gold, right) in cases {
            let verdict =
                Equality::Released.answer(response).is_some_and(|answer| Equality::Released.holds(answer, gold));
            assert_eq!(verdict, right, "{response:?} for {gold:?}");
        }
        // `\boxed{Lorn}` has 12 characters: behind 288 others all of it is seen, behind 289 its backslash is not.
        assert_eq!(Equality::Released.answer(&far(288)), Some("Lorn"));
        assert_eq!(Equality::Released.answer(&far(289)), None);
        assert_eq!(Equality::Strict.answer(&far(289)), Some("Lorn"));
        let wide = format!(r"\boxed{{Lorn}}{}", "漢".repeat(288));
        assert_eq!(Equality::Released.answer(&wide), Some("Lorn"), "characters, not bytes");
    }
}
