//! What was tried before, of items that are tried again: the evidence for when they never succeed.

use std::{collections::HashMap, ops::Range};

use crate::report::Attempt;

/// Characters kept of what came of an attempt.
const MAX_ERROR: usize = 1_000;

/// How many attempts are kept of an item; of more, the last ones.
const MAX_KEPT: usize = 10;

/// By the id of the submission and the item.
#[derive(Default)]
pub(super) struct Attempts(HashMap<(u64, u64), Vec<Attempt>>);

impl Attempts {
    /// Keeps what came of an attempt.
    pub(super) fn add(
        &mut self,
        batch: u64,
        item: u64,
        slot: u32,
        pid: Option<u32>,
        error: String,
    ) -> Attempt {
        let attempts = self.0.entry((batch, item)).or_default();
        let number = attempts.last().map_or(0, |last| last.number) + 1;
        let error = error.chars().take(MAX_ERROR).collect();
        let attempt = Attempt { number, slot, pid, error };
        if attempts.len() == MAX_KEPT {
            attempts.remove(0);
        }
        attempts.push(attempt.clone());
        attempt
    }

    /// Takes what is kept of an item.
    pub(super) fn take(&mut self, batch: u64, item: u64) -> Vec<Attempt> {
        self.0.remove(&(batch, item)).unwrap_or_default()
    }

    /// Takes what is kept of the first of some items, if there are any.
    pub(super) fn take_first(&mut self, batch: u64, items: &Range<u64>) -> Vec<Attempt> {
        if items.is_empty() { Vec::new() } else { self.take(batch, items.start) }
    }

    /// These items are concluded.
    pub(super) fn forget(&mut self, batch: u64, items: &Range<u64>) {
        if self.0.is_empty() {
            return;
        }
        if items.end - items.start <= self.0.len() as u64 {
            for item in items.clone() {
                self.0.remove(&(batch, item));
            }
        } else {
            self.0.retain(|(other, item), _| *other != batch || !items.contains(item));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_its_item() {
        let mut attempts = Attempts::default();
        for _ in 0..25 {
            attempts.add(1, 7, 0, Some(9), "x".repeat(5_000));
        }
        attempts.add(1, 8, 0, None, "once".into());
        let kept = attempts.take_first(1, &(7..8));
        assert_eq!((kept.len(), kept[0].number, kept[9].number), (10, 16, 25));
        assert!(kept.iter().all(|attempt| attempt.error.len() == 1_000));
        assert!(attempts.take_first(1, &(8..8)).is_empty());
        attempts.forget(2, &(0..100));
        assert_eq!(attempts.0.len(), 1);
        attempts.forget(1, &(0..100));
        assert!(attempts.0.is_empty());
    }
}
