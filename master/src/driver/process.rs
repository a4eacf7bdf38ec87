//! One worker process, with everything that the driver holds for it.

use std::{
    collections::VecDeque,
    process::{ChildStderr, ChildStdout},
    sync::Arc,
    time::Duration,
};

use super::{
    child::Child, connection::Connection, output::Pipe, session::Session,
    shared_output::SharedOutput,
};
use crate::{
    batch::Submission,
    machine::{CallId, Generation, GroupId, SlotId, Time},
    report::{Exit, Stage, WorkerReport},
};

pub(super) struct Process {
    pub(super) slot: SlotId,
    pub(super) group: GroupId,
    pub(super) generation: Generation,
    pub(super) child: Child,
    /// There from its hello to the end of the connection.
    pub(super) connection: Option<Connection>,
    pub(super) stdout: Option<Pipe<ChildStdout>>,
    pub(super) stderr: Option<Pipe<ChildStderr>>,
    pub(super) session: Session,
    /// The features that it may be asked to use.
    pub(super) features: Vec<&'static str>,
    /// Where it keeps answers for a moment, if that was agreed on.
    pub(super) shared_output: Option<SharedOutput>,
    /// It can see shared arguments.
    pub(super) shared_arguments: bool,
    /// Calls whose arguments it may be looking at, in the order in which they were sent.
    pub(super) shared_calls: VecDeque<SharedCall>,
    /// What it last said of its progress with the item in hand.
    pub(super) note: Option<String>,
    /// Its memory when that was last looked at, in bytes.
    pub(super) memory: Option<u64>,
    /// What is known against it.
    pub(super) reason: Option<String>,
    /// The connection ended with bytes of ours unread, or undelivered.
    pub(super) unread: bool,
    /// The connection ended inside a frame, as it does when a worker dies while it writes.
    pub(super) cut_short: bool,
    /// The master has sent it the polite signal, unless it ended before.
    pub(super) terminated: bool,
    /// The master has killed it, unless it ended before.
    pub(super) killed: bool,
    /// It has ended, and others of its process group had not when that was looked at last: when to
    /// look again.
    pub(super) alone_at: Time,
    /// It has said that its initializer failed, after which it has to exit.
    pub(super) leaves: bool,
}

/// A call that a worker has not answered in full, whose arguments lie in shared memory: they have to
/// stay there, whatever else becomes of it.
pub(super) struct SharedCall {
    pub(super) call: CallId,
    pub(super) items: u32,
    pub(super) _submission: Arc<Submission>,
}

impl Process {
    /// The worker has answered a call up to an item, and does not look at its arguments again if that
    /// was the last one.
    pub(super) fn has_answered(&mut self, call: CallId, next_item: u32) {
        let is_answered = |shared: &SharedCall| shared.call == call && shared.items <= next_item;
        if self.shared_calls.front().is_some_and(is_answered) {
            self.shared_calls.pop_front();
        }
    }

    /// Keeps the first thing that is known against the worker; what follows follows from it.
    pub(super) fn blame(&mut self, reason: impl FnOnce() -> String) {
        if self.reason.is_none() {
            self.reason = Some(reason());
        }
    }

    pub(super) fn report(&self, command: String, exit: Option<Exit>) -> WorkerReport {
        WorkerReport {
            slot: self.slot.0,
            pid: Some(self.child.id()),
            command,
            stage: self.session.stage(),
            exit,
            reason: self.reason.clone(),
            running: None,
            poison: false,
            attempts: Vec::new(),
            stderr: self.stderr.as_ref().map(Pipe::tail).unwrap_or_default(),
            stdout: match (self.session.stage(), &self.stdout) {
                (Stage::Start | Stage::Hello, Some(pipe)) => pipe.tail(),
                _ => Vec::new(),
            },
        }
    }
}

/// The same report, about an item that may have been running.
pub(super) fn running(report: &WorkerReport, function: &str, after: Duration) -> WorkerReport {
    WorkerReport { running: Some((function.to_owned(), after)), ..report.clone() }
}
