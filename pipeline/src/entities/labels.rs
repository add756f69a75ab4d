//! What kind of thing an article is about, by simple signs: its categories and the words after "is a" in its first
//! sentence. Wrong now and then; a neural back-end does better, this one needs nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use memtrain_corpora::{Article, EntityLabel};
use unicode_segmentation::UnicodeSegmentation;

/// Head nouns of definitions and categories, singular. The earliest one after the verb decides; a noun that stands in two
/// lists belongs to the first.
const NOUNS: &[(EntityLabel, &str)] = &[
    (
        EntityLabel::Person,
        "person man woman king queen emperor prince princess politician writer author poet novelist \
         playwright painter sculptor artist architect composer musician singer actor actress director \
         producer scientist physicist chemist biologist mathematician astronomer philosopher economist \
         historian engineer inventor explorer navigator soldier general admiral officer footballer athlete \
         player boxer cyclist merchant businessman entrepreneur physician doctor surgeon nurse lawyer judge \
         priest bishop monk saint pope teacher scholar journalist botanist geographer cartographer geologist \
         linguist diplomat governor mayor president statesman activist weaver smith shipwright builder",
    ),
    (
        EntityLabel::Gpe,
        "city town village hamlet municipality country state province county district capital commune borough \
         suburb republic kingdom settlement parish township territory nation empire duchy prefecture canton",
    ),
    (
        EntityLabel::Loc,
        "river stream lake sea ocean bay gulf strait island islands archipelago peninsula mountain peak hill \
         range valley desert forest cape continent region glacier volcano waterfall plain moor pass planet \
         moon star constellation galaxy asteroid",
    ),
    (
        EntityLabel::Fac,
        "bridge castle church cathedral abbey monastery temple tower palace airport station stadium dam canal \
         road street square museum library theatre building lighthouse fortress harbour port railway mill \
         mine hospital prison park",
    ),
    (
        EntityLabel::Org,
        "company corporation firm organization organisation agency university college school institute \
         academy party club team band orchestra newspaper bank union ministry department association society \
         guild foundation manufacturer airline order army navy regiment brewery publisher league",
    ),
    (
        EntityLabel::Event,
        "battle war siege revolution uprising rebellion election festival tournament championship earthquake \
         flood fire treaty conference olympics campaign massacre expedition fair race",
    ),
    (
        EntityLabel::WorkOfArt,
        "novel book poem play film movie album song symphony opera painting sculpture series episode magazine \
         journal manuscript ballad essay trilogy musical",
    ),
    (EntityLabel::Language, "language dialect pidgin creole"),
    (EntityLabel::Norp, "people tribe religion denomination dynasty movement"),
    (EntityLabel::Law, "law act constitution statute decree amendment charter"),
    (
        EntityLabel::Product,
        "aircraft ship car automobile locomotive missile rifle computer console software engine spacecraft \
         satellite beer cheese vehicle",
    ),
];

/// [`NOUNS`] by noun.
static LABELS: LazyLock<HashMap<&str, EntityLabel>> = LazyLock::new(|| {
    NOUNS.iter().flat_map(|(label, nouns)| nouns.split_whitespace().map(|noun| (noun, *label))).collect()
});

/// Words of the first sentence that are looked at after its verb.
const DEFINITION_WORDS: usize = 14;

/// The kind of thing an article is about; [`EntityLabel::Unknown`] where no sign is found.
pub(crate) fn infer(article: &Article) -> EntityLabel {
    from_categories(&article.categories).or_else(|| from_definition(&article.text)).unwrap_or(EntityLabel::Unknown)
}

fn from_categories(categories: &[String]) -> Option<EntityLabel> {
    let is_person = |category: &String| {
        category.ends_with(" births") || category.ends_with(" deaths") || category == "Living people"
    };
    if categories.iter().any(is_person) {
        return Some(EntityLabel::Person);
    }
    // "Rivers of Ostrava", "Towns in Velm", "Battles of the Long War": the noun before the preposition.
    categories.iter().find_map(|category| {
        let head = [" of ", " in ", " by ", " from "].iter().filter_map(|word| category.find(word)).min()?;
        let noun = category[..head].unicode_words().next_back()?.to_lowercase();
        noun_label(&noun)
    })
}

fn from_definition(text: &str) -> Option<EntityLabel> {
    let sentence = text.unicode_sentences().next()?;
    let words: Vec<String> = sentence.unicode_words().map(str::to_lowercase).collect();
    let verb = words.iter().position(|word| matches!(word.as_str(), "is" | "was" | "are" | "were"))?;
    words[verb + 1..].iter().take(DEFINITION_WORDS).find_map(|word| noun_label(word))
}

fn noun_label(noun: &str) -> Option<EntityLabel> {
    let known = |noun: &str| LABELS.get(noun).copied();
    let singular = || match noun.strip_suffix("ies") {
        Some(stem) => known(&format!("{stem}y")),
        None => noun.strip_suffix('s').and_then(known).or_else(|| noun.strip_suffix("es").and_then(known)),
    };
    known(noun).or_else(singular)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn article(text: &str, categories: &[&str]) -> Article {
        Article {
            id: 1,
            url: String::new(),
            title: "T".into(),
            text: text.into(),
            revision_id: 1,
            timestamp: String::new(),
            sections: Vec::new(),
            links: Vec::new(),
            categories: categories.iter().map(|&category| category.to_owned()).collect(),
        }
    }

    #[test]
    fn kinds_by_category_and_definition() {
        assert_eq!(infer(&article("", &["1809 births"])), EntityLabel::Person);
        assert_eq!(infer(&article("", &["Rivers of Velm"])), EntityLabel::Loc);
        assert_eq!(infer(&article("", &["Cities in Alabama"])), EntityLabel::Gpe);
        assert_eq!(infer(&article("Ost is a small market town on the river Ell.", &[])), EntityLabel::Gpe);
        assert_eq!(infer(&article("The Battle of Ost was a battle.", &[])), EntityLabel::Event);
        assert_eq!(infer(&article("Nothing here to see.", &["Stubs"])), EntityLabel::Unknown);
        assert_eq!(infer(&article("", &[])), EntityLabel::Unknown);
    }
}
