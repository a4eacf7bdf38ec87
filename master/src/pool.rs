//! The pool: what `multiprocessing.Pool` is in Python.

mod builder;
mod ending;
mod lazy;
mod steering;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

pub(crate) use self::builder::{INITIALIZER_TIMEOUT, available_cpus, default_worker, positive};
pub use self::{
    builder::{MAX_PROCESSES, PoolBuilder},
    steering::Replacement,
};
use crate::{
    arguments::{FromResult, IntoArguments, single_arguments, spread_arguments},
    batch::{Items, Submission},
    callbacks::{CallbackThread, Callbacks},
    collector::{Collected, Collector, CollectorSink},
    driver::{Command, Handle},
    error::Error,
    events::Publisher,
    result::{ApplyResult, MapResult, Submitted},
    stream::{self, Feeder, LOOK_AHEAD_LINES, Stream, StreamOptions},
};

/// Chunks of a given size that a stream has room for, for each worker.
const CHUNKS_A_WORKER: u64 = 4;

/// A pool of worker processes that run functions.
///
/// Workers start when the pool is made and stay, so a call pays no start. A worker that dies is
/// replaced; the one task that it may have been running is [`Error::Lost`], every other goes
/// on. A pool may be used from many threads at once. Dropping it terminates it, and waits until
/// the workers are gone, which takes 5 seconds and a little at the most.
///
/// ```
/// use master::Pool;
///
/// # let worker = integration_tests::library::worker();
/// // Without a worker command, the executable `worker` is looked for.
/// let pool = Pool::builder().worker(worker).processes(2).build()?;
/// let squares: Vec<i64> = pool.map("square", 2..=8)?;
/// assert_eq!(squares, [4, 9, 16, 25, 36, 49, 64]);
/// pool.close();
/// pool.join()?;
/// # Ok::<(), master::Error>(())
/// ```
pub struct Pool {
    life: Arc<Life>,
    /// How many workers there are to be.
    processes: Arc<AtomicU64>,
    /// How many kinds of workers there are.
    kinds: usize,
}

/// What a pool shares with those who feed it.
struct Life {
    handle: Arc<Handle>,
    callbacks: Arc<CallbackThread>,
    now: Mutex<Now>,
    events: Publisher,
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
        f.debug_struct("Pool").field("processes", &self.processes()).field("state", &state).finish()
    }
}

impl Pool {
    /// A pool with the defaults: the worker `worker`, as many processes as CPUs may be used.
    ///
    /// ```
    /// # let worker = integration_tests::library::worker();
    /// let pool = master::Pool::builder().worker(worker).processes(2).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// How many workers serve at a time.
    ///
    /// ```
    /// # let builder = integration_tests::library::pool(1);
    /// let pool = builder.processes(3).build()?;
    /// assert_eq!(pool.processes(), 3);
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.processes.load(Ordering::Relaxed)
    }

    /// Calls a function and waits for its result.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// `arguments` are a tuple or another sequence, or [`Arguments`](crate::Arguments) with
    /// keyword arguments.
    ///
    /// # Errors
    /// Those of [`Self::apply_async`] and of [`ApplyResult::get`].
    pub fn apply<R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
    ) -> Result<R, Error> {
        let items = arguments.into_arguments()?.into_items()?;
        let turn = self.life.handle.take_turn();
        let (collector, submitted) = self.submit(function, items, Some(1), Collector::plain)?;
        ApplyResult::new(collector, submitted).get_here(turn)
    }

    /// Calls a function, and does not wait for its result. What becomes of the call is told by
    /// [`ApplyResult::get`].
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let square = pool.apply_async::<i64>("square", (5,))?;
    /// let cube = pool.apply_async::<i64>("cube", (3,))?;
    /// assert_eq!(square.get()? + cube.get()?, 52);
    /// # Ok::<(), master::Error>(())
    /// ```
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
        let (collector, submitted) = self.submit(function, items, Some(1), Collector::plain)?;
        Ok(ApplyResult::new(collector, submitted))
    }

    /// As [`Self::apply_async`], with callbacks: one of them is called, once, before any wait for
    /// the result returns.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// use master::Callbacks;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let (sender, squares) = channel();
    /// let callbacks = Callbacks::new().on_result(move |square: i64| drop(sender.send(square)));
    /// pool.apply_async_with("square", (5,), callbacks)?.wait();
    /// assert_eq!(squares.try_recv(), Ok(25));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::apply_async`]; then no callback is called.
    pub fn apply_async_with<R: FromResult + 'static>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        callbacks: Callbacks<R>,
    ) -> Result<ApplyResult<R>, Error> {
        let items = arguments.into_arguments()?.into_items()?;
        self.life.callbacks.start()?;
        let collect = |items, thread| callbacks.collector(items, thread, Collected::result);
        let (collector, submitted) = self.submit(function, items, Some(1), collect)?;
        Ok(ApplyResult::new(collector, submitted))
    }

    /// Calls a function with each argument, and waits for all results, which come in the order
    /// of the arguments. Without any it needs no worker. They go to the workers in chunks that take
    /// about 2 ms, by the calls of that function before: of one as long as nothing is known, and
    /// smaller towards the end, so that all workers finish at about the same time.
    /// [`Self::map_chunked`] sets a size.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// assert_eq!(pool.map::<_, i64>("square", [2, 3, 4])?, [4, 9, 16]);
    /// let error = pool.map::<_, i64>("fail", ["no", "never"]).unwrap_err();
    /// assert_eq!(error.to_string(), "Error: no");
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// If any call has no result, the error of the first of them in the order of the arguments,
    /// once all calls have ended. [`Error::Encode`] if one of the arguments cannot be encoded;
    /// then none is sent. Otherwise as [`Self::apply_async`].
    pub fn map<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Error> {
        self.map_items_here(function, single_arguments(arguments)?, None)
    }

    /// As [`Self::map`], with `chunk_size` calls sent to a worker together.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let squares: Vec<i64> = pool.map_chunked("square", 0..100, 25)?;
    /// assert_eq!(squares[99], 9801);
    /// assert!(pool.map_chunked::<_, i64>("square", 0..100, 0).is_err());
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `chunk_size` is 0, otherwise as [`Self::map`].
    pub fn map_chunked<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: usize,
    ) -> Result<Vec<R>, Error> {
        let chunk_size = check_chunk_size(Some(chunk_size))?;
        self.map_items_here(function, single_arguments(arguments)?, chunk_size)
    }

    /// As [`Self::map`], without waiting. Without a `chunk_size` the pool finds one, as there.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let squares = pool.map_async::<_, i64>("square", [2, 3], None)?;
    /// let cubes = pool.map_async::<_, i64>("cube", 0..100, Some(10))?;
    /// assert_eq!(squares.get()?, [4, 9]);
    /// assert_eq!(cubes.get()?.len(), 100);
    /// # Ok::<(), master::Error>(())
    /// ```
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
        self.submit_map(function, items, chunk_size, Collector::plain)
    }

    /// As [`Self::map_async`], with callbacks: one of them is called, once, with all results or
    /// with the error of the first item that has none, before any wait for them returns. For no
    /// arguments it is called too.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// use master::Callbacks;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let (sender, squares) = channel();
    /// let callbacks = Callbacks::new().on_result(move |all: Vec<i64>| drop(sender.send(all)));
    /// pool.map_async_with("square", [2, 3], None, callbacks)?.wait();
    /// assert_eq!(squares.try_recv(), Ok(vec![4, 9]));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::map_async`]; then no callback is called.
    pub fn map_async_with<A: Serialize, R: FromResult + 'static>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: Option<usize>,
        callbacks: Callbacks<Vec<R>>,
    ) -> Result<MapResult<R>, Error> {
        let chunk_size = check_chunk_size(chunk_size)?;
        self.submit_map_with(function, single_arguments(arguments)?, chunk_size, callbacks)
    }

    /// As [`Self::map`], with each element, which is a tuple or another sequence, spread over
    /// the arguments of its call.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// // The second argument of `square` is how many seconds it takes.
    /// let squares: Vec<i64> = pool.starmap("square", [(2, 0.1), (3, 0.0)])?;
    /// assert_eq!(squares, [4, 9]);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn starmap<A: Serialize, R: FromResult>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Error> {
        self.map_items_here(function, spread_arguments(arguments)?, None)
    }

    /// As [`Self::starmap`], without waiting.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let squares = pool.starmap_async::<_, i64>("square", [(2, 0.1), (3, 0.0)], Some(1))?;
    /// assert_eq!(squares.get()?, [4, 9]);
    /// # Ok::<(), master::Error>(())
    /// ```
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
        self.submit_map(function, items, chunk_size, Collector::plain)
    }

    /// As [`Self::starmap_async`], with callbacks as in [`Self::map_async_with`].
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// use master::Callbacks;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let (sender, squares) = channel();
    /// let callbacks = Callbacks::new().on_result(move |all: Vec<i64>| drop(sender.send(all)));
    /// pool.starmap_async_with("square", [(2, 0.0), (3, 0.1)], None, callbacks)?.wait();
    /// assert_eq!(squares.try_recv(), Ok(vec![4, 9]));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::map_async`]; then no callback is called.
    pub fn starmap_async_with<A: Serialize, R: FromResult + 'static>(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = A>,
        chunk_size: Option<usize>,
        callbacks: Callbacks<Vec<R>>,
    ) -> Result<MapResult<R>, Error> {
        let chunk_size = check_chunk_size(chunk_size)?;
        self.submit_map_with(function, spread_arguments(arguments)?, chunk_size, callbacks)
    }

    /// Outcomes in the order of the inputs, or as they come; inputs may come slowly, also after
    /// the pool was closed. At least four chunks of `chunk_size` for each worker may be on their
    /// way.
    pub(crate) fn stream(
        &self,
        function: &str,
        ordered: bool,
        chunk_size: Option<u64>,
    ) -> Result<(Feeder, Stream), Error> {
        let options = self.stream_options(ordered, chunk_size, LOOK_AHEAD_LINES);
        self.open_stream(function, StreamOptions { grows: true, ..options })
    }

    fn stream_options(
        &self,
        ordered: bool,
        chunk_size: Option<u64>,
        look_ahead: u64,
    ) -> StreamOptions {
        let enough_for_one = chunk_size.unwrap_or(1).saturating_mul(CHUNKS_A_WORKER);
        let workers = Arc::clone(&self.processes);
        StreamOptions { ordered, look_ahead, enough_for_one, workers, grows: false }
    }

    fn open_stream(
        &self,
        function: &str,
        options: StreamOptions,
    ) -> Result<(Feeder, Stream), Error> {
        let mut now = self.life.now();
        self.check_running(&now)?;
        now.open_inputs += 1;
        drop(now);
        let open = Box::new(OpenInput(Arc::clone(&self.life)));
        let handle = Arc::clone(&self.life.handle);
        Ok(stream::stream(handle, open, function.to_owned(), options))
    }

    fn check_running(&self, now: &Now) -> Result<(), Error> {
        match (now.state, self.failure()) {
            (State::Closed | State::Terminated, _) => Err(Error::NotRunning),
            (State::Running, Some(failure)) => Err(failure),
            (State::Running, None) => Ok(()),
        }
    }

    fn submit_map_with<R: FromResult + 'static>(
        &self,
        function: &str,
        items: Items,
        chunk_size: Option<u64>,
        callbacks: Callbacks<Vec<R>>,
    ) -> Result<MapResult<R>, Error> {
        self.life.callbacks.start()?;
        let collect = |items, thread| callbacks.collector(items, thread, Collected::results);
        self.submit_map(function, items, chunk_size, collect)
    }

    /// Submits items, and waits for their results.
    fn map_items_here<R: FromResult>(
        &self,
        function: &str,
        items: Items,
        chunk_size: Option<u64>,
    ) -> Result<Vec<R>, Error> {
        let turn = self.life.handle.take_turn();
        self.submit_map(function, items, chunk_size, Collector::plain)?.get_here(turn)
    }

    fn submit_map<R: FromResult>(
        &self,
        function: &str,
        items: Items,
        chunk_size: Option<u64>,
        collect: impl FnOnce(u64, Arc<CallbackThread>) -> Arc<Collector>,
    ) -> Result<MapResult<R>, Error> {
        let (collector, submitted) = self.submit(function, items, chunk_size, collect)?;
        Ok(MapResult::new(collector, submitted))
    }

    /// Submits items. Tells where their outcomes are collected, and how they can be cancelled.
    fn submit(
        &self,
        function: &str,
        items: Items,
        chunk_size: Option<u64>,
        collect: impl FnOnce(u64, Arc<CallbackThread>) -> Arc<Collector>,
    ) -> Result<(Arc<Collector>, Option<Submitted>), Error> {
        let Life { handle, callbacks, .. } = &*self.life;
        // Held until the submission is on its way, so that none comes behind a `close`.
        let now = self.life.now();
        self.check_running(&now)?;
        if items.len() == 0 {
            drop(now);
            return Ok((collect(0, Arc::clone(callbacks)), None));
        }
        let collector = collect(items.len(), Arc::clone(callbacks));
        let sink = Arc::new(CollectorSink(Arc::clone(&collector)));
        let submission = Arc::new(Submission::new(function.to_owned(), items, sink));
        let submitted = Submitted { handle: Arc::clone(handle), batch: submission.id };
        handle.send(Command::Submit { submission, chunk_size });
        drop(now);
        Ok((collector, Some(submitted)))
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
