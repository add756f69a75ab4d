//! Parts of a memory turn's prompt: the chunk that was read is cut out of it.
//!
//! Rollout tables keep prompts whole. A prompt of a memory turn is a template with a problem, a memory and a chunk in it, in
//! a chat template; memory and template are known, so the chunk is what stands between them. That is what the policy was
//! shown, also where a document was shortened or the corpus is no longer there.

use toml::Table;

use crate::agents::prompts::PromptSet;
use crate::agents::reader::ReaderConfig;

/// Stand for the parts of a prompt while its template is cut up.
const MARKS: [&str; 3] = ["\u{1}problem\u{1}", "\u{1}memory\u{1}", "\u{1}chunk\u{1}"];

/// The memory turn of a run's prompt set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryTurn {
    /// What the memory reads before the first chunk.
    pub(super) empty: String,
    /// What stands right before the chunk and right after it, a mark in place of the memory.
    before: String,
    after: String,
}

impl MemoryTurn {
    /// The memory turn of a run's configuration; why not where the prompt set cannot be read.
    pub(super) fn of(config: &Table) -> Result<Self, String> {
        let reader = config.get("reader").cloned().unwrap_or_else(|| Table::new().into());
        let reader: ReaderConfig = reader.try_into().map_err(|error| format!("{error}"))?;
        let prompts = PromptSet::load(&reader.prompts, reader.prompt.layout).map_err(|error| error.to_string())?;
        let [problem, memory, chunk] = MARKS;
        let template = prompts.about(problem).memory_turn(memory, chunk);
        let (before, after) = template.as_str().split_once(chunk).unwrap_or_default();
        // Tasks have problems of their own, which are not on record.
        let before = before.rsplit_once(problem).map_or(before, |(_, rest)| rest).to_owned();
        Ok(Self { empty: prompts.empty, before, after: after.trim_end().to_owned() })
    }

    /// The chunk in a prompt that showed `memory`; nothing where the prompt is not made like this.
    pub(super) fn chunk<'p>(&self, prompt: &'p str, memory: &str) -> Option<&'p str> {
        let filled = |text: &str| text.replace(MARKS[1], memory);
        let (before, after) = (filled(&self.before), filled(&self.after));
        if before.is_empty() || after.is_empty() {
            return None;
        }
        // Nothing that was read stands before a memory first, or after a memory last; so the chunk may hold either.
        let start = prompt.find(&before)? + before.len();
        let end = prompt.rfind(&after).filter(|end| *end >= start)?;
        Some(&prompt[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::prompts::PromptLayout;

    #[test]
    fn the_chunk_is_cut_out_of_every_built_in_prompt() -> Result<(), Box<dyn std::error::Error>> {
        let chunk = "New memory:\nText: {memory} <b>of</b> \\boxed{}\n</section>";
        for (set, layout) in
            ["standard", "compact"].into_iter().flat_map(|set| [(set, "memory-first"), (set, "chunk-first")])
        {
            let config: Table =
                toml::from_str(&format!("[reader]\nprompts = \"{set}\"\nprompt = {{ layout = \"{layout}\" }}"))?;
            let turn = MemoryTurn::of(&config)?;
            let is_memory_first = turn.before.contains(MARKS[1]);
            assert_eq!(is_memory_first, layout == "memory-first");
            let layout = if is_memory_first { PromptLayout::MemoryFirst } else { PromptLayout::ChunkFirst };
            let prompts = PromptSet::load(set, layout)?;
            for (problem, memory) in
                [(prompts.problem.as_str(), "empty"), ("Who built the mill?", "Salt.\nSold by [MASK]")]
            {
                let user = prompts.about(problem).memory_turn(memory, chunk);
                let prompt = format!("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", user.as_str().trim());
                assert_eq!(turn.chunk(&prompt, memory), Some(chunk), "{set} {layout:?} {problem}");
            }
            assert_eq!(turn.chunk("another prompt", "empty"), None);
        }
        Ok(())
    }

    #[test]
    fn a_prompt_set_that_is_gone_is_named() -> Result<(), toml::de::Error> {
        let config: Table = toml::from_str("[reader]\nprompts = \"/no/such/set\"")?;
        assert!(MemoryTurn::of(&config).is_err_and(|error| error.contains("/no/such/set")));
        Ok(())
    }
}
