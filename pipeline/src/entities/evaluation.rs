//! Evaluation of a back-end against gold: precision, recall and F1 of exact spans, as seqeval and the CoNLL shared
//! tasks define them. A found mention is right when a gold mention has the same first and last token and the same label.

use std::collections::{BTreeMap, HashSet};

use memtrain_corpora::{Entity, EntityLabel, Passage};
use serde::Serialize;

use super::EntityBackend;
use super::conll::{Conll, Sentence, UNTYPED};
use crate::error::{PipelineError, Result};

/// Counts of mentions, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// `correct / predicted`; 0 without predictions.
    pub precision: f64,
    /// `correct / support`; 0 without support.
    pub recall: f64,
    /// Harmonic mean of both; 0 where both are.
    pub f1: f64,
    /// Gold mentions.
    pub support: usize,
    /// Found mentions.
    pub predicted: usize,
    /// Found mentions that are in the gold.
    pub correct: usize,
}

impl Score {
    /// The score of some counts.
    pub fn new(correct: usize, predicted: usize, support: usize) -> Self {
        let share = |of: usize| if of == 0 { 0.0 } else { correct as f64 / of as f64 };
        let (precision, recall) = (share(predicted), share(support));
        let sum = precision + recall;
        let f1 = if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum };
        Self { precision, recall, f1, support, predicted, correct }
    }
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The label as the gold has it; gold labels that the back-end cannot tell apart are joined by `+`.
    pub label: String,
    /// Its score.
    #[serde(flatten)]
    pub score: Score,
}

/// A gold mention that was not found, or a found one that is not in the gold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Number of the sentence, from 0.
    pub sentence: usize,
    /// The words.
    pub text: String,
    /// What the gold says of exactly these words.
    pub gold: Option<String>,
    /// What the back-end says of exactly these words, by its own label.
    pub found: Option<&'static str>,
}

/// What a back-end reached on a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the back-end.
    pub backend: String,
    /// Tag scheme of the file.
    pub scheme: super::conll::Scheme,
    /// Documents in the file.
    pub documents: usize,
    /// Sentences in the file.
    pub sentences: usize,
    /// Tokens in the file.
    pub tokens: usize,
    /// Which of the back-end's labels count as which label of the gold; `null` for those that are left out.
    pub mapping: BTreeMap<&'static str, Option<String>>,
    /// Labels of the gold that no label of the back-end counts as.
    pub unmapped: Vec<String>,
    /// A row a label, in the order of the alphabet.
    pub labels: Vec<Row>,
    /// Over all mentions.
    pub micro: Score,
    /// The mean of the rows' precision, recall and F1, as seqeval's `macro avg`.
    #[serde(rename = "macro")]
    pub macro_average: Score,
    /// Spans alone, whatever their labels. Mentions whose label is left out do not count here either.
    pub boundaries: Score,
    /// Every mention that is wrong or missing, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

/// How labels of a back-end are compared with those of the gold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The gold's label → the row it counts in.
    rows: BTreeMap<String, String>,
    /// The back-end's label → the row it counts in; absent where it is left out.
    predicted: BTreeMap<EntityLabel, String>,
}

/// Names that label sets give to one kind of thing.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("PERSON", &["person", "per", "pers", "people", "human"]),
    ("NORP", &["norp", "nationality", "nat"]),
    ("FAC", &["fac", "facility", "building"]),
    ("ORG", &["org", "organization", "organisation", "corporation", "corp", "company", "group", "grp", "institution"]),
    ("GPE", &["gpe", "gpe_loc", "gpe_org", "city", "country", "sta"]),
    ("LOC", &["loc", "location", "geo", "geo-loc", "place", "lugar"]),
    ("PRODUCT", &["product", "prod", "prd", "obj", "vehi"]),
    ("EVENT", &["event", "evt", "eve", "evn"]),
    ("WORK_OF_ART", &["work_of_art", "work", "creative-work", "creative_work", "cw", "art", "media"]),
    ("LAW", &["law", "reg"]),
    ("LANGUAGE", &["language", "lang"]),
    ("DATE", &["date", "dat"]),
    ("TIME", &["time", "tim"]),
    ("PERCENT", &["percent", "percentage"]),
    ("MONEY", &["money", "mon"]),
    ("QUANTITY", &["quantity", "measure"]),
    ("ORDINAL", &["ordinal"]),
    ("CARDINAL", &["cardinal", "num", "number"]),
    ("MISC", &["misc", "miscellaneous", "oth", "other", "mis"]),
];

/// The kinds a label may count as, the nearest first.
fn preferences(label: EntityLabel) -> &'static [&'static str] {
    use EntityLabel::*;
    match label {
        Person => &["PERSON"],
        Norp => &["NORP", "MISC"],
        Fac => &["FAC", "LOC", "GPE"],
        Org => &["ORG"],
        Gpe => &["GPE", "LOC"],
        Loc => &["LOC", "GPE"],
        Product => &["PRODUCT", "MISC"],
        Event => &["EVENT", "MISC"],
        WorkOfArt => &["WORK_OF_ART", "MISC"],
        Law => &["LAW", "MISC"],
        Language => &["LANGUAGE", "MISC"],
        Date => &["DATE"],
        Time => &["TIME", "DATE"],
        Percent => &["PERCENT"],
        Money => &["MONEY"],
        Quantity => &["QUANTITY"],
        Ordinal => &["ORDINAL"],
        Cardinal => &["CARDINAL"],
        Misc => &["MISC"],
        Unknown => &[],
    }
}

/// The kind a gold label names: by its whole name, else by the part before the first hyphen (`person-actor`).
fn kind(label: &str) -> Option<&'static str> {
    let lower = label.to_lowercase();
    let named = |name: &str| SYNONYMS.iter().find(|(_, names)| names.contains(&name)).map(|(kind, _)| *kind);
    named(&lower).or_else(|| lower.split_once('-').and_then(|(coarse, _)| named(coarse)))
}

/// The label of ours that a label of a model names, by the names that label sets give to kinds of things.
pub(super) fn label_of(name: &str) -> Option<EntityLabel> {
    EntityLabel::from_name(name).or_else(|| EntityLabel::from_name(kind(name)?))
}

impl Mapping {
    /// The mapping for a gold with these labels: every label of the back-end counts as the nearest kind that the gold has.
    /// Gold labels of one kind share a row; where mentions have no label, all of the back-end count as such.
    ///
    /// ```
    /// use memtrain_corpora::EntityLabel;
    /// use memtrain_pipeline::entities::evaluation::Mapping;
    /// let mapping = Mapping::for_labels(["PER", "LOC", "ORG", "MISC"]);
    /// assert_eq!(mapping.row_of(EntityLabel::Gpe), Some("LOC"));
    /// assert_eq!(mapping.row_of(EntityLabel::Norp), Some("MISC"));
    /// assert_eq!(mapping.row_of(EntityLabel::Date), None);
    /// ```
    pub fn for_labels<'l>(labels: impl IntoIterator<Item = &'l str>) -> Mapping {
        let mut by_kind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut mapping = Mapping::default();
        for label in labels {
            match kind(label) {
                Some(kind) => by_kind.entry(kind).or_default().push(label),
                None => drop(mapping.rows.insert(label.to_owned(), label.to_owned())),
            }
        }
        let row: BTreeMap<&str, String> =
            by_kind.iter().map(|(kind, labels)| (*kind, row_name(kind, labels))).collect();
        for (kind, labels) in &by_kind {
            mapping.rows.extend(labels.iter().map(|label| ((*label).to_owned(), row[kind].clone())));
        }
        let untyped = by_kind.is_empty() && mapping.rows.keys().eq([UNTYPED]);
        for label in EntityLabel::ALL {
            if untyped {
                mapping.predicted.insert(label, UNTYPED.to_owned());
            } else if let Some(row) = preferences(label).iter().find_map(|kind| row.get(kind)) {
                mapping.predicted.insert(label, row.clone());
            }
        }
        mapping
    }

    /// Counts a label of the back-end as a label of the gold, or leaves it out (`None`).
    ///
    /// # Errors
    /// If the gold has no such label.
    pub fn set(&mut self, label: EntityLabel, gold: Option<&str>) -> Result<()> {
        match gold {
            None => drop(self.predicted.remove(&label)),
            Some(gold) => match self.rows.get(gold) {
                Some(row) => drop(self.predicted.insert(label, row.clone())),
                None => {
                    let known: Vec<&str> = self.rows.keys().map(String::as_str).collect();
                    let problem = format!("names `{gold}`, and the gold has {}", known.join(", "));
                    return Err(PipelineError::Config { key: "map", problem });
                }
            },
        }
        Ok(())
    }

    /// The row a label of the back-end counts in.
    pub fn row_of(&self, label: EntityLabel) -> Option<&str> {
        self.predicted.get(&label).map(String::as_str)
    }
}

/// Few labels are joined; many fine ones (`person-actor`, `person-athlete` …) go by their kind.
fn row_name(kind: &str, labels: &[&str]) -> String {
    if labels.len() <= 3 { labels.join("+") } else { kind.to_owned() }
}

/// The sentences of a file as passages, one each; those of a document follow one another as one text.
pub fn passages(gold: &Conll) -> Vec<Passage> {
    let of_sentence = |(id, sentence): (usize, &Sentence)| Passage {
        id: id as u64,
        article_id: sentence.document as u64,
        ..super::plain_passage(&sentence.text)
    };
    gold.sentences.iter().enumerate().map(of_sentence).collect()
}

/// Tags a file with a back-end and compares. Sentences are handed over by documents.
///
/// # Errors
/// If the back-end fails.
pub fn evaluate(gold: &Conll, backend: &dyn EntityBackend, mapping: &Mapping) -> Result<Report> {
    let passages = passages(gold);
    let mut counts: BTreeMap<&str, [usize; 3]> = mapping.rows.values().map(|row| (row.as_str(), [0; 3])).collect();
    let (mut boundaries, mut mistakes) = ([0; 3], Vec::new());
    let found = backend.mentions(&passages)?;
    for (number, (sentence, mentions)) in gold.sentences.iter().zip(found).enumerate() {
        let wanted: HashSet<_> =
            sentence.spans.iter().map(|span| (span.tokens.clone(), mapping.rows[&span.label].as_str())).collect();
        let wanted_spans: HashSet<_> = sentence.spans.iter().map(|span| span.tokens.clone()).collect();
        for (_, row) in &wanted {
            counts.entry(row).or_default()[2] += 1;
        }
        boundaries[2] += wanted_spans.len();
        let (mut labelled, mut spans) = (HashSet::new(), HashSet::new());
        mistakes.extend(self::mistakes(number, sentence, &mentions, mapping));
        for mention in mentions {
            let row = mapping.row_of(mention.label);
            if row.is_none() && mention.label != EntityLabel::Unknown {
                continue;
            }
            // What covers no token is wrong, and counts.
            let place = sentence.align(&mention.span).unwrap_or(usize::MAX..mention.span.start);
            if spans.insert(place.clone()) {
                boundaries[1] += 1;
                boundaries[0] += usize::from(wanted_spans.contains(&place));
            }
            if let Some(row) = row
                && labelled.insert((place.clone(), row))
            {
                let count = counts.entry(row).or_default();
                count[1] += 1;
                count[0] += usize::from(wanted.contains(&(place, row)));
            }
        }
    }
    Ok(Report { mistakes, ..report(gold, backend.name(), mapping, &counts, boundaries) })
}

/// What a sentence's mentions have wrong, by place.
fn mistakes(number: usize, sentence: &Sentence, mentions: &[Entity], mapping: &Mapping) -> Vec<Mistake> {
    let mut at: BTreeMap<(usize, usize), Mistake> = BTreeMap::new();
    let mistake = |text: &str| Mistake { sentence: number, text: text.to_owned(), gold: None, found: None };
    for span in &sentence.spans {
        let place = (sentence.tokens[span.tokens.start].start, sentence.tokens[span.tokens.end - 1].end);
        let entry = at.entry(place).or_insert_with(|| mistake(&sentence.text[place.0..place.1]));
        entry.gold = Some(span.label.clone());
    }
    for mention in mentions {
        if mapping.row_of(mention.label).is_none() && mention.label != EntityLabel::Unknown {
            continue;
        }
        let tokens = sentence.align(&mention.span).map(|tokens| &sentence.tokens[tokens]);
        let place = match tokens {
            Some([first, .., last]) => (first.start, last.end),
            Some([only]) => (only.start, only.end),
            _ => (mention.span.start, mention.span.end),
        };
        let entry = at.entry(place).or_insert_with(|| mistake(&mention.surface));
        entry.found = Some(mention.label.as_str());
    }
    let is_right = |mistake: &Mistake| match (&mistake.gold, mistake.found.and_then(EntityLabel::from_name)) {
        (Some(gold), Some(found)) => mapping.rows.get(gold).map(String::as_str) == mapping.row_of(found),
        _ => false,
    };
    at.into_values().filter(|mistake| !is_right(mistake)).collect()
}

fn report(
    gold: &Conll,
    backend: &str,
    mapping: &Mapping,
    counts: &BTreeMap<&str, [usize; 3]>,
    boundaries: [usize; 3],
) -> Report {
    let score = |[correct, predicted, support]: [usize; 3]| Score::new(correct, predicted, support);
    let labels: Vec<Row> =
        counts.iter().map(|(label, count)| Row { label: (*label).to_owned(), score: score(*count) }).collect();
    let sum = counts.values().fold([0; 3], |sum, count| std::array::from_fn(|at| sum[at] + count[at]));
    let mean = |value: fn(&Score) -> f64| {
        if labels.is_empty() {
            0.0
        } else {
            labels.iter().map(|row| value(&row.score)).sum::<f64>() / labels.len() as f64
        }
    };
    let macro_average = Score {
        precision: mean(|score| score.precision),
        recall: mean(|score| score.recall),
        f1: mean(|score| score.f1),
        ..score(sum)
    };
    let counted: HashSet<&String> = mapping.predicted.values().collect();
    Report {
        backend: backend.to_owned(),
        scheme: gold.scheme,
        documents: gold.num_documents,
        sentences: gold.sentences.len(),
        tokens: gold.num_tokens(),
        mapping: EntityLabel::ALL
            .into_iter()
            .map(|label| (label.as_str(), mapping.row_of(label).map(str::to_owned)))
            .collect(),
        unmapped: mapping.rows.values().filter(|row| !counted.contains(row)).cloned().collect(),
        labels,
        micro: score(sum),
        macro_average,
        boundaries: score(boundaries),
        mistakes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::store::ScalarIndex;
    use memtrain_corpora::{Entity, EntitySource};

    use super::*;

    /// Finds fixed surfaces.
    struct Fixed(&'static [(&'static str, EntityLabel)]);

    impl EntityBackend for Fixed {
        fn name(&self) -> &'static str {
            "fixed"
        }

        fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>> {
            let of = |passage: &Passage| {
                let index = ScalarIndex::new(&passage.text);
                let find = |(surface, label): &(&str, EntityLabel)| {
                    let start = passage.text.find(surface)?;
                    Entity::new(&index, start..start + surface.len(), *label, EntitySource::Rule, None)
                };
                self.0.iter().filter_map(find).collect()
            };
            Ok(passages.iter().map(of).collect())
        }
    }

    /// Worked by hand: PER one of two right and one too long; LOC one right, one taken for an ORG.
    #[test]
    fn scores_are_those_of_hand() {
        let gold = Conll::parse(
            "Ana B-PER\nLund I-PER\nof O\nOst B-LOC\n\nBo B-PER\nleft O\nVelm B-LOC\nin O\n1901 O\n\nThe O\nUN B-ORG\n",
        )
        .unwrap();
        let backend = Fixed(&[
            ("Ana Lund", EntityLabel::Person),
            ("Ost", EntityLabel::Gpe),
            ("Bo left", EntityLabel::Person),
            ("Velm", EntityLabel::Org),
            ("1901", EntityLabel::Date),
            ("The UN", EntityLabel::Unknown),
        ]);
        let mapping = Mapping::for_labels(gold.labels().into_keys());
        let report = evaluate(&gold, &backend, &mapping).unwrap();
        let row = |label: &str| {
            let score = report.labels.iter().find(|row| row.label == label).unwrap().score;
            (score.correct, score.predicted, score.support)
        };
        assert_eq!((row("PER"), row("LOC"), row("ORG")), ((1, 2, 2), (1, 1, 2), (0, 1, 1)));
        let micro = report.micro;
        assert_eq!((micro.correct, micro.predicted, micro.support), (2, 4, 5));
        assert!((micro.f1 - 2.0 * 0.5 * 0.4 / 0.9).abs() < 1e-12);
        assert!((report.macro_average.f1 - (0.5 + 2.0 / 3.0 + 0.0) / 3.0).abs() < 1e-12);
        let spans = report.boundaries;
        assert_eq!((spans.correct, spans.predicted, spans.support), (3, 5, 5), "the date is left out, UNK is not");
    }

    #[test]
    fn labels_are_mapped_by_what_the_gold_has() {
        let conll = Mapping::for_labels(["LOC", "MISC", "ORG", "PER"]);
        let rows = |mapping: &Mapping, labels: &[EntityLabel]| -> Vec<Option<String>> {
            labels.iter().map(|label| mapping.row_of(*label).map(str::to_owned)).collect()
        };
        use EntityLabel::*;
        let some = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            rows(&conll, &[Person, Gpe, Fac, Org, WorkOfArt, Language]),
            some(&["PER", "LOC", "LOC", "ORG", "MISC", "MISC"])
        );
        assert_eq!(rows(&conll, &[Date, Cardinal, Unknown]), [None, None, None]);
        let wnut = Mapping::for_labels(["corporation", "creative-work", "group", "location", "person", "product"]);
        assert_eq!(
            rows(&wnut, &[Org, WorkOfArt, Gpe, Product]),
            some(&["corporation+group", "creative-work", "location", "product"])
        );
        assert_eq!(rows(&wnut, &[Norp, Event]), [None, None]);
        let ontonotes = Mapping::for_labels(EntityLabel::ALL.map(EntityLabel::as_str));
        assert!(EntityLabel::ALL.iter().all(|l| *l == Unknown || ontonotes.row_of(*l) == Some(l.as_str())));
        let fine = Mapping::for_labels(["person-actor", "person-athlete", "GENE"]);
        assert_eq!(fine.row_of(Person), Some("person-actor+person-athlete"));
    }

    #[test]
    fn a_mapping_can_be_overridden() {
        let mut mapping = Mapping::for_labels(["PER", "ORG"]);
        assert_eq!(mapping.row_of(EntityLabel::Gpe), None);
        mapping.set(EntityLabel::Gpe, Some("ORG")).unwrap();
        assert_eq!(mapping.row_of(EntityLabel::Gpe), Some("ORG"));
        mapping.set(EntityLabel::Gpe, None).unwrap();
        assert_eq!(mapping.row_of(EntityLabel::Gpe), None);
        let error = mapping.set(EntityLabel::Gpe, Some("LOC")).unwrap_err();
        assert!(error.to_string().contains("the gold has ORG, PER"), "{error}");
    }
}
