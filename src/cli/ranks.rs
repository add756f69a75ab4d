//! The processes of a training: how a command finds the others, and what the first of them alone does.

use std::sync::Arc;

use memtrain_collective::launch::Place;
use memtrain_collective::{Collective, Single};
use memtrain_session::Observer;

use super::progress::TrainingProgress;
use crate::config::Config;
use crate::run::RunError;

/// The processes that a launcher has started together; one where there was none.
pub(super) struct Ranks {
    collective: Arc<dyn Collective>,
}

/// Finds the other processes, and takes the card that is this one's.
///
/// # Errors
/// If the environment contradicts itself, or there are several and the program has nothing to connect them.
pub(super) fn connect(config: &mut Config) -> anyhow::Result<Ranks> {
    let place = Place::of_environment()?;
    let collective = connect_to_others(place)?;
    if place.world_size > 1 {
        config.policy.device = config.policy.device.of_local_rank(place.local_rank);
        if place.rank == 0 {
            tracing::info!("{} processes train together", place.world_size);
        }
    }
    Ok(Ranks { collective })
}

fn connect_to_others(place: Place) -> anyhow::Result<Arc<dyn Collective>> {
    if place.world_size == 1 {
        return Ok(Arc::new(Single));
    }
    #[cfg(feature = "mpi")]
    {
        let mpi = memtrain_mpi::Mpi::open()?;
        place.check(&mpi)?;
        Ok(Arc::new(mpi))
    }
    #[cfg(not(feature = "mpi"))]
    Err(place.not_built().into())
}

impl Ranks {
    pub(super) fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Whether this is the process that writes.
    pub(super) fn is_first(&self) -> bool {
        self.collective.rank() == 0
    }

    /// Does in the first process what the others then find done.
    pub(super) fn first_alone<T>(&self, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if !self.is_first() {
            self.collective.barrier()?;
            return act();
        }
        let done = act()?;
        self.collective.barrier()?;
        Ok(done)
    }

    /// What shows the progress: in the first process alone.
    pub(super) fn observer(&self) -> Box<dyn Observer> {
        if self.is_first() { Box::new(TrainingProgress::default()) } else { Box::new(()) }
    }

    /// Does what all processes do together, and leaves them when all have done it or were asked to stop. A process that fails
    /// does not: its launcher ends the others when it is gone.
    pub(super) fn leave(&self, act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let outcome = act();
        if outcome.as_ref().err().is_none_or(RunError::is_stop) {
            self.collective.leave()?;
        }
        outcome
    }
}
