//! Results that are not there yet.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{arguments::FromResult, batch::Sink, driver::now, error::Error};

/// The outcomes of a batch, as they come in.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    state: Mutex<Collected>,
    complete: Condvar,
}

#[derive(Debug, Default)]
struct Collected {
    pending: u64,
    /// No more outcomes will come, though some items have none.
    abandoned: bool,
    /// The encoded values of all completed items, in the order in which they came.
    values: Vec<u8>,
    /// Where in `values` that of each item lies.
    places: Vec<Range<usize>>,
    /// Why items have no value: neighbours with the same reason together, by the first of them,
    /// each with the end of its range.
    errors: BTreeMap<u64, (u64, Error)>,
}

impl Collector {
    pub(crate) fn new(items: u64) -> Self {
        let places = vec![0..0; usize::try_from(items).unwrap_or(usize::MAX)];
        let state = Collected { pending: items, places, ..Collected::default() };
        Self { state: Mutex::new(state), complete: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, timeout: Option<Duration>) -> Option<MutexGuard<'_, Collected>> {
        // A time that is too far away to be told never comes.
        let deadline = timeout.and_then(|timeout| now().checked_add(timeout));
        let mut state = self.lock();
        while state.pending > 0 {
            state = match deadline {
                None => self.complete.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.complete.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Some(state)
    }
}

impl Sink for Collector {
    fn completed(&self, item: u64, value: &[u8]) {
        let mut state = self.lock();
        let start = state.values.len();
        state.values.extend_from_slice(value);
        let place = start..state.values.len();
        let slot = usize::try_from(item).ok().and_then(|item| state.places.get_mut(item));
        if let Some(slot) = slot {
            *slot = place;
        }
        state.pending = state.pending.saturating_sub(1);
        if state.pending == 0 {
            self.complete.notify_all();
        }
    }

    fn ended(&self, items: Range<u64>, error: &Error) {
        let mut state = self.lock();
        state.pending = state.pending.saturating_sub(items.end - items.start);
        state.errors.insert(items.start, (items.end, error.clone()));
        if state.pending == 0 {
            self.complete.notify_all();
        }
    }

    fn abandoned(&self) {
        let mut state = self.lock();
        if state.pending > 0 {
            state.pending = 0;
            state.abandoned = true;
            self.complete.notify_all();
        }
    }
}

/// The results of a `map`, once they are there.
///
/// Made by [`crate::Pool::map_async`] and [`crate::Pool::starmap_async`]. Dropping it does not
/// cancel anything.
#[derive(Debug)]
#[must_use = "the results are lost when they are not asked for"]
pub struct MapResult<R> {
    collector: Arc<Collector>,
    result: PhantomData<fn() -> R>,
}

impl<R: FromResult> MapResult<R> {
    pub(crate) const fn new(collector: Arc<Collector>) -> Self {
        Self { collector, result: PhantomData }
    }

    /// Waits for all items, and gives their results in the order of the items. May be called
    /// again.
    ///
    /// # Errors
    /// If any item failed, the error of the first of them in the order of the items; all others
    /// have been waited for.
    pub fn get(&self) -> Result<Vec<R>, Error> {
        self.take(None)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; what was asked for goes on and can be asked for
    /// again. Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<R>, Error> {
        self.take(Some(timeout))
    }

    /// Waits for all items, and gives the outcome of each, in the order of the items.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Result<R, Error>> {
        let Some(state) = self.collector.wait(None) else { return Vec::new() };
        (0..state.places.len()).map(|item| outcome(&state, item)).collect()
    }

    /// Waits until all items have an outcome.
    pub fn wait(&self) {
        drop(self.collector.wait(None));
    }

    /// Waits until all items have an outcome, for so long at most, and tells whether they have.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.collector.wait(Some(timeout)).is_some()
    }

    /// Whether all items have an outcome.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.collector.lock().pending == 0
    }

    /// Whether all items have a result.
    ///
    /// # Errors
    /// [`Error::NotReady`] while some items have no outcome.
    pub fn successful(&self) -> Result<bool, Error> {
        let state = self.collector.lock();
        match state.pending {
            0 => Ok(state.errors.is_empty() && !state.abandoned),
            _ => Err(Error::NotReady(Duration::ZERO)),
        }
    }

    fn take(&self, timeout: Option<Duration>) -> Result<Vec<R>, Error> {
        let Some(state) = self.collector.wait(timeout) else {
            return Err(Error::NotReady(timeout.unwrap_or_default()));
        };
        if let Some((_, (_, error))) = state.errors.first_key_value() {
            return Err(error.clone());
        }
        (0..state.places.len()).map(|item| outcome(&state, item)).collect()
    }
}

fn outcome<R: FromResult>(state: &Collected, item: usize) -> Result<R, Error> {
    let before = state.errors.range(..=item as u64).next_back();
    if let Some((_, (_, error))) = before.filter(|(_, (end, _))| (item as u64) < *end) {
        return Err(error.clone());
    }
    let place = state.places.get(item).cloned().unwrap_or_default();
    match state.values.get(place) {
        // Every value has at least a byte: there will be none.
        None | Some([]) => Err(Error::NotRunning),
        Some(value) => R::from_result(value),
    }
}

/// The result of a single call, once it is there.
///
/// Made by [`crate::Pool::apply_async`]. Dropping it does not cancel anything.
#[derive(Debug)]
#[must_use = "the result is lost when it is not asked for"]
pub struct ApplyResult<R> {
    inner: MapResult<R>,
}

impl<R: FromResult> ApplyResult<R> {
    pub(crate) const fn new(collector: Arc<Collector>) -> Self {
        Self { inner: MapResult::new(collector) }
    }

    /// Waits for the result. May be called again.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn get(&self) -> Result<R, Error> {
        only(self.inner.get()?)
    }

    /// As [`Self::get`], but waits for no longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; the call goes on and can be asked for again.
    /// Otherwise as [`Self::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<R, Error> {
        only(self.inner.get_timeout(timeout)?)
    }

    /// Waits until the call has an outcome.
    pub fn wait(&self) {
        self.inner.wait();
    }

    /// Waits until the call has an outcome, for so long at most, and tells whether it has.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.inner.wait_timeout(timeout)
    }

    /// Whether the call has an outcome.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.ready()
    }

    /// Whether the call has a result.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it has no outcome.
    pub fn successful(&self) -> Result<bool, Error> {
        self.inner.successful()
    }
}

fn only<R>(results: Vec<R>) -> Result<R, Error> {
    results.into_iter().next().ok_or_else(|| Error::Decode("the call gave nothing".into()))
}
