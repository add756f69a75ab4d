//! Conversations to packed batches in which equal prompts are computed once.

use std::collections::HashMap;

use crate::nn::PackedBatch;

/// A prompt and a response to score or train on.
#[derive(Clone, Copy, Debug)]
pub struct PromptResponse<'a> {
    /// Prompt token ids, at least one.
    pub prompt_ids: &'a [u32],
    /// Response token ids, at least one.
    pub response_ids: &'a [u32],
}

/// A packed batch and where its response tokens are scored.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// The tokens: prompts, and responses without their last token, which predicts nothing.
    pub batch: PackedBatch,
    /// Row whose hidden state predicts the token, a response token each, `R` in all.
    pub rows: Vec<u32>,
    /// The token predicted, `R` in all.
    pub targets: Vec<u32>,
    /// Conversations in the order of their rows; each has as many rows as its response has tokens.
    pub conversations: Vec<usize>,
}

/// Packs pairs into batches of at most `max_tokens` tokens (a single pair may exceed it).
///
/// Pairs with equal prompts go next to each other and share the prompt's rows. Nothing is dropped: each pair is in
/// exactly one batch.
pub fn pack(pairs: &[PromptResponse<'_>], max_tokens: usize) -> Vec<MicroBatch> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of_prompt: HashMap<&[u32], usize> = HashMap::new();
    for (index, pair) in pairs.iter().enumerate() {
        let group = *group_of_prompt.entry(pair.prompt_ids).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    let mut batches = Vec::new();
    let mut current = MicroBatch::default();
    for group in groups {
        let mut prompt_segment = None;
        for index in group {
            let pair = pairs[index];
            let inputs = pair.response_ids.len().saturating_sub(1);
            let needed = inputs + if prompt_segment.is_none() { pair.prompt_ids.len() } else { 0 };
            if current.batch.num_tokens() > 0 && current.batch.num_tokens() + needed > max_tokens {
                batches.push(std::mem::take(&mut current));
                prompt_segment = None;
            }
            let prompt = *prompt_segment.get_or_insert_with(|| current.batch.push(pair.prompt_ids, None));
            current.push_response(prompt, index, pair.response_ids);
        }
    }
    if current.batch.num_tokens() > 0 {
        batches.push(current);
    }
    batches
}

impl MicroBatch {
    fn push_response(&mut self, prompt: usize, conversation: usize, response_ids: &[u32]) {
        let Some((_, inputs)) = response_ids.split_last() else { return };
        self.rows.push(self.batch.segments[prompt].rows.end as u32 - 1);
        if !inputs.is_empty() {
            let segment = self.batch.push(inputs, Some(prompt));
            self.rows.extend(self.batch.segments[segment].rows.clone().map(|row| row as u32));
        }
        self.targets.extend_from_slice(response_ids);
        self.conversations.push(conversation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_response_token_is_scored_once_by_the_row_before_it(
            pairs in prop::collection::vec((prop::collection::vec(0_u32..3, 1..4), prop::collection::vec(0_u32..9, 1..5)), 1..12),
            max_tokens in 1_usize..20,
        ) {
            let views: Vec<_> = pairs.iter().map(|(prompt_ids, response_ids)| PromptResponse { prompt_ids, response_ids }).collect();
            let mut seen = vec![0; pairs.len()];
            for micro in pack(&views, max_tokens) {
                prop_assert!(micro.batch.num_tokens() <= max_tokens || micro.conversations.len() == 1);
                let mut at = 0;
                for &conversation in &micro.conversations {
                    seen[conversation] += 1;
                    let (prompt, response) = &pairs[conversation];
                    for (offset, &token) in response.iter().enumerate() {
                        let row = micro.rows[at] as usize;
                        prop_assert_eq!(micro.targets[at], token);
                        prop_assert_eq!(micro.batch.position_ids[row] as usize, prompt.len() + offset - 1);
                        let expected = if offset == 0 { *prompt.last().unwrap() } else { response[offset - 1] };
                        prop_assert_eq!(micro.batch.token_ids[row], expected);
                        at += 1;
                    }
                }
                prop_assert_eq!(at, micro.rows.len());
            }
            prop_assert!(seen.iter().all(|&count| count == 1));
        }
    }
}
