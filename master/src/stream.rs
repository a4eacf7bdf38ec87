//! Outcomes as they come, of inputs that are still being read.
//!
//! A [`Feeder`] submits, outcomes come out of a [`Stream`], and how much is on the way between
//! the two is bounded: the feeder waits while too many items, or too many bytes, have been
//! submitted and not been taken.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    batch::{Items, Sink, Submission},
    driver::{Command, Handle, Observer, now},
    error::Error,
};

/// How many items may be on their way between input and output: submitted, and their outcome
/// not yet taken. It hides the time of some slow items among many short ones.
pub(crate) const LOOK_AHEAD_ITEMS: u64 = 4096;

/// How many bytes may be on their way between input and output, arguments and results together:
/// 64 MiB. How large results are is not known before they come, so the number of items follows
/// the size of those that have come.
pub(crate) const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// How many outcomes are taken out together at the most, however large the look-ahead is.
const MAX_TAKEN_TOGETHER: u64 = 256;

/// The encoded value of an item, or why there is none.
pub(crate) type Outcome = Result<Vec<u8>, Error>;

/// How a stream is to be.
#[derive(Debug, Clone)]
pub(crate) struct StreamOptions {
    /// Outcomes come in the order of the inputs.
    pub(crate) ordered: bool,
    /// How many items may be between the two ends.
    pub(crate) look_ahead: u64,
    /// How many of them are enough to keep a worker busy, whatever the size of results.
    pub(crate) enough_for_one: u64,
    /// How many workers there are, which may change.
    pub(crate) workers: Arc<AtomicU64>,
    /// More than `look_ahead` may be on their way if it takes more to keep all workers busy.
    pub(crate) grows: bool,
}

impl StreamOptions {
    /// How many outcomes are taken out together at the most. They count as being on their way
    /// until they are given out, so that many fewer may be between the two ends.
    fn taken_together(&self) -> u64 {
        (self.look_ahead / 16).clamp(1, MAX_TAKEN_TOGETHER)
    }
}

/// Makes both ends. `open` lives as long as inputs may come.
pub(crate) fn stream(
    handle: Arc<Handle>,
    open: Box<dyn Send>,
    function: String,
    options: StreamOptions,
) -> (Feeder, Stream) {
    let state = Mutex::new(State { open: Some(open), ..State::default() });
    let shared = Arc::new(Shared { options, state, changed: Condvar::new() });
    let observer: Arc<dyn Observer> = Arc::clone(&shared) as _;
    handle.observe(&observer);
    let stream =
        Stream { handle: Arc::clone(&handle), shared: Arc::clone(&shared), taken: VecDeque::new() };
    (Feeder { handle, function, shared }, stream)
}

/// The end that inputs go into. Dropping it ends the input.
pub(crate) struct Feeder {
    handle: Arc<Handle>,
    function: String,
    shared: Arc<Shared>,
}

/// The end that outcomes come out of, each with the number of its input, counted from 0.
/// Dropping it makes the feeder stop, and withdraws what was not begun.
pub(crate) struct Stream {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    /// Outcomes that were taken out of the shared state together.
    taken: VecDeque<(u64, Outcome)>,
}

struct Shared {
    options: StreamOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Outcomes that came and were not taken; when ordered the first is that of input `next`,
    /// and those that did not come yet are `None`.
    outcomes: VecDeque<Option<(u64, Outcome)>>,
    next: u64,
    submitted: u64,
    /// Items and bytes between the two ends.
    items: u64,
    bytes: usize,
    /// The size of results by recent measure, in bytes; 0 before the first.
    result_size: usize,
    input_ended: bool,
    /// The submissions that are not concluded, by their ids.
    open_batches: HashSet<u64>,
    /// Dropped when the input ends.
    open: Option<Box<dyn Send>>,
    /// What ended the input before its time, to be told at the end of the outcomes.
    cut_short: Option<Error>,
    reader_waits: bool,
    feeder_waits: bool,
    /// Nobody will take any more outcomes.
    abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more items may be submitted.
    fn room(&self, state: &State) -> u64 {
        let workers = self.options.workers.load(Ordering::Relaxed);
        let enough = self.options.enough_for_one.saturating_mul(workers);
        let look_ahead = match self.options.grows {
            true => self.options.look_ahead.max(enough),
            false => self.options.look_ahead,
        };
        let enough = enough.min(look_ahead);
        let limit = match state.result_size {
            0 => enough,
            size => ((LOOK_AHEAD_BYTES / size) as u64).clamp(enough, look_ahead),
        };
        if state.bytes >= LOOK_AHEAD_BYTES {
            return u64::from(state.items == 0);
        }
        // Those that were taken out and not given out are among them, and cannot be seen here.
        let most = look_ahead.saturating_sub(self.options.taken_together() - 1).max(1);
        limit.min(most).saturating_sub(state.items)
    }

    /// Puts an outcome where it belongs.
    fn put(&self, input: u64, arguments_size: usize, outcome: Outcome) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(arguments_size);
        if state.abandoned {
            state.items = state.items.saturating_sub(1);
            return;
        }
        if let Ok(value) = &outcome {
            let size = value.len().max(1);
            state.bytes += value.len();
            // A larger size counts at once, a smaller one by and by.
            state.result_size = size.max((state.result_size.saturating_mul(7) + size) / 8);
        }
        let ready = if self.options.ordered {
            let place = usize::try_from(input.saturating_sub(state.next)).unwrap_or(usize::MAX);
            while state.outcomes.len() <= place {
                state.outcomes.push_back(None);
            }
            if let Some(slot) = state.outcomes.get_mut(place) {
                *slot = Some((input, outcome));
            }
            place == 0
        } else {
            state.outcomes.push_back(Some((input, outcome)));
            true
        };
        if ready && std::mem::take(&mut state.reader_waits) {
            self.changed.notify_all();
        }
    }

    fn end_input(&self, why: Option<&Error>) {
        let mut state = self.lock();
        if !state.input_ended {
            state.input_ended = true;
            state.cut_short = why.cloned();
        }
        let open = state.open.take();
        drop(state);
        drop(open);
        self.changed.notify_all();
    }
}

impl Observer for Shared {
    fn pool_has_changed(&self) {
        // Taken, so that whoever is about to wait has looked or will be woken.
        drop(self.lock());
        self.changed.notify_all();
    }

    fn pool_is_over(&self, error: &Error) {
        self.end_input(Some(error));
    }
}

impl Feeder {
    /// Waits until `wanted` items may be submitted, or a fair part of all that may be on their
    /// way, and tells how many; `None` if no more are wanted.
    pub(crate) fn wait_for_room(&mut self, wanted: u64) -> Option<u64> {
        let mut state = self.shared.lock();
        loop {
            if state.input_ended {
                return None;
            }
            let room = self.shared.room(&state);
            // Waiting for more than one keeps the two ends from waking each other for each item.
            let fair = wanted.min((state.items + room) / 4).max(1);
            if room >= fair || state.items == 0 {
                return Some(room.max(1));
            }
            state.feeder_waits = true;
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether more inputs are wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.shared.lock().input_ended
    }

    /// Submits items, to be sent `chunk_size` together. False if no more are wanted.
    pub(crate) fn feed(&mut self, items: Items, chunk_size: u64) -> bool {
        let count = items.len();
        let mut state = self.shared.lock();
        if state.input_ended {
            return false;
        }
        let first = state.submitted;
        state.submitted += count;
        state.items += count;
        state.bytes += items.bytes.len();
        drop(state);
        let ends = items.ends.clone();
        let concluded = ends.iter().map(|_| AtomicBool::new(false)).collect();
        let shared = Arc::clone(&self.shared);
        let sink = Arc::new(ChunkSink { shared, first, ends, concluded, batch: OnceLock::new() });
        let function = self.function.clone();
        let submission = Arc::new(Submission::new(function, items, Arc::clone(&sink) as _));
        let batch = *sink.batch.get_or_init(|| submission.id);
        self.shared.lock().open_batches.insert(batch);
        self.handle.send(Command::Submit { submission, chunk_size });
        // A stream that was dropped just now may not have known of it.
        if self.shared.lock().abandoned {
            self.handle.send(Command::Withdraw { batch });
        }
        true
    }

    /// Puts an error in the place of the next input.
    pub(crate) fn fail(&mut self, error: Error) {
        let mut state = self.shared.lock();
        if !state.input_ended {
            let input = state.submitted;
            state.submitted += 1;
            state.items += 1;
            drop(state);
            self.shared.put(input, 0, Err(error));
        }
    }

    /// Ends the input with an error, which comes behind all other outcomes.
    pub(crate) fn end_with(&mut self, error: &Error) {
        self.shared.end_input(Some(error));
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.end_input(None);
    }
}

/// Ends the input of a stream from its other end; what was submitted goes on.
#[derive(Clone)]
pub(crate) struct InputStop(Arc<Shared>);

impl InputStop {
    pub(crate) fn stop(&self) {
        self.0.end_input(None);
    }
}

impl Stream {
    pub(crate) fn input_stop(&self) -> InputStop {
        InputStop(Arc::clone(&self.shared))
    }

    /// Whether the next outcome is at hand without a look at what has come in.
    pub(crate) fn has_more(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The next outcome, if it comes within `timeout`. `None` at the end.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; nothing is lost.
    pub(crate) fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(u64, Outcome)>, Error> {
        if let Some(outcome) = self.taken.pop_front() {
            return Ok(Some(outcome));
        }
        let deadline = timeout.and_then(|timeout| now().checked_add(timeout));
        let mut state = self.shared.lock();
        loop {
            self.taken.extend(take(&mut state, self.shared.options.taken_together()));
            if !self.taken.is_empty() {
                if std::mem::take(&mut state.feeder_waits) {
                    self.shared.changed.notify_all();
                }
                return Ok(self.taken.pop_front());
            }
            if state.input_ended && state.items == 0 {
                let input = state.submitted;
                return Ok(state.cut_short.take().map(|error| (input, Err(error))));
            }
            state.reader_waits = true;
            let changed = &self.shared.changed;
            state = match deadline {
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(now());
                    if left.is_zero() {
                        return Err(Error::NotReady(timeout.unwrap_or_default()));
                    }
                    changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// Takes out the outcomes that are next, so many at the most.
fn take(state: &mut State, most: u64) -> Vec<(u64, Outcome)> {
    let mut taken = Vec::new();
    while let Some(Some(_)) = state.outcomes.front()
        && (taken.len() as u64) < most
    {
        let outcome = state.outcomes.pop_front().flatten();
        state.next += 1;
        state.items -= 1;
        if let Some((_, Ok(value))) = &outcome {
            state.bytes = state.bytes.saturating_sub(value.len());
        }
        taken.extend(outcome);
    }
    taken
}

impl Iterator for Stream {
    type Item = (u64, Outcome);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_within(None).ok().flatten()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.outcomes.clear();
        let batches = std::mem::take(&mut state.open_batches);
        drop(state);
        for batch in batches {
            self.handle.send(Command::Withdraw { batch });
        }
        self.shared.end_input(None);
    }
}

/// Puts the outcomes of one submission in their places.
struct ChunkSink {
    shared: Arc<Shared>,
    /// The input of its first item.
    first: u64,
    /// Where in its arguments each item ends.
    ends: Vec<usize>,
    /// Which items have their outcome.
    concluded: Vec<AtomicBool>,
    /// The id of the submission.
    batch: OnceLock<u64>,
}

impl ChunkSink {
    fn put(&self, item: u64, outcome: Outcome) {
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        let concluded = self.concluded.get(index);
        if concluded.is_none_or(|concluded| concluded.swap(true, Ordering::Relaxed)) {
            return;
        }
        let end = |index: usize| self.ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).map_or(0, end);
        self.shared.put(self.first + item, end(index).saturating_sub(start), outcome);
    }
}

impl Sink for ChunkSink {
    fn completed(&self, item: u64, value: &[u8]) {
        self.put(item, Ok(value.to_vec()));
    }

    fn ended(&self, items: Range<u64>, error: &Error) {
        for item in items {
            self.put(item, Err(error.clone()));
        }
    }

    fn abandoned(&self) {
        for item in 0..self.concluded.len() as u64 {
            self.put(item, Err(Error::NotRunning));
        }
        if let Some(batch) = self.batch.get() {
            self.shared.lock().open_batches.remove(batch);
        }
    }
}
