//! Frames: an unsigned 32-bit big-endian length, then a body of so many bytes.
//!
//! [`Decoder`] cuts a stream into bodies, in whatever pieces the stream arrives. It holds no
//! socket: the owner reads into [`Decoder::spare`] and says how much came with
//! [`Decoder::commit`]. Memory grows with the bytes that have arrived, never with a length that
//! was only claimed.

use crate::limits::{LENGTH_BYTES, MAX_FRAME_BEFORE_WELCOME};

/// Bytes of room that a decoder offers to one read: 64 KiB, the size at which one more byte a read
/// no longer makes a socket faster.
const READ_SIZE: usize = 64 << 10;

/// The same until a read has filled that: 4 KiB, a page. Many connections never carry more at a
/// time, and to touch the memory for more takes a good part of what it takes to introduce oneself.
const FIRST_READ_SIZE: usize = 4 << 10;

/// A buffer larger than this, in bytes, is given back as soon as it is empty, unless the owner sees
/// to it: 1 MiB, so that one large frame does not stay with an idle connection for ever.
const KEPT_CAPACITY: usize = 1 << 20;

/// A buffer larger than this, in bytes, is given back in any case: 256 MiB. What is so large takes
/// much longer by itself than new memory for it.
const KEPT_AT_MOST: usize = 256 << 20;

/// An owner who sees to it keeps a large buffer over so many uses that would not have needed it:
/// as many small frames cost more than to grow it once more.
const SMALL_USES: u32 = 256;

/// Why a stream of frames cannot be read any further. The connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length claims more than the limit in force. Nothing was allocated for it.
    #[error("a frame claims {claimed} bytes, the limit is {limit}")]
    TooLarge {
        /// The length that the frame claims, in bytes.
        claimed: usize,
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The length is 0. A body holds at least an envelope.
    #[error("a frame claims 0 bytes, an envelope needs at least 1")]
    Empty,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame: {arrived} of {expected} bytes came")]
    EndInsideFrame {
        /// Bytes of the frame that arrived, its length field included.
        arrived: usize,
        /// Bytes of the whole frame, its length field included; of the length field alone while
        /// that is not complete.
        expected: usize,
    },
}

/// Cuts a stream of bytes into the bodies of frames.
///
/// ```
/// use protocol::frame::Decoder;
///
/// let mut decoder = Decoder::new();
/// for byte in [0, 0, 0, 2, 0x81, 0xc0] {
///     decoder.push(&[byte]);
/// }
/// assert_eq!(decoder.next_frame()?, Some(&[0x81, 0xc0][..]));
/// assert_eq!(decoder.next_frame()?, None);
/// decoder.finish()?;
/// # Ok::<(), protocol::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// `filled` bytes have arrived, of which those before `consumed` were handed out.
    buffer: Vec<u8>,
    consumed: usize,
    filled: usize,
    /// How long the body is that was handed out last, while its bytes still lie before
    /// `consumed`.
    last: usize,
    limit: usize,
    /// The owner gives large buffers back when the connection is idle.
    keeps: bool,
    /// How often the buffer was emptied since it held more than [`KEPT_CAPACITY`].
    small_uses: u32,
    /// The size of the largest frame for which the buffer grew that is gone: all of it has come.
    proven: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for the start of a connection: its limit is
    /// [`MAX_FRAME_BEFORE_WELCOME`].
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            consumed: 0,
            filled: 0,
            last: 0,
            limit: MAX_FRAME_BEFORE_WELCOME,
            keeps: false,
            small_uses: 0,
            proven: 0,
        }
    }

    /// Keeps large buffers from now on, while large frames keep coming. The owner looks at
    /// [`Self::is_large`] and calls [`Self::give_back`] when the connection is idle.
    pub const fn keep_large(&mut self) {
        self.keeps = true;
    }

    /// Whether it holds more memory than an idle connection should.
    pub const fn is_large(&self) -> bool {
        self.buffer.capacity() > KEPT_CAPACITY
    }

    /// Gives a large buffer back, if nothing is in it.
    pub fn give_back(&mut self) {
        if self.is_large() && self.consumed == self.filled {
            (self.consumed, self.filled, self.last) = (0, 0, 0);
            self.buffer = Vec::new();
        }
    }

    /// Sets the largest body to accept from now on, in bytes.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Appends bytes that have arrived.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare();
            let count = spare.len().min(bytes.len());
            spare[..count].copy_from_slice(&bytes[..count]);
            self.commit(count);
            bytes = &bytes[count..];
        }
    }

    /// Room to read into, never empty. What was read counts once it is committed.
    pub fn spare(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.buffer[self.filled..]
    }

    /// Says that the first `count` bytes of [`Self::spare`] have been filled. A count beyond
    /// that room is taken as the whole of it.
    pub fn commit(&mut self, count: usize) {
        self.filled = self.buffer.len().min(self.filled.saturating_add(count));
    }

    /// The body of the next complete frame, or `None` while there is none.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] or [`FrameError::Empty`], again at each further call.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(body) = self.pending_body()? else { return Ok(None) };
        let start = self.consumed + LENGTH_BYTES;
        if self.filled - start < body {
            return Ok(None);
        }
        self.consumed = start + body;
        self.last = body;
        Ok(Some(self.last_frame()))
    }

    /// The body that [`Self::next_frame`] gave last, for an owner that looks at what is behind it
    /// meanwhile. Empty before the first one, and again once room was made for further bytes.
    ///
    /// ```
    /// use protocol::frame::Decoder;
    ///
    /// let mut decoder = Decoder::new();
    /// decoder.push(&[0, 0, 0, 1, 0xc0, 0, 0]);
    /// decoder.next_frame()?;
    /// assert_eq!(decoder.last_frame(), [0xc0]);
    /// assert_eq!(decoder.rest(), [0, 0]);
    /// # Ok::<(), protocol::frame::FrameError>(())
    /// ```
    pub fn last_frame(&self) -> &[u8] {
        &self.buffer[self.consumed - self.last..self.consumed]
    }

    /// The bytes that have arrived and were not yet handed out, whole frames or not.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.consumed..self.filled]
    }

    /// Bytes that have arrived and were not yet handed out.
    pub const fn buffered(&self) -> usize {
        self.filled - self.consumed
    }

    /// To be called at the end of the stream, when [`Self::next_frame`] has nothing left.
    ///
    /// # Errors
    /// [`FrameError::EndInsideFrame`] if the stream ended in the middle of a frame, or the error
    /// of the frame itself.
    pub fn finish(&self) -> Result<(), FrameError> {
        let arrived = self.buffered();
        if arrived == 0 {
            return Ok(());
        }
        let expected = LENGTH_BYTES + self.pending_body()?.unwrap_or(0);
        Err(FrameError::EndInsideFrame { arrived, expected })
    }

    /// The length of the frame that begins at `consumed`, once its length field is complete.
    fn pending_body(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer[self.consumed..self.filled].first_chunk::<LENGTH_BYTES>()
        else {
            return Ok(None);
        };
        let claimed = u32::from_be_bytes(*length) as usize;
        match claimed {
            0 => Err(FrameError::Empty),
            _ if claimed > self.limit => Err(FrameError::TooLarge { claimed, limit: self.limit }),
            _ => Ok(Some(claimed)),
        }
    }

    fn make_room(&mut self) {
        self.last = 0;
        let is_first = self.buffer.is_empty();
        let was_filled = !is_first && self.filled == self.buffer.len();
        if self.consumed == self.filled && self.filled > 0 {
            self.small_uses = match self.filled > KEPT_CAPACITY {
                true => 0,
                false => self.small_uses.saturating_add(1),
            };
            self.proven = self.proven.max(self.filled);
            self.consumed = 0;
            self.filled = 0;
            let kept = self.keeps && self.small_uses < SMALL_USES;
            if self.buffer.len() > if kept { KEPT_AT_MOST } else { KEPT_CAPACITY } {
                self.buffer = Vec::new();
            }
        }
        let buffered = self.buffered();
        let claimed = self.pending_body().ok().flatten().unwrap_or(0);
        let whole = LENGTH_BYTES.saturating_add(claimed).saturating_sub(buffered);
        let wanted = whole.clamp(1, READ_SIZE);
        if self.consumed > 0 && self.buffer.len() - self.filled < wanted {
            self.buffer.copy_within(self.consumed..self.filled, 0);
            self.filled = buffered;
            self.consumed = 0;
        }
        let is_small = was_filled && self.buffer.len() < READ_SIZE;
        if self.buffer.len() - self.filled < wanted || is_small {
            // Doubling keeps the cost of growing linear; what has not arrived is never allocated
            // beyond as much again as has, or as much as has come in one frame before.
            let least = if is_first { FIRST_READ_SIZE } else { READ_SIZE };
            let room = whole.min(buffered.max(self.proven)).max(least);
            self.buffer.resize(self.filled + room, 0);
        }
    }
}

/// A body that is larger than a frame may be. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of {size} bytes is larger than the {limit} bytes that a frame may have")]
pub struct FrameTooLarge {
    /// The size of the body, in bytes.
    pub size: usize,
    /// The limit, in bytes.
    pub limit: usize,
}

/// Appends to `out` the start of a frame: its length, and the part of its body that
/// `write_envelope` appends. `payload_size` more bytes are to follow. On an error `out` is as it
/// was before.
///
/// # Errors
/// Those of `write_envelope`, and [`FrameTooLarge`] if the body would exceed `limit` bytes.
pub fn append_head<E: From<FrameTooLarge>>(
    out: &mut Vec<u8>,
    limit: usize,
    payload_size: usize,
    write_envelope: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let body = start + LENGTH_BYTES;
    let written = write_envelope(out).and_then(|()| {
        let size = (out.len() - body).saturating_add(payload_size);
        match u32::try_from(size) {
            Ok(length) if size <= limit => Ok(length),
            _ => Err(FrameTooLarge { size, limit }.into()),
        }
    });
    match written {
        Ok(length) => {
            out[start..body].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}
