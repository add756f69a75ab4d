//! Keyed random generators, in the manner of JAX's `fold_in`: a random number depends on what it is for, never on what
//! was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A generator keyed by a purpose, a seed and the numbers of what is drawn, for example `("synthesize", [document])`.
///
/// The generator's seed is the BLAKE3 hash of all of them, so that generators of different keys are independent and the
/// same key always gives the same numbers, on any machine and with any number of threads. Purposes are data: another
/// string is another generator.
///
/// ```
/// use rand::Rng;
/// let mut a = memtrain_corpora::rng::keyed("example", 7, &[1, 2]);
/// let mut b = memtrain_corpora::rng::keyed("example", 7, &[1, 2]);
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn keyed(purpose: &str, seed: u64, key: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(&seed.to_le_bytes());
    for part in key {
        hasher.update(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
