//! The end of a process: what it still had to say is heard, then the machine judges.

use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

use super::{output, source::Source, supervisor::Supervisor};
use crate::{
    events::EventKind,
    machine::{Event, Time, Unread, WorkerId},
    report::Exit,
};

/// How much of what a dead worker left in its socket is read, in rounds of up to 1 MiB. A socket
/// holds far less; a grandchild that keeps writing must not keep the death from being seen.
const LAST_ROUNDS: usize = 64;

impl Supervisor {
    /// A process has ended: hears what it still had to say, then lets the machine judge.
    pub(super) fn attend_exit(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if !process.child.has_exited() {
            return;
        }
        // Those that it has started were asked to end with it, and have the same time for that. All
        // processes are looked through for them, which is not to be done in each turn.
        if process.terminated && !process.killed {
            if time >= process.alone_at && process.child.has_company() {
                process.alone_at = time.saturating_add(output::RETRY);
            }
            if time < process.alone_at {
                return self.retry_later(Source::Exit(worker));
            }
        }
        self.hear_last_words(time, worker);
        // No event for the end may have come before that of the exit.
        self.expect_end(Source::Socket(worker));
        for _ in 0..LAST_ROUNDS {
            if !self.attend_socket(time, worker) {
                break;
            }
        }
        // A grandchild may hold the connection open.
        self.recover_open(time, worker);
        let Some(mut process) = self.processes.remove(&worker) else { return };
        self.gate.forget(worker);
        self.strangers.forget(process.child.id());
        if let Some(connection) = process.connection.take() {
            process.unread |= connection.has_undelivered();
            self.close(worker, connection);
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
        if let Some(tape) = &self.tape {
            tape.ended(worker.0, exit);
        }
        // Where the master had a reason to kill it, the reason says more than the signal. Without
        // one somebody else may have killed it: a connection ends before its process does.
        let killed = process.killed && process.reason.is_some();
        // One whose initializer failed exits because of that. Its error has been judged by itself,
        // whether or not the exit was seen by then, and must not read differently.
        let own_exit =
            exit.filter(|&exit| !process.leaves && (!killed || exit != Exit::Signal(SIGKILL)));
        if process.cut_short {
            process.blame(|| "ended its connection inside a frame".to_owned());
        }
        let report = process.report(self.command_of(process.group, process.generation), own_exit);
        let (slot, pid) = (report.slot, process.child.id());
        match (exit, &report.reason) {
            (Some(Exit::Code(0)), None) => {
                log::info!("worker {slot}, pid {pid} has left");
                self.publish_of(time, slot, Some(pid), EventKind::Left);
            }
            _ => {
                log::warn!("{report}");
                self.counters.died += 1;
                let report = Box::new(report.clone());
                self.publish_of(time, slot, Some(pid), EventKind::Died { report });
            }
        }
        self.shared.update(|status| status.exit = exit);
        self.obituaries.insert(worker, report);
        let unread = if process.unread { Unread::Something } else { Unread::Nothing };
        let signal = |signal| exit == Some(Exit::Signal(signal));
        let struck = !killed && signal(SIGKILL)
            || !process.terminated && [SIGTERM, SIGINT, SIGHUP].into_iter().any(signal);
        self.machine.handle(time, Event::Exited { worker, unread, struck });
    }
}
