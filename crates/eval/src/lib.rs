//! Evaluations of policies: reconstruction, recall, question answering, search, memory controls.
//!
//! * [`answered`]: questions about held-out documents as items of an evaluation
//! * [`interval`]: means with 95 % intervals
//! * [`held_out`]: held-out items while a run trains
//! * [`reconstruction`]: end-to-end and intermediate recall on held-out documents
//! * [`recall`]: intermediate recall by distance and by the age of the memory
//! * [`memory_controls`]: the same questions answered from the policy's memories and from control memories
//! * [`metrics`]: when an answer to a question is right
//! * [`long_qa`]: questions about long contexts, read in chunks or at once
//! * [`search_qa`]: questions that are searched for
//! * [`bank`]: questions to a bank that a policy keeps
//! * [`record`]: the folder of an evaluation: what is done, and every trajectory
//! * [`summary`]: items as rows of means with standard errors
//! * [`task_scores`]: tasks that name a metric of their own, as a table of lengths by tasks
//! * [`compare`]: two evaluations, item by item

pub mod answered;
pub mod bank;
pub mod compare;
pub mod held_out;
pub mod interval;
pub mod long_qa;
pub mod memory_controls;
pub mod metrics;
pub mod recall;
pub mod reconstruction;
pub mod record;
pub mod search_qa;
pub mod summary;
pub mod task_scores;
