//! Outcomes as they come, of inputs that are still being read.
//!
//! A [`Feeder`] submits, outcomes come out of a [`Stream`], and how much is on the way between
//! the two is bounded: the feeder waits while too many items, or too many bytes, have been
//! submitted and not been taken.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch::{Items, Sink, Submission},
    driver::{Command, Handle},
    error::Error,
};

/// How many items may be on their way between input and output: submitted, and their outcome
/// not yet taken. It hides the time of some slow items among many short ones.
pub(crate) const LOOK_AHEAD_ITEMS: u64 = 4096;

/// How many bytes may be on their way between input and output, arguments and results together,
/// beyond a single chunk: 64 MiB.
pub(crate) const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// The encoded value of an item, or why there is none.
pub(crate) type Outcome = Result<Vec<u8>, Error>;

/// Makes both ends.
pub(crate) fn stream(
    handle: Arc<Handle>,
    function: String,
    ordered: bool,
    look_ahead: u64,
) -> (Feeder, Stream) {
    let (state, changed) = (Mutex::default(), Condvar::new());
    let shared = Arc::new(Shared { ordered, look_ahead, state, changed });
    let feeder = Feeder { handle, function, shared: Arc::clone(&shared) };
    (feeder, Stream { shared, taken: VecDeque::new() })
}

/// The end that inputs go into. Dropping it ends the input.
pub(crate) struct Feeder {
    handle: Arc<Handle>,
    function: String,
    shared: Arc<Shared>,
}

/// The end that outcomes come out of, each with the number of its input, counted from 0.
/// Dropping it makes the feeder stop.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    /// Outcomes that were taken out of the shared state together.
    taken: VecDeque<(u64, Outcome)>,
}

struct Shared {
    ordered: bool,
    /// How many items may be between the two ends.
    look_ahead: u64,
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
    input_ended: bool,
    reader_waits: bool,
    feeder_waits: bool,
    /// Nobody will take any more outcomes.
    abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feeder {
    /// Submits items, to be sent `chunk_size` together, as soon as there is room for them. False
    /// if they are not wanted.
    pub(crate) fn feed(&mut self, items: Items, chunk_size: u64) -> bool {
        let count = items.len();
        let bytes = items.bytes.len();
        let mut state = self.shared.lock();
        while state.items > 0
            && !state.input_ended
            && (state.items + count > self.shared.look_ahead
                || state.bytes + bytes > LOOK_AHEAD_BYTES)
        {
            state.feeder_waits = true;
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.input_ended {
            return false;
        }
        let first = state.submitted;
        state.submitted += count;
        state.items += count;
        state.bytes += bytes;
        drop(state);
        let ends = items.ends.clone();
        let concluded = ends.iter().map(|_| AtomicBool::new(false)).collect();
        let sink = ChunkSink { shared: Arc::clone(&self.shared), first, ends, concluded };
        let function = self.function.clone();
        let submission = Arc::new(Submission { function, items, sink: Arc::new(sink) });
        self.handle.send(Command::Submit { submission, chunk_size });
        true
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.lock().input_ended = true;
        self.shared.changed.notify_all();
    }
}

/// Ends the input of a stream from its other end; what was submitted goes on.
#[derive(Clone)]
pub(crate) struct InputStop(Arc<Shared>);

impl InputStop {
    pub(crate) fn stop(&self) {
        self.0.lock().input_ended = true;
        self.0.changed.notify_all();
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
}

impl Iterator for Stream {
    type Item = (u64, Outcome);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(outcome) = self.taken.pop_front() {
            return Some(outcome);
        }
        let mut state = self.shared.lock();
        loop {
            while let Some(Some(_)) = state.outcomes.front() {
                let outcome = state.outcomes.pop_front().flatten();
                state.next += 1;
                state.items -= 1;
                if let Some((_, Ok(value))) = &outcome {
                    state.bytes = state.bytes.saturating_sub(value.len());
                }
                self.taken.extend(outcome);
            }
            if !self.taken.is_empty() {
                if std::mem::take(&mut state.feeder_waits) {
                    self.shared.changed.notify_all();
                }
                return self.taken.pop_front();
            }
            if state.input_ended && state.items == 0 {
                return None;
            }
            state.reader_waits = true;
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.input_ended = true;
        state.outcomes.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Puts the outcomes of one chunk in their places.
struct ChunkSink {
    shared: Arc<Shared>,
    /// The input of its first item.
    first: u64,
    /// Where in its arguments each item ends.
    ends: Vec<usize>,
    /// Which items have their outcome.
    concluded: Vec<AtomicBool>,
}

impl ChunkSink {
    fn put(&self, item: u64, outcome: Outcome) {
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        let concluded = self.concluded.get(index);
        if concluded.is_none_or(|concluded| concluded.swap(true, Ordering::Relaxed)) {
            return;
        }
        let mut state = self.shared.lock();
        let input = self.first + item;
        let end = |index: usize| self.ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).map_or(0, end);
        state.bytes = state.bytes.saturating_sub(end(index).saturating_sub(start));
        if let Ok(value) = &outcome {
            state.bytes += value.len();
        }
        if state.abandoned {
            state.items = state.items.saturating_sub(1);
            return;
        }
        let ready = if self.shared.ordered {
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
            self.shared.changed.notify_all();
        }
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
    }
}
