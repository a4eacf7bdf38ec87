//! The rules, as far as they need more than a look at the decision itself.

use super::{
    super::super::{worker::*, *},
    ItemState, Ledger, Load, Outstanding, Worker,
};

impl Ledger {
    /// What holds whenever the machine rests.
    pub(in super::super) fn check(&self, now: Time, machine: &Machine<Load>) {
        assert_eq!(self.starts.must_fail, self.failed, "too many starts have failed");
        let deadline = machine.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > now), "its deadline is over");
        assert!(self.workers.len() <= self.settings.slots.len() + 1, "too many workers live");
        assert!(self.to_be_lost.is_empty(), "what was lost is not concluded");
        assert_eq!(self.unwanted, 0, "what was cancelled is not concluded");
        if self.workers.is_empty() && (self.closed && !self.is_waiting() || self.is_shut_down()) {
            assert!(self.ended, "everything is finished, and the pool does not end");
        }
        if self.ended {
            assert!(self.workers.is_empty(), "workers outlive the pool");
            assert_eq!(deadline, None, "something is to happen after the end");
        }
        if self.is_shut_down() || self.ended {
            assert!(!self.is_waiting(), "items wait after the shutdown has begun");
        }
        if self.closed && !self.is_waiting() {
            let leaves = |worker: &Worker| self.settings.one_call && worker.given > 0;
            let idle = self.workers.values().any(|worker| worker.is_idle() && !leaves(worker));
            assert!(!idle, "a worker that nobody needs does not leave");
        }
        let mut serving = self.workers.values().filter(|worker| worker.is_serving());
        assert!(!serving.any(|worker| self.is_overdue(now, worker)), "nobody stops it");
        if self.is_waiting() {
            self.check_progress(deadline);
        }
        self.check_in_flight(machine);
    }

    /// Nothing will ever happen again.
    pub(in super::super) fn finish(&self) {
        assert!(self.ended, "the pool stands still before its end");
        for batch in self.batches.values() {
            let open = batch.items.iter().position(|&state| state != ItemState::Concluded);
            assert_eq!(open, None, "an item has no outcome");
        }
    }

    /// What has waited longest goes first, among what the worker can do.
    pub(super) fn check_turn(&self, id: WorkerId, chunk: &Chunk<Load>) {
        let functions = &self.workers[&id].functions;
        let first = self
            .waiting
            .iter()
            .filter(|(function, _)| functions.contains(function))
            .filter_map(|(_, places)| places.first())
            .min();
        let place = (self.batches[&chunk.batch.id].order, chunk.items.start);
        assert_eq!(first, Some(&place), "sent out of turn");
    }

    /// Who is busy is sent more only within the window, and if nobody who is idle can do it.
    pub(super) fn check_room(&self, now: Time, id: WorkerId) {
        let worker = &self.workers[&id];
        if worker.outstanding.is_empty() {
            return;
        }
        assert!(now - worker.since < LOOKAHEAD, "sent to wait behind a long item");
        assert_eq!(worker.futile_since, None, "sent to wait behind a cancelled item");
        assert!(worker.calls() < MAX_CALLS_IN_FLIGHT, "too many calls in flight");
        let bytes: u64 = worker.outstanding.iter().map(|item| item.bytes).sum();
        assert!(bytes < MAX_BYTES_IN_FLIGHT, "{bytes} bytes in flight");
        self.check_nobody_is_idle();
    }

    /// Who serves is stopped only together with the pool, or for the item in its hands.
    pub(super) fn check_stop(&self, now: Time, id: WorkerId) {
        let worker = &self.workers[&id];
        if self.terminated || self.failed || !worker.is_serving() {
            return;
        }
        assert!(self.is_overdue(now, worker), "stopped without a cause");
        let first = worker.outstanding.front().map(|first| self.state_of(first));
        assert_eq!(first, Some(ItemState::Concluded), "stopped in an item that is wanted");
    }

    /// The item in its hands has taken too long, or was cancelled and is not about to be over.
    fn is_overdue(&self, now: Time, worker: &Worker) -> bool {
        let limit = self.settings.task_timeout.filter(|_| !worker.outstanding.is_empty());
        limit.is_some_and(|limit| now - worker.since >= limit)
            || worker.futile_since.is_some_and(|since| now - since >= MAX_FUTILE)
    }

    /// Every group has been heard of, and nobody has the function.
    pub(super) fn is_unknown(&self, function: FunctionId) -> bool {
        let live = self.workers.values().filter(|worker| !worker.dismissed);
        self.announced.iter().all(Option::is_some)
            && !self.announced.iter().flatten().any(|known| known.contains(&function))
            && !live.into_iter().any(|worker| worker.functions.contains(&function))
    }

    /// Something will move what waits.
    fn check_progress(&self, deadline: Option<Time>) {
        self.check_nobody_is_idle();
        let busy = self.workers.values().any(|worker| !worker.is_idle());
        assert!(busy || deadline.is_some(), "items wait for nothing");
        let waiting = self.waiting.iter().filter(|(_, places)| !places.is_empty());
        for (&function, _) in waiting {
            assert!(!self.is_unknown(function), "{function:?} is waited for, and unknown");
        }
    }

    /// Each kind of worker has shown that it can be started.
    pub(super) fn is_complete(&self) -> bool {
        self.ever_ready.len() == self.announced.len()
    }

    fn check_nobody_is_idle(&self) {
        if !self.is_complete() {
            return;
        }
        let limit = self.settings.max_tasks_per_child.map_or(u64::MAX, NonZeroU64::get);
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.is_idle()) {
            let spent = worker.given >= limit || self.settings.one_call && worker.given > 0;
            let waits = |function: &FunctionId| {
                self.waiting.get(function).is_some_and(|places| !places.is_empty())
            };
            assert!(spent || !worker.functions.iter().any(waits), "{id:?} could do what waits");
        }
    }

    fn check_in_flight(&self, machine: &Machine<Load>) {
        let sent = |id: WorkerId, item: &Outstanding| self.state_of(item) == ItemState::Sent(id);
        let in_flight = self
            .workers
            .iter()
            .flat_map(|(&id, worker)| worker.outstanding.iter().filter(move |item| sent(id, item)));
        assert_eq!(machine.items_in_flight(), in_flight.count() as u64, "items in flight");
    }
}
