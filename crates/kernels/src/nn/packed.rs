//! Sequences concatenated without padding, with shared prefixes: a forest of stretches of tokens.

use std::ops::Range;

/// One stretch of tokens in a [`PackedBatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Earlier segment whose tokens, and those of its own prefixes, all precede this one: shared by several segments.
    pub prefix: Option<usize>,
}

/// The prefixes of a segment, the nearest first.
pub fn prefixes(segments: &[Segment], segment: usize) -> impl Iterator<Item = usize> + '_ {
    std::iter::successors(segments[segment].prefix, |&prefix| segments[prefix].prefix)
}

/// `N` tokens in one row, cut into segments.
///
/// A token at row `i` of segment `s` attends to all rows of the segment's prefixes and to the rows `s.start..=i`.
/// Positions restart after the prefix, so `[prompt | r1 | … | rG]` gives each response exactly the logits it would have
/// in a sequence of its own; a prompt may have a prefix in turn, which other prompts begin with too.
///
/// ```
/// use memtrain_kernels::nn::PackedBatch;
/// let mut batch = PackedBatch::default();
/// let prompt = batch.push(&[5, 6, 7], None);
/// let first = batch.push(&[8, 9], Some(prompt));
/// let second = batch.push(&[8], Some(prompt));
/// assert_eq!(batch.position_ids, [0, 1, 2, 3, 4, 3]);
/// assert_eq!(batch.segments[first].rows, 3..5);
/// assert_eq!(batch.segments[second].rows, 5..6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// Token ids, length `N`.
    pub token_ids: Vec<u32>,
    /// Position of each token in its own sequence, length `N`.
    pub position_ids: Vec<u32>,
    /// Segments in the order of their rows; together they cover `0..N`.
    pub segments: Vec<Segment>,
}

impl PackedBatch {
    /// Appends a segment and returns its number.
    ///
    /// # Panics
    /// If `prefix` is not an earlier segment: a fault of the caller, not of the data.
    pub fn push(&mut self, token_ids: &[u32], prefix: Option<usize>) -> usize {
        let of_prefixes = |prefix| prefixes(&self.segments, prefix).chain([prefix]);
        let first_position =
            prefix.map_or(0, |prefix| of_prefixes(prefix).map(|segment| self.segments[segment].rows.len()).sum());
        let start = self.token_ids.len();
        self.token_ids.extend_from_slice(token_ids);
        self.position_ids.extend((0..token_ids.len()).map(|offset| (first_position + offset) as u32));
        self.segments.push(Segment { rows: start..self.token_ids.len(), prefix });
        self.segments.len() - 1
    }

    /// Number of tokens `N`.
    pub fn num_tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// The row whose hidden state predicts the first token of a segment: the last row of its prefixes.
    pub fn row_before(&self, segment: usize) -> Option<usize> {
        let rows = prefixes(&self.segments, segment).map(|prefix| &self.segments[prefix].rows);
        rows.into_iter().find(|rows| !rows.is_empty()).map(|rows| rows.end - 1)
    }
}
