//! Gradients layer by layer, of 16-bit weights and of adapters, against the whole tape.

use candle_core::{DType, Device, Result, Tensor, Var};
use memtrain::nn::PackedBatch;
use memtrain::nn::gradient_check::{assert_close, max_difference, wave};
use memtrain::nn::tape;
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer};
use memtrain::policy::{
    Architecture, Checkpointing, Decoder, LoraConfig, PolicyConfig, Precision, ScoredRows, Target, preset,
};

fn decoder(architecture: Architecture, tied: bool, dtype: DType) -> Result<Decoder> {
    let config = PolicyConfig {
        architecture,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        tie_word_embeddings: tied,
        initializer_range: 0.3,
        ..preset::tiny(37)
    };
    let decoder = Decoder::init(config, 3, &Device::Cpu, dtype).map_err(candle_core::Error::wrap)?;
    // Norms of one and biases of zero would hide faults.
    for (name, parameter) in decoder.parameters()? {
        if parameter.rank() == 1 {
            let shift = wave(parameter.dims(), dtype, 0.2 + 0.01 * name.len() as f64)?;
            parameter.set(&(parameter.as_detached_tensor() + shift)?)?;
        }
    }
    Ok(decoder)
}

struct Scored {
    batch: PackedBatch,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

/// Two prompts, one shared by three responses; repeated tokens, so that embedding rows add up.
fn scored() -> Scored {
    let mut scored = Scored { batch: PackedBatch::default(), rows: Vec::new(), targets: Vec::new() };
    for (prompt, answers) in [
        (vec![1u32, 7, 3, 7, 30, 2], vec![vec![5u32, 2, 9, 9], vec![11, 1], vec![5, 2, 4, 18, 36]]),
        (vec![8, 8, 0], vec![vec![0, 6, 6]]),
    ] {
        let prompt = scored.batch.push(&prompt, None);
        for ids in answers {
            let segment = scored.batch.push(&ids[..ids.len() - 1], Some(prompt));
            scored.rows.push(scored.batch.segments[prompt].rows.end as u32 - 1);
            scored.rows.extend(scored.batch.segments[segment].rows.clone().map(|row| row as u32));
            scored.targets.extend(ids);
        }
    }
    scored
}

fn gradients(decoder: &Decoder, parameters: &[(String, Var)], checkpointing: Checkpointing) -> Result<Vec<Tensor>> {
    let Scored { batch, rows, targets } = &scored();
    let scored = ScoredRows { batch, rows, targets, temperature: 0.9 };
    let mut cotangent = |scores: &memtrain::policy::ScoredTokens| wave(scores.log_probs.dims(), DType::F64, 1.7);
    let mut sums = GradientBuffer::new(parameters)?;
    decoder.backward(&scored, parameters, checkpointing, &mut cotangent, &mut sums)?;
    let sums = sums.take()?;
    assert!(sums.iter().all(|sum| !sum.track_op()), "a gradient that holds a tape keeps every activation alive");
    Ok(sums)
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

/// Bit for bit, but for the sign of zeros.
fn assert_same_bits(name: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    let zero = a.zeros_like()?;
    assert_eq!(bits(&(a + &zero)?)?, bits(&(b + &zero)?)?, "{name}");
    Ok(())
}

#[test]
fn layer_by_layer_gives_the_gradients_of_the_whole_tape_bit_for_bit() -> Result<()> {
    for (architecture, tied) in [
        (Architecture::Qwen3, true),
        (Architecture::Qwen2, false),
        (Architecture::Llama, true),
        (Architecture::Qwen3, false),
    ] {
        let decoder = decoder(architecture, tied, DType::F32)?;
        let parameters = decoder.parameters()?;
        let (whole, layers) = (
            gradients(&decoder, &parameters, Checkpointing::Off)?,
            gradients(&decoder, &parameters, Checkpointing::Full)?,
        );
        for (((name, _), whole), layers) in parameters.iter().zip(&whole).zip(&layers) {
            assert!(max_difference(whole, &whole.zeros_like()?)? > 0.0, "{name} has no gradient");
            assert_same_bits(name, layers, whole)?;
        }
    }
    Ok(())
}

#[test]
fn a_last_layer_at_the_scored_rows_alone_gives_what_all_rows_give() -> Result<()> {
    let Scored { batch, rows, targets } = scored();
    for architecture in [Architecture::Qwen3, Architecture::Qwen2] {
        let decoder = decoder(architecture, true, DType::F32)?;
        let parameters = decoder.parameters()?;
        let all = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 0.9)?.log_probs;
        let alone = decoder.log_probs_of(&decoder.hidden_at(&batch, &rows)?, &targets, 0.9)?.log_probs;
        assert_close(&alone, &all, 1e-5)?;
        let slopes = wave(all.dims(), DType::F64, 1.7)?.to_dtype(DType::F32)?;
        let expected = tape::gradients(&(all * slopes)?.sum_all()?, &parameters)?;
        let got = gradients(&decoder, &parameters, Checkpointing::Off)?;
        for (got, expected) in got.iter().zip(&expected) {
            assert_close(got, expected, 1e-4)?;
        }
    }
    Ok(())
}

#[test]
fn adapters_get_the_gradients_of_the_whole_tape_and_frozen_weights_none() -> Result<()> {
    for targets in [Target::ALL.to_vec(), vec![Target::V, Target::Up]] {
        let base = decoder(Architecture::Qwen2, true, DType::F32)?;
        let config = LoraConfig { rank: 3, alpha: 4.0, targets };
        let mut adapted = base.with_lora(&config, 5).map_err(candle_core::Error::wrap)?;
        for (name, parameter) in adapted.parameters()? {
            parameter.set(&wave(parameter.dims(), DType::F32, 0.2 + 0.01 * name.len() as f64)?)?;
        }
        // Layers below the first adapter are passed over.
        adapted.weights.layers[0].adapters = Default::default();
        let parameters = adapted.parameters()?;
        assert!(parameters.iter().all(|(name, _)| name.contains(".lora_")));
        let (whole, layers) = (
            gradients(&adapted, &parameters, Checkpointing::Off)?,
            gradients(&adapted, &parameters, Checkpointing::Full)?,
        );
        for (((name, _), whole), layers) in parameters.iter().zip(&whole).zip(&layers) {
            assert_same_bits(name, layers, whole)?;
        }
        // The gradient of the merged matrix says what those of the adapters must be: dA = s B^T dW, dB = s dW A^T.
        let merged = adapted.merged_lora()?.trainable_copy()?;
        let full_parameters = merged.parameters()?;
        let full = gradients(&merged, &full_parameters, Checkpointing::Full)?;
        for (number, layer) in adapted.weights.layers.iter().enumerate() {
            for target in Target::ALL {
                let Some(adapter) = layer.adapters.get(target) else { continue };
                let path = format!("model.layers.{number}.{}", target.path());
                let of = |list: &[(String, Var)], name: String| list.iter().position(|(own, _)| *own == name).unwrap();
                let slope = &full[of(&full_parameters, format!("{path}.weight"))];
                let expected_a = (adapter.b.detach().t()?.matmul(slope)? * adapter.scale)?;
                let expected_b = (slope.matmul(&adapter.a.detach().t()?)? * adapter.scale)?;
                for (letter, expected) in [('A', expected_a), ('B', expected_b)] {
                    let got = &whole[of(&parameters, format!("{path}.lora_{letter}.weight"))];
                    assert_close(got, &expected, 1e-4)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn weights_of_16_bits_get_unrounded_gradients_of_the_rounded_policy() -> Result<()> {
    let start = decoder(Architecture::Qwen3, true, DType::F32)?;
    let (rounded, masters) = start.trainable(Precision::Bf16)?;
    assert_eq!((rounded.dtype(), rounded.compute_dtype()), (DType::BF16, DType::F32));
    let parameters = rounded.parameters()?;
    assert_eq!(masters.len(), parameters.len());
    // The twin: the rounded numbers in f32.
    let twin = rounded.to_dtype(DType::F32)?.trainable_copy()?;
    let expected = gradients(&twin, &twin.parameters()?, Checkpointing::Off)?;
    for checkpointing in [Checkpointing::Off, Checkpointing::Full] {
        let got = gradients(&rounded, &parameters, checkpointing)?;
        for (((name, _), got), expected) in parameters.iter().zip(&got).zip(&expected) {
            assert_eq!(got.dtype(), DType::F32, "{name}");
            assert_same_bits(name, got, expected)?;
        }
    }
    Ok(())
}

#[test]
fn steps_move_masters_and_the_copy_that_the_sampler_sees() -> Result<()> {
    let start = decoder(Architecture::Qwen3, true, DType::F32)?;
    let (rounded, masters) = start.trainable(Precision::Bf16)?;
    let (sampler_view, before) = (rounded.frozen()?, rounded.frozen_copy()?);
    let parameters = rounded.parameters()?;
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
    optimizer.set_masters(&masters)?;
    let mut buffer = GradientBuffer::new(&parameters)?;
    let batch = scored().batch;
    for _ in 0..20 {
        // Against the gradient: the log-probabilities are to rise.
        let negated: Vec<Tensor> = gradients(&rounded, &parameters, Checkpointing::Full)?
            .into_iter()
            .map(|g| g.neg())
            .collect::<Result<_>>()?;
        buffer.add(&negated)?;
        optimizer.step(&buffer.take()?, 1e-3)?;
    }
    assert_eq!(max_difference(&sampler_view.hidden(&batch)?, &rounded.hidden(&batch)?)?, 0.0);
    assert!(max_difference(&sampler_view.hidden(&batch)?, &before.hidden(&batch)?)? > 1e-3);
    // The copy is the masters, rounded: what the masters have in f32 the starting policy had not lost.
    let weights = sampler_view.weights.named();
    for ((name, master), (own, weight)) in masters.iter().zip(&weights) {
        assert_eq!(name, own);
        assert_eq!(max_difference(&master.to_dtype(DType::BF16)?, weight)?, 0.0, "{name}");
        assert!(max_difference(master, &weight.to_dtype(DType::F32)?)? > 0.0 || master.elem_count() < 8, "{name}");
    }
    Ok(())
}

#[test]
fn parameters_of_another_decoder_are_refused() -> Result<()> {
    let decoder = decoder(Architecture::Qwen3, true, DType::F32)?;
    let mut parameters = decoder.parameters()?;
    parameters[0].0 = "another".to_owned();
    for checkpointing in [Checkpointing::Off, Checkpointing::Full] {
        let error = gradients(&decoder, &parameters, checkpointing).expect_err("another name").to_string();
        assert!(error.contains("model.embed_tokens.weight"), "{error}");
    }
    let frozen = decoder.frozen()?;
    assert!(gradients(&frozen, &decoder.parameters()?, Checkpointing::Full).is_err());
    Ok(())
}
