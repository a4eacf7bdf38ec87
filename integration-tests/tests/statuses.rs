//! The exit statuses of `master`, and which of them wins.

use integration_tests::{Program, check_all, executables, master, master_with};
use rustix::process::Signal;

#[test]
fn a_task_that_fails_costs_status_1_and_nothing_else() {
    let finished = master(["map", "square", "2", "\"x\"", "3"]).run();
    finished.ended(1).printed("4\n9\n").said("input 2").said("InvalidArguments");
    let failing = ["--processes", "1", "fail", "\"one\"", "\"two\""];
    let finished = master_with("well-behaved", "map", failing).run();
    finished.ended(1).printed("");
    for text in ["input 1", "input 2", "Refused", "one", "two", "in fail, where else"] {
        finished.said(text);
    }
    master(["apply", "square", "\"x\""]).run().ended(1).printed("").said("InvalidArguments");
}

#[test]
fn usage_errors_cost_status_2() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "usage"),
        (&["dance"], "dance"),
        (&["map"], "function"),
        (&["map", "--no-such-option", "square", "1"], "--no-such-option"),
        (&["map", "--processes", "0", "square", "1"], "processes"),
        (&["map", "--processes", "many", "square", "1"], "many"),
        (&["map", "--chunksize", "0", "square", "1"], "chunksize"),
        (&["map", "--max-tasks-per-child", "0", "square", "1"], "max-tasks-per-child"),
        (&["map", "--timeout", "soon", "square", "1"], "soon"),
        (&["map", "--timeout", "5", "square", "1"], "timeout"),
        (&["map", "--kwargs", "[1]", "square", "1"], "kwargs"),
        (&["map", "--kwargs", "{", "square", "1"], "kwargs"),
        (&["map", "--initializer", "pid", "--initargs", "{}", "square", "1"], "initargs"),
        (&["map", "--initargs", "[]", "square", "1"], "initializer"),
        (&["map", "--worker", "", "square", "1"], "worker"),
        (&["map", "--worker", "'open", "square", "1"], "'open"),
        (&["apply"], "function"),
        (&["run"], "function"),
    ];
    check_all(cases, |&(arguments, text)| {
        master(arguments).run().ended(2).printed("").said(text);
    });
}

#[test]
fn help_costs_nothing_and_tells_the_statuses() {
    let finished = master(["--help"]).run();
    finished.ended(0).was_quiet();
    for text in ["map", "starmap", "apply", "run", "workers", "130", "143"] {
        assert!(finished.stdout.contains(text), "no {text} in{}", finished.describe());
    }
    for verb in ["map", "starmap", "apply", "run", "workers"] {
        let finished = master([verb, "--help"]).run();
        let example = finished.ended(0).stdout.contains(&format!("master {verb}"));
        assert!(example, "no example of {verb} in{}", finished.describe());
    }
    assert!(master(["--version"]).run().ended(0).stdout.starts_with("master "));
}

#[test]
fn a_function_that_no_worker_has() {
    let cases: &[&[&str]] = &[
        &["map", "sqare", "1", "2"],
        &["starmap", "sqare", "[1]"],
        &["apply", "sqare", "1"],
        &["run", "sqare", "1"],
    ];
    check_all(cases, |&arguments| {
        let finished = master(arguments).run();
        finished.ended(3).printed("").said("sqare").said("square").said("count_words");
    });
}

#[test]
fn an_initializer_that_fails() {
    let failing = ["--processes", "2", "--initializer", "fail", "--initargs", "[\"no licence\"]"];
    let finished =
        master_with("well-behaved", "map", failing).args(["echo", "1"]).count_starts().run();
    finished.ended(3).printed("").said("Refused").said("no licence").said("in fail, where else");
    assert!(finished.starts.len() <= 4, "{} starts", finished.starts.len());
    let unknown = ["--initializer", "nonsense", "echo", "1"];
    master_with("well-behaved", "map", unknown).run().ended(3).printed("").said("nonsense");
}

#[test]
fn a_worker_that_is_not_there() {
    master(["map", "--worker", "nothing-of-the-kind", "square", "1"])
        .run()
        .ended(3)
        .printed("")
        .said("nothing-of-the-kind")
        .said("worker-nothing-of-the-kind")
        .said("PATH");
}

#[test]
fn the_worst_status_wins() {
    let failed_and_unreadable = "2\n\"x\"\n3\noops\n";
    let finished = master(["map", "square"]).stdin(failed_and_unreadable).run();
    finished.ended(2).printed("4\n9\n").said("input 2").said("line 4");

    // The first worker serves until it crashes, the later ones do not even start.
    let finished = breaks_down_after_a_crash().stdin("1\n\"bad\"\n2\n").run();
    finished.ended(3).printed("1\n").said("out of order today");

    let finished = breaks_down_after_a_crash().stdin("1\n\"bad\"\n2\noops\n").run();
    finished.ended(3).printed("1\n").said("out of order today");
}

fn breaks_down_after_a_crash() -> Program {
    let worker = format!(
        "if mkdir once 2>/dev/null; then exec {} crash-in-call; fi\n\
         echo out of order today >&2; exit 9",
        executables().misbehaving_worker.display()
    );
    master(["map", "--worker", "breaks-down", "--processes", "1", "--chunksize", "1", "echo"])
        .script("breaks-down", &worker)
}

#[test]
fn a_signal_wins_over_everything() {
    let cases = [(Signal::INT, 130, "[600]\n"), (Signal::TERM, 143, "[600]\noops\n")];
    check_all(&cases, |&(signal, status, rest)| {
        let input = format!("[\"x\"]\n[0,\"ready\"]\n{rest}");
        let mut running = master(["starmap", "--processes", "1", "sleep"]).stdin_open().start();
        for line in input.lines() {
            running.write_line(line);
        }
        assert_eq!(running.next_line(), "\"ready\"");
        running.signal(signal);
        if signal == Signal::INT {
            running.wait_for_stderr("interrupt again");
            running.signal(signal);
        }
        running.finish().ended(status).said("input 1");
    });
}
