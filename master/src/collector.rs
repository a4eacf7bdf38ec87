//! The outcomes of a batch, collected until all are there.

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use crate::{
    arguments::FromResult,
    batch::{Sink, Values},
    callbacks::{CallbackThread, in_callback},
    driver::now,
    error::Error,
};

/// What is to be done with all outcomes before anybody who waits for them goes on. The first
/// step looks at them, the second runs what a caller wrote.
type Completion = Box<dyn FnOnce(&Collected) -> Box<dyn FnOnce()> + Send>;

/// The outcomes of a batch, as they come in.
#[derive(Default)]
pub(crate) struct Collector {
    state: Mutex<Collected>,
    complete: Condvar,
}

#[derive(Default)]
pub(crate) struct Collected {
    pending: u64,
    /// Every item has its outcome, and the callback has run.
    complete: bool,
    callback: Option<(Completion, Arc<CallbackThread>)>,
    /// The asynchronous task that waits.
    waker: Option<Waker>,
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
    /// A collector for so many items. With none it is complete at once.
    pub(crate) fn new(items: u64) -> Arc<Self> {
        Self::build(items, None)
    }

    /// As [`Self::new`], for a pool, whose callbacks have no part in it.
    pub(crate) fn plain(items: u64, _callbacks: Arc<CallbackThread>) -> Arc<Self> {
        Self::new(items)
    }

    /// As [`Self::new`], with something to be done before anybody who waits goes on.
    pub(crate) fn with_callback(
        items: u64,
        thread: Arc<CallbackThread>,
        completion: Completion,
    ) -> Arc<Self> {
        Self::build(items, Some((completion, thread)))
    }

    fn build(items: u64, callback: Option<(Completion, Arc<CallbackThread>)>) -> Arc<Self> {
        let places = vec![0..0; usize::try_from(items).unwrap_or(usize::MAX)];
        let state = Collected { pending: items, places, callback, ..Collected::default() };
        let collector = Arc::new(Self { state: Mutex::new(state), complete: Condvar::new() });
        if items == 0 {
            collector.end(collector.lock());
        }
        collector
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is complete, for so long at most. A callback waits for outcomes only, and
    /// not for other callbacks, which cannot run before it ends.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<MutexGuard<'_, Collected>> {
        // A time that is too far away to be told never comes.
        let deadline = timeout.and_then(|timeout| now().checked_add(timeout));
        let mut state = self.lock();
        while !state.is_over_here() {
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

    /// Has `waker`, and no earlier one, woken when it is complete. Gives the state if it is so
    /// already, in a callback as in [`Self::wait`].
    pub(crate) fn wait_async(&self, waker: &Waker) -> Option<MutexGuard<'_, Collected>> {
        let mut state = self.lock();
        if state.is_over_here() {
            return Some(state);
        }
        let earlier = state.waker.replace(waker.clone());
        drop(state);
        drop(earlier);
        None
    }

    /// All outcomes are there.
    fn end(self: &Arc<Self>, mut state: MutexGuard<'_, Collected>) {
        let Some((completion, thread)) = state.callback.take() else {
            return self.finish(state);
        };
        // Callbacks of others may be waiting for outcomes.
        self.wake(state);
        let collector = Arc::clone(self);
        let finish = Finish(collector);
        thread.run(Box::new(move || {
            let call = completion(&finish.0.lock());
            call();
            drop(finish);
        }));
    }

    fn finish(&self, mut state: MutexGuard<'_, Collected>) {
        state.complete = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, Collected>) {
        let waker = state.waker.take();
        drop(state);
        self.complete.notify_all();
        // What wakes a caller is the caller's own, and may run on the supervisor's thread.
        let woken = catch_unwind(AssertUnwindSafe(|| waker.into_iter().for_each(Waker::wake)));
        if woken.is_err() {
            log::error!("the waker of an asynchronous task panicked");
        }
    }
}

/// Lets those go on who wait, when the callback has ended, also by a panic.
struct Finish(Arc<Collector>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish(self.0.lock());
    }
}

/// Where the supervisor puts the outcomes of a collector.
pub(crate) struct CollectorSink(pub(crate) Arc<Collector>);

impl Sink for CollectorSink {
    fn completed(&self, first: u64, values: Values<'_>) {
        let mut state = self.0.lock();
        let start = state.values.len();
        state.values.extend_from_slice(values.bytes());
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let slots = state.places.get_mut(first..).unwrap_or_default();
        for (slot, place) in slots.iter_mut().zip(values.places()) {
            *slot = start + place.start..start + place.end;
        }
        state.pending = state.pending.saturating_sub(values.len() as u64);
        if state.pending == 0 {
            self.0.end(state);
        }
    }

    fn ended(&self, items: Range<u64>, error: &Error) {
        let mut state = self.0.lock();
        state.pending = state.pending.saturating_sub(items.end - items.start);
        state.errors.insert(items.start, (items.end, error.clone()));
        if state.pending == 0 {
            self.0.end(state);
        }
    }

    fn abandoned(&self) {
        let mut state = self.0.lock();
        if state.pending > 0 {
            state.pending = 0;
            state.abandoned = true;
            self.0.end(state);
        }
    }
}

impl Collected {
    /// Whether this thread need not wait any more: a callback waits for the outcomes alone.
    fn is_over_here(&self) -> bool {
        self.complete || in_callback() && self.pending == 0
    }

    /// Whether every item has its outcome.
    pub(crate) const fn is_over(&self) -> bool {
        self.pending == 0
    }

    /// Whether every item has its outcome, and the callback has run.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether every item has a value.
    pub(crate) fn is_successful(&self) -> bool {
        self.errors.is_empty() && !self.abandoned
    }

    pub(crate) const fn len(&self) -> usize {
        self.places.len()
    }

    /// The results of all items, or the error of the first of them that has none.
    pub(crate) fn results<R: FromResult>(&self) -> Result<Vec<R>, Error> {
        if let Some((_, (_, error))) = self.errors.first_key_value() {
            return Err(error.clone());
        }
        (0..self.len()).map(|item| self.outcome(item)).collect()
    }

    /// The result of the only item.
    pub(crate) fn result<R: FromResult>(&self) -> Result<R, Error> {
        self.outcome(0)
    }

    pub(crate) fn outcome<R: FromResult>(&self, item: usize) -> Result<R, Error> {
        let before = self.errors.range(..=item as u64).next_back();
        if let Some((_, (_, error))) = before.filter(|(_, (end, _))| (item as u64) < *end) {
            return Err(error.clone());
        }
        let place = self.places.get(item).cloned().unwrap_or_default();
        match self.values.get(place) {
            // Every value has at least a byte: there will be none.
            None | Some([]) => Err(Error::NotRunning),
            Some(value) => R::from_result(value),
        }
    }
}
