//! How a run ends when it is told to, or killed: nobody stays behind.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use std::time::Duration;

use integration_tests::{Deadline, Running, check_all, leftovers, master, master_with};
use rustix::process::Signal;

#[path = "support/processes.rs"]
mod processes;

use processes::wait_for_guardian;

/// How long an end may take that nobody resists.
const SOON: Duration = Duration::from_secs(5);

const ENDINGS: &[(Signal, i32)] =
    &[(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 128 + 9)];

/// Ends a run that has work in hand: the first SIGINT only lets it finish what it has begun.
fn end_busy(running: Running, signal: Signal, status: i32) {
    end_within(SOON, running, signal, status);
}

fn end_within(time: Duration, mut running: Running, signal: Signal, status: i32) {
    if signal == Signal::INT {
        running.signal(signal);
        running.wait_for_stderr("interrupt again");
    }
    end(time, running, signal, status);
}

fn end(time: Duration, running: Running, signal: Signal, status: i32) {
    assert!(leftovers::count_processes(running.mark()) > 1, "the workers carry the mark");
    if signal == Signal::KILL {
        wait_for_guardian(&running);
    }
    let deadline = Deadline::after(time);
    running.signal(signal);
    running.finish().ended(status);
    assert!(!deadline.left().is_zero(), "it took more than {time:?}");
}

#[test]
fn idle_workers_leave() {
    check_all(ENDINGS, |&(signal, status)| {
        let program = master(["map", "--processes", "2", "square"]).stdin_open();
        let mut running = program.start();
        running.write_line("3");
        assert_eq!(running.next_line(), "9");
        // The end of the input would end the run too, and might be seen first.
        let _input = running.take_stdin();
        end(SOON, running, signal, status);
    });
}

#[test]
fn busy_workers_leave() {
    check_all(ENDINGS, |&(signal, status)| {
        let program = master(["starmap", "--processes", "2", "--chunksize", "1", "sleep"]);
        let mut running = program.stdin("[0, \"ready\"]\n[600]\n[600]\n[600]\n").start();
        assert_eq!(running.next_line(), "\"ready\"");
        end_busy(running, signal, status);
    });
}

#[test]
fn what_busy_workers_started_leaves_with_them() {
    check_all(ENDINGS, |&(signal, status)| {
        let item = serde_json::json!(["sh", ["-c", "touch started; sleep 600"]]).to_string();
        let running = master(["starmap", "--processes", "1", "exec", &item]).start();
        running.wait_for_file("started");
        end_busy(running, signal, status);
    });
}

#[test]
fn busy_workers_of_run_leave() {
    check_all(ENDINGS, |&(signal, status)| {
        let program = master(["run", "introduce", "anyone", ":::", "sleep", "600"]);
        let mut running = program.start();
        assert!(running.next_line().contains("anyone"));
        end_busy(running, signal, status);
    });
}

#[test]
fn workers_that_ignore_it_are_killed() {
    check_all(&[(Signal::INT, 130), (Signal::TERM, 143)], |&(signal, status)| {
        let arguments = ["--processes", "1", "--chunksize", "1", "echo", "1", "bad"];
        let mut running = master_with("hang-in-call-ignoring-sigterm", "map", arguments).start();
        assert_eq!(running.next_line(), "1");
        running.wait_for_stderr("this worker hangs");
        end_within(Duration::from_secs(30), running, signal, status);
    });
}

#[test]
fn a_signal_in_the_handshake_ends_the_run_as_well() {
    let arguments = ["--processes", "1", "echo", "1"];
    let program = master_with("prints-text-and-stays", "map", arguments);
    let mut running = program.start();
    running.wait_for_stderr("I am a program like any other");
    end(SOON, running, Signal::INT, 130);
}

#[test]
fn the_first_interrupt_lets_what_has_begun_finish_and_begins_nothing_more() {
    let item = |name| {
        let script = format!("touch started-{name}; until [ -e go-on ]; do sleep 0.01; done");
        serde_json::json!(["sh", ["-c", script]]).to_string()
    };
    let options = ["starmap", "--processes", "1", "--chunksize", "1", "exec"];
    let program = master(options).args([item("first"), item("second")]);
    let directory = program.directory().to_owned();
    let mut running = program.start();
    running.wait_for_file("started-first");
    running.signal(Signal::INT);
    running.wait_for_stderr("interrupt again");
    std::fs::write(directory.join("go-on"), "").unwrap();
    assert!(running.next_line().contains("\"status\":0"));
    assert!(!directory.join("started-second").exists());
    running.finish().ended(130).said("not begun");
}

/// A program that takes half a second to clean up when it is asked to end.
const TIDY: &str = "#!/bin/sh
trap 'sleep 0.5; echo cleaned >> log; exit 0' TERM
echo begun >> log
sleep 600 &
wait
";

/// What a task has started has the same time to end as its worker, which ends at once.
#[test]
fn what_a_task_has_started_has_its_grace() {
    let verbs: &[&[&str]] = &[&["apply"], &["run"]];
    check_all(verbs, |verb| {
        for timeout in [None, Some(["--timeout", "300ms"])] {
            let program = master(*verb).args(timeout.into_iter().flatten());
            let program = program.args(["exec", "./tidy"]);
            let tidy = program.directory().join("tidy");
            integration_tests::write_script(&tidy, TIDY);
            let log = program.directory().join("log");
            let running = program.start();
            running.wait_for_file("log");
            if timeout.is_none() {
                running.signal(Signal::TERM);
            }
            // The directory goes with the run.
            let deadline = Deadline::after(SOON);
            while std::fs::read_to_string(&log).is_ok_and(|log| log == "begun\n") {
                assert!(!deadline.left().is_zero(), "{verb:?}: it had no time to clean up");
                deadline.pause(Duration::from_millis(5));
            }
            running.finish().ended(if timeout.is_none() { 143 } else { 1 });
        }
    });
}

/// And not more than that.
#[test]
fn what_a_task_has_started_is_killed_after_its_grace() {
    let script = "trap '' TERM; echo begun > log; sleep 600";
    let item = serde_json::json!(["-c", script]).to_string();
    let arguments = ["apply", "--grace", "300ms", "exec", "sh", &item];
    let running = master(arguments).start();
    running.wait_for_file("log");
    let deadline = Deadline::after(SOON);
    running.signal(Signal::TERM);
    running.finish().ended(143);
    assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
}
