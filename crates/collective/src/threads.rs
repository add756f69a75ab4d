//! Ranks that are threads of one process: what tests of several ranks run on.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::{Collective, CollectiveError};

/// A rank of [`in_process`]; it belongs to one thread.
#[derive(Debug)]
pub struct InProcess {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    /// By the rank that sends. Locked, so that a rank can be shared as the trait asks; one thread alone calls it.
    from: Mutex<Vec<Receiver<Vec<u8>>>>,
}

/// The ranks of a training of `world_size` threads. A rank that is dropped is gone for the others.
pub fn in_process(world_size: usize) -> Vec<InProcess> {
    let mut to: Vec<Vec<Sender<Vec<u8>>>> = (0..world_size).map(|_| Vec::new()).collect();
    let mut ranks = Vec::new();
    for rank in 0..world_size {
        let mut from = Vec::new();
        for sender in &mut to {
            let (sending, receiving) = channel();
            sender.push(sending);
            from.push(receiving);
        }
        ranks.push((rank, from));
    }
    ranks.into_iter().zip(to).map(|((rank, from), to)| InProcess { rank, to, from: Mutex::new(from) }).collect()
}

impl Collective for InProcess {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.to.len()
    }

    fn all_to_all(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let gone = || CollectiveError::Gone { rank: self.rank };
        let from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        for (to, part) in self.to.iter().zip(parts) {
            to.send(part.to_vec()).map_err(|_| gone())?;
        }
        from.iter().map(|from| from.recv().map_err(|_| gone())).collect()
    }
}
