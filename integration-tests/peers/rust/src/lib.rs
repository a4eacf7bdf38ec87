//! What is measured, the same for every Rust peer.
//!
//! A peer is called as `PEER WORKLOAD name=value ...`, and prints its figures as one line of JSON.

use std::{
    collections::BTreeMap,
    hint::black_box,
    io::Read,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Tasks that are not counted.
pub const WARM_UP: u64 = 1000;

/// The words of the command line.
pub struct Parameters {
    /// What is measured.
    pub workload: String,
    values: BTreeMap<String, String>,
}

impl Parameters {
    /// Those of this process.
    pub fn read() -> Self {
        let mut words = std::env::args().skip(1);
        let workload = words.next().expect("a workload");
        let split = |word: String| {
            let (name, value) = word.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        };
        Self { workload, values: words.map(split).collect() }
    }

    /// An integer.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("an integer")
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).unwrap_or_else(|| panic!("{name} is missing"))
    }
}

/// The argument of the task with this number: small, and not always the same.
pub fn argument(task: u64) -> u64 {
    task % 1000
}

/// Prints figures.
pub fn print(figures: &[(&str, f64)]) {
    let all: Vec<_> = figures.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    println!("{{{}}}", all.join(", "));
}

/// Runs tasks and prints how many a second, and how long one takes.
pub fn throughput(tasks: u64, mut run: impl FnMut(u64)) {
    run(WARM_UP);
    let began = Instant::now();
    run(tasks);
    let rate = tasks as f64 / began.elapsed().as_secs_f64();
    print(&[("per_second", rate), ("us", 1e6 / rate), ("ns", 1e9 / rate)]);
}

/// Runs one task after another, and prints how long one takes.
pub fn round_trips(tasks: u64, mut call: impl FnMut(u64) -> u64) {
    let mut times = Vec::new();
    for task in 0..WARM_UP + tasks {
        let n = argument(task);
        let began = Instant::now();
        let result = call(n);
        times.push(began.elapsed());
        assert_eq!(result, n * n);
    }
    let mut times = times.split_off(WARM_UP as usize);
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    print(&[("p50_us", at(50)), ("p90_us", at(90)), ("p99_us", at(99))]);
}

/// Sends bytes there and back, and prints how many MB a second, counted one way.
pub fn bytes(size: u64, mut echo: impl FnMut(&[u8]) -> Vec<u8>) {
    const TIME: Duration = Duration::from_millis(800);
    let sent: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
    assert!(echo(&sent) == sent);
    let mut message = || {
        let back = echo(&sent);
        let ends = |bytes: &[u8]| (bytes.len(), bytes[0], bytes[bytes.len() - 1]);
        assert_eq!(ends(&back), ends(&sent));
    };
    message();
    let began = Instant::now();
    let mut count = 0;
    while count < 5 || began.elapsed() < TIME {
        message();
        count += 1;
    }
    print(&[("mb_per_second", (count * size) as f64 / began.elapsed().as_secs_f64() / 1e6)]);
}

/// Work that only the processor limits.
#[inline(never)]
pub fn burn(rounds: u64) -> u64 {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// Connects to whoever counts, and returns when that one closes the connection.
pub fn wait_for_all(path: String) -> u32 {
    let mut connection = UnixStream::connect(path).expect("somebody counts");
    assert_eq!(connection.read(&mut [0]).expect("a connection"), 0);
    std::process::id()
}
