//! Block pool of the paged KV cache: block tables, reference counts, prefix caching, LRU eviction.
//!
//! Keys and values lie in blocks of [`BLOCK_TOKENS`] positions; a sequence's block table names its blocks in order. A
//! full block of a prompt is registered under its tokens and what precedes them, so that any sequence that begins the
//! same way refers to the same block (prefix caching). A block without references keeps its content until its memory is
//! needed; the least recently used one is evicted first. Sequences with equal prompts share full blocks; the last one,
//! which is not full, is copied before it is written (copy-on-write, in `scheduler`).
//!
//! Invariant: blocks in use and blocks reserved never exceed the capacity, so a running sequence is never preempted.
//!
//! Only bookkeeping: the numbers themselves are in a [`KvCache`](memtrain_kernels::attention::paged::KvCache).

use std::collections::{BTreeMap, HashMap};

use memtrain_kernels::attention::paged::{BLOCK_TOKENS, BlockId};

/// Tokens of a full block, and which content precedes it (0 for none). Contents are numbered once and never again, so a
/// block whose memory went to something else is never taken for what it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BlockContent {
    before: u64,
    tokens: [u32; BLOCK_TOKENS],
}

#[derive(Debug, Default)]
struct Block {
    ref_count: u32,
    /// The number of its content, and the content, where it is registered.
    content: Option<(u64, BlockContent)>,
    /// When its last reference was dropped, for LRU eviction.
    last_used: Option<u64>,
}

/// All blocks of a KV cache.
#[derive(Debug)]
pub(super) struct BlockPool {
    capacity: usize,
    blocks: Vec<Block>,
    /// Without content.
    empty: Vec<BlockId>,
    /// Cached and unreferenced, by last use: the first is evicted first (LRU).
    evictable: BTreeMap<u64, BlockId>,
    by_content: HashMap<BlockContent, BlockId>,
    in_use: usize,
    reserved: usize,
    clock: u64,
    contents: u64,
}

/// The block table of one sequence.
#[derive(Debug, Default)]
pub(super) struct BlockTable {
    /// Blocks in the order of the positions.
    pub(super) blocks: Vec<BlockId>,
    /// Blocks that it may still take.
    reserved: usize,
    /// Content of its last registered block.
    last_content: u64,
}

/// Blocks that so many positions take.
pub(super) fn blocks_of(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

impl BlockPool {
    /// A cache of at most `capacity` blocks.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            blocks: Vec::new(),
            empty: Vec::new(),
            evictable: BTreeMap::new(),
            by_content: HashMap::new(),
            in_use: 0,
            reserved: 0,
            clock: 0,
            contents: 0,
        }
    }

    /// Most blocks there can be.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The table of a sequence that begins with `prompt` and has `tokens` positions at most; `None` if there is no room now.
    ///
    /// Full blocks of the prompt that are cached already are shared, and the number of positions they cover is given;
    /// at least the last token of the prompt is left to be read. The prompt's other full blocks are taken and
    /// registered: whoever asks for them next must read them after this sequence has. The rest is reserved, so that a
    /// sequence that has begun always ends.
    pub(super) fn allocate(&mut self, prompt: &[u32], tokens: usize) -> Option<(BlockTable, usize)> {
        let found = self.cached_prefix(prompt);
        let revived = found.iter().filter(|&&(block, _)| self.blocks[block as usize].ref_count == 0).count();
        let new = blocks_of(tokens) - found.len();
        if self.in_use + self.reserved + revived + new > self.capacity {
            return None;
        }
        let mut table = BlockTable::default();
        for &(block, content) in &found {
            self.add_ref(block);
            table.blocks.push(block);
            table.last_content = content;
        }
        self.reserved += new;
        table.reserved = new;
        for tokens in prompt.chunks_exact(BLOCK_TOKENS).skip(found.len()) {
            let block = self.append_block(&mut table);
            self.register(block, tokens, &mut table);
        }
        Some((table, found.len() * BLOCK_TOKENS))
    }

    /// The table of a sequence with the same prompt as another's: it shares the other's full blocks of the prompt.
    pub(super) fn fork(&mut self, parent: &BlockTable, prompt_len: usize, tokens: usize) -> Option<BlockTable> {
        let shared = prompt_len / BLOCK_TOKENS;
        let new = blocks_of(tokens).saturating_sub(shared);
        if self.in_use + self.reserved + new > self.capacity {
            return None;
        }
        let blocks: Vec<BlockId> = parent.blocks[..shared].to_vec();
        blocks.iter().for_each(|&block| self.add_ref(block));
        self.reserved += new;
        Some(BlockTable { blocks, reserved: new, last_content: 0 })
    }

    /// Takes one of the table's reserved blocks. Its content is whatever was there before.
    pub(super) fn append_block(&mut self, table: &mut BlockTable) -> BlockId {
        debug_assert!(table.reserved > 0, "a sequence asks for more than it reserved");
        table.reserved = table.reserved.saturating_sub(1);
        self.reserved = self.reserved.saturating_sub(1);
        let block = match self.empty.pop() {
            Some(block) => block,
            None if self.blocks.len() < self.capacity => {
                self.blocks.push(Block::default());
                (self.blocks.len() - 1) as BlockId
            }
            None => self.evict(),
        };
        self.add_ref(block);
        table.blocks.push(block);
        block
    }

    /// Gives a sequence's blocks back, and what it had reserved.
    pub(super) fn free(&mut self, table: BlockTable) {
        self.reserved -= table.reserved;
        // From the last to the first: what more sequences may share is evicted later.
        for &number in table.blocks.iter().rev() {
            let block = &mut self.blocks[number as usize];
            block.ref_count -= 1;
            if block.ref_count > 0 {
                continue;
            }
            self.in_use -= 1;
            if block.content.is_some() {
                self.clock += 1;
                block.last_used = Some(self.clock);
                self.evictable.insert(self.clock, number);
            } else {
                self.empty.push(number);
            }
        }
    }

    /// The cached blocks of the beginning of a prompt, with the numbers of their contents.
    fn cached_prefix(&self, prompt: &[u32]) -> Vec<(BlockId, u64)> {
        let mut found = Vec::new();
        let mut before = 0;
        for tokens in prompt[..prompt.len().saturating_sub(1)].chunks_exact(BLOCK_TOKENS) {
            let Some(&block) = content(before, tokens).and_then(|content| self.by_content.get(&content)) else { break };
            before = self.blocks[block as usize].content.as_ref().map_or(0, |(number, _)| *number);
            found.push((block, before));
        }
        found
    }

    fn register(&mut self, block: BlockId, tokens: &[u32], table: &mut BlockTable) {
        let Some(content) = content(table.last_content, tokens) else { return };
        self.contents += 1;
        table.last_content = self.contents;
        self.by_content.insert(content.clone(), block);
        self.blocks[block as usize].content = Some((self.contents, content));
    }

    fn add_ref(&mut self, number: BlockId) {
        let block = &mut self.blocks[number as usize];
        block.ref_count += 1;
        if block.ref_count == 1 {
            self.in_use += 1;
            if let Some(since) = block.last_used.take() {
                self.evictable.remove(&since);
            }
        }
    }

    /// Forgets the content of the least recently used block.
    fn evict(&mut self) -> BlockId {
        let Some((_, block)) = self.evictable.pop_first() else {
            unreachable!("reservations keep the blocks in use below the capacity")
        };
        let entry = &mut self.blocks[block as usize];
        entry.last_used = None;
        if let Some((_, content)) = entry.content.take()
            && self.by_content.get(&content) == Some(&block)
        {
            self.by_content.remove(&content);
        }
        block
    }
}

fn content(before: u64, tokens: &[u32]) -> Option<BlockContent> {
    Some(BlockContent { before, tokens: tokens.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl BlockPool {
        fn check(&self, tables: &[(BlockTable, Vec<u32>)]) {
            let mut ref_counts = vec![0; self.blocks.len()];
            tables.iter().flat_map(|(table, _)| &table.blocks).for_each(|&block| ref_counts[block as usize] += 1);
            for (block, expected) in self.blocks.iter().zip(&ref_counts) {
                assert_eq!(block.ref_count, *expected);
                assert_eq!(block.last_used.is_some(), *expected == 0 && block.content.is_some());
            }
            assert_eq!(self.in_use, ref_counts.iter().filter(|&&count| count > 0).count());
            assert_eq!(self.reserved, tables.iter().map(|(table, _)| table.reserved).sum::<usize>());
            assert!(self.in_use + self.reserved <= self.capacity);
            assert_eq!(self.blocks.len(), self.in_use + self.evictable.len() + self.empty.len());
        }
    }

    proptest! {
        /// What a block holds is written down beside it; a sequence must always find its own tokens in its blocks.
        #[test]
        fn no_sequence_ever_sees_the_tokens_of_another(
            steps in prop::collection::vec((0_usize..6, 1_usize..130, 1_usize..70, 0_usize..3), 1..60),
            capacity in 7_usize..20,
        ) {
            let mut blocks = BlockPool::new(capacity);
            let mut written: Vec<Vec<u32>> = Vec::new();
            let mut live: Vec<(BlockTable, Vec<u32>)> = Vec::new();
            for (seed, prompt_len, response, action) in steps {
                if action == 0 && !live.is_empty() {
                    let (table, _) = live.remove(seed % live.len());
                    blocks.free(table);
                }
                // Prompts of few kinds, that begin alike and part at a token of their own.
                let prompt: Vec<u32> = (0..prompt_len).map(|i| if i < 40 { 1 } else { (seed + i / 50) as u32 }).collect();
                let Some((mut table, known)) = blocks.allocate(&prompt, prompt_len + response) else {
                    blocks.check(&live);
                    continue;
                };
                prop_assert!(known < prompt_len && known.is_multiple_of(BLOCK_TOKENS));
                while table.blocks.len() < blocks_of(prompt_len) {
                    blocks.append_block(&mut table);
                }
                written.resize(blocks.blocks.len(), Vec::new());
                for (number, tokens) in prompt.chunks(BLOCK_TOKENS).enumerate().skip(known / BLOCK_TOKENS) {
                    written[table.blocks[number] as usize] = tokens.to_vec();
                }
                live.push((table, prompt));
                blocks.check(&live);
                for (table, prompt) in &live {
                    for (tokens, &block) in prompt.chunks(BLOCK_TOKENS).zip(&table.blocks) {
                        prop_assert_eq!(&written[block as usize], tokens);
                    }
                }
            }
        }
    }

    #[test]
    fn beginnings_are_shared_and_kept_until_the_memory_is_needed() {
        let mut blocks = BlockPool::new(6);
        let prompt: Vec<u32> = (0..80).collect();
        let (first, known) = blocks.allocate(&prompt, 90).expect("room");
        assert_eq!((known, first.blocks.len(), first.reserved), (0, 2, 1));
        let (second, known) = blocks.allocate(&prompt, 90).expect("room");
        assert_eq!((known, &second.blocks), (64, &first.blocks));
        let follower = blocks.fork(&first, 80, 81).expect("room");
        assert_eq!((&follower.blocks, follower.reserved), (&first.blocks, 1));
        // Two held and three reserved leave room for one.
        assert!(blocks.allocate(&[7; 40], 41).is_none());
        for table in [first, second, follower] {
            blocks.free(table);
        }
        let (again, known) = blocks.allocate(&prompt[..70], 70).expect("room");
        assert_eq!(known, 64);
        blocks.free(again);
        // A whole prompt of full blocks leaves its last one to be read.
        let (whole, known) = blocks.allocate(&prompt[..64], 65).expect("room");
        assert_eq!(known, 32);
        blocks.free(whole);
        let (all, known) = blocks.allocate(&[9; 192], 192).expect("everything is idle");
        assert_eq!((known, all.blocks.len()), (0, 6));
        blocks.free(all);
        assert_eq!(blocks.allocate(&prompt, 90).expect("room").1, 0, "its blocks went to another");
    }
}
