//! The machine itself: what it takes in and gives out, the starts of workers, and the handing out
//! of work.

mod concluding;
mod ending;
mod retrying;
mod rolling;
mod sizing;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

#[cfg(test)]
pub(super) use self::{
    retrying::MAX_RETRY_BACKOFF,
    rolling::{PROOF_ITEMS, PROOF_PATIENCE},
};
use self::{retrying::Tries, rolling::Rollout};
use super::{
    Action, Answer, Batch, CallId, Cancellation, Ending, Event, Flaw, FunctionId, Generation,
    GroupId, Repertoire, Settings, SlotId, StateView, Time, Verdict, WorkerId,
    budget::StartBudget,
    jitter::Jitter,
    marks::Marks,
    pace::Paces,
    queue::{Offer, Queue},
    worker::{Serving, State, Worker, lookahead},
};

/// How many processes may live beside those in the slots: while one worker leaves, its
/// replacement may already start.
const SURGE: usize = 1;

/// A worker that has something to do is sent so many calls in a row before it is the turn of the next
/// one: so neighbours stay together, and with them their results.
const CALLS_IN_A_TURN: u32 = 16;

/// The decisions of one pool; see the module.
#[derive(Debug)]
pub(crate) struct Machine<B> {
    settings: Settings,
    phase: Phase,
    seats: Vec<Seat>,
    /// Every process that has been started and not been reaped.
    workers: BTreeMap<WorkerId, Worker<B>>,
    groups: Vec<Group>,
    queue: Queue<B>,
    /// How long the items of each function take.
    paces: Paces,
    /// What was tried, and is not concluded, by batch and item.
    tries: HashMap<(u64, u64), Tries>,
    rollout: Option<Rollout>,
    budget: StartBudget,
    jitter: Jitter,
    next_worker: u64,
    next_call: u64,
    /// How many items were submitted and are not concluded.
    pending: u64,
    actions: Vec<Action<B>>,
}

/// A place for a worker.
#[derive(Debug, Clone, Copy)]
struct Seat {
    group: GroupId,
    /// Who sits there. Workers that leave or are being stopped sit in none.
    taken: Option<WorkerId>,
    /// It stays empty until there is something to do.
    resting: bool,
}

impl Seat {
    const fn new(group: GroupId) -> Self {
        Self { group, taken: None, resting: false }
    }

    const fn is_vacant(&self) -> bool {
        self.taken.is_none() && !self.resting
    }
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
    /// What those of the command before announced, to which a replacement may go back.
    functions_before: Option<HashSet<FunctionId>>,
    ever_ready: bool,
    /// What its workers are started by.
    generation: Generation,
    /// The functions that its workers were asked for.
    used: Marks,
    /// The functions that have ever given a result.
    completed: Marks,
}

/// One worker, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerView {
    pub(crate) id: WorkerId,
    pub(crate) state: StateView,
    /// How many items it has answered.
    pub(crate) answered: u64,
    pub(crate) started: Time,
    /// It is given no more.
    pub(crate) retiring: bool,
}

impl<B: Batch> Machine<B> {
    pub(crate) fn new(settings: Settings) -> Self {
        let group_count = settings.slots.iter().map(|group| group.0 + 1).max().unwrap_or(0);
        let budget = StartBudget::new(&settings);
        Self {
            phase: Phase::Running,
            seats: settings.slots.iter().copied().map(Seat::new).collect(),
            workers: BTreeMap::new(),
            groups: (0..group_count).map(|_| Group::default()).collect(),
            queue: Queue::new(),
            paces: Paces::default(),
            tries: HashMap::new(),
            rollout: None,
            budget,
            jitter: Jitter::new(settings.seed),
            next_worker: 0,
            next_call: 0,
            pending: 0,
            actions: Vec::new(),
            settings,
        }
    }

    /// Takes in answers to consecutive items of a call. The outcome is that of the first of them, and
    /// of those behind it that fare alike; the others are to be given again.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        id: WorkerId,
        call: CallId,
        items: Range<u32>,
        verdict: Verdict,
    ) -> Answer<B> {
        let Some(worker) = self.workers.get_mut(&id) else { return Answer::Refused };
        let group = worker.group;
        let Some(in_flight) = worker.in_flight_mut() else { return Answer::Refused };
        let may_be_again = verdict == Verdict::Failed && self.settings.retry_failed;
        let again = may_be_again.then(|| in_flight.first_item()).flatten();
        let kind = in_flight.kind();
        let answer = in_flight.answer(now, call, items);
        let count = match &answer {
            Answer::Accepted { items, .. } => items.end - items.start,
            Answer::Late { items } => u64::from(*items),
            Answer::Retried { .. } | Answer::Refused => 0,
        };
        match (&mut worker.state, &answer) {
            // What it still says is of no interest, whatever it is.
            (State::Stopping { .. }, Answer::Refused) => return Answer::Late { items: 1 },
            (State::Serving(serving), Answer::Accepted { .. } | Answer::Late { .. }) => {
                serving.count_answers(now, kind, count);
                let is_first = worker.answered == 0;
                worker.answered += count;
                if is_first {
                    self.budget.make_good(worker.group, worker.started);
                }
            }
            _ => {}
        }
        match answer {
            Answer::Accepted { batch, items } => {
                if let Some(kind) = kind {
                    self.note_verdict((id, group), kind.function, verdict, count);
                }
                if let Some(again) = again
                    && self.retry_failed(now, again, items.start)
                {
                    return Answer::Retried { batch, item: items.start };
                }
                self.forget_tries(batch.id(), &items);
                self.pending -= items.end - items.start;
                Answer::Accepted { batch, items }
            }
            Answer::Late { items } => {
                self.release_held(now, id);
                Answer::Late { items }
            }
            answer @ (Answer::Retried { .. } | Answer::Refused) => answer,
        }
    }

    /// Takes in a sign of life from an item. False if it is not the one in the worker's hands.
    pub(crate) fn progress(&mut self, now: Time, id: WorkerId, call: CallId, item: u32) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        // What one still says that is being stopped is of no interest, whatever it is.
        let is_stopping = matches!(worker.state, State::Stopping { .. });
        let in_flight = worker.in_flight_mut();
        is_stopping || in_flight.is_some_and(|in_flight| in_flight.progress(now, call, item))
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
            Event::Resized { slots } => self.resize(now, slots),
            Event::Replaced { group, generation } => self.replace(now, group, generation),
            Event::Measured { worker, memory } => self.measured(now, worker, memory),
            Event::Greeted { worker, repertoire } => self.greeted(now, worker, repertoire),
            Event::Ready { worker } => self.ready(now, worker),
            Event::Unfit { worker } => self.unfit(now, worker),
            Event::Misbehaved { worker } => self.stop_at_once(now, worker),
            Event::Disconnected { worker } => self.disconnected(now, worker),
            Event::Exited { worker, unread, struck } => {
                self.exited(now, worker, unread, struck);
            }
        }
    }

    /// Moves on: deadlines, replacements, starts, sendings, the end.
    pub(crate) fn advance(&mut self, now: Time) {
        self.queue.put_back_due(now);
        self.expire(now);
        self.cancel_unknown();
        self.roll(now);
        self.retire(now);
        self.send(now);
        self.wake_seats();
        self.start_worker(now);
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
        let workers = self.workers.values().filter_map(|worker| worker.deadline(&self.settings));
        let start = self.wants_start().then(|| self.budget.not_before());
        let aged = self.next_aged().map(|(time, _)| time);
        let idle = self.next_idle().map(|(time, _)| time);
        let others = [start, aged, idle, self.queue.next_time(), self.rollout_deadline()];
        workers.chain(others.into_iter().flatten()).min()
    }

    /// Whether nothing is under way: no item is pending, and all workers are there and serve.
    pub(crate) fn is_at_rest(&self) -> bool {
        let serves = |seat: &Seat| seat.resting || seat.taken.is_some();
        self.pending == 0
            && self.phase == Phase::Running
            && self.rollout.is_none()
            && self.seats.iter().all(serves)
            && self.workers.values().all(|worker| matches!(worker.state, State::Serving(_)))
    }

    /// Whether no worker will be started any more.
    pub(crate) fn starts_no_more(&self) -> bool {
        self.pending == 0 && !self.needs_workers()
    }

    /// Who has the only item that is pending.
    pub(crate) fn only_worker_at_work(&self) -> Option<WorkerId> {
        if self.pending != 1 {
            return None;
        }
        let busy = |worker: &Worker<B>| worker.items_in_flight() > 0;
        self.workers.iter().find(|(_, worker)| busy(worker)).map(|(&id, _)| id)
    }

    /// How many items wait.
    pub(crate) fn items_waiting(&self) -> u64 {
        self.queue.len()
    }

    /// Every worker, for people.
    pub(crate) fn views(&self) -> impl Iterator<Item = WorkerView> {
        self.workers.iter().map(|(&id, worker)| WorkerView {
            id,
            state: worker.view(),
            answered: worker.answered,
            started: worker.started,
            retiring: worker.retiring,
        })
    }

    /// How many items were sent to workers and are not concluded.
    pub(crate) fn items_in_flight(&self) -> u64 {
        self.workers.values().map(Worker::items_in_flight).sum()
    }

    /// How many items a worker was sent that it has not answered, those that nobody waits for any
    /// more among them.
    pub(crate) fn items_at(&self, id: WorkerId) -> u64 {
        self.workers.get(&id).map_or(0, Worker::items_unanswered)
    }

    /// Whether an answer of a worker to this item is due next, and wanted.
    pub(crate) fn wants(&self, id: WorkerId, call: CallId, item: u32) -> bool {
        match self.workers.get(&id).map(|worker| &worker.state) {
            Some(State::Serving(Serving { in_flight, .. }) | State::Stopping { in_flight, .. }) => {
                in_flight.wants(call, item)
            }
            _ => false,
        }
    }

    /// Of how many items it is known how they have fared.
    #[cfg(test)]
    pub(super) fn items_tried(&self) -> usize {
        self.tries.len()
    }

    fn submit(&mut self, batch: B, function: FunctionId, items: u64, chunk_size: Option<u64>) {
        let refusal = match self.phase {
            Phase::Running => None,
            Phase::Failed => Some(Cancellation::PoolFailed),
            Phase::Interrupted => Some(Cancellation::Interrupted),
            Phase::Closing | Phase::Stopping | Phase::Ended => Some(Cancellation::Terminated),
        };
        self.pending += items;
        if let Some(reason) = refusal {
            self.conclude(batch, 0..items, Ending::Cancelled(reason));
        } else if items > 0 {
            self.queue.push(batch, function, 0..items, chunk_size.map(|size| size.max(1)));
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

    fn greeted(&mut self, now: Time, id: WorkerId, repertoire: Repertoire) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Greeting { ready_by, .. } = worker.state else { return };
        let (group, generation) = (worker.group, worker.generation);
        if self.is_of_new_command(group, generation)
            && let Some(missing) = self.missing_function(id, &repertoire)
        {
            self.stop(now, id);
            return self.roll_back(now, Some(id), Flaw::Lacks(missing));
        }
        let is_before = self.is_of_command_before(group, generation);
        // One that is on trial, or of a command that was given up, speaks for itself alone.
        if let Some(group) = self.groups.get_mut(group.0) {
            if group.generation == generation {
                group.functions = Some(repertoire.functions.clone());
            } else if is_before {
                group.functions_before = Some(repertoire.functions.clone());
            }
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.state = State::Preparing { ready_by, repertoire };
        self.actions.push(Action::Welcome { worker: id });
    }

    fn ready(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Preparing { repertoire, .. } = &mut worker.state else { return };
        let repertoire = std::mem::take(repertoire);
        worker.was_ready = true;
        worker.state = State::Serving(Serving::new(now, repertoire));
        if let Some(group) = self.groups.get_mut(worker.group.0) {
            group.ever_ready = true;
        }
    }

    /// How many more items a worker may be given.
    const fn items_left(worker: &Worker<B>) -> u64 {
        if worker.retiring { 0 } else { worker.limit.saturating_sub(worker.given) }
    }

    /// How many items a worker that starts now may be given.
    fn limit(&mut self) -> u64 {
        if self.settings.one_call {
            return 1;
        }
        match self.settings.max_tasks_per_child {
            Some(limit) => {
                let more = self.jitter.up_to(self.settings.max_tasks_jitter);
                limit.get().saturating_add(more)
            }
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
        let replaces = !self.settings.one_call || self.next_worker < self.seats.len() as u64;
        self.needs_workers()
            && replaces
            && self.workers.len() < self.seats.len() + SURGE
            && self.seats.iter().any(Seat::is_vacant)
    }

    /// Starts one worker, if one is wanted. What becomes of a start is known before the next.
    fn start_worker(&mut self, now: Time) {
        if self.budget.not_before() > now || !self.wants_start() {
            return;
        }
        let Some(index) = self.seats.iter().position(Seat::is_vacant) else { return };
        let Some(group) = self.seats.get(index).map(|seat| seat.group) else { return };
        let generation = self.groups.get(group.0).map_or(0, |group| group.generation);
        let worker = self.start(now, index, group, generation);
        if let Some(seat) = self.seats.get_mut(index) {
            seat.taken = Some(worker);
        }
    }

    fn start(
        &mut self,
        now: Time,
        index: usize,
        group: GroupId,
        generation: Generation,
    ) -> WorkerId {
        debug_assert!(!self.starts_no_more(), "it was said that none will be started");
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let slot = SlotId(u32::try_from(index).unwrap_or(u32::MAX));
        let worker = Worker {
            slot,
            group,
            generation,
            started: now,
            limit: self.limit(),
            given: 0,
            answered: 0,
            was_ready: false,
            struck: false,
            retiring: false,
            state: State::Greeting {
                hello_by: now.saturating_add(self.settings.hello_timeout),
                ready_by: now.saturating_add(self.settings.ready_timeout),
            },
        };
        self.workers.insert(id, worker);
        self.actions.push(Action::Start { worker: id, slot, group, generation });
        id
    }

    /// Hands out work: first a call to everyone who is idle, then more to those who have room.
    /// Nothing is sent before each kind of worker has shown that it can be started: a pool that
    /// cannot work as a whole does not begin.
    fn send(&mut self, now: Time) {
        if !self.groups.iter().all(|group| group.ever_ready) {
            return;
        }
        for worker in self.workers.values_mut() {
            if let State::Serving(serving) = &mut worker.state
                && let Some((kind, time, items)) = serving.measure(now)
            {
                self.paces.note(kind, time, items);
            }
        }
        if !self.queue.has_ready() {
            return;
        }
        for (only_idle, calls) in [(true, 1), (false, CALLS_IN_A_TURN)] {
            // Who cannot be sent anything in one turn cannot in the next.
            let mut ids: Vec<_> = self.workers.keys().copied().collect();
            while !ids.is_empty() && self.queue.has_ready() {
                ids.retain(|&id| self.send_to(now, id, only_idle, calls));
            }
        }
    }

    /// Sends a worker some calls. False if it cannot be sent that many.
    fn send_to(&mut self, now: Time, id: WorkerId, only_idle: bool, calls: u32) -> bool {
        // What is asked of a command on trial need not be had by another.
        let on_trial = self.is_on_trial(id);
        let (workers, cpus) = (self.seats.len(), self.settings.cpus);
        let lookahead = lookahead(workers, cpus);
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let mut group = self.groups.get_mut(worker.group.0).filter(|_| !on_trial);
        for _ in 0..calls {
            let left = Self::items_left(worker);
            let State::Serving(serving) = &mut worker.state else { return false };
            let room = match only_idle {
                true => serving.in_flight.is_empty(),
                false => serving.has_room(now, lookahead),
            };
            if left == 0 || !room {
                return false;
            }
            let functions = &serving.repertoire.functions;
            let can_run = |function: FunctionId| functions.contains(&function);
            let size = |offer: Offer| {
                let Offer { kind, chunk_size, waiting } = offer;
                // How long these take is to be seen with one of them before another waits behind it.
                if !only_idle && serving.item_time(kind).is_none() {
                    return 0;
                }
                chunk_size.unwrap_or_else(|| self.paces.chunk(kind, waiting, workers, cpus))
            };
            let Some(taken) = self.queue.take(left, can_run, size) else { return false };
            if let Some(group) = &mut group {
                group.used.insert(taken.chunk.function);
            }
            let call = CallId(self.next_call);
            self.next_call += 1;
            let chunk = taken.chunk.clone();
            worker.given += chunk.items.end - chunk.items.start;
            serving.send(now, call, taken);
            let last = self.settings.one_call;
            self.actions.push(Action::Send { worker: id, call, chunk, last });
        }
        true
    }
}
