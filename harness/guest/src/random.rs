// SPDX-License-Identifier: GPL-2.0

//! Numbers that look random, and are the same for the same seed: splitmix64.

/// A sequence of numbers.
#[derive(Clone)]
pub struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Starts a sequence that belongs to a seed and a place, such as the number of a process and
    /// that of a call in it.
    pub fn new(seed: u64, place: &[u64]) -> Self {
        let mut this = Self(seed);

        for part in place {
            this.0 = this.next() ^ part.wrapping_mul(STEP);
        }
        this
    }

    /// Starts another sequence that belongs to the same place.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns the next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Returns true in so many cases of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of several things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len() as u64) as usize]
    }

    /// Puts things into another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for i in (1..things.len()).rev() {
            things.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// Returns a seed that nobody has chosen.
pub fn seed() -> u64 {
    let now = crate::sync_file::now_ns();
    // Short enough to be typed.
    Random::new(now, &[std::process::id().into()]).below(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_for_the_same_seed_and_place() {
        let numbers = |seed, place: &[u64]| -> Vec<u64> {
            let mut random = Random::new(seed, place);
            (0..100).map(|_| random.next()).collect()
        };

        assert_eq!(numbers(1, &[2, 3]), numbers(1, &[2, 3]));
        assert_ne!(numbers(1, &[2, 3]), numbers(2, &[2, 3]));
        assert_ne!(numbers(1, &[2, 3]), numbers(1, &[3, 2]));
        assert_ne!(numbers(1, &[2]), numbers(1, &[2, 0]));
    }

    #[test]
    fn below_is_fair() {
        let mut random = Random::new(1, &[]);
        let mut counts = [0; 7];

        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)));
    }

    #[test]
    fn shuffle_keeps_everything() {
        let mut things: Vec<_> = (0..100).collect();
        Random::new(1, &[]).shuffle(&mut things);

        assert_ne!(things, Vec::from_iter(0..100));
        things.sort();
        assert_eq!(things, Vec::from_iter(0..100));
    }
}
