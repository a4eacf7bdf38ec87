//! The conformance functions, which a worker of this crate has when it is started with
//! `--conformance`; tried by hand here, and by the checker of the master over the wire.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn worker(arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "to start a worker by hand is what is tested")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command.args(arguments).output().expect("it can be started")
}

fn gives(arguments: &[&str], result: &str) {
    let output = worker(&[&["--conformance", "call"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((text.trim_end(), output.status.code()), (result, Some(0)), "{arguments:?}");
}

fn fails(arguments: &[&str], failure: &str) {
    let output = worker(&[&["--conformance", "call"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(failure), "{arguments:?}: {text}");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
}

#[test]
fn they_do_what_the_specification_says() {
    gives(&["echo", "[1.5]"], "[1.5]");
    gives(&["sleep", "0", "7"], "7");
    gives(&["nest", "0"], "null");
    gives(&["nest", "1"], "[]");
    gives(&["nest", "3"], "[[[]]]");
    gives(&["repeat", "ab", "3"], r#""ababab""#);
    gives(&["environment", "NO_SUCH_VARIABLE"], "null");
    gives(&["remember", "5"], "null");
    gives(&["recall"], "null");
    gives(&["tick", "2", "0"], "2");
    let process = worker(&["--conformance", "call", "spawn", "0"]);
    assert!(String::from_utf8_lossy(&process.stdout).trim_end().parse::<u32>().is_ok());
    fails(&["fail", "no"], "Error: no");
    fails(&["fail", "no", "Mine", "2"], "Mine: nono");
    fails(&["panic", "oh"], "Panic: oh");
    fails(&["nest", "513"], "InvalidResult");
}

#[test]
fn they_are_there_only_if_asked_for() {
    let named = |arguments: &[&str]| {
        let output = worker(&[arguments, &["--help"]].concat());
        String::from_utf8_lossy(&output.stdout).contains("environment(name)")
    };
    assert!(named(&["--conformance"]) && !named(&[]));
    assert_eq!(worker(&["--conformance"]).status.code(), Some(2), "it was started by hand");
}
