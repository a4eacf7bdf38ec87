//! Results that are not there yet.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    arguments::FromResult,
    collector::{Collected, Collector},
    driver::{Command, Handle, Turn},
    error::Error,
};

/// Where a submission can be cancelled, and by which number.
pub(crate) struct Submitted {
    pub(crate) handle: Arc<Handle>,
    pub(crate) batch: u64,
}

/// A submission, as those see it who wait for it.
struct Pending {
    collector: Arc<Collector>,
    /// None if there was nothing to submit.
    submitted: Option<Submitted>,
}

impl Pending {
    fn take<T>(
        &self,
        timeout: Option<Duration>,
        take: impl FnOnce(&mut Collected) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.collector.wait(timeout) {
            Some(mut state) => take(&mut state),
            None => Err(Error::NotReady(timeout.unwrap_or_default())),
        }
    }

    /// As [`Self::take`], on a thread that drives the pool meanwhile if it has the turn.
    fn take_here<T>(
        &self,
        turn: Option<Turn<'_>>,
        take: impl FnOnce(&mut Collected) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(mut turn) = turn {
            turn.drive(|| self.collector.lock().is_over());
        }
        self.take(None, take)
    }

    fn poll<T>(
        &self,
        context: &Context<'_>,
        take: impl FnOnce(&Collected) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        match self.collector.wait_async(context.waker()) {
            Some(state) => Poll::Ready(take(&state)),
            None => Poll::Pending,
        }
    }

    fn cancel(&self) {
        if let Some(Submitted { handle, batch }) = &self.submitted {
            handle.send(Command::Cancel { batch: *batch });
        }
    }

    fn successful(&self) -> Result<bool, Error> {
        let state = self.collector.lock();
        match state.is_complete() {
            true => Ok(state.is_successful()),
            false => Err(Error::NotReady(Duration::ZERO)),
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready: {}", self.collector.lock().is_complete())
    }
}

macro_rules! waiting {
    ($outcomes:literal, $square:literal, $endless:literal) => {
        #[doc = concat!("Waits for ", $outcomes, ", and for the callback if there is one.")]
        ///
        /// ```
        /// # let pool = integration_tests::library::pool(1).build()?;
        #[doc = concat!("let pending = ", $square, ";")]
        /// pending.wait();
        /// assert!(pending.ready());
        /// # Ok::<(), master::Error>(())
        /// ```
        pub fn wait(&self) {
            drop(self.pending.collector.wait(None));
        }

        #[doc = concat!("As [`Self::wait`], for so long at most; tells whether there is ", $outcomes, ".")]
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// # let pool = integration_tests::library::pool(1).build()?;
        #[doc = concat!("let pending = ", $endless, ";")]
        /// assert!(!pending.wait_timeout(Duration::from_millis(10)));
        /// # Ok::<(), master::Error>(())
        /// ```
        #[must_use]
        pub fn wait_timeout(&self, timeout: Duration) -> bool {
            self.pending.collector.wait(Some(timeout)).is_some()
        }

        #[doc = concat!("Whether there is ", $outcomes, ", and the callback has run.")]
        ///
        /// ```
        /// # let pool = integration_tests::library::pool(1).build()?;
        #[doc = concat!("let pending = ", $endless, ";")]
        /// assert!(!pending.ready());
        /// # Ok::<(), master::Error>(())
        /// ```
        #[must_use]
        pub fn ready(&self) -> bool {
            self.pending.collector.lock().is_complete()
        }

        /// Whether there is no error. Whether results are of the type `R` is not looked at.
        ///
        /// ```
        /// # let pool = integration_tests::library::pool(1).build()?;
        #[doc = concat!("let pending = ", $square, ";")]
        /// pending.wait();
        /// assert_eq!(pending.successful()?, true);
        /// # Ok::<(), master::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`Error::NotReady`] while it is not [`Self::ready`].
        pub fn successful(&self) -> Result<bool, Error> {
            self.pending.successful()
        }

        /// Cancels what has no outcome yet: what waits is not begun, and the worker of what is
        /// running is replaced. It ends as [`Error::Cancelled`]. What has its outcome keeps it.
        /// Does not wait, and may be called again.
        ///
        /// ```
        /// use master::{Cancelled, Error};
        ///
        /// # let pool = integration_tests::library::pool(1).build()?;
        #[doc = concat!("let pending = ", $endless, ";")]
        /// pending.cancel();
        /// assert!(matches!(pending.get(), Err(Error::Cancelled(Cancelled::ByCaller))));
        /// # Ok::<(), master::Error>(())
        /// ```
        pub fn cancel(&self) {
            self.pending.cancel();
        }
    };
}

/// The results of a `map`, once they are there.
///
/// Made by [`crate::Pool::map_async`] and its relatives. It is also a future, for any executor. Its waker may
/// run on a thread that drives the pool: it must not wait for a result of that pool.
/// Dropping it does not cancel anything.
///
/// ```
/// use master::{Error, Pool};
///
/// async fn squares(pool: &Pool) -> Result<Vec<i64>, Error> {
///     pool.map_async("square", [2, 3, 4], None)?.await
/// }
/// # use std::{pin::pin, sync::Arc, task::{Context, Poll, Wake}, thread};
/// # struct Unpark(thread::Thread);
/// # impl Wake for Unpark {
/// #     fn wake(self: Arc<Self>) {
/// #         self.0.unpark();
/// #     }
/// # }
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     let waker = Arc::new(Unpark(thread::current())).into();
/// #     let mut future = pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
/// #             Poll::Ready(output) => return output,
/// #             Poll::Pending => thread::park(),
/// #         }
/// #     }
/// # }
/// # let pool = integration_tests::library::pool(2).build()?;
///
/// // `block_on` is that of any executor.
/// assert_eq!(block_on(squares(&pool))?, [4, 9, 16]);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the results are lost when they are not asked for"]
pub struct MapResult<R> {
    pending: Pending,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for MapResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapResult({:?})", self.pending)
    }
}

impl<R: FromResult> MapResult<R> {
    pub(crate) const fn new(collector: Arc<Collector>, submitted: Option<Submitted>) -> Self {
        Self { pending: Pending { collector, submitted }, result: PhantomData }
    }

    /// Waits for all items, and gives their results in the order of the items. May be called
    /// again.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// assert_eq!(pool.map_async::<_, i64>("square", [2, 3], None)?.get()?, [4, 9]);
    /// let failing = pool.map_async::<_, i64>("fail", ["no", "never"], None)?;
    /// assert_eq!(failing.get().unwrap_err().to_string(), "Error: no");
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// If any item failed, the error of the first of them in the order of the items; all others
    /// have been waited for. It is one of those of [`ApplyResult::get`]. [`Self::outcomes`] gives
    /// all errors.
    pub fn get(&self) -> Result<Vec<R>, Error> {
        self.pending.take(None, |state| state.results())
    }

    /// As [`Self::get`], on a thread that drives the pool meanwhile if it has the turn.
    pub(crate) fn get_here(self, turn: Option<Turn<'_>>) -> Result<Vec<R>, Error> {
        self.pending.take_here(turn, Collected::take_results)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let endless = pool.map_async::<_, ()>("sleep", [3600], None)?;
    /// assert!(matches!(endless.get_timeout(Duration::from_millis(10)), Err(Error::NotReady(_))));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; what was asked for goes on and can be asked for
    /// again. Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<R>, Error> {
        self.pending.take(Some(timeout), |state| state.results())
    }

    /// Waits for all items, and gives the outcome of each, in the order of the items.
    ///
    /// ```
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let squares = pool.map_async::<_, i64>("square", [3, i64::MAX, 4], None)?;
    /// let outcomes = squares.outcomes();
    /// assert!(matches!(outcomes[..], [Ok(9), Err(Error::Failed(_)), Ok(16)]), "one is too large");
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn outcomes(&self) -> Vec<Result<R, Error>> {
        match self.pending.collector.wait(None) {
            Some(state) => (0..state.len()).map(|item| state.outcome(item)).collect(),
            None => Vec::new(),
        }
    }

    waiting!(
        "an outcome of each item",
        "pool.map_async::<_, i64>(\"square\", [2, 3], None)?",
        "pool.map_async::<_, ()>(\"sleep\", [3600], None)?"
    );
}

impl<R: FromResult> Future for MapResult<R> {
    type Output = Result<Vec<R>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(context, Collected::results)
    }
}

/// The result of a single call, once it is there.
///
/// Made by [`crate::Pool::apply_async`] and its relatives. It is also a future, for any executor. Its waker may
/// run on a thread that drives the pool: it must not wait for a result of that pool.
/// Dropping it does not cancel anything.
///
/// ```
/// # let pool = integration_tests::library::pool(1).build()?;
/// let square = pool.apply_async::<i64>("square", (5,))?;
/// // Other work has its time here.
/// assert_eq!(square.get()?, 25);
/// # Ok::<(), master::Error>(())
/// ```
#[must_use = "the result is lost when it is not asked for"]
pub struct ApplyResult<R> {
    pending: Pending,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for ApplyResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplyResult({:?})", self.pending)
    }
}

impl<R: FromResult> ApplyResult<R> {
    pub(crate) const fn new(collector: Arc<Collector>, submitted: Option<Submitted>) -> Self {
        Self { pending: Pending { collector, submitted }, result: PhantomData }
    }

    /// Waits for the result. May be called again.
    ///
    /// ```
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// assert_eq!(pool.apply_async::<i64>("square", (5,))?.get()?, 25);
    /// match pool.apply_async::<i64>("fail", ("no", "ValueError"))?.get() {
    ///     Err(Error::Failed(failure)) => assert_eq!(failure.kind, "ValueError"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// Why there is no result: [`Error::Failed`], [`Error::Lost`], [`Error::TimedOut`],
    /// [`Error::Cancelled`], [`Error::UnknownFunction`], [`Error::PoolFailed`], and
    /// [`Error::Decode`] if the result is not of the type `R`.
    pub fn get(&self) -> Result<R, Error> {
        self.pending.take(None, |state| state.result())
    }

    /// As [`Self::get`], on a thread that drives the pool meanwhile if it has the turn.
    pub(crate) fn get_here(self, turn: Option<Turn<'_>>) -> Result<R, Error> {
        self.pending.take_here(turn, Collected::take_result)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let endless = pool.apply_async::<()>("sleep", (3600,))?;
    /// assert!(matches!(endless.get_timeout(Duration::from_millis(10)), Err(Error::NotReady(_))));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; the call goes on and can be asked for again.
    /// Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<R, Error> {
        self.pending.take(Some(timeout), |state| state.result())
    }

    waiting!(
        "an outcome",
        "pool.apply_async::<i64>(\"square\", (5,))?",
        "pool.apply_async::<()>(\"sleep\", (3600,))?"
    );
}

impl<R: FromResult> Future for ApplyResult<R> {
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(context, Collected::result)
    }
}
