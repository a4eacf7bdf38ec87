//! What goes to the master.
//!
//! By the base rule each answer is written before the next item begins, so that it outlives
//! whatever that item does to this process. With a shared output that holds as soon as the answer
//! lies in memory that the master can see; it is written a little later, together with others.

use std::{
    io::{self, IoSlice, Write as _},
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use interprocess::local_socket::Stream;
use protocol::{
    envelope::{self, SendError},
    launch::EXIT_NORMAL,
    limits::HOLD_TIME,
    message::{FromWorker, SharedOutput, SharedRange},
};

use crate::{
    connection::{ServeError, is_gone},
    kept::Kept,
    result::{ResultBuffer, Room},
};

/// Values of more than this many bytes are written from where they lie: 16 KiB. Below that a copy
/// into the frame costs less.
const COPY_LIMIT: usize = 16 << 10;

/// A buffer for results that is larger than this, in bytes, is given back when the worker is idle:
/// 1 MiB, so that one large result does not stay with it for ever.
const KEPT_CAPACITY: usize = 1 << 20;

/// As large as a buffer for results may be that is used again, in bytes: 256 MiB, as for those that
/// calls come in.
const KEPT_AT_MOST: usize = 256 << 20;

/// So many results in a row that do not need a large buffer have it given back.
const SMALL_USES: u32 = 256;

/// How many answers may come between two looks at the clock, where they come quickly.
const ANSWERS_WITHOUT_CLOCK: u32 = 8;

/// Answers that come in less than this are quick: 20 us, at which pace a few of them do not come
/// near to the time that they may be kept for.
const QUICK: Duration = Duration::from_micros(20);

/// An answer that took this long is not kept: 250 us, beside which a write is nothing.
const SLOW: Duration = Duration::from_micros(250);

/// Whether the session goes on, or the status to exit with.
pub(crate) type Flow = ControlFlow<u8>;

/// The way to the master.
pub(crate) struct Output {
    socket: Arc<Stream>,
    /// Reused for every frame that is written by itself.
    frame: Vec<u8>,
    /// Bytes that were written since the connection began.
    written: u64,
    kept: Option<Kept>,
    /// Where large results go, if that was agreed on. Lent out while a function runs.
    room: Option<Box<Room>>,
    /// A large buffer for results, while large results keep coming and none is being made.
    large: Vec<u8>,
    /// Large arguments have come, for which memory may be kept elsewhere.
    strained: bool,
    /// How many results came since the last that needed it.
    small_uses: u32,
    pace: Pace,
    /// Nothing more can be written. What is kept stays where it is for the master to see.
    broken: bool,
}

/// When to look at the clock.
struct Pace {
    /// When the oldest answer was kept that is not written.
    oldest: Instant,
    looked: Instant,
    answers: u32,
    next_look: u32,
}

impl Output {
    pub(crate) fn new(socket: &Arc<Stream>) -> Self {
        let now = now();
        let pace = Pace { oldest: now, looked: now, answers: 0, next_look: 1 };
        Self {
            socket: Arc::clone(socket),
            frame: Vec::new(),
            written: 0,
            kept: None,
            room: None,
            large: Vec::new(),
            strained: false,
            small_uses: 0,
            pace,
            broken: false,
        }
    }

    /// Keeps answers at this place from now on. A place that cannot be reached from here, as from
    /// inside a container, costs nothing but speed.
    pub(crate) fn share(&mut self, place: &SharedOutput) {
        match Kept::open(place, self.written) {
            Ok(kept) => {
                self.kept = Some(kept);
                self.room = place.results.is_some().then(|| Box::new(Room::new(place)));
            }
            Err(error) => log::info!("the shared output cannot be used: {error}"),
        }
    }

    /// Writes a message at once, behind everything that is kept. An opaque payload too large for a
    /// frame is left out, and the log says so: the error itself matters more.
    pub(crate) fn send(
        &mut self,
        message: &FromWorker,
        payload: &[u8],
    ) -> Result<Flow, ServeError> {
        if let Flow::Break(status) = self.flush()? {
            return Ok(Flow::Break(status));
        }
        if !self.make_frame(message, payload)? {
            log::warn!("{} bytes of an error do not fit a frame and are left out", payload.len());
            self.make_frame(message, &[])?;
        }
        let flow = self.write_frame(&[]);
        // An error may bring much.
        self.frame.shrink_to(COPY_LIMIT);
        flow
    }

    /// Gives the value of an item; `None` if it is too large for a frame.
    pub(crate) fn answer(
        &mut self,
        id: u64,
        item: u32,
        value: &[u8],
    ) -> Result<Option<Flow>, ServeError> {
        // Once more with everything written, if there is no room.
        for _ in 0..2 {
            let Some(kept) = &mut self.kept else { break };
            let slow = kept.is_empty() && self.pace.begin();
            if kept.append(id, item, value) {
                let due = slow || self.pace.is_due();
                return Ok(Some(if due { self.flush()? } else { Flow::Continue(()) }));
            }
            if let Flow::Break(status) = self.flush()? {
                return Ok(Some(Flow::Break(status)));
            }
        }
        let message = FromWorker::Result { id, item };
        if value.len() <= COPY_LIMIT {
            return match self.make_frame(&message, value)? {
                true => self.write_frame(&[]).map(Some),
                false => Ok(None),
            };
        }
        self.frame.clear();
        match envelope::append_head(&mut self.frame, &message, value.len()) {
            Ok(()) => self.write_frame(value).map(Some),
            Err(SendError::TooLarge(_)) => Ok(None),
            Err(error) => Err(ServeError::Encode(error)),
        }
    }

    /// Tells that the value of an item lies in the shared output.
    pub(crate) fn answer_there(
        &mut self,
        id: u64,
        item: u32,
        place: SharedRange,
    ) -> Result<Flow, ServeError> {
        let SharedRange { offset, length } = place;
        self.send(&FromWorker::SharedResult { id, item, offset, length }, &[])
    }

    /// Lends what a function needs for its result, empty: a large buffer if one was put away, and
    /// the room for large results.
    pub(crate) fn lend(&mut self, result: &mut ResultBuffer) {
        result.clear();
        result.lend(self.room.take());
        if result.vector().capacity() == 0 {
            *result.vector() = self.large_buffer();
        }
    }

    /// Takes back what was lent, with the result in it that was written.
    pub(crate) fn put_away(&mut self, result: &mut ResultBuffer) {
        self.room = result.take_back();
        self.keep_if_large(result.vector());
    }

    /// Puts a buffer for results away if it is large.
    fn keep_if_large(&mut self, result: &mut Vec<u8>) {
        if result.capacity() <= KEPT_CAPACITY {
            return;
        }
        let is_needed = result.len() > KEPT_CAPACITY;
        self.small_uses = if is_needed { 0 } else { self.small_uses + 1 };
        self.large = std::mem::take(result);
        if self.small_uses == SMALL_USES || self.large.capacity() > KEPT_AT_MOST {
            self.large = Vec::new();
            self.small_uses = 0;
        }
    }

    /// An empty buffer for results, large if one was put away.
    fn large_buffer(&mut self) -> Vec<u8> {
        self.large.clear();
        std::mem::take(&mut self.large)
    }

    /// Whether it holds more memory than an idle worker should.
    pub(crate) fn is_large(&self) -> bool {
        self.strained
            || self.large.capacity() > 0
            || self.room.as_ref().is_some_and(|room| room.is_large())
    }

    /// Notes that arguments of so many bytes have come, which take as much where they are decoded.
    pub(crate) const fn note_arguments(&mut self, size: usize) {
        self.strained |= size > KEPT_CAPACITY;
    }

    /// Gives that back.
    pub(crate) fn give_back(&mut self) {
        self.strained = false;
        self.large = Vec::new();
        self.small_uses = 0;
        if let Some(room) = &mut self.room {
            room.give_back();
        }
    }

    pub(crate) fn keeps_something(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_empty())
    }

    /// How long to look for more to do before going to sleep, as the master says.
    pub(crate) fn patience(&self) -> Duration {
        self.kept.as_ref().map_or(Duration::ZERO, Kept::patience)
    }

    /// Writes what is kept: when nothing more is to be done for now, or when it is time.
    pub(crate) fn flush(&mut self) -> Result<Flow, ServeError> {
        if self.broken {
            return Ok(Flow::Break(EXIT_NORMAL));
        }
        let Some(kept) = self.kept.as_mut().filter(|kept| !kept.is_empty()) else {
            return Ok(Flow::Continue(()));
        };
        flush_prints();
        let frames = kept.close();
        let (count, written) = (frames.len(), (&*self.socket).write_all(frames));
        if written.is_ok() {
            self.written += count as u64;
            kept.empty(self.written);
        }
        self.conclude(written)
    }

    /// Writes what is kept if it has been for long enough.
    pub(crate) fn flush_if_due(&mut self) -> Result<Flow, ServeError> {
        if self.keeps_something() && self.pace.is_over() {
            return self.flush();
        }
        Ok(Flow::Continue(()))
    }

    fn conclude(&mut self, written: io::Result<()>) -> Result<Flow, ServeError> {
        self.broken |= written.is_err();
        match written {
            Ok(()) => Ok(Flow::Continue(())),
            Err(error) if is_gone(&error) => {
                log::info!("the master is gone: {error}");
                Ok(Flow::Break(EXIT_NORMAL))
            }
            Err(error) => Err(ServeError::Write(error)),
        }
    }

    /// Makes the frame to be written next; `false` if it would be too large.
    fn make_frame(&mut self, message: &FromWorker, payload: &[u8]) -> Result<bool, ServeError> {
        self.frame.clear();
        match envelope::append_frame(&mut self.frame, message, payload) {
            Ok(()) => Ok(true),
            Err(SendError::TooLarge(_)) => Ok(false),
            Err(error) => Err(ServeError::Encode(error)),
        }
    }

    /// Writes the frame that was made, and what belongs to it and lies elsewhere.
    fn write_frame(&mut self, rest: &[u8]) -> Result<Flow, ServeError> {
        flush_prints();
        let written = write_both(&self.socket, &self.frame, rest);
        self.written += (self.frame.len() + rest.len()) as u64;
        if let Some(kept) = self.kept.as_mut().filter(|_| written.is_ok()) {
            kept.empty(self.written);
        }
        self.conclude(written)
    }
}

/// What functions printed is on its way before their answers are.
fn flush_prints() {
    if let Err(error) = io::stdout().flush() {
        log::warn!("cannot write to standard output: {error}");
    }
}

/// Writes one behind the other, with as few system calls as there can be.
fn write_both(mut socket: &Stream, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < first.len() && !second.is_empty() {
        let rest = first.get(done..).unwrap_or_default();
        match socket.write_vectored(&[IoSlice::new(rest), IoSlice::new(second)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let rest = first.get(done..).unwrap_or_default();
    socket.write_all(rest)?;
    let of_second = done.saturating_sub(first.len());
    socket.write_all(second.get(of_second..).unwrap_or_default())
}

impl Pace {
    /// An answer is kept, and none is before it. Tells whether it took so long that it is not worth
    /// to keep it, as the next one may take as long.
    fn begin(&mut self) -> bool {
        let now = now();
        let slow = now.duration_since(self.looked) >= SLOW;
        *self = Self { oldest: now, looked: now, answers: 0, next_look: 1 };
        slow
    }

    /// Whether the oldest answer has been kept for long enough.
    fn is_over(&self) -> bool {
        now().duration_since(self.oldest) >= HOLD_TIME
    }

    /// The same, as far as it is looked at.
    fn is_due(&mut self) -> bool {
        self.answers += 1;
        if self.answers < self.next_look {
            return false;
        }
        let now = now();
        let quick = now.duration_since(self.looked) < QUICK * self.answers;
        (self.looked, self.answers) = (now, 0);
        self.next_look = if quick { ANSWERS_WITHOUT_CLOCK } else { 1 };
        now.duration_since(self.oldest) >= HOLD_TIME
    }
}

#[expect(clippy::disallowed_methods, reason = "how long answers are kept depends on it")]
fn now() -> Instant {
    Instant::now()
}
