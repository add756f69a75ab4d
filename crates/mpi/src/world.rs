//! The world of MPI, called by one thread.
//!
//! All calls of MPI are made by one thread, which is all that the standard's "funneled" level asks of a library, and keeps its
//! handles, which may not leave a thread, in one place.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use memtrain_collective::{Collective, CollectiveError, PIECE_BYTES};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Threading;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

/// Parts by rank, as sent or as received.
type Parts = Vec<Vec<u8>>;

/// Most ranks: what all send to one at a time must fit MPI's counts of 32 bits.
const MAX_RANKS: usize = i32::MAX as usize / PIECE_BYTES;

/// The ranks of MPI's world. MPI is finalised by [`Collective::leave`] alone.
pub struct Mpi {
    rank: usize,
    world_size: usize,
    /// Locked from a request to its reply.
    line: Mutex<Line>,
}

/// Parts to the thread, parts from it. `None` leaves.
struct Line {
    requests: SyncSender<Option<Parts>>,
    replies: Receiver<Parts>,
}

impl Mpi {
    /// Joins the world.
    ///
    /// # Errors
    /// If MPI is initialised already, or cannot be called beside other threads.
    pub fn open() -> Result<Self, CollectiveError> {
        let (requests, asked) = sync_channel::<Option<Parts>>(1);
        let (answer, replies) = channel::<Parts>();
        let (tell, told) = channel::<Result<(usize, usize), String>>();
        let serve = move || {
            let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
                let _ = tell.send(Err("MPI has been initialised before".to_owned()));
                return;
            };
            if threading < Threading::Funneled {
                let _ = tell.send(Err(format!("this MPI allows no threads ({threading:?})")));
                return;
            }
            let world = universe.world();
            let _ = tell.send(Ok((world.rank() as usize, world.size() as usize)));
            while let Ok(request) = asked.recv() {
                let Some(parts) = request else {
                    // Dropping the universe is MPI_Finalize.
                    drop(universe);
                    let _ = answer.send(Vec::new());
                    return;
                };
                if answer.send(all_to_all(&world, &parts)).is_err() {
                    break;
                }
            }
            // A process that fails does not finalise, which would wait for the others.
            std::mem::forget(universe);
        };
        let failed = |detail: String| CollectiveError::Launch(detail);
        let thread = std::thread::Builder::new().name("mpi".to_owned()).spawn(serve);
        thread.map_err(|error| failed(format!("no thread for MPI: {error}")))?;
        let told = told.recv().map_err(|_| failed("MPI could not be initialised".to_owned()))?;
        let (rank, world_size) = told.map_err(failed)?;
        if world_size > MAX_RANKS {
            return Err(failed(format!("{world_size} ranks: there can be {MAX_RANKS}")));
        }
        Ok(Self { rank, world_size, line: Mutex::new(Line { requests, replies }) })
    }

    fn ask(&self, request: Option<Parts>) -> Result<Parts, CollectiveError> {
        let gone = || CollectiveError::Gone { rank: self.rank };
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.requests.send(request).map_err(|_| gone())?;
        line.replies.recv().map_err(|_| gone())
    }
}

/// `MPI_Alltoallv` of bytes, after `MPI_Alltoall` of their counts.
fn all_to_all(world: &SimpleCommunicator, parts: &Parts) -> Parts {
    let sent: Vec<i32> = parts.iter().map(|part| part.len() as i32).collect();
    let mut received = vec![0_i32; parts.len()];
    world.all_to_all_into(&sent[..], &mut received[..]);
    let places = |counts: &[i32]| -> Vec<i32> {
        let mut end = 0;
        let place = |count: &i32| {
            let start = end;
            end += count;
            start
        };
        counts.iter().map(place).collect()
    };
    let (from, to) = (places(&sent), places(&received));
    // A byte more than there is: the address of a buffer without memory is Open MPI's MPI_IN_PLACE.
    let mut outgoing: Vec<u8> = parts.concat();
    outgoing.push(0);
    let mut incoming = vec![0_u8; received.iter().map(|&count| count as usize).sum::<usize>() + 1];
    {
        let outgoing = Partition::new(&outgoing[..], &sent[..], &from[..]);
        let mut incoming = PartitionMut::new(&mut incoming[..], &received[..], &to[..]);
        world.all_to_all_varcount_into(&outgoing, &mut incoming);
    }
    let mut rest = incoming.as_slice();
    received
        .iter()
        .map(|&count| {
            let (part, after) = rest.split_at(count as usize);
            rest = after;
            part.to_vec()
        })
        .collect()
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_to_all(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.ask(Some(parts.iter().map(|part| part.to_vec()).collect()))
    }

    fn leave(&self) -> Result<(), CollectiveError> {
        self.ask(None).map(drop)
    }
}
