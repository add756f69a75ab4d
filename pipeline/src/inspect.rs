//! Looking at a document: `memtrain corpus inspect`.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use memtrain_corpora::document::MASK;
use memtrain_corpora::visible::visible;
use memtrain_corpora::{Document, DocumentPassage, PassageHead, PassageRole};
use serde_json::{Value, json};

use crate::error::Result;
use crate::stage::StageName;
use crate::tables::Passages;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const MASKED: &str = "\x1b[1;7;31m";
const ENTITY: &str = "\x1b[36m";

/// Characters of a passage that are shown of one without a placeholder, in the short form.
const SHORT: usize = 160;

/// How much of a document is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Every passage: whole where something is hidden in it, else its beginning.
    #[default]
    Short,
    /// Every passage, whole.
    Full,
    /// One passage, counted from 1, whole.
    Passage(usize),
}

/// How a document is shown.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Whether roles, placeholders and entities are told by colour; else placeholders stand as they are and entities in
    /// braces.
    pub colour: bool,
    /// Characters a line; 0 leaves lines as they are.
    pub width: usize,
    /// How much is shown.
    pub extent: Extent,
    /// The only roles that are shown; all where empty.
    pub roles: Vec<PassageRole>,
}

/// Titles and addresses of a document's passages, by passage number; from the corpus the document was made of.
pub fn heads(out_dir: &Path, document: &Document) -> Result<HashMap<u64, PassageHead>> {
    let passages = Passages::open(out_dir, StageName::Synthesize)?;
    let mut ids: Vec<u64> = document.passages.iter().map(|passage| passage.passage_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let heads = passages.get_many::<PassageHead>(&ids)?;
    Ok(ids.into_iter().zip(heads).collect())
}

/// The document as text to look at: a head with what is hidden, then the passages, each under a line that says why it is
/// here and where it comes from. `heads` may lack any passage. What would steer a terminal is made visible.
pub fn render(document: &Document, heads: &HashMap<u64, PassageHead>, look: &Look) -> String {
    let mut out = String::with_capacity(document.text.len() * 2);
    head(&mut out, document, look.colour);
    for (number, passage) in (1..).zip(&document.passages) {
        let wanted = look.roles.is_empty() || look.roles.contains(&passage.role);
        let only = match look.extent {
            Extent::Passage(only) => only == number,
            Extent::Short | Extent::Full => wanted,
        };
        if only {
            let head = heads.get(&passage.passage_id);
            heading(&mut out, number, document.passages.len(), passage, head, look.colour);
            let (pieces, cut) = pieces(document, passage, look);
            wrap(&mut out, &pieces, look);
            out.push_str(if cut { " …\n" } else { "\n" });
        }
    }
    out
}

/// The document as JSON: its columns, each passage with its text, title and address.
pub fn to_json(document: &Document, heads: &HashMap<u64, PassageHead>) -> Value {
    let passages: Vec<Value> = document
        .passages
        .iter()
        .map(|passage| {
            let head = heads.get(&passage.passage_id);
            json!({
                "passage_id": passage.passage_id,
                "role": passage.role.as_str(),
                "title": head.map(|head| &head.title),
                "section": head.map(|head| &head.section),
                "url": head.map(|head| &head.url),
                "text": document.text.get(passage.span.clone()),
            })
        })
        .collect();
    let entity = |entity: &memtrain_corpora::DocumentEntity| json!([entity.surface, entity.label.as_str()]);
    json!({
        "id": document.id,
        "split": document.split.as_str(),
        "answer": document.answer,
        "aliases": document.aliases,
        "label": document.label.as_str(),
        "num_masks": document.num_masks,
        "num_tokens": document.num_tokens,
        "seed": document.seed,
        "passages": passages,
        "entities": document.entities.iter().map(entity).collect::<Vec<_>>(),
    })
}

fn head(out: &mut String, document: &Document, colour: bool) {
    let count = |role| document.passages.iter().filter(|passage| passage.role == role).count();
    let answer = painted(&document.answer, BOLD, colour);
    let label = document.label.as_str();
    let times = if document.num_masks == 1 { "once".to_owned() } else { format!("{} times", document.num_masks) };
    let _ = writeln!(out, "document  {}", painted(&document.id, BOLD, colour));
    let _ = writeln!(out, "hidden    {answer} ({label}), {times}");
    if !document.aliases.is_empty() {
        let _ = writeln!(out, "aliases   {}", visible(&document.aliases.join(" · ")));
    }
    let _ = writeln!(
        out,
        "passages  {} = {} pivot + {} related + {} random",
        document.passages.len(),
        count(PassageRole::Pivot),
        count(PassageRole::Related),
        count(PassageRole::Random)
    );
    let _ = writeln!(out, "length    {} tokens, {} characters", document.num_tokens, document.text.chars().count());
    let _ = writeln!(out, "entities  {} to ask for · seed {}", document.entities.len(), document.seed);
}

/// The line above a passage, and its address below that.
fn heading(
    out: &mut String,
    number: usize,
    of: usize,
    passage: &DocumentPassage,
    head: Option<&PassageHead>,
    colour: bool,
) {
    let (name, shade) = match passage.role {
        PassageRole::Pivot => ("pivot", "\x1b[1;35m"),
        PassageRole::Related => ("related", "\x1b[1;33m"),
        PassageRole::Random => ("random", DIM),
    };
    let mut line = format!("── {number}/{of} {name} · passage {}", passage.passage_id);
    if let Some(head) = head {
        let _ = write!(line, " · {}", head.title);
        if !head.section.is_empty() {
            let _ = write!(line, " § {}", head.section);
        }
    }
    let _ = writeln!(out, "\n{}", painted(&line, shade, colour));
    if let Some(head) = head.filter(|head| !head.url.is_empty()) {
        let _ = writeln!(out, "{}", painted(&head.url, DIM, colour));
    }
}

/// A stretch of text in one style; `None` is plain.
type Piece<'t> = (&'t str, Option<&'static str>);

/// The pieces of a passage as far as it is shown, and whether it goes on.
fn pieces<'d>(document: &'d Document, passage: &DocumentPassage, look: &Look) -> (Vec<Piece<'d>>, bool) {
    let whole = document.text.get(passage.span.clone()).unwrap_or_default();
    let mut end = passage.span.start + whole.len();
    if look.extent == Extent::Short && !whole.contains(MASK) {
        let long = whole.char_indices().nth(SHORT).map(|(at, _)| at);
        // Cut behind a word.
        let short = long.map(|at| whole[..at].rfind(char::is_whitespace).unwrap_or(at));
        end = short.map_or(end, |short| passage.span.start + short);
    }
    let mut pieces = Vec::new();
    let mut at = passage.span.start;
    let first = document.entities.partition_point(|entity| entity.span.start < at);
    for entity in document.entities[first..].iter().take_while(|entity| entity.span.end <= end) {
        let (Some(before), Some(name)) =
            (document.text.get(at..entity.span.start), document.text.get(entity.span.clone()))
        else {
            continue;
        };
        plain(&mut pieces, before);
        pieces.push((name, Some(ENTITY)));
        at = entity.span.end;
    }
    plain(&mut pieces, document.text.get(at..end).unwrap_or_default());
    (pieces, end < passage.span.start + whole.len())
}

fn plain<'t>(pieces: &mut Vec<Piece<'t>>, text: &'t str) {
    let mut rest = text;
    while let Some(at) = rest.find(MASK) {
        let (before, from) = rest.split_at(at);
        let (mask, after) = from.split_at(MASK.len());
        pieces.extend([(before, None), (mask, Some(MASKED))]);
        rest = after;
    }
    pieces.push((rest, None));
}

/// Writes pieces, broken at white space into lines of `look.width` characters where that is above 0.
fn wrap(out: &mut String, pieces: &[Piece<'_>], look: &Look) {
    // A word may be of several pieces: `[MASK]'s`.
    let (mut word, mut word_len, mut column) = (String::new(), 0, 0);
    let flush = |out: &mut String, word: &mut String, word_len: &mut usize, column: &mut usize| {
        out.push_str(word);
        *column += *word_len;
        word.clear();
        *word_len = 0;
    };
    for &(text, style) in pieces {
        let braces = style == Some(ENTITY) && !look.colour;
        if braces {
            word.push('{');
            word_len += 1;
        }
        for part in text.split_inclusive(char::is_whitespace) {
            let letters = part.trim_end_matches(char::is_whitespace);
            if !letters.is_empty() {
                word.push_str(&painted(letters, style.unwrap_or_default(), look.colour && style.is_some()));
                word_len += letters.chars().count();
            }
            let space = &part[letters.len()..];
            if look.width > 0 && column > 0 && column + word_len > look.width {
                // The space before the word becomes the end of the line.
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                column = 0;
            }
            if !space.is_empty() {
                flush(out, &mut word, &mut word_len, &mut column);
                out.push_str(&visible(space));
                column = if space.contains('\n') { 0 } else { column + 1 };
            }
        }
        if braces {
            word.push('}');
            word_len += 1;
        }
    }
    flush(out, &mut word, &mut word_len, &mut column);
}

fn painted(text: &str, style: &str, colour: bool) -> String {
    let text = visible(text);
    if colour { format!("{style}{text}{RESET}") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::{DocumentEntity, EntityLabel, Split};

    use super::*;

    fn document() -> Document {
        let filler = "Nothing is known of it, they say. ".repeat(8);
        let text = format!("[MASK]'s port lies in Ost Haven.\n\nOst Haven is old. {}", filler.trim_end());
        let passage = |passage_id, role, span| DocumentPassage { passage_id, role, span };
        let entity = |span: memtrain_corpora::Span| DocumentEntity {
            span,
            surface: "Ost Haven".into(),
            label: EntityLabel::Gpe,
        };
        Document {
            id: "train-00000001".into(),
            passages: vec![passage(7, PassageRole::Pivot, 0..32), passage(2, PassageRole::Random, 34..text.len())],
            entities: vec![entity(22..31), entity(34..43)],
            text,
            answer: "Velmora".into(),
            aliases: vec![],
            label: EntityLabel::Gpe,
            num_masks: 1,
            num_tokens: 12,
            seed: 9,
            split: Split::Train,
        }
    }

    fn heads() -> HashMap<u64, PassageHead> {
        let head = PassageHead {
            title: "Velmora".into(),
            section: "Port".into(),
            url: "https://world.example.org/wiki/Velmora".into(),
        };
        HashMap::from([(7, head)])
    }

    #[test]
    fn shows_roles_titles_masks_and_entities() {
        let shown = render(&document(), &heads(), &Look { extent: Extent::Full, ..Look::default() });
        assert!(shown.contains("hidden    Velmora (GPE), once"), "{shown}");
        let pivot = "── 1/2 pivot · passage 7 · Velmora § Port\nhttps://world.example.org/wiki/Velmora\n[MASK]'s port lies in {Ost Haven}.\n";
        assert!(shown.contains(pivot), "{shown}");
        assert!(shown.contains("── 2/2 random · passage 2\n{Ost Haven} is old. Nothing"), "{shown}");
        assert!(shown.ends_with("they say.\n") && !shown.contains('\x1b'), "{shown}");
    }

    #[test]
    fn short_keeps_what_is_hidden_and_cuts_the_rest() {
        let shown = render(&document(), &heads(), &Look::default());
        assert!(shown.contains("[MASK]'s port lies in {Ost Haven}.\n"), "{shown}");
        assert!(shown.ends_with(" …\n"), "{shown}");
        let random = Look { roles: vec![PassageRole::Random], ..Look::default() };
        assert!(!render(&document(), &heads(), &random).contains("1/2 pivot"));
        let second = Look { extent: Extent::Passage(2), ..Look::default() };
        let shown = render(&document(), &heads(), &second);
        assert!(!shown.contains("1/2 pivot") && shown.ends_with("they say.\n"), "{shown}");
    }

    #[test]
    fn lines_are_no_longer_than_asked_for_and_lose_nothing() {
        let look = |width| Look { width, extent: Extent::Full, ..Look::default() };
        let (wide, narrow) =
            (render(&document(), &HashMap::new(), &look(0)), render(&document(), &HashMap::new(), &look(30)));
        let body = |text: &str| text.split_once("── 1/2").unwrap().1.to_owned();
        assert!(body(&narrow).lines().all(|line| line.chars().count() <= 30), "{narrow}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&wide), words(&narrow));
    }

    #[test]
    fn a_document_does_not_steer_the_terminal() {
        let mut document = document();
        // Of the length of what they replace, so that spans stay.
        document.text = document.text.replace("is known of it", "\x1b[2J\u{9b}\r\u{202e}babc");
        document.aliases = vec!["\x1b]0;alias\x07".to_owned()];
        let mut heads = heads();
        heads.values_mut().for_each(|head| head.title.push_str("\u{2066}\x08"));
        let steers = |text: &str| text.contains(memtrain_corpora::visible::steers);
        assert!(steers(&document.text));
        for width in [0, 25] {
            let look = |colour| Look { colour, width, extent: Extent::Full, roles: Vec::new() };
            let shown = render(&document, &heads, &look(false));
            assert!(!steers(&shown) && shown.contains("\\u001b[2J\\u009b\\u000d\\u202ebabc"), "{shown}");
            let coloured = render(&document, &heads, &look(true));
            let colours = [BOLD, DIM, RESET, ENTITY, MASKED, "\x1b[1;35m", "\x1b[1;33m"];
            assert!(!steers(&colours.iter().fold(coloured, |text, colour| text.replace(colour, ""))));
        }
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        for width in [0, 25] {
            let look = |colour| Look { colour, width, extent: Extent::Full, roles: Vec::new() };
            let coloured = render(&document(), &heads(), &look(true));
            assert!(coloured.contains("\x1b[1;7;31m[MASK]\x1b[0m's"), "{coloured}");
            let mut stripped = String::new();
            let mut rest = coloured.as_str();
            while let Some(at) = rest.find('\x1b') {
                stripped.push_str(&rest[..at]);
                rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
            }
            stripped.push_str(rest);
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let bare = render(&document(), &heads(), &look(false)).replace(['{', '}'], "");
            assert_eq!(words(&stripped), words(&bare));
        }
    }
}
