//! One call there and its answer back: MessagePack over a blocking Unix socket.

use std::{
    hint::spin_loop,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::OtherEnd;
use crate::figures::{Figures, Parameters, argument, latencies, medians, rate};

/// How many pairs of processes are tried: where the scheduler puts a pair decides much, and it
/// decides anew for each.
const PAIRS: usize = 3;

/// Round trips that are not counted.
const WARM_UP: u64 = 500;

#[derive(Serialize, Deserialize)]
struct Call<'a>(u64, &'a str, [u64; 1]);

#[derive(Serialize, Deserialize)]
struct Answer(u64, u64);

/// `place`: who chooses the CPUs, and whether both ends spin; `count`: round trips of a pair.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let (place, count): (String, u64) = (parameters.get("place"), parameters.get("count"));
    let cpus = cpus(&place);
    let pairs: Vec<Figures> = (0..PAIRS).map(|_| pair(cpus, &place, count)).collect();
    medians(&pairs)
}

fn pair(cpus: Option<[usize; 2]>, place: &str, count: u64) -> Figures {
    let cpu = cpus.map(|[_, theirs]| format!("cpu={theirs}")).unwrap_or_default();
    let (end, stream) = OtherEnd::start("end-round-trip", &format!("place={place} {cpu}"));
    settle(cpus.map(|[ours, _]| ours));
    let mut frames = Frames::new(stream, place);
    let mut times = Vec::new();
    let mut began = Instant::now();
    for task in 0..WARM_UP + count {
        if task == WARM_UP {
            began = Instant::now();
            times.clear();
        }
        let sent = Instant::now();
        frames.send(&Call(task, "square", [argument(task)]));
        let Answer(id, square) = frames.receive::<Answer, _>(|answer| answer).expect("an answer");
        times.push(sent.elapsed());
        assert_eq!((id, square), (task, argument(task).pow(2)));
    }
    let mut figures = latencies(&times);
    figures.insert("per_second".to_owned(), rate(count, began.elapsed()));
    drop(frames);
    end.join();
    figures
}

/// Answers until the socket is closed.
pub(crate) fn other_end(parameters: &Parameters) {
    let place: String = parameters.get("place");
    settle(parameters.find("cpu"));
    let mut frames = Frames::new(super::socket(), &place);
    // A name that is borrowed from the frame cannot leave the closure.
    while let Some(answer) = frames.receive(|Call(id, name, [n]): Call<'_>| {
        assert_eq!(name, "square");
        Answer(id, n * n)
    }) {
        frames.send(&answer);
    }
}

/// The CPUs of both ends, unless the scheduler is to choose.
fn cpus(place: &str) -> Option<[usize; 2]> {
    let allowed = sched_getaffinity(None).expect("the CPUs of this process");
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let first = cpus.next().expect("a CPU");
    match place {
        "scheduler" => None,
        "one-core" => Some([first, first]),
        "spinning" => Some([first, cpus.next().expect("two CPUs for two ends that spin")]),
        _ => panic!("unknown place {place}"),
    }
}

/// Takes the CPU that this end is to have.
fn settle(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).expect("a CPU that is allowed");
    }
}

/// Frames of MessagePack behind a length.
struct Frames {
    stream: UnixStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl Frames {
    fn new(stream: UnixStream, place: &str) -> Self {
        stream.set_nonblocking(place == "spinning").expect("a socket that spins");
        Self { stream, input: vec![0; 1 << 16], filled: 0, output: Vec::new() }
    }

    fn send(&mut self, message: &impl Serialize) {
        self.output.clear();
        self.output.extend([0; 4]);
        rmp_serde::encode::write(&mut self.output, message).expect("it can be encoded");
        let length = u32::try_from(self.output.len() - 4).expect("a small message");
        self.output[..4].copy_from_slice(&length.to_le_bytes());
        self.stream.write_all(&self.output).expect("a small message fits the socket");
    }

    /// `None` when the socket is closed.
    fn receive<'a, M: Deserialize<'a> + 'a, R: 'static>(
        &'a mut self,
        take: impl FnOnce(M) -> R,
    ) -> Option<R> {
        let length = loop {
            if let Some(length) = self.length() {
                break length;
            }
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return None,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => spin_loop(),
                Err(error) => panic!("the socket: {error}"),
            }
        };
        // One is in flight, so nothing is behind it.
        assert_eq!(self.filled, 4 + length);
        self.filled = 0;
        Some(take(rmp_serde::from_slice(&self.input[4..4 + length]).expect("a message")))
    }

    /// The length of the frame that is there in full.
    fn length(&self) -> Option<usize> {
        let head = self.input[..self.filled].first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*head)).expect("a small message");
        (self.filled >= 4 + length).then_some(length)
    }
}
