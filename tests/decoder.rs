//! The whole decoder: its gradients against finite differences, and packing against one sequence at a time.

use candle_core::{DType, Device, Result, Tensor};
use memtrain::nn::gradient_check::{assert_close, max_difference};
use memtrain::nn::{PackedBatch, tape};
use memtrain::optim::{AdamW, AdamWConfig, Decay, Schedule, clip_global_norm};
use memtrain::policy::{Architecture, Decoder, PolicyConfig, preset};

fn config(architecture: Architecture, tied: bool) -> PolicyConfig {
    PolicyConfig {
        architecture,
        hidden_size: 12,
        intermediate_size: 10,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        tie_word_embeddings: tied,
        initializer_range: 0.4,
        ..preset::tiny(19)
    }
}

fn decoder(architecture: Architecture, tied: bool, dtype: DType) -> Result<Decoder> {
    let decoder =
        Decoder::init(config(architecture, tied), 3, &Device::Cpu, dtype).map_err(candle_core::Error::wrap)?;
    // Norms of one and biases of zero would hide faults.
    for (name, parameter) in decoder.parameters()? {
        if parameter.rank() == 1 {
            let len = parameter.elem_count();
            let shift: Vec<f64> = (0..len).map(|i| 0.3 * ((i * name.len()) as f64).sin()).collect();
            let shift = Tensor::from_vec(shift, parameter.shape(), &Device::Cpu)?.to_dtype(dtype)?;
            parameter.set(&(parameter.as_tensor() + shift)?.detach())?;
        }
    }
    Ok(decoder)
}

struct Response {
    segment: usize,
    ids: Vec<u32>,
}

/// Loss over all tokens of all responses: weighted log-probabilities and a little entropy.
fn loss(decoder: &Decoder, batch: &PackedBatch, responses: &[Response]) -> Result<Tensor> {
    let hidden = decoder.hidden(batch)?;
    let (mut rows, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for response in responses {
        let start = batch.segments[response.segment].rows.start as u32;
        let before = batch.row_before(response.segment).map_or(start - 1, |row| row as u32);
        for (offset, &id) in response.ids.iter().enumerate() {
            rows.push(if offset == 0 { before } else { start + offset as u32 - 1 });
            targets.push(id);
            weights.push(0.5 + 0.1 * f64::from(id));
        }
    }
    let scored = decoder.log_probs(&hidden, &rows, &targets, 0.8)?;
    let weights = Tensor::new(weights, &Device::Cpu)?.to_dtype(hidden.dtype())?;
    (scored.log_probs * weights)?.sum_all()? - (scored.entropy.sum_all()? * 0.05)?
}

fn packed() -> (PackedBatch, Vec<Response>) {
    let mut batch = PackedBatch::default();
    let mut responses = Vec::new();
    for (prompt, answers) in
        [(vec![1u32, 7, 3, 7], vec![vec![5u32, 2, 9], vec![11], vec![5, 2, 4, 18]]), (vec![8, 8], vec![vec![0, 6]])]
    {
        let prompt = batch.push(&prompt, None);
        for ids in answers {
            let segment = batch.push(&ids, Some(prompt));
            responses.push(Response { segment, ids });
        }
    }
    (batch, responses)
}

#[test]
fn gradients_through_the_whole_decoder_are_those_of_finite_differences() -> Result<()> {
    for (architecture, tied) in [(Architecture::Qwen3, true), (Architecture::Qwen2, false)] {
        let decoder = decoder(architecture, tied, DType::F64)?;
        let (batch, responses) = packed();
        let parameters = decoder.parameters()?;
        let gradients = tape::gradients(&loss(&decoder, &batch, &responses)?, &parameters)?;
        let frozen = decoder.frozen()?;
        for ((name, parameter), gradient) in parameters.iter().zip(&gradients) {
            let original = parameter.flatten_all()?.to_vec1::<f64>()?;
            let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
            let largest = gradient.iter().fold(0f64, |max, g| max.max(g.abs()));
            // Every element of small tensors, every seventh of the others.
            let stride = if original.len() > 64 { 7 } else { 1 };
            for index in (0..original.len()).step_by(stride) {
                let at = |step: f64| -> Result<f64> {
                    let mut moved = original.clone();
                    moved[index] += step;
                    parameter.set(&Tensor::from_vec(moved, parameter.shape(), &Device::Cpu)?)?;
                    loss(&frozen, &batch, &responses)?.to_scalar::<f64>()
                };
                let numeric = (at(1e-5)? - at(-1e-5)?) / 2e-5;
                let allowed = 1e-6 * largest.max(1e-2);
                assert!(
                    (gradient[index] - numeric).abs() < allowed,
                    "{name}[{index}]: {} and {numeric}",
                    gradient[index]
                );
            }
            parameter.set(&Tensor::from_vec(original, parameter.shape(), &Device::Cpu)?)?;
        }
    }
    Ok(())
}

#[test]
fn shared_prefixes_give_the_logits_and_gradients_of_separate_sequences() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
        let decoder = decoder(Architecture::Qwen3, true, dtype)?;
        let parameters = decoder.parameters()?;
        let (batch, responses) = packed();
        let hidden = decoder.hidden(&batch)?;
        let together = tape::gradients(&loss(&decoder, &batch, &responses)?, &parameters)?;
        let mut apart: Option<Vec<Tensor>> = None;
        for response in &responses {
            let prefix = batch.segments[batch.segments[response.segment].prefix.unwrap_or_default()].rows.clone();
            let mut single = PackedBatch::default();
            single.push(&[&batch.token_ids[prefix.clone()], &response.ids].concat(), None);
            // As rows of one segment: the response starts after the prompt.
            let single_hidden = decoder.hidden(&single)?;
            let rows = batch.segments[response.segment].rows.clone();
            let got = decoder.logits(&hidden.narrow(0, rows.start, rows.len())?)?;
            let expected = decoder.logits(&single_hidden.narrow(0, prefix.len(), rows.len())?)?;
            assert_close(&got, &expected, tolerance)?;
            let mut split = PackedBatch::default();
            let prompt = split.push(&batch.token_ids[prefix], None);
            let segment = split.push(&response.ids, Some(prompt));
            let one = [Response { segment, ids: response.ids.clone() }];
            let gradients = tape::gradients(&loss(&decoder, &split, &one)?, &parameters)?;
            apart = Some(match apart {
                None => gradients,
                Some(sum) => sum.iter().zip(&gradients).map(|(a, b)| a + b).collect::<Result<_>>()?,
            });
        }
        for (together, apart) in together.iter().zip(&apart.unwrap_or_default()) {
            assert_close(together, apart, tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn frozen_views_follow_and_copies_stay() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, true, DType::F32)?;
    let (view, copy) = (decoder.frozen()?, decoder.frozen_copy()?);
    let mut batch = PackedBatch::default();
    batch.push(&[1, 2, 3], None);
    let before = decoder.hidden(&batch)?;
    assert!(before.track_op() && !view.hidden(&batch)?.track_op() && !copy.hidden(&batch)?.track_op());
    assert!(view.parameters()?.is_empty());
    let (_, embedding) = &decoder.parameters()?[0];
    embedding.set(&(embedding.as_tensor() * 1.7)?.detach())?;
    assert_eq!(max_difference(&view.hidden(&batch)?, &decoder.hidden(&batch)?)?, 0.0);
    assert_eq!(max_difference(&copy.hidden(&batch)?, &before)?, 0.0);
    assert!(max_difference(&before, &decoder.hidden(&batch)?)? > 1e-3);
    Ok(())
}

#[test]
fn a_seed_gives_the_same_weights_and_another_seed_others() -> Result<()> {
    let first = |seed| -> Result<Vec<f32>> {
        let decoder = Decoder::init(config(Architecture::Qwen3, true), seed, &Device::Cpu, DType::F32);
        decoder.map_err(candle_core::Error::wrap)?.weights.embed_tokens.flatten_all()?.to_vec1()
    };
    assert_eq!(first(1)?, first(1)?);
    assert_ne!(first(1)?, first(2)?);
    let values = first(1)?;
    let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
    assert!((deviation - 0.4).abs() < 0.08, "{deviation}");
    Ok(())
}

#[test]
fn a_few_sentences_are_learned_by_heart() -> Result<()> {
    let config = PolicyConfig { hidden_size: 32, intermediate_size: 64, head_dim: 8, ..preset::tiny(50) };
    let decoder = Decoder::init(config, 0, &Device::Cpu, DType::F32).map_err(candle_core::Error::wrap)?;
    let parameters = decoder.parameters()?;
    // Few steps: the second moment has to follow quickly.
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig { beta2: 0.95, ..AdamWConfig::default() })?;
    let schedule = Schedule { warmup_steps: 5, total_steps: 120, decay: Decay::Cosine, last_factor: 0.1 };
    let mut batch = PackedBatch::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for sentence in 0..4u32 {
        // The first token names the sentence, the rest has no pattern that four sentences share.
        let ids: Vec<u32> = (0..20).map(|i| (sentence + i * i * (3 + 2 * sentence) + 11 * i) % 50).collect();
        let own = batch.push(&ids, None);
        let own = batch.segments[own].rows.clone();
        rows.extend(own.start as u32..own.end as u32 - 1);
        targets.extend_from_slice(&ids[1..]);
    }
    let mut losses = Vec::new();
    for step in 0..schedule.total_steps {
        let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 1.0)?;
        let loss = scored.log_probs.mean_all()?.neg()?;
        let mut gradients = tape::gradients(&loss, &parameters)?;
        clip_global_norm(&mut gradients, 1.0)?;
        optimizer.step(&gradients, 5e-3 * schedule.factor(step))?;
        losses.push(loss.to_scalar::<f32>()?);
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!((first - 50f32.ln()).abs() < 0.2 && last < 0.1, "{first} to {last}");
    Ok(())
}
