//! From text to the words that are indexed: runs of letters, digits and the marks on them, in NFKC and lower case, stop
//! words out, stems. Scripts that are written without spaces give their overlapping pairs of characters instead of
//! words, as Lucene's CJK analyzer does. The lexical index and the built-in embeddings see the same words.

use tantivy::tokenizer::{
    Language as Tongue, LowerCaser, RemoveLongFilter, Stemmer, StopWordFilter, TextAnalyzer, Token, TokenStream,
    Tokenizer,
};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::Language;

/// The longest word in bytes; longer ones are not words.
const MAX_WORD_BYTES: usize = 64;

/// The analyzer of a language.
pub(crate) fn analyzer(language: Language) -> TextAnalyzer {
    let lower =
        TextAnalyzer::builder(Words::default()).filter(RemoveLongFilter::limit(MAX_WORD_BYTES)).filter(LowerCaser);
    let Some(tongue) = tongue(language) else { return lower.build() };
    let stemmer = Stemmer::new(tongue);
    match StopWordFilter::new(tongue) {
        Some(stop_words) => lower.filter(stop_words).filter(stemmer).build(),
        None => lower.filter(stemmer).build(),
    }
}

const fn tongue(language: Language) -> Option<Tongue> {
    Some(match language {
        Language::Arabic => Tongue::Arabic,
        Language::Danish => Tongue::Danish,
        Language::Dutch => Tongue::Dutch,
        Language::Auto | Language::English => Tongue::English,
        Language::Finnish => Tongue::Finnish,
        Language::French => Tongue::French,
        Language::German => Tongue::German,
        Language::Greek => Tongue::Greek,
        Language::Hungarian => Tongue::Hungarian,
        Language::Italian => Tongue::Italian,
        Language::Norwegian => Tongue::Norwegian,
        Language::Portuguese => Tongue::Portuguese,
        Language::Romanian => Tongue::Romanian,
        Language::Russian => Tongue::Russian,
        Language::Spanish => Tongue::Spanish,
        Language::Swedish => Tongue::Swedish,
        Language::Tamil => Tongue::Tamil,
        Language::Turkish => Tongue::Turkish,
        Language::None => return None,
    })
}

/// The different words of a text with their counts, in the order of the words.
pub(crate) fn term_counts(analyzer: &mut TextAnalyzer, text: &str) -> Vec<(String, u32)> {
    let mut terms = Vec::new();
    analyzer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
    terms.sort_unstable();
    let mut counts: Vec<(String, u32)> = Vec::with_capacity(terms.len());
    for term in terms {
        match counts.last_mut() {
            Some((last, count)) if *last == term => *count += 1,
            _ => counts.push((term, 1)),
        }
    }
    counts
}

/// Cuts text into words. tantivy's own tokenizers take a virama or a vowel sign for the end of a word, which breaks
/// every other word of Marathi and Hindi, and a whole sentence of Chinese for one word.
#[derive(Clone, Default)]
struct Words {
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, at: 0, token: &mut self.token }
    }
}

struct WordStream<'a> {
    text: &'a str,
    at: usize,
    token: &'a mut Token,
}

/// Whether a character belongs to a word. Joiners without width stand inside words of Persian and of Indian scripts.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || !c.is_ascii() && (is_combining_mark(c) || matches!(c, '\u{200c}' | '\u{200d}'))
}

/// Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han, and Hangul, whose words carry their
/// endings.
fn in_pairs(c: char) -> bool {
    matches!(c as u32,
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3005..=0x3007 | 0x3040..=0x30ff | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x20000..=0x3ffff)
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(start) = rest.find(in_word) else { return false };
        let word = &rest[start..];
        let paired = word.starts_with(in_pairs);
        let run = word.find(|c: char| !in_word(c) || in_pairs(c) != paired && !is_combining_mark(c));
        let run = run.unwrap_or(word.len());
        // A pair moves on by one character as long as another follows it in the run.
        let (length, step) = match word[..run].char_indices().nth(1) {
            Some((second, _)) if paired => {
                let third = word[..run].char_indices().nth(2);
                (third.map_or(run, |(at, _)| at), if third.is_some() { second } else { run })
            }
            _ => (run, run),
        };
        let word = &word[..length];
        self.token.text.clear();
        if word.is_ascii() {
            self.token.text.push_str(word)
        } else {
            self.token.text.extend(word.nfkc())
        }
        self.token.offset_from = self.at + start;
        self.token.offset_to = self.token.offset_from + length;
        self.token.position = self.token.position.wrapping_add(1);
        self.at += start + step;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(language: Language, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        analyzer(language).token_stream(text).process(&mut |token| words.push(token.text.clone()));
        words
    }

    #[test]
    fn words_of_many_scripts_stay_whole() {
        assert_eq!(words(Language::None, "O'Neill's 3rd Čas"), ["o", "neill", "s", "3rd", "čas"]);
        assert_eq!(words(Language::None, "मराठी विश्वकोश"), ["मराठी", "विश्वकोश"], "a virama is inside a word");
        assert_eq!(words(Language::None, "Việt Nam"), words(Language::None, "Vie\u{302}\u{323}t Nam"), "one form");
        assert_eq!(words(Language::None, "Ｆｕｌｌ"), ["full"]);
        assert_eq!(words(Language::English, "The running of the guilds"), ["run", "guild"]);
        assert_eq!(words(Language::None, "The running"), ["the", "running"]);
    }

    #[test]
    fn scripts_without_spaces_give_pairs() {
        assert_eq!(words(Language::None, "東京都 x日"), ["東京", "京都", "x", "日"]);
        assert_eq!(words(Language::None, "2020年 カタカナ"), ["2020", "年", "カタ", "タカ", "カナ"]);
    }

    proptest! {
        #[test]
        fn tokens_are_pieces_of_the_text_and_the_end_is_reached(text in "\\PC{0,40}|[a-z東京ก\u{94d}\u{300} '.]{0,20}") {
            let mut analyzer = analyzer(Language::None);
            let mut last = 0;
            let mut covered = vec![false; text.len()];
            analyzer.token_stream(&text).process(&mut |token| {
                assert!(token.offset_from >= last && token.offset_from < token.offset_to);
                last = token.offset_from;
                assert!(text.get(token.offset_from..token.offset_to).is_some());
                covered[token.offset_from..token.offset_to].fill(true);
            });
            for (at, c) in text.char_indices() {
                prop_assert_eq!(covered[at], in_word(c), "{:?} of {:?}", c, text);
            }
        }
    }
}
