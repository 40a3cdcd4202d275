//! Who of a source gives memory back. Pure.
use crate::chat::Source;
use std::collections::HashMap;

/// Messages, and kept answers, that a worker takes back in one tick.
const EACH_MAX: usize = 512;
/// What pays less than this part of a demand is left alone.
const LITTLE: usize = 8;

/// Chooses who pays what is left of the demands, the largest of each source first, and adds to what is paid. Where
/// all together would pay next to nothing of what a source owes, they are left alone: messages of a moment
/// are no reason to close sockets.
pub fn choose<T: Copy>(
    candidates: impl Iterator<Item = (usize, Source, T)>,
    demands: &HashMap<Source, usize>,
    paid: &mut HashMap<Source, usize>,
) -> Vec<T> {
    let mut candidates: Vec<_> = candidates.filter(|(_, source, _)| demands.contains_key(source)).collect();
    let mut sums = HashMap::<Source, usize>::new();
    for (bytes, source, _) in &candidates {
        *sums.entry(*source).or_default() += bytes;
    }
    candidates.retain(|(_, source, _)| sums[source].saturating_mul(LITTLE) >= demands[source]);
    candidates.sort_unstable_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    let pays = |(bytes, source, who): (usize, Source, T)| {
        let paid = paid.entry(source).or_default();
        (*paid < demands[&source]).then(|| {
            *paid += bytes;
            who
        })
    };
    candidates.into_iter().filter_map(pays).take(EACH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: K144
    #[test]
    fn the_largest_of_a_source_pay_and_no_more_than_needed() {
        let (one, two, other) = (Source::numbered(1), Source::numbered(2), Source::numbered(3));
        let demands = HashMap::from([(one, 100), (two, 10)]);
        let candidates = [(30, one, 'a'), (80, one, 'b'), (10, one, 'c'), (50, two, 'd'), (90, other, 'e')];
        let mut paid = HashMap::new();
        assert_eq!(choose(candidates.into_iter(), &demands, &mut paid), ['b', 'd', 'a']);
        assert_eq!(paid, HashMap::from([(one, 110), (two, 50)]));
        // Next to nothing is not worth it.
        let little = [(12, one, 'a'), (80, two, 'b')];
        assert_eq!(choose(little.into_iter(), &demands, &mut HashMap::new()), ['b']);
        // What is paid already is not paid twice.
        assert_eq!(choose(candidates.into_iter(), &demands, &mut paid), Vec::<char>::new());
    }
}
