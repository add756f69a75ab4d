//! Entity mentions in passages: the output of the entity stage.

use crate::Span;

/// What kind of thing an entity is: the label set of spaCy's OntoNotes models, plus [`EntityLabel::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are OntoNotes' own")]
pub enum EntityLabel {
    Person,
    Norp,
    Fac,
    Org,
    Gpe,
    Loc,
    Product,
    Event,
    #[serde(rename = "WORK_OF_ART")]
    WorkOfArt,
    Law,
    Language,
    Date,
    Time,
    Percent,
    Money,
    Quantity,
    Ordinal,
    Cardinal,
    Misc,
    #[serde(rename = "UNK")]
    Unknown,
}

/// How a mention was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntitySource {
    /// The anchor of an internal link.
    Link,
    /// A title, redirect or anchor text of the corpus found in the words.
    Gazetteer,
    /// A rule for numbers, dates and quantities.
    Rule,
    /// A token-classification model.
    Model,
}

/// One mention in a passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Byte range in the passage's text.
    pub span: Span,
    /// The words as they stand in the passage: `text[span]`.
    pub surface: String,
    /// Kind.
    pub label: EntityLabel,
    /// How it was found.
    pub source: EntitySource,
    /// Title of the article it refers to, where known.
    pub target: Option<String>,
}

/// All mentions of one passage: a row of the `entities` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageEntities {
    /// [`crate::Passage::id`].
    pub passage_id: u64,
    /// Mentions in order, without overlap.
    pub entities: Vec<Entity>,
}
