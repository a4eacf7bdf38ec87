//! Workers in other languages: in C, Node and Perl, written from `SPEC.md` alone, with the reference
//! worker beside them, which shows that what is asked here can be done; and the package for Python,
//! which has tests of its own.
//!
//! What the machine has no compiler or interpreter for is left out with a line that says so. With
//! the variable `CI` set, nothing may be missing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

mod conformance;
mod leaving;
mod malformed;
mod peer;
mod python;
mod vectors;
mod workers;

use std::time::Duration;

use integration_tests::master;

use crate::workers::each_worker;

/// How long the checker may take for a worker that is slow to start, on a machine that is busy.
const CHECKING: Duration = Duration::from_secs(240);

#[test]
fn the_real_master_calls_them() {
    each_worker(|worker| {
        let finished = master(["map", "--processes", "2", "--worker", &worker.command_line()])
            .args(["square", "2", "-3", "\"x\"", "4294967296", "4294967295", "100000"])
            .run();
        finished
            .ended(1)
            .printed("4\n9\n18446744065119617025\n10000000000\n")
            .said("input 3: InvalidArguments: ")
            .said("input 4: Overflow: ");
        assert_eq!(finished.stderr.lines().count(), 2, "{}", finished.describe());
    });
}

#[test]
fn the_checker_finds_nothing() {
    each_worker(|worker| {
        // The reference worker has features, which the tests of the checker itself look at.
        if worker.name == "reference" {
            return;
        }
        let command = worker.command_line();
        let finished = master(["check", "--no-large", &command]).watchdog(CHECKING).run();
        let found = finished.stdout.lines().last().unwrap_or_default();
        assert!(found.contains(" 0 fail, "), "{worker:?}: {}", finished.describe());
        // What is not tested is what bodies of 1 GiB are needed for, and nothing else.
        assert!(found.ends_with(" 3 not tested"), "{worker:?}: {}", finished.describe());
    });
}

#[test]
fn they_keep_up_with_many_calls() {
    each_worker(|worker| {
        let inputs: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        let squares: String = (0..20_000_u64).map(|n| format!("{}\n", n * n)).collect();
        master(["map", "--processes", "2", "--worker", &worker.command_line(), "square"])
            .stdin(inputs)
            .run()
            .ended(0)
            .printed(&squares)
            .was_quiet();
    });
}

#[test]
fn a_call_that_takes_too_long_costs_itself() {
    each_worker(|worker| {
        master(["map", "--processes", "1", "--timeout", "500ms", "--worker"])
            .arg(worker.command_line())
            .args(["sleep", "0", "60", "0"])
            .run()
            .ended(1)
            .printed("null\nnull\n")
            .said("input 2: timed out");
    });
}

#[test]
fn one_call_in_a_process_of_its_own() {
    each_worker(|worker| {
        let run =
            |call: &[&str]| master(["run", "--worker", &worker.command_line()]).args(call).run();
        run(&["square", "5"]).ended(0).printed("25\n");
        run(&["print", "hello"]).ended(0).printed("hello\n");
        run(&["fail", "boo", "Kind"]).ended(1).said("Kind: boo");
    });
}

#[test]
fn what_they_answer_is_what_json_says() {
    each_worker(|worker| {
        master(["map", "--worker", &worker.command_line(), "echo"])
            .args(["1.0", "-0.0", "18446744073709551615", r#"{"a":[null,"é"]}"#, "1e300"])
            .run()
            .ended(0)
            .printed("1.0\n-0.0\n18446744073709551615\n{\"a\":[null,\"é\"]}\n1e300\n");
    });
}
