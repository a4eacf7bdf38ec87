//! What stays bounded, whatever workers do: the memory of the master, the number of starts, and
//! the time that a pool takes to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{io::Write as _, iter::repeat_n, thread, time::Duration};

use integration_tests::{
    Deadline, Running, check_all,
    library::{pool, watched},
    master, master_with,
    misbehaving::SHARED_OUTPUT_VARIABLE,
};
use rustix::process::{Pid, Signal, kill_process};
use support::{Mark, wait_until};

/// How much memory the master may need for what a worker does, in KiB. What is thrown at it below
/// is several times as much.
const GROWTH: u64 = 16 << 10;

/// A run that has given a result, and how much memory it had needed by then.
fn warmed_up(mode: &str, options: &[&str]) -> (Running, u64) {
    let mut running = master_with(mode, "map", ["--processes", "1"])
        .args(options)
        .arg("echo")
        .stdin_open()
        .start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    let before = running.peak_memory();
    (running, before)
}

#[track_caller]
fn assert_bounded(what: &str, before: u64, peak: u64) {
    assert!(peak < before + GROWTH, "{what}: from {before} to {peak} KiB");
}

#[test]
fn memory_does_not_grow_with_what_a_worker_prints() {
    check_all(&["floods-stderr 100", "floods-stdout 100", "long-line 100"], |mode| {
        let (mut running, before) = warmed_up(mode, &[]);
        running.write_line("\"bad\"");
        assert_eq!(running.next_line(), "true");
        let peak = running.peak_memory();
        running.finish().ended(0);
        assert_bounded(mode, before, peak);
    });
}

/// What nobody reads does not pile up either.
#[test]
fn memory_does_not_grow_with_what_nobody_reads() {
    let mut running = master_with("floods-stderr 100", "map", ["--processes", "1", "echo"])
        .leave_stderr_unread()
        .stdin_open()
        .start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    let before = running.peak_memory();
    running.write_line("\"bad\"");
    assert_eq!(running.next_line(), "true");
    let peak = running.peak_memory();
    running.finish().ended(0);
    assert_bounded("a flood that nobody reads", before, peak);
}

/// Each mode claims or begins a frame that does not come. What came right behind may be lost too.
#[test]
fn memory_does_not_grow_with_a_length_that_was_only_claimed() {
    check_all(&["half-a-result-then-hang", "garbage-after-result"], |mode| {
        let (mut running, before) = warmed_up(mode, &["--timeout", "1s"]);
        for line in ["\"bad\"", "2", "3"] {
            running.write_line(line);
        }
        while running.next_line() != "3" {}
        let peak = running.peak_memory();
        assert!(running.finish().status <= 1);
        assert_bounded(mode, before, peak);
    });
}

/// A hello that claims 4 GiB fails that start, and memory is looked at when the next has served.
#[test]
fn memory_does_not_grow_with_a_length_that_a_stranger_claimed() {
    let mut running = master(["map", "--worker", "second-time-lucky", "--processes", "1", "echo"])
        .script(
            "second-time-lucky",
            "mkdir tried 2> /dev/null && exec misbehaving-worker huge-length\n\
             exec misbehaving-worker well-behaved",
        )
        .count_starts()
        .stdin_open()
        .start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    assert_eq!(running.starts().len(), 2, "the first start failed");
    let peak = running.peak_memory();
    running.finish().ended(0);
    assert_bounded("a hello of 4 GiB", 0, peak);
}

/// 24 inputs of 8 MiB, of which a worker never reads more than its socket takes. The inputs that
/// wait are bounded to some 64 MiB; each may be held as a line, as JSON and as MessagePack.
#[test]
fn memory_does_not_grow_with_inputs_that_a_worker_never_reads() {
    const INPUTS: usize = 24;
    const MOST: u64 = 96 << 10;
    let arguments = ["--processes", "4", "--timeout", "300ms", "echo"];
    let mut running = master_with("never-reads", "map", arguments).stdin_open().start();
    let mut stdin = running.take_stdin().unwrap();
    let writer = thread::spawn(move || {
        let line = format!("\"{}\"\n", "x".repeat(8 << 20));
        for _ in 0..INPUTS {
            stdin.write_all(line.as_bytes()).unwrap();
        }
        stdin
    });
    running.wait_for_stderr(&format!("input {INPUTS}"));
    let peak = running.peak_memory();
    drop(writer.join().unwrap());
    let finished = running.finish();
    finished.ended(1).printed("");
    let timed_out = finished.stderr.lines().filter(|line| line.contains("timed out"));
    assert_eq!(timed_out.count(), INPUTS, "{}", finished.describe());
    assert!(peak < MOST, "{peak} KiB");
}

/// The same through the library is in `pool.rs`.
#[test]
fn two_hundred_deaths_on_the_command_line() {
    let odd = (0..200).map(|number| 2 * number + 1);
    let even: Vec<String> = (0..20).map(|number| format!("{}\n", 2 * number)).collect();
    let lines: String = odd.map(|number| format!("{number}\n")).chain(even.clone()).collect();
    let cases: [(&[&str], &str); 3] =
        [(&["--chunksize", "1"], "off"), (&[], "off"), (&["--chunksize", "28"], "on")];
    check_all(&cases, |&(options, keeps)| {
        let finished = master_with("well-behaved", "map", ["--processes", "2"])
            .args(options)
            .arg("crash_if_odd")
            .stdin(lines.as_str())
            .env(SHARED_OUTPUT_VARIABLE, keeps)
            .count_starts()
            .run();
        finished.ended(1).printed(&even.concat());
        let lost = finished.stderr.lines().filter(|line| line.contains("lost: "));
        assert_eq!(lost.count(), 200, "{}", finished.describe());
        assert!(finished.starts.len() <= 202, "{} starts", finished.starts.len());
    });
}

/// How long a pool waits for a worker that it has asked to leave, and room for a machine that is
/// busy.
const DRAIN: Duration = Duration::from_secs(5);
const ROOM: Duration = Duration::from_secs(4);

/// A process that is stopped neither reads nor ends by SIGTERM, unless it is made to go on.
#[test]
fn a_worker_that_is_stopped_holds_up_the_end_for_so_long_and_no_longer() {
    let check = |close: bool| {
        let mark = Mark::new();
        let pool = mark.on(pool(2)).build().unwrap();
        let pid: u32 = pool.apply("pid", (0,)).unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let deadline = Deadline::after(if close { DRAIN + ROOM } else { ROOM });
        if close {
            pool.close()
        } else {
            pool.terminate()
        }
        assert!(pool.join_timeout(deadline.left()).unwrap(), "it did not end");
        assert_eq!(mark.alive(), 0);
    };
    watched(move || {
        thread::scope(|scope| {
            let both = [true, false].map(|close| scope.spawn(move || check(close)));
            for thread in both {
                thread.join().unwrap();
            }
        });
    });
}

/// A worker that is stopped with a task in hand costs that task, and delays no other.
#[test]
fn a_worker_that_is_stopped_in_a_call_costs_that_call() {
    watched(|| {
        let pool = pool(2).task_timeout(Duration::from_secs(1)).build().unwrap();
        let mark = Mark::new();
        let path = mark.file("pid");
        let script = format!("echo $PPID > {path}.new; mv {path}.new {path}; sleep 60");
        let endless = pool.apply_async::<master::Encoded>("exec", support::shell(&script, &[]));
        let endless = endless.unwrap();
        wait_until("the call runs", || !mark.lines("pid").is_empty());
        let pid: i32 = mark.lines("pid")[0].parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
        let squares: Vec<u64> = pool.map_chunked("square", repeat_n(3, 100), 1).unwrap();
        assert_eq!(squares, [9; 100]);
        let error = endless.get().unwrap_err();
        assert!(matches!(error, master::Error::TimedOut(_)), "{error}");
        assert_eq!(pool.map_chunked::<_, u64>("square", [4, 5], 1).unwrap(), [16, 25]);
    });
}

/// What a worker has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Buffers that large messages needed are kept for the next ones, and for a moment only.
#[test]
fn an_idle_worker_gives_back_what_large_messages_needed() {
    /// How much more it may have than before, in KiB.
    const MORE: u64 = 2 << 10;
    watched(|| {
        let pool = pool(1).build().unwrap();
        let pid: u32 = pool.apply("pid", (0,)).unwrap();
        let before = resident(pid);
        for size in [100 << 10, 1 << 20, 3 << 20, 12 << 20, 40 << 20, 64 << 20] {
            let sent = serde_bytes::ByteBuf::from(vec![7; size]);
            for _ in 0..3 {
                assert!(pool.apply::<serde_bytes::ByteBuf>("echo", (&sent,)).unwrap() == sent);
            }
            wait_until("it has given back what it does not need", || resident(pid) < before + MORE);
        }
    });
}
