//! Makes recordings.
//!
//! Whoever drives a pool only appends to a buffer, and a thread writes it. If the file takes
//! nothing for a second while the buffer is full, or writing fails, the recording ends there, and
//! the pool goes on: results are worth more than a recording of them.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Direction, Entry, Record,
    format::{write_frame, write_header},
    hello,
};
use crate::{
    deadline::Deadline,
    driver::{now, since_1970},
    error::Error,
    report::Exit,
};

/// Bytes that may wait to be written: 64 MiB, or one frame. Beyond that the pool waits too.
const MAX_WAITING: usize = 64 << 20;

/// How long the pool waits for a file that takes nothing: as long as for whoever does not take
/// what workers print.
const PATIENCE: Duration = Duration::from_secs(1);

/// A buffer that has grown beyond that is not kept: 1 MiB.
const KEPT_CAPACITY: usize = 1 << 20;

/// Where a pool is recorded, by [`PoolBuilder::record`](crate::PoolBuilder::record); see
/// [`crate::recording`] for what becomes of it.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

/// A recording that could not be written to its end. What was written before can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recording ends early: {0}")]
pub struct RecordError(String);

struct Shared {
    began: Instant,
    /// A pool is recorded here, or was.
    taken: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be written.
    waiting: Vec<u8>,
    /// The thread has some of it in hand.
    writing: bool,
    /// Nothing more is to come.
    ended: bool,
    /// Everything is written, or nothing more will be.
    finished: bool,
    problem: Option<RecordError>,
}

impl Recorder {
    /// Makes the file anew, and writes the header to it.
    ///
    /// # Errors
    /// If the file cannot be made or written, or there can be no thread.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::to(File::create(path)?)
    }

    /// Records to whatever can be written to, from a thread of its own.
    ///
    /// ```
    /// use master::recording::Recorder;
    ///
    /// let recorder = Recorder::to(Vec::new())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the header cannot be written, or there can be no thread.
    pub fn to(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let mut header = Vec::new();
        write_header(since_1970(), &mut header);
        output.write_all(&header)?;
        output.flush()?;
        let shared = Arc::new(Shared {
            began: now(),
            taken: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("master-recording".into());
        thread.spawn(move || writer.write_all(output))?;
        Ok(Self(shared))
    }

    /// Waits until the pool has ended and everything is written.
    ///
    /// # Errors
    /// [`RecordError`] if the recording had to end before.
    pub fn finish(&self) -> Result<(), RecordError> {
        self.wait(None).unwrap_or(Ok(()))
    }

    /// As [`Self::finish`], for so long at the most; `None` if that is not enough.
    pub(crate) fn finish_within(&self, timeout: Duration) -> Option<Result<(), RecordError>> {
        self.wait(Some(timeout))
    }

    fn wait(&self, timeout: Option<Duration>) -> Option<Result<(), RecordError>> {
        let deadline = Deadline::after(timeout);
        let mut state = self.0.lock();
        // Of a pool that never was there is nothing to come.
        while self.0.taken.load(Ordering::Relaxed) && !state.finished {
            if deadline.is_over() {
                return None;
            }
            state = deadline.wait(&self.0.changed, state);
        }
        Some(state.problem.clone().map_or(Ok(()), Err))
    }

    /// Begins to record a pool, which can be done once.
    pub(crate) fn begin(&self) -> Result<Arc<Tape>, Error> {
        if self.0.taken.swap(true, Ordering::Relaxed) {
            let text = "a recorder is for one pool: another needs one of its own";
            return Err(Error::InvalidArgument(text.into()));
        }
        Ok(Arc::new(Tape(Arc::clone(&self.0))))
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what has about so many bytes, if the recording still goes on.
    fn append(&self, size: usize, write: impl FnOnce(Duration, &mut Vec<u8>)) {
        let at = now().saturating_duration_since(self.began);
        let mut state = self.lock();
        if size.saturating_add(state.waiting.len()) > MAX_WAITING {
            state = self.wait_for_room(state, size);
        }
        if state.problem.is_some() {
            return;
        }
        write(at, &mut state.waiting);
        let is_idle = !state.writing;
        drop(state);
        if is_idle {
            self.changed.notify_all();
        }
    }

    fn wait_for_room<'a>(
        &self,
        state: MutexGuard<'a, State>,
        size: usize,
    ) -> MutexGuard<'a, State> {
        let is_full = |state: &mut State| {
            let waiting = state.waiting.len();
            let too_much = waiting > 0 && size.saturating_add(waiting) > MAX_WAITING;
            too_much && state.problem.is_none()
        };
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_full);
        let (mut state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() && is_full(&mut state) {
            state.fail(format!("nothing could be written to it for {} s", PATIENCE.as_secs()));
        }
        state
    }

    /// What the thread does.
    fn write_all(&self, mut output: impl Write) {
        let mut bytes = Vec::new();
        let mut state = self.lock();
        loop {
            state.writing = false;
            if state.waiting.is_empty() || state.problem.is_some() {
                if state.ended {
                    break;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            std::mem::swap(&mut bytes, &mut state.waiting);
            state.writing = true;
            drop(state);
            // There is room again.
            self.changed.notify_all();
            let written = output.write_all(&bytes).and_then(|()| output.flush());
            bytes.clear();
            if bytes.capacity() > KEPT_CAPACITY {
                bytes = Vec::new();
            }
            state = self.lock();
            if let Err(error) = written {
                state.fail(error.to_string());
            }
        }
        state.finished = true;
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn fail(&mut self, problem: String) {
        self.waiting = Vec::new();
        if self.problem.is_none() {
            let error = RecordError(problem);
            log::error!("{error}");
            self.problem = Some(error);
        }
    }
}

/// The recording of one pool that runs. It ends when this is dropped.
pub(crate) struct Tape(Arc<Shared>);

impl Tape {
    fn add(&self, record: Record<'_>) {
        self.0.append(0, |at, out| Entry { at, record }.write(out));
    }

    pub(crate) fn started(&self, worker: u64, slot: u32, pid: u32, command: &str) {
        self.add(Record::Started { worker, slot, pid, command });
    }

    pub(crate) fn not_started(&self, worker: u64, slot: u32, command: &str, reason: &str) {
        self.add(Record::NotStarted { worker, slot, command, reason });
    }

    pub(crate) fn ended(&self, worker: u64, exit: Option<Exit>) {
        self.add(Record::Ended { worker, exit });
    }

    /// A frame has come. A hello is recorded without its token.
    pub(crate) fn heard(&self, worker: u64, body: &[u8]) {
        let changed = hello::without_token(body);
        let body = changed.as_deref().unwrap_or(body);
        self.0.append(body.len(), |at, out| {
            write_frame(out, at, worker, Direction::FromWorker, &[body]);
        });
    }

    /// What came behind the last whole frame, if anything did.
    pub(crate) fn heard_rest(&self, worker: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            let bytes = hello::rest_without_token(bytes);
            self.0.append(bytes.len(), |at, out| {
                Entry { at, record: Record::Rest { worker, bytes } }.write(out);
            });
        }
    }

    fn said(&self, worker: u64, pieces: &[&[u8]]) {
        let size = pieces.iter().map(|piece| piece.len()).sum();
        self.0.append(size, |at, out| {
            write_frame(out, at, worker, Direction::ToWorker, pieces);
        });
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        // Who ends in a panic has not said everything.
        if !std::thread::panicking() {
            self.add(Record::End);
        }
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Where a connection tells what is sent to its worker.
pub(crate) struct Tap {
    tape: Arc<Tape>,
    worker: u64,
}

impl Tap {
    pub(crate) const fn new(tape: Arc<Tape>, worker: u64) -> Self {
        Self { tape, worker }
    }

    /// A frame, its length included; the rest of its payload may lie elsewhere.
    pub(crate) fn said(&self, frame: &[u8], payload: &[u8]) {
        let body = frame.get(protocol::limits::LENGTH_BYTES..).unwrap_or_default();
        self.tape.said(self.worker, &[body, payload]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes the header, and then waits until it is told to go on, or fails.
    struct Gate(Option<Receiver<io::Result<()>>>, bool);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, true)
                && let Some(gate) = &self.0
            {
                gate.recv().unwrap_or(Ok(()))?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Recorder, Arc<Tape>, Sender<io::Result<()>>) {
        let (sender, receiver) = channel();
        let recorder = Recorder::to(Gate(Some(receiver), false)).unwrap();
        let tape = recorder.begin().unwrap();
        (recorder, tape, sender)
    }

    #[test]
    fn a_recorder_is_for_one_pool() {
        let recorder = Recorder::to(Vec::new()).unwrap();
        assert_eq!(recorder.finish(), Ok(()), "there is no pool to wait for");
        let tape = recorder.begin().unwrap();
        assert!(matches!(recorder.begin(), Err(Error::InvalidArgument(_))));
        assert_eq!(recorder.finish_within(Duration::from_millis(1)), None);
        drop(tape);
        assert_eq!(recorder.finish(), Ok(()));
    }

    #[test]
    fn an_error_ends_the_recording_and_is_kept() {
        let (recorder, tape, gate) = gated();
        tape.heard(0, b"\x81\xa5ready\x80");
        gate.send(Err(io::Error::other("the disk is full"))).unwrap();
        drop(tape);
        let error = recorder.finish().unwrap_err();
        assert!(error.to_string().contains("the disk is full"));
    }

    #[test]
    fn a_file_that_takes_nothing_holds_up_the_pool_for_a_second_and_once() {
        let (recorder, tape, gate) = gated();
        let frame = vec![0xc0; MAX_WAITING / 2 + 1];
        for _ in 0..10 {
            tape.heard(0, &frame);
        }
        assert!(tape.0.lock().problem.is_some());
        assert!(tape.0.lock().waiting.is_empty());
        drop((tape, gate));
        assert!(recorder.finish().is_err());
    }
}
