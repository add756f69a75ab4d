//! The data card: a `README.md` that makes the stage's folder a dataset of the Hugging Face hub as it is.
//!
//! Its front matter is the hub's (<https://huggingface.co/docs/hub/datasets-cards>). Everything in it follows from the
//! plans, manifests and tables of the corpus, so that the same documents have the same card.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::path::Path;

use memtrain_corpora::Document;
use memtrain_corpora::store::TableReader;

use crate::error::Result;
use crate::stage::{FileRecord, Manifest, Plan, StageFolder, StageName, to_value};
use crate::tables::Passages;

/// Splits that a corpus may have, with what they are for.
const SPLITS: [(&str, &str); 2] = [
    ("train", "for training"),
    ("heldout", "for evaluation; their pivots come from articles that no training pivot comes from"),
];

/// Type of a column in the front matter.
enum Kind {
    Plain(&'static str),
    List(&'static str),
    Structs(&'static [(&'static str, &'static str)]),
}

/// Columns of the table `documents`, version 1: name, type, meaning.
const COLUMNS: [(&str, Kind, &str); 11] = [
    ("id", Kind::Plain("string"), "name, such as `train-00000042`"),
    ("text", Kind::Plain("string"), "the document; `[MASK]` stands wherever the hidden entity stood"),
    ("answer", Kind::Plain("string"), "the hidden entity as it stood in the pivot passage"),
    ("aliases", Kind::List("string"), "other names of the hidden entity's article"),
    ("label", Kind::Plain("string"), "kind of the hidden entity: a name of OntoNotes, or `MISC`, `UNK`"),
    ("split", Kind::Plain("string"), "`train` or `heldout`"),
    (
        "passages",
        Kind::Structs(&[
            ("passage_id", "uint64"),
            ("role", "string"),
            ("char_start", "uint32"),
            ("char_end", "uint32"),
        ]),
        "the passages in order: number in the corpus; `pivot`, `related` or `random`; place in `text`",
    ),
    (
        "entities",
        Kind::Structs(&[("char_start", "uint32"), ("char_end", "uint32"), ("surface", "string"), ("label", "string")]),
        "what else can be asked for, in order: place in `text`, words, kind",
    ),
    ("num_masks", Kind::Plain("uint32"), "how often `[MASK]` stands in `text`"),
    ("num_tokens", Kind::Plain("uint32"), "length of `text` in tokens of the policy's tokenizer"),
    ("seed", Kind::Plain("uint64"), "seed of all draws of the document"),
];

/// Host of the fictional encyclopedia (`memtrain world`).
const WORLD: &str = "world.example.org";
/// Projects of the Wikimedia Foundation whose text is under CC BY-SA 4.0 and the GFDL.
const WIKIMEDIA: [&str; 6] = ["wikipedia", "wiktionary", "wikibooks", "wikiquote", "wikisource", "wikiversity"];

/// Where the text comes from, and what may be done with it.
#[derive(Debug, Default)]
struct Origin {
    hosts: BTreeSet<String>,
    languages: BTreeSet<String>,
    licenses: BTreeSet<&'static str>,
}

impl Origin {
    /// Told by the addresses of the first article of each file.
    fn of(out: &Path) -> Result<Self> {
        let mut origin = Self::default();
        let passages = Passages::open(out, StageName::Synthesize)?;
        for first in passages.first_of_files() {
            origin.add(&passages.get(first)?.url);
        }
        Ok(origin)
    }

    fn add(&mut self, url: &str) {
        let host = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c)) {
            self.hosts.insert(host.to_owned());
        }
        let parts: Vec<&str> = host.split('.').collect();
        if host == WORLD {
            self.languages.insert("en".to_owned());
            self.licenses.extend(["apache-2.0", "mit"]);
            return;
        }
        match parts[..] {
            [language, .., project, "org"] if WIKIMEDIA.contains(&project) => {
                let is_code = language.len() <= 3 && language.bytes().all(|byte| byte.is_ascii_lowercase());
                match language {
                    "simple" => self.languages.extend(["en".to_owned()]),
                    code if is_code => self.languages.extend([code.to_owned()]),
                    _ => {}
                }
                self.licenses.extend(["cc-by-sa-4.0", "gfdl"]);
            }
            _ => {
                self.licenses.insert("unknown");
            }
        }
    }

    fn in_words(&self) -> String {
        let mut words = String::new();
        if self.licenses.contains("cc-by-sa-4.0") {
            words.push_str(
                "Text of Wikipedia and its sister projects is available under the Creative Commons Attribution-ShareAlike 4.0 \
                License and, in part, the GNU Free Documentation License. Its authors are listed in the history of each \
                article; passage numbers lead to the articles through the tables of the corpus. What is derived from it, \
                these documents included, must be shared alike.\n",
            );
        }
        if self.licenses.contains("mit") {
            words.push_str(
                "The fictional encyclopedia is written by memtrain itself and has its licence, MIT or Apache-2.0.\n",
            );
        }
        if self.licenses.contains("unknown") {
            words.push_str(
                "The addresses of some articles do not tell under which licence their text is: say so here before sharing.\n",
            );
        }
        words
    }
}

/// What a card tells.
struct Card<'a> {
    plan: &'a Plan,
    manifest: &'a Manifest,
    /// The stages before this one.
    earlier: Vec<(StageName, Plan, Manifest)>,
    origin: Origin,
    /// Bytes of each split before compression.
    uncompressed: BTreeMap<&'static str, u64>,
}

/// The card of the documents of `manifest`, which lie in `folder`.
pub(super) fn card(out: &Path, folder: &StageFolder, plan: &Plan, manifest: &Manifest) -> Result<String> {
    let mut earlier = Vec::new();
    for needs in [StageName::Ingest, StageName::Entities, StageName::Tokenizer, StageName::Index] {
        let manifest = StageFolder::committed(out, needs, StageName::Synthesize)?;
        if let Some(plan) = StageFolder::new(out, needs).stored_plan()?.whole() {
            earlier.push((needs, plan, manifest));
        }
    }
    let mut uncompressed = BTreeMap::new();
    for file in manifest.shards.iter().flat_map(|shard| &shard.files) {
        let bytes = TableReader::<Document>::open(&folder.join(&file.path))?.uncompressed_bytes();
        let split = SPLITS.into_iter().find(|(split, _)| file.path.starts_with(&format!("data/{split}-")));
        *uncompressed.entry(split.map_or("", |(split, _)| split)).or_default() += bytes;
    }
    let card = Card { plan, manifest, earlier, origin: Origin::of(out)?, uncompressed };
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = card.front_matter(&mut text).and_then(|()| card.body(&mut text));
    Ok(text)
}

impl Card<'_> {
    fn files(&self) -> impl Iterator<Item = (&FileRecord, u64)> {
        let rows = |rows: &BTreeMap<String, u64>| rows.values().sum();
        self.manifest.shards.iter().flat_map(move |shard| shard.files.iter().map(move |file| (file, rows(&shard.rows))))
    }

    fn splits(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = |name: &str| self.manifest.rows.get(name).copied().unwrap_or_default();
        SPLITS.into_iter().map(move |(name, words)| (name, words, rows(name))).filter(|(.., rows)| *rows > 0)
    }

    fn num_documents(&self) -> u64 {
        self.splits().map(|(.., rows)| rows).sum()
    }

    fn front_matter(&self, out: &mut String) -> fmt::Result {
        let bytes: u64 = self.files().map(|(file, _)| file.bytes).sum();
        writeln!(out, "---\npretty_name: Documents for training a memory")?;
        list(out, "license", self.origin.licenses.iter().copied())?;
        list(out, "language", self.origin.languages.iter().map(String::as_str))?;
        list(out, "annotations_creators", ["machine-generated"])?;
        list(out, "language_creators", ["found"])?;
        list(out, "task_categories", ["fill-mask", "question-answering"])?;
        list(out, "size_categories", [size_category(self.num_documents())])?;
        list(out, "tags", ["long-context", "memory", "reinforcement-learning", "self-supervised", "memtrain"])?;
        writeln!(out, "configs:\n- config_name: default\n  data_files:")?;
        for (split, ..) in self.splits() {
            writeln!(out, "  - split: {split}\n    path: data/{split}-*.parquet")?;
        }
        writeln!(out, "dataset_info:\n  features:")?;
        for (name, kind, _) in &COLUMNS {
            match kind {
                Kind::Plain(kind) => writeln!(out, "  - name: {name}\n    dtype: {kind}")?,
                Kind::List(item) => writeln!(out, "  - name: {name}\n    list: {item}")?,
                Kind::Structs(fields) => {
                    writeln!(out, "  - name: {name}\n    list:")?;
                    for (field, kind) in *fields {
                        writeln!(out, "    - name: {field}\n      dtype: {kind}")?;
                    }
                }
            }
        }
        writeln!(out, "  splits:")?;
        for (split, _, rows) in self.splits() {
            let bytes = self.uncompressed.get(split).copied().unwrap_or_default();
            writeln!(out, "  - name: {split}\n    num_bytes: {bytes}\n    num_examples: {rows}")?;
        }
        let whole: u64 = self.uncompressed.values().sum();
        writeln!(out, "  download_size: {bytes}\n  dataset_size: {whole}\n---")
    }

    fn body(&self, out: &mut String) -> fmt::Result {
        let tokens = self.count("tokens");
        writeln!(out, "\n# Documents for training a memory\n")?;
        writeln!(
            out,
            "Long documents in which one entity is hidden, for training language models to keep a useful memory of what they \
            read in pieces, as described in [MemTrain](https://arxiv.org/abs/2606.03197). No person has labelled anything: \
            the questions are made from the text.\n"
        )?;
        writeln!(out, "| split | documents | |\n|---|---|---|")?;
        for (split, words, rows) in self.splits() {
            writeln!(out, "| `{split}` | {rows} | {words} |")?;
        }
        let mean = tokens.checked_div(self.num_documents()).unwrap_or_default();
        writeln!(out, "\n{tokens} tokens in all, {mean} a document on average.\n")?;
        self.origin_and_licence(out)?;
        self.how_made(out)?;
        writeln!(out, "## Columns\n\n| | type | |\n|---|---|---|")?;
        for (name, kind, meaning) in &COLUMNS {
            let kind = match kind {
                Kind::Plain(kind) => (*kind).to_owned(),
                Kind::List(item) => format!("list of {item}"),
                Kind::Structs(fields) => {
                    let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("`{name}` {kind}")).collect();
                    format!("list of {}", fields.join(", "))
                }
            };
            writeln!(out, "| `{name}` | {kind} | {meaning} |")?;
        }
        writeln!(
            out,
            "\nPlaces count Unicode scalars and are half-open, so that `text[char_start:char_end]` is right in Python.\n"
        )?;
        self.recipe(out)?;
        self.files_and_citation(out)
    }

    fn origin_and_licence(&self, out: &mut String) -> fmt::Result {
        let hosts: Vec<&str> = self.origin.hosts.iter().map(String::as_str).collect();
        if !hosts.is_empty() {
            writeln!(out, "The text is that of {}.", hosts.join(", "))?;
        }
        writeln!(out, "{}", self.origin.in_words())
    }

    fn how_made(&self, out: &mut String) -> fmt::Result {
        let config = &self.plan.configuration["synthesize"];
        writeln!(out, "## How a document is made\n")?;
        writeln!(
            out,
            "A *pivot* passage is drawn at random among those that mention an eligible entity. Retrieval gives {} *related* \
            passages, chance about {} *random* ones, more or fewer so that the document has {} to {} tokens. All are joined in \
            random order, titles included where the layout has them. One of the pivot's entities is chosen at random and \
            replaced by `[MASK]` wherever it stands as whole words in the document. A document in which it still stands in \
            another case, spacing or form is rejected and drawn anew. All draws are addressed by the document's number, so \
            that no document depends on another.\n",
            config["num_related"], config["num_random"], config["min_tokens"], config["max_tokens"]
        )?;
        let mut counts = self.manifest.counts.iter().filter(|(cause, _)| *cause != "tokens").peekable();
        if counts.peek().is_none() {
            return writeln!(out, "Nothing had to be rejected or adjusted on the way.\n");
        }
        writeln!(out, "What was rejected or adjusted on the way:\n\n| | |\n|---|---|")?;
        counts.try_for_each(|(cause, count)| writeln!(out, "| {} | {count} |", cause.replace('_', " ")))?;
        writeln!(out)
    }

    fn recipe(&self, out: &mut String) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            out,
            "## Recipe\n\nMade by memtrain {version}. Hashes are BLAKE3.\n\n| input | bytes | hash |\n|---|---|---|"
        )?;
        for (stage, plan, _) in &self.earlier {
            let own = plan.inputs.iter().filter(|input| !input.name.ends_with("/manifest.json"));
            for input in own {
                writeln!(out, "| {stage}: {} | {} | `{}` |", code(&input.name), input.bytes, input.hash)?;
            }
        }
        writeln!(out, "\n| stage | what it holds |\n|---|---|")?;
        for (stage, _, manifest) in &self.earlier {
            let rows: Vec<String> = manifest.rows.iter().map(|(table, rows)| format!("{rows} {table}")).collect();
            writeln!(out, "| {stage} | {} |", rows.join(", "))?;
        }
        let configuration: serde_json::Map<String, serde_json::Value> = self
            .earlier
            .iter()
            .map(|(stage, plan, _)| (stage.to_string(), plan.configuration.clone()))
            .chain([(StageName::Synthesize.to_string(), self.plan.configuration.clone())])
            .collect();
        writeln!(out, "\nThe configuration, stage by stage:\n\n```json\n{:#}\n```\n", to_value(&configuration))
    }

    fn files_and_citation(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## Files\n\n| file | documents | bytes | hash |\n|---|---|---|---|")?;
        for (file, rows) in self.files() {
            writeln!(out, "| `{}` | {rows} | {} | `{}` |", file.path, file.bytes, file.hash)?;
        }
        writeln!(
            out,
            "\n`manifest.json` has the same for programs; `plan.json` and `shards/` are what the documents were made by.\n\n\
            ## Citation\n\n```bibtex\n@misc{{li2026memtrain,\n  title = {{MemTrain: Self-Supervised Context Memory Training}},\n  \
            author = {{Li, Ziheng and Xing, Xingrun and Wang, Haoqing and Deng, Zhi-Hong and Tang, Yehui}},\n  year = {{2026}},\n  \
            eprint = {{2606.03197}},\n  archivePrefix = {{arXiv}},\n  primaryClass = {{cs.CL}}\n}}\n```"
        )
    }

    fn count(&self, cause: &str) -> u64 {
        self.manifest.counts.get(cause).copied().unwrap_or_default()
    }
}

/// A list of the front matter; its items need no quotes. Nothing where there are none.
fn list<'i>(out: &mut String, key: &str, items: impl IntoIterator<Item = &'i str>) -> fmt::Result {
    let mut items = items.into_iter().peekable();
    if items.peek().is_some() {
        writeln!(out, "{key}:")?;
    }
    // A language may be called `no`, which YAML would take for false.
    items.try_for_each(|item| writeln!(out, "- {}", if item == "no" { "\"no\"" } else { item }))
}

/// The hub's name for a number of rows.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        _ => "1M<n<10M",
    }
}

/// A name as code in a table's cell.
fn code(name: &str) -> String {
    format!("`{}`", name.replace(['`', '|', '\n', '\r'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licenses(url: &str) -> Vec<&'static str> {
        let mut origin = Origin::default();
        origin.add(url);
        origin.licenses.into_iter().collect()
    }

    #[test]
    fn the_address_tells_language_and_licence() {
        let mut origin = Origin::default();
        origin.add("https://vi.wikipedia.org/wiki/Hà_Nội");
        origin.add("https://simple.wikipedia.org/wiki/A");
        assert_eq!(origin.languages.into_iter().collect::<Vec<_>>(), ["en", "vi"]);
        assert_eq!(licenses("https://mr.m.wikipedia.org/wiki/A"), ["cc-by-sa-4.0", "gfdl"]);
        assert_eq!(licenses("https://world.example.org/wiki/A"), ["apache-2.0", "mit"]);
        assert_eq!(licenses("https://wikipedia.org.example.com/A"), ["unknown"]);
        assert_eq!(licenses(""), ["unknown"]);
    }

    #[test]
    fn no_is_a_language_and_no_truth() {
        let mut out = String::new();
        list(&mut out, "language", ["en", "no"]).unwrap();
        list(&mut out, "tags", []).unwrap();
        assert_eq!(out, "language:\n- en\n- \"no\"\n");
    }
}
