//! memtrain: from a Wikipedia dump to a language model that remembers what it reads.
//!
//! The package is the command line over a workspace of crates, whose modules it re-exports. Three ways in:
//!
//! * **A corpus.** [`corpora`] has the rows, the dump reader, the wikitext cleaner and the store; [`index`] finds related
//!   passages; [`pipeline::build`] runs all stages from a dump to training documents, and [`pipeline::documents()`] reads
//!   them.
//! * **A policy.** [`policy::directory::load`] reads a Hugging Face directory, [`sampler::LocalSampler`] samples from it
//!   over a paged KV cache with prefix caching, [`agents::reader::Reader`] reads a text chunk by chunk with a memory.
//! * **Training.** [`train()`] and [`evaluate()`] do by a [`Config`] what the command line does, [`Session`] opens the
//!   parts one by one. An [`objectives::Objective`] says what is rolled out and rewarded, [`grpo`] makes an update of the
//!   group advantages, and [`run`] keeps checkpoints and records.
//!
//! The `examples/` of the repository show them: `corpus`, `search`, `read`, `train`, `custom_objective`.
//!
//! | module | contents |
//! |---|---|
//! | [`corpora`] | rows, dumps, wikitext, the store |
//! | [`index`] | BM25, dense vectors, fusion |
//! | [`pipeline`] | stages from a dump to training documents |
//! | [`nn`], [`attention`], [`device`] | differentiable operations, attention, and the device they run on |
//! | [`policy`], [`scoring`], [`optim`], [`plan`] | the decoder, log-probabilities, AdamW, memory and compute of a step |
//! | [`sampler`] | inference engine: continuous batching over a paged KV cache; clients of vLLM and SGLang |
//! | [`rollout`], [`agents`] | environments and the engine that runs them; reader, memory bank, searcher |
//! | [`objectives`], [`reward`] | rewards and credit; scores of a command or server |
//! | [`grpo`], [`sft`], [`mod@train`] | advantages, loss and update; supervised fine-tuning; the training loop |
//! | [`run`] | run folder, checkpoints, records, resuming |
//! | [`tasks`], [`eval`] | question sets and long contexts; evaluations and their comparison |
//! | [`serve`], [`report`] | retrieval over HTTP; the HTML page of a run |
//! | [`config`], [`cli`] | configuration and its reference; the command line |

// Results are printed by `cli::print`: `println!` panics where the reader of a pipe has gone.
#![cfg_attr(not(test), deny(clippy::print_stdout))]

pub mod cli;
pub mod report;
pub mod serve;

pub use memtrain_engine::sampler;
pub use memtrain_kernels::{attention, device, nn};
pub use memtrain_model::{optim, plan, policy, scoring};
pub use memtrain_rl::{agents, grpo, objectives, reward, rollout, sft};
pub use memtrain_session::{
    Config, Error, ErrorKind, Observer, PolicyIdentity, Session, StepEvent, StopRequest, Trained, build_corpus, config,
    evaluate, train,
};
pub use {
    memtrain_corpora as corpora, memtrain_eval as eval, memtrain_index as index, memtrain_pipeline as pipeline,
    memtrain_run as run, memtrain_tasks as tasks, memtrain_train as train,
};
