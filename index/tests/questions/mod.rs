//! Question sets in HippoRAG's form: `<set>.json` (questions with supporting facts or paragraphs) beside
//! `<set>_corpus.json` (the passages).

#[path = "../../../tests/real_data/mod.rs"]
mod real_data;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use memtrain_corpora::{Passage, store};
use memtrain_index::eval::{Beir, Report, evaluate};
use memtrain_index::{Index, IndexConfig, IndexError, build};
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

/// The folder of question sets in the real data, or `None` with a word where there is none.
pub fn folder() -> Option<PathBuf> {
    real_data::real_data("qa")
}

/// Questions over passages.
pub struct Questions {
    /// Each with the ids of its gold passages.
    pub questions: Vec<(String, Vec<u64>)>,
    /// Ids are places.
    pub passages: Vec<Passage>,
}

impl Questions {
    /// Reads `<set>.json` and `<set>_corpus.json`.
    pub fn read(set: &Path) -> Result<Self, Failure> {
        let json = |suffix: &str| -> Result<Value, Failure> {
            Ok(store::read_json(Path::new(&format!("{}{suffix}.json", set.display())))?)
        };
        let (corpus, asked) = (json("_corpus")?, json("")?);
        let mut titled: Vec<(String, String)> = Vec::new();
        match &corpus {
            Value::Object(passages) => {
                for (title, sentences) in passages {
                    let sentences = sentences.as_array().ok_or("sentences are wanted")?;
                    titled.push((title.clone(), sentences.iter().filter_map(Value::as_str).collect()));
                }
            }
            Value::Array(passages) => {
                for passage in passages {
                    titled.push((text(passage, "title")?, text(passage, "text")?));
                }
            }
            _ => return Err("a corpus is wanted".into()),
        }
        let ids: HashMap<&(String, String), u64> = titled.iter().zip(0..).collect();
        let by_title: HashMap<&str, u64> =
            titled.iter().zip(0..).map(|((title, _), id)| (title.as_str(), id)).collect();
        let mut questions = Vec::new();
        for question in asked.as_array().ok_or("questions are wanted")? {
            let mut gold: Vec<u64> = match (question["supporting_facts"].as_array(), question["paragraphs"].as_array())
            {
                (Some(facts), _) => facts.iter().filter_map(|fact| by_title.get(fact[0].as_str()?).copied()).collect(),
                (None, Some(paragraphs)) => paragraphs
                    .iter()
                    .filter(|paragraph| paragraph["is_supporting"] == true)
                    .filter_map(|p| ids.get(&(text(p, "title").ok()?, text(p, "paragraph_text").ok()?)).copied())
                    .collect(),
                _ => return Err("a question without gold passages".into()),
            };
            gold.sort_unstable();
            gold.dedup();
            questions.push((text(question, "question")?, gold));
        }
        let passages = (0..).zip(titled).map(|(id, (title, text))| passage(id, title, text)).collect();
        Ok(Self { questions, passages })
    }

    /// Indexes the passages in a folder that is there as long as its guard.
    pub fn index(&self, config: &IndexConfig) -> Result<(Index, tempfile::TempDir), Failure> {
        let dir = tempfile::tempdir()?;
        build(self.passages.as_slice(), dir.path(), config)?;
        Ok((Index::open(dir.path())?, dir))
    }

    /// All measures, binary relevance.
    pub fn report(&self, index: &Index) -> Result<Report, IndexError> {
        let numbered = (0_u64..).zip(&self.questions);
        let set = Beir {
            passages: Vec::new(),
            doc_ids: (0..self.passages.len()).map(|id| id.to_string()).collect(),
            queries: numbered.clone().map(|(id, (text, _))| (id.to_string(), text.clone())).collect(),
            qrels: numbered
                .map(|(id, (_, gold))| (id.to_string(), gold.iter().map(|gold| (gold.to_string(), 1)).collect()))
                .collect(),
            qrels_without_passage: 0,
            qrels_without_query: 0,
        };
        evaluate(index, &set, false)
    }

    /// How often another gold passage of the question is among the first `k` related to one.
    pub fn partner_recall(&self, index: &Index, k: usize) -> Result<f64, IndexError> {
        let (mut found, mut all) = (0, 0);
        for (_, gold) in &self.questions {
            for pivot in gold {
                let hits = index.related(*pivot, k)?.hits;
                let partners = gold.iter().filter(|&other| other != pivot);
                let in_hits = |partner: &&u64| hits.iter().any(|hit| hit.passage_id == **partner);
                found += partners.clone().filter(in_hits).count();
                all += partners.count();
            }
        }
        Ok(f64::from(found as u32) / f64::from(all.max(1) as u32))
    }
}

fn text(value: &Value, key: &str) -> Result<String, Failure> {
    Ok(value[key].as_str().ok_or_else(|| format!("`{key}` is wanted"))?.to_owned())
}

fn passage(id: u64, title: String, text: String) -> Passage {
    let span = 0..text.len();
    let num_words = text.split_whitespace().count() as u32;
    let (url, section, links) = (String::new(), String::new(), Vec::new());
    Passage { id, article_id: id, url, title, section, text, span, num_words, char_start: 0, revision_id: 0, links }
}
