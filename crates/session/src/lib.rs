//! A session below the command line: a configuration, and what is opened, trained and evaluated by it. Nothing here prints or
//! ends the process; what happens is told to an [`Observer`] and, as everywhere, to `tracing`.
//!
//! * [`config`]: every key of a configuration, and what it may be
//! * [`check`]: what several keys say together
//! * [`models`]: models by folder, by `built-in:` name, or by name of the Hugging Face hub
//! * [`corpus`]: builds a corpus, and compares one with a configuration
//! * [`session`]: opens policy, documents, index and sampler
//! * [`identity`]: what a policy is known by
//! * [`training`]: GRPO and supervised fine-tuning
//! * [`drawing`]: the policy in this process, or a server that has it
//! * [`evaluated`]: a policy on benchmarks of questions
//! * [`run_plan`], [`step_plan`]: memory and work of a run, before anything is loaded
//! * [`error`]: kinds of failures, and what can be done about them
//!
//! ```no_run
//! use memtrain_session::{Config, StopRequest, build_corpus, train};
//! let config = Config::read("run.toml".as_ref(), &["policy.path=built-in:tiny"])?;
//! build_corpus(&config, &())?;
//! let trained = train(&config, &(), &StopRequest::default())?;
//! println!("{}", trained.path.display());
//! # Ok::<(), memtrain_session::Error>(())
//! ```

pub mod check;
pub mod config;
pub mod corpus;
pub mod drawing;
pub mod error;
pub mod evaluated;
pub mod identity;
pub mod index;
pub mod models;
pub mod run_plan;
pub mod session;
pub mod step_plan;
pub mod training;

pub use config::Config;
pub use corpus::build_corpus;
pub use error::{Error, ErrorKind};
pub use identity::PolicyIdentity;
pub use memtrain_run::signal::StopRequest;
pub use memtrain_train::{Observer, StepEvent};
pub use session::{Session, evaluate};
pub use training::{Trained, train};

// The names by which modules of other crates are known here and in the package `memtrain`.
use memtrain_engine::sampler;
use memtrain_kernels::device;
use memtrain_model::{optim, plan, policy};
use memtrain_rl::{agents, grpo, objectives, reward, rollout, sft};
use {memtrain_eval as eval, memtrain_run as run};
