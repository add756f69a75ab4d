//! Texts whose tokens carry entity tags: the column files of the CoNLL shared tasks and of what came after them.
//!
//! One token a line, the token in the first column and its tag in the last; columns stand apart by tabs if the line has
//! one, else by spaces. Where all lines say so, the tag comes first (two columns), or the number of the token in its sentence before the
//! token; of the two tags of GermEval 2014 the outer one counts. A line without columns ends a sentence; `-DOCSTART-`, `#begin document`
//! and `# newdoc` begin a document, and other lines that begin with `#` and do not look like the tokens of the file are comments.
//!
//! Tags are read as seqeval does by default (<https://github.com/chakki-works/seqeval>), which covers IO, IOB1, IOB2
//! (BIO), BIOES and BILOU alike: a mention begins at `B` or `S`, at any tag after `O` or after a finished mention, and
//! wherever the type changes. Prefixes without a type (`B`, `I`) tag mentions of one kind, which are called [`UNTYPED`].

mod layout;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use self::layout::{Layout, Line};

/// Types of a file; the finest sets have some hundred.
const MAX_TYPES: usize = 400;

/// The label of mentions in files whose tags have no types.
pub const UNTYPED: &str = "entity";

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
    /// Number of its document, from 0. Without marks of documents every sentence is a document of its own.
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
    /// Sentences before the first mark of a document.
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
        let layout = Layout::of(text);
        let mut builder = Builder::default();
        for (number, line) in text.lines().enumerate() {
            builder.line(number + 1, line, &layout)?;
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
        let types = sentences.iter().flat_map(|sentence| &sentence.spans).map(|span| span.label.as_str());
        let num_types = types.collect::<HashSet<_>>().len();
        if num_types > MAX_TYPES {
            let problem = format!(
                "the column of the tags has {num_types} different words, more than any set of tags; expected the token in the first column and its tag in the last"
            );
            return Err(ConllError { line: 0, problem });
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
    fn line(&mut self, number: usize, line: &'a str, layout: &Layout<'a>) -> Result<(), ConllError> {
        let fail = |problem: String| Err(ConllError { line: number, problem });
        let (token, tag) = match layout.read(line) {
            Line::Blank => {
                self.end_sentence();
                return Ok(());
            }
            Line::Document => {
                self.end_sentence();
                if !self.has_documents {
                    self.first_document = self.sentences.len();
                }
                self.has_documents = true;
                self.document += 1;
                return Ok(());
            }
            Line::Comment => return Ok(()),
            Line::OneColumn => {
                return fail(format!("expected a token and a tag, got one column: `{}`", shortened(line)));
            }
            Line::Token { token, tag } => (token, tag),
        };
        if token.is_empty() || tag.is_empty() {
            return fail(format!("the {} is empty", if token.is_empty() { "token" } else { "tag" }));
        }
        let tag = match self.tag(number, tag, layout.untyped()) {
            Some(tag) => tag,
            None => return fail(format!("`{}` is no tag; expected `O` or `B-TYPE`, `I-TYPE` …", shortened(tag))),
        };
        self.tokens.push(token);
        self.tags.push(tag);
        Ok(())
    }

    /// Reads a tag, and takes note of how it is written; `None` if it is none.
    fn tag(&mut self, line: usize, tag: &'a str, untyped: bool) -> Option<Tag<'a>> {
        if tag == "O" {
            return Some(None);
        }
        let label = if untyped {
            UNTYPED
        } else if is_prefix(tag.as_bytes()) {
            tag.get(2..).filter(|label| !label.is_empty())?
        } else {
            if self.seen.bare.is_none() {
                self.seen.bare = Some((line, tag.to_owned()));
            }
            return Some(Some((None, tag)));
        };
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

/// The letters of all schemes that say where in a mention a token stands.
const PREFIXES: &[u8] = b"BIESULM";

fn is_prefix(tag: &[u8]) -> bool {
    tag.len() >= 2 && matches!(tag[1], b'-' | b'_') && PREFIXES.contains(&tag[0])
}

/// Whether a tag is a prefix without a type.
fn is_bare(tag: &str) -> bool {
    matches!(tag.as_bytes(), [prefix] if PREFIXES.contains(prefix))
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
        assert_eq!(spans_of("B_PER I_PER O B_LOC"), expected(&[(0, 2, "PER"), (3, 4, "LOC")]));
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

    fn read(file: &str) -> Vec<(usize, String, Vec<String>)> {
        let gold = Conll::parse(file).unwrap();
        let words = |sentence: &Sentence, span: &TokenSpan| {
            let (first, last) = (&sentence.tokens[span.tokens.start], &sentence.tokens[span.tokens.end - 1]);
            format!("{} {}", span.label, &sentence.text[first.start..last.end])
        };
        let row = |s: &Sentence| (s.document, s.text.clone(), s.spans.iter().map(|span| words(s, span)).collect());
        gold.sentences.iter().map(row).collect()
    }

    fn row(document: usize, text: &str, spans: &[&str]) -> (usize, String, Vec<String>) {
        (document, text.to_owned(), spans.iter().map(|&span| span.to_owned()).collect())
    }

    #[test]
    fn columns_in_other_orders_are_told() {
        let wanted = [row(0, "Ana Lund waits", &["PER Ana Lund"]), row(1, "Ost", &["LOC Ost"])];
        for file in [
            "B-PER\tAna\nI-PER\tLund\nO\twaits\n\nB-LOC\tOst\n",
            "PER\tAna\nPER\tLund\nO\twaits\n\nLOC\tOst\n\nO\tor\nO\tso\nO\tit\nO\tis\n",
            "1\tAna\tB-PER\tO\n2\tLund\tI-PER\tB-ORG\n3\twaits\tO\tO\n\n1\tOst\tB-LOC\tO\n",
            "# a source\n0 Ana NNP B-PER\n1 Lund NNP I-PER\n2 waits VB O\n\n0 Ost NNP B-LOC\n",
            "1-2\tAnaLund\t_\n1\tAna\tB-PER\n2\tLund\tI-PER\n2.1\tis\t_\n3\twaits\tO\n\n1\tOst\tB-LOC\n",
            "Ana\t1\tB-PER\nLund\t2\tI-PER\nwaits\t3\tO\n\nOst\t1\tB-LOC\n",
        ] {
            assert_eq!(read(file)[..2], wanted, "{file}");
        }
        // Numbers that do not count are tokens.
        assert_eq!(read("1 CD O\n7 CD O\n"), [row(0, "1 7", &[])]);
        assert_eq!(read("I O\nB O\n"), [row(0, "I B", &[])]);
    }

    #[test]
    fn marks_of_documents_and_comments_are_told_from_tokens() {
        let file = "#begin document (a/b); part 000\nAna B-PER\n\nLund B-PER\n\n#end document\n#begin document (a/c)\nOst B-LOC\n";
        assert_eq!(
            read(file),
            [row(1, "Ana", &["PER Ana"]), row(1, "Lund", &["PER Lund"]), row(2, "Ost", &["LOC Ost"])]
        );
        let file = "# newdoc id = a\n# text = Ana O\nAna\tB-PER\n\n# newdoc\nOst\tB-LOC\n";
        assert_eq!(read(file), [row(1, "Ana", &["PER Ana"]), row(2, "Ost", &["LOC Ost"])]);
        let file = "# of group O\nAna B-PER\n# O\n#1 O\n#hash B-MISC\n";
        assert_eq!(read(file), [row(0, "Ana # #1 #hash", &["PER Ana", "MISC #hash"])]);
        // As many columns as a token has, but not what stands in them.
        let file = "# group nine O\nAna NNP I-NP B-PER\n# NNP I-NP O\n";
        assert_eq!(read(file), [row(0, "Ana #", &["PER Ana"])]);
    }

    #[test]
    fn spaces_of_unicode_belong_to_tokens() {
        let file = "10\u{a0}000 O\nNew\u{202f}York B-LOC\n\u{3000} O\n";
        let gold = Conll::parse(file).unwrap();
        let tokens: Vec<&str> =
            gold.sentences[0].tokens.iter().map(|place| &gold.sentences[0].text[place.clone()]).collect();
        assert_eq!(tokens, ["10\u{a0}000", "New\u{202f}York", "\u{3000}"]);
    }

    #[test]
    fn prefixes_without_types_tag_mentions_of_one_kind() {
        assert_eq!(spans_of("O B I I O B B"), expected(&[(1, 4, UNTYPED), (5, 6, UNTYPED), (6, 7, UNTYPED)]));
        assert_eq!(spans_of("I I O S B E"), expected(&[(0, 2, UNTYPED), (3, 4, UNTYPED), (4, 6, UNTYPED)]));
        assert_eq!(spans_of("S O L"), expected(&[(0, 1, "S"), (2, 3, "L")]), "types of one letter");
    }

    #[test]
    fn words_in_the_place_of_tags_are_refused() {
        let file: String = (0..500).map(|number| format!("x word{number}\n")).collect();
        assert!(Conll::parse(&file).unwrap_err().problem.contains("500 different words"));
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
