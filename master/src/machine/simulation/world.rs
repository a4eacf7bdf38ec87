//! The clock, and what the driver does in the real program.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use super::{
    super::*,
    Load,
    ledger::Ledger,
    random::Random,
    scenario::{Request, Scenario},
    worker::{Beginning, Fate, Item, Process},
};

/// A run that takes more steps does not come to an end.
const MAX_STEPS: u64 = 200_000;

/// The machine asks for more rounds at one point in time only if it goes in circles.
const MAX_ROUNDS: u32 = 1_000;

/// How long a message is on its way, at most.
const LATENCY: Duration = Duration::from_micros(100);

/// How long a worker keeps an answer, at most.
const KEPT: Duration = Duration::from_millis(1);

/// What will happen.
#[derive(Debug, Clone)]
enum Happening {
    Requested(Request),
    /// A call arrives at a worker.
    Arrives(WorkerId, CallId, Chunk<Load>, bool),
    /// A worker is through with the item in its hands.
    Finishes(WorkerId),
    Dies(WorkerId),
    /// From here on: what arrives at the master.
    Greets(WorkerId),
    Said(WorkerId, Beginning),
    Answers(WorkerId, CallId, u32, Verdict),
    /// What it has kept of answers.
    Brings(WorkerId),
    Progresses(WorkerId, CallId, u32),
    /// Its memory is looked at.
    IsMeasured(WorkerId),
    TalksNonsense(WorkerId),
    Disconnects(WorkerId),
    Exits(WorkerId),
}

pub(super) struct World {
    machine: Machine<Load>,
    scenario: Scenario,
    random: Random,
    trace: bool,
    now: Time,
    agenda: BTreeMap<(Time, u64), Happening>,
    scheduled: u64,
    processes: HashMap<WorkerId, Process>,
    ledger: Ledger,
    /// To be entered once the ledger knows all that the machine knew when it was told.
    not_started: Vec<(WorkerId, StartFault)>,
}

impl World {
    pub(super) fn new(scenario: Scenario, random: Random, trace: bool) -> Self {
        if trace {
            eprintln!("{scenario:#?}");
        }
        let mut world = Self {
            machine: Machine::new(scenario.settings.clone()),
            ledger: Ledger::new(scenario.settings.clone()),
            random,
            trace,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            scheduled: 0,
            processes: HashMap::new(),
            not_started: Vec::new(),
            scenario,
        };
        for (time, request) in world.scenario.requests.clone() {
            world.schedule(time, Happening::Requested(request));
        }
        world
    }

    /// Runs until nothing is left to happen.
    pub(super) fn run(mut self) {
        self.settle();
        for _ in 0..MAX_STEPS {
            let next = self.agenda.keys().next().map(|&(time, _)| time);
            let Some(next) = next.into_iter().chain(self.machine.deadline()).min() else {
                return self.ledger.finish();
            };
            let late = self.random.chance(100) && !self.scenario.lateness.is_zero();
            let lateness =
                if late { self.random.duration(self.scenario.lateness) } else { Duration::ZERO };
            self.now = self.now.max(next) + lateness;
            while let Some(entry) = self.agenda.first_entry()
                && entry.key().0 <= self.now
            {
                let (_, happening) = entry.remove_entry();
                self.happen(happening);
            }
            self.settle();
        }
        panic!("the pool did not come to its end in {MAX_STEPS} steps");
    }

    fn schedule(&mut self, time: Time, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((time, self.scheduled), happening);
    }

    /// Something happens after some time of up to `most`.
    fn schedule_within(&mut self, most: Duration, happening: Happening) {
        let delay = self.random.duration(most);
        self.schedule(self.now + delay, happening);
    }

    /// A worker writes to its connection. What it writes arrives in order.
    fn say(&mut self, worker: WorkerId, happening: Happening) {
        let arrival = self.now + self.random.duration(LATENCY);
        let process = self.processes.get_mut(&worker).unwrap();
        process.quiet_from = process.quiet_from.max(arrival);
        let time = process.quiet_from;
        self.schedule(time, happening);
    }

    fn happen(&mut self, happening: Happening) {
        if self.trace {
            eprintln!("{:?}: {happening:?}", self.now);
        }
        match happening {
            // What comes behind answers that were kept comes with them.
            Happening::Progresses(worker, ..)
            | Happening::TalksNonsense(worker)
            | Happening::Disconnects(worker)
            | Happening::Exits(worker)
            | Happening::Answers(worker, _, _, Verdict::Failed) => self.bring(worker),
            _ => {}
        }
        match happening {
            Happening::Requested(request) => self.request(request),
            Happening::Arrives(worker, call, chunk, last) => {
                let Some(process) = self.processes.get_mut(&worker) else { return };
                if process.alive && process.connected {
                    process.arrive(call, chunk, last);
                    self.begin(worker);
                }
            }
            Happening::Finishes(worker) => self.finish(worker),
            Happening::Dies(worker) => self.die(worker),
            Happening::Exits(worker) => self.exit(worker),
            Happening::Greets(worker) => {
                let Some(process) = self.listen(worker) else { return };
                let repertoire = process.repertoire.clone();
                self.ledger.greeted(worker, repertoire.clone());
                self.machine.handle(self.now, Event::Greeted { worker, repertoire });
            }
            Happening::Said(worker, beginning) => self.hear_beginning(worker, beginning),
            Happening::Progresses(worker, call, item) => {
                if self.listen(worker).is_some() {
                    let heard = self.machine.progress(self.now, worker, call, item);
                    self.ledger.progressed(self.now, worker, call, item, heard);
                }
            }
            Happening::IsMeasured(worker) => {
                if self.processes.contains_key(&worker) {
                    let memory = self.random.below(1_000);
                    self.ledger.measured(worker, memory);
                    self.machine.handle(self.now, Event::Measured { worker, memory });
                    let pause = Duration::from_millis(self.random.between(1, 2_000));
                    self.schedule(self.now + pause, Happening::IsMeasured(worker));
                }
            }
            Happening::Answers(worker, call, item, verdict) => {
                let Some(process) = self.listen(worker) else { return };
                if verdict == Verdict::Completed && process.keeps {
                    process.kept.push((call, item));
                    if self.random.chance(500) {
                        return self.schedule_within(KEPT, Happening::Brings(worker));
                    }
                    return self.bring(worker);
                }
                let answer = self.machine.answer(self.now, worker, call, item..item + 1, verdict);
                self.ledger.answered(self.now, worker, call, item, verdict, &answer);
                if answer == Answer::Refused {
                    self.hear_breach(worker);
                }
            }
            Happening::Brings(worker) => self.bring(worker),
            Happening::TalksNonsense(worker) => {
                if self.listen(worker).is_some() {
                    self.hear_breach(worker);
                }
            }
            Happening::Disconnects(worker) => {
                if let Some(process) = self.listen(worker) {
                    process.heard = false;
                    self.ledger.silenced(worker);
                    self.machine.handle(self.now, Event::Disconnected { worker });
                }
            }
        }
    }

    /// A worker brings what it has kept, answers to consecutive items of a call together.
    fn bring(&mut self, worker: WorkerId) {
        let Some(process) = self.listen(worker) else { return };
        let mut kept = std::mem::take(&mut process.kept).into_iter().peekable();
        while let Some((call, first)) = kept.next() {
            let mut next = first + 1;
            while kept.next_if_eq(&(call, next)).is_some() {
                next += 1;
            }
            if !self.hear_results(worker, call, first..next) {
                return;
            }
        }
    }

    /// False if they are refused.
    fn hear_results(&mut self, worker: WorkerId, call: CallId, indices: Range<u32>) -> bool {
        let mut next = indices.start;
        while next < indices.end {
            let rest = next..indices.end;
            let answer = self.machine.answer(self.now, worker, call, rest, Verdict::Completed);
            let singles: Vec<_> = match answer {
                Answer::Accepted { batch, items } => items
                    .map(|item| Answer::Accepted { batch: batch.clone(), items: item..item + 1 })
                    .collect(),
                Answer::Late { items } => (0..items).map(|_| Answer::Late { items: 1 }).collect(),
                single => vec![single],
            };
            for single in singles {
                let refused = single == Answer::Refused;
                self.ledger.answered(self.now, worker, call, next, Verdict::Completed, &single);
                if refused {
                    self.hear_breach(worker);
                    return false;
                }
                next += 1;
            }
        }
        true
    }

    /// The worker, if the master listens to it.
    fn listen(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.processes.get_mut(&worker).filter(|process| process.heard)
    }

    fn hear_beginning(&mut self, worker: WorkerId, beginning: Beginning) {
        if self.listen(worker).is_none() {
            return;
        }
        match beginning {
            Beginning::Ready => {
                self.ledger.ready(self.now, worker);
                self.machine.handle(self.now, Event::Ready { worker });
            }
            Beginning::Unfit => {
                self.ledger.unfit(self.now, worker);
                self.machine.handle(self.now, Event::Unfit { worker });
            }
            Beginning::Misbehaves => self.hear_breach(worker),
            Beginning::Dies | Beginning::Silent => {}
        }
    }

    fn hear_breach(&mut self, worker: WorkerId) {
        self.processes.get_mut(&worker).unwrap().heard = false;
        self.ledger.silenced(worker);
        self.machine.handle(self.now, Event::Misbehaved { worker });
    }

    fn request(&mut self, request: Request) {
        // So the ledger knows what was concluded before, and what is for this.
        self.carry_out_actions();
        self.ledger.requested(&request);
        let event = match request {
            Request::Submit { load, function, chunk_size } => {
                Event::Submitted { items: load.items(), batch: load, function, chunk_size }
            }
            Request::Cancel { batch } => Event::Cancelled { batch: batch as u64 },
            Request::Withdraw { batch } => Event::Withdrawn { batch: batch as u64 },
            Request::Resize { slots } => Event::Resized { slots },
            Request::Replace { generation, by } => {
                self.scenario.others.insert(generation, *by);
                Event::Replaced { group: GroupId(0), generation }
            }
            Request::Close => Event::Closed,
            Request::Interrupt => Event::Interrupted,
            Request::Terminate => Event::Terminated,
            Request::Kill => Event::Killed,
        };
        self.machine.handle(self.now, event);
        self.carry_out_actions();
    }

    /// A worker takes up its next item.
    fn begin(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(item) = process.take_next() else { return };
        self.ledger.began(worker, &item, process.broke_protocol);
        let fate = Fate::random(&mut self.random, &process.faults);
        let (call, index) = (item.call, item.index);
        process.in_hand = Some((item, fate));
        if self.random.chance(200) {
            // Nothing is negotiated here: any function may tell.
            self.say(worker, Happening::Progresses(worker, call, index));
        }
        if fate != Fate::Hangs {
            self.schedule_within(self.scenario.longest_item, Happening::Finishes(worker));
        }
    }

    fn finish(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker).filter(|process| process.alive) else {
            return;
        };
        let Some((item, fate)) = process.in_hand.take() else { return };
        let Item { call, index, last, .. } = item;
        let failed = self.random.chance(self.processes[&worker].faults.fail);
        let verdict = if failed { Verdict::Failed } else { Verdict::Completed };
        let answer = Happening::Answers(worker, call, index, verdict);
        let breaks = |happening| (Some(happening), true);
        let (said, breach) = match fate {
            Fate::Answered | Fate::AnsweredThenLeaves => (Some(answer), false),
            Fate::AnsweredTwice => {
                self.say(worker, answer.clone());
                breaks(answer)
            }
            Fate::AnsweredWithUnknownCall => {
                breaks(Happening::Answers(worker, CallId(u64::MAX), index, verdict))
            }
            Fate::AnsweredWithOldCall => {
                breaks(Happening::Answers(worker, CallId(call.0.wrapping_sub(1)), index, verdict))
            }
            Fate::AnsweredOutOfOrder => {
                breaks(Happening::Answers(worker, call, index + 1, verdict))
            }
            Fate::Garbage => breaks(Happening::TalksNonsense(worker)),
            Fate::Crashes | Fate::Hangs => (None, false),
            Fate::Disconnects => (Some(Happening::Disconnects(worker)), false),
        };
        if let Some(said) = said {
            self.say(worker, said);
        }
        let process = self.processes.get_mut(&worker).unwrap();
        process.broke_protocol |= breach;
        process.connected &= fate != Fate::Disconnects;
        if matches!(fate, Fate::Crashes | Fate::AnsweredThenLeaves) || last {
            self.die(worker);
        } else {
            self.begin(worker);
        }
    }

    fn die(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker).filter(|process| process.alive) else {
            return;
        };
        process.alive = false;
        if self.random.chance(700) {
            self.say(worker, Happening::Disconnects(worker));
        }
        let process = &self.processes[&worker];
        let heard_of = process.quiet_from.max(self.now) + self.random.duration(LATENCY);
        self.schedule(heard_of, Happening::Exits(worker));
    }

    fn exit(&mut self, worker: WorkerId) {
        let process = self.processes.remove(&worker).unwrap();
        let unread = match process.has_unread() && self.random.chance(800) {
            true => Unread::Something,
            false => Unread::Nothing,
        };
        let struck = self.random.chance(200);
        self.ledger.exited(self.now, worker, unread, struck);
        self.machine.handle(self.now, Event::Exited { worker, unread, struck });
    }

    fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            // Who judges by the time looks first at what is kept.
            if self.machine.deadline().is_some_and(|deadline| deadline <= self.now) {
                let mut workers: Vec<_> = self.processes.keys().copied().collect();
                workers.sort();
                workers.into_iter().for_each(|worker| self.bring(worker));
            }
            self.ledger.look_at_trial(self.now);
            self.machine.advance(self.now);
            if !self.carry_out_actions() {
                return self.ledger.check(self.now, &self.machine);
            }
            for (worker, fault) in std::mem::take(&mut self.not_started) {
                self.ledger.not_started(self.now, worker, fault);
            }
            self.ledger.round_ends(self.now);
        }
        panic!("the machine never rests");
    }

    /// Returns whether there were any.
    fn carry_out_actions(&mut self) -> bool {
        let actions = self.machine.actions();
        let any = !actions.is_empty();
        for action in actions {
            if self.trace {
                eprintln!("{:?}:   {action:?}", self.now);
            }
            self.ledger.decided(self.now, &action);
            self.perform(action);
        }
        any
    }

    fn perform(&mut self, action: Action<Load>) {
        match action {
            Action::Start { worker, group, generation, .. } => {
                self.start(worker, group, generation);
            }
            Action::Welcome { worker } => self.welcome(worker),
            Action::Send { worker, call, chunk, last } => {
                let arrival = self.now + self.random.duration(LATENCY);
                let process = self.processes.get_mut(&worker).unwrap();
                process.count_sent();
                process.arrived_from = process.arrived_from.max(arrival);
                let time = process.arrived_from;
                self.schedule(time, Happening::Arrives(worker, call, chunk, last));
            }
            Action::Cancel { worker, call, item } => self.cancel(worker, call, item),
            Action::Drain { worker } => {
                if self.processes.get(&worker).is_some_and(|process| !process.ignores_drain) {
                    let most = self.scenario.settings.drain_timeout * 2;
                    self.schedule_within(most, Happening::Dies(worker));
                }
            }
            Action::Terminate { worker } => {
                if self.processes.get(&worker).is_some_and(|process| !process.ignores_terminate) {
                    let most = self.scenario.settings.grace * 2;
                    self.schedule_within(most, Happening::Dies(worker));
                }
            }
            Action::Kill { worker } => self.schedule_within(LATENCY, Happening::Dies(worker)),
            Action::Conclude { .. }
            | Action::Retry { .. }
            | Action::RollBack { .. }
            | Action::RolledOut { .. }
            | Action::Fail { .. }
            | Action::End => {}
        }
    }

    /// Who heeds it is soon through with the item, if that is still in its hands.
    fn cancel(&mut self, worker: WorkerId, call: CallId, item: u32) {
        let unread = self.random.chance(500);
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if unread {
            process.leave_cancel_unread();
        }
        if let Some((in_hand, fate @ Fate::Hangs)) = &mut process.in_hand
            && (in_hand.call, in_hand.index) == (call, item)
            && process.heeds_cancel
        {
            *fate = Fate::Answered;
            let most = self.scenario.settings.cancel_grace * 2;
            self.schedule_within(most, Happening::Finishes(worker));
        }
    }

    fn start(&mut self, worker: WorkerId, group: GroupId, generation: Generation) {
        let (workers, faults) = self.scenario.workers(group, generation);
        if self.random.chance(faults.not_started) {
            let permanent = self.random.chance(faults.permanent);
            let fault = if permanent { StartFault::Permanent } else { StartFault::Passing };
            self.not_started.push((worker, fault));
            return self.machine.handle(self.now, Event::NotStarted { worker, fault });
        }
        let process = Process::random(&mut self.random, &workers, &faults);
        self.processes.insert(worker, process);
        if self.scenario.settings.soft_memory.or(self.scenario.settings.hard_memory).is_some() {
            self.schedule_within(Duration::from_secs(2), Happening::IsMeasured(worker));
        }
        if self.random.chance(faults.dies_any_time) {
            self.schedule_within(Duration::from_secs(10), Happening::Dies(worker));
        }
        let beginning = match self.random.chance(faults.unfit) {
            // Its version or its token is rejected.
            true => Beginning::Unfit,
            false => Beginning::random(&mut self.random, &faults),
        };
        let most = self.scenario.settings.hello_timeout.min(Duration::from_secs(1));
        match beginning {
            Beginning::Ready => self.schedule_within(most, Happening::Greets(worker)),
            Beginning::Dies => self.schedule_within(most, Happening::Dies(worker)),
            Beginning::Silent => {}
            said => self.schedule_within(most, Happening::Said(worker, said)),
        }
    }

    fn welcome(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get(&worker) else { return };
        let faults = process.faults.clone();
        let beginning = match self.random.chance(faults.unfit) {
            true => Beginning::Unfit,
            false => Beginning::random(&mut self.random, &faults),
        };
        let most = self.scenario.settings.ready_timeout.min(Duration::from_secs(2));
        match beginning {
            Beginning::Dies => self.schedule_within(most, Happening::Dies(worker)),
            Beginning::Silent => {}
            said => self.schedule_within(most, Happening::Said(worker, said)),
        }
    }
}
