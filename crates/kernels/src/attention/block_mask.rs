//! Block mask of attention over a packed forest: which tiles of query rows meet which tiles of keys.
//!
//! A mask of `N x N` entries is never made. Rows are numbered depth first, a segment before the subtrees of the segments
//! that have it for a prefix. Each row gets its number, `position`, and `reach`, how many numbers from its own on belong to
//! the subtree of its segment. Row `i` sees row `j` exactly if
//!
//! `(position_i - position_j) as u32 < reach_j as u32`:
//!
//! causality inside a segment, always true for a row of a prefix, false for siblings and other families, at any depth.
//! Tiles are cut from the rows as they lie, so that several short responses share a tile and read their prompt once. The
//! lists are those of FlexAttention's `BlockMask` (Dong et al. 2024, arXiv 2412.05496), with two bits for each warp of a
//! thread block: whether it has anything to do with a tile, and whether it must mask it. They depend on the segments alone
//! and serve all layers. `cuda/attention/PLAN.md` says how the kernels read them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::nn::{Segment, prefixes};

/// Rows are padded to a multiple of this: the largest tile of any kernel.
pub const LARGEST_TILE: usize = 128;

/// Fewest entries of a piece into which a long list of the key side is cut.
const SHORTEST_PIECE: usize = 16;

/// Number of a row in the depth-first order, and how many numbers from there on see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowInterval {
    /// The row's number; -1 for padding.
    pub position: i32,
    /// Rows that see this one have the numbers `position..position + reach`; 0 for padding.
    pub reach: i32,
}

impl RowInterval {
    /// Whether this row as a query sees that one as a key.
    pub fn sees(self, key: Self) -> bool {
        (self.position.wrapping_sub(key.position) as u32) < key.reach as u32
    }
}

/// Intervals of all rows, padded to whole tiles by rows that see nothing and that nothing sees.
///
/// # Panics
/// If a prefix is not an earlier segment.
pub fn row_intervals(segments: &[Segment]) -> Vec<RowInterval> {
    let mut subtree: Vec<usize> = segments.iter().map(|segment| segment.rows.len()).collect();
    for (number, segment) in segments.iter().enumerate().rev() {
        if let Some(prefix) = segment.prefix {
            assert!(prefix < number, "segment {number} comes before its prefix {prefix}");
            subtree[prefix] += subtree[number];
        }
    }
    let mut intervals = vec![RowInterval { position: -1, reach: 0 }; num_rows(segments).next_multiple_of(LARGEST_TILE)];
    // The next free number among the roots, and in the subtree of each segment.
    let (mut next_root, mut next_in) = (0, vec![0; segments.len()]);
    for (number, segment) in segments.iter().enumerate() {
        let next = segment.prefix.map_or(&mut next_root, |prefix| &mut next_in[prefix]);
        let first = *next;
        *next += subtree[number];
        next_in[number] = first + segment.rows.len();
        for (offset, row) in segment.rows.clone().enumerate() {
            intervals[row] =
                RowInterval { position: (first + offset) as i32, reach: (subtree[number] - offset) as i32 };
        }
    }
    intervals
}

/// Tiles of a kernel: it owns tiles of one side and walks through tiles of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    /// Rows of a tile that a thread block owns: queries in forward and `dq`, keys in `dk` and `dv`.
    pub own: usize,
    /// Rows of a tile of the other side.
    pub other: usize,
    /// Own rows of one warp, a divisor of `own`; at most eight warps.
    pub warp_rows: usize,
}

/// A tile of the other side in a list, with a bit for each warp of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePair {
    /// Number of the tile.
    pub tile: usize,
    /// Warps of which some row sees, or is seen by, some row of the tile; the others skip it.
    pub visible: u8,
    /// Visible warps of which some pair of rows is unseen, so that the kernel has to compare intervals.
    pub masked: u8,
}

impl TilePair {
    /// As the kernels read it; `None` if the number of the tile needs more than 16 bits.
    pub fn encoded(self) -> Option<u32> {
        let tile = u16::try_from(self.tile).ok()?;
        Some(u32::from(tile) << 16 | u32::from(self.masked) << 8 | u32::from(self.visible))
    }

    /// Adds a warp of `num_pairs` pairs of rows of which `num_seen` see each other.
    fn add(&mut self, warp: usize, num_seen: usize, num_pairs: usize) {
        self.visible |= 1 << warp;
        self.masked |= u8::from(num_seen < num_pairs) << warp;
    }
}

/// The work of one thread block and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// The tile that is computed.
    pub tile: usize,
    /// Where its part of the list begins; for the key side in entries of `pair x query head of the group`.
    pub begin: usize,
    /// Where that part ends.
    pub end: usize,
    /// Where the partial sums of a piece go; `None` if the item is all of its tile.
    pub slot: Option<usize>,
}

/// A tile of the key side that was cut, and the slots of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// The tile.
    pub tile: usize,
    /// The first of its slots; the others follow.
    pub first_slot: usize,
    /// Number of pieces.
    pub num_slots: usize,
}

/// Lists of one side of the block mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMask {
    /// Lists of all tiles, one after the other.
    pub pairs: Vec<TilePair>,
    /// Items, the longest first: the last ones to start should be short.
    pub items: Vec<WorkItem>,
    /// Tiles that were cut into pieces.
    pub reductions: Vec<Reduction>,
    /// Number of slots for partial sums.
    pub num_slots: usize,
}

impl BlockMask {
    /// For tiles of query rows, the tiles of keys that any of their rows sees: forward and `dq`.
    pub fn of_queries(segments: &[Segment], shape: TileShape) -> Self {
        let num_warps = shape.own / shape.warp_rows;
        let bands = seen_pairs(segments, shape.warp_rows, shape.other);
        let mut mask = Self::default();
        for (tile, bands) in bands.chunks(num_warps).enumerate() {
            let mut pairs = BTreeMap::new();
            for (warp, seen) in bands.iter().enumerate() {
                for &(key, num_seen) in seen {
                    let pair = pairs.entry(key).or_insert(TilePair { tile: key, visible: 0, masked: 0 });
                    pair.add(warp, num_seen, shape.warp_rows * shape.other);
                }
            }
            let begin = mask.pairs.len();
            mask.pairs.extend(pairs.into_values());
            mask.items.push(WorkItem { tile, begin, end: mask.pairs.len(), slot: None });
        }
        mask.sort_items();
        mask
    }

    /// For tiles of keys, the tiles of query rows that see any of them, once for each of the `group` query heads of a key
    /// head: `dk` and `dv`. Lists are cut into equal pieces, so many that `num_blocks` thread blocks that run side by side
    /// share the work of `num_kv_heads` heads evenly.
    pub fn of_keys(
        segments: &[Segment],
        shape: TileShape,
        group: usize,
        num_kv_heads: usize,
        num_blocks: usize,
    ) -> Self {
        let num_warps = shape.own / shape.warp_rows;
        let mut lists: Vec<Vec<TilePair>> = vec![Vec::new(); num_rows(segments).div_ceil(shape.own)];
        for (query, seen) in seen_pairs(segments, shape.other, shape.warp_rows).into_iter().enumerate() {
            for (band, num_seen) in seen {
                let list = &mut lists[band / num_warps];
                if list.last().is_none_or(|pair| pair.tile != query) {
                    list.push(TilePair { tile: query, visible: 0, masked: 0 });
                }
                if let Some(pair) = list.last_mut() {
                    pair.add(band % num_warps, num_seen, shape.warp_rows * shape.other);
                }
            }
        }
        let num_entries = lists.iter().map(Vec::len).sum::<usize>() * group;
        let longest = piece_length(num_entries, num_kv_heads, num_blocks);
        let mut mask = Self::default();
        for (tile, pairs) in lists.into_iter().enumerate() {
            let begin = mask.pairs.len() * group;
            mask.pairs.extend(pairs);
            let entries = mask.pairs.len() * group - begin;
            let num_pieces = entries.div_ceil(longest);
            let is_cut = num_pieces > 1;
            if is_cut {
                mask.reductions.push(Reduction { tile, first_slot: mask.num_slots, num_slots: num_pieces });
            }
            let cut = |piece: usize| begin + entries * piece / num_pieces;
            for piece in 0..num_pieces {
                let slot = is_cut.then_some(mask.num_slots + piece);
                mask.items.push(WorkItem { tile, begin: cut(piece), end: cut(piece + 1), slot });
            }
            mask.num_slots += if is_cut { num_pieces } else { 0 };
        }
        mask.sort_items();
        mask
    }

    fn sort_items(&mut self) {
        self.items.sort_by_key(|item| Reverse(item.end - item.begin));
    }
}

/// Entries of a piece with which thread blocks that run side by side get about two items each: long enough to be worth its
/// start, short enough to share the load.
fn piece_length(num_entries: usize, num_kv_heads: usize, num_blocks: usize) -> usize {
    (num_entries * num_kv_heads).div_ceil((2 * num_blocks).max(1)).max(SHORTEST_PIECE)
}

fn num_rows(segments: &[Segment]) -> usize {
    segments.last().map_or(0, |segment| segment.rows.end)
}

/// For each tile of query rows, the tiles of keys that any of its rows sees, ascending, with the number of pairs of rows
/// that see each other.
fn seen_pairs(segments: &[Segment], query_tile: usize, key_tile: usize) -> Vec<Vec<(usize, usize)>> {
    let rows = num_rows(segments);
    let mut lists = Vec::with_capacity(rows.div_ceil(query_tile));
    let mut num_seen = vec![0_usize; rows.div_ceil(key_tile)];
    let mut touched = Vec::new();
    let mut first_segment = 0;
    for first in (0..rows).step_by(query_tile) {
        let last = rows.min(first + query_tile);
        while segments[first_segment].rows.end <= first {
            first_segment += 1;
        }
        let mut add = |keys: Range<usize>, num_queries: usize| {
            let tiles = num_seen.iter_mut().enumerate().take(keys.end.div_ceil(key_tile)).skip(keys.start / key_tile);
            for (tile, num_seen) in tiles {
                if *num_seen == 0 {
                    touched.push(tile);
                }
                let in_tile = keys.end.min((tile + 1) * key_tile) - keys.start.max(tile * key_tile);
                *num_seen += num_queries * in_tile;
            }
        };
        for (number, segment) in segments.iter().enumerate().skip(first_segment) {
            if segment.rows.start >= last {
                break;
            }
            let (from, to) = (first.max(segment.rows.start), last.min(segment.rows.end));
            if from >= to {
                continue;
            }
            for prefix in prefixes(segments, number).filter(|&prefix| !segments[prefix].rows.is_empty()) {
                add(segments[prefix].rows.clone(), to - from);
            }
            if from > segment.rows.start {
                add(segment.rows.start..from, to - from);
            }
            (from..to).for_each(|row| add(row..row + 1, to - row));
        }
        touched.sort_unstable();
        lists.push(touched.drain(..).map(|tile| (tile, std::mem::take(&mut num_seen[tile]))).collect());
    }
    lists
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Segments of these lengths; each may have an earlier one for a prefix.
    fn forest() -> impl Strategy<Value = Vec<Segment>> {
        prop::collection::vec((0_usize..90, any::<Option<prop::sample::Index>>()), 1..12).prop_map(|drawn| {
            let mut segments: Vec<Segment> = Vec::new();
            for (number, (length, prefix)) in drawn.into_iter().enumerate() {
                let start = num_rows(&segments);
                let prefix = prefix.filter(|_| number > 0).map(|prefix| prefix.index(number));
                segments.push(Segment { rows: start..start + length, prefix });
            }
            segments
        })
    }

    fn shape() -> impl Strategy<Value = TileShape> {
        let shape = |(own, other, warp_rows)| TileShape { own, other, warp_rows };
        prop::sample::select(vec![(64, 64, 16), (128, 32, 32), (128, 16, 32), (128, 32, 16)]).prop_map(shape)
    }

    /// The definition: all rows of the prefixes, and the own segment up to the row.
    fn sees(segments: &[Segment], query: usize, key: usize) -> bool {
        let own = segments.iter().position(|segment| segment.rows.contains(&query)).unwrap();
        let in_prefix = prefixes(segments, own).any(|prefix| segments[prefix].rows.contains(&key));
        in_prefix || segments[own].rows.contains(&key) && key <= query
    }

    /// The entry of a tile by its definition, if there is to be one.
    fn expected(segments: &[Segment], shape: TileShape, own: usize, tile: usize, of_queries: bool) -> Option<TilePair> {
        let rows = num_rows(segments);
        let mut pair = TilePair { tile, visible: 0, masked: 0 };
        for warp in 0..shape.own / shape.warp_rows {
            let first = own * shape.own + warp * shape.warp_rows;
            let all = (first..first + shape.warp_rows)
                .flat_map(|own| (tile * shape.other..(tile + 1) * shape.other).map(move |other| (own, other)));
            let seen = |&(own, other): &(usize, usize)| {
                let (query, key) = if of_queries { (own, other) } else { (other, own) };
                own < rows && other < rows && sees(segments, query, key)
            };
            let num_seen = all.filter(seen).count();
            if num_seen > 0 {
                pair.visible |= 1 << warp;
                pair.masked |= u8::from(num_seen < shape.warp_rows * shape.other) << warp;
            }
        }
        (pair.visible != 0).then_some(pair)
    }

    /// The entries of each own tile, put together from its items; every item is a run of them without a gap.
    fn entries(mask: &BlockMask, num_tiles: usize, group: usize) -> Vec<Vec<TilePair>> {
        let mut items = mask.items.clone();
        items.sort_by_key(|item| (item.tile, item.begin));
        let mut entries = vec![Vec::new(); num_tiles];
        for item in items {
            assert!(item.begin < item.end, "{item:?}");
            let first_of_pair = (item.begin..item.end).filter(|entry| entry % group == 0);
            entries[item.tile].extend(first_of_pair.map(|entry| mask.pairs[entry / group]));
        }
        entries
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn intervals_are_the_mask(segments in forest()) {
            let (intervals, rows) = (row_intervals(&segments), num_rows(&segments));
            for query in 0..intervals.len() {
                for key in 0..intervals.len() {
                    let expected = query < rows && key < rows && sees(&segments, query, key);
                    prop_assert_eq!(intervals[query].sees(intervals[key]), expected, "{} {}", query, key);
                }
            }
        }

        #[test]
        fn lists_hold_each_tile_that_is_seen(segments in forest(), shape in shape()) {
            let (num_own, num_other) =
                (num_rows(&segments).div_ceil(shape.own), num_rows(&segments).div_ceil(shape.other));
            let of_queries = BlockMask::of_queries(&segments, shape);
            let of_keys = BlockMask::of_keys(&segments, shape, 1, 1, 1);
            for (mask, is_query) in [(&of_queries, true), (&of_keys, false)] {
                for (own, found) in entries(mask, num_own, 1).into_iter().enumerate() {
                    let wanted: Vec<_> =
                        (0..num_other).filter_map(|tile| expected(&segments, shape, own, tile, is_query)).collect();
                    prop_assert_eq!(found, wanted);
                }
                prop_assert!(mask.items.is_sorted_by_key(|item| Reverse(item.end - item.begin)));
            }
        }

        #[test]
        fn pieces_cover_a_tile_without_gaps(segments in forest(), shape in shape(), group in 1_usize..5, blocks in 1_usize..40) {
            let num_tiles = num_rows(&segments).div_ceil(shape.own);
            let whole = BlockMask::of_keys(&segments, shape, group, 1, 1);
            let cut = BlockMask::of_keys(&segments, shape, group, 4, blocks);
            prop_assert_eq!(entries(&whole, num_tiles, group), entries(&cut, num_tiles, group));
            let longest = piece_length(cut.pairs.len() * group, 4, blocks);
            prop_assert!(cut.items.iter().all(|item| item.end - item.begin <= longest));
            let mut items = cut.items.clone();
            items.sort_by_key(|item| (item.tile, item.begin));
            let mut num_slots = 0;
            for pieces in items.chunk_by(|a, b| a.tile == b.tile) {
                prop_assert!(pieces.windows(2).all(|two| two[0].end == two[1].begin));
                let reduction = cut.reductions.iter().find(|reduction| reduction.tile == pieces[0].tile);
                prop_assert_eq!(reduction.map_or(1, |reduction| reduction.num_slots), pieces.len());
                let first = reduction.map(|reduction| reduction.first_slot);
                let slots: Vec<_> = (0..pieces.len()).map(|piece| first.map(|first| first + piece)).collect();
                prop_assert_eq!(pieces.iter().map(|piece| piece.slot).collect::<Vec<_>>(), slots);
                num_slots += reduction.map_or(0, |reduction| reduction.num_slots);
            }
            prop_assert_eq!(num_slots, cut.num_slots);
        }
    }

    #[test]
    fn no_rows_make_no_work() {
        let shape = TileShape { own: 64, other: 64, warp_rows: 16 };
        assert_eq!(row_intervals(&[]), []);
        assert_eq!(BlockMask::of_queries(&[], shape), BlockMask::default());
        assert_eq!(BlockMask::of_keys(&[], shape, 2, 8, 1), BlockMask::default());
    }

    #[test]
    fn pieces_share_the_load_and_are_worth_their_start() {
        assert_eq!(piece_length(10, 8, 264), SHORTEST_PIECE);
        assert_eq!(piece_length(6600, 8, 264), 100);
    }

    #[test]
    fn an_entry_says_tile_and_warps() {
        let pair = TilePair { tile: 3, visible: 0b1111, masked: 0b1000 };
        assert_eq!(pair.encoded(), Some(0x0003_080f));
        assert_eq!(TilePair { tile: 1 << 16, ..pair }.encoded(), None);
    }
}
