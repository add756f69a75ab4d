//! Samples to packed batches in which equal prompts, and equal beginnings of prompts, are computed once.
//!
//! A batch is a forest of depth three: what several prompts begin with, the rest of each prompt, the responses to it.

use std::collections::HashMap;

use memtrain_kernels::nn::PackedBatch;

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
    /// Samples in the order of their rows; each has as many rows as its response has tokens.
    pub samples: Vec<usize>,
}

/// What is computed once where several samples have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nothing: every sample by itself, the twin of the others.
    None,
    /// Prompts that are equal.
    Prompts,
    /// Prompts that are equal, and what prompts begin with: instructions and chunk, where the chunk stands before the
    /// memory.
    #[default]
    Prefixes,
}

/// Shortest beginning that prompts share: below it the rows saved do not pay for a segment more.
const SHORTEST_PREFIX: usize = 32;

/// Part of the shorter prompt that a beginning must make up to be shared: one over this. Instructions that all prompts have
/// in common would otherwise tie a whole batch into one family, for little.
const SMALLEST_PART: usize = 4;

/// Samples with one prompt.
struct Group {
    samples: Vec<usize>,
}

/// Groups whose prompts begin with the same `prefix` tokens.
struct Cluster {
    prefix: usize,
    groups: Vec<Group>,
}

/// Packs pairs into batches of at most `max_tokens` tokens (a single pair may exceed it).
///
/// Pairs with equal prompts go next to each other and share the prompt's rows, and prompts that begin alike those of their
/// beginning, as far as `sharing` says. Nothing is dropped: each pair is in exactly one batch.
pub fn pack(pairs: &[PromptResponse<'_>], max_tokens: usize, sharing: Sharing) -> Vec<MicroBatch> {
    let mut batches = Vec::new();
    let mut current = MicroBatch::default();
    for Cluster { prefix, groups } in clusters(pairs, sharing) {
        let mut prefix_segment = None;
        for group in groups {
            let mut prompt_segment = None;
            for index in group.samples {
                let pair = pairs[index];
                let (beginning, rest) = pair.prompt_ids.split_at(prefix);
                let missing = |segment: Option<usize>, tokens: usize| if segment.is_none() { tokens } else { 0 };
                let needed = pair.response_ids.len().saturating_sub(1)
                    + missing(prefix_segment, beginning.len())
                    + missing(prompt_segment, rest.len());
                if current.batch.num_tokens() > 0 && current.batch.num_tokens() + needed > max_tokens {
                    batches.push(std::mem::take(&mut current));
                    (prefix_segment, prompt_segment) = (None, None);
                }
                let batch = &mut current.batch;
                if !beginning.is_empty() && prefix_segment.is_none() {
                    prefix_segment = Some(batch.push(beginning, None));
                }
                let prompt = *prompt_segment.get_or_insert_with(|| match (rest.is_empty(), prefix_segment) {
                    (true, Some(prefix)) => prefix,
                    _ => batch.push(rest, prefix_segment),
                });
                current.push_response(prompt, index, pair.response_ids);
            }
        }
    }
    if current.batch.num_tokens() > 0 {
        batches.push(current);
    }
    batches
}

/// Samples by their prompts, and prompts by their beginnings, in the order in which they come.
fn clusters(pairs: &[PromptResponse<'_>], sharing: Sharing) -> Vec<Cluster> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of_prompt: HashMap<&[u32], usize> = HashMap::new();
    for (index, pair) in pairs.iter().enumerate() {
        let known = (sharing != Sharing::None).then(|| group_of_prompt.get(pair.prompt_ids).copied()).flatten();
        match known {
            Some(group) => groups[group].samples.push(index),
            None => {
                group_of_prompt.insert(pair.prompt_ids, groups.len());
                groups.push(Group { samples: vec![index] });
            }
        }
    }
    let prompt = |group: &Group| pairs[group.samples[0]].prompt_ids;
    // What begins alike stands side by side in the order of the tokens.
    let mut order: Vec<usize> = (0..groups.len()).collect();
    if sharing == Sharing::Prefixes {
        order.sort_by_key(|&group| prompt(&groups[group]));
    }
    let mut members: Vec<(usize, Vec<usize>)> = Vec::new();
    for group in order {
        let own = prompt(&groups[group]);
        if let Some((prefix, others)) = members.last_mut().filter(|_| sharing == Sharing::Prefixes) {
            let first = prompt(&groups[others[0]]);
            let common = first.iter().zip(own).take(*prefix).take_while(|(left, right)| left == right).count();
            // Judged by the shortest prompt, the others save no less.
            if common >= SHORTEST_PREFIX.max(own.len().min(first.len()) / SMALLEST_PART) {
                *prefix = common;
                others.push(group);
                continue;
            }
        }
        members.push((own.len(), vec![group]));
    }
    for (prefix, members) in &mut members {
        members.sort_unstable();
        if members.len() == 1 {
            *prefix = 0;
        }
    }
    members.sort_by_key(|(_, members)| members[0]);
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    members
        .into_iter()
        .map(|(prefix, members)| Cluster {
            prefix,
            groups: members.iter().filter_map(|&group| groups[group].take()).collect(),
        })
        .collect()
}

impl MicroBatch {
    fn push_response(&mut self, prompt: usize, sample: usize, response_ids: &[u32]) {
        let Some((_, inputs)) = response_ids.split_last() else { return };
        self.rows.push(self.batch.segments[prompt].rows.end as u32 - 1);
        if !inputs.is_empty() {
            let segment = self.batch.push(inputs, Some(prompt));
            self.rows.extend(self.batch.segments[segment].rows.clone().map(|row| row as u32));
        }
        self.targets.extend_from_slice(response_ids);
        self.samples.push(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_kernels::nn::prefixes;
    use proptest::prelude::*;

    #[test]
    fn chunks_that_stand_first_are_computed_once() {
        let chunk: Vec<u32> = (100..160).collect();
        let prompts: Vec<Vec<u32>> = (0..3).map(|memory| [&chunk[..], &[memory; 20]].concat()).collect();
        let pairs: Vec<_> = prompts
            .iter()
            .flat_map(|prompt| {
                [[1, 2, 3], [4, 5, 6]].map(|_| PromptResponse { prompt_ids: prompt, response_ids: &[7, 8, 9] })
            })
            .collect();
        let tokens =
            |sharing| pack(&pairs, 10_000, sharing).iter().map(|micro| micro.batch.num_tokens()).sum::<usize>();
        assert_eq!(tokens(Sharing::None), 6 * (80 + 2));
        assert_eq!(tokens(Sharing::Prompts), 3 * 80 + 6 * 2);
        assert_eq!(tokens(Sharing::Prefixes), 60 + 3 * 20 + 6 * 2);
        // A small batch computes the beginning again.
        assert_eq!(pack(&pairs, 60 + 2 * 20 + 4 * 2, Sharing::Prefixes).len(), 2);
    }

    proptest! {
        #[test]
        fn every_response_token_is_scored_once_by_the_row_before_it(
            pairs in prop::collection::vec((prop::collection::vec(0_u32..3, 1..4), prop::collection::vec(0_u32..9, 1..5)), 1..12),
            beginnings in prop::collection::vec(0_usize..90, 12),
            max_tokens in 1_usize..400,
            sharing in prop::sample::select(vec![Sharing::None, Sharing::Prompts, Sharing::Prefixes]),
        ) {
            // Prompts of several lengths that begin alike, some of them whole beginnings of others.
            let with_beginning = |((prompt, response), &length): ((Vec<u32>, Vec<u32>), &usize)| {
                let kind = prompt[0];
                let beginning = (0..length as u32).map(|i| if i < 40 { i } else { i + kind });
                (beginning.chain(prompt.into_iter().skip(usize::from(length > 60))).collect::<Vec<u32>>(), response)
            };
            let pairs: Vec<_> = pairs.into_iter().zip(&beginnings).map(with_beginning).filter(|(prompt, _)| !prompt.is_empty()).collect();
            let views: Vec<_> = pairs.iter().map(|(prompt_ids, response_ids)| PromptResponse { prompt_ids, response_ids }).collect();
            let mut seen = vec![0; pairs.len()];
            for micro in pack(&views, max_tokens, sharing) {
                prop_assert!(micro.batch.num_tokens() <= max_tokens || micro.samples.len() == 1);
                let mut at = 0;
                for &sample in &micro.samples {
                    seen[sample] += 1;
                    let (prompt, response) = &pairs[sample];
                    for (offset, &token) in response.iter().enumerate() {
                        let row = micro.rows[at] as usize;
                        prop_assert_eq!(micro.targets[at], token);
                        prop_assert_eq!(micro.batch.position_ids[row] as usize, prompt.len() + offset - 1);
                        let expected = if offset == 0 { *prompt.last().unwrap() } else { response[offset - 1] };
                        prop_assert_eq!(micro.batch.token_ids[row], expected);
                        let segment = micro.batch.segments.iter().position(|segment| segment.rows.contains(&row)).unwrap();
                        let chain: Vec<usize> = prefixes(&micro.batch.segments, segment).collect();
                        let before = chain.iter().rev().flat_map(|&prefix| micro.batch.segments[prefix].rows.clone());
                        let read: Vec<u32> = before
                            .chain(micro.batch.segments[segment].rows.start..=row)
                            .map(|row| micro.batch.token_ids[row])
                            .collect();
                        let truth: Vec<u32> = prompt.iter().chain(&response[..offset]).copied().collect();
                        prop_assert_eq!(read, truth);
                        at += 1;
                    }
                }
                prop_assert_eq!(at, micro.rows.len());
            }
            prop_assert!(seen.iter().all(|&count| count == 1));
        }
    }
}
