//! Callbacks: functions of the caller that are told of an outcome.
//!
//! They run one after another on a thread of their own, so that one that blocks delays only
//! other callbacks, and one that panics harms nobody.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use crate::{
    collector::{Collected, Collector},
    deadline::Deadline,
    error::Error,
};

/// What to call when there is an outcome: one of the two, once, before any wait for it returns.
///
/// Callbacks of a pool run one after another on a thread of their own. They may do anything: one
/// that blocks delays only other callbacks, one that panics is logged, and from within one the
/// pool can be given more work, closed and terminated. Default: none, for either.
///
/// ```
/// use master::Callbacks;
///
/// let callbacks = Callbacks::new()
///     .on_result(|square: i64| println!("{square}"))
///     .on_error(|error| eprintln!("{error}"));
/// # let _ = callbacks;
/// ```
#[must_use = "callbacks are given to a call"]
pub struct Callbacks<T> {
    result: Option<Box<dyn FnOnce(T) + Send>>,
    error: Option<Box<dyn FnOnce(Error) + Send>>,
}

impl<T> fmt::Debug for Callbacks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("result", &self.result.is_some())
            .field("error", &self.error.is_some())
            .finish()
    }
}

impl<T> Default for Callbacks<T> {
    fn default() -> Self {
        Self { result: None, error: None }
    }
}

impl<T> Callbacks<T> {
    /// No callback yet.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// // Without callbacks it is as `Pool::apply_async`.
    /// let square = pool.apply_async_with::<i64>("square", (5,), master::Callbacks::new())?;
    /// assert_eq!(square.get()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// What to call with the result.
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
    pub fn on_result(mut self, callback: impl FnOnce(T) + Send + 'static) -> Self {
        self.result = Some(Box::new(callback));
        self
    }

    /// What to call with the error, if there is no result: also when the call is cancelled, the
    /// pool terminated, or the result not of the type `T`.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// use master::Callbacks;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let (sender, errors) = channel();
    /// let callbacks = Callbacks::<()>::new().on_error(move |error| drop(sender.send(error)));
    /// pool.apply_async_with("fail", ("no", "ValueError"), callbacks)?.wait();
    /// assert_eq!(errors.try_recv().map(|error| error.to_string()), Ok("ValueError: no".into()));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn on_error(mut self, callback: impl FnOnce(Error) + Send + 'static) -> Self {
        self.error = Some(Box::new(callback));
        self
    }

    /// A collector that calls them when all its outcomes are there; `take` takes these together.
    pub(crate) fn collector(
        self,
        items: u64,
        thread: Arc<CallbackThread>,
        take: fn(&Collected) -> Result<T, Error>,
    ) -> Arc<Collector>
    where
        T: 'static,
    {
        let completion = move |collected: &Collected| {
            // Taken here, so that nothing of the collector is held while the callback runs.
            let outcome = take(collected);
            let call = move || self.call(outcome);
            Box::new(call) as Box<dyn FnOnce()>
        };
        Collector::with_callback(items, thread, Box::new(completion))
    }

    fn call(self, outcome: Result<T, Error>) {
        match (outcome, self.result, self.error) {
            (Ok(result), Some(callback), _) => callback(result),
            (Err(error), _, Some(callback)) => callback(error),
            (Ok(_), None, _) | (Err(_), _, None) => {}
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static IS_CALLBACK_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs callbacks. It must not wait for any.
pub(crate) fn in_callback() -> bool {
    IS_CALLBACK_THREAD.get()
}

/// The thread that runs the callbacks of a pool; started by the first of them.
#[derive(Default)]
pub(crate) struct CallbackThread {
    jobs: Mutex<Option<Sender<Job>>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    waiting: Mutex<u64>,
    idle: Condvar,
}

impl Progress {
    fn add(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn finish(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = waiting.saturating_sub(1);
        drop(waiting);
        self.idle.notify_all();
    }
}

impl CallbackThread {
    /// Makes sure that there is a thread, as long as the caller can still be told if not.
    ///
    /// # Errors
    /// [`Error::Setup`] if the operating system refuses one.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_none() {
            let (sender, receiver) = channel();
            let progress = Arc::clone(&self.progress);
            let work = move || work(&receiver, &progress);
            let thread = std::thread::Builder::new().name("master-callbacks".into()).spawn(work);
            thread.map_err(|error| Error::Setup(format!("no thread for callbacks: {error}")))?;
            *jobs = Some(sender);
        }
        Ok(())
    }

    /// Runs `job` after those before it, on the thread that [`Self::start`] started.
    pub(crate) fn run(&self, job: Job) {
        self.progress.add();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = jobs.as_ref().map(|sender| sender.send(job));
        drop(jobs);
        if !matches!(sent, Some(Ok(()))) {
            log::error!("a callback was lost: its thread is gone");
            self.progress.finish();
        }
    }

    /// Waits until no callback is running or waiting, for so long at most, and tells whether it
    /// is so. A callback itself does not wait.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        if in_callback() {
            return true;
        }
        let deadline = Deadline::after(timeout);
        let mut waiting = self.progress.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while *waiting > 0 {
            if deadline.is_over() {
                return false;
            }
            waiting = deadline.wait(&self.progress.idle, waiting);
        }
        true
    }
}

fn work(jobs: &Receiver<Job>, progress: &Progress) {
    IS_CALLBACK_THREAD.set(true);
    for job in jobs {
        attempt(job);
        progress.finish();
    }
}

fn attempt(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        log::error!("a callback panicked");
    }
}
