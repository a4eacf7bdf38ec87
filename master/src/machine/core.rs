//! The machine itself.

use std::{collections::BTreeMap, collections::HashSet, ops::Range};

use super::{
    Action, Answer, Batch, CallId, Cancellation, Ending, Event, FunctionId, GroupId, Settings,
    SlotId, StartFault, Time, Unread, WorkerId,
    budget::StartBudget,
    queue::{Queue, Taken},
    worker::{InFlight, Sent, Serving, State, Worker},
};

/// How many processes may live beside those in the slots: while one worker leaves, its
/// replacement may already start.
const SURGE: usize = 1;

/// The decisions of one pool; see the module.
#[derive(Debug)]
pub(crate) struct Machine<B> {
    settings: Settings,
    phase: Phase,
    /// Who sits in each slot. Workers that leave or are being stopped sit in none.
    slots: Vec<Option<WorkerId>>,
    /// Every process that has been started and not been reaped.
    workers: BTreeMap<WorkerId, Worker<B>>,
    groups: Vec<Group>,
    queue: Queue<B>,
    budget: StartBudget,
    next_worker: u64,
    next_call: u64,
    actions: Vec<Action<B>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// What is pending is finished, then the workers leave.
    Closing,
    /// What was sent is finished, and nothing else begins; then the workers leave.
    Interrupted,
    /// The workers are being stopped.
    Stopping,
    /// The workers are being stopped, as the pool cannot work.
    Failed,
    Ended,
}

#[derive(Debug, Default)]
struct Group {
    /// What the most recent worker of this command announced.
    functions: Option<HashSet<FunctionId>>,
    ever_ready: bool,
}

impl<B: Batch> Machine<B> {
    pub(crate) fn new(settings: Settings) -> Self {
        let group_count = settings.slots.iter().map(|group| group.0 + 1).max().unwrap_or(0);
        let budget = StartBudget::new(&settings);
        Self {
            phase: Phase::Running,
            slots: vec![None; settings.slots.len()],
            workers: BTreeMap::new(),
            groups: (0..group_count).map(|_| Group::default()).collect(),
            queue: Queue::new(),
            budget,
            next_worker: 0,
            next_call: 0,
            actions: Vec::new(),
            settings,
        }
    }

    /// Takes in an answer to item `item` of a call.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        worker: WorkerId,
        call: CallId,
        item: u32,
    ) -> Answer<B> {
        let Some(worker) = self.workers.get_mut(&worker) else { return Answer::Refused };
        let Some(in_flight) = worker.in_flight_mut() else { return Answer::Refused };
        let answer = in_flight.answer(now, call, item);
        match (&mut worker.state, answer) {
            // What it still says is of no interest, whatever it is.
            (State::Stopping { .. }, Answer::Refused) => Answer::Late,
            (State::Serving(serving), answer @ Answer::Accepted { .. }) => {
                serving.count_answer();
                answer
            }
            (_, answer) => answer,
        }
    }

    /// Takes in anything else that has happened.
    pub(crate) fn handle(&mut self, now: Time, event: Event<B>) {
        match event {
            Event::Submitted { batch, function, items, chunk_size } => {
                self.submit(batch, function, items, chunk_size);
            }
            Event::Closed => self.close(),
            Event::Interrupted => self.interrupt(),
            Event::Terminated => self.shut_down(now, Phase::Stopping, Cancellation::Terminated),
            Event::Killed => {
                self.shut_down(now, Phase::Stopping, Cancellation::Terminated);
                let ids: Vec<_> = self.workers.keys().copied().collect();
                for id in ids {
                    self.stop_at_once(now, id);
                }
            }
            Event::NotStarted { worker, fault } => self.not_started(now, worker, fault),
            Event::Greeted { worker, functions } => self.greeted(worker, functions),
            Event::Ready { worker } => self.ready(now, worker),
            Event::Unfit { worker } => self.unfit(now, worker),
            Event::Misbehaved { worker } => self.stop_at_once(now, worker),
            Event::Disconnected { worker } => self.disconnected(now, worker),
            Event::Exited { worker, unread } => self.exited(now, worker, unread),
        }
    }

    /// Moves on: deadlines, replacements, starts, sendings, the end.
    pub(crate) fn advance(&mut self, now: Time) {
        self.expire(now);
        self.cancel_unknown();
        self.retire(now);
        self.start_worker(now);
        self.send(now);
        let over = !matches!(self.phase, Phase::Running | Phase::Ended);
        if over && self.workers.is_empty() && self.queue.is_empty() {
            self.phase = Phase::Ended;
            self.actions.push(Action::End);
        }
    }

    /// What is to be done, in order.
    pub(crate) fn actions(&mut self) -> Vec<Action<B>> {
        std::mem::take(&mut self.actions)
    }

    /// When [`Self::advance`] has to be called, if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let limit = self.settings.task_timeout;
        let workers = self.workers.values().filter_map(|worker| worker.deadline(limit)).min();
        let start = self.wants_start().then(|| self.budget.not_before());
        workers.into_iter().chain(start).min()
    }

    /// How many items were sent to workers and are not concluded.
    pub(crate) fn items_in_flight(&self) -> u64 {
        self.workers.values().map(Worker::items_in_flight).sum()
    }

    fn submit(&mut self, batch: B, function: FunctionId, items: u64, chunk_size: u64) {
        let refusal = match self.phase {
            Phase::Running => None,
            Phase::Failed => Some(Cancellation::PoolFailed),
            Phase::Interrupted => Some(Cancellation::Interrupted),
            Phase::Closing | Phase::Stopping | Phase::Ended => Some(Cancellation::Terminated),
        };
        if let Some(reason) = refusal {
            self.conclude(batch, 0..items, Ending::Cancelled(reason));
        } else if items > 0 {
            self.queue.push(batch, function, 0..items, chunk_size.max(1));
        }
    }

    fn close(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Closing;
        }
    }

    fn interrupt(&mut self) {
        if matches!(self.phase, Phase::Running | Phase::Closing) {
            self.phase = Phase::Interrupted;
            self.cancel_queue(Cancellation::Interrupted);
        }
    }

    /// Cancels everything that is pending and stops every worker.
    fn shut_down(&mut self, now: Time, phase: Phase, reason: Cancellation) {
        if matches!(self.phase, Phase::Stopping | Phase::Failed | Phase::Ended) {
            return;
        }
        self.phase = phase;
        self.cancel_queue(reason);
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.stop(now, id);
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            if let State::Stopping { in_flight, .. } = &mut worker.state {
                let sent = std::mem::replace(in_flight, InFlight::new(now));
                self.cancel_in_flight(sent, reason);
            }
        }
    }

    fn cancel_queue(&mut self, reason: Cancellation) {
        for (batch, items) in self.queue.remove(|_| true) {
            self.actions.push(Action::Conclude { batch, items, ending: Ending::Cancelled(reason) });
        }
    }

    fn cancel_in_flight(&mut self, in_flight: InFlight<B>, reason: Cancellation) {
        let mut expired = in_flight.expired;
        for Sent { taken, answered, .. } in in_flight.calls {
            let skip = u64::from(std::mem::take(&mut expired));
            let items = taken.chunk.items.start + answered + skip..taken.chunk.items.end;
            self.conclude(taken.chunk.batch, items, Ending::Cancelled(reason));
        }
    }

    fn conclude(&mut self, batch: B, items: Range<u64>, ending: Ending) {
        if !items.is_empty() {
            self.actions.push(Action::Conclude { batch, items, ending });
        }
    }

    /// Once every group has announced its functions, cancels what none of them can run, nor any
    /// worker that is left of an earlier announcement.
    fn cancel_unknown(&mut self) {
        if self.groups.iter().any(|group| group.functions.is_none()) {
            return;
        }
        let (groups, workers) = (&self.groups, &self.workers);
        let unknown = |function: FunctionId| {
            let groups = groups.iter().filter_map(|group| group.functions.as_ref());
            let workers = workers.values().filter_map(Worker::functions);
            !groups.chain(workers).any(|known| known.contains(&function))
        };
        let ending = Ending::Cancelled(Cancellation::UnknownFunction);
        for (batch, items) in self.queue.remove(unknown) {
            self.actions.push(Action::Conclude { batch, items, ending });
        }
    }

    fn greeted(&mut self, id: WorkerId, functions: HashSet<FunctionId>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Greeting { ready_by, .. } = worker.state else { return };
        if let Some(group) = self.groups.get_mut(worker.group.0) {
            group.functions = Some(functions.clone());
        }
        worker.state = State::Preparing { ready_by, functions };
        self.actions.push(Action::Welcome { worker: id });
    }

    fn ready(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Preparing { functions, .. } = &mut worker.state else { return };
        let functions = std::mem::take(functions);
        worker.state = State::Serving(Serving::new(now, functions));
        if let Some(group) = self.groups.get_mut(worker.group.0) {
            group.ever_ready = true;
        }
    }

    fn not_started(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.leave_slot(id, worker.slot);
        self.start_failed(now, id, worker.group, fault);
    }

    fn unfit(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let group = worker.group;
        // What a worker that is being stopped makes of it is its own affair.
        if !matches!(worker.state, State::Greeting { .. } | State::Preparing { .. }) {
            return;
        }
        self.stop(now, id);
        self.start_failed(now, id, group, StartFault::Permanent);
    }

    fn disconnected(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match &worker.state {
            State::Serving(serving) if serving.in_flight.is_empty() && self.is_through(worker) => {
                self.leave(now, id);
            }
            State::Leaving { .. } | State::Stopping { .. } => {}
            State::Greeting { .. } | State::Preparing { .. } | State::Serving(_) => {
                self.stop_at_once(now, id);
            }
        }
    }

    /// Whether it was given the one call that it was told to be its last: it goes by itself.
    fn is_through(&self, worker: &Worker<B>) -> bool {
        self.settings.one_call && worker.given > 0
    }

    fn exited(&mut self, now: Time, id: WorkerId, unread: Unread) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.leave_slot(id, worker.slot);
        let (accounted, never_read) = match worker.state {
            State::Greeting { .. } | State::Preparing { .. } => (false, 0),
            State::Leaving { .. } => (true, 0),
            State::Serving(serving) => (false, self.settle(now, id, serving.in_flight, unread)),
            State::Stopping { accounted, in_flight, .. } => {
                (accounted, self.settle(now, id, in_flight, unread))
            }
        };
        let served = worker.given > never_read;
        if !served && !accounted {
            self.start_failed(now, id, worker.group, StartFault::Passing);
        } else if self.settings.one_call && !self.queue.is_empty() {
            self.fail(now, id);
        } else if served {
            self.budget.succeed();
        }
    }

    /// Draws the conclusions from a death: what was answered is done, what may have been running
    /// is lost, the rest never began. Returns how many items the worker was sent, but did not read.
    fn settle(&mut self, now: Time, id: WorkerId, in_flight: InFlight<B>, unread: Unread) -> u64 {
        let after = now.saturating_sub(in_flight.running_since);
        let untouched = unread == Unread::Something
            && in_flight.calls.len() == 1
            && in_flight.calls.front().is_some_and(|sent| sent.answered == 0)
            && !in_flight.expired;
        let never_read = if untouched { in_flight.items } else { 0 };
        let mut may_have_run = !untouched;
        for Sent { taken, answered, .. } in in_flight.calls {
            let mut rest = taken.chunk.items.start + answered..taken.chunk.items.end;
            if std::mem::take(&mut may_have_run) {
                let running = rest.start..rest.start + 1;
                rest.start = running.end;
                if !in_flight.expired {
                    let ending = Ending::Lost { worker: id, after };
                    self.conclude(taken.chunk.batch.clone(), running, ending);
                }
            }
            self.put_back(taken, rest);
        }
        never_read
    }

    fn put_back(&mut self, taken: Taken<B>, items: Range<u64>) {
        match self.phase {
            Phase::Running | Phase::Closing => {
                self.queue.put_back(taken, items);
            }
            Phase::Interrupted => {
                let ending = Ending::Cancelled(Cancellation::Interrupted);
                self.conclude(taken.chunk.batch, items, ending);
            }
            Phase::Failed => {
                let ending = Ending::Cancelled(Cancellation::PoolFailed);
                self.conclude(taken.chunk.batch, items, ending);
            }
            Phase::Stopping | Phase::Ended => {
                let ending = Ending::Cancelled(Cancellation::Terminated);
                self.conclude(taken.chunk.batch, items, ending);
            }
        }
    }

    /// Counts a failed start, if more are needed; beyond the budget, or where another try would
    /// fail in the same way, the pool fails.
    fn start_failed(&mut self, now: Time, id: WorkerId, group: GroupId, fault: StartFault) {
        if !self.needs_workers() {
            return;
        }
        let spent = self.budget.spend(now);
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

    fn leave_slot(&mut self, id: WorkerId, slot: SlotId) {
        if let Some(seat) = self.slots.get_mut(slot.0 as usize)
            && *seat == Some(id)
        {
            *seat = None;
        }
    }

    /// Ends a worker politely, then by force.
    fn stop(&mut self, now: Time, id: WorkerId) {
        let kill_at = now.saturating_add(self.settings.grace);
        if self.put_into_stopping(now, id, Some(kill_at)) {
            self.actions.push(Action::Terminate { worker: id });
        }
        self.account(id);
    }

    /// Ends a worker by force: it does not keep to the protocol, so there is nothing to wait for.
    fn stop_at_once(&mut self, now: Time, id: WorkerId) {
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

    /// Lets a worker go that has nothing in flight.
    fn leave(&mut self, now: Time, id: WorkerId) {
        let goes_by_itself = self.workers.get(&id).is_some_and(|worker| self.is_through(worker));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let slot = worker.slot;
        worker.state = State::Leaving { by: now.saturating_add(self.settings.drain_timeout) };
        if !goes_by_itself {
            self.actions.push(Action::Drain { worker: id });
        }
        self.leave_slot(id, slot);
    }

    fn expire(&mut self, now: Time) {
        let limit = self.settings.task_timeout;
        let due: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.deadline(limit).is_some_and(|deadline| deadline <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            // The one before may have ended the pool, and with it what this one was due for.
            if worker.deadline(limit).is_none_or(|deadline| deadline > now) {
                continue;
            }
            let group = worker.group;
            match &mut worker.state {
                State::Greeting { .. } | State::Preparing { .. } => {
                    self.stop_at_once(now, id);
                    self.account(id);
                    self.start_failed(now, id, group, StartFault::Permanent);
                }
                State::Serving(serving) => {
                    let in_flight = &mut serving.in_flight;
                    in_flight.expired = true;
                    let after = now.saturating_sub(in_flight.running_since);
                    if let Some((batch, item)) = in_flight.running() {
                        let ending = Ending::TimedOut { worker: id, after };
                        self.conclude(batch, item..item + 1, ending);
                    }
                    self.stop(now, id);
                }
                State::Leaving { .. } => self.stop(now, id),
                State::Stopping { .. } => self.stop_at_once(now, id),
            }
        }
    }

    /// Notes that the exit of a worker will say nothing new.
    fn account(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let State::Stopping { accounted, .. } = &mut worker.state
        {
            *accounted = true;
        }
    }

    /// Lets those workers go that have reached their limit, or that nobody will need.
    fn retire(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Running | Phase::Closing | Phase::Interrupted) {
            return;
        }
        let finished = !self.needs_workers();
        let done: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| match &worker.state {
                State::Serving(serving) => {
                    let idle = serving.in_flight.is_empty();
                    idle && (finished || self.items_left(worker) == 0)
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

    /// How many more items a worker may be given.
    fn items_left(&self, worker: &Worker<B>) -> u64 {
        if self.settings.one_call {
            return u64::from(worker.given == 0);
        }
        match self.settings.max_tasks_per_child {
            Some(limit) => limit.get().saturating_sub(worker.given),
            None => u64::MAX,
        }
    }

    /// Whether there is, or may yet be, something that waits for a worker.
    fn needs_workers(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Closing => !self.queue.is_empty(),
            Phase::Interrupted | Phase::Stopping | Phase::Failed | Phase::Ended => false,
        }
    }

    fn wants_start(&self) -> bool {
        let replaces = !self.settings.one_call || self.next_worker < self.slots.len() as u64;
        self.needs_workers()
            && replaces
            && self.workers.len() < self.slots.len() + SURGE
            && self.slots.iter().any(Option::is_none)
    }

    /// Starts one worker, if one is wanted. What becomes of a start is known before the next.
    fn start_worker(&mut self, now: Time) {
        if self.budget.not_before() > now || !self.wants_start() {
            return;
        }
        let mut seats = self.slots.iter_mut().zip(&self.settings.slots).enumerate();
        let Some((index, (seat, &group))) = seats.find(|(_, (seat, _))| seat.is_none()) else {
            return;
        };
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        *seat = Some(worker);
        let slot = SlotId(u32::try_from(index).unwrap_or(u32::MAX));
        let state = State::Greeting {
            hello_by: now.saturating_add(self.settings.hello_timeout),
            ready_by: now.saturating_add(self.settings.ready_timeout),
        };
        self.workers.insert(worker, Worker { slot, group, given: 0, state });
        self.actions.push(Action::Start { worker, slot, group });
    }

    /// Hands out work: first a call to everyone who is idle, then more to those who have room.
    fn send(&mut self, now: Time) {
        for worker in self.workers.values_mut() {
            if let State::Serving(serving) = &mut worker.state {
                serving.measure(now);
            }
        }
        for only_idle in [true, false] {
            // Who cannot be sent anything in one turn cannot in the next.
            let mut ids: Vec<_> = self.workers.keys().copied().collect();
            while !ids.is_empty() && !self.queue.is_empty() {
                ids.retain(|&id| self.send_to(now, id, only_idle));
            }
        }
    }

    fn send_to(&mut self, now: Time, id: WorkerId, only_idle: bool) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let left = self.items_left(worker);
        let State::Serving(serving) = &worker.state else { return false };
        let room = if only_idle { serving.in_flight.is_empty() } else { serving.has_room(now) };
        if left == 0 || !room {
            return false;
        }
        let functions = &serving.functions;
        let Some(taken) = self.queue.take(left, |function| functions.contains(&function)) else {
            return false;
        };
        let Some(Worker { given, state: State::Serving(serving), .. }) = self.workers.get_mut(&id)
        else {
            return false;
        };
        let call = CallId(self.next_call);
        self.next_call += 1;
        let chunk = taken.chunk.clone();
        *given += chunk.items.end - chunk.items.start;
        serving.send(now, call, taken);
        let last = self.settings.one_call;
        self.actions.push(Action::Send { worker: id, call, chunk, last });
        true
    }
}
