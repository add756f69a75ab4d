//! Batches of sequences without padding.

/// Sequences of token ids, one after the other.
#[derive(Default)]
pub(crate) struct Packed {
    pub(crate) ids: Vec<u32>,
    pub(crate) lengths: Vec<usize>,
}

impl Packed {
    pub(crate) fn push(&mut self, ids: impl IntoIterator<Item = u32>) {
        let before = self.ids.len();
        self.ids.extend(ids);
        self.lengths.push(self.ids.len() - before);
    }

    /// The ids of all sequences, N of them.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens of each sequence.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The rows of each sequence.
    pub(crate) fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.lengths.iter().scan(0, |start, &length| {
            *start += length;
            Some(*start - length..*start)
        })
    }
}
