//! `master run`: names, and the exit status of what it ran.

#![allow(clippy::unwrap_used, reason = "tests report by panicking")]

use std::fs;

use integration_tests::{check_all, master, master_with, write_script};

#[test]
fn run_names_the_process_of_a_failure() {
    let call = ["--name", "first", "fail", "\"no\""];
    let finished = master_with("well-behaved", "run", call).run();
    finished.ended(1).printed("");
    assert_eq!(finished.stderr, "master: first: Refused: no\n    in fail, where else\n");

    let calls = ["fail", "\"a\"", ":::", "fail", "\"b\"", "--name", "one", "--name", "two"];
    let finished = master_with("well-behaved", "run", calls).run();
    finished.ended(1).said("master: one: Refused: a").said("master: two: Refused: b");

    // Without a name it is that of the function.
    let finished = master_with("well-behaved", "run", ["fail", "\"no\""]).run();
    finished.ended(1).said("master: fail: Refused: no");
    master(["run", "square", "2", "--name", "one", "--name", "two"]).run().ended(2).said("two");
}

/// Calls of the misbehaving worker, and the exit status.
const STATUSES: &[(&[&str], i32)] = &[
    (&["square", "3"], 0),
    (&["square", "3", ":::", "fail", "no"], 1),
    (&["exit", "5", ":::", "fail", "no", ":::", "square", "3"], 5),
    (&["kill", "11", ":::", "exit", "5"], 128 + 11),
    (&["kill", "11", ":::", "kill", "15", ":::", "kill", "9"], 128 + 15),
    (&["exit", "200", ":::", "kill", "9"], 200),
];

#[test]
fn run_gives_the_highest_status_of_what_it_ran() {
    check_all(STATUSES, |&(calls, status)| {
        master_with("well-behaved", "run", calls).run().ended(status);
    });
}

#[test]
fn run_tells_why_a_worker_cannot_be_used() {
    let check = |body: &str, texts: &[&str]| {
        let program = master(["run", "--start-timeout", "1s", "--worker", "mine"]);
        let finished = program.args(["echo", "1"]).script("mine", body).run();
        finished.ended(3).printed("");
        texts.iter().for_each(|text| _ = finished.said(text));
    };
    check("exit 9", &["master: echo: the process cannot work", "status 9"]);
    check("exec sleep 600", &["did not connect"]);
    let program = master(["run", "--worker", "mine", "echo", "1", ":::", "echo", "2"]);
    let script = program.bin().join("mine");
    write_script(&script, "");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    program.run().ended(3).printed("").said("could not be started").said("No such file");
}
