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
    driver::{Command, Handle},
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
        take: impl FnOnce(&Collected) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.collector.wait(timeout) {
            Some(state) => take(&state),
            None => Err(Error::NotReady(timeout.unwrap_or_default())),
        }
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
    ($outcomes:literal) => {
        #[doc = concat!("Waits for ", $outcomes, ", and for the callback if there is one.")]
        pub fn wait(&self) {
            drop(self.pending.collector.wait(None));
        }

        #[doc = concat!("As [`Self::wait`], for so long at most; tells whether there is ", $outcomes, ".")]
        #[must_use]
        pub fn wait_timeout(&self, timeout: Duration) -> bool {
            self.pending.collector.wait(Some(timeout)).is_some()
        }

        #[doc = concat!("Whether there is ", $outcomes, ", and the callback has run.")]
        #[must_use]
        pub fn ready(&self) -> bool {
            self.pending.collector.lock().is_complete()
        }

        /// Whether there is no error.
        ///
        /// # Errors
        /// [`Error::NotReady`] while it is not [`Self::ready`].
        pub fn successful(&self) -> Result<bool, Error> {
            self.pending.successful()
        }

        /// Cancels what has no outcome yet: what waits is not begun, and the worker of what is
        /// running is replaced. It ends as [`Error::Cancelled`]. What has its outcome keeps it.
        pub fn cancel(&self) {
            self.pending.cancel();
        }
    };
}

/// The results of a `map`, once they are there.
///
/// Made by [`crate::Pool::map_async`] and its relatives. It is also a future, for any executor.
/// Dropping it does not cancel anything.
///
/// ```no_run
/// use master::{Error, Pool};
///
/// async fn squares(pool: &Pool) -> Result<Vec<i64>, Error> {
///     pool.map_async("square", 0..10, None)?.await
/// }
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
    /// # Errors
    /// If any item failed, the error of the first of them in the order of the items; all others
    /// have been waited for. [`Self::outcomes`] gives all errors.
    pub fn get(&self) -> Result<Vec<R>, Error> {
        self.pending.take(None, Collected::results)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; what was asked for goes on and can be asked for
    /// again. Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<R>, Error> {
        self.pending.take(Some(timeout), Collected::results)
    }

    /// Waits for all items, and gives the outcome of each, in the order of the items.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Result<R, Error>> {
        match self.pending.collector.wait(None) {
            Some(state) => (0..state.len()).map(|item| state.outcome(item)).collect(),
            None => Vec::new(),
        }
    }

    waiting!("an outcome of each item");
}

impl<R: FromResult> Future for MapResult<R> {
    type Output = Result<Vec<R>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(context, Collected::results)
    }
}

/// The result of a single call, once it is there.
///
/// Made by [`crate::Pool::apply_async`] and its relatives. It is also a future, for any executor.
/// Dropping it does not cancel anything.
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
    /// # Errors
    /// Why there is no result.
    pub fn get(&self) -> Result<R, Error> {
        self.pending.take(None, Collected::result)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; the call goes on and can be asked for again.
    /// Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<R, Error> {
        self.pending.take(Some(timeout), Collected::result)
    }

    waiting!("an outcome");
}

impl<R: FromResult> Future for ApplyResult<R> {
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.pending.poll(context, Collected::result)
    }
}
