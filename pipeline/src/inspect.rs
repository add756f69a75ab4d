//! Looking at a document: `memtrain corpus inspect`.

use std::fmt::Write;

use memtrain_corpora::document::MASK;
use memtrain_corpora::{Document, PassageRole};

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const MASKED: &str = "\x1b[1;7;31m";
const ENTITY: &str = "\x1b[36m";

/// The document as text to look at: a head with what is hidden, then each passage under a line that says why it is here,
/// with placeholders and entities marked (by colour, or by `{entity}` braces without).
pub fn render(document: &Document, colour: bool) -> String {
    let mut out = String::with_capacity(document.text.len() * 2);
    head(&mut out, document, colour);
    for (number, passage) in document.passages.iter().enumerate() {
        let (name, shade) = match passage.role {
            PassageRole::Pivot => ("pivot", "\x1b[1;35m"),
            PassageRole::Related => ("related", "\x1b[1;33m"),
            PassageRole::Random => ("random", DIM),
        };
        let line = format!("── {}/{} {name} · passage {}", number + 1, document.passages.len(), passage.passage_id);
        let line = painted(&line, shade, colour);
        let _ = writeln!(out, "\n{line}");
        body(&mut out, document, passage.span.clone(), colour);
        out.push('\n');
    }
    out
}

fn head(out: &mut String, document: &Document, colour: bool) {
    let count = |role| document.passages.iter().filter(|passage| passage.role == role).count();
    let answer = painted(&document.answer, BOLD, colour);
    let label = document.label.as_str();
    let _ = writeln!(out, "document  {}", painted(&document.id, BOLD, colour));
    let _ = writeln!(out, "hidden    {answer} ({label}), {} times", document.num_masks);
    if !document.aliases.is_empty() {
        let _ = writeln!(out, "aliases   {}", document.aliases.join(" · "));
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

/// The text of one passage with its marks.
fn body(out: &mut String, document: &Document, span: memtrain_corpora::Span, colour: bool) {
    let first = document.entities.partition_point(|entity| entity.span.start < span.start);
    let mut at = span.start;
    for entity in document.entities[first..].iter().take_while(|entity| entity.span.end <= span.end) {
        plain(out, &document.text[at..entity.span.start], colour);
        if colour {
            out.push_str(&painted(&entity.surface, ENTITY, true));
        } else {
            let _ = write!(out, "{{{}}}", entity.surface);
        }
        at = entity.span.end;
    }
    plain(out, &document.text[at..span.end], colour);
}

fn plain(out: &mut String, text: &str, colour: bool) {
    if colour { out.push_str(&text.replace(MASK, &painted(MASK, MASKED, true))) } else { out.push_str(text) }
}

fn painted(text: &str, style: &str, colour: bool) -> String {
    if colour { format!("{style}{text}{RESET}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::{DocumentEntity, DocumentPassage, EntityLabel, Split};

    use super::*;

    fn document() -> Document {
        let text = "[MASK] lies in Ost.\n\nOst is old.".to_owned();
        let passage = |passage_id, role, span| DocumentPassage { passage_id, role, span };
        let entity =
            |span: memtrain_corpora::Span| DocumentEntity { span, surface: "Ost".into(), label: EntityLabel::Gpe };
        Document {
            id: "train-00000001".into(),
            passages: vec![passage(7, PassageRole::Pivot, 0..19), passage(2, PassageRole::Random, 21..32)],
            entities: vec![entity(15..18), entity(21..24)],
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

    #[test]
    fn shows_roles_masks_and_entities() {
        let shown = render(&document(), false);
        assert!(shown.contains("hidden    Velmora (GPE), 1 times"));
        assert!(shown.contains("── 1/2 pivot · passage 7\n[MASK] lies in {Ost}.\n"));
        assert!(shown.contains("── 2/2 random · passage 2\n{Ost} is old.\n"));
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let coloured = render(&document(), true);
        assert!(coloured.contains("\x1b[1;7;31m[MASK]\x1b[0m"));
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some(at) = rest.find('\x1b') {
            stripped.push_str(&rest[..at]);
            rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
        }
        stripped.push_str(rest);
        assert_eq!(stripped, render(&document(), false).replace(['{', '}'], ""));
    }
}
