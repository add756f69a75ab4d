//! From drawn passages to a masked document: a pure function.

use memtrain_corpora::document::MASK;
use memtrain_corpora::mask::{Matching, SpanMap, is_whole_word, leaks, occurrences_of_any, replace};
use memtrain_corpora::{Document, DocumentEntity, DocumentPassage, EntityLabel, Mention, PassageRole, Span, Split};

use super::forms::other_forms;
use super::material::Material;
use crate::config::{PassageLayout, SynthesizeConfig};

/// What is hidden in a document.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    pub(crate) answer: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) label: EntityLabel,
    /// Names have endings of cases in the corpus's language.
    pub(crate) inflected: bool,
}

/// Name and seed of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) split: Split,
    pub(crate) number: u64,
    pub(crate) seed: u64,
}

/// Joins the passages in the order given and hides the entity in all of them. `num_tokens` is left at 0. Mentions that are
/// `listed` can be asked for.
pub(crate) fn assemble(
    drawn: &[(&Material, PassageRole)],
    hidden: &Hidden,
    identity: Identity,
    config: &SynthesizeConfig,
    listed: &dyn Fn(&Mention) -> bool,
) -> Document {
    let length = |(passage, _): &(&Material, PassageRole)| passage.title.len() + passage.text.len() + 16;
    let mut text = String::with_capacity(drawn.iter().map(length).sum());
    let mut places: Vec<(Span, usize)> = Vec::with_capacity(drawn.len());
    for ((passage, _), number) in drawn.iter().zip(1..) {
        if !text.is_empty() {
            text.push_str(&config.separator);
        }
        if config.layout == PassageLayout::Numbered {
            text.push_str(&format!("Document {number}:\n"));
        }
        let start = text.len();
        if config.layout == PassageLayout::TitleAndText {
            text.push_str(&passage.title);
            text.push('\n');
        }
        let body = text.len();
        text.push_str(&passage.text);
        places.push((start..text.len(), body));
    }
    let mut surfaces = vec![hidden.answer.as_str()];
    if config.mask_aliases {
        surfaces.extend(hidden.aliases.iter().map(String::as_str));
    }
    let matching = Matching { case_sensitive: config.case_sensitive };
    let mut spans = occurrences_of_any(&text, &surfaces, matching);
    if config.mask_forms {
        let is_free = |form: &Span| {
            let next = spans.partition_point(|span| span.end <= form.start);
            spans.get(next).is_none_or(|span| form.end <= span.start)
        };
        let forms = other_forms(&text, &hidden.answer, hidden.label, hidden.inflected);
        let forms: Vec<Span> = forms.into_iter().filter(is_free).collect();
        spans.extend(forms);
        spans.sort_unstable_by_key(|span| span.start);
    }
    if config.layout == PassageLayout::Numbered {
        let is_in_passage = |span: &Span| {
            let after = places.partition_point(|(place, _)| place.start <= span.start);
            after.checked_sub(1).is_some_and(|last| span.end <= places[last].0.end)
        };
        spans.retain(is_in_passage);
    }
    let (masked, placeholders) = replace(&text, &spans, MASK);
    let map = SpanMap::new(&spans, MASK);

    let mut passages = Vec::with_capacity(drawn.len());
    let mut entities = Vec::new();
    let answer = hidden.answer.to_lowercase();
    for (&(passage, role), (place, body)) in drawn.iter().zip(places) {
        passages.push(DocumentPassage { passage_id: passage.id, role, span: map.cover(&place) });
        for mention in passage.mentions.iter().filter(|mention| listed(mention)) {
            let span = body + mention.span.start..body + mention.span.end;
            // A mention that overlaps what was hidden, is it, or is part of a word cannot be asked for.
            let kept = map.carry(&span).filter(|span| is_whole_word(&masked, span));
            if let Some(span) = kept.filter(|_| mention.surface.to_lowercase() != answer) {
                entities.push(DocumentEntity { span, surface: mention.surface.clone(), label: mention.label });
            }
        }
    }
    Document {
        id: format!("{}-{:08}", identity.split.as_str(), identity.number),
        text: masked,
        answer: hidden.answer.clone(),
        aliases: hidden.aliases.clone(),
        label: hidden.label,
        passages,
        entities,
        num_masks: u32::try_from(placeholders.len()).unwrap_or(u32::MAX),
        num_tokens: 0,
        seed: identity.seed,
        split: identity.split,
    }
}

/// Whether the hidden words still stand in the text in any dress.
pub(crate) fn is_leaking(document: &Document) -> bool {
    leaks(&document.text, &document.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(id: u64, title: &str, text: &str, surfaces: &[&str]) -> Material {
        let mentions = surfaces
            .iter()
            .map(|surface| {
                let start = text.find(surface).unwrap();
                Mention { span: start..start + surface.len(), surface: (*surface).to_owned(), label: EntityLabel::Gpe }
            })
            .collect();
        Material { id, title: title.into(), text: text.into(), mentions }
    }

    /// Only the entity's own words are hidden.
    fn paper() -> SynthesizeConfig {
        SynthesizeConfig { mask_aliases: false, mask_forms: false, ..SynthesizeConfig::default() }
    }

    fn example(config: &SynthesizeConfig) -> Document {
        let one = material(4, "Velmora", "Velmora's port lies in Ost.", &["Velmora", "Ost"]);
        let two = material(9, "Ost", "The Queen of Ost fled Velmora, the Grey Port.", &["Ost", "Velmora", "Grey Port"]);
        let hidden = Hidden {
            answer: "Velmora".into(),
            aliases: vec!["Grey Port".into()],
            label: EntityLabel::Gpe,
            inflected: false,
        };
        let drawn = [(&one, PassageRole::Pivot), (&two, PassageRole::Random)];
        assemble(&drawn, &hidden, Identity { split: Split::Train, number: 3, seed: 5 }, config, &|_| true)
    }

    #[test]
    fn headings_are_numbered_and_never_hidden() {
        let config = SynthesizeConfig { layout: PassageLayout::Numbered, ..paper() };
        let document = example(&config);
        let text =
            "Document 1:\n[MASK]'s port lies in Ost.\n\nDocument 2:\nThe Queen of Ost fled [MASK], the Grey Port.";
        assert_eq!(document.text, text);
        assert_eq!(document.passages.iter().map(|p| p.span.start).collect::<Vec<_>>(), [12, 52]);
        // A number that a heading shows cannot be hidden: its neighbours would tell it.
        let one = material(4, "A", "It has 2 ports.", &["2"]);
        let two = material(9, "B", "Of 2, one is old.", &["2"]);
        let hidden = Hidden { answer: "2".into(), aliases: vec![], label: EntityLabel::Cardinal, inflected: false };
        let drawn = [(&one, PassageRole::Pivot), (&two, PassageRole::Random)];
        let document =
            assemble(&drawn, &hidden, Identity { split: Split::Train, number: 3, seed: 5 }, &config, &|_| true);
        assert_eq!(document.text, "Document 1:\nIt has [MASK] ports.\n\nDocument 2:\nOf [MASK], one is old.");
        assert!(is_leaking(&document));
    }

    #[test]
    fn what_is_not_listed_cannot_be_asked_for() {
        let one = material(4, "A", "Two ports of Ost.", &["Two", "Ost"]);
        let hidden = Hidden { answer: "ports".into(), aliases: vec![], label: EntityLabel::Misc, inflected: false };
        let identity = Identity { split: Split::Train, number: 3, seed: 5 };
        let of_names = |mention: &Mention| mention.surface != "Two";
        let drawn = [(&one, PassageRole::Pivot)];
        let document = assemble(&drawn, &hidden, identity, &SynthesizeConfig::default(), &of_names);
        assert_eq!(document.entities.iter().map(|e| e.surface.as_str()).collect::<Vec<_>>(), ["Ost"]);
    }

    #[test]
    fn hides_everywhere_and_keeps_spans() {
        let document = example(&paper());
        assert_eq!(
            document.text,
            "[MASK]\n[MASK]'s port lies in Ost.\n\nOst\nThe Queen of Ost fled [MASK], the Grey Port."
        );
        assert_eq!((document.id.as_str(), document.num_masks), ("train-00000003", 3));
        let texts: Vec<_> = document.passages.iter().map(|p| &document.text[p.span.clone()]).collect();
        assert_eq!(texts[1], "Ost\nThe Queen of Ost fled [MASK], the Grey Port.");
        let surfaces: Vec<_> = document.entities.iter().map(|e| e.surface.as_str()).collect();
        assert_eq!(surfaces, ["Ost", "Ost", "Grey Port"]);
        assert!(document.entities.iter().all(|e| document.text[e.span.clone()] == e.surface));
        assert!(!is_leaking(&document));
    }

    #[test]
    fn aliases_are_hidden_on_demand() {
        let config = SynthesizeConfig { mask_aliases: true, layout: PassageLayout::Text, ..paper() };
        let document = example(&config);
        assert_eq!(document.text, "[MASK]'s port lies in Ost.\n\nThe Queen of Ost fled [MASK], the [MASK].");
        assert_eq!(document.entities.len(), 2);
    }

    #[test]
    fn other_forms_are_hidden_beside_the_entity_itself() {
        let one = material(1, "Velmora", "The Velmoran port of Velmora.", &["Velmora", "port"]);
        let two = material(2, "Ost", "Velmorans met the Velmora Guard in Ost.", &["Ost"]);
        let hidden = Hidden {
            answer: "Velmora".into(),
            aliases: vec!["Velmora Guard".into()],
            label: EntityLabel::Gpe,
            inflected: false,
        };
        let drawn = [(&one, PassageRole::Pivot), (&two, PassageRole::Related)];
        let identity = Identity { split: Split::Train, number: 3, seed: 5 };
        let document = assemble(&drawn, &hidden, identity, &SynthesizeConfig::default(), &|_| true);
        let expected = "[MASK]\nThe [MASK] port of [MASK].\n\nOst\n[MASK] met the [MASK] in Ost.";
        assert_eq!((document.text.as_str(), document.num_masks), (expected, 5));
        assert!(document.entities.iter().all(|e| document.text[e.span.clone()] == e.surface));
    }

    #[test]
    fn another_case_is_a_leak() {
        let mut document = example(&paper());
        document.text.push_str(" VELMORA");
        assert!(is_leaking(&document));
    }
}
