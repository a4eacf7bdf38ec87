//! How a pool is to be.

use std::{
    ffi::OsString,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Life, Now, Pool, State};
use crate::{
    callbacks::CallbackThread,
    command::{CommandLine, SearchPath, WorkerCommand},
    driver::{Handle, Initializer, Plan, Surroundings},
    error::Error,
    machine::{GroupId, Settings},
};

/// How many workers a pool may have: 4096. It is more than a machine has any use for, and bounds
/// what a mistyped number costs.
pub const MAX_PROCESSES: usize = 4096;

/// The longest time limit that counts; a longer one never passes either. It is near enough that
/// adding it to a time never overflows: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long an initializer may take by default: 10 minutes, enough to load whatever a worker
/// may need, and an end to one that hangs.
pub(crate) const INITIALIZER_TIMEOUT: Duration = Duration::from_secs(600);

/// How a pool is to be; made by [`Pool::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    processes: Option<usize>,
    workers: Vec<(WorkerCommand, Option<NonZeroUsize>)>,
    initializer: Option<(String, crate::Arguments)>,
    max_tasks_per_child: Option<u64>,
    task_timeout: Option<Duration>,
    start_timeout: Option<Duration>,
    initializer_timeout: Option<Duration>,
    name: String,
    surroundings: Surroundings,
}

impl PoolBuilder {
    /// How many workers serve at a time. Default: the number of CPUs that this process may use.
    pub const fn processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// What to start as a worker. Default: `worker`, as [`CommandLine::resolve`] finds it.
    ///
    /// Called again it adds workers of another kind; a task goes to one that has its function.
    pub fn worker(mut self, command: WorkerCommand) -> Self {
        self.workers.push((command, None));
        self
    }

    /// As [`Self::worker`], and how many of the kind there are to be.
    pub fn workers(mut self, count: NonZeroUsize, command: WorkerCommand) -> Self {
        self.workers.push((command, Some(count)));
        self
    }

    /// A function to run in each worker before anything else. If it fails the pool fails.
    pub fn initializer(mut self, function: &str, arguments: crate::Arguments) -> Self {
        self.initializer = Some((function.to_owned(), arguments));
        self
    }

    /// How many tasks a worker runs before another takes its seat. Default: no limit.
    pub const fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks_per_child = Some(tasks);
        self
    }

    /// How long a task may run. Its worker is then stopped and replaced, and the task is
    /// [`Error::TimedOut`]. Default: no limit.
    pub const fn task_timeout(mut self, timeout: Duration) -> Self {
        self.task_timeout = Some(timeout);
        self
    }

    /// How long a worker may take from its start until it is ready, or until it has said hello
    /// if there is an initializer. Default: 10 seconds.
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long the initializer may take in each worker. Default: 10 minutes.
    pub const fn initializer_timeout(mut self, timeout: Duration) -> Self {
        self.initializer_timeout = Some(timeout);
        self
    }

    /// The name of the pool, told to its workers. Default: empty.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets an environment variable of the workers.
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.surroundings.set(name, value);
        self
    }

    /// Leaves out an environment variable that the workers would inherit.
    pub fn remove_environment(mut self, name: impl Into<OsString>) -> Self {
        self.surroundings.remove(name);
        self
    }

    /// The workers inherit no environment variable; those set by [`Self::environment`] and the
    /// two of the protocol are all that they have.
    pub const fn clear_environment(mut self) -> Self {
        self.surroundings.clear = true;
        self
    }

    /// The directory that workers start in. Default: that of this process.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.surroundings.directory = Some(directory.into());
        self
    }

    /// Starts the workers. They get ready by themselves: the first call waits for them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for numbers and times that make no sense, and if no worker
    /// command was given and the default one is not found; [`Error::Setup`] if the operating
    /// system refuses. Nothing has been started then.
    pub fn build(self) -> Result<Pool, Error> {
        self.surroundings.check()?;
        let processes = self.slots()?.len() as u64;
        let handle = Arc::new(Handle::start(self.plan()?)?);
        let now = Mutex::new(Now { state: State::Running, open_inputs: 0 });
        let callbacks = Arc::new(CallbackThread::default());
        Ok(Pool { life: Arc::new(Life { handle, callbacks, now }), processes })
    }

    /// Makes the pool, lends it to `work`, and waits for everything that was submitted.
    ///
    /// ```no_run
    /// use master::{Error, Pool};
    ///
    /// let pending = Pool::builder().scope(|pool| {
    ///     pool.map_async::<_, i64>("square", 0..10, None)
    /// })??;
    /// assert!(pending.ready());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::build`]. What `work` gives is given back.
    pub fn scope<T>(self, work: impl FnOnce(&Pool) -> T) -> Result<T, Error> {
        let pool = self.build()?;
        let given = work(&pool);
        pool.close();
        pool.join()?;
        Ok(given)
    }

    fn plan(self) -> Result<Plan, Error> {
        let mut settings = Settings::new(self.slots()?);
        settings.max_tasks_per_child = match self.max_tasks_per_child {
            None => None,
            Some(limit) => Some(NonZeroU64::new(limit).ok_or_else(|| {
                Error::InvalidArgument("max_tasks_per_child must be at least 1, not 0".into())
            })?),
        };
        settings.task_timeout = positive("the task timeout", self.task_timeout)?;
        if let Some(timeout) = positive("the start timeout", self.start_timeout)? {
            settings.hello_timeout = timeout;
        }
        let preparation = positive("the initializer timeout", self.initializer_timeout)?;
        settings.ready_timeout = match self.initializer {
            Some(_) => settings.hello_timeout + preparation.unwrap_or(INITIALIZER_TIMEOUT),
            None => settings.hello_timeout,
        };
        let initializer = self.initializer.map(Initializer::new).transpose()?;
        let commands = match self.workers.is_empty() {
            true => vec![default_worker()?],
            false => self.workers.into_iter().map(|(command, _)| command).collect(),
        };
        let (surroundings, name) = (self.surroundings, self.name);
        Ok(Plan { commands, settings, initializer, surroundings, name })
    }

    /// The group of each slot: kinds with a count have so many, the others share what is left
    /// of the processes, one each at least.
    fn slots(&self) -> Result<Vec<GroupId>, Error> {
        let counts = self.workers.iter().filter_map(|(_, count)| *count).map(NonZeroUsize::get);
        let counted = counts.fold(0, usize::saturating_add);
        let uncounted = self.workers.iter().filter(|(_, count)| count.is_none()).count();
        let processes = match self.processes {
            Some(0) => {
                return Err(Error::InvalidArgument("processes must be at least 1, not 0".into()));
            }
            Some(processes) => processes,
            None if !self.workers.is_empty() && uncounted == 0 => counted,
            None => counted
                .saturating_add(available_cpus().saturating_sub(counted).max(uncounted).max(1)),
        };
        if processes.max(counted) > MAX_PROCESSES {
            return Err(Error::InvalidArgument(format!(
                "{} processes are too many: a pool has at most {MAX_PROCESSES}",
                processes.max(counted)
            )));
        }
        if processes < counted + uncounted || uncounted == 0 && counted > 0 && processes != counted
        {
            return Err(Error::InvalidArgument(format!(
                "{processes} processes cannot be shared out: the worker commands ask for {}",
                counted + uncounted
            )));
        }
        if self.workers.is_empty() {
            return Ok(vec![GroupId(0); processes]);
        }
        let mut shared = processes - counted;
        let mut sharers = uncounted;
        let mut slots = Vec::with_capacity(processes);
        for (index, (_, count)) in self.workers.iter().enumerate() {
            let count = count.map_or_else(
                || {
                    let share = shared.div_ceil(sharers.max(1));
                    shared -= share;
                    sharers -= 1;
                    share
                },
                NonZeroUsize::get,
            );
            slots.extend(std::iter::repeat_n(GroupId(index), count));
        }
        Ok(slots)
    }
}

/// The number of CPUs that this process may use.
pub(crate) fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

pub(crate) fn default_worker() -> Result<WorkerCommand, Error> {
    let search = SearchPath::from_environment().map_err(|error| Error::Setup(error.to_string()))?;
    let found = CommandLine::default().resolve(&search);
    found.map_err(|error| Error::InvalidArgument(error.to_string()))
}

pub(crate) fn positive(what: &str, duration: Option<Duration>) -> Result<Option<Duration>, Error> {
    match duration {
        Some(Duration::ZERO) => {
            Err(Error::InvalidArgument(format!("{what} must be longer than 0")))
        }
        _ => Ok(duration.map(|duration| duration.min(LONGEST))),
    }
}
