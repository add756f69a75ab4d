//! Agents: how a policy is prompted, chunk by chunk, with a text memory, a memory bank, or a search engine.
//!
//! * [`answer`]: answer extraction and equality
//! * [`prompts`]: the texts an agent is shown
//! * [`chunks`]: a document cut into what fits one turn
//! * [`full_context`]: the whole context in one prompt
//! * [`reader`]: one chunk a turn, a text memory rewritten at each, an answer from the memory alone
//! * [`released_verifier`]: when an answer is right for MemTrain's released code
//! * [`searcher`]: turns of thinking and searching until there are answers
//! * [`sentences`]: memories made of whole sentences, to imitate and to compare with
//! * [`bank`]: a memory of items, written by function calls

pub mod answer;
pub mod answer_text;
pub mod bank;
pub mod chunks;
pub mod full_context;
pub mod prompts;
pub mod reader;
pub mod released_verifier;
pub mod searcher;
pub mod sentences;
