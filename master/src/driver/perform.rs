//! Doing what the machine decides.

use std::{borrow::Cow, collections::VecDeque, ops::Range, sync::Arc};

use protocol::{
    limits::PROTOCOL_VERSION,
    message::{Call, FromMaster, SharedRange, Welcome, feature},
};

use super::{
    child::{Child, Launch, NotStarted},
    output::Pipe,
    process::{self, Process, SharedCall},
    session::Session,
    shared_output::{self, SharedOutput},
    source::Source,
    supervisor::Supervisor,
};
use crate::{
    batch::Submission,
    error::{Cancelled, Error},
    events::EventKind,
    machine::{
        Action, CallId, Cancellation, Chunk, Ending, Event, Generation, GroupId, SlotId,
        StartFault, Time, TimeLimit, WorkerId,
    },
    payload::SHARED_FROM,
    report::{Seconds, Stage, WorkerReport},
};

impl Supervisor {
    pub(super) fn perform(&mut self, time: Time, action: Action<Arc<Submission>>) {
        match action {
            Action::Start { worker, slot, group, generation } => {
                self.start(time, worker, slot, group, generation);
            }
            Action::Welcome { worker } => self.welcome(time, worker),
            Action::Send { worker, call, chunk, last } => {
                self.send(time, worker, call, &chunk, last);
            }
            Action::Cancel { worker, call, item } => {
                self.say(worker, &FromMaster::Cancel { id: call.0, item });
            }
            Action::Drain { worker } => self.say(worker, &FromMaster::Drain {}),
            Action::Terminate { worker } => {
                // One that has said that its initializer failed leaves by itself, with a status
                // of its own that a signal would hide.
                if let Some(process) = self.processes.get_mut(&worker)
                    && !process.leaves
                {
                    process.terminated = true;
                    process.child.terminate();
                }
            }
            Action::Kill { worker } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    let was_heard = process.session.stage() != Stage::Hello;
                    // It may be gone, and its children are not.
                    let lives = !process.child.has_exited();
                    if was_heard && lives && process.connection.is_none() {
                        process.blame(|| "closed its connection and lived on".to_owned());
                    }
                    process.killed = true;
                    process.child.kill();
                }
            }
            Action::Conclude { batch, items, ending } => {
                self.conclude(time, &batch, items, ending);
            }
            Action::Retry { batch, item, ending } => self.retry(time, &batch, item, ending),
            Action::RollBack { group, worker, flaw } => self.roll_back(time, group, worker, flaw),
            Action::RolledOut { group, generation } => self.rolled_out(time, group, generation),
            Action::Fail { worker } => self.fail(time, worker),
            Action::End => self.ended = true,
        }
    }

    fn start(
        &mut self,
        time: Time,
        worker: WorkerId,
        slot: SlotId,
        group: GroupId,
        generation: Generation,
    ) {
        self.counters.started += 1;
        let started = self.try_start(worker, slot, group, generation);
        match started {
            Ok(process) => {
                let pid = process.child.id();
                let command = self.command_of(group, generation);
                log::info!("started worker {}, pid {pid}: {command}", slot.0);
                if let Some(tape) = &self.tape {
                    tape.started(worker.0, slot.0, pid, &command);
                }
                self.publish_of(time, slot.0, Some(pid), EventKind::Started { command });
                // Nobody asks for that of a pool, where it would only keep a descriptor open.
                let one_call = self.plan.settings.one_call;
                let exit_watch = one_call.then(|| process.child.shared_exit_watch());
                self.shared.update(|status| {
                    status.pid = Some(pid);
                    status.exit_watch = exit_watch;
                });
                self.processes.insert(worker, process);
                // A process is there to run for a while, so it is worth a guardian at once.
                let short = self.plan.surroundings.single_call && !one_call;
                self.guard.note_start(time, short);
            }
            Err(NotStarted { error, fault }) => {
                self.gate.forget(worker);
                if let Some(tape) = &self.tape {
                    let command = self.command_of(group, generation);
                    tape.not_started(worker.0, slot.0, &command, &error.to_string());
                }
                let report = WorkerReport {
                    slot: slot.0,
                    pid: None,
                    command: self.command_of(group, generation),
                    reason: Some(format!("could not be started ({error})")),
                    ..WorkerReport::unknown()
                };
                log::warn!("{report}");
                let event = EventKind::NotStarted { report: Box::new(report.clone()) };
                self.publish_of(time, slot.0, None, event);
                self.obituaries.insert(worker, report);
                self.machine.handle(time, Event::NotStarted { worker, fault });
            }
        }
    }

    fn try_start(
        &mut self,
        worker: WorkerId,
        slot: SlotId,
        group: GroupId,
        generation: Generation,
    ) -> Result<Process, NotStarted> {
        let passing = |error| NotStarted { error, fault: StartFault::Passing };
        let token = self.gate.expect(worker).map_err(passing)?;
        let Some(command) = self.commands.get(group, generation) else {
            let error = std::io::Error::other("the slot has no worker command");
            return Err(NotStarted { error, fault: StartFault::Permanent });
        };
        let mut child = Child::start(Launch {
            command,
            surroundings: &self.plan.surroundings,
            address: self.gate.address(),
            token: &token,
            slot,
            guardian: &self.guard.guardian,
        })?;
        let mark = format!("[worker {}, pid {}] ", slot.0, child.id());
        let stdout = child.stdout.take().map(|pipe| Pipe::new(pipe, mark.clone()));
        let stderr = child.stderr.take().map(|pipe| Pipe::new(pipe, mark));
        let stdout = stdout.transpose().map_err(passing)?;
        let stderr = stderr.transpose().map_err(passing)?;
        self.watch(child.exit_watch(), Source::Exit(worker)).map_err(passing)?;
        if let Some(pipe) = &stdout {
            self.watch(pipe.raw_fd(), Source::Stdout(worker)).map_err(passing)?;
        }
        if let Some(pipe) = &stderr {
            self.watch(pipe.raw_fd(), Source::Stderr(worker)).map_err(passing)?;
        }
        let (connection, reason, unread, killed, leaves) = (None, None, false, false, false);
        Ok(Process {
            slot,
            group,
            generation,
            child,
            connection,
            stdout,
            stderr,
            session: Session::new(),
            features: Vec::new(),
            shared_output: None,
            shared_arguments: false,
            shared_calls: VecDeque::new(),
            note: None,
            memory: None,
            reason,
            unread,
            cut_short: false,
            terminated: false,
            killed,
            alone_at: Time::ZERO,
            leaves,
        })
    }

    fn welcome(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(connection) = &mut process.connection else { return };
        let initializer = self.plan.initializer.as_ref();
        let shares_arguments = process.features.contains(&feature::SHARED_ARGUMENTS);
        let arena = self.arena.as_ref().filter(|_| shares_arguments);
        let welcome = FromMaster::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            features: process.features.iter().map(ToString::to_string).collect(),
            slot: process.slot.0,
            pool: self.plan.name.clone(),
            initializer: initializer.map(|initializer| initializer.function.clone()),
            keywords: initializer.is_some_and(|initializer| initializer.keywords),
            shared_output: process.shared_output.as_ref().map(SharedOutput::place),
            shared_arguments: arena.map(|arena| arena.place()),
        });
        let payload = initializer.map(|initializer| initializer.item.as_slice());
        if let Err(error) = connection.send(&welcome, payload.unwrap_or_default()) {
            process.blame(|| format!("cannot be welcomed ({error})"));
            self.machine.handle(time, Event::Unfit { worker });
        }
        self.write_later(worker);
    }

    fn send(
        &mut self,
        time: Time,
        worker: WorkerId,
        call: CallId,
        chunk: &Chunk<Arc<Submission>>,
        last: bool,
    ) {
        // Without a connection the worker is as good as dead, and its exit says what becomes of
        // the chunk.
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(connection) = &mut process.connection else {
            process.unread = true;
            return;
        };
        let submission = &chunk.batch;
        let items = chunk.items.end - chunk.items.start;
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let place = submission.items.place(&chunk.items);
        let shared = match submission.items.bytes.offset_in(self.arena.as_ref()) {
            Some(offset) if process.shared_arguments && place.len() > SHARED_FROM => {
                let _submission = Arc::clone(submission);
                process.shared_calls.push_back(SharedCall { call, items, _submission });
                let (offset, length) = ((offset + place.start) as u64, place.len() as u64);
                Some(SharedRange { offset, length })
            }
            _ => None,
        };
        let message = FromMaster::Call(Call {
            id: call.0,
            function: Cow::Borrowed(&submission.function),
            items,
            keywords: submission.items.keywords,
            last,
            shared,
        });
        let sent = match shared {
            Some(_) => connection.send(&message, &[]),
            None => connection.send_items(&message, submission, place),
        };
        if let Err(error) = sent {
            // The size of each item was checked when it was submitted.
            process.blame(|| format!("cannot be sent a call ({error})"));
            return self.machine.handle(time, Event::Misbehaved { worker });
        }
        shared_output::look_later(process, &mut self.next_look, time);
        self.write_later(worker);
    }

    fn say(&mut self, worker: WorkerId, message: &FromMaster<'_>) {
        self.write_later(worker);
        if let Some(process) = self.processes.get_mut(&worker)
            && let Some(connection) = &mut process.connection
            && let Err(error) = connection.send(message, &[])
        {
            log::error!("cannot send {message:?} to a worker: {error}");
        }
    }

    fn conclude(&mut self, time: Time, batch: &Submission, items: Range<u64>, ending: Ending) {
        let error = self.error_of(batch, &items, ending);
        let count = items.end - items.start;
        match &error {
            Error::Lost(report) => {
                self.counters.lost += count;
                if report.poison {
                    let function = batch.function.clone();
                    let event = EventKind::Quarantined { function, report: report.clone() };
                    self.publish_of(time, report.slot, report.pid, event);
                }
            }
            Error::TimedOut(_) => self.counters.timed_out += count,
            _ => self.counters.cancelled += count,
        }
        self.attempts.forget(batch.id, &items);
        batch.sink.ended(items, &error);
    }

    /// An item is tried again: what came of it is kept, for the case that it never succeeds.
    fn retry(&mut self, time: Time, batch: &Submission, item: u64, ending: Ending) {
        let (Ending::Lost { worker, .. } | Ending::TimedOut { worker, .. }) = ending else {
            return;
        };
        let error = self.error_of(batch, &(item..item), ending);
        let text = error.to_string();
        self.note_retry(time, worker, batch, item, text);
    }

    pub(super) fn note_retry(
        &mut self,
        time: Time,
        worker: WorkerId,
        batch: &Submission,
        item: u64,
        error: String,
    ) {
        self.counters.retried += 1;
        let (slot, pid) = self.identity(worker);
        let attempt = self.attempts.add(batch.id, item, slot, pid, error);
        let function = batch.function.clone();
        log::warn!("item {item} of a call of `{function}` is tried again: {attempt}");
        self.publish_of(time, slot, pid, EventKind::Retried { function, attempt });
    }

    /// How an item ends, for those who wait for it. The evidence of what was tried before comes
    /// with the one item that it is about.
    fn error_of(&mut self, batch: &Submission, items: &Range<u64>, ending: Ending) -> Error {
        match ending {
            Ending::Lost { worker, after, poison } => {
                let report = self.report(worker);
                let mut report = process::running(&report, &batch.function, after);
                report.poison = poison;
                report.attempts = self.attempts.take_first(batch.id, items);
                Error::Lost(Box::new(report))
            }
            Ending::TimedOut { worker, after, limit, told } => {
                let mut report = process::running(&self.report(worker), &batch.function, after);
                let stopped = if told { "was told to end it" } else { "was stopped" };
                report.reason = Some(match limit {
                    TimeLimit::Task => format!("{stopped} at its time limit"),
                    TimeLimit::Silence => {
                        let limit = self.plan.settings.silence_timeout.unwrap_or_default();
                        let limit = Seconds(limit);
                        format!("{stopped}, as it told nothing of its progress for {limit}")
                    }
                });
                report.attempts = self.attempts.take_first(batch.id, items);
                Error::TimedOut(Box::new(report))
            }
            Ending::Cancelled(Cancellation::ByCaller) => Error::Cancelled(Cancelled::ByCaller),
            Ending::Cancelled(Cancellation::Terminated) => Error::Cancelled(Cancelled::Terminated),
            Ending::Cancelled(Cancellation::Interrupted) => {
                Error::Cancelled(Cancelled::Interrupted)
            }
            Ending::Cancelled(Cancellation::PoolFailed) => match &self.failure {
                Some(report) => Error::PoolFailed(Arc::clone(report)),
                None => Error::NotRunning,
            },
            Ending::Cancelled(Cancellation::UnknownFunction) => Error::UnknownFunction {
                function: batch.function.clone(),
                available: self.functions.available(self.commands.in_use()),
                workers: self.commands.current().map(ToString::to_string).collect(),
            },
        }
    }

    fn fail(&mut self, time: Time, worker: WorkerId) {
        let report = Arc::new(self.report(worker));
        let event = EventKind::Failed { report: Box::new(WorkerReport::clone(&report)) };
        self.publish_of(time, report.slot, report.pid, event);
        log::error!("the pool cannot work: {report}");
        self.failure = Some(Arc::clone(&report));
        self.shared.update(|status| status.failure = Some(Arc::clone(&report)));
        self.shared.announce_over(&Error::PoolFailed(report));
    }

    /// What is known about a worker, dead or alive.
    pub(super) fn report(&self, worker: WorkerId) -> WorkerReport {
        if let Some(report) = self.obituaries.get(&worker) {
            return report.clone();
        }
        let Some(process) = self.processes.get(&worker) else { return WorkerReport::unknown() };
        let mut report = process.report(self.command_of(process.group, process.generation), None);
        if report.reason.is_none() {
            let settings = &self.plan.settings;
            report.reason = match process.session.stage() {
                Stage::Hello if self.strangers.is_connected(process.child.id()) => Some(format!(
                    "connected, but sent no hello within {}",
                    Seconds(settings.hello_timeout)
                )),
                Stage::Start | Stage::Hello => {
                    Some(format!("did not connect within {}", Seconds(settings.hello_timeout)))
                }
                Stage::Initializer => {
                    Some(format!("was not ready within {}", Seconds(settings.ready_timeout)))
                }
                Stage::Service => None,
            };
        }
        report
    }

    /// The seat and the process of a worker, dead or alive.
    fn identity(&self, worker: WorkerId) -> (u32, Option<u32>) {
        match (self.processes.get(&worker), self.obituaries.get(&worker)) {
            (Some(process), _) => (process.slot.0, Some(process.child.id())),
            (None, Some(report)) => (report.slot, report.pid),
            (None, None) => (0, None),
        }
    }

    pub(super) fn command_of(&self, group: GroupId, generation: Generation) -> String {
        self.commands.get(group, generation).map(ToString::to_string).unwrap_or_default()
    }
}
