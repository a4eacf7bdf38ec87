//! The process of a worker: starting it, watching for its end, signalling its group.
//!
//! This is the one module that starts workers. Unix-only, and its watch on the exit of a
//! process (a pidfd) Linux-only.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::Arc,
};

use protocol::launch;
use rustix::{
    io::retry_on_intr,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process,
        kill_process_group, pidfd_open, waitid, waitpid,
    },
};

use super::{
    before_exec::{self, Step},
    checksum, company,
    guardian::{Guardian, Ward},
    spawn::{self, Spawned},
    surroundings::Surroundings,
};
use crate::{
    command::WorkerCommand,
    machine::{SlotId, StartFault},
    report::Exit,
};

/// A process that was started and is not reaped yet. Dropping it kills and reaps it.
pub(super) struct Child {
    /// The process, and the group that it leads.
    pid: Pid,
    exit_watch: Arc<OwnedFd>,
    /// Until it is reaped.
    ward: Option<Ward>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    reaped: bool,
}

/// What is started, and with what.
pub(super) struct Launch<'a> {
    pub(super) command: &'a WorkerCommand,
    pub(super) surroundings: &'a Surroundings,
    pub(super) address: &'a str,
    pub(super) token: &'a str,
    pub(super) slot: SlotId,
    pub(super) guardian: &'a Arc<Guardian>,
}

/// A process could not be started.
pub(super) struct NotStarted {
    pub(super) error: io::Error,
    pub(super) fault: StartFault,
}

impl Child {
    /// Starts a worker as the leader of a process group of its own.
    pub(super) fn start(launch: Launch<'_>) -> Result<Self, NotStarted> {
        let Launch { command, surroundings, address, token, slot, guardian } = launch;
        checksum::verify(command)?;
        let stream = || if surroundings.inherit_output { Stdio::inherit() } else { Stdio::piped() };
        #[expect(clippy::disallowed_methods, reason = "this is the module that starts workers")]
        let mut builder = Command::new(command.program());
        builder.args(command.arguments());
        if surroundings.clear {
            builder.env_clear();
        }
        for (name, value) in &surroundings.variables {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            };
        }
        if let Some(directory) = &surroundings.directory {
            builder.current_dir(directory);
        }
        builder
            .env(launch::ADDRESS_VARIABLE, address)
            .env(launch::TOKEN_VARIABLE, token)
            .stdin(Stdio::null())
            .stdout(stream())
            .stderr(stream())
            .process_group(0);
        let started = spawn_or_fork(&mut builder, surroundings, slot);
        let Spawned { pid, stdout, stderr } =
            started.map_err(|error| not_started(surroundings, error))?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(exit_watch) => {
                let exit_watch = Arc::new(exit_watch);
                let ward = Some(guardian.guard_group(pid));
                Ok(Self { pid, exit_watch, ward, stdout, stderr, reaped: false })
            }
            Err(error) => {
                // Without a watch on its exit it must not live; there is nothing else to do
                // about a process that cannot be killed.
                let _ = kill_process(pid, Signal::KILL);
                let _ = wait(pid);
                Err(NotStarted { error: error.into(), fault: StartFault::Passing })
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// A descriptor that becomes readable when the process ends.
    pub(super) fn exit_watch(&self) -> RawFd {
        self.exit_watch.as_raw_fd()
    }

    /// The same descriptor, to be kept also beyond the end.
    pub(super) fn shared_exit_watch(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.exit_watch)
    }

    /// Whether the process has ended. It keeps its process id until [`Self::reap`].
    pub(super) fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let watch = WaitId::PidFd(self.exit_watch.as_fd());
        // Where the end of children is ignored, or somebody else has reaped it, it is gone too.
        matches!(waitid(watch, options), Ok(Some(_)) | Err(rustix::io::Errno::CHILD))
    }

    /// Whether anybody else runs in its process group.
    pub(super) fn has_company(&self) -> bool {
        company::has_company(self.pid)
    }

    /// Sends the polite signal to the process group.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        // A stopped process does not see the signal before it goes on.
        self.signal(Signal::CONT);
    }

    /// Kills the process group.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Kills what is left of the process group of a process that has ended, and reaps it. The
    /// process id stays taken until the reaping, so the group cannot be anybody else's.
    pub(super) fn reap(&mut self) -> io::Result<Exit> {
        self.kill();
        self.ward = None;
        // Whatever comes of it, there is nothing more to be done for it.
        self.reaped = true;
        Ok(Exit::of(wait(self.pid)?))
    }

    fn signal(&self, signal: Signal) {
        match kill_process_group(self.pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => log::warn!("cannot signal the process group of {}: {error}", self.id()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped
            && let Err(error) = self.reap()
        {
            log::warn!("cannot reap process {}: {error}", self.id());
        }
    }
}

/// Starts the process: without a fork where it has nothing to take on, as that takes long in a
/// large program.
fn spawn_or_fork(
    builder: &mut Command,
    surroundings: &Surroundings,
    slot: SlotId,
) -> io::Result<Spawned> {
    let constraints = surroundings.constraints(slot);
    if constraints.is_empty() {
        match spawn::spawn(builder, !surroundings.clear, !surroundings.inherit_output) {
            Ok(spawned) => return Ok(spawned),
            Err(error) => log::debug!("a worker is forked, as it cannot be spawned: {error}"),
        }
    }
    before_exec::prepare_worker(builder, constraints);
    let mut process = builder.spawn()?;
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    Ok(Spawned { pid: Pid::from_child(&process), stdout, stderr })
}

fn wait(pid: Pid) -> io::Result<ExitStatus> {
    match retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))? {
        Some((_, status)) => Ok(ExitStatus::from_raw(status.as_raw())),
        None => Err(io::Error::other("it has not ended")),
    }
}

/// The operating system does not say which of the two was not there, the executable or the
/// directory.
fn not_started(surroundings: &Surroundings, error: io::Error) -> NotStarted {
    if let Some((step, error)) = Step::decode(&error) {
        let text = format!("cannot {}: {error}", surroundings.describe(step));
        // It would be refused again.
        let error = io::Error::new(error.kind(), text);
        return NotStarted { error, fault: StartFault::Permanent };
    }
    let fault = fault_of(&error);
    match &surroundings.directory {
        Some(directory) if error.kind() == io::ErrorKind::NotFound && !directory.is_dir() => {
            let text = format!("there is no directory {} to start it in", directory.display());
            NotStarted { error: io::Error::new(error.kind(), text), fault }
        }
        _ => NotStarted { error, fault },
    }
}

/// Shortages pass; anything else would fail again in the same way.
pub(super) fn fault_of(error: &io::Error) -> StartFault {
    let errno = rustix::io::Errno::from_io_error(error);
    let shortage = [
        rustix::io::Errno::AGAIN,
        rustix::io::Errno::NOMEM,
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::TXTBSY,
    ];
    match errno {
        Some(errno) if shortage.contains(&errno) => StartFault::Passing,
        _ => StartFault::Permanent,
    }
}
