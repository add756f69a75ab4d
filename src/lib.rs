//! memtrain: from a Wikipedia dump to a language model that remembers what it reads.
//!
//! The corpus side lives in its own crates (`corpora`, `index`, `pipeline`); this package holds the policy, its
//! training and the command line. Imports point upwards in this list:
//!
//! * [`nn`]: what is differentiable, and how that is proved
//! * [`device`]: what computes
//! * [`policy`]: the language model, its tokenizer and its Hugging Face directory
//! * [`sampler`]: token ids in, token ids and log-probabilities out
//! * [`rollout`]: environments, and the engine that plays them
//! * [`agents`]: how an agent reads
//! * [`objectives`]: what is rewarded, and who gets the credit
//! * [`reward`]: scores of a command or server, added to those
//! * [`grpo`]: how reward becomes a step
//! * [`optim`]: how weights move
//! * [`plan`]: what a run will take
//! * [`run`]: what happened, and whether it can go on
//! * [`tasks`]: what is asked
//! * [`serve`]: who may ask the index
//! * [`eval`]: how good it is
//! * [`Session`], [`train()`], [`evaluate()`]: a configuration, and what is opened, trained and evaluated by it, without a command line
//! * [`report`]: the same as a page for people
//! * [`cli`]: what was typed

// Results are printed by `cli::print`: `println!` panics where the reader of a pipe has gone.
#![cfg_attr(not(test), deny(clippy::print_stdout))]

pub mod cli;
pub mod report;
pub mod serve;

pub use memtrain_engine::sampler;
pub use memtrain_kernels::{device, nn};
pub use memtrain_model::{optim, plan, policy, scoring};
pub use memtrain_rl::{agents, grpo, objectives, reward, rollout, sft};
pub use memtrain_session::{
    Config, Error, ErrorKind, Observer, PolicyIdentity, Session, StepEvent, StopRequest, Trained, build_corpus, config,
    evaluate, train,
};
pub use {memtrain_eval as eval, memtrain_run as run, memtrain_tasks as tasks, memtrain_train as train};
