//! Texts whose tokens carry entity tags: the column files of the CoNLL shared tasks and of what came after them.
//!
//! One token a line, the token in the first column and its tag in the last; columns stand apart by tabs if the line has
//! one, else by white space. A line without columns ends a sentence, `-DOCSTART-` begins a document, and a line that
//! begins with `#` and does not end in a tag is a comment.
//!
//! Tags are read as seqeval does by default (<https://github.com/chakki-works/seqeval>), which covers IO, IOB1, IOB2
//! (BIO), BIOES and BILOU alike: a mention begins at `B` or `S`, at any tag after `O` or after a finished mention, and
//! wherever the type changes.

use std::collections::BTreeMap;
use std::ops::Range;

/// A file of tagged tokens that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ConllError {
    /// Number of the line, from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong and what was expected.
    pub problem: String,
}

/// How the tags of a file mark where mentions begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Scheme {
    /// `I-` alone: neighbouring mentions of one type run together.
    #[serde(rename = "IO")]
    Io,
    /// `B-` only where a mention touches another of its type.
    #[serde(rename = "IOB1")]
    Iob1,
    /// `B-` at every beginning; also called IOB2.
    #[serde(rename = "BIO")]
    Bio,
    /// Ends (`E-`, `L-`) and single tokens (`S-`, `U-`) are marked too.
    #[serde(rename = "BIOES")]
    Bioes,
    /// Types without a prefix.
    #[serde(rename = "types")]
    Types,
}

impl Scheme {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Io => "IO",
            Scheme::Iob1 => "IOB1",
            Scheme::Bio => "BIO",
            Scheme::Bioes => "BIOES",
            Scheme::Types => "types",
        }
    }
}

/// A mention in a sentence of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenSpan {
    /// First token and the one after the last.
    pub tokens: Range<usize>,
    /// The type as the file has it.
    pub label: String,
}

/// One sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    /// Number of its document, from 0. Without `-DOCSTART-` lines every sentence is a document of its own.
    pub document: usize,
    /// The tokens joined as prose is written: no space before a comma, none after an opening bracket.
    pub text: String,
    /// Byte range of each token in `text`.
    pub tokens: Vec<Range<usize>>,
    /// The mentions, in order.
    pub spans: Vec<TokenSpan>,
}

impl Sentence {
    /// The tokens of which a byte range of the text holds at least half; `None` where there is none.
    pub fn align(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let from = self.tokens.partition_point(|token| token.end <= span.start);
        let is_held = |token: &Range<usize>| {
            2 * (token.end.min(span.end).saturating_sub(token.start.max(span.start))) >= token.len()
        };
        let touched = self.tokens[from..].iter().take_while(|token| token.start < span.end);
        let mut held = touched.enumerate().filter(|(_, token)| is_held(token)).map(|(at, _)| from + at);
        let first = held.next()?;
        Some(first..held.last().unwrap_or(first) + 1)
    }
}

/// A file of tagged sentences.
///
/// ```
/// use memtrain_pipeline::entities::conll::Conll;
/// let gold = Conll::parse("Ana\tB-PER\nLund\tI-PER\n,\tO\nOst\tB-LOC\n\n").unwrap();
/// let sentence = &gold.sentences[0];
/// assert_eq!(sentence.text, "Ana Lund, Ost");
/// assert_eq!(&sentence.text[sentence.tokens[3].clone()], "Ost");
/// assert_eq!((sentence.spans[0].tokens.clone(), sentence.spans[0].label.as_str()), (0..2, "PER"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conll {
    /// The sentences in order; none is empty.
    pub sentences: Vec<Sentence>,
    /// Documents in the file.
    pub num_documents: usize,
    /// How the tags are written.
    pub scheme: Scheme,
}

/// A tag: prefix (`None` for a type without one) and type; `O` is no tag.
type Tag<'a> = Option<(Option<u8>, &'a str)>;

#[derive(Default)]
struct Builder<'a> {
    sentences: Vec<Sentence>,
    tokens: Vec<&'a str>,
    tags: Vec<Tag<'a>>,
    document: usize,
    has_documents: bool,
    /// Sentences before the first `-DOCSTART-`.
    first_document: usize,
    seen: Seen,
}

/// What was seen of the tags, with the first line of it.
#[derive(Default)]
struct Seen {
    prefixed: Option<usize>,
    bare: Option<(usize, String)>,
    begins: bool,
    ends: bool,
    /// `I-` that begins a mention.
    inside_begins: bool,
    /// `B-` where `I-` would have begun one too.
    begins_after_other: bool,
}

impl Conll {
    /// Reads a file.
    ///
    /// # Errors
    /// At the first line without a tag, with a tag that cannot be read, or of another kind than those before; and if the
    /// file holds no token.
    pub fn parse(text: &str) -> Result<Conll, ConllError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut builder = Builder::default();
        for (number, line) in text.lines().enumerate() {
            builder.line(number + 1, line)?;
        }
        builder.end_sentence();
        let Builder { mut sentences, seen, has_documents, first_document, .. } = builder;
        for sentence in &mut sentences[..first_document] {
            sentence.document = 0;
        }
        if sentences.is_empty() {
            let problem = "no token; expected a token and a tag a line, sentences apart by blank lines".to_owned();
            return Err(ConllError { line: 0, problem });
        }
        if let (Some(prefixed), Some((line, tag))) = (seen.prefixed, &seen.bare) {
            let problem = format!(
                "tag `{tag}` has no prefix such as `B-` or `I-`, but the tag of line {prefixed} has one; expected `O` or a prefixed type"
            );
            return Err(ConllError { line: *line, problem });
        }
        let num_documents = if has_documents {
            let mut last = None;
            sentences.iter().filter(|sentence| last.replace(sentence.document) != Some(sentence.document)).count()
        } else {
            sentences.len()
        };
        Ok(Conll { sentences, num_documents, scheme: seen.scheme() })
    }

    /// Number of tokens.
    pub fn num_tokens(&self) -> usize {
        self.sentences.iter().map(|sentence| sentence.tokens.len()).sum()
    }

    /// The types of the file with the number of mentions of each.
    pub fn labels(&self) -> BTreeMap<&str, usize> {
        let mut labels = BTreeMap::new();
        for span in self.sentences.iter().flat_map(|sentence| &sentence.spans) {
            *labels.entry(span.label.as_str()).or_default() += 1;
        }
        labels
    }
}

impl Seen {
    fn scheme(&self) -> Scheme {
        match self {
            _ if self.bare.is_some() => Scheme::Types,
            _ if self.ends => Scheme::Bioes,
            _ if !self.begins && self.prefixed.is_some() => Scheme::Io,
            _ if self.inside_begins && !self.begins_after_other => Scheme::Iob1,
            _ => Scheme::Bio,
        }
    }
}

impl<'a> Builder<'a> {
    fn line(&mut self, number: usize, line: &'a str) -> Result<(), ConllError> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            self.end_sentence();
            return Ok(());
        }
        let columns: Vec<&str> = if line.contains('\t') {
            line.split('\t').map(str::trim).collect()
        } else {
            line.split_whitespace().collect()
        };
        let (first, last) = (columns[0], columns[columns.len() - 1]);
        if first.starts_with("-DOCSTART-") {
            self.end_sentence();
            if !self.has_documents {
                self.first_document = self.sentences.len();
            }
            self.has_documents = true;
            self.document += 1;
            return Ok(());
        }
        let is_tag = |tag: &str| tag == "O" || (tag.len() > 2 && is_prefix(tag.as_bytes()));
        if line.starts_with('#') && (columns.len() < 2 || !is_tag(last)) {
            return Ok(());
        }
        let fail = |problem: String| Err(ConllError { line: number, problem });
        if columns.len() < 2 {
            return fail(format!("expected a token and a tag, got one column: `{}`", shortened(line)));
        }
        if first.is_empty() || last.is_empty() {
            return fail(format!("the {} is empty", if first.is_empty() { "token" } else { "tag" }));
        }
        let tag = match self.tag(number, last) {
            Some(tag) => tag,
            None => return fail(format!("`{}` is no tag; expected `O` or `B-TYPE`, `I-TYPE` …", shortened(last))),
        };
        self.tokens.push(first);
        self.tags.push(tag);
        Ok(())
    }

    /// Reads a tag, and takes note of how it is written; `None` if it is none.
    fn tag(&mut self, line: usize, tag: &'a str) -> Option<Tag<'a>> {
        if tag == "O" {
            return Some(None);
        }
        if !is_prefix(tag.as_bytes()) {
            if self.seen.bare.is_none() {
                self.seen.bare = Some((line, tag.to_owned()));
            }
            return Some(Some((None, tag)));
        }
        let label = tag.get(2..).filter(|label| !label.is_empty())?;
        let prefix = match tag.as_bytes()[0] {
            b'U' => b'S',
            b'L' => b'E',
            b'M' => b'I',
            prefix => prefix,
        };
        self.seen.prefixed.get_or_insert(line);
        let before = self.tags.last().copied().flatten();
        let touches = before.is_some_and(|(_, other)| other == label);
        match prefix {
            b'B' => {
                self.seen.begins = true;
                self.seen.begins_after_other |= !touches;
            }
            b'I' => self.seen.inside_begins |= !touches,
            _ => self.seen.ends = true,
        }
        Some(Some((Some(prefix), label)))
    }

    fn end_sentence(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let spans = spans(&self.tags);
        let (text, tokens) = join(&self.tokens);
        let document = if self.has_documents { self.document } else { self.sentences.len() };
        self.sentences.push(Sentence { document, text, tokens, spans });
        self.tokens.clear();
        self.tags.clear();
    }
}

fn is_prefix(tag: &[u8]) -> bool {
    tag.len() >= 2 && tag[1] == b'-' && b"BIESULM".contains(&tag[0])
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(40).chain(['…']).collect() }
}

/// The mentions of a sentence's tags.
fn spans(tags: &[Tag<'_>]) -> Vec<TokenSpan> {
    let mut spans: Vec<TokenSpan> = Vec::new();
    let mut before: Tag<'_> = None;
    for (at, &tag) in tags.iter().enumerate() {
        if let Some((prefix, label)) = tag {
            let goes_on = before.is_some_and(|(before, other)| {
                other == label && !matches!(prefix, Some(b'B' | b'S')) && !matches!(before, Some(b'E' | b'S'))
            });
            match spans.last_mut() {
                Some(span) if goes_on => span.tokens.end = at + 1,
                _ => spans.push(TokenSpan { tokens: at..at + 1, label: label.to_owned() }),
            }
        }
        before = tag;
    }
    spans
}

/// Joins tokens as prose is written; returns the byte range of each.
fn join(tokens: &[&str]) -> (String, Vec<Range<usize>>) {
    let mut text = String::new();
    let mut places = Vec::with_capacity(tokens.len());
    let mut glue = true;
    // Straight quotes open and close by turns.
    let mut open_quote = false;
    for &token in tokens {
        let closes =
            matches!(token, "." | "," | ";" | ":" | "!" | "?" | ")" | "]" | "}" | "%" | "''" | "”" | "’" | "…")
                || token.starts_with("'") && token.len() > 1
                || token == "n't"
                || (token == "\"" && open_quote);
        if !glue && !closes {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(token);
        places.push(start..text.len());
        if token == "\"" {
            open_quote = !open_quote;
        }
        glue = matches!(token, "(" | "[" | "{" | "``" | "“" | "‘" | "$" | "£" | "€") || (token == "\"" && open_quote);
    }
    (text, places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans_of(tags: &str) -> Vec<(usize, usize, String)> {
        let file: String = tags.split(' ').map(|tag| format!("x {tag}\n")).collect();
        let gold = Conll::parse(&file).unwrap();
        gold.sentences[0].spans.iter().map(|s| (s.tokens.start, s.tokens.end, s.label.clone())).collect()
    }

    fn expected(spans: &[(usize, usize, &str)]) -> Vec<(usize, usize, String)> {
        spans.iter().map(|&(start, end, label)| (start, end, label.to_owned())).collect()
    }

    #[test]
    fn every_scheme_gives_the_same_spans() {
        // PER of two tokens, a second PER that touches it, a LOC that touches that, and one at the end.
        let wanted = expected(&[(0, 2, "PER"), (2, 3, "PER"), (3, 4, "LOC"), (5, 7, "LOC")]);
        assert_eq!(spans_of("B-PER I-PER B-PER B-LOC O B-LOC I-LOC"), wanted);
        assert_eq!(spans_of("I-PER I-PER B-PER I-LOC O I-LOC I-LOC"), wanted);
        assert_eq!(spans_of("B-PER E-PER S-PER S-LOC O B-LOC E-LOC"), wanted);
        assert_eq!(spans_of("B-PER L-PER U-PER U-LOC O B-LOC L-LOC"), wanted);
        assert_eq!(spans_of("I-PER I-PER O I-LOC"), expected(&[(0, 2, "PER"), (3, 4, "LOC")]));
        assert_eq!(spans_of("PER PER O art-film"), expected(&[(0, 2, "PER"), (3, 4, "art-film")]));
    }

    #[test]
    fn schemes_are_told_apart() {
        let scheme = |tags: &str| {
            let file: String = tags.split(' ').map(|tag| format!("x {tag}\n")).collect();
            Conll::parse(&file).unwrap().scheme
        };
        assert_eq!(scheme("I-PER I-PER O I-LOC"), Scheme::Io);
        assert_eq!(scheme("I-PER B-PER O I-LOC"), Scheme::Iob1);
        assert_eq!(scheme("B-PER I-PER O B-LOC"), Scheme::Bio);
        assert_eq!(scheme("B-PER E-PER O S-LOC"), Scheme::Bioes);
        assert_eq!(scheme("PER O"), Scheme::Types);
        assert_eq!(scheme("O O"), Scheme::Bio);
    }

    #[test]
    fn documents_comments_columns_and_byte_order_marks() {
        let file = "\u{feff}-DOCSTART- -X- -X- O\n\nAna NNP I-NP B-PER\n. . O O\n\n# id 17\nOst\tNN\tB-LOC\r\n\r\n-DOCSTART-\tO\n#\tO\nNew York\tB-LOC\n";
        let gold = Conll::parse(file).unwrap();
        let documents: Vec<_> = gold.sentences.iter().map(|s| (s.document, s.text.as_str())).collect();
        assert_eq!(documents, [(1, "Ana."), (1, "Ost"), (2, "# New York")]);
        assert_eq!(gold.num_documents, 2);
        assert_eq!(gold.sentences[2].spans[0].tokens, 1..2);
        assert_eq!(gold.labels(), BTreeMap::from([("LOC", 2), ("PER", 1)]));
    }

    #[test]
    fn what_is_wrong_is_named_by_line() {
        let fault = |text: &str| Conll::parse(text).unwrap_err();
        assert_eq!(fault("Ana B-PER\nLund\n").line, 2);
        assert_eq!(fault("Ana B-PER\n\n\nLund B-\n").line, 4);
        assert!(fault("Ana\t\n").problem.contains("the tag is empty"));
        let mixed = fault("Ana B-PER\nOst LOC\n");
        assert_eq!(mixed.line, 2);
        assert!(mixed.to_string().contains("tag `LOC` has no prefix"), "{mixed}");
        assert_eq!(fault("\n\n").line, 0);
    }

    #[test]
    fn alignment_takes_tokens_by_half() {
        let gold = Conll::parse("The O\nU.S.-based O\nUN O\n's O\n").unwrap();
        let sentence = &gold.sentences[0];
        assert_eq!(sentence.text, "The U.S.-based UN's");
        assert_eq!(sentence.align(&(4..14)), Some(1..2));
        assert_eq!(sentence.align(&(4..8)), None);
        assert_eq!(sentence.align(&(15..17)), Some(2..3));
        assert_eq!(sentence.align(&(0..19)), Some(0..4));
    }

    proptest! {
        #[test]
        fn tokens_stand_in_the_text_as_they_were(tokens in proptest::collection::vec("[A-Za-z.,()\"'é€]{1,6}", 1..20)) {
            let file: String = tokens.iter().map(|token| format!("{token}\tO\n")).collect();
            let gold = Conll::parse(&file).unwrap();
            let sentence = &gold.sentences[0];
            let read: Vec<&str> = sentence.tokens.iter().map(|place| &sentence.text[place.clone()]).collect();
            prop_assert_eq!(read, tokens);
            for place in &sentence.tokens {
                let at = sentence.tokens.iter().position(|other| other == place).unwrap();
                prop_assert_eq!(sentence.align(place), Some(at..at + 1));
            }
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,80}") {
            let _ = Conll::parse(&text);
        }
    }
}
