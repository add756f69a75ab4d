//! A device against the CPU, and how fast it is: `cargo bench --bench gpu -- DEVICE SIZE`, by default `cpu tiny`.
//!
//! 1. Parity: each operation of the decoder, tiny encoders, a tiny decoder's losses and gradients by the tape, what is drawn from it, f32 and
//!    bf16, those of the device's own passes, and steps of AdamW to the bit, device against CPU. The size `parity` ends here:
//!    under the driver that executes (`scripts/cuda-record.sh execute`) as well.
//! 2. A training step of a random policy of the shape `SIZE` (`tiny`, `qwen3-4b`, `qwen2.5-7b`) on one conversation as long
//!    as its context allows, 8,192 tokens at most: seconds, tokens a second, share of `MEMTRAIN_PEAK_TFLOPS` (989).
//! 3. Tokens a second of drawing at 1, 32 and 128 live sequences.
//!
//! `MEMTRAIN_GPU_BENCH` may hold the two as well. It ends with an error if anything is off by more than its bound. scripts/gpu-check.sh runs it on a card.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use memtrain::attention::{Layout, attention};
use memtrain::device::DeviceChoice;
use memtrain::index::EmbedConfig;
use memtrain::index::embed::{Embedder, Neural, Role};
use memtrain::nn::{PackedBatch, Segment, ops, tape};
use memtrain::optim::{AdamW, AdamWConfig, GradientBuffer, MomentType};
use memtrain::policy::lora::Adapter;
use memtrain::policy::{
    Architecture, Checkpointing, Decoder, LoraConfig, PolicyConfig, Precision, ScoredRows, ScoredTokens, Target, preset,
};
use memtrain::sampler::{Completion, LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain::scoring::{PassLimits, accumulate};
use memtrain::scoring::{PromptResponse, Sharing};
use memtrain::train::speed::PassWork;
use memtrain_corpora::store;

const VOCABULARY: usize = 300;

fn main() -> Result<()> {
    let typed = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let told = std::env::var("MEMTRAIN_GPU_BENCH").unwrap_or_default();
    let mut arguments = typed.chain(told.split_whitespace().map(str::to_owned));
    let choice: DeviceChoice = arguments.next().unwrap_or_else(|| "cpu".to_owned()).parse()?;
    let size = arguments.next().unwrap_or_else(|| "tiny".to_owned());
    println!("device {choice}, policy {size}");
    let device = choice.open()?;
    for (dtype, bound) in [(DType::F32, 2e-4), (DType::BF16, 6e-2)] {
        // The CPU has no arithmetic in 16 bits.
        if dtype == DType::BF16 && device.is_cpu() {
            println!("bf16: not on the CPU, left out");
            continue;
        }
        operations(&device, dtype, bound)?;
        decoder(&device, dtype, bound)?;
        drawing(&device, dtype, bound)?;
    }
    if !device.is_cpu() {
        passes(&device)?;
        encoders(choice)?;
    }
    for moments in [MomentType::F32, MomentType::Bf16] {
        optimizer(&device, moments)?;
    }
    if size == "parity" {
        return Ok(());
    }
    let decoder = random(&size, &device)?;
    training(&decoder, &device)?;
    sampling(&decoder)
}

/// A wave of a shape on the CPU in f32.
fn wave(shape: &[usize], phase: f64) -> Result<Tensor> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| ((i as f64 * 0.713 + phase).sin() * 0.8) as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Largest difference, measured by the largest element.
fn off(left: &Tensor, right: &Tensor) -> Result<f64> {
    let host = |x: &Tensor| x.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all();
    let (left, right) = (host(left)?, host(right)?);
    let difference = f64::from((&left - &right)?.abs()?.max(0)?.to_scalar::<f32>()?);
    Ok(difference / f64::from(right.abs()?.max(0)?.to_scalar::<f32>()?).max(1e-12))
}

type Operation<'a> = (&'static str, Vec<Tensor>, Box<dyn Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'a>);

/// Output and gradients of each operation, on the device against the CPU in f32.
fn operations(device: &Device, dtype: DType, bound: f64) -> Result<()> {
    let mut batch = PackedBatch::default();
    for (length, prefix) in [(300, None), (40, Some(0)), (17, Some(1)), (64, None)] {
        batch.push(&vec![0; length], prefix);
    }
    let (n, segments) = (batch.num_tokens(), batch.segments.clone());
    let segments: &[Segment] = &segments;
    let positions = batch.position_ids.clone();
    let rotary = move |x: &Tensor| ops::Rotary::new(&positions, &ops::frequencies(64, 10_000.0), x.dtype(), x.device());
    let rows: Vec<u32> = (0..50).map(|i| i * 7 % n as u32).collect();
    let targets: Vec<u32> = (0..50).map(|i| i * 13 % 200).collect();
    let all: Vec<Operation<'_>> = vec![
        ("linear", vec![wave(&[n, 96], 0.1)?, wave(&[64, 96], 0.5)?], Box::new(|v| ops::linear(&v[0], &v[1]))),
        ("bias", vec![wave(&[n, 4, 16], 0.1)?, wave(&[64], 0.5)?], Box::new(|v| ops::add_bias(&v[0], &v[1]))),
        ("rms norm", vec![wave(&[n, 96], 0.2)?, wave(&[96], 0.7)?], Box::new(|v| ops::rms_norm(&v[0], &v[1], 1e-6))),
        ("rope", vec![wave(&[n, 4, 64], 0.3)?], Box::new(move |v| ops::rope(&v[0], &rotary(&v[0])?))),
        ("swiglu", vec![wave(&[n, 96], 0.4)?, wave(&[n, 96], 0.9)?], Box::new(|v| ops::swiglu(&v[0], &v[1]))),
        (
            "attention",
            vec![wave(&[n, 4, 64], 0.5)?, wave(&[n, 2, 64], 0.6)?, wave(&[n, 2, 64], 0.7)?],
            Box::new(move |v| attention(&v[0], &v[1], &v[2], Layout::causal(segments))),
        ),
        ("gather", vec![wave(&[n, 96], 0.8)?], Box::new(move |v| ops::gather_rows(&v[0], &rows))),
        (
            "log-probabilities",
            vec![wave(&[50, 96], 0.8)?, wave(&[200, 96], 0.2)?],
            Box::new(move |v| ops::log_prob(&v[0], &v[1], &targets, 0.9)?.get(0)),
        ),
    ];
    for (name, inputs, operation) in all {
        // Both start from what the type can hold.
        let rounded: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(dtype)).collect::<candle_core::Result<_>>()?;
        let on = |device: &Device, dtype: DType| -> Result<Vec<Tensor>> {
            let variables: Vec<Var> = rounded
                .iter()
                .map(|x| Var::from_tensor(&x.to_dtype(dtype)?.to_device(device)?))
                .collect::<candle_core::Result<_>>()?;
            let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
            let out = operation(&tensors)?;
            let cotangent = wave(out.dims(), 1.1)?.to_dtype(out.dtype())?.to_device(device)?;
            let mut all = vec![out.detach()];
            all.extend(tape::vector_jacobian_product(&out, &cotangent, &variables)?);
            Ok(all)
        };
        let (here, there) = (on(&Device::Cpu, DType::F32)?, on(device, dtype)?);
        let worst = there.iter().zip(&here).map(|(x, truth)| off(x, truth)).collect::<Result<Vec<_>>>()?;
        let worst = worst.into_iter().fold(0.0, f64::max);
        println!("{dtype:?} {name}: off by {worst:.1e}");
        ensure!(worst < bound, "{name} in {dtype:?} is off by {worst:.1e}, more than {bound:.1e}");
    }
    Ok(())
}

/// Log-probabilities and gradients of a tiny decoder, on the device against the CPU in f32.
fn decoder(device: &Device, dtype: DType, bound: f64) -> Result<()> {
    let config = preset::tiny(VOCABULARY);
    let truth = Decoder::init(config.clone(), 3, &Device::Cpu, DType::F32)?;
    let ids = |len: usize, salt: usize| (0..len).map(|i| ((i * i * 7 + salt) % VOCABULARY) as u32).collect::<Vec<_>>();
    let (prompt, responses) = (ids(200, 1), [ids(40, 2), ids(30, 3)]);
    let run = |decoder: &Decoder| -> Result<(Tensor, Vec<Tensor>)> {
        let mut batch = PackedBatch::default();
        let root = batch.push(&prompt, None);
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for response in &responses {
            let segment = batch.push(&response[..response.len() - 1], Some(root));
            rows.extend(batch.row_before(segment).map(|row| row as u32));
            rows.extend(batch.segments[segment].rows.clone().map(|row| row as u32));
            targets.extend_from_slice(response);
        }
        let scored = decoder.log_probs(&decoder.hidden(&batch)?, &rows, &targets, 1.0)?;
        let gradients = tape::gradients(&scored.log_probs.to_dtype(DType::F32)?.mean_all()?, &decoder.parameters()?)?;
        Ok((scored.log_probs.detach(), gradients))
    };
    let (log_probs, gradients) = run(&truth)?;
    let copy = Decoder::init(config, 3, device, DType::F32)?.to_dtype(dtype)?.trainable_copy()?;
    let (own_log_probs, own_gradients) = run(&copy)?;
    let worst = own_gradients.iter().zip(&gradients).map(|(x, truth)| off(x, truth)).collect::<Result<Vec<_>>>()?;
    let worst = worst.into_iter().fold(off(&own_log_probs, &log_probs)?, f64::max);
    println!("{dtype:?} tiny decoder, log-probabilities and gradients: off by {worst:.1e}");
    // Errors add up over the layers.
    ensure!(worst < 5.0 * bound, "the decoder in {dtype:?} is off by {worst:.1e}");
    Ok(())
}

/// A batch, its scored rows and their targets.
fn conversations() -> (PackedBatch, Vec<u32>, Vec<u32>) {
    let ids = |len: usize, salt: usize| (0..len).map(|i| ((i * i * 7 + salt) % VOCABULARY) as u32).collect::<Vec<_>>();
    let mut batch = PackedBatch::default();
    let root = batch.push(&ids(70, 1), None);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for response in [ids(20, 2), ids(9, 3)] {
        let segment = batch.push(&response[..response.len() - 1], Some(root));
        rows.extend(batch.row_before(segment).map(|row| row as u32));
        rows.extend(batch.segments[segment].rows.clone().map(|row| row as u32));
        targets.extend(response);
    }
    (batch, rows, targets)
}

/// Passes without a tape, which a device has for bf16 and heads of 64: hidden states and gradients against those of the same
/// rounded weights on the CPU in f32, and equal to the bit whatever is kept of the forward.
fn passes(device: &Device) -> Result<()> {
    let lora =
        LoraConfig { rank: 4, targets: vec![Target::Q, Target::V, Target::O, Target::Down], ..LoraConfig::default() };
    for (architecture, tied, lora) in
        [(Architecture::Qwen3, true, None), (Architecture::Qwen2, false, None), (Architecture::Qwen3, true, Some(lora))]
    {
        let config = PolicyConfig {
            architecture,
            hidden_size: 96,
            intermediate_size: 160,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            head_dim: 64,
            tie_word_embeddings: tied,
            initializer_range: 0.1,
            ..preset::tiny(VOCABULARY)
        };
        let made = |device: &Device, dtype: DType| -> Result<Decoder> {
            let decoder =
                Decoder::init(config.clone(), 3, device, DType::F32)?.to_dtype(DType::BF16)?.to_dtype(dtype)?;
            let decoder = match &lora {
                Some(lora) => decoder.with_lora(lora, 5)?,
                None => decoder.trainable_copy()?,
            };
            // Gains of one, biases and adapters of zero would hide faults.
            for (name, parameter) in decoder.parameters()? {
                if parameter.rank() == 1 || name.contains("lora_B") {
                    let shift = (wave(parameter.dims(), 0.01 * name.len() as f64)? * 0.2)?.to_dtype(DType::BF16)?;
                    let start = parameter.as_detached_tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
                    let moved = (start + shift.to_dtype(DType::F32)?)?.to_dtype(DType::BF16)?;
                    parameter.set(&moved.to_dtype(parameter.dtype())?.to_device(device)?)?;
                }
            }
            Ok(decoder)
        };
        let (truth, own) = (made(&Device::Cpu, DType::F32)?, made(device, DType::BF16)?);
        let (batch, rows, targets) = conversations();
        let scored = ScoredRows { batch: &batch, rows: &rows, targets: &targets, temperature: 0.9 };
        let gradients = |decoder: &Decoder, modes: &[Checkpointing]| -> Result<Vec<Tensor>> {
            let parameters = decoder.parameters()?;
            let mut sums = GradientBuffer::new(&parameters)?;
            let mut slopes = |scores: &ScoredTokens| {
                let slopes = wave(scores.log_probs.dims(), 1.1).map_err(candle_core::Error::wrap)?;
                slopes.to_device(scores.log_probs.device())
            };
            for &mode in modes {
                decoder.backward(&scored, &parameters, mode, &mut slopes, &mut sums)?;
            }
            Ok(sums.take()?)
        };
        let (expected, found) = (gradients(&truth, &[Checkpointing::Off])?, gradients(&own, &[Checkpointing::Full])?);
        let hidden = |decoder: &Decoder| -> Result<Tensor> { Ok(decoder.frozen()?.hidden(&batch)?) };
        let mut worst = off(&hidden(&own)?, &hidden(&truth)?)?;
        for (found, expected) in found.iter().zip(&expected) {
            worst = worst.max(off(found, expected)?);
        }
        let adapters = if lora.is_some() { " with adapters" } else { "" };
        println!("BF16 pass of {architecture:?}{adapters}, hidden states and gradients: off by {worst:.1e}");
        ensure!(worst < 6e-2, "the pass is off by {worst:.1e}");
        for mode in [Checkpointing::Selective, Checkpointing::Off] {
            for (other, found) in gradients(&own, &[mode])?.iter().zip(&found) {
                ensure!(off(other, found)? == 0.0, "{mode:?} changes the gradient");
            }
        }
        // Of two passes the second adds to what is there.
        for (twice, expected) in gradients(&own, &[Checkpointing::Full; 2])?.iter().zip(&expected) {
            ensure!(off(twice, &(expected * 2.0)?)? < 6e-2, "two passes are not twice one");
        }
    }
    Ok(())
}

/// Responses drawn on the device. In f32 they are the CPU's; in bf16 each token's log-probability is near what the CPU gives it after the
/// same tokens. Prompts begin alike or are equal, and the cache is so small that blocks are used again in another order.
fn drawing(device: &Device, dtype: DType, bound: f64) -> Result<()> {
    const CACHE_BLOCKS: usize = 12;
    for architecture in [Architecture::Qwen3, Architecture::Qwen2] {
        let config = PolicyConfig { architecture, head_dim: 64, initializer_range: 0.12, ..preset::tiny(VOCABULARY) };
        let (truth, copy) = (drawn_from(&config, &Device::Cpu, dtype)?, drawn_from(&config, device, dtype)?);
        let requests: Vec<SampleRequest> = (0..12_usize)
            .map(|number| SampleRequest {
                prompt_ids: (0..[41, 70, 3, 41][number % 4]).map(|i| ((i * i * 7 + number % 2) % 200) as u32).collect(),
                params: SamplingParams {
                    temperature: [0.9, 1.3, 0.0][number % 3],
                    top_p: if number % 5 == 1 { 0.8 } else { 1.0 },
                    top_k: if number % 4 == 2 { 20 } else { 0 },
                    max_tokens: 3 + number,
                },
                rng_key: RngKey { document: number as u64, ..RngKey::default() },
            })
            .collect();
        let draw = |decoder: &Decoder, bytes: usize| {
            let block = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 32 * bytes;
            let sampler = LocalSampler::with_ids(decoder, &[7], VOCABULARY - 10)?.with_prefill_tokens(40);
            sampler.with_cache_bytes(CACHE_BLOCKS * block).sample(&requests)
        };
        let (drawn, expected) = (draw(&copy, dtype.size_in_bytes())?, draw(&truth, 4)?);
        let (mut worst, mut equal, mut all) = (0_f64, 0, 0);
        for ((request, drawn), expected) in requests.iter().zip(&drawn).zip(&expected) {
            let mut batch = PackedBatch::default();
            let prompt = batch.push(&request.prompt_ids, None);
            let response = batch.push(&drawn.token_ids, Some(prompt));
            let (before, start) = (batch.row_before(response), batch.segments[response].rows.start as u32);
            let targets = &drawn.token_ids;
            let rows: Vec<u32> = before.map(|row| row as u32).into_iter().chain(start..).take(targets.len()).collect();
            let temperature = if request.params.temperature > 0.0 { request.params.temperature } else { 1.0 };
            let scored = truth.log_probs(&truth.hidden(&batch)?, &rows, targets, temperature)?;
            for (log_prob, scored) in drawn.log_probs.iter().zip(scored.log_probs.to_vec1::<f32>()?) {
                worst = worst.max(f64::from((log_prob - scored).abs()));
            }
            ensure!(targets.iter().all(|&id| (id as usize) < VOCABULARY - 10), "a masked id was drawn");
            equal += targets.iter().zip(&expected.token_ids).filter(|(left, right)| left == right).count();
            all += expected.token_ids.len();
        }
        let what = format!("{dtype:?} {architecture:?} drawing");
        println!("{what}: {equal} of {all} tokens are the CPU's, log-probabilities off by {worst:.1e}");
        let same = |(left, right): (&Completion, &Completion)| left.token_ids == right.token_ids;
        let are_equal = drawn.len() == expected.len() && drawn.iter().zip(&expected).all(same);
        ensure!(dtype != DType::F32 || are_equal, "{what}: other tokens than the CPU's");
        // Errors add up over the layers, and logits are larger than 1.
        ensure!(worst < 5.0 * bound, "{what}: log-probabilities are off by {worst:.1e}");
    }
    Ok(())
}

/// A tiny decoder; of Qwen2 with biases and adapters that are not zero.
fn drawn_from(config: &PolicyConfig, device: &Device, dtype: DType) -> Result<Decoder> {
    let mut decoder = Decoder::init(config.clone(), 5, device, DType::F32)?.to_dtype(dtype)?;
    if config.architecture == Architecture::Qwen2 {
        for layer in &mut decoder.weights.layers {
            for bias in [&mut layer.q_bias, &mut layer.k_bias, &mut layer.v_bias].into_iter().flatten() {
                *bias = wave(bias.dims(), 0.3)?.to_dtype(dtype)?.to_device(device)?;
            }
            for target in [Target::Q, Target::Down] {
                let (outputs, inputs) = config.matrix_shape(target);
                let [a, b] = [wave(&[4, inputs], 0.2)?, wave(&[outputs, 4], 0.7)?];
                let adapter = Adapter { a: a.to_device(device)?, b: b.to_device(device)?, scale: 0.02 };
                layer.adapters.set(target, adapter);
            }
        }
    }
    Ok(decoder)
}

/// Vectors of texts by tiny encoders of all families, on the device against the CPU.
fn encoders(choice: DeviceChoice) -> Result<()> {
    const ENCODERS: [&str; 10] = [
        "parity/bert",
        "parity/distilbert",
        "parity/roberta",
        "parity/xlm-roberta",
        "families/modernbert",
        "families/deberta-v2",
        "families/deberta-v3",
        "families/nomic-bert",
        "families/jina-bert",
        "families/qwen3",
    ];
    let texts = ["The town lies on a river.", "Who wrote it, and when?", "River"];
    for name in ENCODERS {
        let vectors = |device: DeviceChoice| -> Result<Vec<Vec<f32>>> {
            let config = EmbedConfig {
                model: Path::new(env!("CARGO_MANIFEST_DIR")).join("encoder/tests").join(name),
                device: device.to_string().parse().map_err(anyhow::Error::msg)?,
                ..EmbedConfig::default()
            };
            Ok(Neural::open(&config)?.embed(&texts, Role::Passage)?)
        };
        let (here, there) = (vectors(DeviceChoice::Cpu)?.concat(), vectors(choice)?.concat());
        ensure!(here.len() == there.len(), "{name}: other vectors");
        let far = here.iter().zip(&there).map(|(x, y)| (x - y).abs());
        // A vector that is not a number is farthest of all.
        let worst = far.fold(0.0_f32, |most, far| if far <= most { most } else { far });
        println!("encoder {name}: off by {worst:.1e}");
        ensure!(worst < 1e-3, "{name} is off by {worst:.1e}");
    }
    Ok(())
}

/// Steps of AdamW on the device, which are those of the CPU to the bit: the moments of bf16 are rounded by the same draws.
fn optimizer(device: &Device, moments: MomentType) -> Result<()> {
    ensure!(
        stepped(device, moments)? == stepped(&Device::Cpu, moments)?,
        "AdamW with moments in {moments:?} is not the CPU's"
    );
    println!("AdamW with moments in {moments:?}: equal to the bit");
    Ok(())
}

/// Parameters after three steps, and the moments as they are stored.
fn stepped(device: &Device, moments: MomentType) -> Result<(Vec<Vec<f32>>, Vec<u8>)> {
    let mut parameters = Vec::new();
    for (name, shape) in [("matrix", &[40, 500][..]), ("gain", &[7]), ("column", &[3, 1])] {
        parameters.push((name.to_owned(), Var::from_tensor(&wave(shape, 0.3)?.to_device(device)?)?));
    }
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig { moments, ..AdamWConfig::default() })?;
    for step in 0..3 {
        let mut gradients = Vec::new();
        for (_, parameter) in &parameters {
            gradients.push(wave(parameter.dims(), f64::from(step))?.to_device(device)?);
        }
        optimizer.step(&gradients, 1e-2)?;
    }
    let mut values = Vec::new();
    for (_, parameter) in &parameters {
        values.push(parameter.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?);
    }
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    optimizer.save_state(&state)?;
    Ok((values, store::read(&state)?))
}

/// A random policy of a named shape.
fn random(size: &str, device: &Device) -> Result<Decoder> {
    let config = preset::by_name(size, VOCABULARY).with_context(|| format!("no shape is called `{size}`"))?;
    println!("a random policy of {:.3} billion parameters", config.num_parameters() as f64 / 1e9);
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    Ok(Decoder::init(config, 1, device, dtype)?)
}

/// Forward, backward and AdamW on one long conversation.
fn training(random: &Decoder, device: &Device) -> Result<()> {
    let precision = if device.is_cpu() { Precision::F32 } else { Precision::Bf16 };
    let (decoder, _) = random.trainable(precision)?;
    let config = &decoder.config;
    let tokens = 8_192.min(config.max_position_embeddings).min(if device.is_cpu() { 1_024 } else { 8_192 });
    let response = tokens / 8;
    let ids = |len: usize, salt: usize| (0..len).map(|i| ((i * 31 + salt) % 200) as u32).collect::<Vec<_>>();
    let (prompt, response) = (ids(tokens - response, 1), ids(response, 5));
    let pairs = [PromptResponse { prompt_ids: &prompt, response_ids: &response }];
    let limits = PassLimits {
        micro_batch_tokens: tokens,
        temperature: 1.0,
        activation_checkpointing: true,
        sharing: Sharing::Prefixes,
    };
    let parameters = decoder.parameters()?;
    let mut optimizer = AdamW::new(parameters.clone(), AdamWConfig::default())?;
    let mut gradients = GradientBuffer::new(&parameters)?;
    let work = PassWork::of(config, &pairs, tokens, Sharing::Prefixes);
    for attempt in 0..3 {
        let start = Instant::now();
        accumulate(&decoder, &parameters, &pairs, limits, &mut gradients, &|| true, |_| -1e-3)?;
        device.synchronize()?;
        let passes = start.elapsed().as_secs_f64();
        optimizer.step(&gradients.take()?, 1e-6)?;
        device.synchronize()?;
        let all = start.elapsed().as_secs_f64();
        let peak = std::env::var("MEMTRAIN_PEAK_TFLOPS").ok().and_then(|text| text.parse().ok()).unwrap_or(989.0);
        println!(
            "training step {attempt} of {tokens} tokens: {passes:.3} s forward and backward, {:.3} s AdamW; {:.0} tokens/s, {:.1} % of {peak} TFLOP/s",
            all - passes,
            tokens as f64 / passes,
            100.0 * work.training_flops() / passes / (peak * 1e12)
        );
    }
    if let Some(free) = memtrain::sampler::local::free_bytes(device) {
        println!("free after it: {:.1} GiB", free as f64 / f64::from(1 << 30));
    }
    Ok(())
}

/// Tokens a second for several numbers of live sequences.
fn sampling(decoder: &Decoder) -> Result<()> {
    let config = &decoder.config;
    let (prompt, response) = if decoder.device().is_cpu() { (64, 16) } else { (1_024, 128) };
    let mut sampler = LocalSampler::with_ids(decoder, &[], config.vocab_size)?;
    if decoder.device().is_cpu() {
        sampler = sampler.with_tensor_cache();
    }
    for live in [1_u64, 32, 128] {
        let request = |number: u64| SampleRequest {
            prompt_ids: (0..prompt).map(|i| ((i * 7 + number as u32 * 13) % 200) + 1).collect(),
            params: SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: response },
            rng_key: RngKey { document: number, ..RngKey::default() },
        };
        let requests: Vec<SampleRequest> = (0..live).map(request).collect();
        let start = Instant::now();
        let drawn: usize = sampler.sample(&requests)?.iter().map(|completion| completion.token_ids.len()).sum();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "drawing, {live} live sequences after {prompt} tokens: {drawn} tokens, {:.0} tokens/s",
            drawn as f64 / seconds
        );
    }
    Ok(())
}
