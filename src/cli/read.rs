//! `memtrain read`: a text of any length, read chunk by chunk with a memory, and questions answered from that memory alone.

mod display;
mod session;
mod texts;

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use memtrain_corpora::Span;

use self::display::{Display, Form};
use self::session::{Limits, Session};
use self::texts::TextFormat;
use super::failure::{Usage, WithHint};
use crate::agents::chunks;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{AnswerPrompt, Reader, SamplingConfig, StepKey};
use crate::device::DeviceChoice;
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::rollout::{Followed, RolloutEngine, Turn};
use crate::run::RunError;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain read`.
///
/// Without `--policy` the small policy that the program carries reads. It knows nothing but the fictional world of
/// `memtrain world` and of the quickstart: it shows that the command works, not what a memory can hold.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --policy the small policy that the program carries reads. It knows nothing but the fictional \
    world of `memtrain world` and the quickstart: it shows how the command works, and can answer nothing about other texts."
)]
pub struct ReadArgs {
    /// Texts in UTF-8, read one after the other as one: plain text, Markdown, HTML, or what was extracted from a PDF; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A question; several are read for at the same time, each with a memory of its own, unless `--read-once` is given
    #[arg(long, required = true, value_name = "QUESTION")]
    pub ask: Vec<String>,
    /// Read once for all questions. Meanwhile the policy is told PROBLEM instead of a question [default: the prompt set's, in which
    /// an entity is hidden]
    #[arg(long, value_name = "PROBLEM", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub read_once: Option<String>,
    /// What the files are
    #[arg(long, value_enum, default_value = "auto")]
    pub format: TextFormat,
    /// Policy directory, its name on the hub, or `built-in:mini` [default: `built-in:mini`]
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// vLLM or SGLang server that has the policy and draws in its place; of `--policy` only the tokenizer is read then
    #[arg(long, value_name = "URL", requires = "policy")]
    pub server: Option<String>,
    /// Configuration with `[reader]`, `[policy]` and `[sampler.http]` [default: that of the run in which the policy lies]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key of it, for example `--set reader.cut_at=sentence`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Limits in tokens and the prompts
    #[command(flatten)]
    pub limits: Limits,
    /// 0 takes the most probable token each time
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// Seed of the draws, where the temperature is not 0
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What computes: `cpu`, or `cuda:0` in a program built for it
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// Print the memory after each chunk, in 80 columns
    #[arg(long)]
    pub show_memory: bool,
    /// Print JSON lines: the memory after each chunk, and the answers
    #[arg(long, conflicts_with = "show_memory")]
    pub json: bool,
}

/// Reads and answers.
///
/// # Errors
/// If a file is no text, the policy cannot be loaded or does not fit the limits, or a signal asked to stop.
pub fn run(args: &ReadArgs) -> anyhow::Result<()> {
    if args.ask.iter().any(|question| question.trim().is_empty()) {
        return Err(Usage("`--ask` is empty: write the question behind it".to_owned()).into());
    }
    let text = texts::read(&args.files, args.format)?;
    if args.policy.is_none() {
        tracing::warn!(
            "without `--policy` the small policy of the program reads: it knows nothing but the fictional world of the \
             quickstart, and answers with its names"
        );
    }
    // Until here a signal ends the process as any other: standard input may never end.
    let stop = StopRequest::on_signals_saying("stopping: of a reading nothing is saved; a second Ctrl-C ends at once")?;
    let session = Session::open(args)?;
    let chunks = cut(&session, &text, &stop).map_err(|error| stopped(error, "while the text was cut into chunks"))?;
    let form = if args.json { Form::Json } else { Form::Text { show_memory: args.show_memory } };
    let readings = if args.read_once.is_some() { 1 } else { args.ask.len() };
    let display = RefCell::new(Display::new(form, &args.ask, readings, chunks.len()));
    let played = play(args, &session, &text, &chunks, &display, &stop);
    let display = display.into_inner();
    played.map_err(|error| stopped(error, &format!("after {}", display.progress())))?;
    display.finish()
}

/// The chunks of a text, as in training.
fn cut(session: &Session, text: &str, stop: &StopRequest) -> anyhow::Result<Vec<Span>> {
    let limits = &session.reader;
    let mut chunks = Vec::new();
    for window in chunks::split_long(text, &session.tokenizer, limits.chunk_tokens, limits.cut_at) {
        chunks.extend(window?);
        stop.check()?;
    }
    Ok(chunks)
}

/// What is told of a signal: unlike a run, a reading has nothing to go on from.
fn stopped(error: anyhow::Error, when: &str) -> anyhow::Error {
    if RunError::is_stop(&error) {
        return anyhow::anyhow!("stopped by a signal {when}; of a reading nothing is saved");
    }
    error
}

fn play(
    args: &ReadArgs,
    session: &Session,
    text: &str,
    chunks: &[Span],
    display: &RefCell<Display<'_>>,
    stop: &StopRequest,
) -> anyhow::Result<()> {
    let sampling = SamplingConfig { temperature: args.temperature, ..SamplingConfig::GREEDY };
    let step_key = StepKey { seed: args.seed, step: EVALUATION_STEP };
    let prompts = &session.prompts;
    let about: Vec<PromptSet> = args.ask.iter().map(|question| prompts.about(question)).collect();
    let once = args.read_once.as_ref().map(|problem| match problem.as_str() {
        "" => prompts.clone(),
        problem => prompts.about(problem),
    });
    let read_for = once.as_ref().map_or(about.as_slice(), std::slice::from_ref);
    let needed = session.check_room(about.iter().chain(&once))?;
    let mut engine = RolloutEngine::new(session.sampler(read_for.len(), needed)?).with_stop(stop);
    let reader =
        Reader { tokenizer: &session.tokenizer, prompts, config: &session.reader, sampling: &sampling, step_key };
    let environments = read_for.iter().enumerate().map(|(number, prompts)| {
        let passages = chunks.iter().map(|chunk| &text[chunk.clone()]);
        let reading = reader.reading(prompts, (number as u64, 0), passages);
        let reading = if once.is_some() { reading.without_answer() } else { reading };
        Followed::new(reading, move |turn: &mut Turn| display.borrow_mut().turn(number, turn))
    });
    engine.run(&session.tokenizer, environments.collect(), None).or_else(told_too_long)?;
    if once.is_none() {
        return Ok(());
    }
    let memory = display.borrow().memory(0).to_owned();
    for (number, prompts) in about.iter().enumerate() {
        let prompt = AnswerPrompt { document: number as u64, turn: chunks.len() as u64, memory: memory.clone() };
        let answers = Reader { prompts, ..reader }.answer(&mut engine, &[prompt]).or_else(told_too_long)?;
        let mut answer = answers.into_iter().next().context("a question was not answered")?;
        display.borrow_mut().turn(number, &mut answer)?;
    }
    Ok(())
}

/// Adds what to do where a prompt has grown too long in spite of all limits: a memory may become more tokens when it is read again.
fn told_too_long<T>(error: anyhow::Error) -> anyhow::Result<T> {
    if error.downcast_ref::<crate::agents::reader::TooLong>().is_some() {
        return Err(error).hint(|| "lower `--chunk-tokens` or `--memory-tokens`".to_owned());
    }
    Err(error)
}
