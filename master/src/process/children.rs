//! The processes of this program that are alive.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    driver::{Command, Handle},
    report::Exit,
};

/// What was started and is not known to have ended. It is here, and not with the handles, that a
/// daemon lives on without one.
static CHILDREN: Mutex<Vec<ChildProcess>> = Mutex::new(Vec::new());

/// Every [`Process`](crate::Process) of this program that was started and has not ended, in the
/// order of their starts, also daemons whose handle is gone. Those that have ended are forgotten.
///
/// Unlike in Python the workers of a [`Pool`](crate::Pool) are not among them: they are the
/// pool's, which replaces them as it needs.
///
/// ```
/// use master::{
///     Process, active_children,
///     command::{CommandLine, SearchPath},
/// };
///
/// let worker = CommandLine::parse("sh -c 'sleep 60'")?.resolve(&SearchPath::from_environment()?)?;
/// let process = Process::builder(worker).function("square").name("first").start()?;
/// let children = active_children();
/// assert_eq!(children[0].name(), "first");
/// children[0].kill();
/// children[0].join();
/// assert_eq!(process.exit_code()?, Some(-9));
/// assert!(active_children().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<ChildProcess> {
    forget_ended();
    children().clone()
}

/// A process that this program has started, whoever has its handle; from [`active_children`].
///
/// Dropping it does nothing to the process. Its methods mean what those of
/// [`Process`](crate::Process) mean, and are never errors, as it was started and cannot be closed.
///
/// ```
/// # use master::{Process, active_children};
/// # let worker = integration_tests::library::worker();
/// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
/// let children = active_children();
/// for child in &children {
///     child.kill();
///     child.join();
/// }
/// assert!(active_children().is_empty());
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Clone)]
pub struct ChildProcess {
    name: Arc<str>,
    pid: u32,
    handle: Arc<Handle>,
}

impl ChildProcess {
    pub(super) fn new(name: &str, handle: &Arc<Handle>) -> Self {
        // It was spawned, so that it has one.
        let pid = handle.status().pid.unwrap_or_default();
        Self { name: name.into(), pid, handle: Arc::clone(handle) }
    }

    /// Its name.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let builder = Process::builder(worker).function("sleep").arguments((60,));
    /// let process = builder.name("first").start()?;
    /// assert_eq!(active_children()[0].name(), "first");
    /// # process.kill()?;
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id. After its end another process may have it.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// assert_eq!(process.pid()?, Some(active_children()[0].pid()));
    /// # process.kill()?;
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// assert!(children[0].is_alive());
    /// children[0].kill();
    /// children[0].join();
    /// assert!(!children[0].is_alive());
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.handle.status().ended
    }

    /// How it has ended: its exit status, or minus the number of the signal that ended it; `None`
    /// while it is alive.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// assert_eq!(children[0].exit_code(), None);
    /// children[0].kill();
    /// children[0].join();
    /// assert_eq!(children[0].exit_code(), Some(-9));
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        exit_code(&self.handle)
    }

    /// Waits until it has ended.
    ///
    /// ```
    /// # use master::{ChildProcess, Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// children.iter().for_each(ChildProcess::kill);
    /// children.iter().for_each(ChildProcess::join);
    /// assert!(active_children().is_empty());
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn join(&self) {
        self.handle.join();
        forget(&self.handle);
    }

    /// Waits until it has ended, for so long at most, and tells whether it has.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// assert!(!children[0].join_timeout(Duration::from_millis(10)));
    /// children[0].kill();
    /// assert!(children[0].join_timeout(Duration::from_secs(60)));
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        let ended = self.handle.wait(Some(timeout), |status| status.ended);
        if ended {
            self.join();
        }
        ended
    }

    /// Ends it: SIGTERM to its process group, and SIGKILL if it is there 5 seconds later.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// children[0].terminate();
    /// children[0].join();
    /// assert_eq!(children[0].exit_code(), Some(-15));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn terminate(&self) {
        self.handle.send(Command::Terminate);
    }

    /// Ends it with SIGKILL to its process group.
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// # let _process = Process::builder(worker).function("sleep").arguments((60,)).start()?;
    /// let children = active_children();
    /// children[0].kill();
    /// children[0].join();
    /// assert_eq!(children[0].exit_code(), Some(-9));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn kill(&self) {
        self.handle.send(Command::Kill);
    }
}

impl fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, .. } = self;
        f.debug_struct("ChildProcess").field("name", name).field("pid", pid).finish_non_exhaustive()
    }
}

/// As Python counts; `None` while it is alive.
pub(super) fn exit_code(handle: &Handle) -> Option<i32> {
    let status = handle.status();
    status.exit.filter(|_| status.ended).map(Exit::code)
}

pub(super) fn add(child: ChildProcess) {
    forget_ended();
    children().push(child);
}

/// Forgets one that has been joined.
pub(super) fn forget(handle: &Arc<Handle>) {
    children().retain(|child| !Arc::ptr_eq(&child.handle, handle));
}

/// Joins and forgets those that have ended.
pub(super) fn forget_ended() {
    let ended: Vec<_> = children().extract_if(.., |child| !child.is_alive()).collect();
    ended.iter().for_each(|child| child.handle.join());
}

fn children() -> MutexGuard<'static, Vec<ChildProcess>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}
