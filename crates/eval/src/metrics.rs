//! Answer metrics: exact match, F1, containment, strict boxed match.
//!
//! | metric | an answer `p` to a question with accepted answers `g` |
//! |---|---|
//! | `em` | `p` equals `g` |
//! | `f1` | harmonic mean of precision and recall of the words of `p` among those of `g`; 0 where one of the two is `yes`, `no` or `noanswer` and the other is not (HotpotQA) |
//! | `sub_em` | `g` is contained in `p` |
//! | `sub_em_symmetric` | `g` is contained in `p` or `p` in `g`: what MemAgent's evaluation counts. It takes `a` for `Paris`, so it is shown beside the others and never alone |
//! | `strict_boxed` | the last `\boxed{}` in the last 300 characters, lower-cased and without any space, equals `g`: what MemAgent's training counts |
//!
//! All compare the [plain text](plain) of answers: what only sets type, or looks the same, is the same. All but the last
//! compare after SQuAD's normalisation (arXiv 1606.05250, §5), and take as `p` what [`prediction`] finds.
//! Of several accepted answers the best counts, for each metric by itself.

use std::collections::HashMap;

use memtrain_rl::agents::answer::last_boxed;
use memtrain_rl::agents::answer_text::plain;
use serde::{Deserialize, Serialize};

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Equality.
    Em,
    /// Overlap of words.
    F1,
    /// The accepted answer is contained.
    SubEm,
    /// One contains the other.
    SubEmSymmetric,
    /// Equality of what is boxed at the end.
    StrictBoxed,
}

impl Metric {
    /// All metrics in the order they are shown.
    pub const ALL: [Self; 5] = [Self::Em, Self::F1, Self::SubEm, Self::SubEmSymmetric, Self::StrictBoxed];

    /// The name in tables and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Em => "em",
            Self::F1 => "f1",
            Self::SubEm => "sub_em",
            Self::SubEmSymmetric => "sub_em_symmetric",
            Self::StrictBoxed => "strict_boxed",
        }
    }
}

/// Every metric of one answer, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// [`Metric::Em`].
    pub em: f64,
    /// [`Metric::F1`].
    pub f1: f64,
    /// [`Metric::SubEm`].
    pub sub_em: f64,
    /// [`Metric::SubEmSymmetric`].
    pub sub_em_symmetric: f64,
    /// [`Metric::StrictBoxed`].
    pub strict_boxed: f64,
}

impl Scores {
    /// The value of a metric.
    pub fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Em => self.em,
            Metric::F1 => self.f1,
            Metric::SubEm => self.sub_em,
            Metric::SubEmSymmetric => self.sub_em_symmetric,
            Metric::StrictBoxed => self.strict_boxed,
        }
    }

    fn get_mut(&mut self, metric: Metric) -> &mut f64 {
        match metric {
            Metric::Em => &mut self.em,
            Metric::F1 => &mut self.f1,
            Metric::SubEm => &mut self.sub_em,
            Metric::SubEmSymmetric => &mut self.sub_em_symmetric,
            Metric::StrictBoxed => &mut self.strict_boxed,
        }
    }

    /// The mean of several, metric by metric; all 0 of none.
    pub fn mean(scores: &[Self]) -> Self {
        let mut mean = Self::default();
        for metric in Metric::ALL {
            let sum: f64 = scores.iter().map(|scores| scores.get(metric)).sum();
            *mean.get_mut(metric) = sum / scores.len().max(1) as f64;
        }
        mean
    }
}

/// Scores a response of a policy: the answer is what [`prediction`] finds in it.
///
/// ```
/// use memtrain_eval::metrics::score;
/// let scores = score(r"So it is \boxed{the River Lorn}.", &["Lorn".to_owned(), "River Lorn".to_owned()]);
/// assert_eq!((scores.em, scores.f1, scores.sub_em, scores.strict_boxed), (1.0, 1.0, 1.0, 0.0));
/// ```
pub fn score(response: &str, accepted: &[String]) -> Scores {
    best(accepted, |gold| Scores { strict_boxed: strict_boxed(response, gold), ..compare(prediction(response), gold) })
}

/// Scores an answer that has been taken out of its response already; `strict_boxed` is then equality without spaces.
pub fn score_answer(answer: &str, accepted: &[String]) -> Scores {
    best(accepted, |gold| Scores { strict_boxed: share(strictly_equal(answer, gold)), ..compare(answer, gold) })
}

fn best(accepted: &[String], score: impl Fn(&str) -> Scores) -> Scores {
    let mut best = Scores::default();
    for scores in accepted.iter().map(|gold| score(gold)) {
        for metric in Metric::ALL {
            *best.get_mut(metric) = best.get(metric).max(scores.get(metric));
        }
    }
    best
}

fn compare(answer: &str, gold: &str) -> Scores {
    Scores {
        em: em(answer, gold),
        f1: f1(answer, gold),
        sub_em: sub_em(answer, gold),
        sub_em_symmetric: sub_em_symmetric(answer, gold),
        strict_boxed: 0.0,
    }
}

/// The answer of a response: what is in its last `\boxed{}`, or all of it where nothing is boxed.
pub fn prediction(response: &str) -> &str {
    last_boxed(response).unwrap_or(response).trim()
}

/// SQuAD's normal form of the [plain text](plain): lower-cased, the 32 punctuation characters of ASCII dropped, the words `a`, `an`, `the` dropped,
/// white space collapsed. A word ends where a letter, digit or underscore of any script does, as in the original.
///
/// ```
/// use memtrain_eval::metrics::normalise;
/// assert_eq!(normalise("The  U.S. (an Überblick)"), "us überblick");
/// assert_eq!(normalise("theatre"), "theatre");
/// assert_eq!(normalise("«the» x"), "x");
/// ```
pub fn normalise(answer: &str) -> String {
    let lower = plain(answer).to_lowercase();
    let bare: String = lower.chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut kept = String::with_capacity(bare.len());
    let mut rest = bare.as_str();
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest.find(|character| is_word(character) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept.push_str(if inside && matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = after;
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn share(right: bool) -> f64 {
    f64::from(u8::from(right))
}

/// 1 where answer and gold are equal in normal form. A gold that is nothing but articles and punctuation ("The The", "?")
/// is compared lower-cased instead, so that not everything equals it.
pub fn em(answer: &str, gold: &str) -> f64 {
    let normal = normalise(gold);
    if normal.is_empty() {
        let bare = |text: &str| plain(text).trim().to_lowercase();
        return share(bare(answer) == bare(gold));
    }
    share(normalise(answer) == normal)
}

/// F1 of words.
pub fn f1(answer: &str, gold: &str) -> f64 {
    let (answer_normal, gold_normal) = (normalise(answer), normalise(gold));
    let is_verdict = |text: &str| matches!(text, "yes" | "no" | "noanswer");
    if gold_normal.is_empty()
        || answer_normal != gold_normal && (is_verdict(&answer_normal) || is_verdict(&gold_normal))
    {
        return em(answer, gold);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    gold_normal.split(' ').for_each(|word| *left.entry(word).or_default() += 1);
    let (mut common, mut answered) = (0_usize, 0_usize);
    for word in answer_normal.split_whitespace() {
        answered += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / answered as f64;
    let recall = common as f64 / gold_normal.split(' ').count() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// 1 where the gold is contained in the answer.
pub fn sub_em(answer: &str, gold: &str) -> f64 {
    let normal = normalise(gold);
    if normal.is_empty() { em(answer, gold) } else { share(normalise(answer).contains(&normal)) }
}

/// 1 where one contains the other. An answer without any text is wrong; one that is only an article is contained in
/// everything, as in MemAgent's evaluation.
pub fn sub_em_symmetric(answer: &str, gold: &str) -> f64 {
    if answer.trim().is_empty() {
        return 0.0;
    }
    let contained = normalise(gold).contains(&normalise(answer));
    share(contained || sub_em(answer, gold) == 1.0)
}

/// Characters at the end of a response in which the box is looked for.
const BOX_WINDOW: usize = 300;

/// 1 where the last `\boxed{}` at the end of the response is the gold.
pub fn strict_boxed(response: &str, gold: &str) -> f64 {
    let start = response.char_indices().rev().nth(BOX_WINDOW - 1).map_or(0, |(at, _)| at);
    share(last_boxed(&response[start..]).is_some_and(|boxed| strictly_equal(boxed, gold)))
}

/// Equality lower-cased and without any space; nothing equals nothing.
fn strictly_equal(answer: &str, gold: &str) -> bool {
    let bare = |text: &str| plain(text).split_whitespace().collect::<String>().to_lowercase();
    let answer = bare(answer);
    !answer.is_empty() && answer == bare(gold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use memtrain_rl::agents::answer::Equality;

    /// Answers and golds that are the same, and some that are not: the table of docs/evaluation.md.
    const SAME: [(&str, &str); 42] = [
        (r"\text{Lorn}", "Lorn"),
        (r"\text{ River Lorn }", "River Lorn"),
        (r"River\text{ }Lorn", "River Lorn"),
        (r"\textbf{\textit{River} \mathrm{Lorn}}", "River Lorn"),
        (r"{\bf River Lorn}", "River Lorn"),
        (r"\text {Lorn}", "Lorn"),
        (r"\mathbf{1901}", "1901"),
        (r"\boxed{Lorn}", "Lorn"),
        (r"$\mathrm{Lorn}$", "Lorn"),
        (r"\( \text{Lorn} \)", "Lorn"),
        (r"$$42$$", "42"),
        (r"{{Lorn}}", "Lorn"),
        (r"1{,}000", "1,000"),
        (r"12\%", "12%"),
        (r"\$5", "$5"),
        (r"Smith\,\&\,Co", "Smith & Co"),
        (r"\mathrm{River~Lorn}", "River Lorn"),
        (r"\textcolor{red}{Lorn}", "Lorn"),
        (r"\displaystyle Lorn", "Lorn"),
        (r"\left(1,2\right)", "(1,2)"),
        (r"River\quad Lorn", "River Lorn"),
        (r"\mathbb{R}", "R"),
        ("Z\\\"urich", "Z\u{fc}rich"),
        (r"Z\'{u}rich and \c{C}a", "Z\u{fa}rich and \u{c7}a"),
        (r"Stra\ss e", "Stra\u{df}e"),
        ("Lorn\u{3002}", "Lorn."),
        ("\u{300c}Lorn\u{300d}", "\"Lorn\""),
        ("\u{ab}Lorn\u{bb}", "\"Lorn\""),
        ("\u{fb01}nch", "finch"),
        ("\u{ff76}\u{ff9e}", "\u{30ac}"),
        ("Lorn\u{2026}", "Lorn..."),
        ("Zu\u{308}rich", "Z\u{fc}rich"),
        ("1914\u{2013}1918", "1914-1918"),
        ("non\u{2011}stop", "non-stop"),
        ("\u{2212}5 degrees", "-5 degrees"),
        ("O\u{2019}Neill", "O'Neill"),
        ("\u{201c}Lorn\u{201d}", "\"Lorn\""),
        ("\u{ff2c}\u{ff4f}\u{ff52}\u{ff4e}\u{3000}\u{ff11}\u{ff19}", "Lorn 19"),
        ("A\u{ff1a}B", "A:B"),
        ("5\u{a0}\u{20ac}", "5 \u{20ac}"),
        ("12\u{202f}km", "12 km"),
        ("Lo\u{ad}rn\u{200b}", "Lorn"),
    ];
    const DIFFERENT: [(&str, &str); 4] =
        [(r"\frac{1}{2}", "12"), (r"\sqrt{2}", "2"), ("10\u{b2}", "102"), ("Z\u{fc}rich", "Zurich")];

    #[test]
    fn what_people_take_for_the_same_answer_is_the_same_in_every_metric_and_in_the_reward() {
        for (answer, gold) in SAME {
            for (answer, gold) in [(answer, gold), (gold, answer)] {
                let accepted = [gold.to_owned()];
                for scores in
                    [score(&format!("It is \\boxed{{{answer}}}."), &accepted), score_answer(answer, &accepted)]
                {
                    for metric in Metric::ALL {
                        assert_eq!(scores.get(metric), 1.0, "{answer:?} for {gold:?} by {}", metric.as_str());
                    }
                }
                for equality in [Equality::Strict, Equality::Squad] {
                    assert!(equality.holds(answer, gold), "{answer:?} for {gold:?} by {equality:?}");
                }
            }
        }
        for (answer, gold) in DIFFERENT {
            let scores = score_answer(answer, &[gold.to_owned()]);
            assert_eq!((scores.em, scores.strict_boxed), (0.0, 0.0), "{answer:?} for {gold:?}");
            assert!(
                !Equality::Strict.holds(answer, gold) && !Equality::Squad.holds(answer, gold),
                "{answer:?} for {gold:?}"
            );
        }
    }

    #[test]
    fn hand_computed_cases() {
        // answer, gold, em, f1, sub_em, symmetric
        let cases: [(&str, &str, f64, f64, f64, f64); 15] = [
            ("Paris", "paris.", 1.0, 1.0, 1.0, 1.0),
            ("in Paris, France", "Paris", 0.0, 0.5, 1.0, 1.0),
            ("Par", "Paris", 0.0, 0.0, 0.0, 1.0),
            ("a", "Paris", 0.0, 0.0, 0.0, 1.0),
            ("", "Paris", 0.0, 0.0, 0.0, 0.0),
            ("the cat sat", "cat", 0.0, 2.0 / 3.0, 1.0, 1.0),
            ("cat cat", "cat", 0.0, 2.0 / 3.0, 1.0, 1.0),
            ("yes", "yes", 1.0, 1.0, 1.0, 1.0),
            ("yes it is", "yes", 0.0, 0.0, 1.0, 1.0),
            ("no", "no one", 0.0, 0.0, 0.0, 1.0),
            ("The The", "the the", 1.0, 1.0, 1.0, 1.0),
            ("anything", "The The", 0.0, 0.0, 0.0, 0.0),
            ("Ångström", "ångström", 1.0, 1.0, 1.0, 1.0),
            ("новая Москва", "Москва", 0.0, 2.0 / 3.0, 1.0, 1.0),
            ("1,000", "1000", 1.0, 1.0, 1.0, 1.0),
        ];
        for (answer, gold, em_, f1_, sub, symmetric) in cases {
            let scores = compare(answer, gold);
            let expected = Scores { em: em_, f1: f1_, sub_em: sub, sub_em_symmetric: symmetric, strict_boxed: 0.0 };
            for metric in Metric::ALL {
                let (got, wanted) = (scores.get(metric), expected.get(metric));
                assert!((got - wanted).abs() < 1e-12, "{answer:?} {gold:?} {}: {got}", metric.as_str());
            }
        }
    }

    #[test]
    fn the_box_counts_only_near_the_end_and_whole() {
        let late = format!("\\boxed{{Lorn}}{}", "x".repeat(280));
        assert_eq!(strict_boxed(&late, "lorn"), 1.0, "12 + 280 characters");
        let early = format!("\\boxed{{Lorn}}{}", "é".repeat(289));
        assert_eq!(strict_boxed(&early, "lorn"), 0.0, "301 characters: the box begins outside");
        assert_eq!(strict_boxed(r"\boxed{a} \boxed{River {L}orn}", "river{l} orn"), 1.0);
        assert_eq!(strict_boxed("Lorn", "Lorn"), 0.0);
        assert_eq!(strict_boxed(r"\boxed{the Lorn}", "Lorn"), 0.0);
        assert_eq!(strict_boxed(r"\boxed{ }", " "), 0.0);
    }

    #[test]
    fn the_best_of_the_accepted_answers_counts() {
        let accepted = ["New York City".to_owned(), "NYC".to_owned()];
        let scores = score(r"\boxed{nyc}", &accepted);
        assert_eq!((scores.em, scores.f1, scores.strict_boxed), (1.0, 1.0, 1.0));
        assert_eq!(score("", &accepted), Scores::default());
        assert_eq!(score("no box at all: NYC", &accepted).sub_em, 1.0);
        assert_eq!(score("x", &[]), Scores::default());
        assert_eq!(score_answer("nyc ", &accepted).strict_boxed, 1.0);
        let mean = Scores::mean(&[scores, Scores::default()]);
        assert_eq!((mean.em, mean.sub_em_symmetric), (0.5, 0.5));
    }

    /// SQuAD's normalisation step by step, with the article rule as a search for boundaries.
    fn naive(answer: &str) -> String {
        let text: Vec<char> = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
        let is_word = |at: usize| text.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
        let boundary = |at: usize| (at > 0 && is_word(at - 1)) != is_word(at);
        let (mut out, mut at) = (String::new(), 0);
        'text: while at < text.len() {
            for article in ["a", "an", "the"] {
                let end = at + article.len();
                if boundary(at)
                    && is_word(at)
                    && end <= text.len()
                    && boundary(end)
                    && text[at..end].iter().collect::<String>() == article
                {
                    out.push(' ');
                    at = end;
                    continue 'text;
                }
            }
            out.push(text[at]);
            at += 1;
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    proptest! {
        #[test]
        fn normal_forms_agree_with_the_naive_twin(text in "(the|a|an|The|x|é|«|-|,| |\u{a0}|7|_|\u{301}){0,12}") {
            prop_assert_eq!(normalise(&text), naive(&plain(&text)));
        }

        #[test]
        fn metrics_are_ordered_and_bounded(answer in "[a-d ]{0,8}", gold in "[a-d ]{1,8}") {
            let scores = compare(&answer, &gold);
            for metric in Metric::ALL {
                prop_assert!((0.0..=1.0).contains(&scores.get(metric)));
            }
            if !answer.trim().is_empty() {
                prop_assert!(scores.em <= scores.f1 && scores.em <= scores.sub_em && scores.sub_em <= scores.sub_em_symmetric);
            }
            if !normalise(&answer).is_empty() && !normalise(&gold).is_empty() {
                prop_assert!((scores.f1 - f1(&gold, &answer)).abs() < 1e-12, "precision and recall change places");
                prop_assert_eq!(scores.f1 == 1.0, sorted_words(&answer) == sorted_words(&gold));
            }
            prop_assert_eq!(em(&gold, &gold), 1.0);
        }
    }

    fn sorted_words(text: &str) -> Vec<String> {
        let mut words: Vec<String> = normalise(text).split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    }

    #[test]
    fn the_reward_in_python_is_the_metric() {
        let cases = [
            (r"\boxed{Lorn}", "lorn"),
            (r"\boxed{a} \boxed{River {L}orn} \boxed{never", "river {l}orn"),
            ("Lorn", "Lorn"),
            (r"\boxed{ }", ""),
            (r"\boxed{the Lorn}", "Lorn"),
        ];
        // And all that is the same answer: boxed, and as the gold.
        let boxed = |answer: &str, gold: &str| (format!("\\boxed{{{answer}}}"), gold.to_owned());
        let same = SAME.iter().flat_map(|(answer, gold)| [boxed(answer, gold), boxed(gold, answer)]);
        let list: Vec<(String, String)> =
            cases.iter().map(|(r, g)| ((*r).to_owned(), (*g).to_owned())).chain(same).collect();
        let program = format!(
            "import json,sys\n{}\nprint(json.dumps([compute_score('x', r, [g, 'no']) for r, g in json.loads(sys.argv[1])]))",
            memtrain_tasks::verl::REWARD
        );
        let input = serde_json::to_string(&list).unwrap();
        let Ok(output) = std::process::Command::new("python3").args(["-c", &program, &input]).output() else {
            println!("skipped: no python3");
            return;
        };
        let scores: Vec<f64> = serde_json::from_slice(&output.stdout).unwrap();
        let ours: Vec<f64> = list.iter().map(|(r, g)| strict_boxed(r, g)).collect();
        assert_eq!(scores, ours);
        assert_eq!(ours[..5], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(ours[5..].iter().all(|score| *score == 1.0), "{ours:?}");
    }
}
