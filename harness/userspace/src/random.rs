// SPDX-License-Identifier: GPL-2.0

//! Numbers that look random, and are the same for the same seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};

/// A sequence of numbers.
#[derive(Clone)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// Starts a sequence that belongs to a seed and a place, such as the number of a process and
    /// that of a call in it.
    pub fn new(seed: u64, place: &[u64]) -> Self {
        let start = Self(Xoshiro256PlusPlus::seed_from_u64(seed));
        place.iter().fold(start, |mut random, part| {
            Self(Xoshiro256PlusPlus::seed_from_u64(random.next() ^ part))
        })
    }

    /// Starts another sequence that belongs to the same place.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// Returns the next number.
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(..end)
    }

    /// Returns an index of `count` things, of which there must be some.
    pub fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// Returns true in so many cases of a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    /// Returns one of several things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        things.choose(&mut self.0).expect("there are some")
    }

    /// Puts things into another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        things.shuffle(&mut self.0);
    }
}

/// Returns a seed that nobody has chosen.
pub fn seed() -> u64 {
    let now = crate::kernel::sync_file::now_ns();
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
}
