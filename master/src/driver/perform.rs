//! Doing what the machine decides.

use std::{borrow::Cow, ops::Range, sync::Arc};

use protocol::{
    limits::PROTOCOL_VERSION,
    message::{Call, FromMaster, Welcome},
};

use super::{
    child::{Child, NotStarted},
    output::Pipe,
    process::{self, Process},
    source::Source,
    supervisor::Supervisor,
};
use crate::{
    batch::Submission,
    error::{Cancelled, Error},
    machine::{
        Action, CallId, Cancellation, Chunk, Ending, Event, GroupId, SlotId, StartFault, Time,
        WorkerId,
    },
    report::{Seconds, Stage, WorkerReport},
};

impl Supervisor {
    pub(super) fn perform(&mut self, time: Time, action: Action<Arc<Submission>>) {
        match action {
            Action::Start { worker, slot, group, .. } => self.start(time, worker, slot, group),
            Action::Welcome { worker } => self.welcome(time, worker),
            Action::Send { worker, call, chunk, last } => {
                self.send(time, worker, call, &chunk, last);
            }
            Action::Drain { worker } => self.drain(worker),
            Action::Terminate { worker } => {
                // One that has said that its initializer failed leaves by itself, with a status
                // of its own that a signal would hide.
                if let Some(process) = self.processes.get(&worker)
                    && !process.leaves
                {
                    process.child.terminate();
                }
            }
            Action::Kill { worker } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.killed = true;
                    process.child.kill();
                }
            }
            Action::Conclude { batch, items, ending } => self.conclude(&batch, items, ending),
            Action::Fail { worker } => self.fail(worker),
            Action::End => self.ended = true,
            _ => {}
        }
    }

    fn start(&mut self, time: Time, worker: WorkerId, slot: SlotId, group: GroupId) {
        let started = self.try_start(worker, slot, group);
        match started {
            Ok(process) => {
                let pid = process.child.id();
                log::info!("started worker {}, pid {pid}: {}", slot.0, self.command_of(group));
                // Nobody asks for that of a pool, where it would only keep a descriptor open.
                let one_call = self.plan.settings.one_call;
                let exit_watch = one_call.then(|| process.child.shared_exit_watch());
                self.shared.update(|status| {
                    status.pid = Some(pid);
                    status.exit_watch = exit_watch;
                });
                self.processes.insert(worker, process);
            }
            Err(NotStarted { error, fault }) => {
                self.gate.forget(worker);
                let report = WorkerReport {
                    slot: slot.0,
                    pid: None,
                    command: self.command_of(group),
                    stage: Stage::Start,
                    exit: None,
                    reason: Some(format!("could not be started ({error})")),
                    running: None,
                    stderr: Vec::new(),
                    stdout: Vec::new(),
                };
                log::warn!("{report}");
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
    ) -> Result<Process, NotStarted> {
        let passing = |error| NotStarted { error, fault: StartFault::Passing };
        let token = self.gate.expect(worker).map_err(passing)?;
        let Some(command) = self.plan.commands.get(group.0) else {
            let error = std::io::Error::other("the slot has no worker command");
            return Err(NotStarted { error, fault: StartFault::Permanent });
        };
        let mut child =
            Child::start(command, &self.plan.surroundings, self.gate.address(), &token)?;
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
        let stage = Stage::Hello;
        let (connection, reason, unread, killed, leaves) = (None, None, false, false, false);
        Ok(Process {
            slot,
            group,
            child,
            connection,
            stdout,
            stderr,
            stage,
            reason,
            unread,
            killed,
            leaves,
        })
    }

    fn welcome(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(connection) = &mut process.connection else { return };
        let initializer = self.plan.initializer.as_ref();
        let welcome = FromMaster::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            features: Vec::new(),
            slot: process.slot.0,
            pool: self.plan.name.clone(),
            initializer: initializer.map(|initializer| initializer.function.clone()),
            keywords: initializer.is_some_and(|initializer| initializer.keywords),
        });
        let payload = initializer.map(|initializer| initializer.item.as_slice());
        if let Err(error) = connection.send(&welcome, payload.unwrap_or_default()) {
            process.blame(|| format!("cannot be welcomed ({error})"));
            self.machine.handle(time, Event::Unfit { worker });
        }
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
        let message = FromMaster::Call(Call {
            id: call.0,
            function: Cow::Borrowed(&submission.function),
            items: u32::try_from(items).unwrap_or(u32::MAX),
            keywords: submission.items.keywords,
            last,
        });
        let place = submission.items.place(&chunk.items);
        if let Err(error) = connection.send_items(&message, submission, place) {
            // The size of each item was checked when it was submitted.
            process.blame(|| format!("cannot be sent a call ({error})"));
            self.machine.handle(time, Event::Misbehaved { worker });
        }
    }

    fn drain(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(&worker)
            && let Some(connection) = &mut process.connection
            && let Err(error) = connection.send(&FromMaster::Drain {}, &[])
        {
            log::error!("cannot ask a worker to leave: {error}");
        }
    }

    fn conclude(&mut self, batch: &Submission, items: Range<u64>, ending: Ending) {
        let error = match ending {
            Ending::Lost { worker, after, .. } => {
                let report = self.report(worker);
                Error::Lost(Box::new(process::running(&report, &batch.function, after)))
            }
            Ending::TimedOut { worker, after, .. } => {
                let mut report = process::running(&self.report(worker), &batch.function, after);
                report.reason = Some("was stopped at its time limit".into());
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
                available: self.functions.available(),
                workers: self.plan.commands.iter().map(ToString::to_string).collect(),
            },
        };
        batch.sink.ended(items, &error);
    }

    fn fail(&mut self, worker: WorkerId) {
        let report = Arc::new(self.report(worker));
        log::error!("the pool cannot work: {report}");
        self.failure = Some(Arc::clone(&report));
        self.shared.update(|status| status.failure = Some(Arc::clone(&report)));
        self.shared.announce_over(&Error::PoolFailed(report));
    }

    /// What is known about a worker, dead or alive.
    fn report(&self, worker: WorkerId) -> WorkerReport {
        if let Some(report) = self.obituaries.get(&worker) {
            return report.clone();
        }
        let Some(process) = self.processes.get(&worker) else {
            return WorkerReport {
                slot: 0,
                pid: None,
                command: String::new(),
                stage: Stage::Start,
                exit: None,
                reason: None,
                running: None,
                stderr: Vec::new(),
                stdout: Vec::new(),
            };
        };
        let mut report = process.report(self.command_of(process.group), None);
        if report.reason.is_none() {
            let settings = &self.plan.settings;
            report.reason = match process.stage {
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

    pub(super) fn command_of(&self, group: GroupId) -> String {
        self.plan.commands.get(group.0).map(ToString::to_string).unwrap_or_default()
    }
}
