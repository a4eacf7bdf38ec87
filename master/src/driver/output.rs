//! What workers print: passed on to the standard error of the master, line by line.
//!
//! A worker is never blocked for long by its own output: lines that nobody takes are waited for
//! a moment, as at an ordinary pipe, and then dropped and counted. Nothing here grows: a line
//! has a largest length, and so has the queue.

use std::{
    collections::VecDeque,
    io::{self, Read, Write as _},
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use crate::machine::Time;

/// The longest line that is passed on, in bytes; the rest of a longer one is cut.
const MAX_LINE: usize = 8 << 10;

/// How many blocks of lines wait for the standard error of the master at most. A block is what
/// one read of a pipe came to, at most 64 KiB and its marks.
const MAX_BLOCKS: usize = 64;

/// Bytes that one read takes from a pipe at most: as many as a pipe holds by default on Linux.
const READ_SIZE: usize = 64 << 10;

/// How many reads a pipe has in one round.
const READS_IN_A_ROUND: usize = 4;

/// How many reads a pipe has after the end of its worker: as much as a pipe can hold, 1 MiB. A
/// grandchild that writes on is not heard.
const LAST_READS: usize = 16;

/// How long a worker may have to wait, because nobody takes its lines, before they are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon to try again when nobody takes a line.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// How long the end of the pool waits for lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines kept of the standard error of each worker, as evidence.
const TAIL_LINES: usize = 10;

/// Characters kept of each of them.
const TAIL_WIDTH: usize = 500;

/// The standard error of the master, written by a thread of its own, as it may block.
#[derive(Default)]
pub(super) struct Sink {
    writer: Option<Writer>,
}

struct Writer {
    blocks: SyncSender<Vec<u8>>,
    finished: Receiver<()>,
}

impl Sink {
    /// Takes a block of whole lines, or gives it back if too many wait already.
    pub(super) fn offer(&mut self, block: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.writer.get_or_insert_with(Writer::start).blocks.try_send(block) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(block)) => Err(block),
            // The writer is gone, as standard error is closed: there is nobody to tell.
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Waits a moment for what was taken to be written.
    pub(super) fn finish(&mut self) {
        if let Some(Writer { blocks, finished }) = self.writer.take() {
            drop(blocks);
            let _ = finished.recv_timeout(LAST_WORDS);
        }
    }
}

impl Writer {
    fn start() -> Self {
        let (blocks, incoming) = sync_channel::<Vec<u8>>(MAX_BLOCKS);
        let (done, finished) = sync_channel(1);
        let write = move || {
            for block in incoming {
                if io::stderr().lock().write_all(&block).is_err() {
                    break;
                }
            }
            let _ = done.send(());
        };
        if let Err(error) = std::thread::Builder::new().name("master-output".into()).spawn(write) {
            log::error!("cannot pass on what workers print: {error}");
        }
        Self { blocks, finished }
    }
}

/// What a round of reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing more is there now.
    Drained,
    /// There may be more.
    Unfinished,
    /// Nobody takes the lines just now.
    Stalled,
    /// The worker has closed it.
    Ended,
}

/// One of the two output streams of a worker.
pub(super) struct Pipe<R> {
    source: R,
    mark: String,
    line: Vec<u8>,
    /// Bytes of the current line beyond the longest.
    cut: u64,
    /// Lines that could not be handed over yet.
    waiting: Option<(Vec<u8>, Time)>,
    dropped_lines: u64,
    tail: VecDeque<String>,
}

impl<R: Read + AsFd> Pipe<R> {
    /// `mark` stands before each line.
    pub(super) fn new(source: R, mark: String) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&source)?;
        rustix::fs::fcntl_setfl(&source, flags | rustix::fs::OFlags::NONBLOCK)?;
        let (line, tail) = (Vec::new(), VecDeque::new());
        Ok(Self { source, mark, line, cut: 0, waiting: None, dropped_lines: 0, tail })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.source.as_fd().as_raw_fd()
    }

    /// The last lines, the oldest first.
    pub(super) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Passes on what is there, up to a bound.
    pub(super) fn read(&mut self, now: Time, sink: &mut Sink) -> Reading {
        let mut room = vec![0; READ_SIZE];
        for _ in 0..READS_IN_A_ROUND {
            if !self.hand_over(now, sink) {
                return Reading::Stalled;
            }
            match self.source.read(&mut room) {
                Ok(0) => {
                    self.finish_line(now, sink);
                    return Reading::Ended;
                }
                Ok(count) => {
                    let block = self.split(room.get(..count).unwrap_or_default());
                    self.queue(now, block);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Reading::Drained;
                }
                Err(error) => {
                    log::debug!("cannot read what a worker prints: {error}");
                    self.finish_line(now, sink);
                    return Reading::Ended;
                }
            }
            if !self.hand_over(now, sink) {
                return Reading::Stalled;
            }
        }
        Reading::Unfinished
    }

    /// Passes on what is left, as the worker has ended: what it wrote last is evidence, also if
    /// nobody takes its lines just now.
    pub(super) fn finish(&mut self, now: Time, sink: &mut Sink) {
        let mut room = vec![0; READ_SIZE];
        for _ in 0..LAST_READS {
            match self.source.read(&mut room) {
                Ok(0) => break,
                Ok(count) => {
                    let block = self.split(room.get(..count).unwrap_or_default());
                    self.queue(now, block);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.finish_line(now, sink);
    }

    /// Passes on a last line that has no end.
    fn finish_line(&mut self, now: Time, sink: &mut Sink) {
        if !self.line.is_empty() {
            let block = self.split(b"\n");
            self.queue(now, block);
        }
        self.hand_over(now, sink);
    }

    fn queue(&mut self, now: Time, block: Vec<u8>) {
        if !block.is_empty() {
            match &mut self.waiting {
                Some((waiting, _)) => waiting.extend_from_slice(&block),
                None => self.waiting = Some((block, now)),
            }
        }
    }

    /// Hands over what waits, or drops it when it has waited for too long. False if it waits on.
    fn hand_over(&mut self, now: Time, sink: &mut Sink) -> bool {
        let Some((mut block, since)) = self.waiting.take() else { return true };
        if self.dropped_lines > 0 {
            let note = format!("{}({} lines dropped)\n", self.mark, self.dropped_lines);
            block.splice(0..0, note.into_bytes());
        }
        match sink.offer(block) {
            Ok(()) => self.dropped_lines = 0,
            Err(block) if self.dropped_lines > 0 || now.saturating_sub(since) > PATIENCE => {
                let lines = block.iter().filter(|&&byte| byte == b'\n').count() as u64;
                // The note about earlier ones is one of the lines.
                self.dropped_lines += lines - u64::from(self.dropped_lines > 0);
            }
            Err(block) => {
                self.waiting = Some((block, since));
                return false;
            }
        }
        true
    }

    /// Cuts `bytes` into marked lines; what has no end yet is kept.
    fn split(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let taken = text.len().min(MAX_LINE.saturating_sub(self.line.len()));
            self.line.extend_from_slice(text.get(..taken).unwrap_or_default());
            self.cut += (text.len() - taken) as u64;
            if whole {
                self.end_line(&mut block);
            }
        }
        block
    }

    fn end_line(&mut self, block: &mut Vec<u8>) {
        block.extend_from_slice(self.mark.as_bytes());
        block.extend_from_slice(&self.line);
        if self.cut > 0 {
            block.extend_from_slice(format!(" ({} more bytes cut)", self.cut).as_bytes());
        }
        block.push(b'\n');
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        let text = String::from_utf8_lossy(&self.line);
        self.tail.push_back(text.trim_end().chars().take(TAIL_WIDTH).collect());
        self.line.clear();
        self.cut = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> Pipe<std::fs::File> {
        Pipe::new(std::fs::File::open("/dev/null").unwrap(), "[w] ".into()).unwrap()
    }

    #[test]
    fn lines_are_marked_whole_and_bounded() {
        let mut pipe = pipe();
        assert_eq!(pipe.split(b"one\ntw"), b"[w] one\n");
        assert_eq!(pipe.split(b"o\n\nrest"), b"[w] two\n[w] \n");
        assert_eq!(pipe.split(b"\n"), b"[w] rest\n");
        let long = vec![b'x'; 3 * MAX_LINE];
        assert!(pipe.split(&long).is_empty());
        let block = pipe.split(b"y\n");
        let text = String::from_utf8(block).unwrap();
        assert!(text.ends_with(&format!("x ({} more bytes cut)\n", 2 * MAX_LINE + 1)), "{text}");
        assert!(pipe.line.capacity() <= 4 * MAX_LINE);
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut pipe = pipe();
        for number in 0..100 {
            pipe.split(format!("line {number}\n").as_bytes());
        }
        assert_eq!(pipe.tail().first().map(String::as_str), Some("line 90"));
        assert_eq!(pipe.tail().last().map(String::as_str), Some("line 99"));
    }
}
