//! What has come from the master and was not handled yet.
//!
//! The serve loop takes frames out of it, one after another. While a function runs it can ask
//! whether its item was cancelled: then what the socket holds is read ahead of the loop, without
//! blocking, and kept. So a cancel is found in the middle of an item, and yet the loop comes to
//! every frame in its order. No thread is needed for that, and a function that does not ask pays
//! nothing.

use std::{
    cell::{Cell, Ref, RefCell},
    io::{self, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use interprocess::local_socket::{Stream, traits::Stream as _};
use protocol::{envelope, frame::Decoder, limits::MAX_FRAME, message::FromMaster};

use crate::{
    connection::{ServeError, is_gone},
    memory,
    output::Output,
};

#[cfg(test)]
mod tests;

/// Bytes that may wait here before no more are read ahead: 4 MiB. A master keeps less under way
/// at a worker whose item it may want to cancel, and what lies in the socket costs the worker
/// nothing.
const MAX_AHEAD: usize = 4 << 20;

/// How long the master has to be silent before large buffers are given back: 100 ms, in which
/// dozens of them could have been made anew, and nobody needs the memory more.
const IDLE: Duration = Duration::from_millis(100);

/// The bytes from the master: first those in the decoder, behind them those that were read ahead.
pub(crate) struct Inbox {
    socket: Arc<Stream>,
    /// Lent out while a frame is being handled.
    decoder: RefCell<Decoder>,
    ahead: RefCell<Ahead>,
    /// How many frames were taken since the socket was last read.
    frames: Cell<u32>,
    /// Reading ends after [`IDLE`] for now.
    is_timed: Cell<bool>,
}

/// What is known of the bytes that the serve loop has not come to.
struct Ahead {
    /// Those that follow the bytes of the decoder.
    bytes: Vec<u8>,
    /// How many bytes the decoder has got since the start of the connection.
    arrived: u64,
    /// Cuts the same stream into frames once more, to look for a cancel in them.
    scanner: Decoder,
    /// How many bytes the scanner has got or passed over, counted as `arrived` is.
    scanned: u64,
    /// The item in hand, if it was found to be cancelled; later one of those before it.
    cancelled: Option<Place>,
    sight: Sight,
}

/// The id of a call, and the number of an item in it.
type Place = (u64, u32);

/// How far looking ahead leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// More may come.
    Open,
    /// Something malformed is in the way. The serve loop will come to it.
    Blocked,
    /// The master is gone.
    End,
}

impl Inbox {
    pub(crate) fn new(socket: &Arc<Stream>) -> Self {
        Self {
            socket: Arc::clone(socket),
            decoder: RefCell::new(keeping_decoder()),
            frames: Cell::new(0),
            is_timed: Cell::new(false),
            ahead: RefCell::new(Ahead {
                bytes: Vec::new(),
                arrived: 0,
                scanner: decoder(),
                scanned: 0,
                cancelled: None,
                sight: Sight::Open,
            }),
        }
    }

    /// Waits until there is a frame; `false` if none will come, as the master is gone. What
    /// `output` keeps is written before it waits. When it waits for long, what is large is given
    /// back.
    pub(crate) fn wait_for_frame(&self, output: &RefCell<Output>) -> Result<bool, ServeError> {
        let mut decoder = self.decoder.borrow_mut();
        let mut ahead = self.ahead.borrow_mut();
        loop {
            if decoder.next_frame()?.is_some() {
                self.frames.set(self.frames.get().saturating_add(1));
                return Ok(true);
            }
            if !ahead.bytes.is_empty() {
                let bytes = std::mem::take(&mut ahead.bytes);
                decoder.push(&bytes);
                ahead.arrived += bytes.len() as u64;
                continue;
            }
            let is_large = decoder.is_large() || output.borrow().is_large() || memory::is_kept();
            self.set_timed(is_large);
            let Some(received) = self.receive(decoder.spare(), output)? else { return Ok(false) };
            match received {
                Ok(0) => {
                    decoder.finish()?;
                    log::info!("the master closed the connection");
                    return Ok(false);
                }
                Ok(count) => {
                    decoder.commit(count);
                    ahead.arrived += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    decoder.give_back();
                    output.borrow_mut().give_back();
                    memory::give_back();
                }
                Err(error) if is_gone(&error) => {
                    log::info!("the master is gone: {error}");
                    return Ok(false);
                }
                Err(error) => return Err(ServeError::Read(error)),
            }
        }
    }

    /// Reads once, and waits for it if need be: at first without going to sleep, for as long as the
    /// master thinks that it pays. `None` if the master was found to be gone while writing.
    fn receive(
        &self,
        spare: &mut [u8],
        output: &RefCell<Output>,
    ) -> Result<Option<io::Result<usize>>, ServeError> {
        let mut output = output.borrow_mut();
        let several = self.frames.replace(0) > 1;
        if output.flush_if_due()?.is_break() {
            return Ok(None);
        }
        // After one frame alone there is seldom another, and then it costs a call to find out.
        if output.keeps_something() && several {
            let received = receive_at_once(&self.socket, spare);
            if !would_block(&received) {
                return Ok(Some(received));
            }
        }
        if output.flush()?.is_break() {
            return Ok(None);
        }
        let patience = output.patience();
        if !patience.is_zero() {
            let began = now();
            while began.elapsed() < patience {
                let received = receive_at_once(&self.socket, spare);
                if !would_block(&received) {
                    return Ok(Some(received));
                }
                std::hint::spin_loop();
            }
        }
        Ok(Some((&*self.socket).read(spare)))
    }

    /// Has reading end after a while, or not, which costs nothing as long as it stays the same.
    fn set_timed(&self, timed: bool) {
        if self.is_timed.replace(timed) != timed
            && let Err(error) = self.socket.set_recv_timeout(timed.then_some(IDLE))
        {
            log::debug!("cannot limit how long to wait: {error}");
        }
    }

    /// The frame that [`Self::wait_for_frame`] has found.
    pub(crate) fn frame(&self) -> Ref<'_, [u8]> {
        Ref::map(self.decoder.borrow(), Decoder::last_frame)
    }

    /// Whether the master has cancelled the item in hand, or is gone itself. It looks as far as
    /// it can without waiting.
    pub(crate) fn is_cancelled(&self, id: u64, item: u32) -> bool {
        let decoder = self.decoder.borrow();
        let mut ahead = self.ahead.borrow_mut();
        let in_hand = (id, item);
        if ahead.cancelled != Some(in_hand) && ahead.sight == Sight::Open {
            ahead.look(&self.socket, decoder.rest(), in_hand);
        }
        ahead.cancelled == Some(in_hand) || ahead.sight == Sight::End
    }
}

impl Ahead {
    /// Reads on and looks at every frame that has come. `rest` is what the decoder holds behind
    /// the frame that is being handled.
    fn look(&mut self, socket: &Stream, rest: &[u8], in_hand: Place) {
        self.catch_up(rest);
        self.scan(in_hand);
        while self.sight == Sight::Open && rest.len() + self.bytes.len() < MAX_AHEAD {
            let spare = self.scanner.spare();
            match receive_at_once(socket, spare) {
                Ok(0) => self.sight = Sight::End,
                Ok(count) => {
                    self.bytes.extend_from_slice(&spare[..count.min(spare.len())]);
                    self.scanner.commit(count);
                    self.scanned += count as u64;
                    self.scan(in_hand);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::debug!("the connection broke in the middle of a call: {error}");
                    self.sight = Sight::End;
                }
            }
        }
    }

    /// Gives the scanner what the decoder holds. What was handled since the scanner last looked
    /// is passed over: a master does not cancel an item before the one before it is answered.
    fn catch_up(&mut self, rest: &[u8]) {
        let handled = self.arrived - rest.len() as u64;
        if self.scanned < handled {
            // Between two frames it can go on as it is, with its buffer.
            if self.scanner.buffered() > 0 {
                self.scanner = decoder();
            }
            self.scanned = handled;
        }
        let known = usize::try_from(self.scanned - handled).unwrap_or(usize::MAX);
        if let Some(unknown) = rest.get(known..) {
            self.scanner.push(unknown);
            self.scanned += unknown.len() as u64;
        }
    }

    fn scan(&mut self, in_hand: Place) {
        loop {
            match self.scanner.next_frame().map(|body| body.map(cancelled_item)) {
                Ok(None) => return,
                Ok(Some(Ok(place))) if place == Some(in_hand) => self.cancelled = place,
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_))) | Err(_) => {
                    self.sight = Sight::Blocked;
                    return;
                }
            }
        }
    }
}

/// The item that a frame cancels, if it does.
fn cancelled_item(body: &[u8]) -> Result<Option<Place>, envelope::EnvelopeError> {
    let (message, payload) = envelope::open::<FromMaster<'_>>(body)?;
    let FromMaster::Cancel { id, item } = message else { return Ok(None) };
    envelope::check_master_payload(&message, payload)?;
    Ok(Some((id, item)))
}

/// The limit for strangers is not for the master, whose address came with the launch: the
/// arguments of an initializer may well be larger.
const fn decoder() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder
}

/// As [`decoder`], with large buffers kept as long as they are used.
const fn keeping_decoder() -> Decoder {
    let mut decoder = decoder();
    decoder.keep_large();
    decoder
}

fn would_block(received: &io::Result<usize>) -> bool {
    received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[expect(clippy::disallowed_methods, reason = "how soon it goes to sleep depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// Reads what is there, and does not wait for more.
#[cfg(unix)]
fn receive_at_once(socket: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
    use rustix::net::{RecvFlags, recv};
    let Stream::UdSocket(socket) = socket;
    let (_, count) = recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Nothing can be read so elsewhere; the feature is not offered there.
#[cfg(not(unix))]
fn receive_at_once(_: &Stream, _: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}
