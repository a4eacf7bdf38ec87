//! The books that are kept beside the machine, and the rules on what may be entered.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{
    super::{queue::MAX_CHUNK_BYTES, *},
    Load,
    scenario::Request,
    starts::Starts,
    worker::Item,
};

/// Everything that is known of a pool from outside of the machine.
pub(super) struct Ledger {
    settings: Settings,
    batches: HashMap<usize, Batch>,
    /// What waits, by function, in the order of submission.
    waiting: BTreeMap<FunctionId, BTreeSet<Place>>,
    workers: BTreeMap<WorkerId, Worker>,
    /// What each group announced last.
    announced: Vec<Option<HashSet<FunctionId>>>,
    ever_ready: HashSet<GroupId>,
    starts: Starts,
    next_worker: u64,
    next_call: u64,
    closed: bool,
    interrupted: bool,
    terminated: bool,
    failed: bool,
    ended: bool,
    /// How many items are [`ItemState::Unwanted`].
    unwanted: u64,
    /// What may have been running at a worker that has died, and is to be lost.
    to_be_lost: Vec<(WorkerId, Place, Duration)>,
}

/// Of an item: its batch in the order of submission, and its number therein.
type Place = (usize, u64);

struct Batch {
    order: usize,
    function: FunctionId,
    chunk_size: u64,
    items: Vec<ItemState>,
    /// Items that a worker which keeps to the protocol has begun.
    begun: HashMap<u64, WorkerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ItemState {
    Waiting,
    Sent(WorkerId),
    /// It was cancelled, and is to be concluded at once for that.
    Unwanted,
    Concluded,
}

impl ItemState {
    /// Whether its outcome is decided, be it announced or not.
    const fn is_decided(self) -> bool {
        matches!(self, Self::Unwanted | Self::Concluded)
    }
}

struct Worker {
    slot: SlotId,
    group: GroupId,
    functions: HashSet<FunctionId>,
    ready: bool,
    /// It is on its way out: it is to be sent nothing, and its seat is free.
    dismissed: bool,
    /// Its end is the machine's own choice, or was counted as a failed start.
    accounted: bool,
    killed: bool,
    /// What it begins and answers follows no rule.
    broke_protocol: bool,
    given: u64,
    outstanding: VecDeque<Outstanding>,
    /// Since when the first of `outstanding` is the first.
    since: Time,
    /// Since when the first of `outstanding` has always been a cancelled one.
    futile_since: Option<Time>,
}

/// An item that a worker was sent, and has not answered.
#[derive(Debug, Clone)]
struct Outstanding {
    call: CallId,
    index: u32,
    load: usize,
    item: u64,
    bytes: u64,
    /// It is the first item of its call.
    begins_call: bool,
}

impl Batch {
    fn state_of(&self, item: u64) -> ItemState {
        self.items[usize::try_from(item).unwrap()]
    }
}

impl Worker {
    fn is_serving(&self) -> bool {
        self.ready && !self.dismissed
    }

    fn is_idle(&self) -> bool {
        self.is_serving() && self.outstanding.is_empty()
    }

    fn calls(&self) -> usize {
        let begun = self.outstanding.front().is_some_and(|first| !first.begins_call);
        self.outstanding.iter().filter(|item| item.begins_call).count() + usize::from(begun)
    }
}

impl Ledger {
    pub(super) fn new(settings: Settings) -> Self {
        let groups = settings.slots.iter().map(|group| group.0 + 1).max().unwrap_or(0);
        Self {
            starts: Starts::new(settings.clone()),
            settings,
            batches: HashMap::new(),
            waiting: BTreeMap::new(),
            workers: BTreeMap::new(),
            announced: vec![None; groups],
            ever_ready: HashSet::new(),
            next_worker: 0,
            next_call: 0,
            closed: false,
            interrupted: false,
            terminated: false,
            failed: false,
            ended: false,
            unwanted: 0,
            to_be_lost: Vec::new(),
        }
    }

    pub(super) fn requested(&mut self, request: &Request) {
        match request {
            Request::Submit { load, function, chunk_size } => {
                let order = self.batches.len();
                let items = vec![ItemState::Waiting; load.ends.len()];
                let (function, chunk_size) = (*function, *chunk_size);
                let places = (0..load.items()).map(|item| (order, item));
                self.waiting.entry(function).or_default().extend(places);
                let begun = HashMap::new();
                let batch = Batch { order, function, chunk_size, items, begun };
                self.batches.insert(load.id, batch);
            }
            Request::Cancel { batch } => self.cancelled(*batch),
            Request::Close => self.closed = true,
            Request::Interrupt => {
                self.closed = true;
                self.interrupted = true;
            }
            Request::Terminate => self.terminated = true,
            Request::Kill => {
                self.terminated = true;
                for worker in self.workers.values_mut() {
                    worker.accounted = true;
                }
            }
        }
    }

    /// Every decision of the machine is entered by now, so all that is open has to be concluded.
    fn cancelled(&mut self, load: usize) {
        let Some(batch) = self.batches.get_mut(&load) else { return };
        for state in batch.items.iter_mut().filter(|state| !state.is_decided()) {
            *state = ItemState::Unwanted;
            self.unwanted += 1;
        }
        let order = batch.order;
        self.waiting.entry(batch.function).or_default().retain(|place| place.0 != order);
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.note_futility(id);
        }
    }

    fn note_futility(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        let first = worker.outstanding.front();
        let futile =
            first.is_some_and(|first| self.batches[&first.load].state_of(first.item).is_decided());
        worker.futile_since = futile.then(|| worker.futile_since.unwrap_or(worker.since));
    }

    pub(super) fn greeted(&mut self, id: WorkerId, functions: HashSet<FunctionId>) {
        let worker = self.workers.get_mut(&id).unwrap();
        if !worker.dismissed {
            worker.functions.clone_from(&functions);
            self.announced[worker.group.0] = Some(functions);
        }
    }

    pub(super) fn ready(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        if !worker.dismissed {
            worker.ready = true;
            self.ever_ready.insert(worker.group);
        }
    }

    pub(super) fn silenced(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        // A process for one call is expected to leave after it.
        let leaves = worker.is_idle() && worker.given > 0 && self.settings.one_call;
        worker.accounted |= leaves;
        worker.dismissed = true;
    }

    pub(super) fn not_started(&mut self, now: Time, id: WorkerId, fault: StartFault) {
        let worker = self.workers.remove(&id).unwrap();
        self.start_failed(now, worker.group, fault);
    }

    pub(super) fn unfit(&mut self, now: Time, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        if !std::mem::replace(&mut worker.dismissed, true) {
            worker.accounted = true;
            let group = worker.group;
            self.start_failed(now, group, StartFault::Permanent);
        }
    }

    /// A worker has really begun an item.
    pub(super) fn began(&mut self, id: WorkerId, item: &Item, broke_protocol: bool) {
        if broke_protocol {
            self.workers.get_mut(&id).unwrap().broke_protocol = true;
            return;
        }
        let batch = self.batches.get_mut(&item.batch).unwrap();
        let before = batch.begun.insert(item.item, id);
        assert_eq!(before, None, "{item:?} is begun twice");
    }

    pub(super) fn answered(
        &mut self,
        now: Time,
        id: WorkerId,
        call: CallId,
        index: u32,
        answer: &Answer<Load>,
    ) {
        let shut_down = self.terminated || self.starts.must_fail;
        let worker = self.workers.get_mut(&id).unwrap();
        let awaited = |item: &Outstanding| item.call == call && item.index == index;
        if !worker.outstanding.front().is_some_and(awaited) {
            let ignored = *answer == Answer::Late && (worker.dismissed || shut_down);
            let refused = *answer == Answer::Refused;
            assert!(refused || ignored, "an answer that was not awaited: {answer:?}");
            return;
        }
        let item = worker.outstanding.pop_front().unwrap();
        worker.since = now;
        let batch = self.batches.get_mut(&item.load).unwrap();
        let state = &mut batch.items[usize::try_from(item.item).unwrap()];
        match answer {
            Answer::Accepted { batch: load, item: number } => {
                assert_eq!((load.id, *number), (item.load, item.item), "taken for another item");
                assert_eq!(*state, ItemState::Sent(id), "an answer to what is concluded");
                let begun = batch.begun.get(number) == Some(&id) || worker.broke_protocol;
                assert!(begun, "answered, and never begun");
                *state = ItemState::Concluded;
            }
            Answer::Late => {
                // After a shutdown the machine has concluded it, and not yet said so.
                assert!(state.is_decided() || shut_down, "a good answer is dropped");
            }
            Answer::Refused => panic!("a good answer is refused"),
        }
        self.note_futility(id);
    }

    /// A worker is gone. The first item that it has not answered may have been running, unless
    /// it is known to be unread: that is so if the last call was not read, and is the only one.
    pub(super) fn exited(&mut self, now: Time, id: WorkerId, unread: Unread) {
        let worker = self.workers.remove(&id).unwrap();
        let shut_down = self.terminated || self.starts.must_fail;
        let untouched = unread == Unread::Something
            && worker.calls() == 1
            && worker.outstanding.front().is_some_and(|first| first.begins_call);
        let never_read = if untouched { worker.outstanding.len() as u64 } else { 0 };
        for (position, outstanding) in worker.outstanding.iter().enumerate() {
            let batch = self.batches.get_mut(&outstanding.load).unwrap();
            let place = (batch.order, outstanding.item);
            let state = &mut batch.items[usize::try_from(outstanding.item).unwrap()];
            // After a shutdown the machine has concluded it, and not yet said so.
            if state.is_decided() || shut_down {
                continue;
            }
            if position == 0 && !untouched {
                self.to_be_lost.push((id, place, now - worker.since));
            } else {
                *state = ItemState::Waiting;
                self.waiting.entry(batch.function).or_default().insert(place);
            }
        }
        let served = worker.given > never_read;
        if served && !self.settings.one_call {
            self.starts.served();
        } else if !served && !worker.accounted {
            self.start_failed(now, worker.group, StartFault::Passing);
        } else if self.settings.one_call && self.is_waiting() {
            self.starts.must_fail = true;
        }
    }

    fn start_failed(&mut self, now: Time, group: GroupId, fault: StartFault) {
        let needed = !self.closed || self.is_waiting();
        if self.is_shut_down() || !needed {
            return;
        }
        let hopeless = fault == StartFault::Permanent && !self.ever_ready.contains(&group);
        self.starts.failed(now, hopeless);
    }

    fn state_of(&self, outstanding: &Outstanding) -> ItemState {
        self.batches[&outstanding.load].state_of(outstanding.item)
    }

    fn is_waiting(&self) -> bool {
        self.waiting.values().any(|places| !places.is_empty())
    }

    const fn is_shut_down(&self) -> bool {
        self.interrupted || self.terminated || self.failed
    }

    /// Takes in a decision of the machine, and checks that it is allowed.
    pub(super) fn decided(&mut self, now: Time, action: &Action<Load>) {
        match action {
            Action::Start { worker, slot, group } => self.start(now, *worker, *slot, *group),
            // Whoever is gone in the same round need not be told anything.
            Action::Welcome { worker }
            | Action::Drain { worker }
            | Action::Terminate { worker }
            | Action::Kill { worker }
                if !self.workers.contains_key(worker) =>
            {
                assert!(worker.0 < self.next_worker, "a worker that was never started");
            }
            Action::Welcome { worker } => {
                assert!(!self.workers[worker].ready, "a worker is welcomed twice");
            }
            Action::Send { worker, call, chunk, last } => {
                assert!(self.is_complete(), "sent before each kind of worker was ready once");
                assert_eq!(*last, self.settings.one_call, "the last call");
                self.send(now, *worker, *call, chunk);
            }
            Action::Drain { worker } => {
                let worker = self.workers.get_mut(worker).unwrap();
                assert!(worker.outstanding.is_empty(), "asked to leave with work in its hands");
                worker.accounted = true;
                worker.dismissed = true;
            }
            Action::Terminate { worker } => {
                self.check_stop(now, *worker);
                let worker = self.workers.get_mut(worker).unwrap();
                assert!(!worker.killed, "stopped politely after it was killed");
                worker.accounted = true;
                worker.dismissed = true;
            }
            Action::Kill { worker } => self.kill(now, *worker),
            Action::Conclude { batch, items, ending } => {
                assert!(!items.is_empty(), "nothing is concluded");
                for item in items.clone() {
                    self.conclude(now, batch, item, *ending);
                }
            }
            Action::Fail { .. } => {
                assert!(self.starts.must_fail && !self.failed, "the pool fails without a cause");
                self.failed = true;
            }
            Action::End => {
                assert!(!self.ended, "the pool ends twice");
                assert!(self.closed || self.terminated || self.failed, "it ends by itself");
                self.ended = true;
            }
        }
    }

    fn start(&mut self, now: Time, id: WorkerId, slot: SlotId, group: GroupId) {
        assert!(!self.is_shut_down() && !self.ended, "started after the shutdown has begun");
        assert!(!self.closed || self.is_waiting(), "started, and there is nothing to do");
        assert!(id.0 >= self.next_worker, "an old id");
        self.next_worker = id.0 + 1;
        self.starts.check_start(now);
        let taken = self.workers.values().any(|other| other.slot == slot && !other.dismissed);
        assert!(!taken, "the seat is taken");
        assert_eq!(self.settings.slots[slot.0 as usize], group);
        let worker = Worker {
            slot,
            group,
            functions: HashSet::new(),
            ready: false,
            dismissed: false,
            accounted: false,
            killed: false,
            broke_protocol: false,
            given: 0,
            outstanding: VecDeque::new(),
            since: now,
            futile_since: None,
        };
        self.workers.insert(id, worker);
    }

    fn kill(&mut self, now: Time, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        assert!(!std::mem::replace(&mut worker.killed, true), "killed twice");
        if !std::mem::replace(&mut worker.dismissed, true) {
            // Together with the pool, or as it was not ready in time.
            assert!(!worker.ready || self.terminated, "killed without a cause");
            worker.accounted = true;
            let group = worker.group;
            self.start_failed(now, group, StartFault::Permanent);
        }
    }

    fn send(&mut self, now: Time, id: WorkerId, call: CallId, chunk: &Chunk<Load>) {
        assert!(!self.is_shut_down(), "sent after the shutdown has begun");
        assert!(call.0 >= self.next_call, "an old call id");
        self.next_call = call.0 + 1;
        self.check_turn(id, chunk);
        self.check_room(now, id);
        let worker = self.workers.get_mut(&id).unwrap();
        assert!(worker.is_serving(), "sent to a worker that does not serve");
        assert!(worker.functions.contains(&chunk.function), "sent a function it does not have");
        let batch = self.batches.get_mut(&chunk.batch.id).unwrap();
        let count = chunk.items.end - chunk.items.start;
        assert!((1..=batch.chunk_size).contains(&count), "a chunk of {count} items");
        let bytes = super::super::Batch::bytes(&chunk.batch, chunk.items.clone());
        assert!(count == 1 || bytes <= MAX_CHUNK_BYTES, "a chunk of {bytes} bytes");
        worker.given += count;
        let limit = self.settings.max_tasks_per_child.map_or(u64::MAX, NonZeroU64::get);
        assert!(worker.given <= limit, "more items than its limit");
        assert!(!self.settings.one_call || worker.given == 1, "more than one call");
        if worker.outstanding.is_empty() {
            worker.since = now;
        }
        for (item, index) in chunk.items.clone().zip(0..) {
            let state = &mut batch.items[usize::try_from(item).unwrap()];
            assert_eq!(*state, ItemState::Waiting, "item {item} does not wait");
            *state = ItemState::Sent(id);
            assert_eq!(batch.begun.get(&item), None, "item {item} was begun before");
            let waited = self.waiting.get_mut(&batch.function).unwrap();
            assert!(waited.remove(&(batch.order, item)));
            let bytes = super::super::Batch::bytes(&chunk.batch, item..item + 1);
            let begins_call = index == 0;
            let load = chunk.batch.id;
            let outstanding = Outstanding { call, index, load, item, bytes, begins_call };
            worker.outstanding.push_back(outstanding);
        }
    }

    fn conclude(&mut self, now: Time, load: &Load, item: u64, ending: Ending) {
        let batch = self.batches.get_mut(&load.id).unwrap();
        let place = (batch.order, item);
        let state = &mut batch.items[usize::try_from(item).unwrap()];
        let before = std::mem::replace(state, ItemState::Concluded);
        let unwanted = before == ItemState::Unwanted;
        let by_caller = ending == Ending::Cancelled(Cancellation::ByCaller);
        assert_eq!(unwanted, by_caller, "item {item} was cancelled: {unwanted}");
        self.unwanted -= u64::from(unwanted);
        assert_ne!(before, ItemState::Concluded, "item {item} is concluded twice");
        let begun = batch.begun.contains_key(&item);
        let function = batch.function;
        if before == ItemState::Waiting {
            assert!(self.waiting.get_mut(&function).unwrap().remove(&place));
            assert!(!begun, "item {item} was begun, and waits");
        }
        match ending {
            Ending::Lost { worker, after } => {
                let lost = self.to_be_lost.iter().position(|&lost| lost == (worker, place, after));
                self.to_be_lost.swap_remove(lost.expect("what cannot have been running is lost"));
            }
            Ending::TimedOut { worker, after } => {
                let worker = &self.workers[&worker];
                let first = worker.outstanding.front().map(|first| (first.load, first.item));
                assert_eq!(first, Some((load.id, item)), "it was not its turn");
                assert_eq!(after, now - worker.since);
                assert!(after >= self.settings.task_timeout.unwrap(), "its time was not over");
            }
            // It was, as is checked above.
            Ending::Cancelled(Cancellation::ByCaller) => {}
            Ending::Cancelled(Cancellation::Terminated) => {
                assert!(self.terminated || self.closed || self.ended);
            }
            Ending::Cancelled(Cancellation::Interrupted) => {
                assert!(self.interrupted && before == ItemState::Waiting);
            }
            Ending::Cancelled(Cancellation::PoolFailed) => assert!(self.starts.must_fail),
            Ending::Cancelled(Cancellation::UnknownFunction) => {
                assert_eq!(before, ItemState::Waiting);
                assert!(self.is_unknown(function), "{function:?} is known");
            }
        }
    }
}
