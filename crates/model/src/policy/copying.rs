//! Initial weights of a small decoder that copies before it is trained.
//!
//! Copying needs heads that work through one another ("induction heads", Olsson et al. 2022, arXiv 2209.11895), and each is
//! worth nothing before the others are there. Pretrained language models have them. From normally distributed weights a
//! decoder of a million parameters finds them only after tens of millions of tokens, hours on two cores. So they are
//! written down here, and training begins where copying works and nothing else does:
//!
//! | layer | heads | adds to the residual stream |
//! |---|---|---|
//! | 0 | 0 and 1 | the tokens one and two positions back |
//! | 0 | 2 | the tokens three and four positions back, as one vector |
//! | 0 | 3 | whether the response has begun |
//! | 1 | 0 | the token that followed in the prompt where the last two tokens stood |
//! | 1 | 1 | less of the tokens that followed in the response where the last two tokens stood |
//! | 1 | 2 | the token that followed in the prompt where the last four tokens stood |
//! | 2 | 0 | what layer 1 expected three positions back |
//! | 3 | 0 | after the cue: what was expected in the placeholder's place |
//! | 3 | 2 | after the cue: the words behind two given ones |
//!
//! Sentences begin alike: where one ends, two tokens tell no more than that another begins. Head 1.2 sees the end of the
//! sentence before and goes on as its source does. Where the source does not go on, head 1.0 offers all beginnings alike,
//! and head 1.1 takes away those that were copied already (coverage: See et al. 2017, arXiv 1704.04368 §2.3, as a head).
//! A head of layers 1 and 3 that finds nothing rests on a token that only prompts have, and adds nothing.
//!
//! The residual stream has a part for each: `CURRENT` holds a random unit vector of the token, the others hold random
//! projections of such vectors. All other heads and the MLPs begin as usual. Layers 2 and 3 look an answer up: before the
//! placeholder stand a space, which is a token, and the word before it. Layer 1 expects after that word what followed it
//! in the memory; head 2.0 carries this three positions on, to the token after the placeholder, which head 3.0 looks for.

use std::ops::Range;

use memtrain_kernels::vector::normalise;

use super::PolicyError;
use super::config::{Architecture, PolicyConfig};
use super::weights::normal;

/// Dimensions of the residual stream that hold the token at a position.
const CURRENT: Range<usize> = 0..48;
/// Those of the token before it.
const PREVIOUS: Range<usize> = 48..68;
/// Those of the token before that.
const BEFORE: Range<usize> = 68..84;
/// Those of the two tokens before these.
const HISTORY: Range<usize> = 84..100;
/// Those of what was expected three positions back.
const CARRIED: Range<usize> = 100..124;
/// The dimension that is the same for all tokens: queries of heads that look at positions alone are made from it.
const CONSTANT: usize = 124;
/// The dimension that tells the cue from all other tokens, whatever heads add to `CURRENT`.
const CUE: usize = 125;
/// The dimension that tells two tokens from all others: 1 for the one before a response, −1 for the one to rest on.
const MARK: usize = 126;
/// The dimension that tells the response from the prompt.
const IN_RESPONSE: usize = 127;

/// Weight of query and key norms of these heads: attention 2.5² times as sharp as from weights of one.
const SHARPNESS: f64 = 2.5;
/// Weight of the final norm; the loss of a fresh decoder that copies a memory is least about here.
const FINAL_NORM: f64 = 1.0;
/// Rotary frequencies above this tell neighbouring positions apart, in radians a position.
const FAST: f64 = 0.12;
/// Rotary frequencies below this hardly turn within 200 positions.
const SLOW: f64 = 0.0035;

/// Token ids that the lookup of layer 3 goes from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The token after which an answer is written.
    pub cue: u32,
    /// The token in whose place the answer stood.
    pub placeholder: u32,
    /// The space before it.
    pub space: u32,
    /// The token after which a response begins.
    pub response: u32,
    /// A token that stands near the beginning of every prompt and never in a text.
    pub rest: u32,
    /// Two tokens with a word behind them that tells who is hidden: those before the signs of a world with annals.
    pub evidence: [u32; 2],
}

/// Row, column and value of a weight.
type Entry = (usize, usize, f64);

/// A tensor's part that belongs to a head, and what is written there.
struct Patch {
    tensor: String,
    /// What was drawn in these rows and columns is multiplied by the factor.
    rows: Range<usize>,
    columns: Range<usize>,
    factor: f64,
    entries: Vec<Entry>,
}

/// Initial weights that copy; see the module.
pub struct CopyingInit {
    hidden_size: usize,
    num_layers: usize,
    lookup: Lookup,
    patches: Vec<Patch>,
    /// A unit vector of each token, row by row.
    codes: Vec<f64>,
}

impl CopyingInit {
    /// The heads for decoders of this shape.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the shape has no room for them.
    pub fn new(config: &PolicyConfig, seed: u64, lookup: Lookup) -> Result<Self, PolicyError> {
        let fits = config.architecture == Architecture::Qwen3
            && config.tie_word_embeddings
            && config.hidden_size > IN_RESPONSE
            && config.num_hidden_layers >= 4
            && config.num_key_value_heads == 2
            && config.num_attention_heads == 4
            && config.head_dim >= CURRENT.len()
            && [lookup.cue, lookup.placeholder, lookup.space, lookup.response, lookup.rest]
                .iter()
                .chain(&lookup.evidence)
                .all(|id| (*id as usize) < config.vocab_size);
        if !fits {
            let detail = "copying heads need a tied Qwen3 of 4 layers and width 128, heads of width 48, and four query \
                          heads to two key heads";
            return Err(PolicyError::Config { key: "preset", detail: detail.to_owned() });
        }
        let mut codes = normal("copying/codes", seed, config.vocab_size * CURRENT.len(), 1.0);
        codes.chunks_mut(CURRENT.len()).for_each(normalise);
        // Heads that rest here add nothing.
        codes[lookup.rest as usize * CURRENT.len()..][..CURRENT.len()].fill(0.0);
        let code = |id: u32| codes[id as usize * CURRENT.len()..][..CURRENT.len()].to_vec();
        let heads = Heads::new(config, seed);
        let mut patches = heads.looking_back(0, 0, 1.0, &heads.previous, PREVIOUS, 0.13);
        patches.extend(heads.looking_back(0, 1, 2.0, &heads.before, BEFORE, 0.13));
        // Between two positions: half of each.
        patches.extend(heads.looking_back(0, 2, 3.5, &heads.before, HISTORY, 0.2));
        patches.extend(heads.response(&code(lookup.response)));
        patches.extend(heads.induction());
        patches.extend(heads.looking_back(2, 0, 3.0, &heads.carried, CARRIED, 0.4));
        patches.extend(heads.lookup(&code(lookup.placeholder), &code(lookup.space)));
        let [earlier, last] = lookup.evidence.map(code);
        patches.extend(heads.evidence([&earlier, &last]));
        Ok(Self { hidden_size: config.hidden_size, num_layers: config.num_hidden_layers, lookup, patches, codes })
    }

    /// Writes the heads into a tensor that was drawn as usual, `values` row by row.
    pub fn apply(&self, name: &str, shape: &[usize], values: &mut [f64]) {
        if name == "model.norm.weight" {
            values.fill(FINAL_NORM);
        } else if name == "model.embed_tokens.weight" {
            for (row, code) in values.chunks_mut(self.hidden_size).zip(self.codes.chunks(CURRENT.len())) {
                // What else is in a row is noise to the heads.
                row.iter_mut().for_each(|value| *value *= 0.3);
                row[CURRENT].copy_from_slice(code);
                row[CONSTANT] = 0.5;
                row[CUE..=IN_RESPONSE].fill(0.0);
            }
            let Lookup { cue, response, rest, .. } = self.lookup;
            for (token, dimension, value) in [(cue, CUE, 1.0), (response, MARK, 1.0), (rest, MARK, -1.0)] {
                values[token as usize * self.hidden_size + dimension] = value;
            }
        }
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            // As in GPT-2: what the layers add at random stays small beside what the heads write.
            values.iter_mut().for_each(|value| *value /= (2.0 * self.num_layers as f64).sqrt());
        }
        for patch in self.patches.iter().filter(|patch| patch.tensor == name) {
            let width = *shape.last().unwrap_or(&1);
            for row in patch.rows.clone() {
                values[row * width..][patch.columns.clone()].iter_mut().for_each(|value| *value *= patch.factor);
            }
            patch.entries.iter().for_each(|&(row, column, value)| values[row * width + column] += value);
        }
    }
}

/// What the heads are put together from.
struct Heads {
    head_dim: usize,
    hidden_size: usize,
    /// Query heads a key head.
    group: usize,
    /// Radians a position, of each pair of dimensions of a head.
    frequencies: Vec<f64>,
    /// Projections from `CURRENT`, `[48, …]`. `before` is the first columns of `previous`.
    previous: Matrix,
    before: Matrix,
    carried: Matrix,
    seed: u64,
}

impl Heads {
    fn new(config: &PolicyConfig, seed: u64) -> Self {
        let pairs = config.head_dim / 2;
        let turn = |pair: usize| config.rope_theta.powf(-(pair as f64) / pairs as f64);
        let projection = |name: &str, width| Matrix::projection(name, seed, CURRENT.len(), width);
        let previous = projection("previous", PREVIOUS.len());
        Self {
            head_dim: config.head_dim,
            hidden_size: config.hidden_size,
            group: config.num_attention_heads / config.num_key_value_heads,
            frequencies: (0..pairs).map(turn).collect(),
            before: previous.first(BEFORE.len()),
            previous,
            carried: projection("carried", CARRIED.len()),
            seed,
        }
    }

    /// Dimensions of a head that hardly turn: what stands in them is compared whatever the distance.
    fn slow(&self) -> Vec<usize> {
        let pairs = self.frequencies.len();
        let slow: Vec<usize> = (0..pairs).filter(|pair| self.frequencies[*pair] < SLOW).collect();
        slow.iter().copied().chain(slow.iter().map(|pair| pair + pairs)).collect()
    }

    /// A head that looks a fixed distance back and adds what `CURRENT` holds there, projected, to a part of the stream.
    fn looking_back(
        &self,
        layer: usize,
        head: usize,
        distance: f64,
        projection: &Matrix,
        to: Range<usize>,
        gain: f64,
    ) -> Vec<Patch> {
        let pairs = self.frequencies.len();
        let (mut query, mut key) = (Vec::new(), Vec::new());
        for (pair, frequency) in self.frequencies.iter().enumerate().filter(|(_, frequency)| **frequency > FAST).take(4)
        {
            // Turned back by the distance, so that query and key point the same way there.
            let angle = -frequency * distance;
            query.push((pair, CONSTANT, angle.cos()));
            query.push((pair + pairs, CONSTANT, angle.sin()));
            key.push((pair, CONSTANT, 1.0));
        }
        // Heads of a group share the key and the value.
        let is_first = head.is_multiple_of(self.group);
        let (key, value) = if is_first { (key, identity(CURRENT)) } else { (Vec::new(), Vec::new()) };
        let mut patches = vec![self.query(layer, head, query), self.output(layer, head, projection, to, gain)];
        if is_first {
            patches.extend([self.key(layer, head, key), self.value(layer, head, value)]);
            patches.extend(self.norms(layer));
        }
        patches
    }

    /// Head 3 of layer 0: looks for the token before the response, which stands only before tokens of the response.
    fn response(&self, token: &[f64]) -> Vec<Patch> {
        let (head, row) = (3, self.slow()[0]);
        let key_row = head / self.group * self.head_dim + row;
        // One row of the key that it shares with the head beside it, which does not ask for this row.
        let marked = vec![(key_row, MARK, 2.0)];
        let key = self.attention(0, "k_proj", key_row..key_row + 1, 0..self.hidden_size, 0.0, marked);
        let found = Matrix { columns: 1, values: token.to_vec() };
        let output = self.output(0, head, &found, IN_RESPONSE..IN_RESPONSE + 1, 0.13);
        vec![self.query(0, head, vec![(row, CONSTANT, 1.0)]), key, output]
    }

    /// Heads 0, 1 and 2 of layer 1: what followed in the prompt where the last two tokens stood, what followed in the
    /// response, and what followed in the prompt where the last four stood.
    fn induction(&self) -> Vec<Patch> {
        let mut patches: Vec<Patch> = self.norms(1).into();
        let slow = self.slow();
        let copied = Matrix::identity(CURRENT.len());
        let bias = |row: usize, weight: f64| (row, CONSTANT, weight);
        // How much a key in the response counts, and one that finds nothing else.
        let marks = |response: usize, rest: usize| [(response, IN_RESPONSE, 0.7), (rest, MARK, -0.7)];

        let (compared, rows) = slow.split_at(slow.len() - 2);
        let (response, rest) = (rows[0], rows[1]);
        let (last, earlier) = compared.split_at(compared.len() / 2);
        let (query, mut key) = self.two_tokens("two", last, earlier);
        key.extend(marks(response, rest));
        patches.extend([self.key(1, 0, key), self.value(1, 0, identity(CURRENT))]);
        for (head, in_response, resting, gain) in [(0, -1.0, 1.3, 2.0), (1, 3.0, 4.5, -2.0)] {
            let mut query = query.clone();
            query.extend([bias(response, in_response), bias(rest, resting)]);
            patches.extend([self.query(1, head, query), self.output(1, head, &copied, CURRENT, gain)]);
        }

        let (last, others) = compared.split_at(compared.len() / 3);
        let (earlier, history) = others.split_at(others.len() / 2);
        let (mut query, mut key) = self.two_tokens("four", last, earlier);
        let match_history = Matrix::projection("history", self.seed, HISTORY.len(), history.len());
        // The tokens three and four back, and half of the one two back, against the key's three and four back: where the
        // key is one position further on, two of the three meet.
        query.extend(match_history.entries(HISTORY, history));
        query.extend(
            match_history.entries(BEFORE, history).into_iter().map(|(row, from, value)| (row, from, 0.5 * value)),
        );
        query.extend([bias(response, -1.0), bias(rest, 2.8)]);
        key.extend(match_history.entries(HISTORY, history));
        key.extend(marks(response, rest));
        patches.extend([
            self.query(1, 2, query),
            self.key(1, 2, key),
            self.value(1, 2, identity(CURRENT)),
            self.output(1, 2, &copied, CURRENT, 2.0),
        ]);
        patches
    }

    /// The query and key of a head that finds the positions before which the last two tokens stand: the token here against
    /// the key's predecessor, and the token before it against that one's.
    fn two_tokens(&self, name: &str, last: &[usize], earlier: &[usize]) -> (Vec<Entry>, Vec<Entry>) {
        let match_last = Matrix::projection(&format!("{name}/last"), self.seed, PREVIOUS.len(), last.len());
        let match_earlier = Matrix::projection(&format!("{name}/earlier"), self.seed, BEFORE.len(), earlier.len());
        let mut query = self.previous.times(&match_last).entries(CURRENT, last);
        query.extend(match_earlier.entries(PREVIOUS, earlier));
        let mut key = match_last.entries(PREVIOUS, last);
        key.extend(match_earlier.entries(BEFORE, earlier));
        (query, key)
    }

    /// Head 0 of layer 3: after the cue, what is carried behind the placeholder.
    fn lookup(&self, placeholder: &[f64], space: &[f64]) -> Vec<Patch> {
        // Both tokens must stand there: a placeholder that begins the prompt asks, and has no words before it.
        let mut patches = self.after_cue(0, [placeholder, space], CARRIED, 2.6);
        patches.push(self.output(3, 0, &self.carried.transposed(), CURRENT, 5.0));
        patches.extend(self.norms(3));
        patches
    }

    /// Head 2 of layer 3: after the cue, the words behind these two, in the dimensions that nothing reads any more. Whom they
    /// tell is left to training, which writes it into the embeddings of names.
    fn evidence(&self, [earlier, last]: [&[f64]; 2]) -> Vec<Patch> {
        let mut patches = self.after_cue(2, [last, earlier], CURRENT, 5.5);
        let told = PREVIOUS.start..PREVIOUS.start + CURRENT.len();
        patches.push(self.output(3, 2, &Matrix::identity(CURRENT.len()), told, 1.5));
        patches
    }

    /// A head of layer 3 that looks, after the cue, for the positions behind two tokens, and reads a part of the stream. Where
    /// both do not stand together it rests; `resting` is how easily.
    fn after_cue(&self, head: usize, [last, earlier]: [&[f64]; 2], read: Range<usize>, resting: f64) -> Vec<Patch> {
        let slow = self.slow();
        let (compared, rest) = slow.split_at(slow.len() - 1);
        let (last_rows, earlier_rows) = compared.split_at(slow.len() / 2);
        let matrix = |name: &str, part: &Range<usize>, rows: &[usize]| {
            Matrix::projection(&format!("{name}/{head}"), self.seed, part.len(), rows.len())
        };
        let (match_last, match_earlier) =
            (matrix("sought last", &PREVIOUS, last_rows), matrix("sought earlier", &BEFORE, earlier_rows));
        let row = |code: &[f64]| Matrix { columns: code.len(), values: code.to_vec() };
        let sought = [
            (row(last).times(&self.previous).times(&match_last), last_rows),
            (row(earlier).times(&self.before).times(&match_earlier), earlier_rows),
        ];
        let wanted = |(sought, rows): (Matrix, &[usize])| {
            sought.values.iter().zip(rows).map(|(value, row)| (*row, CUE, 5.0 * value)).collect::<Vec<_>>()
        };
        let mut query: Vec<_> = sought.into_iter().flat_map(wanted).collect();
        query.push((rest[0], CUE, resting));
        // Elsewhere the query points to where no key does, so that attention is spread and adds next to nothing.
        query.push((0, CONSTANT, 3.0));
        let mut key = match_last.entries(PREVIOUS, last_rows);
        key.extend(match_earlier.entries(BEFORE, earlier_rows));
        key.push((rest[0], MARK, -1.0));
        vec![self.query(3, head, query), self.key(3, head, key), self.value(3, head, identity(read))]
    }

    /// The rows of a query head; `entries` count from the first of them.
    fn query(&self, layer: usize, head: usize, mut entries: Vec<Entry>) -> Patch {
        let first = head * self.head_dim;
        entries.iter_mut().for_each(|(row, ..)| *row += first);
        self.attention(layer, "q_proj", first..first + self.head_dim, 0..self.hidden_size, 0.1, entries)
    }

    fn key(&self, layer: usize, head: usize, entries: Vec<Entry>) -> Patch {
        self.shared(layer, "k_proj", head, 0.1, entries)
    }

    fn value(&self, layer: usize, head: usize, entries: Vec<Entry>) -> Patch {
        self.shared(layer, "v_proj", head, 0.0, entries)
    }

    /// The rows that a query head shares with the others of its group; `entries` count from the first of them.
    fn shared(&self, layer: usize, name: &str, head: usize, factor: f64, mut entries: Vec<Entry>) -> Patch {
        let first = head / self.group * self.head_dim;
        entries.iter_mut().for_each(|(row, ..)| *row += first);
        self.attention(layer, name, first..first + self.head_dim, 0..self.hidden_size, factor, entries)
    }

    /// Adds the first dimensions of a head's value, times `projection`, to a part of the stream.
    fn output(&self, layer: usize, head: usize, projection: &Matrix, to: Range<usize>, gain: f64) -> Patch {
        let columns = head * self.head_dim..(head + 1) * self.head_dim;
        let entry = |(at, value): (usize, &f64)| {
            let (from, into) = (at / projection.columns, at % projection.columns);
            (to.start + into, columns.start + from, gain * value)
        };
        let entries = projection.values.iter().enumerate().map(entry).collect();
        self.attention(layer, "o_proj", 0..self.hidden_size, columns.clone(), 0.0, entries)
    }

    fn norms(&self, layer: usize) -> [Patch; 2] {
        ["q_norm", "k_norm"].map(|name| {
            let entries = (0..self.head_dim).map(|column| (0, column, SHARPNESS)).collect();
            self.attention(layer, name, 0..1, 0..self.head_dim, 0.0, entries)
        })
    }

    fn attention(
        &self,
        layer: usize,
        name: &str,
        rows: Range<usize>,
        columns: Range<usize>,
        factor: f64,
        entries: Vec<Entry>,
    ) -> Patch {
        let tensor = format!("model.layers.{layer}.self_attn.{name}.weight");
        Patch { tensor, rows, columns, factor, entries }
    }
}

/// The first rows from a part of the stream, unchanged.
fn identity(from: Range<usize>) -> Vec<Entry> {
    from.enumerate().map(|(row, column)| (row, column, 1.0)).collect()
}

/// Rows of numbers; a vector on the left is multiplied by it.
struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn identity(width: usize) -> Self {
        let at = |index: usize| if index / width == index % width { 1.0 } else { 0.0 };
        Self { columns: width, values: (0..width * width).map(at).collect() }
    }

    /// A random projection with orthonormal columns, or rows where it is wide.
    fn projection(name: &str, seed: u64, rows: usize, columns: usize) -> Self {
        if rows < columns {
            return Self::projection(name, seed, columns, rows).transposed();
        }
        let drawn = normal(&format!("copying/{name}"), seed, rows * columns, 1.0);
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(columns);
        for vector in drawn.chunks(rows) {
            let mut vector = vector.to_vec();
            for other in &basis {
                let shared: f64 = other.iter().zip(&vector).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(value, other)| *value -= shared * other);
            }
            normalise(&mut vector);
            basis.push(vector);
        }
        Self { columns: rows, values: basis.concat() }.transposed()
    }

    /// The first columns of it.
    fn first(&self, columns: usize) -> Self {
        Self { columns, values: self.values.chunks(self.columns).flat_map(|row| &row[..columns]).copied().collect() }
    }

    fn transposed(&self) -> Self {
        let rows = self.values.len() / self.columns;
        let at = |index: usize| self.values[(index % rows) * self.columns + index / rows];
        Self { columns: rows, values: (0..self.values.len()).map(at).collect() }
    }

    fn times(&self, other: &Self) -> Self {
        let column = |row: &[f64], column: usize| -> f64 {
            row.iter().enumerate().map(|(inner, value)| value * other.values[inner * other.columns + column]).sum()
        };
        let rows = self.values.chunks(self.columns);
        let values = rows.flat_map(|row| (0..other.columns).map(move |at| column(row, at))).collect();
        Self { columns: other.columns, values }
    }

    /// As a part of a weight `[out, in]`: from these dimensions of the stream to these rows.
    fn entries(&self, from: Range<usize>, rows: &[usize]) -> Vec<Entry> {
        let entry = |(at, value): (usize, &f64)| (rows[at % self.columns], from.start + at / self.columns, *value);
        self.values.iter().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use rand::Rng;
    use rand::seq::SliceRandom;

    use super::*;
    use crate::policy::{Decoder, preset};
    use memtrain_kernels::nn::PackedBatch;

    const VOCABULARY: u32 = 96;
    const LOOKUP: Lookup = Lookup { cue: 1, placeholder: 2, space: 3, response: 4, rest: 5, evidence: [6, 7] };

    fn decoder() -> Decoder {
        Decoder::init_copying(preset::mini(VOCABULARY as usize), 7, &Device::Cpu, DType::F32, LOOKUP).unwrap()
    }

    /// The likeliest of some tokens after each of these positions.
    fn expected(decoder: &Decoder, tokens: &[u32], positions: &[usize], among: Range<u32>) -> Vec<u32> {
        let mut batch = PackedBatch::default();
        batch.push(tokens, None);
        let hidden = decoder.hidden(&batch).unwrap();
        let likeliest = |position: &usize| {
            let rows = vec![u32::try_from(*position).unwrap(); VOCABULARY as usize];
            let all: Vec<u32> = (0..VOCABULARY).collect();
            let scored = decoder.log_probs(&hidden, &rows, &all, 1.0).unwrap().log_probs.to_vec1::<f32>().unwrap();
            among.clone().max_by(|a, b| scored[*a as usize].total_cmp(&scored[*b as usize])).unwrap()
        };
        positions.iter().map(likeliest).collect()
    }

    fn words(count: usize, rng: &mut impl Rng) -> Vec<u32> {
        (0..count).map(|_| rng.random_range(8..VOCABULARY)).collect()
    }

    #[test]
    fn a_fresh_decoder_goes_on_where_the_last_two_words_stood() {
        let mut rng = memtrain_corpora::rng::keyed("copying", 1, &[]);
        let (mut right, mut asked) = (0, 0);
        for _ in 0..4 {
            let mut tokens = words(60, &mut rng);
            let start = rng.random_range(5..30);
            tokens.extend_from_within(start..start + 20);
            let positions: Vec<usize> = (61..79).collect();
            let found = expected(&decoder(), &tokens, &positions, 0..VOCABULARY);
            right += positions.iter().zip(found).filter(|(position, found)| tokens[**position + 1] == *found).count();
            asked += positions.len();
        }
        assert!(right * 10 >= asked * 8, "{right} of {asked}");
        let plain = Decoder::init(preset::mini(VOCABULARY as usize), 7, &Device::Cpu, DType::F32).unwrap();
        let tokens = words(80, &mut rng);
        let tokens = [&tokens[..60], &tokens[20..40]].concat();
        let found = expected(&plain, &tokens, &(61..79).collect::<Vec<_>>(), 0..VOCABULARY);
        assert!(found.iter().zip(&tokens[62..]).filter(|(found, word)| found == word).count() < 6, "copies untrained");
    }

    #[test]
    fn a_fresh_decoder_looks_up_what_stood_in_the_placeholders_place() {
        let mut rng = memtrain_corpora::rng::keyed("lookup", 1, &[]);
        let mut right = 0;
        for _ in 0..20 {
            let memory = words(30, &mut rng);
            let question = rng.random_range(2..29);
            let mut tokens = vec![LOOKUP.placeholder, LOOKUP.rest];
            tokens.extend(&memory);
            tokens.extend(words(5, &mut rng));
            tokens.extend([memory[question - 2], memory[question - 1], LOOKUP.space, LOOKUP.placeholder]);
            tokens.extend(words(4, &mut rng));
            tokens.push(LOOKUP.cue);
            let found = expected(&decoder(), &tokens, &[tokens.len() - 1], 0..VOCABULARY);
            right += usize::from(found[0] == memory[question]);
        }
        // By chance none: 88 words are as likely.
        assert!(right >= 10, "{right} of 20");
    }

    /// The second words of the sentences that a prompt shows, and the likeliest of them at the beginning of another sentence,
    /// where the response has copied the first `copied`. All sentences begin with the same two tokens.
    fn next_sentence(copied: usize, rng: &mut impl Rng) -> (Vec<u32>, u32) {
        const SENTENCES: u32 = 10;
        let mut verbs: Vec<u32> = (10..10 + SENTENCES).collect();
        verbs.shuffle(rng);
        let mut sentence =
            |verb: u32| [LOOKUP.space, 8, verb, rng.random_range(20..40), rng.random_range(40..VOCABULARY), 9].to_vec();
        let text: Vec<Vec<u32>> = verbs.iter().map(|verb| sentence(*verb)).collect();
        let mut tokens = vec![8, LOOKUP.rest];
        tokens.extend(text.concat());
        tokens.push(LOOKUP.response);
        tokens.extend(text[..copied].concat());
        tokens.extend([LOOKUP.space, 8]);
        let found = expected(&decoder(), &tokens, &[tokens.len() - 1], 10..10 + SENTENCES);
        (verbs, found[0])
    }

    #[test]
    fn a_fresh_decoder_goes_on_as_its_source_does_and_copies_nothing_twice() {
        let mut rng = memtrain_corpora::rng::keyed("next sentence", 1, &[]);
        let (mut followed, mut new) = (0, 0);
        for _ in 0..20 {
            let (verbs, found) = next_sentence(4, &mut rng);
            followed += usize::from(found == verbs[4]);
            new += usize::from(!verbs[..4].contains(&found));
        }
        // By chance 2 and 12.
        assert!(followed >= 13, "{followed} of 20");
        assert!(new >= 18, "{new} of 20");
    }

    #[test]
    fn a_shape_without_room_is_refused() {
        let told = CopyingInit::new(&preset::tiny(96), 1, LOOKUP).err().unwrap().to_string();
        assert!(told.contains("copying heads need"), "{told}");
        let beyond = Lookup { cue: 96, ..LOOKUP };
        assert!(CopyingInit::new(&preset::mini(96), 1, beyond).is_err());
    }
}
