//! Batching: the sequences that share a forward pass.

/// Groups sequences of the given lengths: similar lengths together, longest first, at most `batch_tokens` padded tokens
/// a group but always one sequence. Depends on nothing but the arguments.
pub(crate) fn by_length(lengths: &[usize], batch_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lengths[index]), index));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for index in order {
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * longest <= batch_tokens => batch.push(index),
            _ => {
                longest = lengths[index];
                batches.push(vec![index]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_sequence_once_and_no_batch_too_large(
            lengths in proptest::collection::vec(1usize..600, 0..60), batch_tokens in 1usize..2000,
        ) {
            let batches = by_length(&lengths, batch_tokens);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let longest = batch.iter().map(|&index| lengths[index]).max().unwrap_or(0);
                prop_assert!(batch.len() == 1 || batch.len() * longest <= batch_tokens);
            }
        }
    }
}
