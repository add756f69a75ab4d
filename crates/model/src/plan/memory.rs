//! Bytes a tensor class, by the phase of a step in which they exist.
//!
//! Counted is what this program holds: tensors of its tapes and kernels, not what an allocator keeps beside them. A step
//! has two phases whose peaks do not meet: rollout (keys and values, logits) and update (activations, gradients in
//! flight). Weights, masters, gradients, moments and the reference are there throughout.

use memtrain_kernels::nn::ops::LOGIT_ROWS;

use super::{Device, GIB, Setting};
use crate::optim::MomentType;
use crate::policy::Precision;

/// Which memory a class is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The memory that the arithmetic is done in.
    Device,
    /// The host's, beside a card.
    Host,
}

/// When a class exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Throughout.
    Always,
    /// While responses are drawn.
    Rollout,
    /// While gradients are made.
    Update,
}

/// Tensors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// What they are.
    pub name: &'static str,
    /// Bytes of all of them.
    pub bytes: u64,
    /// In which memory.
    pub place: Place,
    /// When.
    pub phase: Phase,
    /// How the number comes about.
    pub note: String,
}

/// All classes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// In the order they are printed.
    pub classes: Vec<Class>,
}

impl MemoryPlan {
    /// The plan of a setting.
    pub fn new(setting: &Setting) -> Self {
        let mut classes = weights(setting);
        classes.extend(optimizer(setting));
        classes.extend(rollout(setting));
        classes.extend(update(setting));
        classes.retain(|class| class.bytes > 0);
        Self { classes }
    }

    /// Bytes of a phase in a memory, what exists throughout included.
    pub fn phase_bytes(&self, place: Place, phase: Phase) -> u64 {
        let there = |class: &&Class| class.place == place && (class.phase == phase || class.phase == Phase::Always);
        self.classes.iter().filter(there).map(|class| class.bytes).sum()
    }

    /// Most bytes that exist at one time in a memory.
    pub fn peak_bytes(&self, place: Place) -> u64 {
        self.phase_bytes(place, Phase::Rollout).max(self.phase_bytes(place, Phase::Update))
    }

    /// Bytes of a class, 0 if there is none of this name.
    pub fn bytes_of(&self, name: &str) -> u64 {
        self.classes.iter().filter(|class| class.name == name).map(|class| class.bytes).sum()
    }
}

fn class(name: &'static str, bytes: u64, phase: Phase, note: impl Into<String>) -> Class {
    Class { name, bytes, place: Place::Device, phase, note: note.into() }
}

fn billions(number: u64) -> String {
    match number as f64 {
        number if number < 1e8 => format!("{:.2} million", number / 1e6),
        number => format!("{:.3} billion", number / 1e9),
    }
}

fn weights(setting: &Setting) -> Vec<Class> {
    let parameters = setting.policy.num_parameters() as u64;
    let bytes = setting.weight_bytes();
    let type_name = match setting.precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    let mut classes = vec![class(
        "weights",
        parameters * bytes,
        Phase::Always,
        format!("{} in {type_name}, shared by trainer and sampler", billions(parameters)),
    )];
    if let Some(lora) = &setting.lora {
        let adapters = setting.num_trained();
        let note = format!("{:.1} million of rank {} in f32", adapters as f64 / 1e6, lora.rank);
        classes.push(class("adapters", adapters * 4, Phase::Always, note));
    } else if setting.precision == Precision::Bf16 {
        let note = format!("f32, what the optimizer moves{}", share(setting));
        classes.push(class("masters", setting.num_owned() * 4, Phase::Always, note));
    }
    if setting.reference && setting.lora.is_none() {
        let note = format!("the starting policy in {type_name}, frozen, for the KL penalty");
        classes.push(class("reference", parameters * bytes, Phase::Always, note));
    }
    classes
}

fn optimizer(setting: &Setting) -> Vec<Class> {
    let trained = setting.num_trained();
    let (bytes, type_name) = match setting.moments {
        MomentType::F32 => (4, "f32"),
        MomentType::Bf16 => (2, "bf16"),
    };
    let on_host = setting.offload_moments && setting.device == Device::Card;
    let place = if on_host { Place::Host } else { Place::Device };
    let host = if on_host { ", on the host" } else { "" };
    let note = format!("two of AdamW in {type_name}{host}{}", share(setting));
    let sums = if setting.ranks > 1 { setting.num_owned() * 4 } else { 0 };
    vec![
        class("gradients", trained * 4, Phase::Always, "f32 sums over micro-batches"),
        class("gradients of all ranks", sums, Phase::Always, format!("f32 sums{}", share(setting))),
        Class { place, ..class("moments", 2 * setting.num_owned() * bytes, Phase::Always, note) },
    ]
}

/// What one of several ranks keeps of something.
fn share(setting: &Setting) -> String {
    match setting.ranks {
        0 | 1 => String::new(),
        ranks => format!(", the largest share of {ranks} ranks"),
    }
}

/// Bytes of the keys and values of one token in all layers.
pub fn cache_bytes_per_token(setting: &Setting) -> u64 {
    let policy = &setting.policy;
    let row = (policy.num_key_value_heads * policy.head_dim) as u64;
    2 * policy.num_hidden_layers as u64 * row * setting.activation_bytes()
}

/// Bytes of the keys and values of one sequence of the full context.
pub fn cache_bytes_of_a_sequence(setting: &Setting) -> u64 {
    cache_bytes_per_token(setting) * setting.context_tokens as u64
}

/// Sequences of the full context whose keys and values fit: into `cache_bytes`, or without a bound into half of what the
/// rest of a rollout leaves of `memory`, as the sampler takes half of what is free. Between 1 and `most`.
pub fn live_sequences(setting: &Setting, cache_bytes: Option<u64>, memory: u64, most: usize) -> usize {
    let rest = || MemoryPlan::new(&Setting { live_sequences: 0, ..setting.clone() });
    let free = || memory.saturating_sub(rest().phase_bytes(Place::Device, Phase::Rollout)) / 2;
    let bytes = cache_bytes.unwrap_or_else(free);
    ((bytes / cache_bytes_of_a_sequence(setting).max(1)) as usize).clamp(1, most.max(1))
}

fn rollout(setting: &Setting) -> Vec<Class> {
    if setting.live_sequences == 0 {
        return Vec::new();
    }
    let of_one = cache_bytes_of_a_sequence(setting);
    let live = setting.live_sequences as u64;
    let vocabulary = setting.policy.vocab_size as u64;
    let merged = setting.lora.as_ref().map_or(0, |lora| {
        let elements = |target: &crate::policy::Target| {
            let (out, width) = setting.policy.matrix_shape(*target);
            (out * width) as u64
        };
        setting.policy.num_hidden_layers as u64 * lora.targets.iter().map(elements).sum::<u64>()
    });
    vec![
        class(
            "merged matrices",
            merged * setting.activation_bytes(),
            Phase::Rollout,
            "copies of the matrices with their adapters added in, for drawing",
        ),
        class(
            "keys and values",
            live * of_one,
            Phase::Rollout,
            format!(
                "{live} live sequences of {} tokens, {} kB a token",
                setting.context_tokens,
                of_one / 1000 / setting.context_tokens.max(1) as u64
            ),
        ),
        class(
            "sampler's logits",
            LOGIT_ROWS as u64 * vocabulary * 4,
            Phase::Rollout,
            format!("{LOGIT_ROWS} rows in f32"),
        ),
    ]
}

/// Elements a token that the tape of one layer keeps: each operation its output, and the copies of inputs and cotangent
/// that a tape of its own starts and ends with.
fn tape_elements_per_token(setting: &Setting) -> u64 {
    let policy = &setting.policy;
    let (d, f) = (policy.hidden_size as u64, policy.intermediate_size as u64);
    let q = (policy.num_attention_heads * policy.head_dim) as u64;
    let kv = (policy.num_key_value_heads * policy.head_dim) as u64;
    // Product, bias or head norm, rotation; values have no norm and are not turned.
    let (has_bias, has_norm) = match policy.architecture {
        crate::policy::Architecture::Qwen2 => (1, 0),
        crate::policy::Architecture::Qwen3 => (0, 1),
        crate::policy::Architecture::Llama => (0, 0),
    };
    let heads = (q + kv) * (2 + has_bias + has_norm) + kv * (1 + has_bias);
    // Two norms, output projection, residual, downward projection, residual; attention; gate, up, their product.
    let rest = 6 * d + q + 3 * f;
    let adapters = setting.lora.as_ref().map_or(0, |lora| {
        // A x, B A x, scaled, and the sum.
        let of = |target: &crate::policy::Target| lora.rank as u64 + 3 * policy.matrix_shape(*target).0 as u64;
        lora.targets.iter().map(of).sum()
    });
    heads + rest + adapters
}

/// Elements a token that the backward of one layer holds beside the tape at its worst, in the feed-forward: the cotangents
/// of gate, up and their product with the zeros they are added to, and the layer's own.
fn backward_elements_per_token(setting: &Setting) -> u64 {
    let policy = &setting.policy;
    4 * policy.intermediate_size as u64 + 4 * policy.hidden_size as u64
}

/// Layers that keep their activations in an update with `memory` bytes, as a pass on a card takes them: of nine tenths of what is
/// left without them.
pub fn kept_layers(setting: &Setting, memory: u64) -> usize {
    let setting = Setting { kept_layers: 0, ..setting.clone() };
    let rest = MemoryPlan::new(&setting).phase_bytes(Place::Device, Phase::Update);
    let of_a_layer = setting.policy.kept_bytes_a_token() * setting.micro_batch_tokens as u64;
    let fit = memory.saturating_sub(rest) * 9 / 10 / of_a_layer.max(1);
    (fit as usize).min(setting.policy.num_hidden_layers)
}

/// The classes of a pass of a card's own, of which `kept` layers keep their activations. Gradients go straight into their sums.
fn update_on_card(setting: &Setting, kept: u64) -> Vec<Class> {
    let policy = &setting.policy;
    let (n, d, f) = (setting.micro_batch_tokens as u64, policy.hidden_size as u64, policy.intermediate_size as u64);
    let (layers, heads) = (policy.num_hidden_layers as u64, policy.num_attention_heads as u64);
    let (q, kv) = (heads * policy.head_dim as u64, (policy.num_key_value_heads * policy.head_dim) as u64);
    // Those of one layer are there in any case, and the last layer's are never lost.
    let whole = (kept + 1).min(layers);
    let adapters = setting.lora.as_ref().map_or(0, |lora| n * lora.rank as u64 * 2 + setting.num_trained() * 2);
    // Outputs of a norm and of the last projection, gated activation, queries, keys; the gradients of layer, norm, attention,
    // queries, keys and values; in f32 a norm's inverse and two numbers a head of the attention's backward.
    let work = n * (2 * (4 * d + f + 3 * q + 3 * kv) + 4 * (1 + 2 * heads)) + adapters;
    let rows = (setting.scored_rows as u64).min(n);
    let chunk = rows.min(LOGIT_ROWS as u64);
    let note = match layers - whole {
        0 => format!("of all {layers} layers: nothing is computed again but norms and gates"),
        again => format!("{whole} of {layers} layers whole, {again} computed again"),
    };
    vec![
        class("inputs of layers", (layers + 1) * n * d * 2, Phase::Update, format!("{layers} layers, {n} tokens")),
        class("activations", whole * n * policy.kept_bytes_a_token(), Phase::Update, note),
        class("work of a layer", work, Phase::Update, "one layer after the other, forward and backward"),
        class(
            "logits",
            // In f32 with slopes in bf16; the rows, their gradients, and the sums of these by row.
            chunk * policy.vocab_size as u64 * 6 + rows * d * 12,
            Phase::Update,
            format!("{chunk} of {rows} scored rows at a time, with their slopes"),
        ),
    ]
}

fn update(setting: &Setting) -> Vec<Class> {
    if let Some(kept) = setting.kept_in_card_pass() {
        return update_on_card(setting, kept);
    }
    let policy = &setting.policy;
    let (n, d, a) = (setting.micro_batch_tokens as u64, policy.hidden_size as u64, setting.activation_bytes());
    let layers = policy.num_hidden_layers as u64;
    let tape = tape_elements_per_token(setting) * n * a;
    let scratch = backward_elements_per_token(setting) * n * a;
    let trained_layer = setting.num_trained_of_a_layer() * 4;
    let mut classes = Vec::new();
    if setting.activation_checkpointing {
        // The input of each layer, the output of the last, and the gradient that goes down.
        let inputs = (layers + 2) * n * d * a;
        classes.push(class("inputs of layers", inputs, Phase::Update, format!("{layers} layers, {n} tokens")));
        // A tape of its own copies its input and multiplies its output by the cotangent.
        let note = "computed again, one layer at a time";
        classes.push(class("tape of a layer", tape + 3 * n * d * a, Phase::Update, note));
        let note = "one layer, on their way to the sums";
        classes.push(class("gradients in flight", 2 * trained_layer, Phase::Update, note));
    } else {
        let scored = (setting.scored_rows as u64).min(n);
        // Of the scored rows alone after the last attention: two norms, two products, two residuals, three of the activation.
        let left_out = (n - scored) * (6 * d + 3 * policy.intermediate_size as u64) * a;
        let note = format!("all {layers} layers, {n} tokens");
        classes.push(class("tape", layers * tape + 3 * n * d * a - left_out, Phase::Update, note));
        let note = "of all parameters, on their way to the sums";
        let bytes = setting.num_trained() * 4 + trained_layer;
        classes.push(class("gradients in flight", bytes, Phase::Update, note));
    }
    classes.push(class("backward of a layer", scratch, Phase::Update, "cotangents at the feed-forward"));
    classes.extend(widened(setting));
    classes.extend(head(setting));
    classes
}

/// On the CPU, which has no arithmetic for 16 bits, weights are widened where they are used.
fn widened(setting: &Setting) -> Option<Class> {
    if setting.device == Device::Card || setting.precision == Precision::F32 {
        return None;
    }
    let whole = !setting.activation_checkpointing && setting.lora.is_none();
    let parameters = if whole { setting.policy.num_parameters() as u64 } else { setting.num_layer_parameters() };
    let note = if whole { "all weights, kept by the tape" } else { "one layer's weights" };
    Some(class("weights widened to f32", parameters * 4, Phase::Update, note))
}

fn head(setting: &Setting) -> Vec<Class> {
    let policy = &setting.policy;
    let (d, vocabulary) = (policy.hidden_size as u64, policy.vocab_size as u64);
    let rows = (setting.scored_rows as u64).min(setting.micro_batch_tokens as u64);
    let chunk = rows.min(LOGIT_ROWS as u64);
    let mut classes = vec![class(
        "logits",
        2 * chunk * vocabulary * 4 + 4 * rows * d * setting.activation_bytes(),
        Phase::Update,
        format!("{chunk} of {rows} scored rows at a time, with their slopes"),
    )];
    if setting.lora.is_none() {
        // Chunk by chunk: the part, the sum and the new sum; a tied embedding's two ends likewise.
        let note = "the chunk's part, the sum, the new sum";
        classes.push(class("gradient of the head", 3 * d * vocabulary * 4, Phase::Update, note));
    }
    classes
}

/// A change of the configuration, and what it saves.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key and its value.
    pub key: String,
    /// Bytes of the device that it saves after the changes before it, in the phase of a step in which it saves most.
    pub saved: u64,
}

/// Fewer sequences drawn at a time, where a rollout is what does not fit: as many as there is memory for.
fn fewer_live_sequences(setting: &Setting, limit: u64) -> Option<(String, Setting)> {
    let over = MemoryPlan::new(setting).phase_bytes(Place::Device, Phase::Rollout).checked_sub(limit)?;
    let of_one = cache_bytes_of_a_sequence(setting).max(1);
    let live = setting.live_sequences.saturating_sub(over.div_ceil(of_one) as usize).max(1);
    // Rounded up: the last sequence must not miss the bound by a rounding.
    let key = format!("sampler.cache_gib = {:.2}", (gib(live as u64 * of_one) * 100.0).ceil() / 100.0);
    (live < setting.live_sequences).then(|| (key, Setting { live_sequences: live, ..setting.clone() }))
}

/// A key with its value; what it costs whoever sets it: 1 where the training stays what it is, more where it does not; and
/// what setting it does, `None` where it is set already.
type Step = (&'static str, u32, fn(&Setting) -> Option<Setting>);

const STEPS: [Step; 7] = [
    ("update.activation_checkpointing = true", 1, |setting| {
        (!setting.activation_checkpointing).then(|| Setting { activation_checkpointing: true, ..setting.clone() })
    }),
    ("update.micro_batch_tokens = reader.context_tokens", 1, |setting| {
        let tokens = setting.context_tokens;
        let smaller = || Setting { micro_batch_tokens: tokens, ..setting.clone() };
        (setting.micro_batch_tokens > tokens).then(smaller)
    }),
    ("optimizer.offload_moments = true", 1, |setting| {
        let useful = setting.device == Device::Card && !setting.offload_moments;
        useful.then(|| Setting { offload_moments: true, ..setting.clone() })
    }),
    ("optimizer.moments = \"bf16\"", 2, |setting| {
        (setting.moments == MomentType::F32).then(|| Setting { moments: MomentType::Bf16, ..setting.clone() })
    }),
    ("policy.precision = \"bf16\"", 2, |setting| {
        let wide = setting.precision == Precision::F32;
        wide.then(|| Setting { precision: Precision::Bf16, ..setting.clone() })
    }),
    ("policy.lora = { rank = 16 }", 4, |setting| {
        setting.lora.is_none().then(|| Setting { lora: Some(Default::default()), ..setting.clone() })
    }),
    // The objective itself.
    ("loss.kl_beta = 0", 6, |setting| setting.reference.then(|| Setting { reference: false, ..setting.clone() })),
];

/// The changes that make the plan fit into `limit` bytes and cost least, in their order, and whether it fits then. Where nothing
/// makes it fit: all that save something.
pub fn changes_to_fit(setting: &Setting, limit: u64) -> (Vec<Change>, bool) {
    let cost = |set: &u32| -> u32 { chosen(*set).map(|(_, cost, _)| cost).sum() };
    let mut sets: Vec<u32> = (0..1 << STEPS.len()).collect();
    // Few before many; of equals those whose steps come first.
    sets.sort_by_key(|set| (cost(set), set.count_ones(), *set));
    let found = sets.into_iter().map(|set| changed(setting, set, limit)).find(|(_, bytes)| *bytes <= limit);
    match found {
        Some((changes, _)) => (changes, true),
        None => (changed(setting, (1 << STEPS.len()) - 1, limit).0, false),
    }
}

/// The steps of a set of them, a bit each.
fn chosen(set: u32) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().enumerate().filter(move |(number, _)| set & (1 << number) != 0).map(|(_, step)| step)
}

/// What a set of steps changes and saves, fewer live sequences at the end where those are what does not fit; and the bytes that
/// are needed then.
fn changed(setting: &Setting, set: u32, limit: u64) -> (Vec<Change>, u64) {
    let phases = |setting: &Setting| {
        let plan = MemoryPlan::new(setting);
        [Phase::Rollout, Phase::Update].map(|phase| plan.phase_bytes(Place::Device, phase))
    };
    let mut current = setting.clone();
    let mut changes = Vec::new();
    let mut make = |key: String, changed: Setting, current: &mut Setting| {
        let saved =
            phases(current).into_iter().zip(phases(&changed)).map(|(before, after)| before.saturating_sub(after));
        let saved = saved.max().unwrap_or(0);
        if saved > 0 {
            changes.push(Change { key, saved });
        }
        *current = changed;
    };
    for (key, _, apply) in chosen(set) {
        if let Some(changed) = apply(&current) {
            make((*key).to_owned(), changed, &mut current);
        }
    }
    if let Some((key, changed)) = fewer_live_sequences(&current, limit) {
        make(key, changed, &mut current);
    }
    (changes, MemoryPlan::new(&current).peak_bytes(Place::Device))
}

/// Bytes in GiB.
pub fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{LoraConfig, PolicyConfig, Target, preset};

    fn setting(policy: PolicyConfig) -> Setting {
        Setting {
            policy,
            precision: Precision::Bf16,
            lora: None,
            moments: MomentType::F32,
            offload_moments: false,
            reference: true,
            activation_checkpointing: true,
            kept_layers: 0,
            ranks: 1,
            micro_batch_tokens: 8_192,
            scored_rows: 1_024,
            context_tokens: 8_192,
            live_sequences: 16,
            device: Device::Card,
        }
    }

    #[test]
    fn qwen3_4b_by_hand() {
        let plan = MemoryPlan::new(&setting(preset::qwen3_4b()));
        let parameters = 4_022_468_096;
        assert_eq!(plan.bytes_of("weights"), 2 * parameters);
        assert_eq!(plan.bytes_of("masters"), 4 * parameters);
        assert_eq!(plan.bytes_of("reference"), 2 * parameters);
        assert_eq!(plan.bytes_of("gradients"), 4 * parameters);
        assert_eq!(plan.bytes_of("moments"), 8 * parameters);
        // 36 layers, 8 heads of 128, keys and values, 2 bytes: 147,456 a token.
        assert_eq!(plan.bytes_of("keys and values"), 16 * 8_192 * 147_456);
        // 36 inputs and the last output: 8,192 rows of 2,560 in 2 bytes each.
        assert_eq!(plan.bytes_of("inputs of layers"), 37 * 8_192 * 2_560 * 2);
        // Queries and the attention's output of 4,096, keys and values of 1,024, a sum of 2,560, gate and up of 9,728; 32 f32 of
        // log-sum-exp: 64,640 bytes a token.
        assert_eq!(plan.bytes_of("activations"), 8_192 * 64_640);
        assert_eq!(plan.bytes_of("gradients in flight") + plan.bytes_of("gradient of the head"), 0);
        assert_eq!(plan.bytes_of("logits"), 256 * 151_936 * 6 + 1_024 * 2_560 * 12);
        // One card of 141 GB.
        assert!(plan.peak_bytes(Place::Device) < 141_000_000_000, "{}", gib(plan.peak_bytes(Place::Device)));
        assert_eq!(plan.peak_bytes(Place::Host), 0);
    }

    #[test]
    fn as_many_layers_keep_their_activations_as_there_is_room_for() {
        let full = setting(preset::qwen3_4b());
        let (of_a_layer, update) = (8_192 * 64_640_u64, |setting: &Setting| {
            MemoryPlan::new(setting).phase_bytes(Place::Device, Phase::Update)
        });
        let none = update(&full);
        assert_eq!(kept_layers(&full, none), 0);
        // Nine tenths of what is left, whole layers of it, and never more than there are.
        assert_eq!(kept_layers(&full, none + 10 * of_a_layer), 9);
        assert_eq!(kept_layers(&full, u64::MAX / 16), 36);
        let kept = Setting { kept_layers: 9, ..full.clone() };
        assert_eq!(update(&kept), none + 9 * of_a_layer);
        // The activations of the last layer lie where all others' pass.
        let all = Setting { kept_layers: 36, ..full.clone() };
        assert_eq!(update(&all), none + 35 * of_a_layer);
        assert_eq!(update(&Setting { activation_checkpointing: false, ..full.clone() }), update(&all));
        let tape = Setting { precision: Precision::F32, ..full };
        assert_eq!(update(&Setting { kept_layers: 9, ..tape.clone() }), update(&tape));
    }

    #[test]
    fn adapters_offload_and_the_processor_change_what_they_should() {
        let full = setting(preset::qwen2_5_7b());
        let plan = MemoryPlan::new(&Setting { offload_moments: true, ..full.clone() });
        assert_eq!(plan.peak_bytes(Place::Host), 8 * 7_615_616_512);
        let lora = LoraConfig { rank: 8, targets: vec![Target::Q, Target::K], ..LoraConfig::default() };
        let adapted = Setting { lora: Some(lora), ..full.clone() };
        // Rank 8 of 3,584 -> 3,584 and 3,584 -> 512 in 28 layers.
        let trained = 28 * 8 * (3_584 + 3_584 + 3_584 + 512);
        let plan = MemoryPlan::new(&adapted);
        assert_eq!((adapted.num_trained(), plan.bytes_of("moments")), (trained, 8 * trained));
        assert_eq!(
            (plan.bytes_of("masters"), plan.bytes_of("reference"), plan.bytes_of("adapters")),
            (0, 0, 4 * trained)
        );
        // Drawing takes the two matrices with their adapters added in: in bf16 on a card, in f32 on the processor.
        let matrices = 28 * (3_584 * 3_584 + 3_584 * 512);
        let there = Setting { device: Device::Cpu, ..adapted };
        assert_eq!(plan.bytes_of("merged matrices"), 2 * matrices);
        assert_eq!(MemoryPlan::new(&there).bytes_of("merged matrices"), 4 * matrices);
        let processor = MemoryPlan::new(&Setting { device: Device::Cpu, ..full.clone() });
        // 28 inputs and the output of the last; by the tape, in f32, the gradient that goes down as well.
        assert_eq!(MemoryPlan::new(&full).bytes_of("inputs of layers"), 29 * 8_192 * 3_584 * 2);
        assert_eq!(processor.bytes_of("inputs of layers"), 30 * 8_192 * 3_584 * 4);
        assert_eq!(processor.bytes_of("weights widened to f32"), 4 * full.num_layer_parameters());
    }

    #[test]
    fn nothing_is_told_that_is_not_needed() {
        let checkpointed = setting(preset::qwen3_4b());
        // Adapters alone bring the 4B policy with its reference into 24 GiB.
        let (changes, fits) = changes_to_fit(&Setting { live_sequences: 1, ..checkpointed.clone() }, 24 << 30);
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        assert!(fits && keys == ["policy.lora = { rank = 16 }"], "{keys:?}");
        for wide in [false, true] {
            let precision = if wide { Precision::F32 } else { Precision::Bf16 };
            let start = Setting {
                precision,
                activation_checkpointing: !wide,
                micro_batch_tokens: 16_384,
                ..checkpointed.clone()
            };
            for gib in [16_u64, 22, 40, 60, 80, 131] {
                let (changes, fits) = changes_to_fit(&start, gib << 30);
                let set =
                    STEPS.iter().enumerate().filter(|(_, (key, ..))| changes.iter().any(|change| change.key == *key));
                let set: u32 = set.map(|(number, _)| 1 << number).sum();
                for (number, (key, ..)) in STEPS.iter().enumerate() {
                    let without = set & !(1 << number);
                    let (_, bytes) = changed(&start, without, gib << 30);
                    assert!(!fits || without == set || bytes > gib << 30, "{gib} GiB need no `{key}`");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told_what_to_change() {
        let wide =
            Setting { precision: Precision::F32, activation_checkpointing: false, ..setting(preset::qwen3_4b()) };
        let (changes, fits) = changes_to_fit(&wide, 141_000_000_000);
        assert!(fits && changes[0].key.starts_with("update.activation_checkpointing"), "{changes:?}");
        // Sixteen sequences of 8,192 tokens are 36 GiB of keys and values in f32.
        let (changes, fits) = changes_to_fit(&wide, 24 << 30);
        let has = |key: &str| changes.iter().any(|change| change.key.starts_with(key));
        assert!(fits && has("sampler.cache_gib") && has("policy.lora") && !has("loss.kl_beta"), "{changes:?}");
        assert!(changes.iter().all(|change| change.saved > 0));
        // Where only the rollout is too large, fewer sequences are all that is asked for.
        let rollout = Setting { live_sequences: 96, ..setting(preset::qwen3_4b()) };
        let (changes, fits) = changes_to_fit(&rollout, 141_000_000_000);
        assert!(fits && changes.len() == 1, "{changes:?}");
        assert_eq!(live_sequences(&rollout, Some(10 << 30), 0, 512), 8);
        assert_eq!((live_sequences(&rollout, Some(0), 0, 512), live_sequences(&rollout, Some(1 << 40), 0, 7)), (1, 7));
        let free = live_sequences(&rollout, None, 141_000_000_000, 512);
        let plan = MemoryPlan::new(&Setting { live_sequences: free, ..rollout });
        assert!(free > 8 && plan.phase_bytes(Place::Device, Phase::Rollout) < 141_000_000_000, "{free}");
        let (all, fits) = changes_to_fit(&wide, 1 << 30);
        assert!(!fits && all.len() > 4, "{all:?}");
        let (changes, fits) = changes_to_fit(&wide, u64::MAX);
        assert!(fits && changes.is_empty());
    }
}
