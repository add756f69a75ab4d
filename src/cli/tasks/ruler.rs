//! `memtrain tasks ruler`: RULER's tasks from a seed.

use std::path::{Path, PathBuf};

use clap::Args;
use memtrain_corpora::store::{self, TableWriter};
use memtrain_hub::Needed;
use rayon::prelude::*;
use serde::Serialize;

use super::{InputFile, Tokens, input};
use crate::cli::counts;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::models::ModelFolder;
use crate::cli::print::print_line;
use crate::cli::written::written_path;
use crate::policy::PolicyTokenizer;
use crate::run::progress::Bar;
use crate::tasks::Task;
use crate::tasks::ruler::{Essay, RulerConfig, RulerTask, TASKS};

/// Arguments of `memtrain tasks ruler`.
#[derive(Debug, Args)]
pub struct RulerArgs {
    /// Folder to write: a table for each task and length, and manifest.json
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Measure with this policy's tokenizer: a directory, a name on the hub, `built-in:NAME`, or a tokenizer.json
    #[arg(long, value_name = "NAME")]
    pub tokenizer: String,
    /// Tasks by RULER's names, separated by commas [default: all; without `--essay` those that need none]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Tokens of context, question and longest answer together, separated by commas: `4096`, `4k`, `1m`
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = length,
          default_values_t = RulerConfig::default().lengths)]
    pub lengths: Vec<u32>,
    /// Items of each task, the same at all lengths
    #[arg(long, value_name = "N", default_value_t = RulerConfig::default().items, value_parser = counts::count::<u32>)]
    pub items: u32,
    /// Running text to hide needles in: a text file, or the folder of a corpus; can be repeated
    #[arg(long, value_name = "PATH")]
    pub essay: Vec<PathBuf>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print the manifest as JSON
    #[arg(long)]
    pub json: bool,
}

/// Longest text: items are made in memory, and of the words of `cwe` there are a million.
const LONGEST: u32 = 8 << 20;

/// A number of tokens: `k` are 1,024, `m` 1,024 of these.
fn length(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let length = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    let length = length.filter(|length| (1..=LONGEST).contains(length));
    length.ok_or_else(|| "a number of tokens up to 8m, such as 4096, 4k or 1m, is expected".to_owned())
}

/// What the tasks were made of.
#[derive(Debug, Serialize)]
struct Manifest {
    format: u32,
    seed: u64,
    items: u32,
    tokenizer: InputFile,
    essay: Vec<InputFile>,
    essay_words: usize,
    tables: Vec<Table>,
}

#[derive(Debug, Serialize)]
struct Table {
    task: &'static str,
    length: u32,
    file: String,
    blake3: String,
    rows: u64,
    tokens: Option<Tokens>,
}

/// Version of the folder.
const FORMAT: u32 = 1;
/// What the marker of the folder says that it is.
const KIND: &str = "RULER tasks";

/// Makes the tasks.
///
/// # Errors
/// If something cannot be read or written, or a length has no room for a task.
pub fn run(args: &RulerArgs) -> anyhow::Result<()> {
    let (mut lengths, tasks) = (args.lengths.clone(), chosen(args)?);
    lengths.sort_unstable();
    lengths.dedup();
    for path in &args.essay {
        store::refuse_overlap(&args.out, path)?;
    }
    store::check_replaceable(&args.out, KIND)?;
    let folder = ModelFolder::find(&args.tokenizer, Needed::Tokenizer)?;
    store::refuse_overlap(&args.out, &folder.path)?;
    let file = if store::is_dir(&folder.path) { folder.path.join("tokenizer.json") } else { folder.path };
    let tokenizer = PolicyTokenizer::from_file(&file)?;
    let mut essay = Essay::default();
    if tasks.iter().any(RulerTask::needs_essay) {
        // Each word is a token at least.
        let max_words = lengths.last().map_or(0, |&length| length as usize);
        args.essay.iter().try_for_each(|path| add_essay(&mut essay, path, max_words))?;
        if essay.num_words() == 0 {
            return Err(anyhow::anyhow!("`--essay` has no words"))
                .hint(|| "name a text file, or a corpus whose passages are built".to_owned());
        }
    }
    let mut manifest = Manifest {
        format: FORMAT,
        seed: args.seed,
        items: args.items,
        tokenizer: InputFile { file: args.tokenizer.clone(), blake3: store::hash_file(&file)? },
        essay: args.essay.iter().map(|path| input(path)).collect::<anyhow::Result<_>>()?,
        essay_words: essay.num_words(),
        tables: Vec::new(),
    };
    store::replace(&args.out, KIND, |folder| -> anyhow::Result<()> {
        let bar = Bar::new("items", u64::from(args.items) * (tasks.len() * lengths.len()) as u64, 0);
        for task in &tasks {
            for &length in &lengths {
                manifest.tables.push(write(folder, *task, length, args, &essay, &tokenizer, &bar)?);
            }
        }
        bar.finish();
        Ok(store::write_json(&folder.join("manifest.json"), &manifest)?)
    })?;
    let text = if args.json { serde_json::to_string(&manifest)? } else { table(&manifest) };
    print_line!("{}", text.trim_end())?;
    Ok(())
}

/// The tasks that were named, or those that can be made.
fn chosen(args: &RulerArgs) -> anyhow::Result<Vec<RulerTask>> {
    if args.tasks.is_empty() {
        let (without, with): (Vec<_>, Vec<_>) = TASKS.into_iter().partition(|task| !task.needs_essay());
        if args.essay.is_empty() {
            let names: Vec<&str> = with.iter().map(|task| task.name).collect();
            tracing::warn!("left out, because they hide needles in the text of `--essay`: {}", names.join(", "));
            return Ok(without);
        }
        return Ok(TASKS.to_vec());
    }
    let task = |name: &String| RulerTask::from_name(name).ok_or_else(|| Usage(format!("no task is called `{name}`")));
    let names = TASKS.map(|task| task.name).join(", ");
    let mut tasks = args.tasks.iter().map(task).collect::<Result<Vec<_>, _>>().hint(|| format!("there are {names}"))?;
    let mut seen = std::collections::HashSet::new();
    tasks.retain(|task| seen.insert(task.name));
    match tasks.iter().find(|task| task.needs_essay() && args.essay.is_empty()) {
        Some(task) => Err(Usage(format!("`{}` hides needles in running text, and none was given", task.name)))
            .hint(|| "name a text file or the folder of a corpus with `--essay`".to_owned()),
        None => Ok(tasks),
    }
}

fn add_essay(essay: &mut Essay, path: &Path, max_words: usize) -> anyhow::Result<()> {
    if store::is_dir(path) {
        for passage in memtrain_pipeline::passages(path)?.iter() {
            if !essay.add(&passage?.text, max_words) {
                break;
            }
        }
    } else {
        essay.add(&store::read_to_string(path)?, max_words);
    }
    Ok(())
}

/// Bytes that are tokenized together.
const WINDOW_BYTES: usize = 1 << 18;

/// Tokens of a text: of a longer one than a window those of its windows, which end where a word does.
fn count(tokenizer: &PolicyTokenizer, text: &str) -> anyhow::Result<usize> {
    let (mut rest, mut tokens) = (text, 0);
    while rest.len() > WINDOW_BYTES {
        let word = rest.as_bytes()[..WINDOW_BYTES].iter().rposition(u8::is_ascii_whitespace);
        let Some(end) = word.filter(|&end| end > 0) else { break };
        tokens += tokenizer.encode_text(&rest[..end])?.len();
        rest = &rest[end..];
    }
    Ok(tokens + tokenizer.encode_text(rest)?.len())
}

fn write(
    folder: &Path,
    task: RulerTask,
    length: u32,
    args: &RulerArgs,
    essay: &Essay,
    tokenizer: &PolicyTokenizer,
    bar: &Bar,
) -> anyhow::Result<Table> {
    let file = format!("{}-{length:07}.parquet", task.name);
    let mut writer = TableWriter::<Task>::create(&folder.join(&file))?;
    let mut counts = Vec::new();
    let mut numbers = 0..args.items;
    while !numbers.is_empty() {
        // As many in memory as are made at the same time.
        let numbers: Vec<u32> = numbers.by_ref().take(rayon::current_num_threads()).collect();
        let make = |number: &u32| task.item(*number, length, args.seed, essay, |text| count(tokenizer, text));
        for item in numbers.par_iter().map(make).collect::<anyhow::Result<Vec<Task>>>()? {
            counts.extend(item.extra.get("num_tokens").and_then(serde_json::Value::as_u64));
            writer.push(item)?;
        }
        bar.advance(numbers.len() as u64);
    }
    let summary = writer.finish()?;
    let tokens = Tokens::of(&counts);
    Ok(Table { task: task.name, length, file, blake3: summary.hash, rows: summary.rows, tokens })
}

fn table(manifest: &Manifest) -> String {
    let mut text =
        format!("{:<16} {:>8} {:>6} {:>10} {:>8} {:>8}  file\n", "task", "length", "items", "tokens", "least", "most");
    for table in &manifest.tables {
        let cell = |value: Option<String>| value.unwrap_or_default();
        let tokens = table.tokens.as_ref();
        text.push_str(&format!(
            "{:<16} {:>8} {:>6} {:>10} {:>8} {:>8}  {}\n",
            table.task,
            table.length,
            table.rows,
            cell(tokens.map(|tokens| format!("{:.0}", tokens.mean))),
            cell(tokens.map(|tokens| tokens.min.to_string())),
            cell(tokens.map(|tokens| tokens.max.to_string())),
            table.file
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_tokens() {
        assert_eq!(["4096", "4k", "1M", "128K"].map(|text| length(text).unwrap()), [4_096, 4_096, 1 << 20, 131_072]);
        for wrong in ["", "k", "0", "4kk", "-1", "5000m", "9m", "4g", "é"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_count_every_token() {
        let tokenizer = PolicyTokenizer::of_bytes().unwrap();
        let text = "many words \u{e9}tc.\n".repeat(200_000);
        assert_eq!(count(&tokenizer, &text).unwrap(), text.len());
        assert_eq!(count(&tokenizer, &"x".repeat(WINDOW_BYTES + 5)).unwrap(), WINDOW_BYTES + 5);
        assert_eq!(count(&tokenizer, "").unwrap(), 0);
    }
}
