//! A pool without anything that makes it one: so many frames in flight at each of its workers.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::OtherEnd;
use crate::figures::{Figures, Parameters, argument, figures, rate};

/// A length, a number of the task, and an integer.
const FRAME: usize = 20;

/// How much is read at once.
const ROOM: usize = 64 << 10;

/// How long it is measured.
const TIME: Duration = Duration::from_millis(700);

/// `workers`, `flight`: tasks at a worker at a time, `write`: whether a worker writes `each`
/// answer, or all that it has read, `packed`.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let flight: u64 = parameters.get("flight");
    let write: String = parameters.get("write");
    let workers: usize = parameters.get("workers");
    let (ends, mut workers): (Vec<_>, Vec<_>) = (0..workers)
        .map(|_| {
            let (end, stream) = OtherEnd::start("end-bare-pool", &format!("write={write}"));
            stream.set_nonblocking(true).expect("a socket that does not block");
            (end, Seat { stream, input: vec![0; ROOM], filled: 0, output: Vec::new() })
        })
        .unzip();

    let mut next = 0;
    let mut done = 0;
    for worker in &mut workers {
        worker.submit(flight, &mut next);
    }
    let began = Instant::now();
    while began.elapsed() < TIME {
        let ready = readable(&workers);
        for (worker, _) in workers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let answered = worker.answers();
            done += answered;
            worker.submit(answered, &mut next);
        }
    }
    let per_second = rate(done, began.elapsed());
    drop(workers);
    ends.into_iter().for_each(OtherEnd::join);
    figures([("per_second", per_second), ("us", 1e6 / per_second)])
}

fn readable(workers: &[Seat]) -> Vec<bool> {
    let poll_fd = |worker| PollFd::new(worker, PollFlags::IN);
    let mut fds: Vec<_> = workers.iter().map(|worker| poll_fd(&worker.stream)).collect();
    poll(&mut fds, None).expect("sockets can be waited for");
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

struct Seat {
    stream: UnixStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl Seat {
    /// Sends so many tasks in one write.
    fn submit(&mut self, count: u64, next: &mut u64) {
        if count == 0 {
            return;
        }
        self.output.clear();
        for _ in 0..count {
            append(&mut self.output, *next, argument(*next));
            *next += 1;
        }
        self.stream.write_all(&self.output).expect("what is in flight fits the socket");
    }

    /// Takes the answers that are there, and counts them.
    fn answers(&mut self) -> u64 {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("the socket: {error}"),
        }
        let mut count = 0;
        for (task, square) in whole(&self.input[..self.filled]) {
            assert_eq!(square, argument(task).pow(2));
            count += 1;
        }
        keep_rest(&mut self.input, &mut self.filled);
        count
    }
}

/// Answers until the socket is closed.
pub(crate) fn other_end(parameters: &Parameters) {
    let packed = parameters.get::<String>("write") == "packed";
    let mut stream = super::socket();
    let (mut input, mut filled) = (vec![0; ROOM], 0);
    let mut output = Vec::new();
    loop {
        // The other side may have ended in the middle of an answer, which is no failure.
        match stream.read(&mut input[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        for (task, n) in whole(&input[..filled]) {
            append(&mut output, task, n * n);
            if !packed {
                if stream.write_all(&output).is_err() {
                    return;
                }
                output.clear();
            }
        }
        if !output.is_empty() && stream.write_all(&output).is_err() {
            return;
        }
        output.clear();
        keep_rest(&mut input, &mut filled);
    }
}

fn append(output: &mut Vec<u8>, task: u64, value: u64) {
    output.extend(16_u32.to_le_bytes());
    output.extend(task.to_le_bytes());
    output.extend(value.to_le_bytes());
}

/// The frames that are there in full.
fn whole(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    bytes.chunks_exact(FRAME).map(|frame| {
        assert_eq!(frame[..4], 16_u32.to_le_bytes());
        let number = |from: usize| {
            u64::from_le_bytes(*frame[from..].first_chunk().expect("a frame is long enough"))
        };
        (number(4), number(12))
    })
}

fn keep_rest(bytes: &mut [u8], filled: &mut usize) {
    let rest = *filled % FRAME;
    bytes.copy_within(*filled - rest..*filled, 0);
    *filled = rest;
}
