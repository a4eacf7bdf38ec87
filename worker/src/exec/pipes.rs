//! The two pipes of a command: a line goes in and a line comes out, whichever of the two is full
//! first.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    process::{ChildStdin, ChildStdout},
    time::Duration,
};

use protocol::limits::MAX_FRAME;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, ioctl_fionread},
};

/// How much is read at once: what a pipe holds on Linux.
const READ: usize = 1 << 16;

/// The longest answer: beyond it would not fit a frame.
const LONGEST: usize = MAX_FRAME;

pub(super) struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    room: Box<[u8]>,
    /// Bytes of the last request that were not written.
    unwritten: usize,
}

/// What a command does while it is not asked.
pub(super) enum Idle {
    Silent,
    Spoke(Vec<u8>),
    /// It closed its output, as at its end.
    Closed,
}

/// Why there is no answer. Nothing can be asked any more.
pub(super) enum Broken {
    /// The command closed one of the pipes, as at its end.
    Closed,
    /// It wrote this without having been asked.
    Unasked(Vec<u8>),
    /// Its answer has more bytes than this.
    TooLong(usize),
    Pipe(io::Error),
}

impl Pipes {
    pub(super) fn new(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<Self> {
        // Of our own ends only: the command has its ends as ever.
        for pipe in [stdin.as_fd(), stdout.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { stdin, stdout, room: vec![0; READ].into(), unwritten: 0 })
    }

    /// What the command has written since its last answer, or writes within that time.
    pub(super) fn look(&mut self, time: Duration) -> io::Result<Idle> {
        if !time.is_zero() {
            let time = Timespec::try_from(time).map_err(io::Error::other)?;
            wait(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&time))?;
        }
        Ok(match read(&mut self.stdout, &mut self.room)? {
            None => Idle::Silent,
            Some([]) => Idle::Closed,
            Some(bytes) => Idle::Spoke(bytes.to_vec()),
        })
    }

    /// Writes a request, which ends in a line feed, and reads the answer up to its line feed.
    pub(super) fn ask(&mut self, mut request: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut answer = Vec::new();
        self.unwritten = request.len();
        loop {
            request = self.write(request)?;
            self.wait(!request.is_empty()).map_err(Broken::Pipe)?;
            let bytes = match read(&mut self.stdout, &mut self.room).map_err(Broken::Pipe)? {
                None => continue,
                Some([]) => return Err(Broken::Closed),
                Some(bytes) => bytes,
            };
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let start = answer.len();
            answer.extend_from_slice(bytes);
            match end.map(|end| start + end) {
                // Nothing may follow an answer, nor come before the request was read.
                Some(end) if end + 1 == answer.len() && request.is_empty() => {
                    answer.truncate(end);
                    return Ok(answer);
                }
                Some(end) if request.is_empty() => {
                    return Err(Broken::Unasked(answer.split_off(end + 1)));
                }
                Some(_) => return Err(Broken::Unasked(answer)),
                None if answer.len() > LONGEST => return Err(Broken::TooLong(LONGEST)),
                None => {}
            }
        }
    }

    /// Whether all of the last request is still here, or in the pipe: the command has taken nothing.
    pub(super) fn has_all_of(&self, request: &[u8]) -> bool {
        let in_pipe =
            ioctl_fionread(&self.stdin).ok().and_then(|count| usize::try_from(count).ok());
        in_pipe.is_some_and(|count| count + self.unwritten == request.len())
    }

    /// Writes what the pipe takes, and gives the rest.
    fn write<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stdin.write(rest) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.unwritten = rest.len();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Broken::Closed),
                Err(error) => return Err(Broken::Pipe(error)),
            }
        }
        Ok(rest)
    }

    /// Waits until there is something to read, or room to write if that is wanted.
    fn wait(&self, to_write: bool) -> io::Result<()> {
        let stdout = PollFd::new(&self.stdout, PollFlags::IN);
        match to_write {
            true => wait(&mut [stdout, PollFd::new(&self.stdin, PollFlags::OUT)], None),
            false => wait(&mut [stdout], None),
        }
    }
}

/// What there is to read: nothing for now, or no bytes at the end.
fn read<'a>(stdout: &mut ChildStdout, room: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    loop {
        match stdout.read(room) {
            Ok(count) => return Ok(room.get(..count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn wait(watched: &mut [PollFd<'_>], time: Option<&Timespec>) -> io::Result<()> {
    loop {
        match poll(watched, time) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
