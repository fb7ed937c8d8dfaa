//! Which texts run together: a pure decision.
//!
//! There is no timer that waits for more: a batch is what is there. Texts of a batch are of similar length, because every
//! text costs as much as the longest; requests take turns in being first, so that one with many texts holds up nobody.

/// A text that waits for its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Number of the request, in order of arrival.
    pub request: u64,
    /// Which text of the request.
    pub text: usize,
    /// Length in tokens.
    pub tokens: usize,
}

/// Longest text that may run with a text of `shortest` tokens. Padding costs as much as text does, and a batch saves less
/// than a tenth per text: more padding than this would cost more than it saves.
fn longest_partner(shortest: usize) -> usize {
    shortest + shortest / 16 + 1
}

/// Takes the next batch out of `pending`, at most `max_texts`. `last_served` is the request that came first in the batch
/// before; the next one in order comes first in this. Empty only when `pending` is.
pub fn next(pending: &mut Vec<Pending>, last_served: u64, max_texts: usize) -> Vec<Pending> {
    let Some(first) = first_of_turn(pending, last_served) else {
        return Vec::new();
    };
    let mut order: Vec<usize> = (0..pending.len()).collect();
    // Stable: of equally long texts the older runs first.
    order.sort_by_key(|&index| {
        (
            index != first,
            pending[index].tokens.abs_diff(pending[first].tokens),
        )
    });
    let (mut shortest, mut longest) = (pending[first].tokens, pending[first].tokens);
    let mut chosen = Vec::with_capacity(max_texts);
    for index in order {
        let tokens = pending[index].tokens;
        if chosen.len() < max_texts && longest.max(tokens) <= longest_partner(shortest.min(tokens))
        {
            (shortest, longest) = (shortest.min(tokens), longest.max(tokens));
            chosen.push(index);
        }
    }
    let batch = chosen.iter().map(|&index| pending[index]).collect();
    let mut index = 0;
    pending.retain(|_| {
        index += 1;
        !chosen.contains(&(index - 1))
    });
    batch
}

/// Index of the first text of the request whose turn it is.
fn first_of_turn(pending: &[Pending], last_served: u64) -> Option<usize> {
    let oldest_after = |bound: u64| {
        let later = pending
            .iter()
            .enumerate()
            .filter(|(_, it)| it.request >= bound);
        later
            .min_by_key(|(_, it)| it.request)
            .map(|(index, _)| index)
    };
    oldest_after(last_served.saturating_add(1)).or_else(|| oldest_after(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(request: u64, text: usize, tokens: usize) -> Pending {
        Pending {
            request,
            text,
            tokens,
        }
    }

    #[test]
    fn similar_lengths_run_together() {
        let mut waiting = vec![
            pending(1, 0, 30),
            pending(2, 0, 120),
            pending(3, 0, 31),
            pending(4, 0, 29),
        ];
        let batch = next(&mut waiting, 0, 8);
        assert_eq!(
            batch.iter().map(|it| it.request).collect::<Vec<_>>(),
            [1, 3, 4]
        );
        assert_eq!(waiting, [pending(2, 0, 120)]);
    }

    #[test]
    fn a_request_with_many_texts_does_not_hold_up_the_next() {
        let mut waiting: Vec<Pending> = (0..64).map(|text| pending(1, text, 100)).collect();
        waiting.push(pending(2, 0, 10));
        let first = next(&mut waiting, 0, 8);
        assert!(first.iter().all(|it| it.request == 1));
        assert_eq!(next(&mut waiting, first[0].request, 8), [pending(2, 0, 10)]);
    }

    proptest! {
        #[test]
        fn every_text_runs_once_and_within_bounds(
            texts in prop::collection::vec((1_u64..9, 1_usize..129), 0..80),
            max_texts in 1_usize..9,
        ) {
            let mut waiting: Vec<Pending> =
                texts.iter().enumerate().map(|(text, &(request, tokens))| pending(request, text, tokens)).collect();
            let mut ran = Vec::new();
            let mut last_served = 0;
            while !waiting.is_empty() {
                let requests_before = waiting.iter().map(|it| it.request).collect::<std::collections::BTreeSet<_>>();
                let batch = next(&mut waiting, last_served, max_texts);
                prop_assert!(!batch.is_empty() && batch.len() <= max_texts);
                let turn = requests_before.range(last_served + 1..).next().or(requests_before.first());
                prop_assert_eq!(Some(&batch[0].request), turn);
                let shortest = batch.iter().map(|it| it.tokens).min().unwrap();
                prop_assert!(batch.iter().all(|it| it.tokens <= longest_partner(shortest)));
                last_served = batch[0].request;
                ran.extend(batch.iter().map(|it| it.text));
            }
            ran.sort_unstable();
            prop_assert_eq!(ran, (0..texts.len()).collect::<Vec<_>>());
        }
    }
}
