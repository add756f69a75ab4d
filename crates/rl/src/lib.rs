//! Agents, objectives and the GRPO update.
//!
//! * [`rollout`]: environments, and the engine that runs them
//! * [`agents`]: prompting with a text memory, a memory bank, or a search engine
//! * [`objectives`]: rewards and credit assignment
//! * [`reward`]: scores of a command or server, added to those of the objective
//! * [`grpo`]: advantages, loss and optimizer steps
//! * [`sft`]: supervised fine-tuning before any reward

pub mod agents;
pub mod grpo;
pub mod objectives;
pub mod reward;
pub mod rollout;
pub mod sft;
