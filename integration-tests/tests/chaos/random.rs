//! The source of all that is random: SplitMix64, so that a seed means the same for ever.

use std::{ops::RangeInclusive, time::SystemTime};

pub(crate) struct Random(u64);

/// A seed that no earlier run had.
pub(crate) fn fresh_seed() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap()
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, each as likely.
    pub(crate) const fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        *range.start() + self.next() % (*range.end() - *range.start() + 1)
    }

    /// A number from 1 to `most`, each order of magnitude as likely.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let bits = self.within(0..=u64::from(most.ilog2()));
        self.within(1..=(2 << bits).min(most))
    }

    /// True so often in a hundred.
    pub(crate) const fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.within(0..=among.len() as u64 - 1)).unwrap()]
    }
}
