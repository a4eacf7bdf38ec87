//! The loop: wait for events, hand them to the machine, do what it decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    os::fd::RawFd,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use mio::{Interest, unix::SourceFd};

use super::{
    Plan, Shared, Status,
    admission::Strangers,
    attempts::Attempts,
    commands::Commands,
    connection::{Connection, Reading},
    desk::Desk,
    directory,
    functions::Functions,
    gate::Gate,
    guardian::{self, Guardian},
    memory::Measuring,
    now,
    output::{self, Sink},
    process::Process,
    shared_output,
    source::Source,
    spin::Spinning,
};
use crate::{
    arena::Arena,
    batch::Submission,
    events::Publisher,
    machine::{Action, Event, Machine, Time, WorkerId},
    recording::Tape,
    report::WorkerReport,
    status::Counters,
};

/// Events that one wait brings at most.
const EVENTS: usize = 256;

/// So much later than it meant to be, the loop listens once more before it judges by the time: it
/// may have been stopped, and what came in meanwhile came in time.
const LATE: Duration = Duration::from_millis(50);

/// Who drives the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// The supervisor's thread.
    Thread,
    /// A caller who waits. He sends calls and hears answers, and leaves all else to the thread: a
    /// process, for one, inherits from the thread that starts it.
    Caller,
}

/// Owns everything of one pool.
pub(super) struct Supervisor {
    pub(super) plan: Plan,
    pub(super) machine: Machine<Arc<Submission>>,
    pub(super) shared: Arc<Shared>,
    pub(super) poll: mio::Poll,
    pub(super) gate: Gate,
    pub(super) guard: guardian::Watch,
    pub(super) strangers: Strangers,
    pub(super) processes: BTreeMap<WorkerId, Process>,
    /// Reports on workers that died or did not start, until the conclusions are drawn.
    pub(super) obituaries: HashMap<WorkerId, WorkerReport>,
    pub(super) functions: Functions,
    pub(super) sink: Sink,
    /// Sources that may have more to read, though no event will say so.
    pub(super) unfinished: BTreeSet<Source>,
    /// Pipes whose lines nobody takes just now, and a gate that cannot let anybody in.
    stalled: BTreeSet<Source>,
    began: Instant,
    /// When the wait for events was to end at the latest, if there was a limit.
    back_by: Option<Time>,
    /// It came back late, and is to listen once more.
    behind: bool,
    /// Reused for every wait.
    happened: mio::Events,
    /// What a caller who drives leaves to the supervisor's thread.
    left: Vec<Action<Arc<Submission>>>,
    /// It cannot wait for events any more.
    broken: bool,
    pub(super) failure: Option<Arc<WorkerReport>>,
    pub(super) commands: Commands,
    pub(super) attempts: Attempts,
    pub(super) measuring: Measuring,
    /// When to look at what silent workers keep.
    pub(super) next_look: Option<Time>,
    pub(super) spinning: Spinning,
    /// The worker that was told to look for calls before it sleeps.
    pub(super) looking: Option<WorkerId>,
    /// Workers to whom something is to be written, some of them more than once.
    unwritten: Vec<WorkerId>,
    /// Submissions of which results came in this round.
    pub(super) touched: Vec<Arc<Submission>>,
    /// Reused for every message with several results.
    pub(super) ends: Vec<usize>,
    /// Where large arguments are, once there is a worker that can see them.
    pub(super) arena: Option<Arc<Arena>>,
    /// Memory for a large result that a caller waits for.
    pub(super) prepared: Vec<u8>,
    pub(super) events: Publisher,
    /// Where everything that is said is recorded, if it is.
    pub(super) tape: Option<Arc<Tape>>,
    pub(super) counters: Counters,
    pub(super) ended: bool,
}

impl Supervisor {
    pub(super) fn new(plan: Plan, tape: Option<Arc<Tape>>) -> io::Result<(Self, Arc<Shared>)> {
        let poll = mio::Poll::new()?;
        let guardian = Guardian::shared();
        let gate = Gate::open(&guardian)?;
        log::debug!("workers connect to {}", gate.address());
        let waker = mio::Waker::new(poll.registry(), Source::Waker.token())?;
        let shared = Arc::new(Shared {
            events: plan.events.clone(),
            commands: std::sync::Mutex::new(Some(Vec::new())),
            listening: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            waker,
            desk: Desk::default(),
            status: std::sync::Mutex::new(Status::default()),
            changed: std::sync::Condvar::new(),
            observed: std::sync::Mutex::default(),
        });
        let supervisor = Self {
            machine: Machine::new(plan.settings.clone()),
            commands: Commands::new(&plan.commands),
            attempts: Attempts::default(),
            measuring: Measuring::new(&plan.settings),
            next_look: None,
            spinning: Spinning::new(),
            looking: None,
            unwritten: Vec::new(),
            touched: Vec::new(),
            ends: Vec::new(),
            arena: None,
            prepared: Vec::new(),
            events: plan.events.clone(),
            tape,
            counters: Counters::default(),
            plan,
            shared: Arc::clone(&shared),
            poll,
            gate,
            guard: guardian::Watch::new(guardian),
            strangers: Strangers::default(),
            processes: BTreeMap::new(),
            obituaries: HashMap::new(),
            functions: Functions::default(),
            sink: Sink::default(),
            unfinished: BTreeSet::new(),
            stalled: BTreeSet::new(),
            began: now(),
            back_by: None,
            behind: false,
            happened: mio::Events::with_capacity(EVENTS),
            left: Vec::new(),
            broken: false,
            failure: None,
            ended: false,
        };
        supervisor.watch(supervisor.gate.listener_fd(), Source::Listener)?;
        Ok((supervisor, shared))
    }

    /// Runs until everything is finished and no process is left, on the supervisor's own thread.
    pub(super) fn run(self: Box<Self>) {
        let shared = Arc::clone(&self.shared);
        // The end is announced when everything is put away, the socket and its directory too.
        let _announce = AnnounceEnd(Arc::clone(&shared));
        let mut supervisor = self;
        let driving = shared.desk.drive_here();
        supervisor.begin();
        loop {
            let desk = &shared.desk;
            supervisor.drive(Driver::Thread, || desk.is_wanted());
            if supervisor.ended || supervisor.broken {
                break;
            }
            match desk.lend(supervisor) {
                Some(back) => supervisor = back,
                // Whoever lost it has told why.
                None => return,
            }
            supervisor.do_what_was_left();
        }
        supervisor.finish();
        drop(supervisor);
        drop(driving);
    }

    fn begin(&mut self) {
        self.settle(Driver::Thread);
        // Now that workers are about to get ready there is time for it.
        self.appoint_guardian_if_wanted();
        directory::remove_abandoned();
    }

    /// Waits for events and handles them, until `enough` holds or the pool has ended.
    pub(super) fn drive(&mut self, driver: Driver, mut enough: impl FnMut() -> bool) {
        let mut happened = std::mem::replace(&mut self.happened, mio::Events::with_capacity(0));
        // What comes behind the end is refused with its reason.
        if !self.ended && self.obey_all(self.time()) {
            self.settle(driver);
        }
        while !self.ended && !self.broken && !enough() {
            if driver == Driver::Caller && !self.is_for_callers() {
                break;
            }
            self.turn(driver, &mut happened);
        }
        self.happened = happened;
        if driver == Driver::Caller {
            self.spinning.end(self.time());
            self.prepared = Vec::new();
        }
    }

    /// One round of the loop.
    fn turn(&mut self, driver: Driver, happened: &mut mio::Events) {
        let patience = self.patience();
        self.back_by = patience.map(|patience| self.time().saturating_add(patience));
        let at_rest = self.machine.is_at_rest();
        let patience = self.shared.listen_for_commands(patience, at_rest);
        if driver == Driver::Thread && !at_rest {
            // There is more than one call to wait for, and the CPUs are wanted.
            self.let_sleep(None);
        }
        let polled = match driver {
            Driver::Caller => self.look_and_wait(happened, patience),
            Driver::Thread => self.poll.poll(happened, patience),
        };
        self.shared.commands_are_looked_at();
        match polled {
            Ok(()) => {}
            // Much time may have passed, as when this process was stopped: what has come in is
            // heard before anything is judged by it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => {
                log::error!("cannot wait for events: {error}");
                self.broken = true;
                return;
            }
        }
        let mut sources = std::mem::take(&mut self.unfinished);
        sources.append(&mut self.stalled);
        for event in &*happened {
            let source = Source::of(event.token());
            sources.insert(source);
            if event.is_read_closed() {
                self.expect_end(source);
            }
        }
        let time = self.time();
        self.measure(time);
        for source in sources {
            self.attend(time, source);
        }
        self.look_at_silent(time);
        self.pass_results_on();
        self.obey_all(time);
        self.strangers.expire(time);
        self.settle(driver);
        if driver == Driver::Thread {
            self.appoint_guardian_if_wanted();
        }
        if let Some(arena) = &self.arena {
            arena.give_back_if_idle();
        }
        // Workers that are told to leave take their time, which is used.
        if self.machine.starts_no_more() && !self.gate.awaits_any() {
            self.gate.hide();
        }
    }

    /// Whether there is nothing to do but what a caller does.
    fn is_for_callers(&self) -> bool {
        self.left.is_empty() && self.guard.deadline().is_none()
    }

    /// Whether something is under way, so that it must be driven.
    pub(super) fn has_something_to_do(&self) -> bool {
        self.ended
            || self.broken
            || self.behind
            || !self.is_for_callers()
            || !self.unfinished.is_empty()
            || !self.stalled.is_empty()
            || !self.machine.is_at_rest()
            || self.shared.has_commands()
    }

    /// Does what a caller who drove it left to the supervisor's thread.
    fn do_what_was_left(&mut self) {
        let time = self.time();
        for action in std::mem::take(&mut self.left) {
            self.perform(time, action);
        }
        self.settle(Driver::Thread);
        self.appoint_guardian_if_wanted();
    }

    fn finish(&mut self) {
        if let Some(arena) = &self.arena {
            // Other pools have it anew in no time.
            arena.give_back();
        }
        self.sink.finish();
        let Counters { refused, .. } = self.counters;
        if refused > 0 {
            log::info!("{refused} answers were refused or came too late");
        }
        self.shared.update(|status| status.counters = self.counters);
    }

    pub(super) fn time(&self) -> Time {
        now().saturating_duration_since(self.began)
    }

    /// How long to wait for events at most.
    fn patience(&self) -> Option<Duration> {
        if self.behind || !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = (!self.stalled.is_empty()).then_some(output::RETRY);
        let time = self.time();
        let deadlines = [
            self.machine.deadline(),
            self.strangers.deadline(),
            self.guard.deadline(),
            self.measuring.deadline(|| self.machine.items_in_flight() > 0),
            self.next_look,
        ];
        let idle = self.arena.as_ref().and_then(|arena| arena.idle_from());
        let idle = idle.map(|idle| idle.saturating_duration_since(self.began));
        let deadlines = deadlines.into_iter().chain([idle]);
        let wait = deadlines.flatten().min().map(|deadline| {
            // Whole milliseconds are what a wait is measured in: rounded up, so that it does not
            // end just before the deadline, over and over.
            deadline.saturating_sub(time).saturating_add(Duration::from_millis(1))
        });
        retry.into_iter().chain(wait).min()
    }

    /// Lets the machine move on, and does what it decides, until it has nothing more to do.
    pub(super) fn settle(&mut self, driver: Driver) {
        let listened_again = std::mem::take(&mut self.behind);
        loop {
            let time = self.time();
            let late = self.back_by.is_some_and(|back_by| back_by.saturating_add(LATE) < time);
            if late && !listened_again {
                self.behind = true;
                return;
            }
            if self.machine.deadline().is_some_and(|deadline| deadline <= time) {
                self.look_at_all(time);
                self.pass_results_on();
            }
            self.machine.advance(time);
            let actions = self.machine.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                let is_for_callers = matches!(
                    action,
                    Action::Send { .. } | Action::Conclude { .. } | Action::Retry { .. }
                );
                // What comes behind it is for whoever does that: why the pool fails, for one, is
                // known before what waits is concluded for it.
                if driver == Driver::Thread || is_for_callers && self.left.is_empty() {
                    self.perform(time, action);
                } else {
                    self.left.push(action);
                }
            }
            if !self.left.is_empty() {
                break;
            }
        }
        if self.left.is_empty() {
            self.obituaries.clear();
        }
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for worker in unwritten.drain(..) {
            self.write(worker);
        }
        self.unwritten = unwritten;
    }

    /// Something is to be written to a worker when all is decided.
    pub(super) fn write_later(&mut self, worker: WorkerId) {
        if self.unwritten.last() != Some(&worker) {
            self.unwritten.push(worker);
        }
    }

    /// Writes what a worker is to be sent. While it takes no more it is watched for that too, and only
    /// then: each read of a worker makes room, and would wake the loop.
    fn write(&mut self, worker: WorkerId) {
        let process = self.processes.get_mut(&worker);
        let Some(connection) = process.and_then(|process| process.connection.as_mut()) else {
            return;
        };
        let blocked = !connection.flush();
        if std::mem::replace(&mut connection.blocked, blocked) == blocked {
            return;
        }
        let interest = match blocked {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        let (descriptor, token) = (connection.raw_fd(), Source::Socket(worker).token());
        let registry = self.poll.registry();
        if let Err(error) = registry.reregister(&mut SourceFd(&descriptor), token, interest) {
            log::error!("cannot watch the connection to a worker: {error}");
        }
    }

    /// Passes on what sinks have held back, so that those who wait are woken once a round.
    fn pass_results_on(&mut self) {
        for submission in self.touched.drain(..) {
            submission.sink.round_is_over();
        }
    }

    /// Registers a descriptor that is read from.
    pub(super) fn watch(&self, descriptor: RawFd, source: Source) -> io::Result<()> {
        let mut source_fd = SourceFd(&descriptor);
        self.poll.registry().register(&mut source_fd, source.token(), Interest::READABLE)
    }

    pub(super) fn unwatch(&self, descriptor: RawFd) {
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&descriptor)) {
            log::debug!("cannot deregister a descriptor: {error}");
        }
    }

    fn attend(&mut self, time: Time, source: Source) {
        match source {
            Source::Listener => {
                if self.admit(time) {
                    self.unfinished.insert(source);
                }
            }
            Source::Stranger(id) => self.hear(time, id),
            Source::Socket(worker) => {
                self.attend_socket(time, worker);
            }
            Source::Stdout(worker) => {
                let Some(process) = self.processes.get_mut(&worker) else { return };
                let Some(pipe) = &mut process.stdout else { return };
                let reading = pipe.read(time, &mut self.sink);
                self.note_pipe(source, reading);
            }
            Source::Stderr(worker) => {
                let Some(process) = self.processes.get_mut(&worker) else { return };
                let Some(pipe) = &mut process.stderr else { return };
                let reading = pipe.read(time, &mut self.sink);
                self.note_pipe(source, reading);
            }
            Source::Exit(worker) => self.attend_exit(time, worker),
            Source::Guardian => self.guardian_is_gone(time),
            // Commands are looked at in each round.
            Source::Waker => {}
        }
    }

    /// Attends to a source again soon, though no event will say so.
    pub(super) fn retry_later(&mut self, source: Source) {
        self.stalled.insert(source);
    }

    pub(super) fn expect_end(&mut self, source: Source) {
        let connection = match source {
            Source::Stranger(id) => self.strangers.connection(id),
            Source::Socket(worker) => {
                self.processes.get_mut(&worker).and_then(|process| process.connection.as_mut())
            }
            Source::Listener
            | Source::Stdout(_)
            | Source::Stderr(_)
            | Source::Exit(_)
            | Source::Guardian
            | Source::Waker => None,
        };
        if let Some(connection) = connection {
            connection.expect_end();
        }
    }

    fn note_pipe(&mut self, source: Source, reading: output::Reading) {
        match reading {
            output::Reading::Unfinished => {
                self.unfinished.insert(source);
            }
            output::Reading::Stalled => {
                self.stalled.insert(source);
            }
            output::Reading::Drained | output::Reading::Ended => {}
        }
    }

    /// Reads from a worker. Returns false once there is nothing more to come.
    pub(super) fn attend_socket(&mut self, time: Time, worker: WorkerId) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        let Some(mut connection) = process.connection.take() else { return false };
        if connection.blocked {
            self.write_later(worker);
        }
        let reading = connection.read();
        if matches!(reading, Reading::Ended { .. }) {
            self.recover(worker, &mut connection);
        }
        let breach = self.take_frames(time, worker, &mut connection.decoder).err();
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        shared_output::look_later(process, &mut self.next_look, time);
        process.unread |= connection.has_broken_delivery();
        if let Some(breach) = breach {
            process.blame(|| breach.to_string());
            self.close(worker, connection);
            self.machine.handle(time, Event::Misbehaved { worker });
            return false;
        }
        match reading {
            Reading::Ended { unread } => {
                process.unread |= unread || connection.has_undelivered();
                process.cut_short |= connection.decoder.finish().is_err();
                self.close(worker, connection);
                self.machine.handle(time, Event::Disconnected { worker });
                false
            }
            Reading::Unfinished => {
                process.connection = Some(connection);
                self.unfinished.insert(Source::Socket(worker));
                true
            }
            Reading::Drained => {
                process.connection = Some(connection);
                false
            }
        }
    }

    pub(super) fn close(&self, worker: WorkerId, connection: Connection) {
        if let Some(tape) = &self.tape {
            tape.heard_rest(worker.0, connection.decoder.rest());
        }
        self.unwatch(connection.raw_fd());
    }
}

/// Tells whoever waits that the supervisor is gone, however it went.
struct AnnounceEnd(Arc<Shared>);

impl Drop for AnnounceEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}
