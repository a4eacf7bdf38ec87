//! Recordings played to other workers: what they answer otherwise is found, and what cannot be
//! the same again is left out and told.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::{fs, path::PathBuf};

use integration_tests::{Finished, Program, check_all, master, master_with};
use master::recording::{Direction, Reader, Record, Recorder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A recording that was made.
struct Recording {
    _directory: TempDir,
    path: PathBuf,
}

impl Recording {
    /// The recording of this run.
    fn of(program: Program) -> Self {
        let directory = tempfile::Builder::new().prefix("replay-").tempdir().unwrap();
        let path = directory.path().join("recording");
        program.arg("--record").arg(&path).run();
        Self { path, _directory: directory }
    }

    /// The recording of a map over these inputs, all sent together to one worker.
    fn of_map(arguments: &[&str]) -> Self {
        Self::of(master(["map", "--processes", "1", "--chunksize", "100"]).args(arguments))
    }

    fn program(&self, worker: &str) -> Program {
        master(["replay", "--worker", worker]).arg(&self.path)
    }

    fn replay(&self, worker: &str) -> Finished {
        self.program(worker).run()
    }
}

#[test]
fn the_same_worker_answers_the_same() {
    let cases: &[&[&str]] = &[
        &["map", "square", "2", "3", "x"],
        &["map", "--processes", "3", "--chunksize", "1", "square", "1", "2", "3", "4", "5"],
        &["starmap", "sleep", "[0, 1.5]", "[0, [null, {\"a\": \"b\"}]]"],
        &["map", "--kwargs", "{\"seconds\": 0}", "square", "1", "2"],
        &["map", "--initializer", "echo", "--initargs", "[1]", "echo", "1"],
        &["map", "--max-tasks-per-child", "1", "--processes", "1", "square", "1", "2", "3"],
        &["apply", "fail", "because"],
        &["map", "--initializer", "fail", "--initargs", "[\"no\"]", "echo", "1"],
    ];
    check_all(cases, |arguments| {
        let finished = Recording::of(master(*arguments)).replay("worker");
        finished.ended(0).printed("").said("0 differences");
    });
}

#[test]
fn each_difference_is_a_line_with_both_answers() {
    let recording = Recording::of_map(&["square", "2", "3", "4", "5", "7", "x"]);
    let finished = recording.replay("other-worker");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let expected = [
        "worker 0/0: call 0, item 1, square(3): recorded 9, now 10",
        "worker 0/0: call 0, item 2, square(4): recorded 16, now an error (ValueError: 4 is not for \
         squares)",
        "worker 0/0: call 0, item 4, square(7): recorded 49, now 49.0",
    ];
    assert_eq!(lines, expected, "{}", finished.describe());
    finished.ended(1).said("6 answers of 1 worker compared");
    finished.said("1 error of the same kind with another message");
    // It has few other functions, which is no difference here.
    finished.said("functions that the recorded one had and that nobody called: cube, ");
    // The other way round.
    let other = ["map", "--worker", "other-worker", "--processes", "1", "square", "3", "4"];
    let finished = Recording::of(master(other)).replay("worker");
    finished.ended(1).said("2 differences");
    assert!(finished.stdout.contains("square(4): recorded an error (ValueError: "));
    assert!(finished.stdout.contains(", now 16\n"), "{}", finished.describe());
}

#[test]
fn differences_for_machines() {
    let recording = Recording::of_map(&["square", "--kwargs", "{\"seconds\": 0}", "2", "3", "4"]);
    let finished = recording.program("other-worker").arg("--json").run();
    let lines = finished.ended(1).stdout.lines();
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers: Vec<_> = lines.iter().filter(|line| line["call"].is_u64()).collect();
    let expected = json!({
        "worker": 0, "slot": 0, "call": 0, "item": 1, "function": "square", "arguments": [3],
        "keywords": {"seconds": 0}, "recorded": {"value": 9}, "now": {"value": 10}, "at": "$",
    });
    assert_eq!(*answers[0], expected);
    assert_eq!(answers[1]["now"]["error"]["kind"], "ValueError");
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!((&summary["answers"], answers.len()), (&json!(3), 2), "{summary}");
}

#[test]
fn floats_may_differ_by_the_tolerance() {
    let recording = Recording::of_map(&["echo", "0.5", "[1, 2.5]"]);
    let finished = recording.replay("other-worker");
    finished.ended(1);
    let line = "call 0, item 0, echo(0.5): recorded 0.5, now 0.500000000001";
    assert!(finished.stdout.contains(line), "{}", finished.describe());
    let finished = recording.program("other-worker").args(["--tolerance", "1e-9"]).run();
    assert!(!finished.stdout.contains("echo"), "{}", finished.describe());
}

#[test]
fn a_worker_that_dies_or_does_not_answer_is_a_difference_and_the_rest_is_left_out() {
    let recording = Recording::of_map(&["square", "2", "6", "3"]);
    let finished = recording.replay("other-worker");
    let text = "square(6): recorded 36, now the worker exited with status 6";
    assert!(finished.stdout.contains(text), "{}", finished.describe());
    finished.ended(1).said("left out: 1 answer of worker 0, behind what ended its replay");
    let recording = Recording::of_map(&["square", "2", "8", "3"]);
    let finished = recording.program("other-worker").args(["--timeout", "300ms"]).run();
    let text = "square(8): recorded 64, now no answer came within 300ms";
    assert!(finished.stdout.contains(text), "{}", finished.describe());
    finished.ended(1).said("left out: 1 answer");
    // Reports of progress are no answer, however many come.
    let program = Recording::of_map(&["echo", "bad"]);
    let program = program.program("misbehaving-worker progress-flood 1000000000");
    let finished = program.args(["--timeout", "300ms"]).run();
    finished.ended(1).shows("now no answer came within 300ms");
    let good = Recording::of(master_with("well-behaved", "map", ["--processes", "1"]).args([
        "--chunksize",
        "9",
        "echo",
        "1",
        "bad",
        "2",
    ]));
    good.replay("misbehaving-worker well-behaved").ended(0).said("3 answers");
    for (mode, text) in [
        ("half-a-result-then-exit", "the worker exited with status 0"),
        ("crash-in-call KILL", "was ended by SIGKILL"),
        ("malformed-envelope", "broke the protocol"),
        ("replies-with-unknown-id", "of call 18446744073709551615 instead"),
        ("closes-socket-in-call-but-lives", "lived on"),
        ("grandchild-holds-socket-and-pipes", "exited with status 8"),
    ] {
        let program = good.program(&format!("misbehaving-worker {mode}"));
        let finished = program.may_leave_processes().run();
        finished.ended(1).said("2 answers of 1 worker compared");
        let line = format!("echo(\"bad\"): recorded \"bad\", now {}", "");
        assert!(finished.stdout.contains(&line), "{mode}: {}", finished.describe());
        assert!(finished.stdout.contains(text), "{mode}: {}", finished.describe());
    }
}

#[test]
fn calls_of_a_function_that_is_missing_are_left_out() {
    let recording = Recording::of_map(&["cube", "2", "3"]);
    let finished = recording.replay("other-worker");
    finished.ended(1).said("0 answers of 1 worker compared");
    finished.said("left out: 2 answers of functions that the worker does not have");
    assert_eq!(finished.stdout, "worker 0/0: there is no function `cube`\n");
    let finished = recording.program("other-worker").arg("--json").run();
    let line: Value =
        serde_json::from_str(finished.ended(1).stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line, json!({ "worker": 0, "slot": 0, "missing_function": "cube" }));
}

#[test]
fn what_is_left_out_of_several_workers_is_one_sum() {
    let each_by_another = ["--max-tasks-per-child", "1", "--processes", "1"];
    let recording = Recording::of(master(["map", "cube", "2", "3", "4"]).args(each_by_another));
    let finished = recording.replay("other-worker");
    finished.ended(1).said("0 answers of 3 workers compared");
    finished.said("left out: 3 answers of functions that the worker does not have");
}

/// An initializer may take as long as in a pool.
#[test]
fn an_initializer_is_no_answer() {
    let slow = ["--initializer", "sleep", "--initargs", "[0.5]"];
    let recording = Recording::of(master(["map", "--processes", "1", "echo", "1"]).args(slow));
    let finished = recording.program("worker").args(["--timeout", "200ms"]).run();
    finished.ended(0).printed("").said("1 answer of 1 worker compared: 0 differences");
}

/// Of the recorded worker that died in a call of three items only the answer before is played.
#[test]
fn what_was_never_answered_is_left_out_and_told() {
    let arguments = ["--processes", "1", "--chunksize", "3", "echo", "1", "bad", "2"];
    for mode in ["half-a-result-then-exit", "crash-in-call KILL", "malformed-envelope"] {
        let recording = Recording::of(master_with(mode, "map", arguments));
        let finished = recording.replay("misbehaving-worker well-behaved");
        finished.ended(0).printed("").said("2 answers of 2 workers compared: 0 differences");
        finished.said("left out: 2 items without an answer in the recording");
    }
    let arguments = ["--processes", "1", "--chunksize", "3", "echo", "1", "bad", "2"];
    let recording = Recording::of(master_with("replies-out-of-order", "map", arguments));
    recording.replay("misbehaving-worker well-behaved").ended(0).said("broke the protocol");
}

#[test]
fn cancelled_items_are_not_compared() {
    // The time limit cancels the first, which the function heeds.
    let starmap = ["starmap", "--processes", "1", "--timeout", "300ms", "tick"];
    let recording = Recording::of(master(starmap).args(["[100, 0.1]", "[1, 0.01]"]));
    let finished = recording.replay("worker");
    finished.ended(0).printed("").said("left out: 1 answer to items that were cancelled");
    finished.said("1 answer of 1 worker compared");
}

#[test]
fn an_initializer_that_fails_in_one_of_the_two_is_a_difference() {
    let fails = ["--initializer", "fail", "--initargs", "[\"no\", \"Kind\"]"];
    let recording = Recording::of(master(["map", "echo", "1"]).args(fails));
    let finished = recording.replay("misbehaving-worker well-behaved");
    finished.ended(1);
    let recorded = "recorded: an error (Kind: no); now: ";
    assert!(finished.stdout.contains(recorded), "{}", finished.describe());
    recording.replay("other-worker").said("0 answers");
    let ready = ["map", "--initializer", "echo", "--initargs", "[1]", "echo", "1"];
    let finished = Recording::of(master(ready)).replay("misbehaving-worker initializer-fails");
    finished.ended(1);
    let now = "recorded: was ready; now: its initializer failed: NoLicence: ";
    assert!(finished.stdout.contains(now), "{}", finished.describe());
}

#[test]
fn a_worker_that_cannot_be_used_is_told() {
    let recording = Recording::of_map(&["square", "2"]);
    for (worker, text) in [
        ("./nowhere", "nowhere"),
        ("misbehaving-worker exits-at-once 42", "exited with status 42 before"),
        ("misbehaving-worker never-connects", "did not introduce itself within 1s"),
        ("misbehaving-worker connects-and-stays-silent", "did not introduce itself within 1s"),
        ("misbehaving-worker connects-and-exits", "hello"),
        ("misbehaving-worker wrong-token", "another token"),
        ("misbehaving-worker garbage-hello", "first"),
        ("misbehaving-worker huge-length", "no frame"),
        ("misbehaving-worker future-version", "versions 999 to 999"),
        ("misbehaving-worker prints-text", "before it introduced itself"),
    ] {
        let finished = recording.program(worker).args(["--start-timeout", "1s"]).run();
        finished.ended(3).printed("").said(text);
    }
    let silent = recording.program("misbehaving-worker silent-after-welcome");
    let finished = silent.args(["--timeout", "300ms"]).run();
    finished.ended(1).said("0 answers");
    assert!(finished.stdout.contains("recorded: was ready; now: no answer came within 300ms"));
}

#[test]
fn a_recording_that_cannot_be_read_is_told_and_one_that_was_cut_is_played() {
    let recording = Recording::of_map(&["square", "2", "3"]);
    let good = fs::read(&recording.path).unwrap();
    // The record of the end.
    let end = good.windows(5).rposition(|window| window == b"\x92\xa3end").unwrap();
    for (bytes, text) in [
        ([&good[..end], b"\xc1garbage"].concat(), "not MessagePack"),
        (b"hello".to_vec(), "no recording"),
        (Vec::new(), "empty"),
    ] {
        fs::write(&recording.path, bytes).unwrap();
        recording.replay("worker").ended(2).printed("").said(text);
    }
    for missing in [1, 30, 60, 90, 120, 200] {
        fs::write(&recording.path, &good[..good.len() - missing]).unwrap();
        recording.replay("worker").ended(0).printed("").said("as far as it goes");
    }
    let nowhere = ["replay", "--worker", "worker", "/nowhere"];
    master(nowhere).run().ended(2).said("cannot open the recording /nowhere");
    master(["replay", "file"]).run().ended(2).said("--worker");
}

#[test]
fn large_values_are_played_while_answers_are_read() {
    let recording = {
        let large = "x".repeat(3 << 20);
        let map = master(["map", "--text", "--processes", "1", "--chunksize", "4", "echo"]);
        Recording::of(map.stdin(format!("{large}\n{large}\n{large}\n{large}\n")))
    };
    recording.replay("worker").ended(0).said("4 answers of 1 worker compared");
    // It has fewer functions, which nobody called, and no features.
    let finished = recording.replay("misbehaving-worker well-behaved");
    finished
        .ended(0)
        .said("4 answers")
        .said("the worker lacks 6 functions")
        .said("does not know the feature `progress`");
}

#[test]
fn an_interrupt_ends_a_replay_and_leaves_nothing() {
    let recording = Recording::of_map(&["square", "3", "8"]);
    let mut running = recording.program("other-worker").start();
    assert!(running.next_line().contains("recorded 9, now 10"));
    running.signal(Signal::INT);
    running.finish().ended(130);
}

#[test]
fn what_a_worker_prints_is_passed_on_aside() {
    let recording = Recording::of_map(&["introduce", "Ada"]);
    let finished = recording.replay("worker");
    finished.ended(0).printed("").said("[worker, pid ").said("] I am Ada, process ");
}

#[test]
fn a_recording_of_a_program_can_be_read_by_it() {
    integration_tests::library::watched(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::create(file.path()).unwrap();
        let pool = integration_tests::library::pool(2).record(&recorder).build().unwrap();
        let squares: Vec<u64> = pool.map("square", 0..1000_u64).unwrap();
        assert_eq!(squares.len(), 1000);
        drop(pool);
        recorder.finish().unwrap();
        let mut reader = Reader::new(file.reopen().unwrap()).unwrap();
        let mut calls = 0;
        while let Some(entry) = reader.next().unwrap() {
            if let Record::Frame { direction: Direction::ToWorker, body, .. } = entry.record {
                calls += usize::from(body.starts_with(b"\x81\xa4call"));
            }
        }
        assert!(reader.is_complete() && calls > 0);
        let worker = integration_tests::library::worker();
        let options = master::replay::ReplayOptions::default();
        let summary =
            master::replay::replay(file.as_file(), &worker, &options, |_| panic!()).unwrap();
        assert_eq!((summary.workers, summary.answers, summary.different), (2, 1000, 0));
    });
}
