//! Chance, as far as the machine needs any: so that what happens to many at once does not happen
//! to them again at once. It comes from the seed in the settings and from nothing else.

use std::time::Duration;

/// Random numbers by `SplitMix64`, which is fast and good enough to spread things out.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of `0..=most`.
    pub(super) const fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let random = mixed ^ (mixed >> 31);
        match most.checked_add(1) {
            Some(count) => random % count,
            None => random,
        }
    }

    /// A duration of up to a fourth more.
    pub(super) fn stretch(&mut self, duration: Duration) -> Duration {
        let most = u64::try_from((duration / 4).as_micros()).unwrap_or(u64::MAX);
        duration.saturating_add(Duration::from_micros(self.up_to(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_spreads_and_stays_within_its_bounds() {
        let mut jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let waits: Vec<_> = (0..1000).map(|_| jitter.stretch(second)).collect();
        assert!(waits.iter().all(|wait| (second..=second * 5 / 4).contains(wait)));
        assert!(waits.iter().any(|&wait| wait < second * 21 / 20));
        assert!(waits.iter().any(|&wait| wait > second * 6 / 5));
        assert_eq!(jitter.up_to(0), 0);
        assert!((0..100).map(|_| jitter.up_to(3)).max() == Some(3));
        assert_eq!(jitter.stretch(Duration::ZERO), Duration::ZERO);
    }
}
