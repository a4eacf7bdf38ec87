//! The process: what `multiprocessing.Process` is in Python.

mod builder;
mod children;
mod task;

#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::{fmt, time::Duration};

pub(crate) use self::task::{Prepared, Stopper};
use self::task::{Started, Task};
pub use self::{
    builder::ProcessBuilder,
    children::{ChildProcess, active_children},
};
use crate::{arguments::FromResult, command::WorkerCommand, driver::Command, error::Error};

/// One function, run once, in a process of its own.
///
/// ```
/// use master::Process;
///
/// # let worker = integration_tests::library::worker();
/// let mut process = Process::builder(worker).function("square").arguments((10,)).build()?;
/// process.start()?;
/// process.join()?;
/// assert_eq!(process.exit_code()?, Some(0));
/// assert_eq!(process.result::<i64>()?, 100);
/// # Ok::<(), master::Error>(())
/// ```
///
/// # Life
///
/// A process is made by a builder, which starts nothing; [`Self::start`] starts it, once. From
/// then on it is alive until the operating system has its exit code and everything that it left
/// behind has been read. [`Self::close`] gives back what is held for it. A method that makes no
/// sense at its point of life is an error: [`Error::WrongState`] before the start, and
/// [`Error::Closed`] after `close` for all but [`Self::name`] and [`Self::is_daemon`].
///
/// What it prints goes to the standard output and error of this program, its standard input is
/// empty, and it leads a process group of its own. A function that fails ends the process with
/// exit code 1, and its error and traceback appear on the standard error of this program below
/// the name of the process, before the process counts as ended.
///
/// # Who waits for whom
///
/// Dropping the handle of a process that is alive waits for its end, however long that takes;
/// while the thread panics it is terminated first. Dropping the handle of a daemon waits for
/// nothing. Both end with this program, however that ends: when the socket between the two
/// closes, a worker has to leave. Those of the crate `worker` do so at once, and end what they
/// have started in their process group.
///
/// All methods may be called from several threads at once.
///
/// # Coming from Python
///
/// | `multiprocessing` | here |
/// |---|---|
/// | `Process(target=f, args=(a,), kwargs=k, name=n, daemon=d)` | [`Process::default_builder`], then [`function`](ProcessBuilder::function), [`arguments`](ProcessBuilder::arguments), [`name`](ProcessBuilder::name), [`daemon`](ProcessBuilder::daemon), and [`build`](ProcessBuilder::build) |
/// | `start()` | [`start`](Self::start); waits until the process is there, so that a command that cannot be executed is an error of it |
/// | `run()` | none: the function is named, and lives in the worker |
/// | `join()`, `join(timeout)` | [`join`](Self::join), [`join_timeout`](Self::join_timeout), which tells whether it has ended |
/// | `name`, `daemon`, `pid` | [`name`](Self::name), [`is_daemon`](Self::is_daemon), [`pid`](Self::pid) |
/// | `is_alive()`, `exitcode` | [`is_alive`](Self::is_alive), [`exit_code`](Self::exit_code) |
/// | `terminate()`, `kill()` | [`terminate`](Self::terminate), which kills after 5 seconds, [`kill`](Self::kill); both for the whole process group |
/// | `close()` | [`close`](Self::close) |
/// | `sentinel` | `sentinel`, a descriptor to poll |
/// | `authkey` | none: each process has a secret of its own |
/// | `active_children()` | [`active_children`] |
/// | none | [`result`](Self::result) |
pub struct Process {
    name: String,
    daemon: bool,
    state: State,
}

enum State {
    New(Box<Task>),
    Started(Started),
    Closed,
}

impl Process {
    /// A process of this worker command, whose function is still to be named.
    ///
    /// ```
    /// use master::{
    ///     Process,
    ///     command::{CommandLine, SearchPath},
    /// };
    ///
    /// let search = SearchPath::from_environment()?;
    /// let worker = CommandLine::parse("/bin/sh worker.sh")?.resolve(&search)?;
    /// let process = Process::builder(worker).function("square").arguments((10,)).build()?;
    /// assert_eq!(process.pid()?, None, "nothing is started by a builder");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(worker: WorkerCommand) -> ProcessBuilder {
        ProcessBuilder::new(worker)
    }

    /// A process of the worker `worker`, as [`crate::command::CommandLine::resolve`] finds it.
    ///
    /// ```
    /// # use master::Process;
    /// # // The worker is looked for on PATH, and then beside the running program.
    /// # let beside = std::env::current_exe()?.with_file_name("worker");
    /// # let _ = std::os::unix::fs::symlink(integration_tests::library::worker().program(), beside);
    /// let process = Process::default_builder()?.function("square").arguments((5,)).start()?;
    /// assert_eq!(process.result::<i64>()?, 25);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not found, [`Error::Setup`] if it cannot be looked for.
    pub fn default_builder() -> Result<ProcessBuilder, Error> {
        crate::pool::default_worker().map(ProcessBuilder::new)
    }

    /// Starts the process, and waits until it is there; what its worker and its function come to
    /// shows later, in [`Self::result`].
    ///
    /// ```
    /// # use master::{Error, Process};
    /// # let worker = integration_tests::library::worker();
    /// let mut process = Process::builder(worker).function("square").arguments((5,)).build()?;
    /// process.start()?;
    /// assert_eq!(process.result::<i64>()?, 25);
    /// assert!(matches!(process.start(), Err(Error::WrongState(_))), "a process runs once");
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ProcessFailed`] with the report if the operating system cannot execute the worker
    /// command, and [`Error::Setup`] if it refuses what the process needs; it may then be started
    /// again. [`Error::WrongState`] if it was started already: a process runs once.
    pub fn start(&mut self) -> Result<(), Error> {
        let State::New(task) = &mut self.state else {
            self.check_not_closed()?;
            let text = "was started already: a process runs once, build another one";
            return Err(self.wrong_state(text));
        };
        let handle = task.spawn(&self.name)?;
        self.state = State::Started(task.begin(&self.name, handle));
        Ok(())
    }

    /// Its name. Default: `Process-1`, `Process-2` and so on, counted over all processes that
    /// this program builds.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("pid").name("first").build()?;
    /// assert_eq!(process.name(), "first");
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a daemon; see [`ProcessBuilder::daemon`].
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("pid").daemon(true).build()?;
    /// assert!(process.is_daemon());
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub const fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Its process id; `None` before it is started. After its end another process may have it.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let mut process = Process::builder(worker).function("pid").build()?;
    /// assert_eq!(process.pid()?, None);
    /// process.start()?;
    /// assert_eq!(process.pid()?, Some(process.result::<u32>()?));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn pid(&self) -> Result<Option<u32>, Error> {
        self.check_not_closed()?;
        Ok(self.started().and_then(|started| started.handle.status().pid))
    }

    /// Whether it was started and has not ended yet.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// assert!(process.is_alive()?);
    /// process.kill()?;
    /// process.join()?;
    /// assert!(!process.is_alive()?);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn is_alive(&self) -> Result<bool, Error> {
        self.check_not_closed()?;
        Ok(self.started().is_some_and(Started::is_alive))
    }

    /// How it has ended: its exit status, or minus the number of the signal that ended it. A
    /// function that failed gives 1. `None` before it is started and while it is alive.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let mut process = Process::builder(worker).function("square").arguments((5,)).build()?;
    /// assert_eq!(process.exit_code()?, None);
    /// process.start()?;
    /// process.join()?;
    /// assert_eq!(process.exit_code()?, Some(0));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn exit_code(&self) -> Result<Option<i32>, Error> {
        self.check_not_closed()?;
        Ok(self.started().and_then(|started| children::exit_code(&started.handle)))
    }

    /// Waits until it has ended, in whatever way. May be called again, and from several threads.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("square").arguments((5,)).start()?;
    /// process.join()?;
    /// assert!(!process.is_alive()?);
    /// // The result is still there.
    /// assert_eq!(process.result::<i64>()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongState`] before it is started, [`Error::Closed`].
    pub fn join(&self) -> Result<(), Error> {
        self.check_started()?.join();
        Ok(())
    }

    /// Waits until it has ended, for so long at most, and tells whether it has.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// # use std::time::Duration;
    /// let process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// assert!(!process.join_timeout(Duration::from_millis(10))?);
    /// process.kill()?;
    /// assert!(process.join_timeout(Duration::from_secs(60))?);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongState`] before it is started, [`Error::Closed`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        let started = self.check_started()?;
        let ended = started.handle.wait(Some(timeout), |status| status.ended);
        if ended {
            started.join();
        }
        Ok(ended)
    }

    /// Waits for what the function gives. The process may still be leaving then. May be called
    /// again, also as another type.
    ///
    /// # Errors
    /// Why there is no result: [`Error::Failed`] if the function says so, [`Error::Lost`] if the
    /// process died in it, [`Error::TimedOut`], [`Error::Cancelled`] if it was terminated or
    /// killed from here, [`Error::UnknownFunction`], [`Error::ProcessFailed`] if the worker died
    /// or broke the protocol before the function began, and [`Error::Decode`] if the result is
    /// not of the type `R`. [`Error::WrongState`] before it is started, [`Error::Closed`].
    ///
    /// ```
    /// use master::{
    ///     Encoded, Error, Process,
    ///     command::{CommandLine, SearchPath},
    /// };
    ///
    /// // A program that is no worker, and just exits.
    /// let search = SearchPath::from_environment()?;
    /// let worker = CommandLine::parse("sh -c 'exit 3'")?.resolve(&search)?;
    /// let process = Process::builder(worker).function("square").arguments((10,)).start()?;
    /// let error = process.result::<Encoded>().expect_err("it ends before the call begins");
    /// assert!(matches!(error, Error::ProcessFailed(_)));
    /// assert!(error.to_string().contains("exited with status 3"));
    /// process.join()?;
    /// assert_eq!(process.exit_code()?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn result<R: FromResult>(&self) -> Result<R, Error> {
        self.check_started()?.result()
    }

    /// Ends it: SIGTERM to its process group, and SIGKILL if it is there 5 seconds later. Does
    /// not wait for its end. Does nothing if it has ended already.
    ///
    /// ```
    /// # use master::{Cancelled, Error, Process};
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// process.terminate()?;
    /// process.join()?;
    /// assert_eq!(process.exit_code()?, Some(-15));
    /// assert!(matches!(process.result::<()>(), Err(Error::Cancelled(Cancelled::Terminated))));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongState`] before it is started, [`Error::Closed`].
    pub fn terminate(&self) -> Result<(), Error> {
        self.check_started()?.handle.send(Command::Terminate);
        Ok(())
    }

    /// Ends it with SIGKILL to its process group. Does not wait for its end. Does nothing if it
    /// has ended already.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// process.kill()?;
    /// process.join()?;
    /// assert_eq!(process.exit_code()?, Some(-9));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongState`] before it is started, [`Error::Closed`].
    pub fn kill(&self) -> Result<(), Error> {
        self.check_started()?.handle.send(Command::Kill);
        Ok(())
    }

    /// Gives back everything that is held for it: its result and its descriptors. From then on
    /// nothing but its name can be asked for. May be called again.
    ///
    /// # Errors
    /// [`Error::WrongState`] while it is alive.
    ///
    /// ```
    /// use master::{
    ///     Error, Process,
    ///     command::{CommandLine, SearchPath},
    /// };
    ///
    /// let worker = CommandLine::parse("sh")?.resolve(&SearchPath::from_environment()?)?;
    /// let mut process = Process::builder(worker).function("square").name("first").build()?;
    /// process.close()?;
    /// assert_eq!(process.name(), "first");
    /// assert!(matches!(process.pid(), Err(Error::Closed(_))));
    /// assert!(matches!(process.start(), Err(Error::Closed(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&mut self) -> Result<(), Error> {
        if let Some(started) = self.started() {
            if started.is_alive() {
                return Err(self.wrong_state("is still alive: join or terminate it first"));
            }
            started.join();
        }
        self.state = State::Closed;
        Ok(())
    }

    /// A descriptor that becomes readable when the process has ended, for an event loop or
    /// `poll`. It is a pidfd, belongs to the caller, and outlives this handle.
    ///
    /// When it is readable [`Self::is_alive`] may still be true for a moment, as what the
    /// process left behind is being read; [`Self::join`] then does not wait for longer than that.
    ///
    /// # Errors
    /// [`Error::WrongState`] before it is started, [`Error::Closed`], and [`Error::Setup`] if
    /// there are too many descriptors.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    ///
    /// use master::{
    ///     Process,
    ///     command::{CommandLine, SearchPath},
    /// };
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let worker = CommandLine::parse("sh -c 'exit 3'")?.resolve(&SearchPath::from_environment()?)?;
    /// let process = Process::builder(worker).function("square").start()?;
    /// let sentinel = process.sentinel()?;
    /// poll(&mut [PollFd::from_borrowed_fd(sentinel.as_fd(), PollFlags::IN)], None)?;
    /// process.join()?;
    /// assert_eq!(process.exit_code()?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn sentinel(&self) -> Result<OwnedFd, Error> {
        let watch = self.check_started()?.handle.status().exit_watch;
        let watch = watch.ok_or_else(|| self.wrong_state("has no descriptor to watch"))?;
        watch.try_clone().map_err(|error| Error::Setup(error.to_string()))
    }

    fn started(&self) -> Option<&Started> {
        match &self.state {
            State::Started(started) => Some(started),
            State::New(_) | State::Closed => None,
        }
    }

    fn check_not_closed(&self) -> Result<(), Error> {
        match &self.state {
            State::New(_) | State::Started(_) => Ok(()),
            State::Closed => Err(Error::Closed(self.name.clone())),
        }
    }

    fn check_started(&self) -> Result<&Started, Error> {
        self.check_not_closed()?;
        self.started().ok_or_else(|| self.wrong_state("was not started yet"))
    }

    fn wrong_state(&self, problem: &str) -> Error {
        Error::WrongState(format!("the process `{}` {problem}", self.name))
    }
}

impl Drop for Process {
    /// Waits until it has ended, unless it is a daemon. In a panic it is terminated first: what
    /// it was for will not come, and the panic must not be held back for as long as it likes.
    fn drop(&mut self) {
        let Some(started) = self.started() else { return };
        if self.daemon {
            return children::forget_ended();
        }
        if std::thread::panicking() {
            started.handle.send(Command::Terminate);
        }
        started.join();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New(_) => "new",
            State::Started(started) if started.is_alive() => "alive",
            State::Started(_) => "ended",
            State::Closed => "closed",
        };
        let Self { name, daemon, .. } = self;
        let mut text = f.debug_struct("Process");
        text.field("name", name).field("daemon", daemon).field("state", &state);
        text.finish_non_exhaustive()
    }
}
