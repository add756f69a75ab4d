//! The sampling engine: token ids in, token ids and log-probabilities out.
//!
//! * [`sampler`]: continuous batching with a paged KV cache in this process, or a server
//! * [`outbound`]: requests to servers that need not be trusted

pub mod outbound;
pub mod sampler;
