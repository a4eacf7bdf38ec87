//! `master map`, `starmap` and `apply`: what goes in, what comes out, and when.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use std::{fmt::Write as _, fs, io::Write as _, thread};

use integration_tests::{check_all, master, master_with};

/// Arguments, standard input, standard output. Status 0 and a quiet standard error.
type Case<'a> = (&'a [&'a str], &'a str, &'a str);

fn check(&(arguments, input, output): &Case<'_>) {
    master(arguments).stdin(input).run().ended(0).printed(output).was_quiet();
}

#[test]
fn inputs_on_the_command_line() {
    let cases: &[Case<'_>] = &[
        (&["map", "square", "2", "3", "4"], "", "4\n9\n16\n"),
        (&["map", "square", "-3"], "", "9\n"),
        (&["map", "square", "-3", "-4"], "", "9\n16\n"),
        (&["map", "square", "--", "-3"], "", "9\n"),
        (&["map", "--processes", "2", "square", "2", "3"], "", "4\n9\n"),
        (&["map", "square", "2", "3", "--processes", "2"], "", "4\n9\n"),
        (&["map", "square", "--processes=2", "2", "3"], "", "4\n9\n"),
        (&["map", "echo", "--", "--processes", "2"], "", "\"--processes\"\n2\n"),
        (&["map", "echo", "null", "[1, 2]", "word"], "", "null\n[1,2]\n\"word\"\n"),
        (&["map", "echo", "\"a\"", "{\"b\": 1.5}"], "", "\"a\"\n{\"b\":1.5}\n"),
        (&["map", "--text", "echo", "1", "null"], "", "\"1\"\n\"null\"\n"),
        (&["map", "square", "5"], "not read\n", "25\n"),
    ];
    check_all(cases, check);
}

#[test]
fn inputs_from_standard_input() {
    let cases: &[Case<'_>] = &[
        (&["map", "square"], "", ""),
        (&["map", "square"], "2\n3\n", "4\n9\n"),
        (&["map", "square"], "2\n3", "4\n9\n"),
        (&["map", "square"], "\n2\n\n   \n3\n\n", "4\n9\n"),
        (&["map", "square"], "2\r\n3\r\n", "4\n9\n"),
        (&["map", "square"], " 2 \n\t3\n", "4\n9\n"),
        (&["map", "--text", "echo"], "a b\n\n 1\n", "\"a b\"\n\" 1\"\n"),
        (&["map", "--text", "echo"], "{not json\n", "\"{not json\"\n"),
        (&["starmap", "square"], "[2]\n[3, 0]\n", "4\n9\n"),
    ];
    check_all(cases, check);
}

#[test]
fn starmap_and_apply() {
    let cases: &[Case<'_>] = &[
        (&["starmap", "square", "[2]", "[3, 0]"], "", "4\n9\n"),
        (&["apply", "square", "5"], "", "25\n"),
        (&["apply", "square", "-5"], "", "25\n"),
        (&["apply", "square", "5", "0"], "", "25\n"),
        (&["apply", "sleep", "0"], "", "null\n"),
        (&["apply", "sleep", "0", "done"], "", "\"done\"\n"),
        (&["apply", "cube", "3", "--processes", "1"], "not read\n", "27\n"),
    ];
    check_all(cases, check);
}

#[test]
fn results_come_in_the_order_of_the_input() {
    let slow_first = ["[0.5,\"a\"]", "[0.2,\"b\"]", "[0,\"c\"]", "[0,\"d\"]"];
    for chunksize in ["1", "2", "3", "100"] {
        master(["starmap", "sleep", "--processes", "3", "--chunksize", chunksize])
            .args(slow_first)
            .run()
            .ended(0)
            .printed("\"a\"\n\"b\"\n\"c\"\n\"d\"\n");
    }
}

#[test]
fn unordered_results_come_as_they_are_ready() {
    master(["starmap", "--unordered", "--processes", "2", "--chunksize", "1", "sleep"])
        .args(["[2,\"slow\"]", "[0,\"fast\"]"])
        .run()
        .ended(0)
        .printed("\"fast\"\n\"slow\"\n");
}

#[test]
fn two_processes_work_at_once() {
    // Each waits for a file that the other makes: one process alone would never end.
    let wait = |mine: &str, other: &str| {
        format!("touch {mine}; until [ -e {other} ]; do sleep 0.01; done; echo {mine}")
    };
    let item = |script: String| serde_json::json!(["sh", ["-c", script]]).to_string();
    let program = master(["starmap", "--processes", "2", "--chunksize", "1", "exec"]);
    let (a, b) = (program.directory().join("a"), program.directory().join("b"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let items = [item(wait(a, b)), item(wait(b, a))];
    let finished = program.args(items).run();
    let lines: Vec<&str> = finished.ended(0).stdout.lines().collect();
    assert!(matches!(lines[..], [one, two] if one.contains(a) && two.contains(b)), "{lines:?}");
}

#[test]
fn many_short_tasks_over_some_processes() {
    let mut input = String::new();
    let mut output = String::new();
    for n in 0..20_000_u64 {
        writeln!(input, "{n}").unwrap();
        writeln!(output, "{}", n * n).unwrap();
    }
    for chunksize in ["1", "7", "1000"] {
        master(["map", "square", "--processes", "3", "--chunksize", chunksize])
            .stdin(input.as_str())
            .run()
            .ended(0)
            .printed(&output);
    }
}

#[test]
fn inputs_from_a_file() {
    let program = master(["map", "square", "--input", "numbers"]);
    fs::write(program.directory().join("numbers"), "2\n3\n").unwrap();
    program.stdin("9\n").run().ended(0).printed("4\n9\n").was_quiet();
}

#[test]
fn an_input_file_that_is_not_there() {
    master(["map", "square", "--input", "nowhere"]).run().ended(2).printed("").said("nowhere");
}

#[test]
fn keyword_arguments_for_every_call() {
    master(["map", "square", "--kwargs", "{\"seconds\": 0}", "2", "3"])
        .run()
        .ended(0)
        .printed("4\n9\n");
}

#[test]
fn a_result_appears_while_the_input_is_open() {
    for chunksize in [&[][..], &["--chunksize", "1"], &["--chunksize", "50"]] {
        let mut running = master(["map", "square"]).args(chunksize).stdin_open().start();
        for n in 1..4 {
            running.write_line(&n.to_string());
            assert_eq!(running.next_line(), (n * n).to_string());
        }
        running.close_stdin();
        running.finish().ended(0).was_quiet();
    }
}

/// What stands before the bad line is finished and printed, what stands behind it is not read.
#[test]
fn a_line_that_is_not_json_ends_the_input() {
    check_all(
        &[
            ("2\n3\n{oops\n4\n", "4\n9\n", "3"),
            ("\n\n2\n\n3 4\n", "4\n", "5"),
            ("nothing\n", "", "1"),
            ("2\n3\n[1", "4\n9\n", "3"),
        ],
        |&(input, output, line)| {
            master(["map", "square"])
                .stdin(input)
                .run()
                .ended(2)
                .printed(output)
                .said(&format!("line {line}"));
        },
    );
}

#[test]
fn a_line_that_is_no_text_ends_the_input() {
    let lines = b"\"a\"\n\"\xff\"\n\"b\"\n";
    master(["map", "echo"]).stdin(lines).run().ended(2).printed("\"a\"\n").said("line 2");
}

#[test]
fn starmap_wants_arrays() {
    master(["starmap", "square"])
        .stdin("[2]\n3\n[4]\n")
        .run()
        .ended(2)
        .printed("4\n")
        .said("line 2")
        .said("array");
    master(["starmap", "square", "[2]", "3"]).run().ended(2).said("array");
}

#[test]
fn output_that_is_closed_early_ends_the_run_quietly() {
    let numbers: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let finished = master(["map", "square"]).stdin(numbers).close_stdout_after(1).run();
    finished.ended(0).printed("0\n").was_quiet();
}

#[test]
fn output_that_is_closed_early_ends_the_run_while_input_is_open() {
    let mut running = master(["map", "square"]).stdin_open().close_stdout_after(1).start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    // The reader of the output is gone or about to go; a few results notice that.
    let mut stdin = running.take_stdin().unwrap();
    let writer =
        thread::spawn(move || while writeln!(stdin, "2").and_then(|()| stdin.flush()).is_ok() {});
    running.finish().ended(0).was_quiet();
    writer.join().unwrap();
}

/// 200,000 inputs and results of 1 KiB would be 400 MiB if they were kept behind the first. 64 MiB may
/// be on their way.
#[test]
fn memory_stays_flat_behind_a_slow_first_task() {
    const ITEMS: usize = 200_000;
    let mut running =
        master(["starmap", "sleep", "--processes", "2", "--chunksize", "1"]).stdin_open().start();
    let mut stdin = running.take_stdin().unwrap();
    let writer = thread::spawn(move || {
        let padding = "x".repeat(1000);
        writeln!(stdin, "[2,\"first\"]").unwrap();
        for n in 1..ITEMS {
            writeln!(stdin, "[0,\"{n} {padding}\"]").unwrap();
        }
        stdin
    });
    assert_eq!(running.next_line(), "\"first\"");
    for n in 1..ITEMS {
        let line = running.next_line();
        assert!(line.starts_with(&format!("\"{n} x")), "{line}");
    }
    let peak = running.peak_memory();
    drop(writer.join().unwrap());
    running.finish().ended(0);
    assert!(peak < (64 + 20) << 10, "the master needed {peak} KiB");
}

#[test]
fn a_worker_leaves_after_its_limit_of_tasks() {
    for chunksize in ["1", "4"] {
        let limit = ["--processes", "1", "--max-tasks-per-child", "2", "--chunksize", chunksize];
        let finished = master_with("well-behaved", "map", limit)
            .args(["count", "0", "0", "0", "0", "0"])
            .count_starts()
            .run();
        finished.ended(0).printed("1\n2\n1\n2\n1\n").was_quiet();
        assert_eq!(finished.starts.len(), 3, "chunksize {chunksize}");
    }
}

#[test]
fn an_initializer_runs_once_in_each_worker() {
    let initializer = ["--processes", "1", "--initializer", "count", "--initargs", "[1, \"x\"]"];
    master_with("well-behaved", "map", initializer)
        .args(["count", "0", "0"])
        .run()
        .ended(0)
        .printed("2\n3\n");
}
