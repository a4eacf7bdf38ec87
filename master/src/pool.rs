//! The pool: what `multiprocessing.Pool` is in Python.

mod builder;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

pub(crate) use self::builder::{INITIALIZER_TIMEOUT, available_cpus, default_worker, positive};
pub use self::builder::{MAX_PROCESSES, PoolBuilder};
use crate::{
    arguments::{FromResult, IntoArguments, single_arguments, spread_arguments},
    batch::{Items, Submission},
    callbacks::{CallbackThread, Callbacks},
    collector::{Collected, Collector, CollectorSink},
    driver::{Command, Handle, now},
    error::Error,
    imap::{self, Imap, ImapOptions, Spread},
    result::{ApplyResult, MapResult, Submitted},
    stream::{self, Feeder, LOOK_AHEAD_ITEMS, Stream, StreamOptions},
};

/// Chunks that a map without a chunk size makes for each worker, as in Python.
const CHUNKS_A_WORKER: u64 = 4;

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
    callbacks: Arc<CallbackThread>,
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
        let (collector, submitted) = self.submit(function, items, 1, Collector::plain)?;
        Ok(ApplyResult::new(collector, submitted))
    }

    /// As [`Self::apply_async`], with callbacks: one of them is called, once, before any wait for
    /// the result returns.
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
        let collect = |items, thread| callbacks.collector(items, thread, Collected::result);
        let (collector, submitted) = self.submit(function, items, 1, collect)?;
        Ok(ApplyResult::new(collector, submitted))
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
        self.submit_map(function, items, chunk_size, Collector::plain)
    }

    /// As [`Self::map_async`], with callbacks: one of them is called, once, with all results or
    /// with the error of the first item that has none.
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
        let items = single_arguments(arguments)?;
        let collect = |items, thread| callbacks.collector(items, thread, Collected::results);
        self.submit_map(function, items, chunk_size, collect)
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
        self.submit_map(function, items, chunk_size, Collector::plain)
    }

    /// As [`Self::starmap_async`], with callbacks as in [`Self::map_async_with`].
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
        let items = spread_arguments(arguments)?;
        let collect = |items, thread| callbacks.collector(items, thread, Collected::results);
        self.submit_map(function, items, chunk_size, collect)
    }

    /// A lazy map: results in the order of the inputs, which may be endless or slow. Inputs are
    /// taken on a thread of their own, and only so far ahead as
    /// [`ImapOptions::buffer_size`] says.
    ///
    /// ```no_run
    /// # let pool = master::Pool::builder().build()?;
    /// for square in pool.imap::<_, i64>("square", 0..)?.take(10) {
    ///     println!("{}", square?);
    /// }
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotRunning`] after [`Self::close`] or [`Self::terminate`], and
    /// [`Error::PoolFailed`]. What concerns an input comes in its place.
    pub fn imap<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
    ) -> Result<Imap<R>, Error> {
        self.imap_with(function, inputs, ImapOptions::default())
    }

    /// As [`Self::imap`], with results as they come.
    ///
    /// # Errors
    /// As [`Self::imap`].
    pub fn imap_unordered<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
    ) -> Result<Imap<R>, Error> {
        let options = ImapOptions { unordered: true, ..ImapOptions::default() };
        self.imap_with(function, inputs, options)
    }

    /// As [`Self::imap`], with options.
    ///
    /// # Errors
    /// As [`Self::imap`], and [`Error::InvalidArgument`] for a size of 0.
    pub fn imap_with<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
        options: ImapOptions,
    ) -> Result<Imap<R>, Error> {
        let inputs = inputs.into_iter().map(Ok::<A, std::convert::Infallible>);
        self.try_imap_with(function, inputs, options)
    }

    /// As [`Self::imap_with`], over an iterator that may fail. The results of the inputs before
    /// the failure come first, then the failure as [`Error::Input`], then the end.
    ///
    /// # Errors
    /// As [`Self::imap_with`].
    pub fn try_imap_with<A: Serialize, E: fmt::Display, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = Result<A, E>, IntoIter: Send + 'static>,
        options: ImapOptions,
    ) -> Result<Imap<R>, Error> {
        options.check()?;
        let ImapOptions { chunk_size, buffer_size, unordered, spread } = options;
        let spread = if spread { Spread::Arguments } else { Spread::Single };
        let ends = self.open_stream(function, !unordered, chunk_size as u64, buffer_size as u64)?;
        imap::imap(ends, inputs.into_iter(), chunk_size.min(buffer_size), spread)
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
        self.check_joinable()?;
        self.life.handle.join();
        self.life.callbacks.wait(None);
        Ok(())
    }

    /// As [`Self::join`], for so long at most; tells whether every worker is gone and every
    /// callback has run.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        self.check_joinable()?;
        let deadline = now().checked_add(timeout);
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(now()));
        Ok(self.wait_for_end(left()) && self.life.callbacks.wait(left()))
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
        let chunks = chunk_size.saturating_mul(self.processes * CHUNKS_A_WORKER);
        self.open_stream(function, ordered, chunk_size, chunks.max(LOOK_AHEAD_ITEMS))
    }

    fn open_stream(
        &self,
        function: &str,
        ordered: bool,
        chunk_size: u64,
        look_ahead: u64,
    ) -> Result<(Feeder, Stream), Error> {
        let mut now = self.life.now();
        self.check_running(&now)?;
        now.open_inputs += 1;
        drop(now);
        let open = Box::new(OpenInput(Arc::clone(&self.life)));
        let enough = chunk_size.saturating_mul(self.processes * CHUNKS_A_WORKER);
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

    fn check_joinable(&self) -> Result<(), Error> {
        if self.life.now().state == State::Running && self.failure().is_none() {
            let text = "the pool is still running: close or terminate it before it is joined";
            return Err(Error::InvalidArgument(text.into()));
        }
        Ok(())
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
        collect: impl FnOnce(u64, Arc<CallbackThread>) -> Arc<Collector>,
    ) -> Result<MapResult<R>, Error> {
        let default = || items.len().div_ceil(self.processes * CHUNKS_A_WORKER).max(1);
        let chunk_size = chunk_size.unwrap_or_else(default);
        let (collector, submitted) = self.submit(function, items, chunk_size, collect)?;
        Ok(MapResult::new(collector, submitted))
    }

    /// Submits items. Tells where their outcomes are collected, and how they can be cancelled.
    fn submit(
        &self,
        function: &str,
        items: Items,
        chunk_size: u64,
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
