//! What must not grow: maps, pools and replacements by the hundred, a million tasks, and a pool
//! that has nothing to do. It has a test program of its own, so that nothing else is measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

use std::{collections::BTreeSet, fs, io::Write as _, thread, time::Duration};

use integration_tests::{
    Deadline,
    library::{pool, watched},
    master,
    this_process::{Things, children, fields, memory},
};
use master::{ImapOptions, Pool};

/// How much memory may grow in each part, in KiB.
const GROWTH: u64 = 10 << 10;

/// One after the other: what is counted is that of the whole process.
#[test]
fn nothing_grows() {
    watched(|| {
        let steady = pool(2).build().unwrap();
        let replacing = pool(2).max_tasks_per_child(1).build().unwrap();
        part("200 maps on one pool", 200, || map(&steady));
        part("50 pools", 50, || map(&pool(2).build().unwrap()));
        part("300 replacements", 30, || {
            let pids: Vec<u32> = replacing.map_chunked("pid", 0..10, 1).unwrap();
            assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 10, "{pids:?}");
        });
        drop(replacing);
        an_idle_pool_uses_no_cpu(&steady);
        a_million_tasks_through_imap(&steady);
    });
    a_million_tasks_on_the_command_line();
}

fn map(pool: &Pool) {
    let squares: Vec<u64> = pool.map("square", 0..200_u64).unwrap();
    assert!(squares.iter().zip(0..).all(|(&square, n)| square == n * n));
}

/// Runs rounds to warm up, then so many that count, and compares what there is before and after.
#[track_caller]
fn part(name: &str, rounds: u32, round: impl Fn()) {
    for _ in 0..rounds.div_ceil(10) {
        round();
    }
    let before = (Things::settled(), memory());
    for _ in 0..rounds {
        round();
    }
    before.0.expect_again(name);
    let memory = memory();
    assert!(memory <= before.1 + GROWTH, "{name}: from {} to {memory} KiB", before.1);
}

/// To let time pass is the very thing that is tested here: for so long nothing may happen.
const IDLE: Duration = Duration::from_secs(2);

/// CPU time is counted in ticks of 10 ms, of which one may be about to fill.
const IDLE_TICKS: u64 = 1;

/// A poll of whatever kind wakes more often than this, even if it takes no time to speak of.
const IDLE_WAKES: u64 = 3;

fn an_idle_pool_uses_no_cpu(pool: &Pool) {
    map(pool);
    Things::settled();
    let children: Vec<u32> = children().into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(children.len(), 3, "two workers and the guardian");
    let before = Activity::of_all(&children);
    Deadline::after(IDLE).pause(IDLE);
    let after = Activity::of_all(&children);
    assert!(after.ticks <= before.ticks + IDLE_TICKS, "CPU: {before:?} to {after:?}");
    assert!(after.wakes <= before.wakes + IDLE_WAKES, "wakes: {before:?} to {after:?}");
}

/// What this process and its children have done so far, apart from the thread that asks.
#[derive(Debug)]
struct Activity {
    /// CPU time, in ticks.
    ticks: u64,
    /// How often a thread began to wait.
    wakes: u64,
}

impl Activity {
    fn of_all(children: &[u32]) -> Self {
        let own = fs::read_link("/proc/thread-self").unwrap();
        let own = own.file_name().unwrap().to_owned();
        let directories = children.iter().map(|pid| format!("/proc/{pid}/task"));
        let mut all = Self { ticks: 0, wakes: 0 };
        for directory in directories.chain(["/proc/self/task".to_owned()]) {
            for thread in fs::read_dir(directory).unwrap().flatten() {
                if thread.file_name() != own {
                    all.add(&thread.path().display().to_string());
                }
            }
        }
        all
    }

    fn add(&mut self, thread: &str) {
        let times = fields(&format!("{thread}/stat"), |fields| {
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        });
        self.ticks += times.expect("a thread of an idle pool stays");
        let status = fs::read_to_string(format!("{thread}/status")).unwrap();
        let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        self.wakes += waits.unwrap().trim().parse::<u64>().unwrap();
    }
}

fn a_million_tasks_through_imap(pool: &Pool) {
    const MAX_GROWTH: u64 = 100 << 10;
    let options = ImapOptions { chunk_size: 100, ..ImapOptions::default() };
    let start = memory();
    let mut most = start;
    let squares = pool.imap_with::<_, u64>("square", 0..1_000_000_u64, options).unwrap();
    for (n, square) in (0..).zip(squares) {
        assert_eq!(square.unwrap(), n * n);
        if n % 10_000 == 0 {
            most = most.max(memory());
        }
    }
    assert!(most < start + MAX_GROWTH, "from {start} to {most} KiB");
}

fn a_million_tasks_on_the_command_line() {
    const TASKS: u64 = 1_000_000;
    const WATCHDOG: Duration = Duration::from_secs(120);
    const MAX_GROWTH: u64 = 100 << 10;
    // In chunks, because one by one takes a build without optimization half a minute.
    let program = master(["map", "square", "--processes", "2", "--chunksize", "100"]);
    let mut running = program.stdin_open().watchdog(WATCHDOG).start();
    running.write_line("0");
    assert_eq!(running.next_line(), "0");
    let start = running.peak_memory();
    let mut stdin = running.take_stdin().unwrap();
    // It is handed back open, so that the master lives until its memory was looked at.
    let writer = thread::spawn(move || {
        for first in (1..TASKS).step_by(1000) {
            let lines: String =
                (first..TASKS.min(first + 1000)).map(|n| format!("{n}\n")).collect();
            stdin.write_all(lines.as_bytes()).unwrap();
        }
        stdin
    });
    for n in 1..TASKS {
        let line = running.next_line();
        assert!(line.parse() == Ok(n * n), "{n}: {line}");
    }
    let peak = running.peak_memory();
    drop(writer.join().unwrap());
    running.finish().ended(0).was_quiet();
    assert!(peak < start + MAX_GROWTH, "from {start} to {peak} KiB");
}
