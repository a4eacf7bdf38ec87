//! The machine itself: what it takes in and gives out, the starts of workers, and the handing out
//! of work.

mod concluding;
mod ending;

use std::collections::{BTreeMap, HashSet};

use super::{
    Action, Answer, Batch, CallId, Cancellation, Ending, Event, FunctionId, Settings, SlotId, Time,
    WorkerId,
    budget::StartBudget,
    queue::Queue,
    worker::{Serving, State, Worker},
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
            (State::Serving(serving), answer @ (Answer::Accepted { .. } | Answer::Late)) => {
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
            Event::Cancelled { batch } => self.cancel(batch),
            Event::Withdrawn { batch } => self.withdraw(batch),
            Event::Closed => self.close(),
            Event::Interrupted => self.interrupt(),
            Event::Terminated => self.shut_down(now, Phase::Stopping, Cancellation::Terminated),
            Event::Killed => {
                // First, so that nobody is sent the polite signal, which could win.
                let ids: Vec<_> = self.workers.keys().copied().collect();
                for id in ids {
                    self.stop_at_once(now, id);
                }
                self.shut_down(now, Phase::Stopping, Cancellation::Terminated);
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
    /// Nothing is sent before each kind of worker has shown that it can be started: a pool that
    /// cannot work as a whole does not begin.
    fn send(&mut self, now: Time) {
        if !self.groups.iter().all(|group| group.ever_ready) {
            return;
        }
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
