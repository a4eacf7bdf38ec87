//! Outcomes as they come, of inputs that are still being read.
//!
//! A [`Feeder`] submits, outcomes come out of a [`Stream`], and how much is on the way between
//! the two is bounded: the feeder waits while too many items, or too many bytes, have been
//! submitted and not been taken.

mod outcomes;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use self::outcomes::{Block, Outcomes};

use crate::{
    batch::{Items, Sink, Submission, Values, fresh_id},
    deadline::Deadline,
    driver::{Command, Handle, Observer, Source},
    error::Error,
};

/// How many items of an `imap` may be on their way between input and output: submitted, and their
/// outcome not yet taken. It hides the time of some slow items among many short ones.
pub(crate) const LOOK_AHEAD_ITEMS: u64 = 4096;

/// The same for the lines of `master map`, of which there are ten in a microsecond: what five
/// threads and processes do while they wait for a CPU each in turn.
pub(crate) const LOOK_AHEAD_LINES: u64 = 32 << 10;

/// How many bytes may be on their way between input and output, arguments and results together:
/// 64 MiB. How large results are is not known before they come, so the number of items follows
/// the size of those that have come.
pub(crate) const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// So many outcomes are given out before that is told to the other end, at the most, however large
/// the look-ahead is.
const MAX_GIVEN_TOGETHER: u64 = 256;

/// The encoded value of an item, or why there is none.
pub(crate) type Outcome<'a> = Result<&'a [u8], Error>;

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
    /// So many outcomes are given out before that is told to the other end. Until then they count as
    /// being on their way.
    fn given_together(&self) -> u64 {
        (self.look_ahead / 16).clamp(1, MAX_GIVEN_TOGETHER)
    }
}

/// Makes both ends. `open` lives as long as inputs may come.
pub(crate) fn stream(
    handle: Arc<Handle>,
    open: Box<dyn Send>,
    function: String,
    options: StreamOptions,
) -> (Feeder, Stream) {
    let outcomes = Outcomes::new(options.ordered);
    let state = State { open: Some(open), outcomes, ..State::default() };
    let shared = Arc::new(Shared {
        id: fresh_id(),
        function,
        options,
        state: Mutex::new(state),
        has_come: Condvar::new(),
        has_room: Condvar::new(),
    });
    let observer: Arc<dyn Observer> = Arc::clone(&shared) as _;
    handle.observe(&observer);
    let stream = Stream {
        handle: Arc::clone(&handle),
        shared: Arc::clone(&shared),
        block: Block::default(),
        given: 0,
        given_bytes: 0,
        last: None,
    };
    (Feeder { handle, shared, seen_room: 0 }, stream)
}

/// A result of more bytes than this is not small.
const SMALL: usize = 4 << 10;

/// The end that inputs go into. Dropping it ends the input.
pub(crate) struct Feeder {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    /// So many more items may be submitted without a look at how many are on their way.
    seen_room: u64,
}

/// The end that outcomes come out of, each with the number of its input, counted from 0.
/// Dropping it makes the feeder stop, and withdraws what was not begun.
pub(crate) struct Stream {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    /// Outcomes that were taken out of the shared state together.
    block: Block,
    /// How many outcomes, and how many bytes of them, were given out without the other end being told.
    given: u64,
    given_bytes: usize,
    /// What is to be told last.
    last: Option<(u64, Error)>,
}

struct Shared {
    /// The number of the stream, by which its submissions are known to be of one job.
    id: u64,
    function: String,
    options: StreamOptions,
    state: Mutex<State>,
    /// There may be an outcome for the reader, or the end.
    has_come: Condvar,
    /// There may be room for the feeder, or nothing more is wanted.
    has_room: Condvar,
}

#[derive(Default)]
struct State {
    /// Items that are submitted and that the supervisor has not taken.
    fed: Items,
    /// How many of them are to be sent together; `None` if that is left to the pool.
    chunk_size: Option<u64>,
    /// Outcomes that came and were not taken.
    outcomes: Outcomes,
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
    /// The feeder waits for room for so many items.
    feeder_waits: Option<u64>,
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
        limit.saturating_sub(state.items)
    }

    /// Whether the feeder, which wants to submit so many items, is to do so, after it has waited or
    /// without.
    fn is_room_for(&self, state: &State, wanted: u64, has_waited: bool) -> bool {
        let room = self.room(state);
        let all = state.items + room;
        // Waiting for a part of all keeps the two ends from waking each other for each item.
        let fair = wanted.min(all / 4).max(if has_waited { all / 8 } else { 1 }).max(1);
        room >= fair || state.items == 0
    }

    /// Puts outcomes where they belong.
    fn put(&self, block: Block, arguments_size: usize) {
        let mut state = self.lock();
        let before = (state.bytes >= LOOK_AHEAD_BYTES, state.result_size);
        state.bytes = state.bytes.saturating_sub(arguments_size);
        let count = block.len();
        if state.abandoned {
            state.items = state.items.saturating_sub(count);
            return;
        }
        let size = block.bytes();
        state.bytes += size;
        if !block.is_error() {
            let size = (size / usize::try_from(count).unwrap_or(1).max(1)).max(1);
            // A larger size counts at once, a smaller one by and by.
            state.result_size = size.max((state.result_size.saturating_mul(7) + size) / 8);
        }
        let ready = state.outcomes.put(block);
        if ready && std::mem::take(&mut state.reader_waits) {
            self.has_come.notify_one();
        }
        // There is more room when arguments are not needed any more, and when the size of results is
        // known, also if nobody takes any for now.
        if before != (state.bytes >= LOOK_AHEAD_BYTES, state.result_size) {
            self.wake_feeder(&mut state);
        }
    }

    /// Wakes the feeder if there is room for what it waits with.
    fn wake_feeder(&self, state: &mut State) {
        if state.feeder_waits.is_some_and(|wanted| self.is_room_for(state, wanted, true)) {
            state.feeder_waits = None;
            self.has_room.notify_one();
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
        self.notify_both();
    }

    fn notify_both(&self) {
        self.has_come.notify_one();
        self.has_room.notify_one();
    }
}

impl Observer for Shared {
    fn pool_has_changed(&self) {
        // Taken, so that whoever is about to wait has looked or will be woken.
        drop(self.lock());
        self.notify_both();
    }

    fn pool_is_over(&self, error: &Error) {
        self.end_input(Some(error));
    }
}

impl Feeder {
    /// Waits until `wanted` items may be submitted, or a fair part of all that may be on their
    /// way, and tells how many; `None` if no more are wanted.
    pub(crate) fn wait_for_room(&mut self, wanted: u64) -> Option<u64> {
        if self.seen_room >= wanted {
            return Some(self.seen_room);
        }
        let mut state = self.shared.lock();
        let mut has_waited = false;
        loop {
            if state.input_ended {
                return None;
            }
            if self.shared.is_room_for(&state, wanted, has_waited) {
                let room = self.shared.room(&state);
                // What is seen is used up without another look, unless results may be large.
                self.seen_room = if state.result_size > SMALL { 0 } else { room / 4 };
                return Some(room.max(1));
            }
            has_waited = true;
            state.feeder_waits = Some(wanted);
            state = self.shared.has_room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether more inputs are wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.shared.lock().input_ended
    }

    /// Submits items, to be sent `chunk_size` together, together with those that the supervisor has
    /// not taken yet. False if no more are wanted.
    pub(crate) fn feed(&mut self, items: Items, chunk_size: Option<u64>) -> bool {
        let count = items.len();
        self.seen_room = self.seen_room.saturating_sub(count);
        let mut state = self.shared.lock();
        if state.input_ended {
            self.seen_room = 0;
            return false;
        }
        state.submitted += count;
        state.items += count;
        state.bytes += items.bytes.len();
        if state.bytes >= LOOK_AHEAD_BYTES {
            // However small the results are.
            self.seen_room = 0;
        }
        state.chunk_size = chunk_size;
        let is_first = state.fed.len() == 0;
        state.fed.append(items);
        drop(state);
        if is_first {
            let source: Arc<dyn Source> = Arc::clone(&self.shared) as _;
            self.handle.send(Command::Feed { source });
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
            // Those before it are of a submission of their own, so that its place is left out.
            let (shared, before) =
                (Arc::clone(&self.shared), state.submission(&self.shared, input));
            drop(state);
            if let Some((submission, chunk_size)) = before {
                let batch = submission.id;
                self.handle.send(Command::Submit { submission, chunk_size });
                if shared.lock().abandoned {
                    // Whoever was to take the outcomes may have withdrawn it before it was there.
                    self.handle.send(Command::Withdraw { batch });
                }
            }
            shared.put(Block::of_error(input..input + 1, error), 0);
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

impl State {
    /// Makes a submission of the items that the supervisor has not taken, the last of which comes
    /// before input `end`. Tells how many of them are to be sent together.
    fn submission(
        &mut self,
        shared: &Arc<Shared>,
        end: u64,
    ) -> Option<(Arc<Submission>, Option<u64>)> {
        let items = std::mem::take(&mut self.fed);
        if items.len() == 0 {
            return None;
        }
        let first = end - items.len();
        let ends = items.ends.clone();
        let concluded = ends.iter().map(|_| AtomicBool::new(false)).collect();
        let shared_end = Arc::clone(shared);
        let sink = ChunkSink {
            shared: shared_end,
            first,
            ends,
            concluded,
            batch: OnceLock::new(),
            held: Mutex::default(),
        };
        let sink = Arc::new(sink);
        let function = shared.function.clone();
        let submission = Submission::of_stream(shared.id, function, items, Arc::clone(&sink) as _);
        self.open_batches.insert(*sink.batch.get_or_init(|| submission.id));
        Some((Arc::new(submission), self.chunk_size))
    }
}

impl Source for Shared {
    fn take(self: Arc<Self>) -> Option<(Arc<Submission>, Option<u64>)> {
        let mut state = self.lock();
        if state.abandoned {
            state.fed = Items::default();
            return None;
        }
        let end = state.submitted;
        state.submission(&self, end)
    }

    fn refuse(self: Arc<Self>, error: &Error) {
        if let Some((submission, _)) = Arc::clone(&self).take() {
            submission.sink.ended(0..submission.items.len(), error);
        }
    }
}

impl Stream {
    pub(crate) fn input_stop(&self) -> InputStop {
        InputStop(Arc::clone(&self.shared))
    }

    /// Whether the next outcome, or the end, has come, so that [`Self::next`] does not wait.
    pub(crate) fn has_come(&mut self) -> bool {
        !self.block.is_empty() || self.last.is_some() || self.look(Some(Duration::ZERO)).is_ok()
    }

    /// Waits for the next outcome. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(u64, Outcome<'_>)> {
        self.next_within(None).ok().flatten()
    }

    /// The next outcome, if it comes within `timeout`. `None` at the end.
    ///
    /// # Errors
    /// [`Error::NotReady`] if the time is over; nothing is lost.
    pub(crate) fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(u64, Outcome<'_>)>, Error> {
        if self.block.is_empty() || self.given >= self.shared.options.given_together() {
            self.look(timeout)?;
        }
        if self.block.is_empty() {
            return Ok(self.last.take().map(|(input, error)| (input, Err(error))));
        }
        let (input, outcome) = self.block.take_first();
        self.given += 1;
        self.given_bytes += outcome.as_ref().map_or(0, |value| value.len());
        Ok(Some((input, outcome)))
    }

    /// Tells the other end what was given out, and waits for a block if none is at hand. There is
    /// none at the end.
    fn look(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let deadline = Deadline::after(timeout);
        let mut state = self.shared.lock();
        state.items = state.items.saturating_sub(std::mem::take(&mut self.given));
        state.bytes = state.bytes.saturating_sub(std::mem::take(&mut self.given_bytes));
        self.shared.wake_feeder(&mut state);
        loop {
            if !self.block.is_empty() {
                return Ok(());
            }
            if let Some(block) = state.outcomes.take() {
                self.block = block;
                continue;
            }
            if state.input_ended && state.items == 0 {
                let input = state.submitted;
                self.last = state.cut_short.take().map(|error| (input, error)).or(self.last.take());
                return Ok(());
            }
            state.reader_waits = true;
            if deadline.is_over() {
                return Err(Error::NotReady(timeout.unwrap_or_default()));
            }
            state = deadline.wait(&self.shared.has_come, state);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.outcomes = Outcomes::default();
        state.fed = Items::default();
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
    /// What came in this round of the supervisor.
    held: Mutex<Block>,
}

impl ChunkSink {
    /// The size of the arguments of these items.
    fn arguments_size(&self, items: &Range<u64>) -> usize {
        let end = |item: u64| {
            let before = usize::try_from(item).unwrap_or(usize::MAX).checked_sub(1);
            before.and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
        };
        end(items.end).saturating_sub(end(items.start))
    }

    /// Notes that these items have their outcome.
    fn conclude(&self, items: &Range<u64>) {
        let range = usize::try_from(items.start).unwrap_or(usize::MAX)
            ..usize::try_from(items.end).unwrap_or(usize::MAX);
        for concluded in self.concluded.get(range).unwrap_or_default() {
            concluded.store(true, Ordering::Relaxed);
        }
    }

    fn held(&self) -> MutexGuard<'_, Block> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on a block.
    fn put(&self, block: Block) {
        if !block.is_empty() {
            let inputs = block.inputs();
            let items = inputs.start - self.first..inputs.end - self.first;
            self.shared.put(block, self.arguments_size(&items));
        }
    }

    fn inputs(&self, items: &Range<u64>) -> Range<u64> {
        self.first + items.start..self.first + items.end
    }
}

impl Sink for ChunkSink {
    fn completed(&self, first: u64, values: Values<'_>) {
        let items = first..first + values.len() as u64;
        self.conclude(&items);
        let mut held = self.held();
        if !held.extend(self.first + first, values) {
            let before =
                std::mem::replace(&mut *held, Block::of_values(self.first + first, values));
            drop(held);
            self.put(before);
        }
    }

    fn round_is_over(&self) {
        let held = std::mem::take(&mut *self.held());
        self.put(held);
    }

    fn ended(&self, items: Range<u64>, error: &Error) {
        self.conclude(&items);
        self.round_is_over();
        self.put(Block::of_error(self.inputs(&items), error.clone()));
    }

    fn abandoned(&self) {
        self.round_is_over();
        for (item, concluded) in (0..).zip(&self.concluded) {
            if !concluded.load(Ordering::Relaxed) {
                self.ended(item..item + 1, &Error::NotRunning);
            }
        }
        if let Some(batch) = self.batch.get() {
            self.shared.lock().open_batches.remove(batch);
        }
    }
}
