//! What is heard of workers, and what has to follow from it.

use super::{
    super::{super::*, Load, starts::Failed, worker::Item},
    Apart, ItemState, Ledger, Outstanding, Worker,
};

impl Ledger {
    pub(in super::super) fn greeted(&mut self, id: WorkerId, repertoire: Repertoire) {
        let worker = self.workers.get_mut(&id).unwrap();
        if worker.is_heard() {
            worker.greeted = true;
            worker.repertoire = repertoire.clone();
            let worker = &self.workers[&id];
            if self.rollouts.tries(worker) {
                self.rollout_greeted(id);
            } else if self.rollouts.is_current(worker) {
                self.announced[worker.group.0] = Some(repertoire.functions);
            }
        }
    }

    pub(in super::super) fn measured(&mut self, id: WorkerId, memory: u64) {
        let over = |limit: Option<u64>| limit.is_some_and(|limit| memory > limit);
        let worker = self.workers.get_mut(&id).unwrap();
        // Whoever is through with its one call leaves by itself.
        let leaves = self.settings.one_call && worker.given > 0 && worker.outstanding.is_empty();
        if worker.greeted && !worker.dismissed && !leaves {
            worker.over_soft |= over(self.settings.soft_memory) && worker.given > 0;
            worker.over_hard |= over(self.settings.hard_memory);
        }
    }

    /// A worker tells that an item is alive.
    pub(in super::super) fn progressed(
        &mut self,
        now: Time,
        id: WorkerId,
        call: CallId,
        index: u32,
        ok: bool,
    ) {
        let worker = self.workers.get_mut(&id).unwrap();
        let first = worker.outstanding.front();
        let expected = first.is_some_and(|first| first.call == call && first.index == index);
        let gone = self.terminated || self.starts.must_fail;
        let stopped = worker.dismissed && ok;
        assert!(ok == expected || gone || stopped, "a sign of life is taken for another");
        if expected {
            worker.heard = now;
        }
    }

    pub(in super::super) fn ready(&mut self, now: Time, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        if worker.is_heard() {
            worker.ready = true;
            worker.ready_at = now;
            worker.idle_since = now;
            self.rollouts.arrived(worker);
            self.ever_ready.insert(worker.group);
        }
    }

    pub(in super::super) fn silenced(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        // A process for one call is expected to leave after it.
        let leaves = worker.is_idle() && worker.given > 0 && self.settings.one_call;
        worker.accounted |= leaves;
        worker.dismissed = true;
    }

    pub(in super::super) fn not_started(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let worker = self.workers.remove(&id).unwrap();
        self.start_failed(now, &worker, fault);
    }

    pub(in super::super) fn unfit(&mut self, now: Time, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        let is_heard = worker.is_heard();
        worker.dismissed = true;
        // Of one that is about to be killed for its memory the exit counts, and not what it says.
        if is_heard {
            worker.accounted = true;
            self.start_failed_of(now, id, StartFault::Permanent);
        }
    }

    /// A worker has really begun an item.
    pub(in super::super) fn began(&mut self, id: WorkerId, item: &Item, broke_protocol: bool) {
        if broke_protocol {
            self.workers.get_mut(&id).unwrap().broke_protocol = true;
            return;
        }
        let batch = self.batches.get_mut(&item.batch).unwrap();
        let before = batch.begun.insert(item.item, id);
        assert_eq!(before, None, "{item:?} is begun twice");
    }

    pub(in super::super) fn answered(
        &mut self,
        now: Time,
        id: WorkerId,
        call: CallId,
        index: u32,
        verdict: Verdict,
        answer: &Answer<Load>,
    ) {
        let shut_down = self.terminated || self.starts.must_fail;
        let worker = self.workers.get_mut(&id).unwrap();
        let awaited = |item: &Outstanding| item.call == call && item.index == index;
        if !worker.outstanding.front().is_some_and(awaited) {
            let ignored = matches!(answer, Answer::Late { .. }) && (worker.dismissed || shut_down);
            let refused = *answer == Answer::Refused;
            assert!(refused || ignored, "an answer that was not awaited: {answer:?}");
            return;
        }
        let item = worker.outstanding.pop_front().unwrap();
        let serves = worker.is_serving();
        worker.answered += u64::from(serves);
        if serves && worker.answered == 1 {
            self.starts.proved(worker.group, worker.started);
        }
        worker.since = now;
        worker.heard = now;
        worker.idle_since = now;
        // Whoever was told to end an item has ended it.
        if worker.told_at.take().is_some() {
            worker.futile_since = None;
        }
        let (group, broke_protocol) = (worker.group, worker.broke_protocol);
        let may_retry = self.may_retry(&item, false);
        let batch = self.batches.get_mut(&item.load).unwrap();
        let place = (batch.order, item.item);
        let state = &mut batch.items[usize::try_from(item.item).unwrap()];
        match answer {
            Answer::Accepted { batch: load, items } => {
                let number = &items.start;
                assert_eq!((load.id, *number), (item.load, item.item), "taken for another item");
                assert_eq!(items.end, number + 1, "taken for several items");
                assert_eq!(*state, ItemState::Sent(id), "an answer to what is concluded");
                let begun = batch.begun.get(number) == Some(&id) || broke_protocol;
                assert!(begun, "answered, and never begun");
                let again = verdict == Verdict::Failed && self.settings.retry_failed && may_retry;
                assert!(!again, "a failure is not tried again");
                *state = ItemState::Concluded;
                self.rollouts.answered(id, group, batch.function, verdict);
            }
            Answer::Retried { batch: load, item: number } => {
                assert_eq!((load.id, *number), (item.load, item.item), "taken for another item");
                assert_eq!(*state, ItemState::Sent(id), "what is concluded is tried again");
                assert_eq!(verdict, Verdict::Failed, "a result is tried again");
                assert!(self.settings.retry_failed && may_retry, "a failure is tried again");
                *state = ItemState::Apart;
                self.rollouts.answered(id, group, batch.function, verdict);
                self.put_apart(now, &item, false);
            }
            Answer::Late { .. } => {
                if self.apart.get(&place) == Some(&Apart::Held(id)) {
                    self.release(now, &item);
                } else {
                    // After a shutdown the machine has concluded it, and not yet said so.
                    assert!(state.is_decided() || shut_down, "a good answer is dropped");
                }
            }
            Answer::Refused => panic!("a good answer is refused"),
        }
        self.note_futility(id);
    }

    /// A worker is gone. The first item that it has not answered may have been running, unless
    /// it is known to be unread: that is so if the last call was not read, and is the only one.
    pub(in super::super) fn exited(
        &mut self,
        now: Time,
        id: WorkerId,
        unread: Unread,
        struck: bool,
    ) {
        let mut worker = self.workers.remove(&id).unwrap();
        worker.struck = struck;
        let shut_down = self.terminated || self.starts.must_fail;
        let untouched = unread == Unread::Something
            && worker.calls() == 1
            && worker.outstanding.front().is_some_and(|it| it.begins_call && !it.followed);
        let never_read = if untouched { worker.outstanding.len() as u64 } else { 0 };
        for (position, outstanding) in worker.outstanding.iter().enumerate() {
            let batch = self.batches.get_mut(&outstanding.load).unwrap();
            let place = (batch.order, outstanding.item);
            let state = &mut batch.items[usize::try_from(outstanding.item).unwrap()];
            if self.apart.get(&place) == Some(&Apart::Held(id)) {
                self.release(now, outstanding);
                continue;
            }
            // After a shutdown the machine has concluded it, and not yet said so.
            if state.is_decided() || shut_down {
                continue;
            }
            if position == 0 && !untouched {
                self.may_have_run(now, id, outstanding, now - worker.since);
            } else {
                *state = ItemState::Waiting;
                self.waiting.entry(batch.function).or_default().insert(place);
            }
        }
        let served = worker.given > never_read;
        if served {
            self.rollouts.died(id, &worker);
        }
        if served && !self.settings.one_call {
            self.starts.served();
        } else if !served && !worker.accounted {
            self.start_failed(now, &worker, StartFault::Passing);
        } else if self.settings.one_call && self.is_waiting() {
            self.starts.must_fail = true;
        }
    }

    pub(super) fn start_failed_of(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let worker = self.workers.remove(&id).unwrap();
        self.start_failed(now, &worker, fault);
        self.workers.insert(id, worker);
    }

    pub(super) fn start_failed(&mut self, now: Time, worker: &Worker, fault: StartFault) {
        if self.rollouts.start_failed(worker) {
            return;
        }
        // The command has been given up in this very round, and with it who was to take a seat: that
        // this one ends too is no failure any more, if it was that one.
        if worker.for_a_taken_seat && self.rollouts.tries(worker) {
            return self.starts.perhaps_delayed(now);
        }
        let untouched = worker.ready && worker.given == 0;
        if worker.struck && untouched && !self.settings.one_call {
            return self.starts.delayed(now);
        }
        let needed = !self.closed || self.is_waiting();
        if self.is_shut_down() || !needed {
            return;
        }
        let hopeless = fault == StartFault::Permanent && !self.ever_ready.contains(&worker.group);
        let excusable = worker.ready || worker.struck;
        let failed = Failed { time: now, group: worker.group, excusable };
        self.starts.failed(failed, self.size, hopeless);
    }
}
