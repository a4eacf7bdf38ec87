//! The sessions of workers and the machine behind them without sockets and processes, for the
//! fuzz target `master_session`. Not part of the API: it exists only in a build for fuzzing.
//!
//! It does what the driver does with what workers say, and holds the outcomes against what was
//! sent to whom.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

use crate::{
    driver::session::{Agreed, Said, Session},
    machine::{
        self, Action, Answer, CallId, Event, FunctionId, GroupId, Machine, Repertoire, Settings,
        Unread, Verdict, WorkerId,
    },
};

/// One function, which every worker is taken to have.
const FUNCTION: FunctionId = FunctionId(0);

/// Something that happens to the pool.
#[derive(Debug)]
pub enum Step {
    /// A worker sends the body of a frame.
    Says { worker: usize, body: Vec<u8> },
    /// The process of a worker ends, with its last call unread or not.
    Exits { worker: usize, unread: bool },
    /// So many microseconds pass.
    Pass(u32),
    /// So many items are submitted, so many of them to be sent together.
    Submit { items: u8, chunk_size: u8 },
    /// A submission is cancelled.
    Cancel(u8),
    /// A worker has so much memory.
    Measured { worker: usize, memory: u64 },
    /// There are to be so many workers.
    Resize(u8),
    /// The workers are to be replaced.
    Replace,
}

#[derive(Debug, Clone)]
struct Load {
    id: u64,
}

impl machine::Batch for Load {
    fn id(&self) -> u64 {
        self.id
    }

    fn job(&self) -> Option<u64> {
        Some(self.id)
    }

    fn bytes(&self, items: Range<u64>) -> u64 {
        items.end - items.start
    }
}

struct Worker {
    session: Session,
    /// It is not heard any more.
    silenced: bool,
    /// What it was sent and has not answered: the call, the place in it, the batch and the item.
    outstanding: VecDeque<(CallId, u32, u64, u64)>,
}

struct Pool {
    machine: Machine<Load>,
    now: Duration,
    workers: BTreeMap<WorkerId, Worker>,
    /// How often each item of each batch was concluded.
    outcomes: Vec<Vec<u32>>,
    generations: u32,
    ended: bool,
}

/// Runs a pool through all steps, then ends it.
///
/// # Panics
/// If an item is concluded twice, or never, or by what is no answer to it; which is a finding.
pub fn run(processes: usize, retries: u32, steps: impl IntoIterator<Item = Step>) {
    let mut settings = Settings::new(vec![GroupId(0); processes.clamp(1, 4)]);
    settings.task_timeout = Some(Duration::from_millis(20));
    settings.silence_timeout = Some(Duration::from_millis(5));
    settings.hard_memory = Some(1 << 30);
    settings.soft_memory = Some(1 << 20);
    settings.retries = retries;
    settings.retry_failed = retries % 2 == 1;
    settings.failed_start_intensity = 1_000;
    let mut pool = Pool {
        machine: Machine::new(settings),
        now: Duration::ZERO,
        workers: BTreeMap::new(),
        outcomes: Vec::new(),
        generations: 0,
        ended: false,
    };
    pool.settle();
    for step in steps {
        pool.step(step);
        pool.settle();
    }
    pool.end();
}

impl Pool {
    fn step(&mut self, step: Step) {
        match step {
            Step::Says { worker, body } => {
                if let Some(id) = self.pick(worker) {
                    self.hear(id, &body);
                }
            }
            Step::Exits { worker, unread } => {
                if let Some(id) = self.pick(worker) {
                    let unread = if unread { Unread::Something } else { Unread::Nothing };
                    self.exit(id, unread);
                }
            }
            Step::Pass(time) => self.now += Duration::from_micros(time.into()),
            Step::Submit { items, chunk_size } => {
                let batch = Load { id: self.outcomes.len() as u64 };
                self.outcomes.push(vec![0; items.into()]);
                // Without a size it is left to the pool.
                let (items, size) = (items.into(), u64::from(chunk_size));
                let chunk_size = (size > 0).then_some(size);
                let function = FUNCTION;
                self.handle(Event::Submitted { batch, function, items, chunk_size });
            }
            Step::Cancel(batch) => self.handle(Event::Cancelled { batch: batch.into() }),
            Step::Measured { worker, memory } => {
                if let Some(worker) = self.pick(worker) {
                    self.handle(Event::Measured { worker, memory });
                }
            }
            Step::Resize(slots) => {
                self.handle(Event::Resized { slots: usize::from(slots).clamp(1, 6) });
            }
            Step::Replace => {
                self.generations += 1;
                let (group, generation) = (GroupId(0), self.generations);
                self.handle(Event::Replaced { group, generation });
            }
        }
    }

    fn pick(&self, number: usize) -> Option<WorkerId> {
        let count = self.workers.len().max(1);
        self.workers.keys().nth(number % count).copied()
    }

    fn handle(&mut self, event: Event<Load>) {
        self.machine.handle(self.now, event);
    }

    fn hear(&mut self, id: WorkerId, body: &[u8]) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.silenced) else {
            return;
        };
        let Ok(said) = worker.session.hear(body) else {
            worker.silenced = true;
            return self.handle(Event::Misbehaved { worker: id });
        };
        match said {
            Said::Hello(_) => {
                worker.session.welcome(Agreed { progress: true, ..Agreed::NOTHING });
                let some = || [FUNCTION].into();
                let repertoire =
                    Repertoire { functions: some(), reporting: some(), cancellable: some() };
                self.handle(Event::Greeted { worker: id, repertoire });
            }
            Said::Ready { .. } => self.handle(Event::Ready { worker: id }),
            Said::Unfit(..) => self.handle(Event::Unfit { worker: id }),
            Said::Result { id: call, item, .. } => {
                self.answer(id, CallId(call), item, Verdict::Completed);
            }
            Said::Results { .. } | Said::SharedResult { .. } => {
                unreachable!("it was not agreed on")
            }
            Said::Error { id: call, item, .. } => {
                self.answer(id, CallId(call), item, Verdict::Failed);
            }
            Said::Progress { id: call, item, .. } => {
                if !self.machine.progress(self.now, id, CallId(call), item) {
                    self.handle(Event::Misbehaved { worker: id });
                }
            }
        }
    }

    fn answer(&mut self, id: WorkerId, call: CallId, index: u32, verdict: Verdict) {
        let answer =
            self.machine.answer(self.now, id, call, index..index.saturating_add(1), verdict);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let first = worker.outstanding.front().copied();
        let expected = first.filter(|&(other, place, ..)| (other, place) == (call, index));
        if expected.is_some() {
            worker.outstanding.pop_front();
        }
        match answer {
            Answer::Accepted { batch, items } => {
                let expected = expected.map(|(_, _, batch, item)| (batch, item..item + 1));
                assert_eq!(expected, Some((batch.id, items.clone())), "no answer to that item");
                self.conclude(batch.id, items);
            }
            Answer::Retried { batch, item } => {
                let expected = expected.map(|(_, _, batch, item)| (batch, item));
                assert_eq!(expected, Some((batch.id, item)), "no answer to that item");
                assert_eq!(verdict, Verdict::Failed, "a result is tried again");
            }
            Answer::Late { .. } => {}
            Answer::Refused => self.handle(Event::Misbehaved { worker: id }),
        }
    }

    fn exit(&mut self, id: WorkerId, unread: Unread) {
        self.workers.remove(&id);
        self.handle(Event::Exited { worker: id, unread, struck: false });
    }

    fn conclude(&mut self, batch: u64, items: Range<u64>) {
        let outcomes = usize::try_from(batch).ok().and_then(|batch| self.outcomes.get_mut(batch));
        let outcomes = outcomes.expect("the batch was submitted");
        for item in items {
            let count = outcomes.get_mut(usize::try_from(item).unwrap_or(usize::MAX));
            let count = count.expect("the batch has the item");
            *count += 1;
            assert_eq!(*count, 1, "concluded twice");
        }
    }

    fn settle(&mut self) {
        loop {
            self.machine.advance(self.now);
            let actions = self.machine.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action<Load>) {
        match action {
            Action::Start { worker, .. } => {
                let session = Session::new();
                let outstanding = VecDeque::new();
                self.workers.insert(worker, Worker { session, silenced: false, outstanding });
            }
            Action::Send { worker, call, chunk, .. } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    let items = chunk.items.zip(0..);
                    let sent = items.map(|(item, index)| (call, index, chunk.batch.id, item));
                    worker.outstanding.extend(sent);
                }
            }
            Action::Conclude { batch, items, .. } => self.conclude(batch.id, items),
            Action::End => self.ended = true,
            // What is asked of processes is up to the steps.
            Action::Welcome { .. }
            | Action::Cancel { .. }
            | Action::Drain { .. }
            | Action::Terminate { .. }
            | Action::Kill { .. }
            | Action::Retry { .. }
            | Action::RollBack { .. }
            | Action::RolledOut { .. }
            | Action::Fail { .. } => {}
        }
    }

    fn end(mut self) {
        self.handle(Event::Killed);
        self.settle();
        while let Some(id) = self.workers.keys().next().copied() {
            self.exit(id, Unread::Nothing);
            self.settle();
        }
        assert!(self.ended, "the pool does not end");
        let all = self.outcomes.iter().flatten().all(|&count| count == 1);
        assert!(all, "an item has no outcome");
    }
}
