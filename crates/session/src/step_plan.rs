//! The work of a step at its longest, of GRPO and of SFT: what memory and time are planned for.

use crate::agents::prompts::PromptLayout;
use crate::check::{INSTRUCTION_TOKENS, chunks, conversations_a_step, has_reference};
use crate::config::Config;
use crate::objectives::Agent;
use crate::plan::{ComputePlan, Conversations, Setting};

/// Tokens of a word in running text, about: English Wikipedia has 1.3 with the tokenizers of Qwen.
const TOKENS_OF_A_WORD: f64 = 1.3;

/// What is computed in a step, and how many steps there are.
pub struct Work {
    /// Conversations by kind.
    pub conversations: Vec<Conversations>,
    /// Passes over them.
    pub epochs: u64,
    /// Mini-batches that each pass is cut into.
    pub minibatches: u64,
    /// Whether the old policy is scored by a pass of its own.
    pub old_pass: bool,
    /// Whether responses are sampled; else they are given.
    pub samples: bool,
    /// Whether a frozen reference is kept.
    pub reference: bool,
    /// Steps of the run.
    pub steps: u64,
    /// Steps between evaluations; 0 for none.
    pub evaluate_every: u64,
}

impl Work {
    /// A step of `memtrain train`.
    pub fn of_training(config: &Config) -> Self {
        let update = &config.update;
        Self {
            conversations: rollouts(config),
            epochs: update.epochs as u64,
            minibatches: update.minibatches as u64,
            old_pass: update.needs_old_pass(),
            samples: true,
            reference: has_reference(config),
            steps: config.train.steps,
            evaluate_every: config.train.evaluate_every,
        }
    }

    /// A step of `memtrain sft`.
    pub fn of_sft(config: &Config) -> Self {
        Self {
            conversations: demonstrations(config),
            epochs: 1,
            minibatches: 1,
            old_pass: false,
            samples: false,
            reference: false,
            steps: config.sft.steps as u64,
            evaluate_every: 0,
        }
    }

    /// Tokens through the layers in the update, what prompts have in common once.
    pub fn tokens(&self) -> u64 {
        self.conversations.iter().map(Conversations::packed_tokens).sum()
    }

    /// Most tokens of a forward and backward pass: no pass is larger than its mini-batch.
    pub fn micro_batch_tokens(&self, configured: usize) -> usize {
        let of_minibatch = self.tokens().div_ceil(self.minibatches.max(1)).max(1);
        configured.min(usize::try_from(of_minibatch).unwrap_or(usize::MAX))
    }

    /// Operations of a step.
    pub fn compute(&self, setting: &Setting) -> ComputePlan {
        let compute = ComputePlan::new(setting, &self.conversations, self.epochs, self.old_pass);
        ComputePlan { sampling: if self.samples { compute.sampling } else { 0.0 }, ..compute }
    }
}

/// Conversations without anything in common with others.
fn apart(name: &'static str, count: u64, prompt_tokens: u64, response_tokens: u64) -> Conversations {
    Conversations { name, count, prompt_tokens, response_tokens, shared_by: 1, prefix_tokens: 0, prefix_shared_by: 1 }
}

/// What oracles show in a step of SFT, and the plain text beside it.
fn demonstrations(config: &Config) -> Vec<Conversations> {
    let (reader, sft) = (&config.reader, &config.sft);
    let (chunk, memory, answer) =
        (reader.chunk_tokens as u64, reader.memory_tokens as u64, reader.answer_tokens as u64);
    let instructions = INSTRUCTION_TOKENS.min(reader.context_tokens) as u64;
    let prompt =
        |tokens: u64, response: u64| tokens.min((reader.context_tokens as u64).saturating_sub(response)).max(1);
    let of = |name, count: usize, tokens, response| apart(name, count as u64, prompt(tokens, response), response);
    let passage = (TOKENS_OF_A_WORD * f64::from(config.corpus.ingest.max_words)).ceil() as u64;
    let text = if sft.repeat > 0.0 { 3 * passage } else { passage };
    let chunks = chunks(config);
    vec![
        apart("texts", sft.texts as u64, 1, text),
        of("memory turns", sft.trajectories * chunks, instructions + chunk + memory, memory),
        of("answers", sft.trajectories * sft.oracle.answers, instructions + memory, answer),
        of("recall", sft.trajectories * sft.oracle.recall_questions, instructions + chunk + memory, answer),
    ]
}

/// The conversations of a step of GRPO at their longest.
fn rollouts(config: &Config) -> Vec<Conversations> {
    let reader = &config.reader;
    let (group, agent) = (config.objective.objective().group_size() as u64, config.objective.objective().agent());
    let trajectories = config.train.documents_per_step as u64 * group;
    let (turns, recalls) = conversations_a_step(config);
    let (turns, recalls) = (turns as u64, recalls as u64);
    let instructions = INSTRUCTION_TOKENS.min(reader.context_tokens) as u64;
    let (chunk, memory, answer) =
        (reader.chunk_tokens as u64, reader.memory_tokens as u64, reader.answer_tokens as u64);
    if agent == Agent::Searcher {
        let searcher = &config.searcher;
        let response = searcher.response_tokens as u64;
        let prompt_tokens = (searcher.context_tokens as u64).saturating_sub(response).max(1);
        return vec![apart("turns of searchers", turns, prompt_tokens, response)];
    }
    // No prompt is longer than what the context leaves to the response.
    let prompt =
        |tokens: u64, response: u64| tokens.min((reader.context_tokens as u64).saturating_sub(response)).max(1);
    let of = |name, count, tokens, response, shared_by| Conversations {
        shared_by,
        ..apart(name, count, prompt(tokens, response), response)
    };
    let answers = if agent == Agent::Reader { trajectories } else { 0 };
    let later = turns.saturating_sub(trajectories + answers);
    let later = of("later chunks", later, instructions + chunk + memory, memory, 1);
    let later = match reader.prompt.layout {
        PromptLayout::MemoryFirst => later,
        // The readings of a document have instructions and chunk in common.
        PromptLayout::ChunkFirst => {
            let prefix_tokens = (instructions + chunk).min(later.prompt_tokens.saturating_sub(1));
            Conversations { prefix_tokens, prefix_shared_by: group, ..later }
        }
    };
    let mut kinds = vec![of("first chunk", trajectories, instructions + chunk, memory, group), later];
    if answers > 0 {
        kinds.push(of("answers", answers, instructions + memory, answer, 1));
    }
    if recalls > 0 {
        let samples = recalls / trajectories.max(1);
        kinds.push(of("recall", recalls, instructions + chunk + memory, answer, samples.max(1)));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_batch_is_no_larger_than_what_a_step_has() {
        let of = |text: &str| Work::of_training(&toml::from_str(text).unwrap());
        let small = of("train.documents_per_step = 1\nreader.chunk_tokens = 48\nreader.memory_tokens = 16\n\
             reader.answer_tokens = 8\nreader.context_tokens = 256\nreader.max_chunks = 2\nobjective.group_size = 2\n\
             objective.recall_samples = 2");
        assert!(small.tokens() < 8_192, "{}", small.tokens());
        assert_eq!(small.micro_batch_tokens(16_384) as u64, small.tokens());
        let halves = Work { minibatches: 2, ..small };
        assert_eq!(halves.micro_batch_tokens(16_384) as u64, halves.tokens().div_ceil(2));
        assert_eq!(of("").micro_batch_tokens(16_384), 16_384);
        let sft = Work::of_sft(&Config::default());
        let setting_free = sft.conversations.iter().map(|kind| kind.count).collect::<Vec<_>>();
        // 16 texts; 8 trajectories of 8 chunks, one answer and one recall question each.
        assert_eq!(setting_free, [16, 64, 8, 8]);
    }
}
