//! `master check`: the workers of this project pass, and whatever the misbehaving worker does is
//! found by the requirement that it breaks.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use integration_tests::{Running, check_all, master, misbehaving};
use rustix::process::Signal;
use serde_json::Value;

#[path = "support/processes.rs"]
mod processes;

const ORDER: &str = "items are answered in order";
const LIFE: &str = "a whole life without a call";
const PANIC: &str = "a function that panics";
const CHILDREN: &str = "a process that a worker has started";
const PROGRESS: &str = "items in order, where progress was agreed on";
const CANCEL: &str = "an item that has not ended when it is cancelled";
const KEEPING: &str = "items in order, where answers may be kept";
const SHARING: &str = "items in order, where large results may be shared";

/// What each mode breaks, and the case that finds it.
const BREACHES: &[(&str, &str, &str)] = &[
    ("never-connects", LIFE, "W-4"),
    ("exits-at-once", LIFE, "W-4"),
    ("prints-text", LIFE, "W-4"),
    ("prints-text-and-stays", LIFE, "W-4"),
    ("connects-and-stays-silent", LIFE, "W-16"),
    ("connects-and-exits", LIFE, "W-16"),
    ("wrong-token", LIFE, "W-18"),
    ("no-token", LIFE, "W-18"),
    ("old-token", LIFE, "W-4"),
    ("future-version", LIFE, "W-18"),
    ("garbage-hello", LIFE, "W-16"),
    ("speaks-another-protocol", LIFE, "W-9"),
    ("half-a-hello-then-exit", LIFE, "W-16"),
    ("huge-length", LIFE, "W-9"),
    ("hello-over-64k", LIFE, "W-9"),
    ("hello-twice", LIFE, "W-16"),
    ("ready-before-hello", LIFE, "W-16"),
    ("silent-after-welcome", LIFE, "W-19"),
    ("exits-after-welcome", LIFE, "W-19"),
    ("initializer-fails", LIFE, "W-19"),
    ("replies-before-any-call", ORDER, "W-27"),
    ("never-reads", ORDER, "W-27"),
    ("leaves-unasked", "nothing is said before the welcome", "W-35"),
    ("hang-in-call", CHILDREN, "W-3"),
    ("leaves-its-children", CHILDREN, "W-3"),
    ("crashes-when-ready", "nothing is said before the welcome", "W-35"),
    ("ignores-drain", LIFE, "W-23"),
    ("answers-after-end", ORDER, "W-27"),
    ("crash-in-call", ORDER, "W-27"),
    ("crash-in-call", PANIC, "W-30"),
    ("abort", ORDER, "W-27"),
    ("exit-0-in-call", ORDER, "W-27"),
    ("hang-in-call", ORDER, "W-27"),
    ("hang-in-call", PANIC, "W-30"),
    ("hang-in-call-ignoring-sigterm", ORDER, "W-27"),
    ("half-a-result-then-exit", ORDER, "W-27"),
    ("half-a-result-then-hang", ORDER, "W-27"),
    ("replies-twice", ORDER, "W-27"),
    ("replies-with-unknown-id", ORDER, "W-27"),
    ("replies-with-old-id", ORDER, "W-27"),
    ("progress-unasked", ORDER, "W-38"),
    ("replies-out-of-order", ORDER, "W-26"),
    ("result-without-payload", ORDER, "W-21"),
    ("malformed-payload", ORDER, "W-15"),
    ("two-values", ORDER, "W-21"),
    ("error-with-malformed-payload", ORDER, "W-15"),
    ("malformed-envelope", ORDER, "W-12"),
    ("garbage-after-result", ORDER, "W-9"),
    ("dies-after-reply", ORDER, "W-27"),
    ("closes-socket-in-call-but-lives", ORDER, "W-27"),
    ("grandchild-holds-socket-and-pipes", ORDER, "W-27"),
    ("progress-of-another-item", PROGRESS, "W-38"),
    ("progress-flood", PROGRESS, "W-39"),
    ("progress-flood 1000000000", PROGRESS, "W-27"),
    ("progress-then-silent", PROGRESS, "W-27"),
    ("ignores-cancel", CANCEL, "W-40"),
    ("keeps-nonsense", KEEPING, "W-44"),
    ("keeps-nonsense-then-exits", KEEPING, "W-44"),
    ("keeps-wrong-held", KEEPING, "W-46"),
    ("keeps-old-answer", KEEPING, "W-27"),
    ("keeps-an-answer-twice", KEEPING, "W-27"),
    ("shares-outside", SHARING, "W-52"),
    ("shares-much", SHARING, "W-52"),
    ("shares-twice", SHARING, "W-27"),
    ("shares-then-exits", SHARING, "W-27"),
    ("shares-two-values", SHARING, "W-52"),
    ("shares-unasked", KEEPING, "W-52"),
];

/// Modes that break nothing that binds a worker, with a case in which they strike.
/// Some answer a `bad` item with another value, which is no echo, and is found.
const NO_BREACHES: &[(&str, &str, &[&str])] = &[
    ("well-behaved", LIFE, &[]),
    ("well-behaved", ORDER, &[]),
    ("floods-stderr", ORDER, &["W-61"]),
    ("floods-stdout", ORDER, &["W-61"]),
    ("long-line", ORDER, &["W-61"]),
    ("heeds-cancel", CANCEL, &[]),
    ("shrinks-its-shared-output", KEEPING, &["W-61"]),
];

/// The requirements that a mode is found to break in one case.
fn broken(mode: &str, case: &str) -> Vec<String> {
    let arguments = ["-k", case, "--patience", "2s", "--json"];
    let command = format!("misbehaving-worker {mode}");
    let finished = master(["check"]).arg(command).args(arguments).run();
    let report: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", finished.describe()));
    let all = report["requirements"].as_array().expect("an array");
    let failed = all.iter().filter(|requirement| requirement["verdict"] == "fail");
    failed.map(|requirement| requirement["id"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn each_misdeed_is_found_by_the_requirement_that_it_breaks() {
    check_all(BREACHES, |&(mode, case, requirement)| {
        let broken = broken(mode, case);
        assert!(broken.iter().any(|id| id == requirement), "{mode}: {broken:?}");
    });
}

#[test]
fn what_is_no_misdeed_is_not_found() {
    check_all(NO_BREACHES, |&(mode, case, found)| {
        assert_eq!(broken(mode, case), found, "{mode}");
    });
}

#[test]
fn every_mode_is_tried() {
    let known: BTreeSet<&str> = BREACHES
        .iter()
        .map(|(mode, ..)| *mode)
        .chain(NO_BREACHES.iter().map(|(mode, ..)| *mode))
        .collect();
    let missing: Vec<_> = misbehaving::names().filter(|mode| !known.contains(mode)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_reference_worker_passes_in_everything() {
    let finished = master(["check", "worker --conformance", "--patience", "10s"]).run();
    finished.ended(0).was_quiet().shows("W-26  required     pass");
    finished.shows(" 0 fail, 0 not applicable, 0 not tested");
}

#[test]
fn what_could_not_be_tried_is_not_a_pass() {
    // Without the flag it has no function `remember`.
    let finished = master(["check", "worker", "-k", "W-25"]).run();
    finished
        .ended(3)
        .shows("not tested: the worker has no functions `print`, `recall`, `remember`");
    finished
        .shows("takes the conformance functions `print`, `recall`, `remember`, as in section 23");
    // Nothing that it does have is in the way.
    let finished = master(["check", "worker", "--no-large", "--json"]).run();
    let report: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert_eq!((finished.status, &report["fail"]), (3, &0.into()));
    let missing =
        ["environment", "nest", "panic", "print", "recall", "remember", "repeat", "spawn"];
    assert_eq!(report["missing_functions"], Value::from(missing.to_vec()));
    let finished = master(["check", "worker --conformance", "-k", "W-34", "--no-large"]).run();
    finished.ended(3).shows("not tested: bodies of a gigabyte were left out");
    // One of several cases that try it was left out, and the others passed.
    let finished = master(["check", "worker --conformance", "-k", "W-21", "--no-large"]).run();
    finished.ended(3).shows("W-21  required     not tested: bodies of a gigabyte were left out");
}

#[test]
fn a_failure_is_told_with_its_evidence() {
    let arguments = ["check", "misbehaving-worker malformed-payload", "-k", ORDER];
    let finished = master(arguments).run();
    finished
        .ended(1)
        .shows("W-15  required     fail: A payload value that a worker sends")
        .shows("the byte c1 stands for no value")
        .shows("when:     items are answered in order")
        .shows("came:     81 a6 72 65 73 75 6c 74 82");
}

#[test]
fn one_that_does_not_get_ready_is_not_waited_for_again_and_again() {
    let finished = master(["check", "misbehaving-worker exits-at-once 3"]).run();
    finished.ended(1).shows("W-4   required     fail").shows("no wish to work");
    finished.shows("W-26  required     not tested");
}

#[test]
fn mistakes_are_told() {
    let finished = master(["check", "no-such-worker"]).run();
    finished.ended(3).said("no-such-worker");
    let finished = master(["check", "worker", "-k", "W-999"]).run();
    finished.ended(2).said("-k W-999 names nothing");
    master(["check"]).run().ended(2).said("COMMAND");
}

#[test]
fn the_requirements_are_listed() {
    let finished = master(["check", "--list"]).run();
    finished.ended(0).shows("W-1   required     A worker that waits for a message");
    finished.shows("\n      case: a function that panics\n");
    let finished = master(["check", "--list", "--json"]).run();
    let list: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let first = &list[0];
    assert_eq!((&first["id"], &first["level"]), (&"W-1".into(), &"required".into()));
    assert_eq!(first["cases"][0], "the socket closes while it waits for a call");
}

/// A check that waits for an answer that does not come.
fn endless_check() -> Running {
    let running = master(["check", "misbehaving-worker hang-in-call-ignoring-sigterm"])
        .arg("-k")
        .arg(ORDER)
        .args(["--patience", "10m"])
        .count_starts()
        .start();
    running.wait_for_file("starts");
    running
}

#[test]
fn an_interrupted_check_leaves_nothing() {
    let running = endless_check();
    running.signal(Signal::INT);
    // That nothing is left is looked at there.
    running.finish().ended(130);
}

/// Its guardian sees to that.
#[test]
fn a_check_that_is_killed_leaves_nothing() {
    let running = endless_check();
    processes::wait_for_guardian(&running);
    running.signal(Signal::KILL);
    running.finish().ended(137);
}

/// Every requirement for workers has a case that tries it.
#[test]
fn nothing_is_left_untried() {
    let finished = master(["check", "misbehaving-worker exits-at-once", "--json"]).run();
    let report: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let tried = report["requirements"].as_array().expect("an array").len();
    let all = protocol::spec::requirements();
    let workers = all.filter(|one| one.side == protocol::spec::Side::Worker).count();
    assert_eq!(tried, workers);
}
