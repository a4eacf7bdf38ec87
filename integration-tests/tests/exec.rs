//! `worker-exec` under the real master: what a user of a shell sees.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use integration_tests::{Program, executables, master};

/// `master map --worker "worker-exec COMMAND" FUNCTION`, with these inputs, one worker.
fn map(command: &str, function: &str, inputs: &[&str]) -> Program {
    let worker = format!("worker-exec {command}");
    master(["map", "--processes", "1", "--worker", &worker, function])
        .args(inputs)
        .link("worker-exec", &executables().worker_exec)
}

#[test]
fn lines_and_values() {
    map("cat", "line", &["1", "two", "true", r#""a b""#])
        .run()
        .ended(0)
        .printed("\"1\"\n\"two\"\n\"true\"\n\"a b\"\n")
        .was_quiet();
    map("cat", "json", &["1", "two", r#"{"a":[1.5,null]}"#])
        .run()
        .ended(0)
        .printed("1\n\"two\"\n{\"a\":[1.5,null]}\n");
}

#[test]
fn each_worker_has_a_warm_command_of_its_own() {
    let input: String = (0..2000).map(|number| format!("{number}\n")).collect();
    let expected: String = (0..2000).map(|number| format!("\"<{number}>\"\n")).collect();
    master(["map", "--processes", "3", "--worker", "worker-exec sed -u 's/.*/<&>/'", "line"])
        .link("worker-exec", &executables().worker_exec)
        .stdin(input)
        .run()
        .ended(0)
        .printed(&expected)
        .was_quiet();
}

#[test]
fn a_command_that_ends_costs_one_call() {
    let script = r#"'while read -r line; do [ "$line" != bad ] || { echo why >&2; exit 7; }; echo "$line"; done'"#;
    map(&format!("sh -c {script}"), "line", &["a", "bad", "b"])
        .run()
        .ended(1)
        .printed("\"a\"\n\"b\"\n")
        .said("input 2: CommandEnded: ")
        .said("ended with exit status 7 before it gave an answer")
        .said("] why\n");
}

/// Which of the lines it had not taken goes to the next one.
#[test]
fn a_command_that_ends_after_some_lines_costs_none() {
    let input: String = (0..60).map(|number| format!("{number}\n")).collect();
    let expected: String = (0..60).map(|number| format!("\"{number}\"\n")).collect();
    let two = master(["map", "--processes", "1", "--worker", "worker-exec sed -u 2q", "line"]);
    let two = two.link("worker-exec", &executables().worker_exec).stdin(input).run();
    two.ended(0).printed(&expected).was_quiet();
    // One that never answers is to blame for the line that it was started for.
    map("true", "line", &["1", "2"]).run().ended(1).said("input 1: ").said("input 2: ");
}

#[test]
fn a_command_has_time_for_the_end_of_its_input() {
    let script = "'while read -r line; do echo \"$line\"; done; sleep 1.5; echo done > end'";
    let run = map(&format!("sh -c {script}"), "line", &["1"]);
    let end = run.directory().join("end");
    let running = run.start();
    running.wait_for_file("end");
    assert!(end.exists());
    running.finish().ended(0).printed("\"1\"\n").was_quiet();
    let script = "'while read -r line; do echo \"$line\"; done; exit 3'";
    let finished = map(&format!("sh -c {script}"), "line", &["1"]).run();
    finished.ended(0).said("ended with exit status 3 at the end of its input");
}

#[test]
fn a_command_that_does_not_answer_is_ended_at_the_timeout() {
    let script = r#"'while read -r line; do [ "$line" = mute ] || echo "$line"; done'"#;
    map(&format!("sh -c {script}"), "line", &["a", "mute", "b"])
        .args(["--timeout", "300ms"])
        .run()
        .ended(1)
        .printed("\"a\"\n\"b\"\n")
        .said("input 2: timed out");
}

#[test]
fn an_answer_of_two_lines_is_an_error_and_does_not_shift_the_others() {
    // Both lines in one piece, so that none of them comes too late to be seen.
    map(r"sed -u 's/two/two\n2/'", "line", &["one", "two", "three"])
        .run()
        .ended(1)
        .printed("\"one\"\n\"three\"\n")
        .said("input 2: UnaskedOutput: ")
        .said(r#"wrote "2\n", which was not asked for"#);
}

#[test]
fn a_command_that_cannot_be_run_fails_the_pool_at_once() {
    for (command, problem) in [
        ("no-such-command", "cannot run `no-such-command`: there is no such command"),
        ("", "there is no command to run"),
    ] {
        map(command, "line", &["1"]).run().ended(3).printed("").said(problem);
    }
}
