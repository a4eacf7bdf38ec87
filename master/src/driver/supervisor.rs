//! The loop: wait for events, hand them to the machine, do what it decides.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Interest, unix::SourceFd};
use protocol::{
    envelope::{self, EnvelopeError},
    frame::FrameError,
    message::{Failure as WireFailure, FromWorker},
};
use signal_hook::consts::SIGKILL;

use super::{
    Command, Plan, Shared, Status,
    admission::Strangers,
    connection::{Connection, Reading},
    functions::Functions,
    gate::Gate,
    now,
    output::{self, Sink},
    process::Process,
    source::Source,
};
use crate::{
    batch::Submission,
    error::{Cancelled, Error, Failure},
    machine::{Answer, CallId, Event, Machine, Time, WorkerId},
    report::{Exit, Stage, WorkerReport},
};

/// Events that one wait brings at most.
const EVENTS: usize = 256;

/// How much of what a dead worker left in its socket is read, in rounds of up to 1 MiB. A socket
/// holds far less; a grandchild that keeps writing must not keep the death from being seen.
const LAST_ROUNDS: usize = 64;

/// Owns everything of one pool.
pub(super) struct Supervisor {
    pub(super) plan: Plan,
    pub(super) machine: Machine<Arc<Submission>>,
    pub(super) shared: Arc<Shared>,
    poll: mio::Poll,
    pub(super) gate: Gate,
    pub(super) strangers: Strangers,
    pub(super) processes: HashMap<WorkerId, Process>,
    /// Reports on workers that died or did not start, until the conclusions are drawn.
    pub(super) obituaries: HashMap<WorkerId, WorkerReport>,
    pub(super) functions: Functions,
    pub(super) sink: Sink,
    /// Sources that may have more to read, though no event will say so.
    unfinished: BTreeSet<Source>,
    /// Pipes whose lines nobody takes just now, and a gate that cannot let anybody in.
    stalled: BTreeSet<Source>,
    began: Instant,
    pub(super) failure: Option<Arc<WorkerReport>>,
    /// Answers that were refused, or came too late.
    refused: u64,
    pub(super) ended: bool,
}

impl Supervisor {
    pub(super) fn new(plan: Plan) -> io::Result<(Self, Arc<Shared>)> {
        let poll = mio::Poll::new()?;
        let gate = Gate::open()?;
        log::debug!("workers connect to {}", gate.address());
        let waker = mio::Waker::new(poll.registry(), Source::Waker.token())?;
        let shared = Arc::new(Shared {
            commands: std::sync::Mutex::new(Some(Vec::new())),
            waker,
            status: std::sync::Mutex::new(Status::default()),
            changed: std::sync::Condvar::new(),
            observed: std::sync::Mutex::default(),
        });
        let supervisor = Self {
            machine: Machine::new(plan.settings.clone()),
            plan,
            shared: Arc::clone(&shared),
            poll,
            gate,
            strangers: Strangers::default(),
            processes: HashMap::new(),
            obituaries: HashMap::new(),
            functions: Functions::default(),
            sink: Sink::default(),
            unfinished: BTreeSet::new(),
            stalled: BTreeSet::new(),
            began: now(),
            failure: None,
            refused: 0,
            ended: false,
        };
        supervisor.watch(supervisor.gate.listener_fd(), Source::Listener)?;
        Ok((supervisor, shared))
    }

    /// Runs until everything is finished and no process is left.
    pub(super) fn run(self) {
        // The end is announced when everything is put away, the socket and its directory too.
        let _announce = AnnounceEnd(Arc::clone(&self.shared));
        self.work();
    }

    fn work(mut self) {
        let mut events = mio::Events::with_capacity(EVENTS);
        self.settle();
        while !self.ended {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("cannot wait for events: {error}");
                return;
            }
            let mut sources = std::mem::take(&mut self.unfinished);
            sources.append(&mut self.stalled);
            for event in &events {
                let source = Source::of(event.token());
                sources.insert(source);
                if event.is_read_closed() {
                    self.expect_end(source);
                }
            }
            let time = self.time();
            for source in sources {
                self.attend(time, source);
            }
            self.strangers.expire(time);
            self.settle();
        }
        self.sink.finish();
        if self.refused > 0 {
            log::info!("{} answers were refused or came too late", self.refused);
        }
    }

    fn time(&self) -> Time {
        now().saturating_duration_since(self.began)
    }

    /// How long to wait for events at most.
    fn patience(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = (!self.stalled.is_empty()).then_some(output::RETRY);
        let time = self.time();
        let deadlines = self.machine.deadline().into_iter().chain(self.strangers.deadline());
        let wait = deadlines.min().map(|deadline| {
            // Whole milliseconds are what a wait is measured in: rounded up, so that it does not
            // end just before the deadline, over and over.
            deadline.saturating_sub(time).saturating_add(Duration::from_millis(1))
        });
        retry.into_iter().chain(wait).min()
    }

    /// Lets the machine move on, and does what it decides, until it has nothing more to do.
    fn settle(&mut self) {
        loop {
            let time = self.time();
            self.machine.advance(time);
            let actions = self.machine.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.perform(time, action);
            }
        }
        self.obituaries.clear();
        for process in self.processes.values_mut() {
            if let Some(connection) = &mut process.connection {
                connection.flush();
            }
        }
    }

    /// Registers a descriptor for every kind of event.
    pub(super) fn watch(&self, descriptor: RawFd, source: Source) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&descriptor), source.token(), interest)
    }

    pub(super) fn unwatch(&self, descriptor: RawFd) {
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&descriptor)) {
            log::debug!("cannot deregister a descriptor: {error}");
        }
    }

    fn attend(&mut self, time: Time, source: Source) {
        match source {
            Source::Listener => self.admit(time),
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
            Source::Waker => {
                for command in self.shared.take_commands() {
                    self.obey(time, command);
                }
            }
        }
    }

    /// Attends to a source again soon, though no event will say so.
    pub(super) fn retry_later(&mut self, source: Source) {
        self.stalled.insert(source);
    }

    fn expect_end(&mut self, source: Source) {
        let connection = match source {
            Source::Stranger(id) => self.strangers.connection(id),
            Source::Socket(worker) => {
                self.processes.get_mut(&worker).and_then(|process| process.connection.as_mut())
            }
            Source::Listener
            | Source::Stdout(_)
            | Source::Stderr(_)
            | Source::Exit(_)
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

    fn obey(&mut self, time: Time, command: Command) {
        let event = match command {
            Command::Submit { submission, chunk_size } => {
                let function = self.functions.number(&submission.function);
                let items = submission.items.len();
                Event::Submitted { batch: submission, function, items, chunk_size }
            }
            Command::Cancel { batch } => Event::Cancelled { batch },
            Command::Withdraw { batch } => Event::Withdrawn { batch },
            Command::Close => Event::Closed,
            Command::Interrupt => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Interrupted));
                self.machine.handle(time, Event::Interrupted);
                let running = Some(self.machine.items_in_flight());
                return self.shared.update(|status| status.running_at_interrupt = running);
            }
            Command::Terminate => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Terminated));
                Event::Terminated
            }
            Command::Kill => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Terminated));
                Event::Killed
            }
        };
        self.machine.handle(time, event);
    }

    /// Reads from a worker. Returns false once there is nothing more to come.
    fn attend_socket(&mut self, time: Time, worker: WorkerId) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        let Some(mut connection) = process.connection.take() else { return false };
        let reading = connection.read();
        let breach = self.take_frames(time, worker, &mut connection).err();
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        process.unread |= connection.has_broken_delivery();
        if let Some(breach) = breach {
            process.blame(|| breach.to_string());
            self.close(connection);
            self.machine.handle(time, Event::Misbehaved { worker });
            return false;
        }
        match reading {
            Reading::Ended { unread } => {
                process.unread |= unread || connection.has_undelivered();
                if let Err(error) = connection.decoder.finish() {
                    process.blame(|| Breach::Frame(error).to_string());
                }
                self.close(connection);
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

    fn close(&self, connection: Connection) {
        self.unwatch(connection.raw_fd());
    }

    /// Takes in every frame that is complete.
    pub(super) fn take_frames(
        &mut self,
        time: Time,
        worker: WorkerId,
        connection: &mut Connection,
    ) -> Result<(), Breach> {
        while let Some(frame) = connection.decoder.next_frame()? {
            let (message, payload) = envelope::open::<FromWorker>(frame)?;
            envelope::check_worker_payload(&message, payload)?;
            self.take_message(time, worker, message, payload)?;
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        time: Time,
        worker: WorkerId,
        message: FromWorker,
        payload: &[u8],
    ) -> Result<(), Breach> {
        match message {
            FromWorker::Result { id, item } => {
                match self.machine.answer(
                    time,
                    worker,
                    CallId(id),
                    item,
                    crate::machine::Verdict::Completed,
                ) {
                    Answer::Accepted { batch, item } => batch.sink.completed(item, payload),
                    Answer::Retried { .. } | Answer::Late => self.refused += 1,
                    Answer::Refused => self.refuse(time, worker, id, item),
                }
            }
            FromWorker::Error { id, item, failure } => {
                match self.machine.answer(
                    time,
                    worker,
                    CallId(id),
                    item,
                    crate::machine::Verdict::Failed,
                ) {
                    Answer::Accepted { batch, item } => {
                        let failure = failure_of(failure, payload);
                        self.tell(&failure);
                        let error = Error::Failed(Box::new(failure));
                        batch.sink.ended(item..item + 1, &error);
                    }
                    Answer::Retried { .. } | Answer::Late => self.refused += 1,
                    Answer::Refused => self.refuse(time, worker, id, item),
                }
            }
            FromWorker::Ready {} => {
                let process = self.preparing(worker, "ready")?;
                process.stage = Stage::Service;
                log::info!("worker {} is ready", process.slot.0);
                self.shared.update(|status| status.ready = true);
                self.machine.handle(time, Event::Ready { worker });
            }
            FromWorker::InitializerFailed(failure) => {
                let process = self.preparing(worker, "initializer_failed")?;
                let failure = failure_of(failure, payload);
                process.leaves = true;
                process.blame(|| with_traceback("failed in its initializer: ", &failure));
                self.tell(&failure);
                self.machine.handle(time, Event::Unfit { worker });
            }
            FromWorker::Progress { .. } => return Err(Breach::OutOfPlace("progress")),
            FromWorker::Hello(_) => return Err(Breach::OutOfPlace("hello")),
        }
        Ok(())
    }

    /// Tells of a failure on standard error, if the worker is to look as if it did so itself.
    fn tell(&mut self, failure: &Failure) {
        if self.plan.surroundings.tell_failures {
            let text = with_traceback(&format!("Process {}: ", self.plan.name), failure);
            let lines: Vec<_> = text.lines().collect();
            // Such a worker prints nothing through the sink, so that there is room.
            let _ = self.sink.offer(format!("{}\n", lines.join("\n    ")).into_bytes());
        }
    }

    fn preparing(
        &mut self,
        worker: WorkerId,
        message: &'static str,
    ) -> Result<&mut Process, Breach> {
        match self.processes.get_mut(&worker) {
            Some(process) if process.stage == Stage::Initializer => Ok(process),
            _ => Err(Breach::OutOfPlace(message)),
        }
    }

    /// An answer to nothing that was asked: its worker is not to be trusted and is killed. What
    /// it says until then can still be told apart, so it is heard: an item that it answered
    /// properly must not run again.
    fn refuse(&mut self, time: Time, worker: WorkerId, id: u64, item: u32) {
        self.refused += 1;
        if let Some(process) = self.processes.get_mut(&worker) {
            process.blame(|| Breach::Unasked { id, item }.to_string());
        }
        self.machine.handle(time, Event::Misbehaved { worker });
    }

    /// A process has ended: hears what it still had to say, then lets the machine judge.
    fn attend_exit(&mut self, time: Time, worker: WorkerId) {
        if !self.processes.get(&worker).is_some_and(|process| process.child.has_exited()) {
            return;
        }
        self.hear_last_words(time, worker);
        // No event for the end may have come before that of the exit.
        self.expect_end(Source::Socket(worker));
        for _ in 0..LAST_ROUNDS {
            if !self.attend_socket(time, worker) {
                break;
            }
        }
        let Some(mut process) = self.processes.remove(&worker) else { return };
        self.gate.forget(worker);
        self.strangers.forget(process.child.id());
        if let Some(connection) = process.connection.take() {
            process.unread |= connection.has_undelivered();
            self.close(connection);
        }
        if let Some(pipe) = &mut process.stdout {
            pipe.finish(time, &mut self.sink);
            self.unwatch(pipe.raw_fd());
        }
        if let Some(pipe) = &mut process.stderr {
            pipe.finish(time, &mut self.sink);
            self.unwatch(pipe.raw_fd());
        }
        self.unwatch(process.child.exit_watch());
        let exit = match process.child.reap() {
            Ok(exit) => Some(exit),
            Err(error) => {
                process.blame(|| format!("could not be reaped ({error})"));
                None
            }
        };
        // Where the master had a reason to kill it, the reason says more than the signal. Without
        // one somebody else may have killed it: a connection ends before its process does.
        let killed = process.killed && process.reason.is_some();
        let own_exit = exit.filter(|&exit| !killed || exit != Exit::Signal(SIGKILL));
        let report = process.report(self.command_of(process.group), own_exit);
        match (exit, &report.reason) {
            (Some(Exit::Code(0)), None) => {
                log::info!("worker {}, pid {} has left", report.slot, process.child.id());
            }
            _ => log::warn!("{report}"),
        }
        self.shared.update(|status| status.exit = exit);
        self.obituaries.insert(worker, report);
        let unread = if process.unread {
            crate::machine::Unread::Something
        } else {
            crate::machine::Unread::Nothing
        };
        self.machine.handle(time, Event::Exited { worker, unread });
    }

    pub(super) fn greet(
        &mut self,
        time: Time,
        worker: WorkerId,
        names: Vec<String>,
        connection: Connection,
    ) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.stage = Stage::Initializer;
        process.connection = Some(connection);
        if self.plan.settings.one_call {
            // Nobody else is awaited, and whatever happens to the master nothing is left.
            self.gate.hide();
        }
        let group = process.group.0;
        let functions: HashSet<_> = names.iter().map(|name| self.functions.number(name)).collect();
        self.functions.announced.insert(group, names);
        self.machine.handle(
            time,
            Event::Greeted {
                worker,
                repertoire: crate::machine::Repertoire { functions, ..Default::default() },
            },
        );
        self.unfinished.insert(Source::Socket(worker));
    }
}

/// How a worker broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum Breach {
    #[error("broke the protocol ({0})")]
    Frame(#[from] FrameError),
    #[error("broke the protocol ({0})")]
    Envelope(#[from] EnvelopeError),
    #[error("broke the protocol (the message `{0}` out of its place)")]
    OutOfPlace(&'static str),
    #[error(
        "broke the protocol (an answer to item {item} of call {id}, which was not awaited: it is \
         unknown, out of order or already answered)"
    )]
    Unasked { id: u64, item: u32 },
}

fn failure_of(failure: WireFailure, payload: &[u8]) -> Failure {
    let WireFailure { kind, message, traceback } = failure;
    let opaque = match payload.is_empty() {
        true => None,
        // What cannot be read as binary data was refused before.
        false => rmp_serde::from_slice::<serde_bytes::ByteBuf>(payload)
            .ok()
            .map(serde_bytes::ByteBuf::into_vec),
    };
    Failure { kind, message, traceback, opaque }
}

fn with_traceback(start: &str, failure: &Failure) -> String {
    match failure.traceback.as_str() {
        "" => format!("{start}{failure}"),
        traceback => format!("{start}{failure}\n{traceback}"),
    }
}

/// Tells whoever waits that the supervisor is gone, however it went.
struct AnnounceEnd(Arc<Shared>);

impl Drop for AnnounceEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}
