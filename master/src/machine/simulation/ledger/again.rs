//! What is tried again, and when; and what is told to stop.

use std::time::Duration;

use super::{
    super::super::{
        core::MAX_RETRY_BACKOFF,
        worker::{MAX_FUTILE, MAX_TOLD},
        *,
    },
    Apart, Batch, ItemState, Ledger, Load, Outstanding,
};

/// How an item has fared so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tries {
    ended: u32,
    kills: u32,
}

impl Ledger {
    fn tries(&self, item: &Outstanding) -> Tries {
        self.batches[&item.load].tries.get(&item.item).copied().unwrap_or_default()
    }

    /// Whether an item that comes to an end now without a result is to be tried again.
    pub(super) fn may_retry(&self, item: &Outstanding, killed: bool) -> bool {
        let Tries { ended, kills } = self.tries(item);
        let poison = killed && kills + 1 >= self.settings.poison_limit.get();
        let shut_down = self.is_shut_down() || self.starts.must_fail;
        let retries = if self.settings.one_call { 0 } else { self.settings.retries };
        !poison && !shut_down && ended < retries
    }

    fn count(&mut self, item: &Outstanding, killed: bool) -> u32 {
        let batch = self.batches.get_mut(&item.load).unwrap();
        let tries = batch.tries.entry(item.item).or_default();
        tries.ended += 1;
        tries.kills += u32::from(killed);
        tries.kills
    }

    /// How many items were tried and are not concluded.
    pub(super) fn items_tried(&self) -> usize {
        let open = |batch: &Batch, item: u64| batch.state_of(item) != ItemState::Concluded;
        let tried = self
            .batches
            .values()
            .map(|batch| batch.tries.keys().filter(|&&item| open(batch, item)).count());
        tried.sum()
    }

    /// It is tried again after a while.
    pub(super) fn put_apart(&mut self, now: Time, item: &Outstanding, killed: bool) {
        self.count(item, killed);
        self.release(now, item);
    }

    /// Nobody can be at it any more.
    pub(super) fn release(&mut self, now: Time, item: &Outstanding) {
        let doublings = self.tries(item).ended.saturating_sub(1).min(20);
        let backoff = self.settings.retry_backoff.saturating_mul(1 << doublings);
        let backoff = backoff.min(MAX_RETRY_BACKOFF);
        let apart = Apart::Later { earliest: now + backoff, latest: now + backoff * 5 / 4 };
        let batch = self.batches.get_mut(&item.load).unwrap();
        batch.begun.remove(&item.item);
        self.apart.insert((batch.order, item.item), apart);
    }

    /// A worker died, and may have been running it.
    pub(super) fn may_have_run(
        &mut self,
        now: Time,
        worker: WorkerId,
        item: &Outstanding,
        after: Duration,
    ) {
        let place = (self.batches[&item.load].order, item.item);
        if self.may_retry(item, true) {
            let ending = Ending::Lost { worker, after, poison: false };
            self.to_be_retried.push((place, ending));
            let batch = self.batches.get_mut(&item.load).unwrap();
            batch.items[usize::try_from(item.item).unwrap()] = ItemState::Apart;
            self.put_apart(now, item, true);
        } else {
            let kills = self.count(item, true);
            let poison = kills >= self.settings.poison_limit.get();
            self.to_be_lost.push((place, Ending::Lost { worker, after, poison }));
        }
    }

    pub(super) fn retried(&mut self, now: Time, load: &Load, item: u64, ending: Ending) {
        let place = (self.batches[&load.id].order, item);
        match ending {
            Ending::Lost { .. } => {
                let known = self.to_be_retried.iter().position(|&known| known == (place, ending));
                self.to_be_retried.swap_remove(known.expect("what was not lost is tried again"));
            }
            Ending::TimedOut { worker, after, limit, told } => {
                let first = self.check_overdue(now, worker, after, limit);
                assert_eq!(told, self.can_be_told(worker), "said to be told: {told}");
                assert_eq!((first.load, first.item), (load.id, item), "it was not its turn");
                assert!(self.may_retry(&first, false), "it is tried again");
                self.count(&first, false);
                let batch = self.batches.get_mut(&load.id).unwrap();
                batch.items[usize::try_from(item).unwrap()] = ItemState::Apart;
                self.apart.insert(place, Apart::Held(worker));
                self.note_futility(worker);
                self.rollout_timed_out(now, worker);
            }
            Ending::Cancelled(_) => panic!("what was cancelled is tried again"),
        }
    }

    /// The item in the hands of a worker is over this limit. Gives the item.
    pub(super) fn check_overdue(
        &self,
        now: Time,
        id: WorkerId,
        after: Duration,
        limit: TimeLimit,
    ) -> Outstanding {
        let worker = &self.workers[&id];
        assert_eq!(after, now - worker.since);
        let over = match limit {
            TimeLimit::Task => after >= self.settings.task_timeout.unwrap(),
            TimeLimit::Silence => now - worker.heard >= self.settings.silence_timeout.unwrap(),
        };
        assert!(over, "its time was not over");
        worker.outstanding.front().cloned().expect("it has nothing in its hands")
    }

    /// Whether a worker has to be told to end the item in its hands, before it is stopped for it.
    pub(super) fn can_be_told(&self, id: WorkerId) -> bool {
        let worker = &self.workers[&id];
        let Some(first) = worker.outstanding.front() else { return false };
        let function = self.batches[&first.load].function;
        worker.repertoire.cancellable.contains(&function) && worker.told < MAX_TOLD
    }

    /// A worker is told to end the item in its hands.
    pub(super) fn tell(&mut self, now: Time, id: WorkerId, call: CallId, item: u32) {
        let worker = &self.workers[&id];
        let first = worker.outstanding.front().expect("it has nothing in its hands");
        assert_eq!((first.call, first.index), (call, item), "told of another item");
        let function = self.batches[&first.load].function;
        assert!(worker.repertoire.cancellable.contains(&function), "it cannot be told");
        assert_eq!(worker.told_at, None, "told twice");
        assert!(worker.is_serving(), "told on its way out");
        let futile = worker.futile_since.expect("told to end what is wanted");
        let cancelled = now - futile >= MAX_FUTILE;
        assert!(cancelled || self.is_over_time(now, worker), "told too early");
        assert!(worker.told < MAX_TOLD, "told without end");
        let worker = self.workers.get_mut(&id).unwrap();
        worker.told_at = Some(now);
        worker.told += 1;
        worker.outstanding.iter_mut().for_each(|item| item.followed = true);
    }
}
