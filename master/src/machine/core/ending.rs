//! How workers end: by themselves, for a fault, for an item that is to be stopped, or as they are
//! not needed.

use std::time::Duration;

use super::{
    super::{
        Action, Cancellation, Ending, Flaw, Generation, Settings, SlotId, StartFault, Time, Unread,
        WorkerId,
        budget::FailedStart,
        worker::{InFlight, Sent, State, Worker},
    },
    Batch, Machine, Phase,
};

/// How long a worker may live on whose connection has ended: 500 ms, enough for an interpreter to
/// shut down. One that is killed is gone within a fraction of that.
const DISCONNECT_GRACE: Duration = Duration::from_millis(500);

impl<B: Batch> Machine<B> {
    pub(super) fn not_started(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.leave_slot(id, worker.slot);
        self.start_gone(now, id, &worker, fault);
    }

    pub(super) fn unfit(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        // What a worker that is being stopped makes of it is its own affair.
        if !matches!(worker.state, State::Greeting { .. } | State::Preparing { .. }) {
            return;
        }
        self.stop(now, id);
        self.start_failed(now, id, StartFault::Permanent);
    }

    pub(super) fn disconnected(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match &worker.state {
            State::Serving(serving) if serving.in_flight.is_empty() && self.is_through(worker) => {
                self.leave(now, id);
            }
            State::Leaving { .. } | State::Stopping { .. } => {}
            // It ends by itself in a moment, as those do whose connection ends with them, and then
            // its status tells how; or it is ended.
            State::Greeting { .. } | State::Preparing { .. } | State::Serving(_) => {
                self.put_into_stopping(now, id, Some(now.saturating_add(DISCONNECT_GRACE)));
            }
        }
    }

    pub(super) fn exited(&mut self, now: Time, id: WorkerId, unread: Unread, struck: bool) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.leave_slot(id, worker.slot);
        worker.struck = struck;
        let state = std::mem::replace(&mut worker.state, State::Leaving { by: now });
        let (accounted, never_read) = match state {
            State::Greeting { .. } | State::Preparing { .. } => (false, 0),
            State::Leaving { .. } => (true, 0),
            State::Serving(serving) => (false, self.settle(now, id, serving.in_flight, unread)),
            State::Stopping { accounted, in_flight, .. } => {
                (accounted, self.settle(now, id, in_flight, unread))
            }
        };
        let served = worker.given > never_read;
        if served {
            self.budget.succeed();
        }
        let was_candidate = self.candidate_gone(id);
        if !served && !accounted && worker.is_excused() && self.may_excuse(&worker) {
            self.budget.delay(now, &mut self.jitter);
        } else if !served && !accounted {
            self.start_gone(now, id, &worker, StartFault::Passing);
        } else if was_candidate && !accounted {
            self.roll_back(now, Some(id), Flaw::Died);
        } else if self.settings.one_call && !self.queue.is_empty() {
            self.fail(now, id);
        }
    }

    /// Ends whoever is over a limit of time, or has been at what nobody wants any more.
    pub(super) fn expire(&mut self, now: Time) {
        let is_due = |worker: &Worker<B>, settings: &Settings| {
            worker.deadline(settings).is_some_and(|deadline| deadline <= now)
        };
        let due: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| is_due(worker, &self.settings))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            // The one before may have ended the pool, and with it what this one was due for.
            if !is_due(worker, &self.settings) {
                continue;
            }
            match &mut worker.state {
                State::Greeting { .. } | State::Preparing { .. } => {
                    self.stop_at_once(now, id);
                    self.account(id);
                    self.start_failed(now, id, StartFault::Permanent);
                }
                State::Serving(_) => self.end_item(now, id),
                State::Leaving { .. } => self.stop(now, id),
                State::Stopping { .. } => self.stop_at_once(now, id),
            }
        }
    }

    /// Ends the item in the hands of a worker, which is over its time or not wanted any more: by
    /// telling the worker, if that is of use, and otherwise, or if that was not enough, by stopping it.
    fn end_item(&mut self, now: Time, id: WorkerId) {
        let Some(Worker { state: State::Serving(serving), .. }) = self.workers.get_mut(&id) else {
            return;
        };
        let was_told = serving.in_flight.was_told();
        let overdue = serving.overdue_at(&self.settings);
        let after = now.saturating_sub(serving.in_flight.running_since);
        // One that was cancelled is concluded already.
        let concluded = serving.in_flight.conclude_running();
        let told = match serving.in_flight.running() {
            Some((call, item, _)) if serving.can_be_told() && !was_told => {
                serving.in_flight.tell(now);
                Some((call, u32::try_from(item).unwrap_or(u32::MAX)))
            }
            _ => None,
        };
        let timed_out = concluded.is_some() && overdue.is_some();
        if let (Some((taken, item)), Some((_, limit))) = (concluded, overdue) {
            let ending = Ending::TimedOut { worker: id, after, limit, told: told.is_some() };
            self.time_out(taken, item, id, ending);
        }
        match told {
            Some((call, item)) => self.actions.push(Action::Cancel { worker: id, call, item }),
            None => self.stop(now, id),
        }
        if timed_out && self.is_on_trial(id) {
            self.roll_back(now, Some(id), Flaw::Hangs);
        }
    }

    /// Lets those workers go that have reached their limit, or that nobody will need.
    pub(super) fn retire(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Running | Phase::Closing | Phase::Interrupted) {
            return;
        }
        self.note_aged_and_idle(now);
        let finished = !self.needs_workers();
        let done: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| match &worker.state {
                State::Serving(serving) => {
                    let idle = serving.in_flight.is_empty();
                    idle && (finished || Self::items_left(worker) == 0)
                }
                State::Greeting { .. } | State::Preparing { .. } => finished,
                State::Leaving { .. } | State::Stopping { .. } => false,
            })
            .map(|(&id, worker)| (id, matches!(worker.state, State::Serving(_))))
            .collect();
        for (id, serving) in done {
            if serving { self.leave(now, id) } else { self.stop(now, id) }
        }
    }

    /// Draws the conclusions from a death: what was answered is done, what may have been running
    /// is lost, the rest never began. Returns how many items the worker was sent, but did not read.
    fn settle(&mut self, now: Time, id: WorkerId, in_flight: InFlight<B>, unread: Unread) -> u64 {
        let after = now.saturating_sub(in_flight.running_since);
        let untouched = unread == Unread::Something
            && in_flight.calls.len() == 1
            && in_flight.calls.front().is_some_and(Sent::begins_unread);
        let never_read = if untouched { in_flight.items } else { 0 };
        let mut may_have_run = !untouched;
        for sent in in_flight.calls {
            let mut rest = sent.open();
            if std::mem::take(&mut may_have_run) && !sent.is_futile() {
                let running = rest.start;
                rest.start += 1;
                self.lose(now, sent.taken.clone(), running, id, after);
            }
            self.put_back(sent.taken, rest);
        }
        self.release_held(now, id);
        never_read
    }

    /// Counts the failed start of a worker that is there yet.
    pub(super) fn start_failed(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (failed, generation) = (worker.failed_start(now), worker.generation);
        self.count_failed_start(id, generation, failed, fault);
    }

    /// Whether it is no more than one of the workers of a pool: the candidate of a replacement, and a
    /// worker for one call, answer for whatever befalls them.
    fn may_excuse(&self, worker: &Worker<B>) -> bool {
        !self.settings.one_call && !self.is_of_new_command(worker.group, worker.generation)
    }

    /// Counts the failed start of a worker that is gone.
    fn start_gone(&mut self, now: Time, id: WorkerId, worker: &Worker<B>, fault: StartFault) {
        let (failed, generation) = (worker.failed_start(now), worker.generation);
        self.count_failed_start(id, generation, failed, fault);
    }

    /// Counts a failed start, if more are needed; beyond the budget, or where another try would
    /// fail in the same way, the pool fails. The start of a new command fails that command.
    fn count_failed_start(
        &mut self,
        id: WorkerId,
        generation: Generation,
        failed: FailedStart,
        fault: StartFault,
    ) {
        let FailedStart { time: now, group, .. } = failed;
        if self.is_of_new_command(group, generation) {
            return self.roll_back(now, Some(id), Flaw::Died);
        }
        self.candidate_gone(id);
        if !self.needs_workers() {
            return;
        }
        let spent = self.budget.spend(failed, self.seats.len(), &mut self.jitter);
        let hopeless = fault == StartFault::Permanent
            && self.groups.get(group.0).is_some_and(|group| !group.ever_ready);
        if spent || hopeless || self.settings.one_call {
            self.fail(now, id);
        }
    }

    fn fail(&mut self, now: Time, id: WorkerId) {
        if matches!(self.phase, Phase::Running | Phase::Closing) {
            self.actions.push(Action::Fail { worker: id });
            self.shut_down(now, Phase::Failed, Cancellation::PoolFailed);
        }
    }

    /// Lets a worker go that has nothing in flight.
    pub(super) fn leave(&mut self, now: Time, id: WorkerId) {
        let goes_by_itself = self.workers.get(&id).is_some_and(|worker| self.is_through(worker));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let slot = worker.slot;
        worker.state = State::Leaving { by: now.saturating_add(self.settings.drain_timeout) };
        if !goes_by_itself {
            self.actions.push(Action::Drain { worker: id });
        }
        self.leave_slot(id, slot);
    }

    /// Ends a worker politely, then by force.
    pub(super) fn stop(&mut self, now: Time, id: WorkerId) {
        let kill_at = now.saturating_add(self.settings.grace);
        if self.put_into_stopping(now, id, Some(kill_at)) {
            self.actions.push(Action::Terminate { worker: id });
        }
        self.account(id);
    }

    /// Ends a worker by force: it does not keep to the protocol, so there is nothing to wait for.
    pub(super) fn stop_at_once(&mut self, now: Time, id: WorkerId) {
        if self.put_into_stopping(now, id, None) {
            self.actions.push(Action::Kill { worker: id });
        }
    }

    fn put_into_stopping(&mut self, now: Time, id: WorkerId, kill_at: Option<Time>) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let slot = worker.slot;
        let (accounted, in_flight) = match &mut worker.state {
            State::Stopping { kill_at: earlier, .. } => {
                let sooner = earlier.is_some() && kill_at.is_none();
                if sooner {
                    *earlier = None;
                }
                return sooner;
            }
            State::Serving(serving) => {
                (false, std::mem::replace(&mut serving.in_flight, InFlight::new(now)))
            }
            State::Leaving { .. } => (true, InFlight::new(now)),
            State::Greeting { .. } | State::Preparing { .. } => (false, InFlight::new(now)),
        };
        worker.state = State::Stopping { kill_at, accounted, in_flight };
        self.leave_slot(id, slot);
        true
    }

    /// Notes that the exit of a worker will say nothing new.
    fn account(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Stopping { accounted, .. } = &mut worker.state
        {
            *accounted = true;
        }
    }

    fn leave_slot(&mut self, id: WorkerId, slot: SlotId) {
        if let Some(seat) = self.seats.get_mut(slot.0 as usize)
            && seat.taken == Some(id)
        {
            seat.taken = None;
        }
    }

    /// Whether it was given the one call that it was told to be its last: it goes by itself.
    fn is_through(&self, worker: &Worker<B>) -> bool {
        self.settings.one_call && worker.given > 0
    }
}
