//! Sets of page ids.

use std::collections::{HashMap, HashSet};

/// Ids below this are dense in every wiki.
const DENSE: u64 = 1 << 36;
/// Ids a block holds.
const BLOCK: u64 = 1 << 15;

/// Which ids have been seen: a bit for each id of a real wiki, an entry for each that was made of a hash. The whole English
/// Wikipedia takes some 10 MB.
#[derive(Default)]
pub(super) struct Ids {
    blocks: HashMap<u64, Box<[u64; BLOCK as usize / 64]>>,
    sparse: HashSet<u64>,
}

impl Ids {
    /// Adds an id; `false` if it was there.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        if id >= DENSE {
            return self.sparse.insert(id);
        }
        let block = self.blocks.entry(id / BLOCK).or_insert_with(|| Box::new([0; BLOCK as usize / 64]));
        let (word, bit) = ((id % BLOCK / 64) as usize, 1u64 << (id % 64));
        let new = block[word] & bit == 0;
        block[word] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
