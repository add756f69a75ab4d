//! Randomness that is addressed, not consumed: a draw depends on what it is for, never on what was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A generator keyed by a seed and the address of what is drawn, for example `("synthesize", [document])`.
///
/// The key is the BLAKE3 hash of the purpose, the seed and the address, so that generators of different addresses are
/// independent and the same address always gives the same draws, on any machine and with any number of threads.
///
/// ```
/// use rand::Rng;
/// let mut a = memtrain_corpora::rng::addressed("example", 7, &[1, 2]);
/// let mut b = memtrain_corpora::rng::addressed("example", 7, &[1, 2]);
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn addressed(purpose: &str, seed: u64, address: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(&seed.to_le_bytes());
    for part in address {
        hasher.update(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
