//! How a pool is to be.

mod supervision;
mod surroundings;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use self::supervision::Supervision;
use super::{Life, Now, Pool, State};
use crate::{
    callbacks::CallbackThread,
    command::{CommandLine, SearchPath, WorkerCommand},
    driver::{Handle, Initializer, Plan, Surroundings},
    error::Error,
    events::Subscribed,
    machine::{GroupId, Settings},
    recording::Recorder,
};

/// How many workers a pool may have: 4096. It is more than a machine has any use for, and bounds
/// what a mistyped number costs.
///
/// ```
/// use master::{Error, MAX_PROCESSES, Pool};
///
/// let too_many = Pool::builder().processes(MAX_PROCESSES + 1);
/// assert!(matches!(too_many.build(), Err(Error::InvalidArgument(_))));
/// ```
pub const MAX_PROCESSES: usize = 4096;

/// The longest time limit that counts; a longer one never passes either. It is near enough that
/// adding it to a time never overflows: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long an initializer may take by default: 10 minutes, enough to load whatever a worker
/// may need, and an end to one that hangs.
pub(crate) const INITIALIZER_TIMEOUT: Duration = Duration::from_secs(600);

/// How a pool is to be; made by [`Pool::builder`].
///
/// Nothing is an error before [`Self::build`], which checks everything before it starts anything.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use master::{
///     Error, Pool,
///     command::{CommandLine, SearchPath},
/// };
///
/// let shell = CommandLine::parse("sh")?.resolve(&SearchPath::from_environment()?)?;
/// let refused = |pool: master::PoolBuilder| matches!(pool.build(), Err(Error::InvalidArgument(_)));
/// assert!(refused(Pool::builder().processes(0)));
/// assert!(refused(Pool::builder().worker(shell.clone()).max_tasks_per_child(0)));
/// // Two of one kind and at least one of another are three.
/// let two = NonZeroUsize::MIN.saturating_add(1);
/// let unlike = Pool::builder().workers(two, shell.clone()).worker(shell);
/// assert!(refused(unlike.processes(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    processes: Option<usize>,
    workers: Vec<(WorkerCommand, Option<NonZeroUsize>)>,
    initializer: Option<(String, crate::Arguments)>,
    supervision: Supervision,
    start_timeout: Option<Duration>,
    initializer_timeout: Option<Duration>,
    name: String,
    surroundings: Surroundings,
    events: Subscribed,
    recorder: Option<Recorder>,
}

impl PoolBuilder {
    /// How many workers serve at a time, from 1 to [`MAX_PROCESSES`]. Default: the number of CPUs
    /// that this process may use, and at least what [`Self::worker`] and [`Self::workers`] need.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(3).build()?;
    /// assert_eq!(pool.processes(), 3);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// What to start as a worker. Default: `worker`, as [`CommandLine::resolve`] finds it.
    ///
    /// Called again it adds workers of another kind; a task goes to one that has its function.
    /// The kinds without a count share what those with one leave of the processes, at least one
    /// each. Nothing is sent before each kind has been ready once.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let one = integration_tests::library::worker();
    /// # let other = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(one).worker(other).processes(3).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn worker(mut self, command: WorkerCommand) -> Self {
        self.workers.push((command, None));
        self
    }

    /// As [`Self::worker`], and how many of the kind there are to be. If every kind has a count
    /// [`Self::processes`] need not be said, and otherwise has to be their sum.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let two = NonZeroUsize::new(2).expect("2 is not 0");
    /// assert_eq!(Pool::builder().workers(two, worker).build()?.processes(), 2);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn workers(mut self, count: NonZeroUsize, command: WorkerCommand) -> Self {
        self.workers.push((command, Some(count)));
        self
    }

    /// A function to run in each worker before anything else, also in each that takes the seat
    /// of another. If it fails before any worker of the kind was ready, the pool fails, and
    /// [`Error::PoolFailed`] has its message; later it is a start that failed, which is tried again
    /// a few times. Default: none.
    ///
    /// ```
    /// use master::{Arguments, Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.initializer("fail", Arguments::new(("no model",))?).build()?;
    /// match pool.apply::<i64>("square", (5,)) {
    ///     Err(Error::PoolFailed(report)) => assert!(report.to_string().contains("no model")),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn initializer(mut self, function: &str, arguments: crate::Arguments) -> Self {
        self.initializer = Some((function.to_owned(), arguments));
        self
    }

    /// How long a worker may take from its start until it is ready, or until it has said hello
    /// if there is an initializer. Default: 10 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.start_timeout(Duration::from_secs(60)).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long the initializer may take in each worker. Default: 10 minutes.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::{Arguments, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.initializer("sleep", Arguments::new((0.1,))?);
    /// let pool = pool.initializer_timeout(Duration::from_secs(60)).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn initializer_timeout(mut self, timeout: Duration) -> Self {
        self.initializer_timeout = Some(timeout);
        self
    }

    /// The name of the pool, told to its workers. Default: empty.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1).name("squares").build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Records everything that the pool and its workers say to each other; see
    /// [`crate::recording`]. A recorder is for one pool. What is not written when the recording
    /// fails is not in it, and the pool goes on: [`Recorder::finish`] tells.
    ///
    /// ```
    /// use master::recording::Recorder;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let recorder = Recorder::to(Vec::new())?;
    /// let pool = master::Pool::builder().worker(worker).processes(1).record(&recorder).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// drop(pool);
    /// recorder.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(mut self, recorder: &Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Starts the workers. They get ready by themselves: the first call waits for them.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let impossible = Pool::builder().worker(worker.clone()).task_timeout(Duration::ZERO);
    /// assert!(matches!(impossible.build(), Err(Error::InvalidArgument(_))));
    /// let pool = Pool::builder().worker(worker).processes(1).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for numbers and times that make no sense, and if no worker
    /// command was given and the default one is not found; [`Error::Encode`] if the arguments of
    /// the initializer are larger than [`MAX_ARGUMENTS`](crate::MAX_ARGUMENTS); [`Error::Setup`]
    /// if the operating system refuses. Nothing has been started then. Workers that cannot be
    /// started or used show at the first call, as [`Error::PoolFailed`].
    pub fn build(self) -> Result<Pool, Error> {
        self.surroundings.check()?;
        let processes = Arc::new(AtomicU64::new(self.slots()?.len() as u64));
        let kinds = self.workers.len().max(1);
        let events = self.events.0.clone();
        let handle = Arc::new(Handle::start(self.plan()?)?);
        let now = Mutex::new(Now { state: State::Running, open_inputs: 0 });
        let callbacks = Arc::new(CallbackThread::default());
        Ok(Pool { life: Arc::new(Life { handle, callbacks, now, events }), processes, kinds })
    }

    /// Makes the pool, lends it to `work`, and waits for everything that was submitted, callbacks
    /// too. If `work` panics the pool is terminated.
    ///
    /// ```
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pending = Pool::builder().worker(worker).scope(|pool| {
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
        settings.cpus = available_cpus();
        self.supervision.apply(&mut settings)?;
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
        let (surroundings, name, events) = (self.surroundings, self.name, self.events.0);
        let recorder = self.recorder;
        Ok(Plan { commands, settings, initializer, surroundings, name, events, recorder })
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
