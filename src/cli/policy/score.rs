//! `memtrain policy score`: log-probabilities of given responses.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::lines::{self, Line};
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::output;
use crate::device::DeviceChoice;
use crate::nn::PackedBatch;
use crate::policy::Decoder;

/// Arguments of `memtrain policy score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Policy directory, a name of the Hugging Face hub, or `built-in:NAME`
    #[arg(value_name = "DIR")]
    pub policy: PathBuf,
    /// Lines `{"prompt_ids": […], "response_ids": […]}`; stdin if absent
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Temperature of the distribution
    #[arg(long, default_value_t = 1.0)]
    pub temperature: f64,
    /// What computes: `cpu`, or `cuda:0` in a program built for it
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
}

/// Tokens scored in one pass.
const BATCH_TOKENS: usize = 8_192;

const EXAMPLE: &str = r#"{"prompt_ids": [5, 6, 7], "response_ids": [8, 2]}"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    prompt_ids: Vec<u32>,
    response_ids: Vec<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Scores {
    log_probs: Vec<f32>,
    entropy: Vec<f32>,
}

/// Scores lines and prints one line each, in order.
///
/// # Errors
/// If the policy cannot be loaded or a line is wrong.
pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    write_scores(args, &mut BufWriter::new(output()))
}

fn write_scores(args: &ScoreArgs, out: &mut impl Write) -> anyhow::Result<()> {
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        let wrong = Usage(format!("`--temperature {}` is not a positive number", args.temperature));
        return Err(wrong).hint(|| "1 scores the policy's own distribution".into());
    }
    let decoder = super::load(&args.policy, args.device)?.decoder.frozen()?;
    let mut batch: Vec<Request> = Vec::new();
    let mut tokens = 0;
    for line in lines::read(args.input.as_deref(), EXAMPLE)? {
        let request = check(line?, &decoder)?;
        let length = request.prompt_ids.len() + request.response_ids.len();
        if tokens + length > BATCH_TOKENS {
            write(out, &score(&decoder, &batch, args.temperature)?)?;
            batch.clear();
            tokens = 0;
        }
        tokens += length;
        batch.push(request);
    }
    write(out, &score(&decoder, &batch, args.temperature)?)
}

fn check(line: Line<Request>, decoder: &Decoder) -> anyhow::Result<Request> {
    let Line { number, value: request } = line;
    if request.prompt_ids.is_empty() {
        return Err(anyhow::anyhow!("line {number}: `prompt_ids` is empty"))
            .hint(|| "the first token of a response is scored by what stands before it".into());
    }
    let config = &decoder.config;
    lines::check_ids(number, "prompt_ids", &request.prompt_ids, config.vocab_size)?;
    lines::check_ids(number, "response_ids", &request.response_ids, config.vocab_size)?;
    let tokens = request.prompt_ids.len() + request.response_ids.len();
    lines::check_length(number, tokens, config.max_position_embeddings)?;
    Ok(request)
}

fn write(out: &mut impl Write, scores: &[Scores]) -> anyhow::Result<()> {
    for scores in scores {
        serde_json::to_writer(&mut *out, scores)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Scores requests in one packed batch; a prompt that several in a row have is read once.
fn score(decoder: &Decoder, requests: &[Request], temperature: f64) -> anyhow::Result<Vec<Scores>> {
    let mut batch = PackedBatch::default();
    let mut prompt: Option<(usize, &[u32])> = None;
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for Request { prompt_ids, response_ids } in requests {
        let segment = match prompt {
            Some((segment, ids)) if ids == prompt_ids.as_slice() => segment,
            _ => batch.push(prompt_ids, None),
        };
        prompt = Some((segment, prompt_ids));
        if response_ids.is_empty() {
            continue;
        }
        let before = batch.segments[segment].rows.end - 1;
        let response = batch.push(response_ids, Some(segment));
        let own = batch.segments[response].rows.clone();
        rows.push(before as u32);
        rows.extend(own.start as u32..own.end as u32 - 1);
        targets.extend_from_slice(response_ids);
    }
    let (mut log_probs, mut entropy) = (Vec::new(), Vec::new());
    if !rows.is_empty() {
        let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, temperature)?;
        (log_probs, entropy) = (scored.log_probs.to_vec1::<f32>()?, scored.entropy.to_vec1::<f32>()?);
    }
    let mut start = 0;
    let scores = requests.iter().map(|request| {
        let own = start..start + request.response_ids.len();
        start = own.end;
        Scores { log_probs: log_probs[own.clone()].to_vec(), entropy: entropy[own].to_vec() }
    });
    Ok(scores.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::policy::tests::{word_policy, write_lines};
    use crate::policy::preset;
    use candle_core::{DType, Device};

    #[test]
    fn scores_do_not_depend_on_what_else_is_in_the_batch() -> anyhow::Result<()> {
        let decoder = Decoder::init(preset::tiny(50), 3, &Device::Cpu, DType::F32)?;
        let request =
            |prompt: &[u32], response: &[u32]| Request { prompt_ids: prompt.to_vec(), response_ids: response.to_vec() };
        let requests = [
            request(&[1, 2, 3], &[4]),
            request(&[1, 2, 3], &[]),
            request(&[1, 2, 3], &[9, 8, 7]),
            request(&[7], &[5, 6]),
        ];
        let together = score(&decoder, &requests, 1.0)?;
        assert_eq!(together.iter().map(|scores| scores.log_probs.len()).collect::<Vec<_>>(), [1, 0, 3, 2]);
        for (request, together) in requests.iter().zip(&together) {
            let alone = score(&decoder, std::slice::from_ref(request), 1.0)?.remove(0);
            let pairs =
                together.log_probs.iter().zip(&alone.log_probs).chain(together.entropy.iter().zip(&alone.entropy));
            pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} and {b}"));
        }
        Ok(())
    }
    #[test]
    fn lines_are_answered_in_order_and_wrong_ones_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let policy = word_policy(folder.path())?;
        let good = r#"{"prompt_ids": [3, 4], "response_ids": [5, 6]}"#;
        let run = |lines: &[&str]| -> anyhow::Result<String> {
            let input = Some(write_lines(folder.path(), lines)?);
            let mut out = Vec::new();
            write_scores(
                &ScoreArgs { policy: policy.clone(), input, temperature: 1.0, device: DeviceChoice::Cpu },
                &mut out,
            )?;
            Ok(String::from_utf8(out)?)
        };
        let out = run(&[good, r#"{"prompt_ids": [3], "response_ids": []}"#])?;
        let lines: Vec<serde_json::Value> = out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        assert_eq!(lines[0]["log_probs"].as_array().map(Vec::len), Some(2));
        assert_eq!(lines[0]["entropy"].as_array().map(Vec::len), Some(2));
        assert_eq!(lines[1], serde_json::json!({"log_probs": [], "entropy": []}));
        for (line, complaint) in [
            (r#"{"prompt_ids": [3]}"#, "the key `response_ids` is missing"),
            (r#"{"prompt_ids": [], "response_ids": [4]}"#, "line 2: `prompt_ids` is empty"),
            (r#"{"prompt_ids": [3], "response_ids": [777]}"#, "line 2: `response_ids` holds id 777"),
        ] {
            let failure = run(&[good, line]).expect_err(complaint);
            let told = crate::cli::failure::describe(&failure, false);
            assert!(told.contains(complaint) && told.contains("line 2"), "{told}");
        }
        Ok(())
    }
}
