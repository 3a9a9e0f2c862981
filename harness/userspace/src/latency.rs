// SPDX-License-Identifier: GPL-2.0

//! Times, and how they are distributed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The parts of all times, in thousandths, that people and programs look at.
pub const PARTS: [u64; 5] = [500, 900, 990, 999, 1000];

/// How often each time was seen, in nanoseconds.
pub type Counts = BTreeMap<u64, u64>;

/// Returns the time which so many thousandths of all do not exceed, for each of `parts`, or
/// [`None`] if there are no times.
pub fn at<const N: usize>(counts: &Counts, parts: [u64; N]) -> Option<[u64; N]> {
    let last = counts.values().sum::<u64>().checked_sub(1)?;

    Some(parts.map(|part| {
        let index = last * part / 1000;
        let mut seen = 0;
        let found = counts.iter().find(|(_, count)| {
            seen += **count;
            seen > index
        });
        *found.expect("the index is below the sum").0
    }))
}

/// The numbers between a power of two and the next one that a [`Histogram`] tells apart.
const STEPS: u64 = 16;

/// Counts of times that are rounded by a few percent. It may be shared by processes, which those of
/// `hdrhistogram` may not, as they have their counts in a vector. One that is all zeroes is empty.
#[repr(transparent)]
pub struct Histogram([AtomicU64; 61 * STEPS as usize]);

impl Histogram {
    /// Counts a time.
    pub fn count(&self, ns: u64) {
        let octave = ns.max(STEPS).ilog2() - STEPS.ilog2();
        let index = u64::from(octave) * STEPS + (ns >> octave);
        self.0[index as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all counts, by the longest time that they are of.
    pub fn counts(&self) -> Counts {
        let longest = |index: u64| {
            let octave = (index / STEPS).saturating_sub(1);
            (index - octave * STEPS) << octave | ((1 << octave) - 1)
        };
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        (0..)
            .map(longest)
            .zip(counts)
            .filter(|(_, count)| *count != 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_all() {
        let counts = Counts::from_iter((1..=1001).map(|ns| (ns, 1)));

        assert_eq!(at(&counts, [0, 500, 999, 1000]), Some([1, 501, 1000, 1001]));
        assert_eq!(at(&Counts::from([(7, 3)]), PARTS), Some([7; 5]));
        assert_eq!(at(&Counts::new(), PARTS), None);
    }

    #[test]
    fn histogram_rounds_up_a_little() {
        let times = [0, 1, 15, 16, 31, 32, 33, 34, 1000, u64::MAX];
        let histogram = Histogram([const { AtomicU64::new(0) }; 61 * STEPS as usize]);
        for ns in times {
            histogram.count(ns);
        }

        let expected = [0, 1, 15, 16, 31, 33, 35, 1023, u64::MAX].map(|ns| (ns, 1));
        let mut expected = Counts::from(expected);
        expected.insert(33, 2);
        assert_eq!(histogram.counts(), expected);
    }
}
