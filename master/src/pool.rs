//! The pool: what `multiprocessing.Pool` is in Python.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    arguments::{FromResult, IntoArguments, single_arguments, spread_arguments},
    batch::{Items, Submission},
    command::{CommandLine, SearchPath, WorkerCommand},
    driver::{Command, Handle, Initializer, Plan, Surroundings},
    error::Error,
    machine::{GroupId, Settings},
    result::{ApplyResult, Collector, MapResult},
    stream::{self, Feeder, LOOK_AHEAD_ITEMS, Stream, StreamOptions},
};

/// Chunks that a map without a chunk size makes for each worker, as in Python.
const CHUNKS_A_WORKER: u64 = 4;

/// How many workers a pool may have: 4096. It is more than a machine has any use for, and bounds
/// what a mistyped number costs.
pub const MAX_PROCESSES: usize = 4096;

/// The longest time limit that counts; a longer one never passes either. It is near enough that
/// adding it to a time never overflows: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long an initializer may take by default: 10 minutes, enough to load whatever a worker
/// may need, and an end to one that hangs.
pub(crate) const INITIALIZER_TIMEOUT: Duration = Duration::from_secs(600);

/// A pool of worker processes that run functions.
///
/// Workers start when the pool is made and stay, so a call pays no start. A worker that dies is
/// replaced; the one task that it may have been running is [`Error::Lost`], every other goes
/// on. A pool may be used from many threads at once. Dropping it terminates it.
///
/// ```no_run
/// use master::Pool;
///
/// let pool = Pool::builder().processes(4).build()?;
/// let squares: Vec<i64> = pool.map("square", 2..=8)?;
/// assert_eq!(squares, [4, 9, 16, 25, 36, 49, 64]);
/// pool.close();
/// pool.join()?;
/// # Ok::<(), master::Error>(())
/// ```
pub struct Pool {
    life: Arc<Life>,
    processes: u64,
}

/// What a pool shares with those who feed it.
struct Life {
    handle: Arc<Handle>,
    now: Mutex<Now>,
}

struct Now {
    state: State,
    /// How many inputs are still being read. A pool that is closed finishes them.
    open_inputs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Closed,
    Terminated,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.life.now().state;
        f.debug_struct("Pool").field("processes", &self.processes).field("state", &state).finish()
    }
}

impl Pool {
    /// A pool with the defaults: the worker `worker`, as many processes as CPUs may be used.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// How many workers serve at a time.
    #[must_use]
    pub const fn processes(&self) -> u64 {
        self.processes
    }

    /// Calls a function and waits for its result.
    ///
    /// # Errors
    /// Why there is no result; see [`Error`].
    pub fn apply<R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
    ) -> Result<R, Error> {
        self.apply_async(function, arguments)?.get()
    }

    /// Calls a function, and does not wait for its result.
    ///
    /// # Errors
    /// [`Error::Encode`] if the arguments cannot be encoded, [`Error::NotRunning`] after
    /// [`Self::close`] or [`Self::terminate`], and [`Error::PoolFailed`].
    pub fn apply_async<R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
    ) -> Result<ApplyResult<R>, Error> {
        let items = arguments.into_arguments()?.into_items()?;
        Ok(ApplyResult::new(self.submit(function, items, 1)?))
    }

    /// Calls a function with each argument, and waits for all results, which come in the order
    /// of the arguments. They go to the workers in chunks of a fourth of what each worker will
    /// get; [`Self::map_chunked`] sets another size.
    ///
    /// # Errors
    /// If any call has no result, the error of the first of them in the order of the arguments,
    /// once all calls have ended.
    pub fn map<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Error> {
        self.map_async(function, arguments, None)?.get()
    }

    /// As [`Self::map`], with `chunk_size` calls sent to a worker together.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `chunk_size` is 0, otherwise as [`Self::map`].
    pub fn map_chunked<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: usize,
    ) -> Result<Vec<R>, Error> {
        self.map_async(function, arguments, Some(chunk_size))?.get()
    }

    /// As [`Self::map`], without waiting. No `chunk_size` stands for about four chunks for each
    /// worker.
    ///
    /// # Errors
    /// Those of [`Self::apply_async`], and [`Error::InvalidArgument`] if `chunk_size` is 0.
    pub fn map_async<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: Option<usize>,
    ) -> Result<MapResult<R>, Error> {
        let chunk_size = check_chunk_size(chunk_size)?;
        let items = single_arguments(arguments)?;
        self.submit_map(function, items, chunk_size)
    }

    /// As [`Self::map`], with each element, which is a tuple or another sequence, spread over
    /// the arguments of its call.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn starmap<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Error> {
        self.starmap_async(function, arguments, None)?.get()
    }

    /// As [`Self::starmap`], without waiting.
    ///
    /// # Errors
    /// As [`Self::map_async`].
    pub fn starmap_async<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: Option<usize>,
    ) -> Result<MapResult<R>, Error> {
        let chunk_size = check_chunk_size(chunk_size)?;
        let items = spread_arguments(arguments)?;
        self.submit_map(function, items, chunk_size)
    }

    /// No more calls are taken; those that were are finished, also those whose inputs are still
    /// being read, then the workers leave.
    pub fn close(&self) {
        let mut now = self.life.now();
        if now.state == State::Running {
            now.state = State::Closed;
            if now.open_inputs == 0 {
                self.life.handle.send(Command::Close);
            }
        }
    }

    /// No more calls are taken, and those that were are cancelled; the workers are stopped.
    pub fn terminate(&self) {
        self.end(State::Terminated, Command::Terminate);
    }

    /// Begins nothing more: calls that wait are cancelled, those that were sent to a worker are
    /// finished, then the workers leave.
    pub fn interrupt(&self) {
        self.end(State::Closed, Command::Interrupt);
    }

    /// As [`Self::terminate`], without any grace for the workers.
    pub fn kill(&self) {
        self.life.now().state = State::Terminated;
        self.life.handle.send(Command::Kill);
    }

    /// Waits until every worker is gone, after [`Self::close`] or [`Self::terminate`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the pool is still running.
    pub fn join(&self) -> Result<(), Error> {
        if self.life.now().state == State::Running && self.failure().is_none() {
            let text = "the pool is still running: close or terminate it before it is joined";
            return Err(Error::InvalidArgument(text.into()));
        }
        self.life.handle.join();
        Ok(())
    }

    /// Outcomes in the order of the inputs, or as they come; inputs may come slowly, also after
    /// the pool was closed. At least four chunks of `chunk_size` for each worker may be on their
    /// way.
    pub(crate) fn stream(
        &self,
        function: &str,
        ordered: bool,
        chunk_size: u64,
    ) -> Result<(Feeder, Stream), Error> {
        let mut now = self.life.now();
        self.check_running(&now)?;
        now.open_inputs += 1;
        drop(now);
        let open = Box::new(OpenInput(Arc::clone(&self.life)));
        let enough = chunk_size.saturating_mul(self.processes * CHUNKS_A_WORKER);
        let look_ahead = enough.max(LOOK_AHEAD_ITEMS);
        let options = StreamOptions { ordered, look_ahead, enough };
        let handle = Arc::clone(&self.life.handle);
        Ok(stream::stream(handle, open, function.to_owned(), options))
    }

    /// Why the pool cannot work, if that is so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.life.handle.status().failure.map(Error::PoolFailed)
    }

    /// Waits until every worker is gone, for so long at most; the pool is closed, terminated or
    /// has failed.
    pub(crate) fn wait_for_end(&self, timeout: Option<Duration>) -> bool {
        self.life.handle.wait(timeout, |status| status.ended)
    }

    /// How many items were left running by [`Self::interrupt`].
    pub(crate) fn running_at_interrupt(&self) -> u64 {
        let handle = &self.life.handle;
        handle.wait(None, |status| status.running_at_interrupt.is_some() || status.ended);
        handle.status().running_at_interrupt.unwrap_or(0)
    }

    fn end(&self, state: State, command: Command) {
        let mut now = self.life.now();
        if now.state != State::Terminated {
            now.state = state;
            self.life.handle.send(command);
        }
    }

    fn check_running(&self, now: &Now) -> Result<(), Error> {
        match (now.state, self.failure()) {
            (State::Closed | State::Terminated, _) => Err(Error::NotRunning),
            (State::Running, Some(failure)) => Err(failure),
            (State::Running, None) => Ok(()),
        }
    }

    fn submit_map<R: FromResult>(
        &self,
        function: &str,
        items: Items,
        chunk_size: Option<u64>,
    ) -> Result<MapResult<R>, Error> {
        let default = || items.len().div_ceil(self.processes * CHUNKS_A_WORKER).max(1);
        let chunk_size = chunk_size.unwrap_or_else(default);
        Ok(MapResult::new(self.submit(function, items, chunk_size)?))
    }

    fn submit(
        &self,
        function: &str,
        items: Items,
        chunk_size: u64,
    ) -> Result<Arc<Collector>, Error> {
        // Held until the submission is on its way, so that none comes behind a `close`.
        let now = self.life.now();
        self.check_running(&now)?;
        let collector = Arc::new(Collector::new(items.len()));
        if items.len() > 0 {
            let (function, sink) = (function.to_owned(), Arc::clone(&collector));
            let submission = Arc::new(Submission::new(function, items, sink));
            self.life.handle.send(Command::Submit { submission, chunk_size });
        }
        drop(now);
        Ok(collector)
    }
}

impl Life {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An input that is still being read.
struct OpenInput(Arc<Life>);

impl Drop for OpenInput {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.open_inputs = now.open_inputs.saturating_sub(1);
        if now.open_inputs == 0 && now.state == State::Closed {
            self.0.handle.send(Command::Close);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
        self.life.handle.join();
    }
}

fn check_chunk_size(chunk_size: Option<usize>) -> Result<Option<u64>, Error> {
    match chunk_size {
        Some(0) => Err(Error::InvalidArgument("the chunk size must be at least 1, not 0".into())),
        Some(size) => Ok(Some(size as u64)),
        None => Ok(None),
    }
}

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
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.surroundings.variables.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Starts the workers. They get ready by themselves: the first call waits for them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for numbers and times that make no sense, and if no worker
    /// command was given and the default one is not found; [`Error::Setup`] if the operating
    /// system refuses. Nothing has been started then.
    pub fn build(self) -> Result<Pool, Error> {
        let processes = self.slots()?.len() as u64;
        let handle = Arc::new(Handle::start(self.plan()?)?);
        let now = Mutex::new(Now { state: State::Running, open_inputs: 0 });
        Ok(Pool { life: Arc::new(Life { handle, now }), processes })
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
        let initializer = self.initializer.map(Initializer::from);
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
