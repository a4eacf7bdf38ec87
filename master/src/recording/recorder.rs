//! Makes recordings.
//!
//! Whoever drives a pool only appends to a buffer, and a thread writes it, piece by piece. If the
//! file takes no piece for a second while there is no room, or writing fails, the recording ends
//! there, and the pool goes on: results are worth more than a recording of them.

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

/// What is written at a time, so that a slow file is seen to take something: 1 MiB. A buffer that
/// has grown beyond that is not kept.
const PIECE: usize = 1 << 20;

/// Where a pool is recorded, by [`PoolBuilder::record`](crate::PoolBuilder::record); see
/// [`crate::recording`] for what becomes of it.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

/// A recording that could not be written to its end. What was written before can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recording ends early: {0}")]
pub struct RecordError(String);

type Output = Box<dyn Write + Send>;

struct Shared {
    began: Instant,
    /// A pool is recorded here, or was.
    taken: AtomicBool,
    /// What is written to, until a pool begins.
    output: Mutex<Option<Output>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be written.
    waiting: Vec<u8>,
    /// Bytes that the thread has taken to write them, and has not written.
    in_hand: usize,
    /// All bytes that were written.
    written: u64,
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
    /// If the file cannot be made or written.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::to(File::create(path)?)
    }

    /// Records to whatever can be written to, from a thread of its own as soon as there is a pool.
    ///
    /// ```
    /// use master::recording::Recorder;
    ///
    /// let recorder = Recorder::to(Vec::new())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn to(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let mut header = Vec::new();
        write_header(since_1970(), &mut header);
        output.write_all(&header)?;
        output.flush()?;
        Ok(Self(Arc::new(Shared {
            began: now(),
            taken: AtomicBool::new(false),
            output: Mutex::new(Some(Box::new(output))),
            state: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    /// Waits until the pool has ended and everything is written.
    ///
    /// # Errors
    /// [`RecordError`] if the recording had to end before.
    pub fn finish(&self) -> Result<(), RecordError> {
        self.wait(None).unwrap_or(Ok(()))
    }

    /// As [`Self::finish`]; `None` as soon as nothing was written for so long.
    pub(crate) fn finish_while_written(
        &self,
        patience: Duration,
    ) -> Option<Result<(), RecordError>> {
        self.wait(Some(patience))
    }

    fn wait(&self, patience: Option<Duration>) -> Option<Result<(), RecordError>> {
        // Of a pool that never was there is nothing to come.
        let is_over = |state: &State| {
            let has_failed = state.ended && state.problem.is_some();
            !self.0.taken.load(Ordering::Relaxed) || state.finished || has_failed
        };
        let state = self.0.wait_while_written(self.0.lock(), patience, is_over);
        is_over(&state).then(|| state.problem.clone().map_or(Ok(()), Err))
    }

    /// Begins to record a pool, which can be done once.
    pub(crate) fn begin(&self) -> Result<Arc<Tape>, Error> {
        if self.0.taken.swap(true, Ordering::Relaxed) {
            let text = "a recorder is for one pool: another needs one of its own";
            return Err(Error::InvalidArgument(text.into()));
        }
        let tape = Arc::new(Tape(Arc::clone(&self.0)));
        let output = self.0.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = Writer(Arc::clone(&self.0));
        let thread = std::thread::Builder::new().name("master-recording".into());
        thread
            .spawn(move || writer.write_all(output.unwrap_or_else(|| Box::new(io::sink()))))
            .map_err(|error| Error::Setup(format!("no thread for the recording: {error}")))?;
        Ok(tape)
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
        if !state.has_room(size) {
            state = self.wait_while_written(state, Some(PATIENCE), |state| state.has_room(size));
            if !state.has_room(size) {
                state.fail(format!("nothing could be written to it for {} s", PATIENCE.as_secs()));
            }
        }
        if state.problem.is_some() {
            return;
        }
        write(at, &mut state.waiting);
        let is_idle = state.in_hand == 0;
        drop(state);
        if is_idle {
            self.changed.notify_all();
        }
    }

    /// Waits until it is so; in vain if nothing was written for so long.
    fn wait_while_written<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        patience: Option<Duration>,
        reached: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let mut deadline = Deadline::after(patience);
        let mut written = state.written;
        while !reached(&state) && !deadline.is_over() {
            state = deadline.wait(&self.changed, state);
            if state.written > written {
                written = state.written;
                deadline = Deadline::after(patience);
            }
        }
        state
    }
}

/// What the thread does. However it ends, nobody waits for it any more.
struct Writer(Arc<Shared>);

impl Writer {
    fn write_all(&self, mut output: Output) {
        let mut bytes = Vec::new();
        while self.take(&mut bytes) {
            let written = bytes.chunks(PIECE).try_for_each(|piece| {
                output.write_all(piece)?;
                self.note_written(piece.len());
                Ok(())
            });
            if let Err(error) = written.and_then(|()| output.flush()) {
                self.0.lock().fail(error.to_string());
            }
            bytes.clear();
            if bytes.capacity() > PIECE {
                bytes = Vec::new();
            }
        }
    }

    /// Waits for something to write. False if nothing more is to come.
    fn take(&self, bytes: &mut Vec<u8>) -> bool {
        let mut state = self.0.lock();
        state.in_hand = 0;
        while state.waiting.is_empty() || state.problem.is_some() {
            if state.ended {
                return false;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(bytes, &mut state.waiting);
        state.in_hand = bytes.len();
        true
    }

    fn note_written(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.in_hand = state.in_hand.saturating_sub(bytes);
        state.written += bytes as u64;
        drop(state);
        // There may be room again.
        self.0.changed.notify_all();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if std::thread::panicking() {
            state.fail("what writes it has panicked".into());
        }
        state.finished = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl State {
    /// Whether so many bytes may wait too. What is alone may be of any size, and what is not
    /// recorded any more takes no room.
    fn has_room(&self, size: usize) -> bool {
        let waiting = self.waiting.len() + self.in_hand;
        waiting == 0 || size.saturating_add(waiting) <= MAX_WAITING || self.problem.is_some()
    }

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
        assert_eq!(recorder.finish_while_written(Duration::from_millis(1)), None);
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
        drop(tape);
        // It still takes nothing, and nobody waits for it.
        let error = recorder.finish().unwrap_err();
        assert!(error.to_string().contains("nothing could be written to it for 1 s"));
        drop(gate);
    }

    /// Takes a piece when it is told to.
    struct Slow(Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Nobody tells it any more at the end.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_is_slow_is_waited_for() {
        let (sender, receiver) = channel();
        // The header.
        sender.send(()).unwrap();
        let recorder = Recorder::to(Slow(receiver)).unwrap();
        let tape = recorder.begin().unwrap();
        let frame = vec![0xc0; MAX_WAITING];
        tape.heard(0, &frame);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| tape.heard(0, &frame));
            let quarter = PATIENCE / 4;
            let mut pieces = 0;
            // In all it takes longer than the patience, as it takes a piece now and then.
            while !second.is_finished() {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "that it takes long is what is tested"
                )]
                std::thread::sleep(if pieces < 8 { quarter } else { Duration::ZERO });
                sender.send(()).unwrap();
                pieces += 1;
            }
        });
        drop(sender);
        drop(tape);
        assert_eq!(recorder.finish(), Ok(()));
    }

    /// Tells when it is dropped, and panics when something is written behind the header.
    struct Fragile(Sender<&'static str>, bool);

    impl Write for Fragile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(!std::mem::replace(&mut self.1, true), "this cannot be written to");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    #[test]
    fn a_panic_of_the_output_ends_the_recording() {
        let recorder = Recorder::to(Fragile(channel().0, false)).unwrap();
        let tape = recorder.begin().unwrap();
        tape.heard(0, b"\x81\xa5ready\x80");
        drop(tape);
        assert!(recorder.finish().unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn a_recorder_without_a_pool_lets_go_of_its_output() {
        let (sender, receiver) = channel();
        drop(Recorder::to(Fragile(sender, false)).unwrap());
        assert_eq!(receiver.recv(), Ok("dropped"));
    }
}
