//! Plan of attention over a paged KV cache: which tiles of query rows meet which ranges of keys.
//!
//! Sequences are sorted by their block tables, so that those that begin with the same blocks are neighbours. The blocks that
//! neighbours have in common are attended to once for all of their rows (cascade: Ye et al. 2024, "FlashInfer", arXiv
//! 2501.01005), at every depth where that saves more than it costs, then what is left of each alone. A range of keys too
//! long for one thread block is cut (Dao et al. 2023, "Flash-Decoding"). Each row thus meets every key up to its own
//! position in one item; a row of several items has a part for each, and these are merged by their log-sum-exp. The plan is
//! made once a pass and serves all layers. `cuda/paged/PLAN.md` says how the kernels read it, `plan.h` there is its twin.

use std::cmp::Reverse;
use std::ops::Range;

use candle_core::Result;

use super::{BLOCK_TOKENS, SequenceRows};

/// Keys of a tile.
const TILE_KEYS: usize = 64;

/// Query rows of a narrow item, whose warps share the keys, and of a wide one, whose warps share the rows. A query row is a
/// row of the pass and one of the heads that share a key/value head.
const NARROW_ROWS: usize = 16;
const WIDE_ROWS: usize = 64;

/// One thread block's work for each key/value head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedItem {
    /// Of `entries`, never empty.
    pub entries: Range<usize>,
    /// Whose block table is read.
    pub sequence: usize,
    /// Whether there are more query rows than [`NARROW_ROWS`].
    pub is_wide: bool,
    /// Keys by position; the first is the first of its block.
    pub keys: Range<usize>,
    /// Keys below it are seen by all rows.
    pub unmasked: usize,
}

/// A row of the pass, and which of its parts an item makes; `None` if it is all of the row's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagedEntry {
    /// Of the pass.
    pub row: usize,
    /// Its number among all parts.
    pub part: Option<usize>,
}

/// A row of several parts, or of none (a row of no sequence, whose output is zero).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedMerge {
    /// Of the pass.
    pub row: usize,
    /// Their numbers.
    pub parts: Range<usize>,
}

/// The plan of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedPlan {
    /// The longest first.
    pub items: Vec<PagedItem>,
    /// Rows of the items.
    pub entries: Vec<PagedEntry>,
    /// By row.
    pub merges: Vec<PagedMerge>,
    /// Parts of all rows.
    pub num_parts: usize,
    /// Of each row; 0 for a row of no sequence.
    pub positions: Vec<usize>,
    /// Where the keys and values of each row go, `block * BLOCK_TOKENS + offset`.
    pub slots: Vec<Option<usize>>,
}

impl PagedPlan {
    /// Plans a pass of `num_rows` rows; `group` query heads share each of `kv_heads`, and `num_blocks` thread blocks run at a
    /// time.
    ///
    /// # Errors
    /// If a sequence has no rows, rows that are not of the pass or of another sequence, or too few blocks; or if more heads
    /// share a key/value head than a tile holds.
    pub fn new(
        sequences: &[SequenceRows<'_>],
        num_rows: usize,
        group: usize,
        kv_heads: usize,
        num_blocks: usize,
    ) -> Result<Self> {
        if !(1..=WIDE_ROWS).contains(&group) {
            candle_core::bail!("paged attention: {group} query heads to a key/value head, {WIDE_ROWS} at most");
        }
        let mut positions = vec![0; num_rows];
        let mut slots = vec![None; num_rows];
        for sequence in sequences {
            let SequenceRows { rows, blocks, .. } = sequence;
            if rows.is_empty() || rows.end > num_rows || blocks.len() * BLOCK_TOKENS < sequence.end() {
                candle_core::bail!(
                    "paged attention: rows {rows:?} of {num_rows} at position {} with {} blocks",
                    sequence.position,
                    blocks.len()
                );
            }
            for (row, position) in rows.clone().zip(sequence.position..) {
                let slot = blocks[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS;
                if slots[row].replace(slot).is_some() {
                    candle_core::bail!("paged attention: row {row} is of two sequences");
                }
                positions[row] = position;
            }
        }
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&sequence| sequences[sequence].table());
        let mut families = Families { sequences, group, ranges: Vec::new() };
        families.plan(&order, 0);
        let (items, entries) = cut(&families.ranges, group, kv_heads, num_blocks);
        let mut plan = Self { items, entries, merges: Vec::new(), num_parts: 0, positions, slots };
        plan.number_parts();
        Ok(plan)
    }

    /// Numbers the parts of a row one after the other, in the order of its items.
    fn number_parts(&mut self) {
        let mut counts = vec![0; self.positions.len()];
        self.entries.iter().for_each(|entry| counts[entry.row] += 1);
        let mut next = vec![None; counts.len()];
        for (row, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 1) {
            let first = if count == 0 { 0 } else { self.num_parts };
            self.merges.push(PagedMerge { row, parts: first..first + count });
            next[row] = Some(first);
            self.num_parts += count;
        }
        for entry in &mut self.entries {
            entry.part = next[entry.row];
            next[entry.row] = next[entry.row].map(|part| part + 1);
        }
    }
}

/// Rows that meet a range of keys, `(row, position)`; not yet cut.
struct KeyRange {
    queries: Vec<(usize, usize)>,
    sequence: usize,
    keys: Range<usize>,
}

impl KeyRange {
    fn tiles(&self) -> usize {
        self.keys.len().div_ceil(TILE_KEYS)
    }
}

struct Families<'a> {
    sequences: &'a [SequenceRows<'a>],
    group: usize,
    ranges: Vec<KeyRange>,
}

impl Families<'_> {
    /// Tiles of the query rows of so many rows of the pass.
    fn tiles(&self, rows: usize) -> usize {
        if rows * self.group <= NARROW_ROWS { 1 } else { rows.div_ceil(WIDE_ROWS / self.group) }
    }

    /// Plans sequences that are neighbours by their tables, whose blocks before `start` have been seen to.
    fn plan(&mut self, family: &[usize], start: usize) {
        let sequences = self.sequences;
        let (Some(&first), Some(&last)) = (family.first(), family.last()) else { return };
        let (first, last) = (sequences[first].table(), sequences[last].table());
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let counts = || family.iter().map(|&sequence| sequences[sequence].rows.len());
        let rows: usize = counts().sum();
        let apart: usize = counts().map(|rows| self.tiles(rows)).sum();
        // A part of a row and its merge cost about group / 16 of the bytes of a tile of keys.
        let saved = (apart - self.tiles(rows)) * ((common - start) * BLOCK_TOKENS).div_ceil(TILE_KEYS);
        let mut start = start;
        if family.len() == 1 || saved * 16 > rows * self.group {
            self.add(family, start..common);
            start = common;
        }
        let block = |sequence: usize| sequences[sequence].table().get(common);
        for branch in family.chunk_by(|&a, &b| block(a) == block(b)) {
            if block(branch[0]).is_some() {
                self.plan(branch, start);
            } else if start < common {
                branch.iter().for_each(|&sequence| self.add(&[sequence], start..common));
            }
        }
    }

    /// Tiles of the rows of these sequences that see any of these blocks.
    fn add(&mut self, family: &[usize], blocks: Range<usize>) {
        let (begin, end) = (blocks.start * BLOCK_TOKENS, blocks.end * BLOCK_TOKENS);
        let sequences = family.iter().map(|&sequence| &self.sequences[sequence]);
        let queries = sequences.flat_map(|sequence| sequence.rows.clone().zip(sequence.position..));
        let queries: Vec<(usize, usize)> = queries.filter(|(_, position)| *position >= begin).collect();
        let is_narrow = queries.len() * self.group <= NARROW_ROWS;
        let size = if is_narrow { queries.len().max(1) } else { WIDE_ROWS / self.group };
        for tile in queries.chunks(size) {
            let seen = tile.iter().map(|(_, position)| position + 1).max().unwrap_or(begin);
            self.ranges.push(KeyRange { queries: tile.to_vec(), sequence: family[0], keys: begin..end.min(seen) });
        }
    }
}

/// Cuts the ranges so that the thread blocks that run at a time get about two items each: long enough to be worth their
/// start, short enough to share the load.
fn cut(ranges: &[KeyRange], group: usize, kv_heads: usize, num_blocks: usize) -> (Vec<PagedItem>, Vec<PagedEntry>) {
    let tiles: usize = ranges.iter().map(KeyRange::tiles).sum();
    let longest = (tiles * kv_heads).div_ceil(2 * num_blocks.max(1)).max(2);
    let (mut items, mut entries) = (Vec::new(), Vec::new());
    for range in ranges {
        let pieces = range.tiles().div_ceil(longest);
        let at = |piece: usize| range.keys.start + range.tiles() * piece / pieces * TILE_KEYS;
        for piece in 0..pieces {
            let (begin, end) = (at(piece), range.keys.end.min(at(piece + 1)));
            let first = entries.len();
            let seen = || range.queries.iter().filter(|(_, position)| *position >= begin);
            entries.extend(seen().map(|&(row, _)| PagedEntry { row, part: None }));
            let ends = || seen().map(|(_, position)| end.min(position + 1));
            items.push(PagedItem {
                is_wide: (entries.len() - first) * group > NARROW_ROWS,
                entries: first..entries.len(),
                sequence: range.sequence,
                keys: begin..ends().max().unwrap_or(end),
                unmasked: ends().min().unwrap_or(end),
            });
        }
    }
    items.sort_by_key(|item| Reverse(item.keys.len()));
    (items, entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Positions, rows, and blocks of sequences; each shares some of an earlier one's blocks that are not written any more.
    type Pass = Vec<(usize, usize, Vec<u32>)>;

    fn pass() -> impl Strategy<Value = Pass> {
        let sequence =
            (any::<prop::sample::Index>(), any::<bool>(), 0_usize..7, 1_usize..150, 1_usize..60, any::<bool>());
        prop::collection::vec(sequence, 1..24).prop_map(|drawn| {
            let mut pass = Pass::new();
            let mut next_block = 0;
            for (number, (parent, is_root, shared, own, count, is_decode)) in drawn.into_iter().enumerate() {
                let mut blocks = Vec::new();
                if number > 0 && !is_root {
                    let (position, _, of_parent) = &pass[parent.index(number)];
                    blocks.extend_from_slice(&of_parent[..shared.min(position / BLOCK_TOKENS)]);
                }
                let length = blocks.len() * BLOCK_TOKENS + own;
                while blocks.len() * BLOCK_TOKENS < length {
                    // In no order, and never twice.
                    blocks.push((next_block * 37) % 1009);
                    next_block += 1;
                }
                let count = if is_decode { 1 } else { count.min(own) };
                pass.push((length - count, count, blocks));
            }
            pass
        })
    }

    /// Rows one after the other, with a row of padding before each sequence.
    fn rows(pass: &Pass) -> (Vec<SequenceRows<'_>>, usize) {
        let mut next = 0;
        let sequences = pass.iter().map(|(position, count, blocks)| {
            let first = next + 1;
            next = first + count;
            SequenceRows { rows: first..next, position: *position, blocks }
        });
        let sequences: Vec<_> = sequences.collect();
        (sequences, next + 1)
    }

    proptest! {
        /// Each row meets each slot of its own positions once and no other, in items within the limits of the kernels.
        #[test]
        fn each_row_meets_each_of_its_keys_once(
            pass in pass(), group in 1_usize..10, kv_heads in 1_usize..9, num_blocks in 1_usize..300,
        ) {
            let (sequences, num_rows) = rows(&pass);
            let plan = PagedPlan::new(&sequences, num_rows, group, kv_heads, num_blocks).unwrap();
            let mut seen = vec![Vec::new(); num_rows];
            let mut parts = vec![Vec::new(); num_rows];
            for item in &plan.items {
                prop_assert!(!item.keys.is_empty() && !item.entries.is_empty());
                prop_assert_eq!(item.keys.start % BLOCK_TOKENS, 0);
                prop_assert!(item.entries.len() * group <= WIDE_ROWS);
                prop_assert_eq!(item.is_wide, item.entries.len() * group > NARROW_ROWS);
                let mut least = item.keys.end;
                for entry in &plan.entries[item.entries.clone()] {
                    let position = plan.positions[entry.row];
                    prop_assert!(position >= item.keys.start);
                    least = least.min(position + 1);
                    let blocks = sequences[item.sequence].blocks;
                    let keys = item.keys.start..item.keys.end.min(position + 1);
                    let slot = |key: usize| blocks[key / BLOCK_TOKENS] as usize * BLOCK_TOKENS + key % BLOCK_TOKENS;
                    seen[entry.row].extend(keys.map(slot));
                    parts[entry.row].push(entry.part);
                }
                prop_assert_eq!(item.unmasked, least);
            }
            prop_assert!(plan.items.is_sorted_by_key(|item| Reverse(item.keys.len())));
            let mut expected = vec![Vec::new(); num_rows];
            for sequence in &sequences {
                for (row, position) in sequence.rows.clone().zip(sequence.position..) {
                    prop_assert_eq!(plan.positions[row], position);
                    let slot = |key: usize| sequence.blocks[key / BLOCK_TOKENS] as usize * BLOCK_TOKENS + key % BLOCK_TOKENS;
                    prop_assert_eq!(plan.slots[row], Some(slot(position)));
                    expected[row].extend((0..=position).map(slot));
                }
            }
            let mut merges = plan.merges.iter();
            let mut next_part = 0;
            for row in 0..num_rows {
                seen[row].sort_unstable();
                expected[row].sort_unstable();
                prop_assert_eq!(&seen[row], &expected[row]);
                parts[row].sort_unstable();
                if parts[row] == [None] {
                    continue;
                }
                let merge = merges.next().unwrap();
                prop_assert_eq!(merge.row, row);
                prop_assert_eq!(merge.parts.clone().map(Some).collect::<Vec<_>>(), parts[row].clone());
                if !parts[row].is_empty() {
                    prop_assert_eq!(merge.parts.start, next_part);
                    next_part = merge.parts.end;
                }
            }
            prop_assert!(merges.next().is_none());
            prop_assert_eq!(plan.num_parts, next_part);
        }
    }

    #[test]
    fn a_prompt_is_read_once_for_a_tile_of_its_responses() {
        // 512 decodes after a prompt of 2,048 positions and 63 of their own, four heads to a key/value head.
        let prompt: Vec<u32> = (0..64).collect();
        let tables: Vec<Vec<u32>> =
            (0..512).map(|number| [&prompt[..], &[64 + 2 * number, 65 + 2 * number]].concat()).collect();
        let sequences: Vec<SequenceRows<'_>> = tables
            .iter()
            .enumerate()
            .map(|(row, blocks)| SequenceRows { rows: row..row + 1, position: 2111, blocks })
            .collect();
        let plan = PagedPlan::new(&sequences, 512, 4, 8, 264).unwrap();
        let tiles: usize = plan.items.iter().map(|item| item.keys.len().div_ceil(TILE_KEYS)).sum();
        assert_eq!(tiles, 512 / 16 * 2048 / TILE_KEYS + 512);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let plan = |rows: Range<usize>, position, blocks: &[u32], group| {
            let sequence = SequenceRows { rows, position, blocks };
            PagedPlan::new(&[sequence.clone(), SequenceRows { rows: 5..6, ..sequence }], 6, group, 1, 4).is_ok()
        };
        assert!(plan(0..2, 30, &[3], 2));
        assert!(!plan(0..2, 31, &[3], 2), "no block for a position");
        assert!(!plan(2..2, 31, &[3], 2), "no rows");
        assert!(!plan(4..7, 0, &[3], 2), "rows beyond the pass");
        assert!(!plan(4..6, 0, &[3], 2), "a row of two sequences");
        assert!(!plan(0..2, 30, &[3], 65), "more heads than a tile has rows");
        assert!(PagedPlan::new(&[], 0, 2, 1, 4).unwrap().items.is_empty());
    }
}
