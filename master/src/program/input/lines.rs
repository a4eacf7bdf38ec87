//! The lines of a stream, read without ever waiting longer than is asked for.

use std::{fmt, io, io::Read};

use super::{InputProblem, MAX_ITEM};
use crate::program::search;

/// Bytes of one read: 64 KiB, what a pipe holds.
const READ_SIZE: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts a stream into lines. Memory is bounded by the longest line and one read.
pub(super) struct Lines {
    stream: Box<dyn Read + Send>,
    /// What was read and not yet handed out is `start..filled`; up to `searched` there is no
    /// line end in it.
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    filled: usize,
    /// The number of the last line that was handed out or failed.
    number: u64,
    ended: bool,
    skip_byte_order_mark: bool,
}

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A line, without its line end.
    Line(&'a [u8]),
    /// The next line has not arrived as a whole.
    NotYet,
    /// There are no more.
    End,
}

impl Lines {
    pub(super) fn new(stream: Box<dyn Read + Send>, skip_byte_order_mark: bool) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            filled: 0,
            number: 0,
            ended: false,
            skip_byte_order_mark,
        }
    }

    /// The number of the line that [`Self::next`] was last about, counted from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next line. Reads only if `wait` is given and no whole line has arrived. What follows
    /// the last line end is a line if it is not empty.
    pub(super) fn next(&mut self, wait: bool) -> Result<Next<'_>, InputProblem> {
        loop {
            let unsearched = &self.buffer[self.searched..self.filled];
            if let Some(length) = search::find(unsearched, |byte| byte == b'\n') {
                let end = self.searched + length;
                return self.line(end, end + 1);
            }
            self.searched = self.filled;
            if self.ended {
                return match self.start == self.filled {
                    true => Ok(Next::End),
                    false => self.line(self.filled, self.filled),
                };
            }
            if self.filled - self.start > MAX_ITEM {
                self.number += 1;
                return Err(InputProblem::LineTooLong);
            }
            if !wait {
                return Ok(Next::NotYet);
            }
            if let Err(error) = self.read() {
                self.number += 1;
                return Err(InputProblem::Read(error));
            }
        }
    }

    /// What has arrived and was not handed out, whole lines and perhaps the start of one more.
    pub(super) fn arrived(&self) -> &[u8] {
        &self.buffer[self.start..self.filled]
    }

    /// Hands out at once `count` whole lines of `length` bytes with their ends, which the caller
    /// has found in [`Self::arrived`].
    pub(super) fn skip(&mut self, length: usize, count: usize) {
        self.start += length;
        self.searched = self.searched.max(self.start);
        self.number += count as u64;
    }

    fn line(&mut self, end: usize, next_start: usize) -> Result<Next<'_>, InputProblem> {
        let mut line = &self.buffer[self.start..end];
        self.start = next_start;
        self.searched = next_start;
        self.number += 1;
        if self.number == 1 && self.skip_byte_order_mark {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        match line.len() > MAX_ITEM {
            true => Err(InputProblem::LineTooLong),
            false => Ok(Next::Line(line)),
        }
    }

    /// Reads once, and waits for it.
    fn read(&mut self) -> io::Result<()> {
        self.make_room();
        let count = loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += count;
        self.ended = count == 0;
        Ok(())
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.searched -= self.start;
        self.filled -= self.start;
        self.start = 0;
        // A long line doubles the buffer at each read, so that it is copied no more than twice;
        // after it most of the buffer is given back.
        let wanted = self.filled + self.filled.max(READ_SIZE);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > 4 * wanted {
            self.buffer.truncate(wanted);
            self.buffer.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lines")
            .field("number", &self.number)
            .field("buffered", &(self.filled - self.start))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
