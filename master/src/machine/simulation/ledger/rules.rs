//! The rules, as far as they need more than a look at the decision itself.

use super::{
    super::super::{worker::*, *},
    Apart, ItemState, Ledger, Load, Outstanding, Worker,
};

impl Ledger {
    /// What holds whenever the machine rests.
    pub(in super::super) fn check(&mut self, now: Time, machine: &Machine<Load>) {
        assert_eq!(self.starts.must_fail, self.failed, "too many starts have failed");
        let deadline = machine.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > now), "its deadline is over");
        assert!(self.workers.len() <= self.largest_size + 1, "too many workers live");
        assert!(self.to_be_lost.is_empty(), "what was lost is not concluded");
        assert!(self.to_be_retried.is_empty(), "what came to an end is not tried again");
        self.check_rollout(now);
        self.waited.fill(0);
        self.check_who_stays(now);
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
            self.check_progress(now, deadline);
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
        let functions = &self.workers[&id].repertoire.functions;
        let place = (self.batches[&chunk.batch.id].order, chunk.items.start);
        // When an item is tried again is up to chance, within limits that are checked elsewhere.
        if self.apart.contains_key(&place) {
            return;
        }
        let first = self
            .waiting
            .iter()
            .filter(|(function, _)| functions.contains(function))
            .filter_map(|(_, places)| places.first())
            .min();
        assert_eq!(first, Some(&place), "sent out of turn");
    }

    /// Who is busy is sent more only within the window, and if nobody who is idle can do it.
    pub(super) fn check_room(&self, now: Time, id: WorkerId) {
        let worker = &self.workers[&id];
        if worker.outstanding.is_empty() {
            return;
        }
        let lookahead = lookahead(self.size, self.settings.cpus);
        assert!(now - worker.since < lookahead, "sent to wait behind a long item");
        assert_eq!(worker.futile_since, None, "sent to wait behind a cancelled item");
        assert!(worker.calls() < MAX_CALLS_IN_FLIGHT, "too many calls in flight");
        let bytes: u64 = worker.outstanding.iter().map(|item| item.bytes).sum();
        assert!(bytes < MAX_BYTES_IN_FLIGHT, "{bytes} bytes in flight");
        self.check_nobody_is_idle(now);
    }

    /// Who serves is stopped only together with the pool, or for the item in its hands.
    pub(super) fn check_stop(&self, now: Time, id: WorkerId) {
        let worker = &self.workers[&id];
        if self.terminated || self.failed || !worker.is_serving() {
            return;
        }
        // It may have been stopped before that was heard of it.
        if worker.outstanding.is_empty() && worker.ready_at == now {
            return;
        }
        assert!(!worker.outstanding.is_empty(), "stopped for nothing");
        let futile = worker.futile_since.expect("stopped in an item that is wanted");
        match worker.told_at {
            Some(told) => assert!(now - told >= self.settings.cancel_grace, "no time is left"),
            None => {
                let overdue = now - futile >= MAX_FUTILE || self.is_over_time(now, worker);
                assert!(overdue, "stopped without a cause");
                assert!(!self.can_be_told(id), "stopped, and not told before");
            }
        }
    }

    /// The item in its hands has taken too long, or was cancelled and is not about to be over.
    fn is_overdue(&self, now: Time, worker: &Worker) -> bool {
        match (worker.futile_since, worker.told_at) {
            (_, Some(told)) => now - told >= self.settings.cancel_grace,
            (Some(since), None) => now - since >= MAX_FUTILE,
            (None, None) => self.is_over_time(now, worker),
        }
    }

    /// The item in its hands is over a limit of time.
    pub(super) fn is_over_time(&self, now: Time, worker: &Worker) -> bool {
        let Some(first) = worker.outstanding.front() else { return false };
        let reports = worker.repertoire.reporting.contains(&self.batches[&first.load].function);
        let silence = self.settings.silence_timeout.filter(|_| reports);
        self.settings.task_timeout.is_some_and(|limit| now - worker.since >= limit)
            || silence.is_some_and(|limit| now - worker.heard >= limit)
    }

    /// A worker is asked to leave only if there is a reason to.
    pub(super) fn check_leaving(&mut self, now: Time, id: WorkerId) {
        let worker = &self.workers[&id];
        let limit = self.settings.max_tasks_per_child;
        let spare = self.is_spare(now, worker);
        let replaced = self.rollouts.may_replace(worker);
        let aged = self.is_aged(now, worker);
        let needless = self.interrupted || self.closed && !self.is_waiting();
        let spent = limit.is_some_and(|limit| worker.given >= limit.get());
        let other = needless || spent || spare || worker.over_soft || worker.seatless;
        assert!(other || aged || replaced, "asked to leave without a cause");
        let only_aged = aged && !other && !replaced;
        // Else it may have been chosen while it was busy, and others since.
        if only_aged && worker.idle_since < now {
            let others = self.workers.values().filter(|other| other.slot != worker.slot);
            let leaves = |other: &Worker| other.drained.is_some_and(|(at, aged)| at < now || aged);
            let starts = |other: &Worker| !other.ready && !other.dismissed;
            let change = others.into_iter().any(|other| leaves(other) || starts(other));
            assert!(!change, "the aged do not leave one after another");
        }
        if !other && !aged {
            self.rollouts.replaced(&self.workers[&id]);
        }
        if spare && !self.rollouts.ever && !self.workers[&id].seatless {
            self.resting.insert(self.workers[&id].slot);
        }
        self.workers.get_mut(&id).unwrap().drained = Some((now, only_aged));
    }

    fn is_aged(&self, now: Time, worker: &Worker) -> bool {
        self.settings.max_age.is_some_and(|limit| worker.ready && now - worker.ready_at >= limit)
    }

    /// It has been idle for too long, and there are more than enough.
    fn is_spare(&self, now: Time, worker: &Worker) -> bool {
        let patience = self.settings.idle_timeout;
        let over = self.closed || self.is_shut_down() || self.starts.must_fail;
        let sits = |worker: &&Worker| !worker.dismissed && !worker.seatless;
        worker.is_idle()
            && patience.is_some_and(|limit| now - worker.idle_since >= limit)
            && !over
            && !self.rollouts.is_under_way()
            && self.workers.values().filter(sits).count() > self.settings.minimum
    }

    /// Nobody stays who has to go.
    fn check_who_stays(&mut self, now: Time) {
        if self.is_ready(now) {
            self.resting.clear();
        }
        let live = || self.workers.iter().filter(|(_, worker)| !worker.dismissed);
        let leaves = |worker: &Worker| {
            let busy = worker.ready && !worker.is_idle();
            let retires = worker.seatless || worker.over_soft || self.rollouts.ever;
            !worker.is_serving() || busy && (retires || self.is_aged(now, worker))
        };
        for (id, worker) in live() {
            assert!(!worker.over_hard, "{id:?} is far too large, and is not killed");
            // A process for one call leaves by itself.
            let idle = worker.is_idle() && !(self.settings.one_call && worker.given > 0);
            assert!(!(idle && worker.over_soft), "{id:?} is too large, and stays");
            let rests = idle || !worker.ready;
            assert!(!(worker.seatless && rests), "the seat of {id:?} is gone, and it stays");
            let spare = idle && self.is_spare(now, worker) && !self.rollouts.ever;
            assert!(!spare, "{id:?} is spare, and stays");
            if idle && self.is_aged(now, worker) && !self.rollouts.is_under_way() {
                let mut others = self.workers.iter().filter(|&(other, _)| other != id);
                assert!(others.any(|(_, other)| leaves(other)), "{id:?} is too old, and stays");
            }
        }
    }

    /// A seat that rests is taken only if something waits that nobody else is about to take.
    pub(super) fn check_waking(&mut self, now: Time, slot: SlotId, group: GroupId) {
        if !self.resting.remove(&slot) || self.rollouts.is_under_way() {
            return;
        }
        let coming = |other: &&Worker| other.group == group && !other.ready && !other.dismissed;
        let coming = self.workers.values().filter(coming).count();
        let waiting = self.waiting_for(now, group).max(self.waited[group.0]);
        assert!(coming < waiting, "started for nothing");
    }

    /// The machine has done what it had to do, and may have more to do at once.
    pub(in super::super) fn round_ends(&mut self, now: Time) {
        self.waited =
            (0..self.announced.len()).map(|group| self.waiting_for(now, GroupId(group))).collect();
    }

    /// How many items may wait for somebody of this group.
    fn waiting_for(&self, now: Time, group: GroupId) -> usize {
        let Some(functions) = self.announced[group.0].as_ref() else { return 0 };
        let waiting = self.waiting.iter().filter(|(function, _)| functions.contains(function));
        waiting.map(|(_, places)| places.len()).sum::<usize>() + self.due(now)
    }

    /// Whether anything could be sent, if there were somebody to take it.
    fn is_ready(&self, now: Time) -> bool {
        self.due(now) > 0 || self.waiting.values().any(|places| !places.is_empty())
    }

    /// How many items that are to be tried again may be by now.
    fn due(&self, now: Time) -> usize {
        let due =
            |apart: &&Apart| matches!(apart, Apart::Later { earliest, .. } if *earliest <= now);
        self.apart.values().filter(due).count()
    }

    /// Every group has been heard of, nobody has the function, and nobody is to come who may, as
    /// far as `is_full` can tell.
    pub(super) fn is_unknown(
        &self,
        function: FunctionId,
        is_full: impl Fn(&Self, GroupId) -> bool,
    ) -> bool {
        let live = self.workers.values().filter(|worker| !worker.dismissed);
        let knows = |known: &Option<HashSet<FunctionId>>| {
            known.as_ref().is_some_and(|known| known.contains(&function))
        };
        let mut announced = (0..).map(GroupId).zip(&self.announced);
        self.announced.iter().all(Option::is_some)
            && !announced.any(|(group, known)| knows(known) && !is_full(self, group))
            && !live.into_iter().any(|worker| worker.repertoire.functions.contains(&function))
    }

    /// Whoever is to have a seat of this group has announced what it can do.
    pub(super) fn is_full(&self, group: GroupId) -> bool {
        let here = |worker: &&Worker| {
            worker.group == group && worker.greeted && !worker.dismissed && !worker.seatless
        };
        self.workers.values().filter(here).count() >= self.seats_of(group)
    }

    fn seats_of(&self, group: GroupId) -> usize {
        match self.announced.len() {
            // Only such pools are resized.
            1 => self.size,
            _ => self.settings.slots.iter().filter(|&&other| other == group).count(),
        }
    }

    /// Something will move what waits.
    fn check_progress(&self, now: Time, deadline: Option<Time>) {
        self.check_nobody_is_idle(now);
        let busy = self.workers.values().any(|worker| !worker.is_idle());
        assert!(busy || deadline.is_some(), "items wait for nothing");
        let waiting = self.waiting.iter().filter(|(_, places)| !places.is_empty());
        for (&function, _) in waiting {
            // Who sits where in a replacement, and so counts, cannot be told from outside.
            let changes = self.rollouts.is_under_way();
            // Nor after one, as those who were replaced may be there yet.
            let is_full = |ledger: &Self, group| !ledger.rollouts.ever && ledger.is_full(group);
            assert!(
                changes || !self.is_unknown(function, is_full),
                "{function:?} is waited for, and unknown"
            );
        }
    }

    /// Each kind of worker has shown that it can be started.
    pub(super) fn is_complete(&self) -> bool {
        self.ever_ready.len() == self.announced.len()
    }

    fn check_nobody_is_idle(&self, now: Time) {
        if !self.is_complete() {
            return;
        }
        let due = |apart: &Apart| matches!(apart, Apart::Later { latest, .. } if *latest <= now);
        let overdue = self.apart.iter().filter(|(_, apart)| due(apart));
        let overdue: HashSet<_> = overdue
            .filter_map(|(place, _)| self.batches.values().find(|batch| batch.order == place.0))
            .map(|batch| batch.function)
            .collect();
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.is_idle()) {
            let spent = self.settings.one_call && worker.given > 0;
            let waits = |function: &FunctionId| {
                let waiting = self.waiting.get(function).is_some_and(|places| !places.is_empty());
                waiting || overdue.contains(function)
            };
            let functions = &worker.repertoire.functions;
            assert!(spent || !functions.iter().any(waits), "{id:?} could do what waits");
        }
    }

    fn check_in_flight(&self, machine: &Machine<Load>) {
        let sent = |id: WorkerId, item: &Outstanding| self.state_of(item) == ItemState::Sent(id);
        let in_flight = self
            .workers
            .iter()
            .flat_map(|(&id, worker)| worker.outstanding.iter().filter(move |item| sent(id, item)));
        assert_eq!(machine.items_in_flight(), in_flight.count() as u64, "items in flight");
        assert_eq!(
            machine.items_tried(),
            self.items_tried(),
            "what was tried is forgotten with it"
        );
    }
}
