//! The reference worker without a master.

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

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use support::{Process, by_hand, reference};

#[test]
fn alone_it_explains_itself() {
    let finished = by_hand::<&str>(&[]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    for expected in [
        "worker 0.1.0: a worker, to be started by a master",
        "master map --worker worker FUNCTION",
        "worker call square 5",
        "\n  square(n, seconds?)                The square of n",
    ] {
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
}

#[test]
fn calls_in_place() {
    for (arguments, stdout) in [
        (&["square", "5"][..], "25"),
        (&["square", "-3"], "9"),
        (&["cube", "-3", "0.001"], "-27"),
        (&["echo", "abc"], r#""abc""#),
        (&["echo", r#"{"a":[1,2.5,null,true]}"#], r#"{"a":[1,2.5,null,true]}"#),
        (&["echo", "--help"], r#""--help""#),
        (&["echo", "--"], r#""--""#),
        (&["echo", "18446744073709551615"], "18446744073709551615"),
        (&["sleep", "0"], "null"),
        (
            &["exec", "sh", r#"["-c","cat; exit 3"]"#, "input"],
            r#"{"status":3,"signal":null,"stdout":"input","stderr":""}"#,
        ),
    ] {
        let finished = by_hand(&[&["call"], arguments].concat());
        assert_eq!(finished.stderr, "", "{arguments:?}");
        assert_eq!(finished.stdout, format!("{stdout}\n"), "{arguments:?}");
        assert_eq!(finished.code, Some(0), "{arguments:?}");
    }
}

#[test]
fn calls_that_fail() {
    for (arguments, code, stderr) in [
        (
            &["call", "square", "4294967296"][..],
            1,
            "Overflow: 4294967296 to the power of 2 does not fit 64 bits\n",
        ),
        (&["call", "square"], 1, "InvalidArguments: `square(n, seconds?)`: takes 1 to 2 arguments"),
        (&["call", "fail", "boo", "Kind"], 1, "Kind: boo\n"),
        (&["call", "exec", "head", r#"["-c","1","/bin/sh"]"#, "--"], 0, ""),
        (
            &["call", "echo", "18446744073709551616"],
            2,
            "worker: argument 1 cannot be sent: the integer 18446744073709551616 is beyond 64 bits",
        ),
        (&["call", "nope"], 2, "worker: no function is named `nope`\n\nFunctions:\n  square"),
        (&["call"], 2, "error: "),
        (&["nope"], 2, "error: "),
    ] {
        let finished = by_hand(arguments);
        assert!(finished.stderr.starts_with(stderr), "{arguments:?}: {finished:?}");
        assert_eq!(finished.code, Some(code), "{arguments:?}");
    }
}

#[test]
fn arguments_that_are_not_utf_8_are_binary() {
    let finished = by_hand(&[OsStr::new("call"), OsStr::new("echo"), OsStr::from_bytes(b"\xff")]);
    assert_eq!(finished.code, Some(1));
    assert_eq!(
        finished.stderr,
        "NotJson: the result cannot be printed as JSON: JSON has no binary data\n"
    );
}

#[test]
fn help_and_version_need_no_master_and_mind_none() {
    for (argument, expected) in
        [("--help", "Usage: worker [OPTIONS] [COMMAND]"), ("--version", "worker 0.1.0\n")]
    {
        let finished = Process::start(reference(), |command| {
            command.env("WORKER_ADDRESS", "/does/not/exist").env("WORKER_TOKEN", "token");
            command.arg(argument);
        })
        .finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        assert!(finished.stdout.contains(expected), "{finished:?}");
    }
}
