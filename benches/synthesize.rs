//! Speed of synthesis on this machine: `cargo bench --bench synthesize -- [KEY=VALUE …]`.
//!
//! Builds the corpus of a fictional encyclopedia of long pages, once, then makes documents of 24,000 to 40,000 tokens from
//! it, and prints documents a second, CPU-seconds a document, and what each step takes.
//!
//! | key | default | |
//! |---|---|---|
//! | `pages` | 4000 | articles of the encyclopedia; about 7 passages each |
//! | `documents` | 64 | documents to make |
//! | `threads` | 0 | threads; 0 takes all cores |
//! | `folder` | a temporary one | where the corpus is, or is put; a whole one is used again |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memtrain_corpora::store;
use memtrain_corpora::world::{self, Length, WorldConfig};
use memtrain_pipeline::{CorpusConfig, Progress, StageName, build};

struct Settings {
    pages: u64,
    documents: u64,
    threads: usize,
    folder: Option<PathBuf>,
}

impl Settings {
    fn from_arguments() -> Result<Self> {
        let mut settings = Self { pages: 4_000, documents: 64, threads: 0, folder: None };
        // cargo itself passes `--bench`.
        for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
            let (key, value) = argument.split_once('=').with_context(|| format!("`{argument}` is not KEY=VALUE"))?;
            let number = || value.parse::<u64>().with_context(|| format!("`{argument}`: not a number"));
            match key {
                "pages" => settings.pages = number()?,
                "documents" => settings.documents = number()?,
                "threads" => settings.threads = usize::try_from(number()?)?,
                "folder" => settings.folder = Some(value.into()),
                _ => anyhow::bail!("no key `{key}`; there are pages, documents, threads, folder"),
            }
        }
        Ok(settings)
    }
}

/// Adds up the time of each step of synthesis.
#[derive(Default)]
struct Steps(Mutex<BTreeMap<&'static str, Duration>>);

impl Progress for Steps {
    fn spent(&self, stage: StageName, step: &'static str, time: Duration) {
        if stage == StageName::Synthesize {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(step).or_default() += time;
        }
    }
}

fn configuration(settings: &Settings, dump: &std::path::Path) -> CorpusConfig {
    let mut config = CorpusConfig { seed: 1, workers: settings.threads, ..CorpusConfig::default() };
    config.ingest.dumps = vec![dump.to_string_lossy().into_owned()];
    config.tokenizer.vocab_size = 16_384;
    config.tokenizer.max_passages = 20_000;
    config.synthesize.num_heldout = 0;
    config
}

/// CPU-seconds of this process so far, all threads together; `None` where the system does not say so in `/proc`.
fn cpu_seconds() -> Option<f64> {
    let stat = store::read_to_string("/proc/self/stat".as_ref()).ok()?;
    // After the name in brackets: state, 10 numbers, then user and system time in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn main() -> Result<()> {
    let settings = Settings::from_arguments()?;
    let temporary = tempfile::tempdir()?;
    let folder = settings.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    store::create_dir_all(&folder)?;
    let dump = folder.join(format!("world-{}.xml.bz2", settings.pages));
    let out = folder.join(format!("corpus-{}", settings.pages));
    let length = |min, max| Length { min, max };
    if !store::exists(&dump) {
        let long = WorldConfig::long_pages(1, settings.pages);
        world::write_dump(&dump, &WorldConfig { sections: length(8, 12), section_sentences: length(14, 26), ..long })?;
    }
    let mut config = configuration(&settings, &dump);
    config.synthesize.num_train = 1;
    let started = Instant::now();
    let passages = build(&config, &out, &())?.stages[0].rows["passages"];
    println!("{passages} passages of {} articles, ready in {:.1} s", settings.pages, started.elapsed().as_secs_f64());

    // One document costs the opening of everything and little more: what it takes is no part of a document's cost.
    let mut runs = Vec::new();
    for documents in [2, settings.documents + 2] {
        config.synthesize.num_train = documents;
        let (steps, started, cpu) = (Steps::default(), Instant::now(), cpu_seconds());
        let summary = build(&config, &out, &steps)?;
        let stage = summary.stages.last().context("no stage ran")?;
        let cpu = cpu.zip(cpu_seconds()).map(|(before, after)| after - before);
        runs.push((started.elapsed().as_secs_f64(), cpu, steps, stage.counts.get("tokens").copied().unwrap_or(0)));
    }
    let [(opening, opening_cpu, ..), (all, all_cpu, steps, tokens)] = &runs[..] else { return Ok(()) };
    let (documents, wall) = (settings.documents as f64, all - opening);
    println!(
        "opening: {opening:.1} s; {documents} documents of {:.0} tokens on average",
        *tokens as f64 / (documents + 2.0)
    );
    println!("{:.2} documents a second of wall clock, {:.0} ms each", documents / wall, wall / documents * 1e3);
    if let Some((before, after)) = opening_cpu.zip(*all_cpu) {
        let each = (after - before) / documents;
        println!(
            "{:.2} documents a second and core, {:.0} CPU-ms each: 30,000 take {:.0} minutes on two cores",
            1.0 / each,
            each * 1e3,
            each * 30_000.0 / 120.0
        );
    }
    let steps = steps.0.lock().unwrap_or_else(PoisonError::into_inner);
    for (step, time) in steps.iter() {
        println!("  {step:<18} {:8.2} thread-ms a document", time.as_secs_f64() * 1e3 / (documents + 2.0));
    }
    Ok(())
}
