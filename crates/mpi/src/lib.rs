//! Ranks that MPI has started and connects.
//!
//! A crate of its own, so that a program with the feature `mpi` builds little more than this anew. Without the feature, which is
//! off by default, it is empty and nothing of MPI is needed.

#[cfg(feature = "mpi")]
mod world;

#[cfg(feature = "mpi")]
pub use world::Mpi;
