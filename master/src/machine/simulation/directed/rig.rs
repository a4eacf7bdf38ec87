//! A machine, and a hand that plays the driver and the workers.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    time::Duration,
};

use super::{super::super::*, super::Load, F};

/// How an item ends at its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answer,
    Fail,
    Crash,
}

/// A machine, and what it has decided so far.
pub(super) struct Rig {
    pub(super) machine: Machine<Load>,
    pub(super) now: Time,
    pub(super) started: Vec<(WorkerId, Time)>,
    /// The generation and the seat that each worker was started for.
    generations: Vec<(Generation, SlotId)>,
    /// How many workers live, and how many there were at most.
    live: usize,
    pub(super) most_live: usize,
    pub(super) drained: Vec<WorkerId>,
    pub(super) terminated: Vec<WorkerId>,
    pub(super) killed: Vec<WorkerId>,
    /// The items of all batches that were answered, and that ended without, in this order.
    pub(super) completed: Vec<u64>,
    pub(super) ended: Vec<(u64, Ending)>,
    /// The batch and the items of every conclusion.
    pub(super) concluded: Vec<(u64, Range<u64>)>,
    /// What was told to stop, what is tried again, and what became of replacements.
    pub(super) told: Vec<(WorkerId, CallId, u32)>,
    pub(super) retried: Vec<(u64, Ending)>,
    /// The items that are tried again as the function failed.
    pub(super) again: Vec<u64>,
    pub(super) flaws: Vec<Flaw>,
    pub(super) rolled_out: Vec<Generation>,
    pub(super) failed: Option<WorkerId>,
    pub(super) has_ended: bool,
    /// Every call that was sent.
    sent: Vec<(WorkerId, Range<u64>)>,
    /// What workers announce, by generation; any other has one function.
    pub(super) repertoires: HashMap<Generation, Repertoire>,
    /// Who is to leave, or to die.
    ending: Vec<WorkerId>,
    /// What each worker that lives is to answer.
    outstanding: HashMap<WorkerId, VecDeque<(CallId, u32, u64)>>,
    unprepared: Vec<WorkerId>,
    batches: usize,
}

pub(super) fn settings(slots: usize) -> Settings {
    Settings::new(vec![GroupId(0); slots])
}

/// What a worker announces that has these functions, and nothing to say of them.
pub(super) fn with(functions: &[FunctionId]) -> Repertoire {
    Repertoire { functions: functions.iter().copied().collect(), ..Repertoire::default() }
}

impl Rig {
    /// A pool whose first workers were just started.
    pub(super) fn new(settings: Settings) -> Self {
        let mut rig = Self {
            machine: Machine::new(settings),
            now: Duration::ZERO,
            started: Vec::new(),
            generations: Vec::new(),
            live: 0,
            most_live: 0,
            drained: Vec::new(),
            terminated: Vec::new(),
            killed: Vec::new(),
            completed: Vec::new(),
            ended: Vec::new(),
            concluded: Vec::new(),
            told: Vec::new(),
            retried: Vec::new(),
            again: Vec::new(),
            flaws: Vec::new(),
            rolled_out: Vec::new(),
            failed: None,
            has_ended: false,
            sent: Vec::new(),
            repertoires: HashMap::new(),
            ending: Vec::new(),
            outstanding: HashMap::new(),
            unprepared: Vec::new(),
            batches: 0,
        };
        rig.settle();
        rig
    }

    /// A pool whose first workers are ready.
    pub(super) fn serving(settings: Settings) -> Self {
        let mut rig = Self::new(settings);
        rig.prepare();
        rig
    }

    pub(super) fn handle(&mut self, event: Event<Load>) {
        self.machine.handle(self.now, event);
        self.settle();
    }

    /// No chunk size leaves it to the pool.
    pub(super) fn submit(
        &mut self,
        function: FunctionId,
        items: usize,
        chunk_size: impl Into<Option<u64>>,
    ) {
        self.submit_sizes(function, &vec![10; items], chunk_size);
    }

    pub(super) fn submit_sizes(
        &mut self,
        function: FunctionId,
        sizes: &[u64],
        chunk_size: impl Into<Option<u64>>,
    ) {
        let chunk_size = chunk_size.into();
        let batch = Load::new(self.batches, sizes.iter().copied());
        self.batches += 1;
        self.handle(Event::Submitted { items: batch.items(), batch, function, chunk_size });
    }

    /// Batches are numbered from 0, in the order of submission.
    pub(super) fn cancel(&mut self, batch: u64) {
        self.handle(Event::Cancelled { batch });
    }

    /// The first group gets another command, and so another generation.
    pub(super) fn replace(&mut self, generation: Generation) {
        self.handle(Event::Replaced { group: GroupId(0), generation });
    }

    pub(super) fn resize(&mut self, slots: usize) {
        self.handle(Event::Resized { slots });
    }

    pub(super) fn measure(&mut self, worker: u64, memory: u64) {
        self.handle(Event::Measured { worker: WorkerId(worker), memory });
    }

    pub(super) fn greet(&mut self, worker: u64, functions: &[FunctionId]) {
        self.greet_as(worker, with(functions));
    }

    pub(super) fn greet_as(&mut self, worker: u64, repertoire: Repertoire) {
        self.unprepared.retain(|&other| other.0 != worker);
        self.handle(Event::Greeted { worker: WorkerId(worker), repertoire });
    }

    pub(super) fn ready(&mut self, worker: u64) {
        self.handle(Event::Ready { worker: WorkerId(worker) });
    }

    /// Every worker that was started becomes ready.
    pub(super) fn prepare(&mut self) {
        while let Some(&worker) = self.unprepared.first() {
            let repertoire = self.repertoires.get(&self.generation(worker.0)).cloned();
            self.greet_as(worker.0, repertoire.unwrap_or_else(|| with(&[F])));
            self.ready(worker.0);
        }
    }

    pub(super) fn generation(&self, worker: u64) -> Generation {
        self.generations[usize::try_from(worker).unwrap()].0
    }

    pub(super) fn seat(&self, worker: u64) -> u32 {
        self.generations[usize::try_from(worker).unwrap()].1.0
    }

    /// A worker answers the item that is its turn.
    pub(super) fn answer(&mut self, worker: u64) {
        self.answer_with(worker, Verdict::Completed);
    }

    pub(super) fn answer_with(&mut self, worker: u64, verdict: Verdict) {
        let worker = WorkerId(worker);
        let outstanding = self.outstanding.get_mut(&worker).unwrap();
        let (call, index, item) = outstanding.pop_front().unwrap();
        match self.machine.answer(self.now, worker, call, index..index + 1, verdict) {
            Answer::Accepted { items: accepted, .. } => {
                assert_eq!(accepted, item..item + 1);
                self.completed.push(item);
            }
            Answer::Retried { item: retried, .. } => {
                assert_eq!(retried, item);
                self.again.push(item);
            }
            Answer::Late { .. } => {}
            Answer::Refused => panic!("the answer to item {item} of {call:?} is refused"),
        }
        self.settle();
    }

    pub(super) fn answer_after(&mut self, worker: u64, time: Duration) {
        self.now += time;
        self.answer(worker);
    }

    /// Every worker answers whatever it has.
    pub(super) fn answer_all(&mut self) {
        self.run(|_| Fate::Answer);
    }

    /// Lets the workers take their items, and new ones come and old ones leave, until nothing is
    /// left to do.
    pub(super) fn run(&mut self, fate: impl Fn(u64) -> Fate) {
        loop {
            self.prepare();
            self.drained.clear();
            for worker in std::mem::take(&mut self.ending) {
                self.exit(worker.0, Unread::Nothing);
            }
            let busy = self.outstanding.iter().filter(|(_, items)| !items.is_empty());
            let next = busy.map(|(&worker, items)| (items[0].2, worker)).min();
            match next {
                Some((item, worker)) => match fate(item) {
                    Fate::Answer => self.answer(worker.0),
                    Fate::Fail => self.answer_with(worker.0, Verdict::Failed),
                    Fate::Crash => self.exit(worker.0, Unread::Nothing),
                },
                None if self.unprepared.is_empty() && self.ending.is_empty() => return,
                None => {}
            }
        }
    }

    /// The same, and time passes as long as anything waits for it.
    pub(super) fn run_on(&mut self, fate: impl Fn(u64) -> Fate) {
        self.run(&fate);
        while let Some(deadline) = self.machine.deadline() {
            self.pass(deadline - self.now);
            self.run(&fate);
        }
    }

    pub(super) fn not_started(&mut self, worker: u64, fault: StartFault) {
        let worker = WorkerId(worker);
        self.live -= 1;
        self.unprepared.retain(|&other| other != worker);
        self.handle(Event::NotStarted { worker, fault });
    }

    pub(super) fn exit(&mut self, worker: u64, unread: Unread) {
        let worker = WorkerId(worker);
        self.live -= 1;
        self.ending.retain(|&other| other != worker);
        self.outstanding.remove(&worker);
        self.unprepared.retain(|&other| other != worker);
        self.handle(Event::Exited { worker, unread, struck: false });
    }

    /// Somebody kills a worker.
    pub(super) fn strike(&mut self, worker: u64) {
        let worker = WorkerId(worker);
        self.outstanding.remove(&worker);
        self.unprepared.retain(|&other| other != worker);
        self.handle(Event::Exited { worker, unread: Unread::Nothing, struck: true });
    }

    /// A worker dies idle, after an item.
    pub(super) fn exit_served(&mut self, worker: u64) {
        self.submit(F, 1, 1);
        self.answer(worker);
        self.exit(worker, Unread::Nothing);
    }

    /// A worker tells that the item in its hands is alive.
    pub(super) fn progress(&mut self, worker: u64) {
        let worker = WorkerId(worker);
        let (call, index, _) = self.outstanding[&worker][0];
        assert!(self.machine.progress(self.now, worker, call, index));
        self.settle();
    }

    /// Time passes, with nothing else happening.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// The first item of every call that a worker was sent, and the one after its last.
    pub(super) fn sent_to(&self, worker: u64) -> Vec<(u64, u64)> {
        let calls = self.sent.iter().filter(|(other, _)| other.0 == worker);
        calls.map(|(_, items)| (items.start, items.end)).collect()
    }

    pub(super) fn outstanding(&self, worker: u64) -> usize {
        self.outstanding.get(&WorkerId(worker)).map_or(0, VecDeque::len)
    }

    fn settle(&mut self) {
        loop {
            self.machine.advance(self.now);
            let actions = self.machine.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.note(action);
            }
        }
    }

    fn note(&mut self, action: Action<Load>) {
        match action {
            Action::Start { worker, slot, generation, .. } => {
                self.started.push((worker, self.now));
                self.generations.push((generation, slot));
                self.live += 1;
                self.most_live = self.most_live.max(self.live);
                self.unprepared.push(worker);
            }
            Action::Welcome { .. } => {}
            Action::Send { worker, call, chunk, .. } => {
                let items = chunk.items.clone().zip(0..).map(|(item, index)| (call, index, item));
                self.outstanding.entry(worker).or_default().extend(items);
                self.sent.push((worker, chunk.items));
            }
            Action::Drain { worker } => {
                self.ending.push(worker);
                self.drained.push(worker);
            }
            Action::Terminate { worker } => {
                self.ending.push(worker);
                self.unprepared.retain(|&other| other != worker);
                self.terminated.push(worker);
            }
            Action::Kill { worker } => {
                self.ending.retain(|&other| other != worker);
                self.ending.push(worker);
                self.unprepared.retain(|&other| other != worker);
                self.killed.push(worker);
            }
            Action::Conclude { batch, items, ending } => {
                self.concluded.push((batch.id(), items.clone()));
                self.ended.extend(items.map(|item| (item, ending)));
            }
            Action::Cancel { worker, call, item } => self.told.push((worker, call, item)),
            Action::Retry { item, ending, .. } => self.retried.push((item, ending)),
            Action::RollBack { flaw, .. } => self.flaws.push(flaw),
            Action::RolledOut { generation, .. } => self.rolled_out.push(generation),
            Action::Fail { worker } => self.failed = Some(worker),
            Action::End => self.has_ended = true,
        }
    }
}
