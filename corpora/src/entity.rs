//! Entity mentions in passages: the output of the entity stage.

use crate::Span;
use crate::scalar::ScalarIndex;

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

impl EntityLabel {
    /// All labels, in the order of their definition.
    pub const ALL: [EntityLabel; 20] = {
        use EntityLabel::*;
        [
            Person, Norp, Fac, Org, Gpe, Loc, Product, Event, WorkOfArt, Law, Language, Date, Time, Percent, Money,
            Quantity, Ordinal, Cardinal, Misc, Unknown,
        ]
    };

    /// The name in tables and on the command line, e.g. `WORK_OF_ART`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntityLabel::Person => "PERSON",
            EntityLabel::Norp => "NORP",
            EntityLabel::Fac => "FAC",
            EntityLabel::Org => "ORG",
            EntityLabel::Gpe => "GPE",
            EntityLabel::Loc => "LOC",
            EntityLabel::Product => "PRODUCT",
            EntityLabel::Event => "EVENT",
            EntityLabel::WorkOfArt => "WORK_OF_ART",
            EntityLabel::Law => "LAW",
            EntityLabel::Language => "LANGUAGE",
            EntityLabel::Date => "DATE",
            EntityLabel::Time => "TIME",
            EntityLabel::Percent => "PERCENT",
            EntityLabel::Money => "MONEY",
            EntityLabel::Quantity => "QUANTITY",
            EntityLabel::Ordinal => "ORDINAL",
            EntityLabel::Cardinal => "CARDINAL",
            EntityLabel::Misc => "MISC",
            EntityLabel::Unknown => "UNK",
        }
    }

    /// The label of a name; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<EntityLabel> {
        EntityLabel::ALL.into_iter().find(|label| label.as_str() == name)
    }
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
    /// Its shape, the words around it, and general knowledge of names.
    Shape,
    /// A token-classification model.
    Model,
}

impl EntitySource {
    /// All sources, in the order of their definition.
    pub const ALL: [EntitySource; 5] =
        [EntitySource::Link, EntitySource::Gazetteer, EntitySource::Rule, EntitySource::Shape, EntitySource::Model];

    /// The name in tables, e.g. `gazetteer`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntitySource::Link => "link",
            EntitySource::Gazetteer => "gazetteer",
            EntitySource::Rule => "rule",
            EntitySource::Shape => "shape",
            EntitySource::Model => "model",
        }
    }

    /// The source of a name; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<EntitySource> {
        EntitySource::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// One mention in a passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Byte range in the passage's text.
    pub span: Span,
    /// Where the mention begins in the passage's text, in Unicode scalars: what `span.start` is to a reader in Python.
    pub char_start: u32,
    /// The words as they stand in the passage: `text[span]`.
    pub surface: String,
    /// Kind.
    pub label: EntityLabel,
    /// How it was found.
    pub source: EntitySource,
    /// Title of the article it refers to, where known.
    pub target: Option<String>,
}

impl Entity {
    /// A mention at a byte range of the text behind `index`; `None` if the range is none of that text's.
    ///
    /// ```
    /// use memtrain_corpora::{Entity, EntityLabel, EntitySource, store::ScalarIndex};
    /// let index = ScalarIndex::new("Émile lived in Brest.");
    /// let place = Entity::new(&index, 16..21, EntityLabel::Gpe, EntitySource::Link, Some("Brest".into())).unwrap();
    /// assert_eq!((place.surface.as_str(), place.char_start), ("Brest", 15));
    /// ```
    pub fn new(
        index: &ScalarIndex,
        span: Span,
        label: EntityLabel,
        source: EntitySource,
        target: Option<String>,
    ) -> Option<Entity> {
        let char_start = index.to_scalar(span.start)?;
        let surface = index.text().get(span.clone())?.to_owned();
        Some(Entity { span, char_start, surface, label, source, target })
    }
}

/// All mentions of one passage: a row of the `entities` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageEntities {
    /// [`crate::Passage::id`].
    pub passage_id: u64,
    /// Mentions in order, without overlap.
    pub entities: Vec<Entity>,
}

/// What can be asked for in a passage, without how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Byte range in the passage's text.
    pub span: Span,
    /// The words as they stand in the passage.
    pub surface: String,
    /// Kind.
    pub label: EntityLabel,
}

/// The mentions of one passage, as [`PassageEntities`] with fewer columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassageMentions(pub Vec<Mention>);
