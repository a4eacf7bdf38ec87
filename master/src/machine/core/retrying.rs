//! Items that are tried again: those that were lost or timed out, if the settings allow it, and by
//! choice those that failed. Never while the worker that had one may still be at it.

use std::{ops::Range, time::Duration};

use super::{
    super::{Action, Ending, Time, WorkerId, queue::Taken},
    Batch, Machine, Phase,
};

/// The longest wait before an item is tried again, before chance adds to it.
pub(in super::super) const MAX_RETRY_BACKOFF: Duration = Duration::from_secs(60);

/// How an item has fared so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tries {
    /// How often it was tried, and came to an end without a result.
    ended: u32,
    /// How many workers died of it.
    kills: u32,
}

impl<B: Batch> Machine<B> {
    /// A worker died, and may have been running an item.
    pub(super) fn lose(
        &mut self,
        now: Time,
        taken: Taken<B>,
        item: u64,
        worker: WorkerId,
        after: Duration,
    ) {
        let tries = self.count_try(&taken, item, true);
        let poison = tries.kills >= self.settings.poison_limit.get();
        let ending = Ending::Lost { worker, after, poison };
        if poison || !self.may_retry(tries) {
            return self.conclude(taken.chunk.batch, item..item + 1, ending);
        }
        let time = now.saturating_add(self.retry_wait(tries));
        self.announce_retry(&taken, item, ending);
        self.queue.put_later(taken, item, time);
    }

    /// An item is over a limit of time, and its worker may be at it until it is stopped.
    pub(super) fn time_out(
        &mut self,
        taken: Taken<B>,
        item: u64,
        worker: WorkerId,
        ending: Ending,
    ) {
        let tries = self.count_try(&taken, item, false);
        if !self.may_retry(tries) {
            return self.conclude(taken.chunk.batch, item..item + 1, ending);
        }
        self.announce_retry(&taken, item, ending);
        self.queue.hold(taken, item, worker);
    }

    /// A function failed. Returns whether the item is tried again.
    pub(super) fn retry_failed(&mut self, now: Time, taken: Taken<B>, item: u64) -> bool {
        let tries = self.count_try(&taken, item, false);
        if !self.may_retry(tries) {
            return false;
        }
        let time = now.saturating_add(self.retry_wait(tries));
        self.queue.put_later(taken, item, time);
        true
    }

    /// A worker is through with the item that is held for it, if there is one.
    pub(super) fn release_held(&mut self, now: Time, worker: WorkerId) {
        if let Some((batch, item)) = self.queue.held(worker) {
            let tries = self.tries.get(&(batch.id(), item)).copied().unwrap_or_default();
            let time = now.saturating_add(self.retry_wait(tries));
            self.queue.release(worker, time);
        }
    }

    /// These items are concluded.
    pub(super) fn forget_tries(&mut self, batch: u64, items: &Range<u64>) {
        if self.tries.is_empty() {
            return;
        }
        if items.end - items.start <= self.tries.len() as u64 {
            for item in items.clone() {
                self.tries.remove(&(batch, item));
            }
        } else {
            self.tries.retain(|(other, item), _| *other != batch || !items.contains(item));
        }
    }

    fn count_try(&mut self, taken: &Taken<B>, item: u64, killed: bool) -> Tries {
        let tries = self.tries.entry((taken.chunk.batch.id(), item)).or_default();
        tries.ended = tries.ended.saturating_add(1);
        tries.kills = tries.kills.saturating_add(u32::from(killed));
        *tries
    }

    const fn may_retry(&self, tries: Tries) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing)
            && !self.settings.one_call
            && tries.ended <= self.settings.retries
    }

    fn retry_wait(&mut self, tries: Tries) -> Duration {
        let doublings = tries.ended.saturating_sub(1).min(20);
        let backoff = self.settings.retry_backoff.saturating_mul(1 << doublings);
        self.jitter.stretch(backoff.min(MAX_RETRY_BACKOFF))
    }

    fn announce_retry(&mut self, taken: &Taken<B>, item: u64, ending: Ending) {
        let batch = taken.chunk.batch.clone();
        self.actions.push(Action::Retry { batch, item, ending });
    }
}
