//! Collective operations between the processes of one training: what each rank contributes, and what all know afterwards.
//!
//! [`Collective`] needs one operation of its transport, an exchange of parts between all pairs of ranks; the others follow
//! from it. [`Single`] is a training of one process, [`in_process`] gives ranks that are threads, for tests, and the crate
//! `memtrain-mpi` has those that `mpirun` or `srun` has started. [`launch`] says from the environment which it is.

pub mod launch;
mod threads;

pub use self::threads::{InProcess, in_process};

/// Largest part that is sent at a time: what is larger goes in pieces, so that buffers stay bounded.
pub const PIECE_BYTES: usize = 4 << 20;

/// Why ranks cannot work together.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// Several processes were started, and the program can be one only.
    #[error(
        "{world_size} processes were started together ({origin}), but this program was built for one: \
         `cargo build --release --features mpi` builds it for several (docs/scale-out.md)"
    )]
    NotBuilt {
        /// How many.
        world_size: usize,
        /// What says so.
        origin: &'static str,
    },
    /// What the environment says contradicts itself or the transport.
    #[error("{0}")]
    Launch(String),
    /// Another rank is gone.
    #[error("rank {rank} cannot reach the other ranks: one of them has ended")]
    Gone {
        /// Who found out.
        rank: usize,
    },
}

/// Ranks that work together. All call the same operations in the same order; each returns when all have called it.
pub trait Collective: Send + Sync {
    /// Number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn world_size(&self) -> usize;

    /// Sends part `r` of `parts`, at most [`PIECE_BYTES`], to rank `r`, and gives what each rank has sent here.
    ///
    /// # Errors
    /// If a rank is gone.
    fn all_to_all(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// What each rank has contributed, of any length.
    ///
    /// # Errors
    /// If a rank is gone.
    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let world_size = self.world_size();
        let lengths = self.all_to_all(&vec![&(own.len() as u64).to_le_bytes()[..]; world_size])?;
        let length = |bytes: &Vec<u8>| bytes.as_slice().try_into().map_or(0, u64::from_le_bytes) as usize;
        let longest = lengths.iter().map(length).max().unwrap_or(0);
        let mut gathered: Vec<Vec<u8>> = lengths.iter().map(|bytes| Vec::with_capacity(length(bytes))).collect();
        for start in (0..longest).step_by(PIECE_BYTES) {
            let piece = &own[start.min(own.len())..(start + PIECE_BYTES).min(own.len())];
            let pieces = self.all_to_all(&vec![piece; world_size])?;
            gathered.iter_mut().zip(pieces).for_each(|(all, piece)| all.extend(piece));
        }
        Ok(gathered)
    }

    /// What `root` has; the others give nothing.
    ///
    /// # Errors
    /// If a rank is gone.
    fn broadcast(&self, root: usize, own: &[u8]) -> Result<Vec<u8>, CollectiveError> {
        let own = if self.rank() == root { own } else { &[] };
        Ok(self.all_gather(own)?.swap_remove(root))
    }

    /// Whether `flag` is set on any rank.
    ///
    /// # Errors
    /// If a rank is gone.
    fn any(&self, flag: bool) -> Result<bool, CollectiveError> {
        Ok(self.all_gather(&[u8::from(flag)])?.iter().any(|flag| flag == &[1]))
    }

    /// Returns when all ranks are here.
    ///
    /// # Errors
    /// If a rank is gone.
    fn barrier(&self) -> Result<(), CollectiveError> {
        self.all_to_all(&vec![&[][..]; self.world_size()]).map(drop)
    }

    /// The last call: this rank is done, and returns when all are. A process that ends without it has failed, and its launcher
    /// ends the others.
    ///
    /// # Errors
    /// If a rank is gone.
    fn leave(&self) -> Result<(), CollectiveError> {
        self.barrier()
    }
}

/// One process alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_to_all(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        Ok(parts.iter().map(|part| part.to_vec()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `act` on so many ranks, each a thread.
    fn on_ranks<T: Send>(world_size: usize, act: impl Fn(&dyn Collective) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let running: Vec<_> = in_process(world_size)
                .into_iter()
                .map(|rank| {
                    let act = &act;
                    scope.spawn(move || act(&rank))
                })
                .collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_gets_what_was_sent_to_it_in_the_order_of_ranks() {
        for world_size in 1..5 {
            let received = on_ranks(world_size, |collective| {
                let parts: Vec<Vec<u8>> = (0..world_size).map(|to| vec![collective.rank() as u8, to as u8]).collect();
                // A rank that is late changes nothing.
                std::thread::sleep(std::time::Duration::from_millis(3 * (collective.rank() as u64 % 2)));
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                (0..3).map(|_| collective.all_to_all(&parts).unwrap()).collect::<Vec<_>>()
            });
            for (to, rounds) in received.iter().enumerate() {
                let expected: Vec<Vec<u8>> = (0..world_size).map(|from| vec![from as u8, to as u8]).collect();
                assert!(rounds.iter().all(|round| *round == expected));
            }
        }
        assert_eq!(Single.all_to_all(&[b"x"]).unwrap(), [b"x"]);
    }

    #[test]
    fn long_contributions_of_different_lengths_are_gathered_whole() {
        let length = |rank: usize| rank * (PIECE_BYTES + 7);
        let byte = |rank: usize, at: usize| (at % 251) as u8 ^ rank as u8;
        let gathered = on_ranks(3, |collective| {
            let own: Vec<u8> = (0..length(collective.rank())).map(|at| byte(collective.rank(), at)).collect();
            let all = collective.all_gather(&own).unwrap();
            let from_two = collective.broadcast(2, &own).unwrap();
            let any = [collective.any(collective.rank() == 1).unwrap(), collective.any(false).unwrap()];
            collective.barrier().unwrap();
            assert_eq!(from_two, all[2]);
            (all, any)
        });
        for (all, any) in gathered {
            for (rank, bytes) in all.iter().enumerate() {
                assert!(bytes.len() == length(rank) && bytes.iter().enumerate().all(|(at, &b)| b == byte(rank, at)));
            }
            assert_eq!(any, [true, false]);
        }
    }

    #[test]
    fn a_rank_that_has_ended_is_an_error_of_the_others() {
        let errors = on_ranks(3, |collective| (collective.rank() > 0).then(|| collective.barrier()));
        assert!(errors[1..].iter().all(|outcome| matches!(outcome, Some(Err(CollectiveError::Gone { .. })))));
    }
}
