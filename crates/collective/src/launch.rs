//! The place of this process among those that were started together, as launchers tell it in the environment.

use crate::{Collective, CollectiveError};

/// Where a process stands among those of its training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub world_size: usize,
    /// Its number on its machine, which is that of its card.
    pub local_rank: usize,
    /// Who says so.
    origin: &'static str,
}

/// One process by itself.
const ALONE: Place = Place { rank: 0, world_size: 1, local_rank: 0, origin: "nothing" };

/// Variables of rank, number of ranks, and rank on the machine: of torchrun and what imitates it, of Open MPI, of MPICH and
/// Intel's MPI.
const LAUNCHERS: [(&str, [&str; 3]); 3] = [
    ("Open MPI", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"]),
    ("PMI", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"]),
    ("RANK and WORLD_SIZE", ["RANK", "WORLD_SIZE", "LOCAL_RANK"]),
];

/// Slurm's, which says for every task of a job how many there are; they are ranks of MPI where PMIx has started them.
const SLURM: (&str, [&str; 3]) = ("srun --mpi=pmix", ["PMIX_RANK", "SLURM_NTASKS", "SLURM_LOCALID"]);

impl Place {
    /// What the environment says; a process of which nothing is said is alone.
    ///
    /// # Errors
    /// If a variable is no number, or the rank is not below the number of ranks.
    pub fn of_environment() -> Result<Self, CollectiveError> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CollectiveError> {
        for (origin, names @ [rank, world_size, local]) in LAUNCHERS.into_iter().chain([SLURM]) {
            let number = |name: &str| -> Result<Option<usize>, CollectiveError> {
                let Some(text) = variable(name) else { return Ok(None) };
                text.trim().parse().map(Some).map_err(|_| {
                    CollectiveError::Launch(format!("the variable {name} is no number: `{}`", text.escape_debug()))
                })
            };
            if !names[..2].iter().all(|name| variable(name).is_some()) {
                continue;
            }
            let (Some(rank), Some(world_size)) = (number(rank)?, number(world_size)?) else { continue };
            let local_rank = number(local)?.unwrap_or(rank);
            if rank >= world_size {
                let told = format!("rank {rank} of {world_size} ({origin}): ranks are numbered from 0");
                return Err(CollectiveError::Launch(told));
            }
            return Ok(Self { rank, world_size, local_rank, origin });
        }
        Ok(ALONE)
    }

    /// The error of a program that cannot be one of several.
    pub fn not_built(self) -> CollectiveError {
        CollectiveError::NotBuilt { world_size: self.world_size, origin: self.origin }
    }

    /// Checks that a transport counts the ranks as the launcher does.
    ///
    /// # Errors
    /// If it does not: the ranks are not those that it connects.
    pub fn check(self, collective: &dyn Collective) -> Result<(), CollectiveError> {
        let Self { rank, world_size, origin, .. } = self;
        let connected = (collective.rank(), collective.world_size());
        if connected == (rank, world_size) {
            return Ok(());
        }
        Err(CollectiveError::Launch(format!(
            "rank {rank} of {world_size} by {origin}, but MPI says {} of {}: \
             start the processes by `mpirun -n {world_size}` or `srun --mpi=pmix`",
            connected.0, connected.1,
        )))
    }
}

/// How many processes a launcher has started or is going to: what `WORLD_SIZE` says is enough here.
///
/// # Errors
/// As [`Place::of_environment`].
pub fn planned_world_size() -> Result<usize, CollectiveError> {
    match (Place::of_environment()?, std::env::var("WORLD_SIZE")) {
        (ALONE, Ok(text)) => match text.trim().parse() {
            Ok(world_size) if world_size > 0 => Ok(world_size),
            _ => {
                Err(CollectiveError::Launch(format!("the variable WORLD_SIZE is no number: `{}`", text.escape_debug())))
            }
        },
        (place, _) => Ok(place.world_size),
    }
}

/// Whether this process is one of several and not the first: what it has to say the first says for all.
pub fn is_follower() -> bool {
    Place::of_environment().is_ok_and(|place| place.rank > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process;

    fn place(variables: &[(&str, &str)]) -> Result<Place, CollectiveError> {
        Place::of(|name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        assert_eq!(place(&[]).unwrap(), ALONE);
        // Slurm counts tasks of steps that have nothing to do with each other, too.
        assert_eq!(place(&[("SLURM_NTASKS", "4"), ("SLURM_LOCALID", "1")]).unwrap(), ALONE);
        assert_eq!(place(&[("WORLD_SIZE", "4")]).unwrap(), ALONE);
        let of = |variables: &[(&str, &str)]| {
            let Place { rank, world_size, local_rank, .. } = place(variables).unwrap();
            (rank, world_size, local_rank)
        };
        assert_eq!(of(&[("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")]), (5, 8, 1));
        assert_eq!(of(&[("RANK", "5"), ("WORLD_SIZE", "8")]), (5, 8, 5));
        let open_mpi =
            [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "0")];
        assert_eq!(of(&open_mpi), (1, 2, 0));
        assert_eq!(of(&[("PMIX_RANK", "3"), ("SLURM_NTASKS", "4"), ("SLURM_LOCALID", "1")]), (3, 4, 1));
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for (rank, world_size) in [("x", "2"), ("2", "2"), ("0", "0"), ("-1", "2"), ("0", "")] {
            let refused = place(&[("RANK", rank), ("WORLD_SIZE", world_size)]);
            assert!(matches!(refused, Err(CollectiveError::Launch(_))), "{rank} of {world_size}");
        }
    }

    #[test]
    fn a_transport_that_counts_otherwise_is_refused() {
        let of = |rank: usize, world_size: usize| Place { rank, world_size, ..ALONE };
        let ranks = in_process(2);
        assert!(of(1, 2).check(&ranks[1]).is_ok());
        for wrong in [of(0, 2).check(&ranks[1]), of(1, 3).check(&ranks[1])] {
            assert!(wrong.unwrap_err().to_string().contains("but MPI says 1 of 2"));
        }
    }
}
