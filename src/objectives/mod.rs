//! What is rewarded, and who gets the credit? One small file a system; the trainer knows none of them.

pub mod memtrain;
