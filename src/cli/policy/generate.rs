//! `memtrain policy generate`: responses sampled from a policy.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::json::problem;
use serde::{Deserialize, Serialize};

use super::lines::{self, Line};
use crate::cli::counts::count;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::output;
use crate::device::DeviceChoice;
use crate::policy::chat_template::Date;
use crate::policy::{Message, Policy, PolicyTokenizer, PromptText, TemplateSettings};
use crate::sampler::{Completion, FinishReason, LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};

/// Arguments of `memtrain policy generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Policy directory, a name of the Hugging Face hub, or `built-in:NAME`
    #[arg(value_name = "DIR")]
    pub policy: PathBuf,
    /// Lines with `prompt_ids`, `prompt` (raw text), `user` or `messages` (through the chat template); stdin if absent
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// One user message instead of lines
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub user: Option<String>,
    /// One raw prompt instead of lines
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["input", "user"])]
    pub prompt: Option<String>,
    /// What the chat template is given beside the messages, one JSON object such as `{"enable_thinking": false}`
    #[arg(long, value_name = "JSON", value_parser = variables)]
    pub chat_template_kwargs: Option<TemplateVariables>,
    /// The day that a chat template is told which writes today's
    #[arg(long, value_name = "YYYY-MM-DD", default_value_t, value_parser = |text: &str| Date::try_from(text.to_owned()))]
    pub template_date: Date,
    /// Longest response in tokens
    #[arg(long, default_value_t = 128, value_parser = count::<usize>)]
    pub max_tokens: usize,
    /// 0 takes the most probable token each time
    #[arg(long, default_value_t = 1.0)]
    pub temperature: f64,
    /// Draw among the most probable tokens that together reach this probability
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f64,
    /// Draw among so many most probable tokens; 0 for all
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Responses to each prompt
    #[arg(long, default_value_t = 1, value_parser = count::<u64>)]
    pub num_samples: u64,
    /// What computes: `cpu`, or `cuda:0` in a program built for it
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
}

/// Variables of a template by name.
type TemplateVariables = serde_json::Map<String, serde_json::Value>;

fn variables(text: &str) -> Result<TemplateVariables, String> {
    serde_json::from_str(text).map_err(|error| problem(&error, text))
}

/// Responses drawn in one call of the sampler.
const BATCH_RESPONSES: usize = 256;

const EXAMPLE: &str = r#"{"prompt_ids": [5, 6, 7]}`, `{"prompt": "raw text"}` or `{"user": "a message"}"#;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    prompt_ids: Option<Vec<u32>>,
    prompt: Option<String>,
    user: Option<String>,
    messages: Option<Vec<Message>>,
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    ids: &'a [u32],
    text: String,
    log_probs: &'a [f32],
    finish: FinishReason,
}

/// Draws responses and prints one line each, in the order of the prompts.
///
/// # Errors
/// If the policy cannot be loaded, an option makes no sense, or a line is wrong.
pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    write_responses(args, &mut BufWriter::new(output()))
}

fn write_responses(args: &GenerateArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let GenerateArgs { temperature, top_p, top_k, max_tokens, .. } = *args;
    let params = SamplingParams { temperature, top_p, top_k, max_tokens };
    params.check().map_err(Usage)?;
    let variables = args.chat_template_kwargs.clone().unwrap_or_default();
    let settings = TemplateSettings { variables, date: args.template_date };
    let policy = super::load(&args.policy, args.device)?.with_template_settings(&settings);
    let allowed = policy.tokenizer.vocab_size();
    let mut sampler = LocalSampler::with_ids(&policy.decoder, &policy.generation.eos_token_ids, allowed)?;
    let mut batch = Vec::new();
    for line in requests(args)? {
        let line = line?;
        let prompt_ids = prompt_ids(&line, &policy, params.max_tokens)?;
        for rollout in 0..args.num_samples {
            let rng_key = RngKey { seed: args.seed, document: line.number - 1, rollout, ..RngKey::default() };
            batch.push(SampleRequest { prompt_ids: prompt_ids.clone(), params, rng_key });
            if batch.len() >= BATCH_RESPONSES {
                write(out, &sampler.sample(&batch)?, &policy.tokenizer)?;
                batch.clear();
            }
        }
    }
    write(out, &sampler.sample(&batch)?, &policy.tokenizer)
}

/// What was typed, or the lines of the input.
fn requests(args: &GenerateArgs) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Line<Request>>>>> {
    if args.user.is_some() || args.prompt.is_some() {
        let value = Request { user: args.user.clone(), prompt: args.prompt.clone(), ..Request::default() };
        return Ok(Box::new(std::iter::once(Ok(Line { number: 1, value }))));
    }
    Ok(Box::new(lines::read(args.input.as_deref(), EXAMPLE)?))
}

/// The token ids of a line's prompt.
fn prompt_ids(line: &Line<Request>, policy: &Policy, max_tokens: usize) -> anyhow::Result<Vec<u32>> {
    let (number, tokenizer) = (line.number, &policy.tokenizer);
    let Request { prompt_ids, prompt, user, messages } = &line.value;
    let ids = match (prompt_ids, prompt, user, messages) {
        (Some(ids), None, None, None) => ids.clone(),
        (None, Some(text), None, None) => tokenizer.raw_prompt_ids(text)?,
        (None, None, Some(user), None) => tokenizer.chat_prompt_ids(PromptText::foreign(user.as_str()))?,
        (None, None, None, Some(messages)) => tokenizer.chat_ids(messages, true)?,
        _ => {
            let wrong = "exactly one of `prompt_ids`, `prompt`, `user` and `messages` is expected";
            return Err(anyhow::anyhow!("line {number}: {wrong}")).hint(|| format!("a line looks like `{EXAMPLE}`"));
        }
    };
    if ids.is_empty() {
        anyhow::bail!("line {number}: the prompt has no tokens, there is nothing to go on from");
    }
    let config = &policy.decoder.config;
    lines::check_ids(number, "prompt_ids", &ids, config.vocab_size)?;
    lines::check_length(number, ids.len().saturating_add(max_tokens), config.max_position_embeddings)
        .hint(|| format!("the prompt has {} tokens; lower `--max-tokens` or shorten it", ids.len()))?;
    Ok(ids)
}

fn write(out: &mut impl Write, completions: &[Completion], tokenizer: &PolicyTokenizer) -> anyhow::Result<()> {
    for Completion { token_ids, log_probs, finish } in completions {
        let text = tokenizer.decode_response(token_ids)?;
        serde_json::to_writer(&mut *out, &Response { ids: token_ids, text, log_probs, finish: *finish })?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::describe;
    use crate::cli::policy::tests::{word_policy, write_lines};

    fn args(policy: PathBuf) -> GenerateArgs {
        GenerateArgs {
            policy,
            input: None,
            user: None,
            prompt: None,
            chat_template_kwargs: None,
            template_date: Date::default(),
            max_tokens: 6,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            seed: 4,
            num_samples: 1,
            device: DeviceChoice::Cpu,
        }
    }

    fn output(args: &GenerateArgs) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut out = Vec::new();
        write_responses(args, &mut out)?;
        Ok(String::from_utf8(out)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    #[test]
    fn each_prompt_gets_its_samples_in_order_whatever_its_form() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let policy = word_policy(folder.path())?;
        let lines = [
            r#"{"prompt_ids": [3, 4]}"#,
            "",
            r#"{"prompt": "river town"}"#,
            r#"{"user": "river town"}"#,
            r#"{"messages": [{"role": "user", "content": "river town"}]}"#,
        ];
        let input = Some(write_lines(folder.path(), &lines)?);
        let args = GenerateArgs { input, num_samples: 3, ..args(policy) };
        let first = output(&args)?;
        assert_eq!(first.len(), 12);
        assert_eq!(first, output(&args)?, "the same seed draws the same");
        for response in &first {
            let ids = response["ids"].as_array().expect("ids");
            assert_eq!(ids.len(), response["log_probs"].as_array().expect("log-probabilities").len());
            assert!(ids.len() == 6 && response["finish"] == "length" || response["finish"] == "stop");
            assert!(!response["text"].as_str().expect("text").contains("<|im_end|>"));
        }
        assert_ne!(first, output(&GenerateArgs { seed: 5, ..args })?);
        Ok(())
    }

    #[test]
    fn wrong_lines_and_options_are_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let policy = word_policy(folder.path())?;
        for (line, complaint) in [
            ("not json", "line 2 of "),
            (r#"{"promt": "a"}"#, "unknown key `promt`; known are"),
            (r#"{"prompt": "river", "user": "town"}"#, "line 2: exactly one of"),
            (r#"{"prompt": ""}"#, "line 2: the prompt has no tokens"),
            (r#"{"prompt_ids": [3, 900]}"#, "line 2: `prompt_ids` holds id 900, but the vocabulary has"),
        ] {
            let input = Some(write_lines(folder.path(), &[r#"{"prompt_ids": [3]}"#, line])?);
            let failure = output(&GenerateArgs { input, ..args(policy.clone()) }).expect_err(complaint);
            let told = describe(&failure, false);
            assert!(told.contains(complaint), "{told}");
        }
        let failure = output(&GenerateArgs { top_p: 0.0, ..args(policy) }).expect_err("no top-p");
        assert!(describe(&failure, false).starts_with("error: top-p 0 is not in (0, 1]"));
        let failure = output(&args(folder.path().join("nowhere"))).expect_err("no policy");
        assert!(describe(&failure, false).contains("hint: A policy is a Hugging Face directory"));
        Ok(())
    }
}
