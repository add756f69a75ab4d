//! Sets of page ids.

use std::collections::{HashMap, HashSet};

/// Ids below this are dense in every wiki.
const DENSE: u64 = 1 << 36;
/// Ids a block holds.
const BLOCK: u64 = 1 << 15;
/// Ids that a block lists one by one. From here on a bit for each that there could be takes less.
const FEW: usize = BLOCK as usize / 16;

/// Which ids have been seen: a bit for each id of a real wiki, some bytes for each that stands alone. The whole English Wikipedia
/// takes some 10 MB, and no dump more than some 60 bytes a page, however far apart its ids are.
#[derive(Default)]
pub(super) struct Ids {
    blocks: HashMap<u64, Block>,
    sparse: HashSet<u64>,
}

/// Ids of a block, counted from its first.
enum Block {
    /// In rising order.
    Few(Vec<u16>),
    Many(Box<[u64; BLOCK as usize / 64]>),
}

impl Ids {
    /// Adds an id; `false` if it was there.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        if id >= DENSE {
            return self.sparse.insert(id);
        }
        self.blocks.entry(id / BLOCK).or_insert(Block::Few(Vec::new())).insert((id % BLOCK) as u16)
    }
}

impl Block {
    fn insert(&mut self, id: u16) -> bool {
        match self {
            Block::Few(ids) => {
                let Err(at) = ids.binary_search(&id) else { return false };
                ids.insert(at, id);
                if ids.len() >= FEW {
                    let mut bits = Box::new([0; BLOCK as usize / 64]);
                    ids.iter().for_each(|&id| bits[usize::from(id / 64)] |= 1u64 << (id % 64));
                    *self = Block::Many(bits);
                }
                true
            }
            Block::Many(bits) => {
                let (word, bit) = (&mut bits[usize::from(id / 64)], 1u64 << (id % 64));
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_that_fills_up_stays_a_set() {
        let (mut ours, mut twin) = (Ids::default(), HashSet::new());
        // Steps that have no divisor in common with the block meet every id of it once, in no order; the last third a second time.
        for step in 0..BLOCK + BLOCK / 3 {
            let id = 7 * BLOCK + step * 12_345 % BLOCK;
            assert_eq!(ours.insert(id), twin.insert(id), "{step}");
        }
    }

    #[test]
    fn ids_that_stand_alone_take_little() {
        let mut ids = Ids::default();
        assert!((0..10_000).all(|id| ids.insert(id * BLOCK + 1)));
        let listed = |block: &Block| matches!(block, Block::Few(ids) if ids.capacity() <= 8);
        assert!(ids.blocks.len() == 10_000 && ids.blocks.values().all(listed));
    }

    proptest! {
        #[test]
        fn it_is_a_set(ids in proptest::collection::vec(prop_oneof![0u64..200, any::<u64>(), (DENSE - 3)..(DENSE + 3)], 0..200)) {
            let (mut ours, mut twin) = (Ids::default(), HashSet::new());
            for id in ids {
                prop_assert_eq!(ours.insert(id), twin.insert(id));
            }
        }
    }
}
