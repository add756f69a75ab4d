//! Builds and asks indexes of fictional passages, and prints what a passage costs.
//!
//! `cargo bench -p memtrain-index --bench index_scale -- [passages …] [key=value …]` (`just bench index_scale`): numbers of passages default to 10,000 and 100,000; keys are those
//! of `[corpus.index]`. Each number is measured in a process of its own, so that its peak of memory is its own. With
//! `corpus=FILE`, passages are the lines of a `corpus.jsonl` in BEIR's form.

use std::error::Error;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{Passage, store};
use memtrain_index::{Index, IndexConfig, Passages, build};

type Failure = Box<dyn Error>;

/// Lines of a page that make a passage: about 100 words.
const LINES: usize = 2;
/// Pivots that are asked for.
const PIVOTS: u64 = 2_000;
/// Set for the process that measures one number.
const CHILD: &str = "MEMTRAIN_SCALE_PASSAGES";

fn main() -> Result<(), Failure> {
    let mut config = serde_json::to_value(IndexConfig::default())?;
    let (mut sizes, mut keys, mut corpus) = (Vec::new(), Vec::new(), None);
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.split_once('=') {
            Some(("corpus", file)) => {
                corpus = Some(PathBuf::from(file));
                keys.push(argument);
            }
            Some((key, value)) => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                let place = config.pointer_mut(&format!("/{}", key.replace('.', "/")));
                *place.ok_or_else(|| format!("there is no key `{key}`"))? = value;
                keys.push(argument);
            }
            None => sizes.push(argument.parse::<usize>()?),
        }
    }
    if let Ok(size) = std::env::var(CHILD) {
        return measure(size.parse()?, corpus.as_deref(), &serde_json::from_value(config)?);
    }
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    println!(
        "passages  index s  CPU s  us/passage  peak MiB  bytes/passage  open s  related ms (CPU)  recall@29  peak MiB"
    );
    for size in sizes {
        let status =
            std::process::Command::new(std::env::current_exe()?).args(&keys).env(CHILD, size.to_string()).status()?;
        if !status.success() {
            return Err(format!("{size} passages: {status}").into());
        }
    }
    Ok(())
}

fn measure(num_passages: usize, corpus: Option<&Path>, config: &IndexConfig) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let spool = temporary.path().join("passages");
    let passages = match corpus {
        Some(corpus) => Spool::of_lines(&spool, corpus, num_passages)?,
        None => Spool::fictional(&spool, num_passages)?,
    };
    let dir = temporary.path().join("index");
    reset_peak();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let summary = build(&passages, &dir, config)?;
    let (built, built_cpu, build_peak) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu, peak_mib());
    reset_peak();
    let start = Instant::now();
    let index = Index::open(&dir)?;
    let opened = start.elapsed().as_secs_f64();
    let step = (summary.num_passages / PIVOTS).max(1) as usize;
    let pivots: Vec<u64> = (0..summary.num_passages).step_by(step).collect();
    let cpu = cpu_seconds();
    let found = index.related_many(&pivots, 29)?;
    let asked_cpu = cpu_seconds() - cpu;
    drop(index);
    let asked_peak = peak_mib();
    println!(
        "{:>8}  {built:>7.1} {built_cpu:>6.1} {:>11.1} {build_peak:>9} {:>14.0} {opened:>7.2} {:>17.2} {:>10.4} {asked_peak:>9}",
        summary.num_passages,
        built_cpu * 1e6 / summary.num_passages as f64,
        summary.bytes as f64 / summary.num_passages as f64,
        asked_cpu * 1e3 / found.len() as f64,
        recall(&dir, &pivots)?,
    );
    Ok(())
}

/// Share of the 29 nearest by all vectors that are found by codes too; NaN without codes.
fn recall(dir: &Path, pivots: &[u64]) -> Result<f64, Failure> {
    let index = Index::open(dir)?;
    let asked: Vec<u64> = pivots.iter().copied().step_by((pivots.len() / 200).max(1)).collect();
    Ok(index.dense_recall(&asked, 29)?.unwrap_or(f64::NAN))
}

fn status(key: &str) -> u64 {
    let status = store::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn peak_mib() -> u64 {
    status("VmHWM") / 1024
}

/// Lets the peak of memory be counted from here on, where the system can.
fn reset_peak() {
    if let Ok(mut file) = store::append(Path::new("/proc/self/clear_refs")) {
        let _ = file.write_all(b"5");
    }
}

fn cpu_seconds() -> f64 {
    let stat = store::read_to_string(Path::new("/proc/self/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Passages in a file, of which only the places are held.
struct Spool {
    path: PathBuf,
    starts: Vec<u64>,
}

impl Spool {
    /// The first lines of a `corpus.jsonl`, each an article of its own.
    fn of_lines(path: &Path, corpus: &Path, num_passages: usize) -> Result<Self, Failure> {
        let mut out = BufWriter::new(store::append(path)?);
        let (mut starts, mut at) = (Vec::new(), 0);
        for (number, line) in BufReader::new(store::open(corpus)?).lines().take(num_passages).enumerate() {
            let entry: serde_json::Value = serde_json::from_str(&line?)?;
            let field =
                |key: &str| entry[key].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            let line = format!("{number}\t{}\t{}\n", field("title"), field("text"));
            out.write_all(line.as_bytes())?;
            starts.push(at);
            at += line.len() as u64;
        }
        out.flush()?;
        Ok(Self { path: path.to_path_buf(), starts })
    }

    fn fictional(path: &Path, num_passages: usize) -> Result<Self, Failure> {
        let mut out = BufWriter::new(store::append(path)?);
        let (mut starts, mut at, mut seed) = (Vec::new(), 0, 1);
        while starts.len() < num_passages {
            let world = World::generate(WorldConfig::long_pages(seed, 20_000.min(num_passages as u64)))?;
            seed += 1;
            for page in world.pages().filter(|page| page.ns == 0 && page.redirect.is_none()) {
                let lines: Vec<&str> = page.text.lines().filter(|line| line.ends_with('.')).collect();
                for lines in lines.chunks(LINES) {
                    let line = format!("{}\t{}\t{}\n", page.id, page.title, lines.join(" ").replace('\t', " "));
                    out.write_all(line.as_bytes())?;
                    starts.push(at);
                    at += line.len() as u64;
                }
            }
        }
        out.flush()?;
        starts.truncate(num_passages);
        Ok(Self { path: path.to_path_buf(), starts })
    }
}

impl Passages for Spool {
    fn len(&self) -> u64 {
        self.starts.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Passage>, Box<dyn Error + Send + Sync>> {
        let mut file = store::open(&self.path)?;
        file.seek(SeekFrom::Start(self.starts[range.start as usize]))?;
        let lines = BufReader::new(file).lines();
        range.zip(lines).map(|(id, line)| Ok(passage(id, &line?))).collect()
    }
}

fn passage(id: u64, line: &str) -> Passage {
    let mut fields = line.splitn(3, '\t');
    let article_id = fields.next().and_then(|field| field.parse().ok()).unwrap_or(0);
    let (title, text) = (fields.next().unwrap_or_default().to_owned(), fields.next().unwrap_or_default().to_owned());
    Passage {
        id,
        article_id,
        url: String::new(),
        title,
        section: String::new(),
        span: 0..text.len(),
        char_start: 0,
        num_words: text.split_whitespace().count() as u32,
        revision_id: 0,
        links: Vec::new(),
        text,
    }
}
