//! The books that are kept beside the machine, and the rules on what may be entered.

mod again;
mod heard;
mod rollout;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use self::{again::Tries, rollout::Rollouts};
use super::{
    super::{queue::MAX_CHUNK_BYTES, *},
    Load,
    scenario::Request,
    starts::Starts,
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
    to_be_lost: Vec<(Place, Ending)>,
    /// What came to an end, and is to be tried again.
    to_be_retried: Vec<(Place, Ending)>,
    /// The items that wait apart, to be tried again.
    apart: BTreeMap<Place, Apart>,
    /// How many seats there are.
    size: usize,
    /// How many there have been, whose workers may not be gone.
    largest_size: usize,
    /// The seats that whoever was idle for too long has left, and that nobody has needed since.
    resting: BTreeSet<SlotId>,
    /// How much waited for each group at the end of the round before, of those of this moment: seats
    /// may have been woken for it, and who takes them is started one by one.
    waited: Vec<usize>,
    rollouts: Rollouts,
}

/// Of an item: its batch in the order of submission, and its number therein.
type Place = (usize, u64);

struct Batch {
    order: usize,
    function: FunctionId,
    chunk_size: Option<u64>,
    items: Vec<ItemState>,
    /// Items that a worker which keeps to the protocol has begun.
    begun: HashMap<u64, WorkerId>,
    tries: HashMap<u64, Tries>,
}

/// An item is to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// Once this worker is through with it.
    Held(WorkerId),
    /// At some time between these.
    Later { earliest: Time, latest: Time },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ItemState {
    Waiting,
    Sent(WorkerId),
    /// It is to be tried again.
    Apart,
    /// It was cancelled, and is to be concluded at once for that.
    Unwanted,
    Concluded,
}

impl ItemState {
    /// Whether its outcome is decided, be it announced or not.
    const fn is_decided(self) -> bool {
        matches!(self, Self::Unwanted | Self::Concluded)
    }

    const fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::Apart)
    }
}

struct Worker {
    slot: SlotId,
    group: GroupId,
    generation: Generation,
    repertoire: Repertoire,
    started: Time,
    /// When it was ready.
    ready_at: Time,
    greeted: bool,
    ready: bool,
    /// It is on its way out: it is to be sent nothing, and its seat is free.
    dismissed: bool,
    /// Its end is the machine's own choice, or was counted as a failed start.
    accounted: bool,
    killed: bool,
    /// The seat it was started for is gone.
    seatless: bool,
    /// Another sat there when it was started.
    for_a_taken_seat: bool,
    /// When it was asked to leave, and whether for nothing but its age.
    drained: Option<(Time, bool)>,
    /// What it begins and answers follows no rule.
    broke_protocol: bool,
    given: u64,
    answered: u64,
    outstanding: VecDeque<Outstanding>,
    /// Since when the first of `outstanding` is the first.
    since: Time,
    /// When it was last heard of the first of `outstanding`.
    heard: Time,
    /// Since when the first of `outstanding` has always been a concluded one.
    futile_since: Option<Time>,
    /// When it was told to end the first of `outstanding`.
    told_at: Option<Time>,
    /// How many concluded items in a row it was told to end.
    told: u32,
    /// Since when it has been idle.
    idle_since: Time,
    /// Somebody else killed it.
    struck: bool,
    over_soft: bool,
    over_hard: bool,
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
    /// Something was sent behind its call.
    followed: bool,
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

    /// What it says of itself still counts: it is not about to be killed for its memory either.
    const fn is_heard(&self) -> bool {
        !self.dismissed && !self.over_hard
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
        let rollouts = Rollouts::new(&settings);
        Self {
            starts: Starts::new(settings.clone()),
            size: settings.slots.len(),
            largest_size: settings.slots.len(),
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
            to_be_retried: Vec::new(),
            apart: BTreeMap::new(),
            resting: BTreeSet::new(),
            waited: vec![0; groups],
            rollouts,
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
                let tries = HashMap::new();
                let batch = Batch { order, function, chunk_size, items, begun, tries };
                self.batches.insert(load.id, batch);
            }
            Request::Cancel { batch } => self.cancelled(*batch),
            Request::Withdraw { batch } => self.withdrawn(*batch),
            Request::Resize { slots } => {
                self.size = *slots;
                self.largest_size = self.largest_size.max(*slots);
                // Whoever kept the pool from being empty may have lost its seat, and another is to
                // be taken for it, which could be any.
                self.resting.clear();
                for (&id, worker) in &mut self.workers {
                    if worker.slot.0 as usize >= *slots {
                        worker.seatless = true;
                        self.rollouts.forsake(id);
                    }
                }
            }
            Request::Replace { generation, .. } => self.rollouts.begin(*generation),
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
        self.apart.retain(|place, _| place.0 != order);
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.note_futility(id);
        }
    }

    /// What waits has to be concluded, and what was sent goes on.
    fn withdrawn(&mut self, load: usize) {
        let Some(batch) = self.batches.get_mut(&load) else { return };
        let waits = |state: &&mut ItemState| state.waits();
        for state in batch.items.iter_mut().filter(waits) {
            *state = ItemState::Unwanted;
            self.unwanted += 1;
        }
        let order = batch.order;
        self.waiting.entry(batch.function).or_default().retain(|place| place.0 != order);
        self.apart.retain(|place, _| place.0 != order);
    }

    fn note_futility(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        let futile = worker.outstanding.front().is_some_and(|first| {
            let batch = &self.batches[&first.load];
            let held = self.apart.get(&(batch.order, first.item)) == Some(&Apart::Held(id));
            batch.state_of(first.item).is_decided() || held
        });
        worker.futile_since = futile.then(|| worker.futile_since.unwrap_or(worker.since));
        worker.told_at = worker.told_at.filter(|_| futile);
        worker.told = if futile { worker.told } else { 0 };
    }

    fn state_of(&self, outstanding: &Outstanding) -> ItemState {
        self.batches[&outstanding.load].state_of(outstanding.item)
    }

    fn is_waiting(&self) -> bool {
        !self.apart.is_empty() || self.waiting.values().any(|places| !places.is_empty())
    }

    const fn is_shut_down(&self) -> bool {
        self.interrupted || self.terminated || self.failed
    }

    /// Takes in a decision of the machine, and checks that it is allowed.
    pub(super) fn decided(&mut self, now: Time, action: &Action<Load>) {
        match action {
            Action::Start { worker, slot, group, generation } => {
                self.start(now, *worker, *slot, *group, *generation);
            }
            // Whoever is gone in the same round need not be told anything.
            Action::Welcome { worker }
            | Action::Drain { worker }
            | Action::Cancel { worker, .. }
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
            Action::Cancel { worker, call, item } => self.tell(now, *worker, *call, *item),
            Action::Retry { batch, item, ending } => self.retried(now, batch, *item, *ending),
            Action::RollBack { group, worker, flaw } => {
                self.rolled_back(now, *group, *worker, *flaw)
            }
            Action::RolledOut { group, generation } => self.rolled_out(now, *group, *generation),
            Action::Drain { worker } => {
                self.check_leaving(now, *worker);
                let worker = self.workers.get_mut(worker).unwrap();
                assert!(worker.outstanding.is_empty(), "asked to leave with work in its hands");
                worker.accounted = true;
                worker.dismissed = true;
            }
            Action::Terminate { worker } => {
                self.check_stop(now, *worker);
                let worker = self.workers.get_mut(worker).unwrap();
                assert!(!worker.killed, "stopped politely after it was killed");
                worker.drained = None;
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

    fn start(
        &mut self,
        now: Time,
        id: WorkerId,
        slot: SlotId,
        group: GroupId,
        generation: Generation,
    ) {
        assert!(!self.is_shut_down() && !self.ended, "started after the shutdown has begun");
        assert!(!self.closed || self.is_waiting(), "started, and there is nothing to do");
        assert!(id.0 >= self.next_worker, "an old id");
        self.next_worker = id.0 + 1;
        self.starts.check_start(now);
        assert!(self.workers.len() <= self.size, "too many workers live");
        assert!((slot.0 as usize) < self.size, "there is no such seat");
        let group_of_seat = self.settings.slots.get(slot.0 as usize).copied();
        assert_eq!(group_of_seat.unwrap_or(GroupId(0)), group);
        self.check_waking(now, slot, group);
        let trial = self.rollouts.check_start(group, generation);
        assert!(trial.is_none_or(|id| !self.workers.contains_key(&id)), "two are on trial");
        let worker = Worker {
            slot,
            group,
            generation,
            repertoire: Repertoire::default(),
            started: now,
            ready_at: now,
            greeted: false,
            ready: false,
            dismissed: false,
            accounted: false,
            killed: false,
            seatless: false,
            for_a_taken_seat: self
                .workers
                .values()
                .any(|other| other.slot == slot && !other.dismissed),
            drained: None,
            broke_protocol: false,
            given: 0,
            answered: 0,
            outstanding: VecDeque::new(),
            since: now,
            heard: now,
            futile_since: None,
            told_at: None,
            told: 0,
            idle_since: now,
            struck: false,
            over_soft: false,
            over_hard: false,
        };
        let replaces = self.rollouts.is_under_way();
        // Whoever finishes what it has may still sit where another is to sit.
        let sits = |other: &Worker| other.slot == slot && !other.dismissed && other.is_idle();
        let taken = self.workers.values().any(sits);
        assert!(!taken || replaces, "the seat is taken");
        self.rollouts.started(id, &worker);
        self.workers.insert(id, worker);
    }

    fn kill(&mut self, now: Time, id: WorkerId) {
        let worker = self.workers.get_mut(&id).unwrap();
        assert!(!std::mem::replace(&mut worker.killed, true), "killed twice");
        worker.drained = None;
        if !std::mem::replace(&mut worker.dismissed, true) && !worker.over_hard {
            // Together with the pool, or as it was not ready in time.
            assert!(!worker.ready || self.terminated, "killed without a cause");
            worker.accounted = true;
            self.start_failed_of(now, id, StartFault::Permanent);
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
        assert!(
            worker.repertoire.functions.contains(&chunk.function),
            "sent a function it does not have"
        );
        let batch = self.batches.get_mut(&chunk.batch.id).unwrap();
        let count = chunk.items.end - chunk.items.start;
        let most = batch.chunk_size.unwrap_or(u64::MAX);
        assert!((1..=most).contains(&count), "a chunk of {count} items");
        let bytes = super::super::Batch::bytes(&chunk.batch, chunk.items.clone());
        assert!(count == 1 || bytes <= MAX_CHUNK_BYTES, "a chunk of {bytes} bytes");
        worker.given += count;
        let limit = self.settings.max_tasks_per_child.map_or(u64::MAX, NonZeroU64::get);
        let limit = limit.saturating_add(self.settings.max_tasks_jitter);
        assert!(worker.given <= limit, "more items than its limit");
        assert!(!worker.seatless && !worker.over_soft, "sent to a worker that is to leave");
        self.rollouts.check_send(id, worker, chunk.function);
        assert!(!self.settings.one_call || worker.given == 1, "more than one call");
        if worker.outstanding.is_empty() {
            worker.since = now;
            worker.heard = now;
        }
        for (item, index) in chunk.items.clone().zip(0..) {
            let state = &mut batch.items[usize::try_from(item).unwrap()];
            let place = (batch.order, item);
            match std::mem::replace(state, ItemState::Sent(id)) {
                ItemState::Waiting => {
                    let waited = self.waiting.get_mut(&batch.function).unwrap();
                    assert!(waited.remove(&place));
                }
                ItemState::Apart => match self.apart.remove(&place) {
                    Some(Apart::Later { earliest, .. }) if earliest <= now => {}
                    apart => panic!("item {item} is tried again too early: {apart:?}"),
                },
                state => panic!("item {item} does not wait: {state:?}"),
            }
            assert_eq!(batch.begun.get(&item), None, "item {item} was begun before");
            let bytes = super::super::Batch::bytes(&chunk.batch, item..item + 1);
            let begins_call = index == 0;
            let load = chunk.batch.id;
            let outstanding =
                Outstanding { call, index, load, item, bytes, begins_call, followed: false };
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
        let apart = self.apart.remove(&place);
        assert_eq!(before == ItemState::Apart, apart.is_some());
        match ending {
            Ending::Lost { .. } => {
                let lost = self.to_be_lost.iter().position(|&lost| lost == (place, ending));
                self.to_be_lost.swap_remove(lost.expect("what cannot have been running is lost"));
            }
            Ending::TimedOut { worker, after, limit, told } => {
                let first = self.check_overdue(now, worker, after, limit);
                assert_eq!(told, self.can_be_told(worker), "said to be told: {told}");
                assert_eq!((first.load, first.item), (load.id, item), "it was not its turn");
                assert!(!self.may_retry(&first, false), "it is not tried again");
                self.note_futility(worker);
                self.rollout_timed_out(now, worker);
            }
            // It was, as is checked above.
            Ending::Cancelled(Cancellation::ByCaller) => {}
            Ending::Cancelled(Cancellation::Terminated) => {
                assert!(self.terminated || self.closed || self.ended);
            }
            Ending::Cancelled(Cancellation::Interrupted) => {
                assert!(self.interrupted && before.waits());
            }
            Ending::Cancelled(Cancellation::PoolFailed) => assert!(self.starts.must_fail),
            Ending::Cancelled(Cancellation::UnknownFunction) => {
                assert!(before.waits());
                // Who sits where in a replacement, and so counts, cannot be told from outside.
                let changes = self.rollouts.is_under_way();
                assert!(
                    changes || self.is_unknown(function, Self::is_full),
                    "{function:?} is known"
                );
            }
        }
    }
}
