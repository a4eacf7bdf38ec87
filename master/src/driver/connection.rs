//! A connection to a worker: frames in, frames out, never blocking.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read as _, Write as _},
    ops::Range,
    os::fd::{AsRawFd as _, RawFd},
    sync::Arc,
};

use interprocess::local_socket::Stream;
use protocol::{
    envelope::{self, SendError},
    frame::Decoder,
    message::FromMaster,
};

use crate::{batch::Submission, recording::Tap};

/// Payloads of more than this many bytes are written from where they lie: 16 KiB. Below that a
/// copy into the frame costs less than a write of its own.
const COPY_LIMIT: usize = 16 << 10;

/// A buffer of frames larger than this, in bytes, is given back after its use: 64 KiB.
const KEPT_CAPACITY: usize = 64 << 10;

/// How many times a connection is read in one round, so that one that never ends does not keep
/// the others waiting.
const READS_IN_A_ROUND: usize = 16;

/// What a round of reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing more is there now.
    Drained,
    /// There may be more.
    Unfinished,
    /// The other side has closed, after reading everything or not.
    Ended { unread: bool },
}

/// One side of a connection.
pub(super) struct Connection {
    stream: Stream,
    pub(super) decoder: Decoder,
    /// Bytes that the worker has sent so far, as far as they are known.
    pub(super) received: u64,
    outbound: VecDeque<Segment>,
    /// An empty buffer for the next frames.
    spare: Vec<u8>,
    /// How much is written of the first segment; beyond its end, of those behind it.
    written: usize,
    /// Writing is of no more use.
    deaf: bool,
    /// The other side is known to have closed: reading goes on to the end, as no event will tell
    /// that there is more.
    closing: bool,
    /// It is also watched for room to write.
    pub(super) blocked: bool,
    /// Where what is sent is recorded, if it is.
    tap: Option<Tap>,
}

/// Bytes to be written.
enum Segment {
    Frames(Vec<u8>),
    Payload { submission: Arc<Submission>, place: Range<usize> },
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Frames(bytes) => bytes,
            Self::Payload { submission, place } => {
                submission.items.bytes.get(place.clone()).unwrap_or_default()
            }
        }
    }
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        let outbound = VecDeque::new();
        let (decoder, received) = (Decoder::new(), 0);
        Self {
            stream,
            decoder,
            received,
            outbound,
            spare: Vec::new(),
            written: 0,
            deaf: false,
            closing: false,
            blocked: false,
            tap: None,
        }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        match &self.stream {
            Stream::UdSocket(stream) => stream.inner().as_raw_fd(),
        }
    }

    /// Records from now on what is sent.
    pub(super) fn record(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Notes that the other side has closed.
    pub(super) const fn expect_end(&mut self) {
        self.closing = true;
    }

    /// Reads what is there, up to a bound, into the decoder. `take` is called after each read
    /// and says whether to go on.
    pub(super) fn read(&mut self) -> Reading {
        for _ in 0..READS_IN_A_ROUND {
            let room = self.decoder.spare();
            let size = room.len();
            match self.stream.read(room) {
                Ok(0) => return Reading::Ended { unread: false },
                Ok(count) => {
                    self.decoder.commit(count);
                    self.received += count as u64;
                    if count < size && !self.closing {
                        return Reading::Drained;
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Reading::Drained,
                    io::ErrorKind::Interrupted => {}
                    // The peer closed with bytes of ours unread.
                    io::ErrorKind::ConnectionReset => return Reading::Ended { unread: true },
                    _ => {
                        log::debug!("cannot read from a worker: {error}");
                        return Reading::Ended { unread: false };
                    }
                },
            }
        }
        Reading::Unfinished
    }

    /// Queues a message.
    pub(super) fn send(
        &mut self,
        message: &FromMaster<'_>,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let frames = self.frames();
        let start = frames.len();
        envelope::append_frame(frames, message, payload)?;
        self.tell(start, &[]);
        Ok(())
    }

    /// Queues a frame that somebody has made: its body.
    pub(super) fn send_body(&mut self, body: &[u8]) {
        // What was recorded, and what was made for a frame, has a length of 32 bits.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let frames = self.frames();
        frames.extend_from_slice(&length.to_be_bytes());
        frames.extend_from_slice(body);
    }

    /// Queues a message whose payload lies in a submission.
    pub(super) fn send_items(
        &mut self,
        message: &FromMaster<'_>,
        submission: &Arc<Submission>,
        place: Range<usize>,
    ) -> Result<(), SendError> {
        if place.len() <= COPY_LIMIT {
            let payload = submission.items.bytes.get(place).unwrap_or_default();
            return self.send(message, payload);
        }
        let frames = self.frames();
        let start = frames.len();
        envelope::append_head(frames, message, place.len())?;
        self.tell(start, submission.items.bytes.get(place.clone()).unwrap_or_default());
        self.outbound.push_back(Segment::Payload { submission: Arc::clone(submission), place });
        Ok(())
    }

    /// Records the frame that begins there in the last segment, if frames are recorded.
    fn tell(&self, start: usize, payload: &[u8]) {
        if let (Some(tap), Some(Segment::Frames(frames))) = (&self.tap, self.outbound.back()) {
            tap.said(frames.get(start..).unwrap_or_default(), payload);
        }
    }

    /// Writes what can be written now. Tells whether all is written, or of no more use.
    pub(super) fn flush(&mut self) -> bool {
        loop {
            self.drop_written();
            let mut segments = self.outbound.iter().map(Segment::bytes);
            let Some(first) = segments.next() else { return true };
            let rest = first.get(self.written..).unwrap_or_default();
            // The start of a call goes together with its payload, and what is behind that as well.
            let written = match segments.next() {
                None => self.stream.write(rest),
                Some(second) => {
                    let third = segments.next().unwrap_or_default();
                    let all = [rest, second, third].map(IoSlice::new);
                    self.stream.write_vectored(&all)
                }
            };
            match written {
                Ok(count) => self.written += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    io::ErrorKind::Interrupted => {}
                    // What the worker sent before it closed is still to be read, so its death is
                    // judged there and not here.
                    _ => {
                        log::debug!("cannot write to a worker: {error}");
                        self.deaf = true;
                    }
                },
            }
        }
    }

    /// Lets go of the segments that are written, or of no more use.
    fn drop_written(&mut self) {
        while let Some(segment) = self.outbound.front() {
            let size = segment.bytes().len();
            if !self.deaf && self.written < size {
                return;
            }
            self.written = self.written.saturating_sub(size);
            if let Some(Segment::Frames(mut frames)) = self.outbound.pop_front()
                && frames.capacity() <= KEPT_CAPACITY
            {
                frames.clear();
                self.spare = frames;
            }
        }
    }

    /// Whether writing failed, so that the last call cannot have been read in full.
    pub(super) const fn has_broken_delivery(&self) -> bool {
        self.deaf
    }

    /// Whether bytes are left that could not be delivered.
    pub(super) fn has_undelivered(&self) -> bool {
        self.deaf || !self.outbound.is_empty()
    }

    fn frames(&mut self) -> &mut Vec<u8> {
        if !matches!(self.outbound.back(), Some(Segment::Frames(_))) {
            self.outbound.push_back(Segment::Frames(std::mem::take(&mut self.spare)));
        }
        match self.outbound.back_mut() {
            Some(Segment::Frames(bytes)) => bytes,
            _ => unreachable!("the last segment was just made sure to hold frames"),
        }
    }
}
