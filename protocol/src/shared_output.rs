//! The layout of a shared output: a file that a worker keeps answers in until it writes them, so
//! that they outlive it.
//!
//! The file begins with numbers of 64 bits, in little-endian order, at the offsets [`KEY`],
//! [`BASE`], [`HELD`], [`LAST`], [`PATIENCE`] and [`TAKEN`]; from [`DATA`] on it has room for
//! frames, up to its end or to the room for large results, if there is one. The frames in it are
//! the next ones of the stream that the worker writes: it writes them to its socket later, many at
//! once, and then empties the file.
//!
//! The room for large results is where
//! [`SharedOutput::results`](crate::message::SharedOutput::results) says, up to the end of the
//! file. What lies in it is told by [`FromWorker::SharedResult`](crate::message::FromWorker), and
//! stays there until [`TAKEN`] says that the master has copied it.

use crate::limits::LENGTH_BYTES;

/// Where the key of the welcome stands.
pub const KEY: usize = 0;

/// Where the position of the first frame stands, counted in bytes of the stream that the worker
/// writes to its socket.
pub const BASE: usize = 8;

/// Where it stands how many bytes of frames there are. It grows by whole answers, when they are
/// there in full.
pub const HELD: usize = 16;

/// Where it stands at which byte of them the last frame begins. That one ends where they all
/// end, whatever its length field says, as it may still grow.
pub const LAST: usize = 24;

/// Where the master says for how many nanoseconds it pays to look for input before going to
/// sleep. It and [`TAKEN`] are the master's to write, and may change at any time.
pub const PATIENCE: usize = 32;

/// Where the master says how many large results it has taken out of the file, of those that the
/// worker told of, in their order. It only grows: the worker may use the place of the n-th one
/// anew once it is at least n.
pub const TAKEN: usize = 40;

/// Where the frames begin.
pub const DATA: usize = 64;

/// The size of a file that has room for so many bytes of frames.
pub const fn file_size(room: usize) -> usize {
    DATA + room
}

/// What the first [`DATA`] bytes of the file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// See [`KEY`].
    pub key: u64,
    /// See [`BASE`].
    pub base: u64,
    /// See [`HELD`].
    pub held: u64,
    /// See [`LAST`].
    pub last: u64,
}

impl Header {
    /// Reads it.
    pub fn read(bytes: &[u8; DATA]) -> Self {
        let number = |offset: usize| {
            let bytes = bytes[offset..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        Self { key: number(KEY), base: number(BASE), held: number(HELD), last: number(LAST) }
    }

    /// The part of the frames that the stream has not brought: `data` is what lies behind the
    /// header, as many bytes as are held, and `received` tells how many bytes of the stream have
    /// come. The length of the last frame is set. Empty if there is nothing, or if the numbers
    /// make no sense.
    ///
    /// ```
    /// use protocol::shared_output::Header;
    ///
    /// let header = Header { key: 1, base: 100, held: 11, last: 5 };
    /// let mut data = *b"\0\0\0\x01a\0\0\0\0bc";
    /// assert_eq!(header.unsent(&mut data, 105), b"\0\0\0\x02bc");
    /// assert_eq!(header.unsent(&mut data, 111), b"");
    /// ```
    pub fn unsent<'a>(&self, data: &'a mut [u8], received: u64) -> &'a [u8] {
        let held = usize::try_from(self.held).ok().filter(|&held| held == data.len());
        let start = received.checked_sub(self.base).and_then(|start| usize::try_from(start).ok());
        let Some((held, start)) = held.zip(start).filter(|(held, start)| start < held) else {
            return &[];
        };
        // What has come of the last frame came with its length.
        let last = usize::try_from(self.last).ok().filter(|&last| start <= last && last < held);
        if let Some(last) = last
            && let Some(body) = (held - last).checked_sub(LENGTH_BYTES)
            && let Ok(length) = u32::try_from(body)
        {
            data[last..last + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        }
        &data[start..]
    }
}
