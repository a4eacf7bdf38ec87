//! Two workers side by side: every difference is found and told, and nothing else.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::{fmt::Write as _, io::Write as _, thread, time::Duration};

use integration_tests::{
    Program, check_all,
    library::{command, pool, watched},
    master,
};
use master::{
    Arguments, Pool,
    compare::{CompareOptions, Comparison, Verdict},
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The reference worker and the other one.
fn compare(arguments: &[&str]) -> Program {
    master(["compare", "--worker", "worker", "--worker", "other-worker"]).args(arguments)
}

#[test]
fn what_is_the_same_is_not_told() {
    let cases: &[&[&str]] = &[
        &["square", "1", "2", "5"],
        &["square", "--kwargs", "{\"seconds\": 0}", "1", "2"],
        &["square", "--spread", "[1]", "[2, 0]"],
        &["echo", "null", "1", "{\"b\": [1.5], \"a\": 2}", "text"],
        &["echo", "--text", "1", "1.5"],
        &["echo", "--tolerance", "1e-9", "1.5", "1e300"],
        // The same kind of error in other words.
        &["fail", "because"],
        &["square", "nine"],
    ];
    check_all(cases, |arguments| {
        let finished = compare(arguments).run();
        finished.ended(0).printed("").said("0 different").said("an input");
    });
}

#[test]
fn every_difference_is_a_line_with_both_sides() {
    let inputs = ["square", "--processes", "2", "2", "3", "4", "5", "6", "7", "x"];
    let finished = compare(&inputs).run();
    finished.ended(1).said("7 inputs: 3 equal, 4 different (0 failed in A only, 2 in B only)");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let expected = [
        "input 2, square(3): A gives 9, B gives 10",
        "input 3, square(4): A gives 16, B fails: ValueError: 4 is not for squares",
        "input 5, square(6): A gives 36, B fails: lost: worker ",
        "input 6, square(7): A gives 49, B gives 49.0",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
    let turned = master(["compare", "--worker", "other-worker", "--worker", "worker"]);
    let finished = turned.args(["square", "3", "4"]).run();
    finished.ended(1).said("(1 failed in A only, 0 in B only)");
    assert!(finished.stdout.starts_with("input 1, square(3): A gives 10, B gives 9\n"));
}

#[test]
fn floats_differ_by_more_than_the_tolerance_or_they_do_not() {
    let finished = compare(&["echo", "[1, 2.5]", "0.5"]).run();
    finished.ended(1).printed("input 2, echo(0.5): A gives 0.5, B gives 0.500000000001\n");
    compare(&["echo", "--tolerance", "1e-13", "0.5"]).run().ended(1);
    compare(&["echo", "--tolerance", "1e-11", "0.5"]).run().ended(0);
    for bad in ["-1", "x", "NaN", "inf"] {
        compare(&["echo", &format!("--tolerance={bad}"), "0.5"]).run().ended(2).said("tolerance");
    }
}

#[test]
fn a_call_that_takes_too_long_on_one_side_is_a_difference() {
    let finished = compare(&["square", "--timeout", "500ms", "8", "9"]).run();
    finished.ended(1).said("2 inputs: 1 equal, 1 different (0 failed in A only, 1 in B only)");
    let start = "input 1, square(8): A gives 64, B fails: timed out: ";
    assert!(finished.stdout.starts_with(start), "{}", finished.describe());
}

#[test]
fn differences_for_machines() {
    let finished = compare(&["square", "--json", "2", "3", "4"]).run();
    finished.ended(1);
    let lines: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [values, errors, summary] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(
        *values,
        json!({ "input": 2, "function": "square", "arguments": [3], "a": {"value": 9},
                "b": {"value": 10}, "at": "$" })
    );
    assert_eq!(errors["b"]["error"]["kind"], "ValueError");
    assert_eq!(errors["a"]["value"], 16);
    let summary = &summary["summary"];
    let counts = [&summary["inputs"], &summary["equal"], &summary["failed_in_b_only"]];
    assert_eq!(counts, [&json!(3), &json!(1), &json!(1)]);
    assert!(summary["seconds_a"].is_f64() && summary["seconds_b"].is_f64(), "{summary}");
}

#[test]
fn many_inputs_are_read_lazily_and_each_is_compared() {
    let numbers: String = (0..20_000_u64).fold(String::new(), |mut text, n| {
        writeln!(text, "{}", n + 9).unwrap();
        text
    });
    let finished = compare(&["square"]).stdin(numbers).run();
    finished.ended(0).printed("").said("20000 inputs: 20000 equal, 0 different");
}

#[test]
fn differences_are_told_while_the_input_is_open_and_an_interrupt_ends_it() {
    let mut running = compare(&["square"]).stdin_open().start();
    for _ in 0..3 {
        running.write_line("3");
        assert!(running.next_line().ends_with("square(3): A gives 9, B gives 10"));
    }
    // The end of the input would end it too, and might be seen first.
    let _input = running.take_stdin();
    running.signal(Signal::INT);
    running.finish().ended(130).said("3 inputs: 0 equal, 3 different");
}

#[test]
fn who_reads_no_more_still_gets_the_status() {
    let inputs = "3\n".repeat(100_000);
    let finished = compare(&["square"]).stdin(inputs).close_stdout_after(1).run();
    finished.ended(1).said(" different").said(" an input");
}

/// Inputs of 100 MiB in all, with results as large.
#[test]
fn memory_stays_flat() {
    let mut running = compare(&["echo", "--processes", "1"]).stdin_open().start();
    let mut stdin = running.take_stdin().unwrap();
    let writer = thread::spawn(move || {
        let padding = "x".repeat(10_000);
        for n in 0..10_000 {
            writeln!(stdin, "\"{n} {padding}\"").unwrap();
        }
        // The last one differs, which is told when everything else was compared.
        writeln!(stdin, "0.5").unwrap();
        stdin
    });
    assert!(running.next_line().starts_with("input 10001, echo(0.5): "));
    let peak = running.peak_memory();
    drop(writer.join().unwrap());
    running.finish().ended(1);
    assert!(peak < 200 << 10, "the master needed {peak} KiB");
}

#[test]
fn mistakes_are_told() {
    compare(&["cube", "3"]).run().ended(3).printed("").said("B, ").said("has a function `cube`");
    let finished = compare(&["square"]).stdin("3\nx y\n4\n").run();
    finished.ended(2).said("line 2").said("1 input: 0 equal, 1 different");
    assert_eq!(finished.stdout.lines().count(), 1);
    let one = master(["compare", "--worker", "worker", "square", "3"]).run();
    one.ended(2).said("--worker twice");
    let counted = ["compare", "--worker", "2*worker", "--worker", "worker", "square", "3"];
    master(counted).run().ended(2).said("without a number");
    let nowhere = ["compare", "--worker", "worker", "--worker", "./nowhere", "square", "3"];
    master(nowhere).run().ended(3).said("nowhere");
    let dies = ["compare", "--worker", "worker", "--worker", "misbehaving-worker exits-at-once"];
    master(dies).args(["square", "3"]).run().ended(3).said("B, ").said("no wish to work");
}

#[test]
fn a_program_is_told_of_differences_too() {
    watched(|| {
        let other = command(&[integration_tests::executables().other_worker.to_str().unwrap()]);
        let one = pool(2).build().unwrap();
        let other = Pool::builder().worker(other).processes(1).build().unwrap();
        let options = CompareOptions::default();
        let mut comparison = Comparison::new(&one, &other, "square", options).unwrap();
        let inputs = (1..=5).map(|n| Arguments::new((n,)).unwrap());
        let mut found = Vec::new();
        let note = |difference: &master::compare::Difference<'_>| {
            found.push((difference.input, difference.verdict.clone()));
        };
        comparison.compare(inputs, note).unwrap();
        let expected = [(3, Verdict::Values("$".into())), (4, Verdict::FailedAlone(1))];
        assert_eq!(found, expected);
        let summary = comparison.summary();
        assert_eq!((summary.inputs, summary.equal, summary.different()), (5, 3, 2));
        assert!(summary.times.iter().all(|time| *time > Duration::ZERO));
        other.terminate();
        let more = comparison.compare([Arguments::new((1,)).unwrap()], |_| {});
        assert!(more.is_ok(), "{more:?}");
        assert_eq!(comparison.summary().inputs, 5);
    });
}
