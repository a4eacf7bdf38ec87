//! Which executable a `--worker` is, and what `master workers` says about those there are.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

use std::fs;

use integration_tests::{Program, check_all, executables, master, write_script};

/// A worker for a script: the misbehaving one that behaves, after it has said who it is.
fn named(name: &str) -> String {
    let worker = executables().misbehaving_worker.display();
    format!("echo this is {name} >&2\nexec '{worker}' ${{1:-well-behaved}}")
}

#[test]
fn a_worker_is_found_by_its_name() {
    // The command, and the file that it is, below the directory of the run.
    let cases = [
        ("bin/mine", "bin/mine"),
        ("./bin/mine", "bin/mine"),
        ("mine", "bin/mine"),
        ("mine well-behaved", "bin/mine"),
        ("hyphenated", "bin/worker-hyphenated"),
        ("'with space/mine' well-behaved", "with space/mine"),
        ("with\\ space/mine 'well-behaved'", "with space/mine"),
        ("\"./with space/mine\"", "with space/mine"),
        ("worker", "bin/worker"),
    ];
    check_all(&cases, |&(command, file)| {
        let program = Program::new(&executables().master).args(["map", "--worker", command]);
        fs::create_dir(program.directory().join("with space")).unwrap();
        write_script(&program.directory().join(file), &named("the one"));
        program.args(["square", "3"]).run().ended(0).printed("9\n").said("this is the one");
    });
}

#[test]
fn an_absolute_path_is_a_path() {
    let worker = executables().worker.to_str().unwrap();
    Program::new(&executables().master)
        .args(["map", "--worker", worker, "square", "3"])
        .run()
        .ended(0)
        .printed("9\n")
        .was_quiet();
}

#[test]
fn the_default_worker_lies_beside_the_master_if_none_is_on_path() {
    let program = Program::new(&executables().master).args(["map", "square", "3"]);
    program.only_private_path().run().ended(0).printed("9\n").was_quiet();
}

#[test]
fn an_earlier_entry_of_path_swaps_the_implementation() {
    for verb in ["map", "run"] {
        let program = master([verb, "square", "3"]);
        let first = program.directory().join("first");
        fs::create_dir(&first).unwrap();
        write_script(&first.join("worker"), &named("the swapped one"));
        let finished = program.path_first(&first).run();
        finished.ended(0).printed("9\n").said("this is the swapped one");
    }
}

#[test]
fn a_name_of_its_own_goes_before_a_hyphenated_one() {
    let program = master(["map", "--worker", "mine", "square", "3"]);
    write_script(&program.bin().join("mine"), &named("the short one"));
    write_script(&program.bin().join("worker-mine"), &named("the hyphenated one"));
    program.run().ended(0).printed("9\n").said("this is the short one");
}

#[test]
fn a_path_that_cannot_be_executed() {
    let program = master(["map", "--worker", "./text", "square", "3"]);
    fs::write(program.directory().join("text"), "a text").unwrap();
    program.run().ended(3).printed("").said("text").said("execut");
    master(["map", "--worker", "./nowhere", "square", "3"]).run().ended(3).said("nowhere");
    master(["map", "--worker", "./bin", "square", "3"]).run().ended(3).said("bin");
}

#[test]
fn a_file_that_cannot_be_executed_is_passed_over_on_path() {
    let program = master(["map", "--worker", "mine", "square", "3"]);
    let first = program.directory().join("first");
    fs::create_dir(&first).unwrap();
    fs::write(first.join("mine"), "a text").unwrap();
    write_script(&program.bin().join("mine"), &named("the executable one"));
    program.path_first(&first).run().ended(0).printed("9\n").said("this is the executable one");
}

#[test]
fn the_workers_on_path_are_listed() {
    let program = master(["workers", "--start-timeout", "2s"])
        .script("worker-of-mine", &named("mine"))
        .script("worker-that-prints", "echo I am a program like any other")
        .script("worker-that-hangs", "exec sleep 100")
        .script("workers", "echo not asked >&2");
    write_script(&program.bin().join("other"), "echo not asked >&2");
    fs::write(program.bin().join("worker-notes"), "a text").unwrap();
    let bin = program.bin();
    let finished = program.run();
    finished.ended(0);
    let listed = |name: &str, text: &str| {
        let path = bin.join(name).display().to_string();
        let from = finished.stdout.find(&path).unwrap_or_else(|| {
            panic!("{path} is not listed{}", finished.describe());
        });
        // Up to the next worker.
        let entry = &finished.stdout[from + path.len()..];
        let entry = &entry[..entry.find(&*bin.to_string_lossy()).unwrap_or(entry.len())];
        assert!(entry.contains(text), "no {text:?} for {name}: {entry}{}", finished.describe());
    };
    listed("worker", "square");
    listed("worker", env!("CARGO_PKG_VERSION"));
    listed("worker-of-mine", "crash_if_odd");
    listed("worker-that-prints", "no worker");
    listed("worker-that-hangs", "no worker");
    assert!(!finished.stdout.contains("worker-notes"), "{}", finished.describe());
    assert!(!finished.stderr.contains("not asked"), "{}", finished.describe());
}
