//! What goes to the master.
//!
//! By the base rule each answer is written before the next item begins, so that it outlives
//! whatever that item does to this process. With a shared output that holds as soon as the answer
//! lies in memory that the master can see; it is written a little later, together with others.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use interprocess::local_socket::Stream;
use protocol::{
    envelope::{self, SendError},
    launch::EXIT_NORMAL,
    limits::HOLD_TIME,
    message::{FromWorker, SharedOutput},
};

use crate::{
    connection::{ServeError, is_gone},
    kept::Kept,
};

/// A buffer larger than this, in bytes, is given back after its use: 1 MiB, so that one large
/// result does not stay with an idle worker for ever.
pub(crate) const KEPT_CAPACITY: usize = 1 << 20;

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
            pace,
            broken: false,
        }
    }

    /// Keeps answers at this place from now on. A place that cannot be reached from here, as from
    /// inside a container, costs nothing but speed.
    pub(crate) fn share(&mut self, place: &SharedOutput) {
        match Kept::open(place, self.written) {
            Ok(kept) => self.kept = Some(kept),
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
        self.write_frame()
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
        match self.make_frame(&FromWorker::Result { id, item }, value)? {
            true => self.write_frame().map(Some),
            false => Ok(None),
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

    fn write_frame(&mut self) -> Result<Flow, ServeError> {
        flush_prints();
        let written = (&*self.socket).write_all(&self.frame);
        self.written += self.frame.len() as u64;
        if let Some(kept) = self.kept.as_mut().filter(|_| written.is_ok()) {
            kept.empty(self.written);
        }
        if self.frame.capacity() > KEPT_CAPACITY {
            self.frame = Vec::new();
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
