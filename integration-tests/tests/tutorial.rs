//! The three programs of the tutorial, as it shows them.

#![allow(clippy::expect_used, reason = "tests report by panicking")]

use std::collections::HashSet;

use integration_tests::master;

#[test]
fn two_processes_at_once() {
    master(["run", "square", "10", "1", ":::", "cube", "15"])
        .run()
        .ended(0)
        .printed("3375\n100\n")
        .was_quiet();
}

#[test]
fn a_pool_of_five() {
    let numbers = ["2", "3", "4", "5", "6", "7", "8"];
    master(["map", "--processes", "5", "square"])
        .args(numbers)
        .run()
        .ended(0)
        .printed("4\n9\n16\n25\n36\n49\n64\n")
        .was_quiet();
}

#[test]
fn the_pool_works_in_more_than_one_process() {
    // The parent of the shell is the worker, busy for as long as the shell sleeps.
    let item = serde_json::json!(["sh", ["-c", "echo $PPID; sleep 0.5"]]).to_string();
    let finished = master(["starmap", "--processes", "5", "--chunksize", "1", "exec"])
        .args(vec![item; 7])
        .run();
    let pids: HashSet<&str> = finished.ended(0).stdout.lines().collect();
    assert!((2..=5).contains(&pids.len()), "{}", finished.describe());
}

#[test]
fn four_processes_introduce_themselves() {
    let mut arguments = vec!["run"];
    for name in ["m1", "m2", "m3", "m4"] {
        arguments.extend(["introduce", name, ":::"]);
    }
    arguments.pop();
    let finished = master(arguments).run();
    let lines: Vec<&str> = finished.ended(0).was_quiet().stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", finished.describe());
    let mut pids = HashSet::new();
    for name in ["m1", "m2", "m3", "m4"] {
        let line = lines.iter().find(|line| line.contains(name)).expect("each says its name");
        let pid = line.split(|byte: char| !byte.is_ascii_digit()).rfind(|word| !word.is_empty());
        pids.insert(pid.expect("each says its pid"));
    }
    assert_eq!(pids.len(), 4, "{}", finished.describe());
}
