//! The outcomes of a batch, collected until all are there.

mod values;

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use self::values::{ValueAt, ValueStore};
use crate::{
    arguments::FromResult,
    batch::{Sink, Value, Values},
    callbacks::{CallbackThread, in_callback},
    deadline::Deadline,
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
    /// How many threads wait.
    waiting: usize,
    /// Every item has its outcome, and the callback has run.
    complete: bool,
    callback: Option<(Completion, Arc<CallbackThread>)>,
    /// The asynchronous task that waits.
    waker: Option<Waker>,
    /// No more outcomes will come, though some items have none.
    abandoned: bool,
    items: u64,
    /// The encoded values of all completed items.
    values: ValueStore,
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
        let state = Collected { pending: items, items, callback, ..Collected::default() };
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
        let deadline = Deadline::after(timeout);
        let mut state = self.lock();
        while !state.is_over_here() {
            if deadline.is_over() {
                return None;
            }
            state.waiting += 1;
            state = deadline.wait(&self.complete, state);
            state.waiting -= 1;
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
        state.values.sort();
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
        let waiting = state.waiting > 0;
        drop(state);
        // To tell nobody costs a call of the system all the same.
        if waiting {
            self.complete.notify_all();
        }
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
        state.values.append(first, values);
        state.pending = state.pending.saturating_sub(values.len() as u64);
        if state.pending == 0 {
            self.0.end(state);
        }
    }

    fn completed_alone(&self, item: u64, value: Value) {
        let mut state = self.0.lock();
        state.values.put(item, value);
        state.pending = state.pending.saturating_sub(1);
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

    pub(crate) const fn len(&self) -> u64 {
        self.items
    }

    /// The results of all items, or the error of the first of them that has none.
    pub(crate) fn results<R: FromResult>(&self) -> Result<Vec<R>, Error> {
        if self.values.has_alone() {
            let values = (0..self.items).filter_map(|item| self.values.get(item));
            return self.collect(values.map(ValueAt::decode));
        }
        self.collect(self.values.iter().map(R::from_result))
    }

    /// As [`Self::results`], for somebody who asks once: what lies in memory of its own is given
    /// away.
    pub(crate) fn take_results<R: FromResult>(&mut self) -> Result<Vec<R>, Error> {
        let mut alone = self.values.take_all_alone();
        if alone.is_empty() {
            return self.results();
        }
        let values = &self.values;
        self.collect((0..self.items).filter_map(|item| match alone.remove(&item) {
            Some(value) => Some(value.decode()),
            None => values.get(item).map(ValueAt::decode),
        }))
    }

    fn collect<R>(&self, values: impl Iterator<Item = Result<R, Error>>) -> Result<Vec<R>, Error> {
        if let Some((_, (_, error))) = self.errors.first_key_value() {
            return Err(error.clone());
        }
        let mut results = Vec::with_capacity(usize::try_from(self.items).unwrap_or(0));
        for value in values {
            results.push(value?);
        }
        // There will be no more of them.
        if (results.len() as u64) < self.items { Err(Error::NotRunning) } else { Ok(results) }
    }

    /// The result of the only item.
    pub(crate) fn result<R: FromResult>(&self) -> Result<R, Error> {
        self.outcome(0)
    }

    /// As [`Self::result`], for somebody who asks once.
    pub(crate) fn take_result<R: FromResult>(&mut self) -> Result<R, Error> {
        match self.values.take_alone(0) {
            Some(value) => value.decode(),
            None => self.outcome(0),
        }
    }

    pub(crate) fn outcome<R: FromResult>(&self, item: u64) -> Result<R, Error> {
        let before = self.errors.range(..=item).next_back();
        if let Some((_, (_, error))) = before.filter(|(_, (end, _))| item < *end) {
            return Err(error.clone());
        }
        match self.values.get(item) {
            // There will be none.
            None => Err(Error::NotRunning),
            Some(value) => value.decode(),
        }
    }
}
