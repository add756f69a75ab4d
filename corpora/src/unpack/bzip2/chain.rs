//! The inverse of the Burrows-Wheeler transform.
//!
//! The text of a block is a walk through a table: each entry holds a byte and where to go on. The table does not fit into the near
//! caches, so that every step waits for memory. To wait for several steps at a time, the walk is begun at many places at once; each
//! piece ends where another begins, and in the end the pieces are put together in order.

/// Bytes of the longest block; an entry has room for a place among so many.
pub(super) const LONGEST_BLOCK: usize = 900_000;
/// Entries of the table: more than a block has bytes, so that a place taken from an entry is always one.
const ENTRIES: usize = 1 << 20;
const PLACE: u32 = ENTRIES as u32 - 1;
/// Marks the entries at which a piece begins.
const BEGIN: u32 = 1 << 31;
/// Pieces that are walked at the same time.
const LANES: usize = 16;
/// Steps that are taken before what was found is put away.
const STEPS: usize = 256;
/// A piece for so many bytes, on the average: long enough to be cheap, and so many of them that the lanes end together.
const BYTES_A_PIECE: usize = 2048;

/// The table and the pieces, kept from block to block.
#[derive(Default)]
pub(super) struct Chain {
    table: Vec<u32>,
    pieces: Vec<Piece>,
    /// What each lane has found.
    found: [Vec<u8>; LANES],
}

/// A walk from one begin to the next.
#[derive(Clone, Copy, Default)]
struct Piece {
    begin: u32,
    /// Where it led: the begin of another piece.
    end: u32,
    lane: usize,
    start: usize,
    length: usize,
}

impl Chain {
    /// Puts the text in place of the last bytes of its sorted rotations; `origin` is the row of the text itself. At most
    /// [`LONGEST_BLOCK`] bytes, and `origin` below their number; if the bytes are no transform of a text, some text of that length.
    pub(super) fn invert(&mut self, bytes: &mut [u8], origin: usize) {
        self.link(bytes);
        let Some(table) = self.table.first_chunk_mut::<ENTRIES>() else { return };
        // An idle lane stays behind the block.
        let idle = (bytes.len() as u32) & PLACE;
        table[idle as usize] = idle << 8;
        let count = (bytes.len() / BYTES_A_PIECE).max(1);
        self.pieces.clear();
        let begins = (0..count).map(|piece| bytes.len() * piece / count).chain([origin]);
        self.pieces.extend(begins.map(|begin| Piece { begin: begin as u32, ..Piece::default() }));
        self.pieces.sort_unstable_by_key(|piece| piece.begin);
        self.pieces.dedup_by_key(|piece| piece.begin);
        for piece in &self.pieces {
            table[piece.begin as usize] |= BEGIN;
        }
        for found in &mut self.found {
            found.clear();
            found.reserve(bytes.len() / LANES * 5 / 4);
        }
        walk(table, &mut self.pieces, &mut self.found, idle);
        self.collect(bytes, origin as u32);
    }

    /// Fills the table: the entry of a sorted byte holds it and the place of the same byte among `bytes`.
    fn link(&mut self, bytes: &[u8]) {
        self.table.resize(ENTRIES, 0);
        let Some(table) = self.table.first_chunk_mut::<ENTRIES>() else { return };
        // Equal bytes follow each other, and a count that was just written cannot be read at once: so there are several.
        let mut counts = [[0_u32; 256]; 4];
        for four in bytes.chunks(counts.len()) {
            counts.iter_mut().zip(four).for_each(|(counts, &byte)| counts[usize::from(byte)] += 1);
        }
        let (mut next, mut sum) = ([0_u32; 256], 0);
        for (byte, next) in next.iter_mut().enumerate() {
            *next = sum;
            sum += counts.iter().map(|counts| counts[byte]).sum::<u32>();
        }
        for (place, &byte) in (0_u32..).zip(bytes) {
            let next = &mut next[usize::from(byte)];
            table[(*next & PLACE) as usize] = place << 8 | u32::from(byte);
            *next += 1;
        }
    }

    /// Puts the pieces together, beginning with that of `origin`.
    fn collect(&self, bytes: &mut [u8], origin: u32) {
        let (mut filled, mut begin) = (0, origin);
        while filled < bytes.len() {
            let Ok(piece) = self.pieces.binary_search_by_key(&begin, |piece| piece.begin) else { return };
            let Piece { lane, start, length, end, .. } = self.pieces[piece];
            // A text that repeats itself is a circle shorter than the block, gone round several times.
            let length = length.min(bytes.len() - filled);
            bytes[filled..filled + length].copy_from_slice(&self.found[lane][start..start + length]);
            filled += length;
            begin = end;
        }
    }
}

/// Walks all pieces.
fn walk(table: &[u32; ENTRIES], pieces: &mut [Piece], found: &mut [Vec<u8>; LANES], idle: u32) {
    let mut waiting = 0..pieces.len();
    let mut walked = [None; LANES];
    let mut places = [idle; LANES];
    let mut steps = [[0_u8; LANES]; STEPS];
    let mut begin = |lane: usize, found: &mut Vec<u8>, pieces: &mut [Piece]| {
        let piece = waiting.next()?;
        let entry = table[(pieces[piece].begin & PLACE) as usize];
        (pieces[piece].lane, pieces[piece].start) = (lane, found.len());
        found.push(entry as u8);
        Some((piece, entry >> 8 & PLACE))
    };
    let mut walking = 0;
    for lane in 0..LANES {
        if let Some((piece, place)) = begin(lane, &mut found[lane], pieces) {
            (walked[lane], places[lane]) = (Some(piece), place);
            walking += 1;
        }
    }
    while walking > 0 {
        let taken = stride(table, &mut places, &mut steps);
        for lane in 0..LANES {
            let Some(piece) = walked[lane] else { continue };
            found[lane].extend(steps[..taken].iter().map(|step| step[lane]));
            if table[places[lane] as usize] & BEGIN == 0 {
                continue;
            }
            pieces[piece].end = places[lane];
            pieces[piece].length = found[lane].len() - pieces[piece].start;
            let next = begin(lane, &mut found[lane], pieces);
            walking -= usize::from(next.is_none());
            (walked[lane], places[lane]) = next.map_or((None, idle), |(piece, place)| (Some(piece), place));
        }
    }
}

/// Lets every lane go on, until one of them is where a piece begins or there is no more room; the number of steps.
#[inline]
fn stride(table: &[u32; ENTRIES], places: &mut [u32; LANES], steps: &mut [[u8; LANES]; STEPS]) -> usize {
    let mut at = *places;
    for (step, taken) in steps.iter_mut().enumerate() {
        let entries = at.map(|place| table[(place & PLACE) as usize]);
        if entries.iter().fold(0, |met, entry| met | entry) & BEGIN != 0 {
            *places = at;
            return step;
        }
        *taken = entries.map(|entry| entry as u8);
        at = entries.map(|entry| entry >> 8);
    }
    *places = at;
    STEPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The last bytes of the sorted rotations, and the row of the text.
    fn transform(text: &[u8]) -> (Vec<u8>, usize) {
        let length = text.len();
        let rotation = |start: usize| (0..length).map(move |at| text[(start + at) % length]);
        let mut rows: Vec<usize> = (0..length).collect();
        rows.sort_by(|&a, &b| rotation(a).cmp(rotation(b)));
        let last = rows.iter().map(|&start| text[(start + length - 1) % length]).collect();
        (last, rows.iter().position(|&start| start == 0).unwrap())
    }

    fn check(chain: &mut Chain, text: &[u8]) {
        let (mut bytes, origin) = transform(text);
        chain.invert(&mut bytes, origin);
        assert!(bytes == text, "{} bytes", text.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_was_transformed_comes_back(texts in proptest::collection::vec((proptest::collection::vec(0_u8..4, 1..40), 1_usize..60, any::<u16>()), 1..4)) {
            let mut chain = Chain::default();
            for (pattern, times, mark) in texts {
                let mut text = pattern.repeat(times);
                check(&mut chain, &text);
                let at = usize::from(mark) % text.len();
                text[at] = mark as u8;
                check(&mut chain, &text);
            }
        }

        #[test]
        fn what_is_no_transform_gives_something(bytes in proptest::collection::vec(any::<u8>(), 1..9000), origin: prop::sample::Index) {
            let (mut turned, origin) = (bytes.clone(), origin.index(bytes.len()));
            Chain::default().invert(&mut turned, origin);
            // One step after another.
            let mut rows: Vec<usize> = (0..bytes.len()).collect();
            rows.sort_by_key(|&row| bytes[row]);
            let mut at = origin;
            let naive: Vec<u8> = bytes.iter().map(|_| { at = rows[at]; bytes[at] }).collect();
            prop_assert_eq!(turned, naive);
        }
    }
}
