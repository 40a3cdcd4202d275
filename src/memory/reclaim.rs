//! Selects the messages and answers from which memory is reclaimed. Pure.
use crate::chat::Source;
use std::collections::HashMap;

/// Maximum number of messages, and of retained answers, that a worker releases per tick.
const SELECTED_MAX: usize = 512;
/// If all candidates of a source together hold less than 1/`LITTLE` of its demand, they are kept.
const LITTLE: usize = 8;

/// Selects candidates to release until the demands are met, the largest of each source first, and adds them
/// to `reclaimed`. If all candidates of a source together hold next to nothing of its demand, they are kept:
/// small messages are no reason to close sockets.
pub fn select_largest<T: Copy>(
    candidates: impl Iterator<Item = (usize, Source, T)>,
    demands: &HashMap<Source, usize>,
    reclaimed: &mut HashMap<Source, usize>,
) -> Vec<T> {
    let mut candidates: Vec<_> = candidates.filter(|(_, source, _)| demands.contains_key(source)).collect();
    let mut sums = HashMap::<Source, usize>::new();
    for (bytes, source, _) in &candidates {
        *sums.entry(*source).or_default() += bytes;
    }
    candidates.retain(|(_, source, _)| sums[source].saturating_mul(LITTLE) >= demands[source]);
    candidates.sort_unstable_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    let selected = |(bytes, source, candidate): (usize, Source, T)| {
        let reclaimed = reclaimed.entry(source).or_default();
        (*reclaimed < demands[&source]).then(|| {
            *reclaimed += bytes;
            candidate
        })
    };
    candidates.into_iter().filter_map(selected).take(SELECTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: K144
    #[test]
    fn the_largest_of_a_source_are_selected_and_no_more_than_needed() {
        let (one, two, other) = (Source::numbered(1), Source::numbered(2), Source::numbered(3));
        let demands = HashMap::from([(one, 100), (two, 10)]);
        let candidates = [(30, one, 'a'), (80, one, 'b'), (10, one, 'c'), (50, two, 'd'), (90, other, 'e')];
        let mut reclaimed = HashMap::new();
        assert_eq!(select_largest(candidates.into_iter(), &demands, &mut reclaimed), ['b', 'd', 'a']);
        assert_eq!(reclaimed, HashMap::from([(one, 110), (two, 50)]));
        // Candidates with next to nothing are kept.
        let little = [(12, one, 'a'), (80, two, 'b')];
        assert_eq!(select_largest(little.into_iter(), &demands, &mut HashMap::new()), ['b']);
        // What was reclaimed already is not reclaimed twice.
        assert_eq!(select_largest(candidates.into_iter(), &demands, &mut reclaimed), Vec::<char>::new());
    }
}
