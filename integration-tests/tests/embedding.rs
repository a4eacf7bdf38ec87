//! Programs that use the library, seen from outside: what they print, leave and take along when
//! they end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test reports by panicking")]

use std::{env, fs, path::Path, time::Duration};

use integration_tests::{Deadline, Program, check_all, executables, library::command};
use master::{Encoded, Error, Process, active_children};
use rustix::process::Signal;

/// How long something may take that nobody resists.
const SOON: Duration = Duration::from_secs(4);

/// Names the program below that a run of this test is to be.
const PROGRAM: &str = "EMBEDDING_PROGRAM";

/// Programs that use the library, each for a process of its own.
#[test]
#[ignore = "a program that other tests run"]
fn program() {
    let Ok(name) = env::var(PROGRAM) else { return };
    let builder = |worker: &str| {
        let worker = env::var(worker).unwrap();
        Process::builder(command(&worker.split(' ').collect::<Vec<_>>()))
    };
    let busy = || {
        let arguments = ("sh", ["-c", "touch started; sleep 600"]);
        builder("WORKER").function("exec").arguments(arguments)
    };
    let wait_for_busy = || {
        let deadline = Deadline::after(SOON);
        while !Path::new("started").exists() {
            assert!(!deadline.left().is_zero());
            deadline.pause(Duration::from_millis(5));
        }
    };
    match name.as_str() {
        "fails" => {
            let failing = builder("MISBEHAVING").function("fail").arguments(("no",));
            let process = failing.name("first").start().unwrap();
            process.join().unwrap();
            assert_eq!(process.exit_code().unwrap(), Some(1));
            assert!(matches!(process.result::<Encoded>(), Err(Error::Failed(_))));
        }
        "initializer fails" => {
            let process = builder("MISBEHAVING").function("echo").arguments((1,));
            drop(process.initializer("fail", ("no",)).name("first").start().unwrap());
        }
        "ends with a daemon" => {
            drop(busy().daemon(true).start().unwrap());
            wait_for_busy();
        }
        "exits" => {
            let _process = busy().start().unwrap();
            wait_for_busy();
            std::process::exit(0);
        }
        "panics" => {
            let _process = busy().start().unwrap();
            wait_for_busy();
            panic!("on purpose");
        }
        "waits" => drop(busy().start().unwrap()),
        "many" => {
            let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
            let round = |number: i64| {
                let square = builder("WORKER").function("square").arguments((number,));
                let mut one = square.clone().start().unwrap();
                let other = square.start().unwrap();
                let silent = builder("MISBEHAVING").function("echo").start().unwrap();
                silent.kill().unwrap();
                assert_eq!(one.result::<i64>().unwrap(), number * number);
                one.join().unwrap();
                one.close().unwrap();
                assert_eq!(other.result::<i64>().unwrap(), number * number);
            };
            round(0);
            let before = count("fd");
            (1..30).for_each(round);
            assert_eq!(count("fd"), before, "descriptors");
            assert!(active_children().is_empty());
            // That of the harness and this one. One that was joined may still be listed for a
            // moment.
            let deadline = Deadline::after(SOON);
            while count("task") > 2 {
                assert!(!deadline.left().is_zero(), "{} threads", count("task"));
                deadline.pause(Duration::from_millis(5));
            }
        }
        other => panic!("no program {other}"),
    }
}

fn run_program(name: &str) -> Program {
    let misbehaving = format!("{} well-behaved", executables().misbehaving_worker.display());
    Program::new(&env::current_exe().unwrap())
        .args(["program", "--exact", "--ignored", "--nocapture"])
        .env(PROGRAM, name)
        .env("WORKER", &executables().worker)
        .env("MISBEHAVING", misbehaving)
}

#[test]
fn a_failure_is_told_on_standard_error_once() {
    let finished = run_program("fails").run();
    finished.ended(0);
    assert_eq!(finished.stderr, "Process first: Refused: no\n    in fail, where else\n");
    let finished = run_program("initializer fails").run();
    finished.ended(0);
    assert_eq!(finished.stderr, "Process first: Refused: no\n    in fail, where else\n");
}

#[test]
fn a_process_ends_with_its_program() {
    check_all(&[("ends with a daemon", 0), ("exits", 0), ("panics", 101)], |&(name, status)| {
        let running = run_program(name).start();
        running.wait_for_file("started");
        let deadline = Deadline::after(SOON);
        // It checks that no process is left, nor a file.
        running.finish().ended(status);
        assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
    });
    let running = run_program("waits").start();
    running.wait_for_file("started");
    running.signal(Signal::KILL);
    running.finish().ended(128 + 9);
}

#[test]
fn many_processes_leave_no_descriptor_and_no_thread() {
    run_program("many").run().ended(0);
}
