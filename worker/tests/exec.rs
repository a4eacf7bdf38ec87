//! `worker-exec`: commands that answer a line with a line, warm, and what becomes of those that do
//! not.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::{io::Write, os::unix::process::CommandExt, path::Path};

use protocol::message::{FromMaster, FromWorker, Welcome};
use serde::Serialize;
use serde_bytes::{ByteBuf, Bytes};
use support::{Connection, Finished, Gate, Process, Sign, pack, until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_worker-exec"))
}

fn open(arguments: &[&str]) -> Connection {
    Connection::open_with(program(), |command| {
        command.args(arguments).process_group(0);
    })
}

/// A worker that is ready, around a shell that runs this script.
fn shell(script: &str) -> Connection {
    open(&["sh", "-c", script]).welcomed()
}

fn by_hand(arguments: &[&str]) -> Finished {
    Process::start(program(), |command| {
        command.args(arguments);
    })
    .finish()
}

/// What `line` gives.
fn line(connection: &mut Connection, text: &impl Serialize) -> String {
    connection.call("line", &(text,)).value()
}

/// What `line` fails with.
fn line_fails(connection: &mut Connection, text: &impl Serialize) -> String {
    connection.call("line", &(text,)).error()
}

/// Lines in, each with the process id of the shell before it.
const NUMBERED: &str = "while read -r line; do echo \"$$ $line\"; done";

#[test]
fn one_process_answers_all_lines() {
    let mut connection = shell(NUMBERED);
    let first = line(&mut connection, &"a  b");
    let (process, text) = first.split_once(' ').unwrap();
    assert_eq!(text, "a  b");
    for (number, word) in [(1, "1"), (-2, "-2")] {
        assert_eq!(line(&mut connection, &number), format!("{process} {word}"));
    }
    assert_eq!(line(&mut connection, &true), format!("{process} true"));
    assert_eq!(line(&mut connection, &1.5), format!("{process} 1.5"));
    assert_eq!(line(&mut connection, &""), format!("{process} "));
    connection.send(&FromMaster::Drain {}, &[]);
    let finished = connection.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn lines_may_be_longer_than_a_pipe() {
    let mut connection = open(&["cat"]).welcomed();
    let long = "x".repeat(3 << 20);
    for _ in 0..2 {
        assert!(line(&mut connection, &long) == long);
    }
    assert_eq!(line(&mut connection, &"short"), "short");
}

#[test]
fn bytes_that_are_no_text_are_binary() {
    let mut connection = open(&["cat"]).welcomed();
    let answer = connection.call("line", &(Bytes::new(b"\xff\x00"),));
    assert_eq!(answer.value::<ByteBuf>().into_vec(), b"\xff\x00");
    assert_eq!(line(&mut connection, &Bytes::new(b"text")), "text");
}

#[test]
fn arguments_that_are_no_line() {
    let mut connection = open(&["cat"]).welcomed();
    for (error, problem) in [
        (line_fails(&mut connection, &"a\nb"), "it has a line feed in it"),
        (line_fails(&mut connection, &()), "expected a string, a number or a boolean, found nil"),
        (line_fails(&mut connection, &[1]), "found an array; `json` takes any value"),
        (line_fails(&mut connection, &f64::NAN), "JSON has no NaN"),
        (connection.call("line", &[(); 0]).error(), "`line(text)`: takes 1 argument, found 0"),
        (connection.call("json", &(Bytes::new(b"x"),)).error(), "JSON has no binary data"),
    ] {
        assert!(error.starts_with("InvalidArguments: ") && error.contains(problem), "{error}");
    }
    assert_eq!(line(&mut connection, &"after"), "after");
}

#[test]
fn json_goes_out_compact_and_comes_back_as_values() {
    let mut connection = open(&["cat"]).welcomed();
    let value = (1, "a\nb", [Some(2.0), None], u64::MAX);
    assert_eq!(
        connection.call("json", &(value,)).value::<(i64, String, [Option<f64>; 2], u64)>(),
        { (1, "a\nb".to_owned(), [Some(2.0), None], u64::MAX) }
    );
    assert_eq!(line(&mut connection, &1), "1");
    let mut connection = open(&["sed", "-u", "s/^/x/"]).welcomed();
    assert_eq!(
        connection.call("json", &(5,)).error(),
        "NotJson: the command answered \"x5\", which is no JSON: expected value at line 1 column 1"
    );
}

#[test]
fn a_command_that_ends_in_a_call_fails_it_and_is_started_anew() {
    let script = "while read -r line; do case $line in exit) exit 3;; kill) kill -9 $$;; \
                  part) printf part; exit 0;; *) echo \"$$ $line\";; esac; done";
    let mut connection = shell(script);
    let mut processes = vec![line(&mut connection, &"x")];
    for (word, how) in [
        ("exit", "ended with exit status 3"),
        ("kill", "was ended by signal 9"),
        ("part", "ended with exit status 0"),
    ] {
        let expected = format!("CommandEnded: `sh -c {script}` {how} before it gave an answer");
        assert_eq!(line_fails(&mut connection, &word), expected);
        processes.push(line(&mut connection, &"x"));
    }
    processes.sort();
    processes.dedup();
    assert_eq!(processes.len(), 4, "{processes:?}");
}

#[test]
fn a_command_that_ended_between_two_calls_is_started_anew_without_a_word() {
    let mut connection = shell("read -r line; echo $$");
    let first = line(&mut connection, &"x");
    // The worker reaps it at the next call only.
    until("the shell ends", || {
        let status = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
        status.contains(") Z ")
    });
    assert_ne!(line(&mut connection, &"x"), first);
}

#[test]
fn a_command_that_closes_its_output_and_lives_on_is_killed() {
    let mut connection = shell("read -r line; exec >&-; sleep 1000");
    let error = line_fails(&mut connection, &"x");
    let expected = "closed its input or output without ending, and was killed before";
    assert!(error.starts_with("CommandEnded: ") && error.contains(expected), "{error}");
}

#[test]
fn output_that_nobody_asked_for_is_never_an_answer() {
    // Two lines in one piece: seen with the answer.
    let mut connection = shell("while read -r line; do printf '%s\\nmore\\n' \"$line\"; done");
    for _ in 0..2 {
        let error = line_fails(&mut connection, &"x");
        let expected = "wrote \"more\\n\", which was not asked for";
        assert!(error.starts_with("UnaskedOutput: ") && error.contains(expected), "{error}");
    }

    // A line that comes while nobody asks: seen before the next request.
    let (mut sign, mut gate) = (Sign::new(), Gate::new());
    let mut connection = shell(&format!(
        "exec 9> '{}'; read -r line; echo \"$line\"; read -r go < '{}'; echo late; \
         echo >&9; {NUMBERED}",
        sign.path.display(),
        gate.path.display(),
    ));
    assert_eq!(line(&mut connection, &"x"), "x");
    gate.open();
    sign.wait();
    let error = line_fails(&mut connection, &"y");
    assert!(error.contains("wrote \"late\\n\", which was not asked for"), "{error}");
    // The command was started anew.
    assert_eq!(line(&mut connection, &"z"), "z");
}

#[test]
fn a_greeting_at_each_start_is_noticed_each_time() {
    let mut sign = Sign::new();
    let mut connection = shell(&format!("echo hello; echo > '{}'; exec cat", sign.path.display()));
    sign.wait();
    for _ in 0..2 {
        let error = line_fails(&mut connection, &"x");
        assert!(error.starts_with("UnaskedOutput: "), "{error}");
    }
}

#[test]
fn a_command_that_cannot_be_run_fails_the_start() {
    for (arguments, expected) in [
        (&["no-such-command"][..], "cannot run `no-such-command`: there is no such command"),
        (&["/etc/passwd"], "cannot run `/etc/passwd`: Permission denied"),
        (&[], "there is no command to run"),
    ] {
        let mut connection = open(arguments);
        assert!(matches!(connection.receive().0, FromWorker::Hello(_)));
        connection.send(&FromMaster::Welcome(Welcome { version: 1, ..Welcome::default() }), &[]);
        match connection.receive().0 {
            FromWorker::InitializerFailed(failure) => {
                assert!(failure.message.contains(expected), "{failure:?}");
            }
            other => panic!("expected a failure, found {other:?}"),
        }
        assert_eq!(connection.finish().code, Some(1));
    }
}

#[test]
fn the_command_sees_nothing_of_the_launch_and_leaves_with_the_worker() {
    let mut sign = Sign::new();
    let mut connection = shell(&format!(
        "exec 9> '{}'; echo >&9; read -r line; env | grep -c '^WORKER_'; exec cat",
        sign.path.display()
    ));
    sign.wait();
    assert_eq!(line(&mut connection, &"x"), "0");
    assert_eq!(connection.close().code, Some(0));
    sign.wait_for_end();
}

#[test]
fn a_command_that_ignores_the_end_of_its_input_is_killed() {
    let mut sign = Sign::new();
    let mut connection = shell(&format!(
        "exec 9> '{}'; echo >&9; trap '' TERM; while true; do read -r line; done",
        sign.path.display()
    ));
    sign.wait();
    connection.send(&FromMaster::Drain {}, &[]);
    assert_eq!(connection.finish().code, Some(0));
    sign.wait_for_end();
}

#[test]
fn the_command_goes_with_the_worker_in_the_middle_of_a_call() {
    let mut sign = Sign::new();
    let mut connection =
        shell(&format!("exec 9> '{}'; read -r line; echo >&9; sleep 1000", sign.path.display()));
    connection.send_items("line", &[pack(&("x",))], false);
    sign.wait();
    assert_eq!(connection.close().signal, Some(9));
    sign.wait_for_end();
}

#[test]
fn what_the_command_says_on_standard_error_passes_through() {
    let mut connection = shell("while read -r line; do echo \"saw $line\" >&2; echo; done");
    assert_eq!(line(&mut connection, &"x"), "");
    assert_eq!(connection.close().stderr, "saw x\n");
}

#[test]
fn the_conformance_functions_are_there_if_asked_for() {
    let mut connection = open(&["--conformance", "cat"]).welcomed();
    assert_eq!(connection.call("echo", &(5,)).value::<i64>(), 5);
    assert_eq!(line(&mut connection, &"x"), "x");
    let mut connection = open(&["cat", "--conformance"]);
    let FromWorker::Hello(hello) = connection.receive().0 else { panic!("expected a hello") };
    let names: Vec<_> = hello.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["line", "json"]);
}

#[test]
fn started_by_hand_it_explains_itself() {
    for arguments in [&[][..], &["cat"], &["--conformance", "cat"], &["--nonsense"]] {
        let finished = by_hand(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(finished.stderr.contains("Usage: master VERB --worker 'worker-exec"));
    }
    let finished = by_hand(&["--help"]);
    assert!(finished.code == Some(0) && finished.stdout.contains("line(text)"), "{finished:?}");
    let finished = by_hand(&["--version"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "worker-exec 0.1.0\n"));
}

/// Whether a program is there; if not, says that what needs it was left out, which in CI nothing may
/// be.
fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "there is no `{name}` on PATH, and CI is set");
        // Not by `println!`, which a test that passes keeps to itself.
        let _ = writeln!(std::io::stderr(), "left out: there is no `{name}` on PATH");
    }
    found
}

#[test]
fn ordinary_programs_are_warm_workers() {
    for (words, input, output) in [
        (&["sed", "-u", "s/a/b/"][..], "aaa", "baa"),
        (&["gawk", "{ print $2; fflush() }"], "one two", "two"),
        (&["mawk", "-W", "interactive", "{ print $2 }"], "one two", "two"),
        (&["grep", "--line-buffered", "-o", "[0-9]*"], "abc 17", "17"),
        (&["bc"], "2^70", "1180591620717411303424"),
        (&["jq", "-c", "--unbuffered", ".a"], r#"{"a": [1, 2]}"#, "[1,2]"),
    ] {
        if !is_there(words[0]) {
            continue;
        }
        let mut connection = open(words).welcomed();
        for _ in 0..3 {
            assert_eq!(line(&mut connection, &input), output, "{words:?}");
        }
        connection.send(&FromMaster::Drain {}, &[]);
        assert_eq!(connection.finish().code, Some(0));
    }
}

/// A thousand items in one call, so that a request follows each answer at once.
#[test]
fn many_lines_at_once_keep_their_order() {
    let mut connection = open(&["sed", "-u", "s/$/!/"]).welcomed();
    let items: Vec<_> = (0..1000).map(|number| pack(&(number,))).collect();
    connection.send_items("line", &items, false);
    for number in 0..1000 {
        assert_eq!(connection.answer(1, number).value::<String>(), format!("{number}!"));
    }
    until("the worker sleeps", || support::sleeps(connection.process_id()));
}
