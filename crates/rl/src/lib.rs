//! Agents, objectives and the GRPO update.
//!
//! * [`rollout`]: environments, and the engine that plays them
//! * [`agents`]: how an agent reads
//! * [`objectives`]: what is rewarded, and who gets the credit
//! * [`grpo`]: how reward becomes a step
//! * [`warm_up`]: what a policy imitates before it is rewarded

pub mod agents;
pub mod grpo;
pub mod objectives;
pub mod rollout;
pub mod warm_up;
