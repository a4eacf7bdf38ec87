//! The package for Python: its own tests, and what it is like to use.

use std::{fs, time::Duration};

use integration_tests::{Program, executables, master, workspace};
use rustix::process::Signal;

use crate::workers::python_programs;

/// The tests of the package take half a minute on an idle machine.
const LONG: Duration = Duration::from_secs(600);

/// Something of the environment of the package, run in the directory of the package.
fn python(arguments: &[&str]) -> Option<Program> {
    // Its examples call the master that is tested here.
    let program = Program::new(&python_programs()?.join("python"))
        .link("master", &executables().master)
        .link("worker", &executables().worker)
        .args(["-c", CHANGE_DIRECTORY])
        .arg(workspace().join("worker/python"))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Some(program.watchdog(LONG))
}

const CHANGE_DIRECTORY: &str = "\
import os, runpy, sys
os.chdir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
";

#[test]
fn its_own_tests_pass_and_none_is_left_out() {
    let Some(tests) = python(&["pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests"]) else {
        return;
    };
    // Pytest keeps what its last three runs have left.
    let kept = format!("--basetemp={}", tests.directory().join("kept").display());
    let finished = tests.arg(kept).run();
    finished.ended(0);
    let outcome = finished.stdout.lines().last().unwrap_or_default();
    assert!(outcome.contains(" passed") && !outcome.contains("skipped"), "{}", finished.describe());
}

#[test]
fn its_types_are_right() {
    let Some(types) = python(&["mypy", "--cache-dir", "/dev/null"]) else { return };
    types.run().ended(0);
}

#[test]
fn the_checker_finds_nothing_and_leaves_nothing_out() {
    let Some(programs) = python_programs() else { return };
    let command = format!("{} --conformance", programs.join("worker-python").display());
    let finished = master(["check", &command]).watchdog(LONG).run();
    finished.ended(0);
    let found = finished.stdout.lines().last().unwrap_or_default();
    assert!(found.contains(" 0 fail, "), "{}", finished.describe());
    assert!(found.ends_with(" 0 not tested"), "{}", finished.describe());
}

/// `master VERB --processes 1 --worker 'worker-python tasks.py'` beside a file of functions.
fn with_tasks(verb: &str, arguments: &[&str]) -> Option<Program> {
    let worker_python = python_programs()?.join("worker-python");
    let program = master([verb, "--processes", "1", "--worker", "worker-python tasks.py"])
        .args(arguments)
        .link("worker-python", &worker_python);
    fs::write(program.directory().join("tasks.py"), TASKS).unwrap();
    Some(program)
}

const TASKS: &str = r#"
import logging, os, subprocess, sys, threading, time
import numpy

imported = time.monotonic_ns()

def started():
    """When this module was imported."""
    return imported

def warm(size, scale=1):
    return numpy.arange(size) * scale

def die(status):
    if status:
        os._exit(status)
    return "alive"

def leave(status):
    sys.exit(status) if status else None
    return "alive"

def recurse(deep):
    return recurse(deep) if deep else "back"

def chatter(text):
    print("printed", text)
    logging.warning("logged %s", text)
    subprocess.run(["echo", "echoed " + text], check=True)
    thread = threading.Thread(target=print, args=("threaded " + text,))
    thread.start()
    thread.join()
    return text

def large(power):
    return 2 ** power

def wait(seconds):
    open("waiting", "w").close()
    time.sleep(seconds)
"#;

#[test]
fn a_module_is_imported_once_and_stays_warm() {
    let Some(program) = with_tasks("starmap", &["started", "[]", "[]", "[]"]) else { return };
    let finished = program.run();
    finished.ended(0);
    let times: Vec<_> = finished.stdout.lines().collect();
    assert!(times.len() == 3 && times.iter().all(|time| *time == times[0]), "{times:?}");
    with_tasks("starmap", &["warm", "[3]", "[4, 10]"])
        .unwrap()
        .run()
        .ended(0)
        .printed("[0,1,2]\n[0,10,20,30]\n");
}

#[test]
fn what_a_task_does_to_its_process_costs_that_task() {
    let Some(program) = with_tasks("map", &["die", "0", "3", "0"]) else { return };
    program.run().ended(1).printed("\"alive\"\n\"alive\"\n").said("exited with status 3");
    let finished = with_tasks("map", &["leave", "0", "4", "0"]).unwrap().run();
    finished.ended(1).printed("\"alive\"\n\"alive\"\n").said("input 2: SystemExit: 4");
    let finished = with_tasks("map", &["recurse", "false", "true", "false"]).unwrap().run();
    finished.ended(1).printed("\"back\"\n\"back\"\n").said("input 2: RecursionError: maximum");
}

#[test]
fn what_tasks_print_is_never_a_result() {
    let Some(program) = with_tasks("map", &["chatter", "\"a\"", "\"b\""]) else { return };
    let finished = program.run();
    finished.ended(0);
    let results = finished.stdout.lines().filter(|line| line.starts_with('"'));
    assert!(results.eq(["\"a\"", "\"b\""]), "{}", finished.describe());
    for text in ["printed a", "echoed b", "threaded a"] {
        let told = [&finished.stdout, &finished.stderr].iter().any(|all| all.contains(text));
        assert!(told, "{text}: {}", finished.describe());
    }
    finished.said("WARNING:root:logged a");
}

#[test]
fn an_integer_that_is_too_large_is_an_error_and_no_other_number() {
    let Some(program) = with_tasks("map", &["large", "63", "64", "2"]) else { return };
    let finished = program.run();
    finished.ended(1).printed("9223372036854775808\n4\n");
    finished.said("input 2: InvalidResult: an integer of the result does not fit 64 bits");
}

#[test]
fn tracebacks_arrive() {
    let Some(program) = with_tasks("map", &["warm", "\"x\""]) else { return };
    let finished = program.run();
    finished.ended(1).said("TypeError: ").said("tasks.py\", line");
}

#[test]
fn a_task_that_takes_too_long_costs_itself() {
    let Some(program) = with_tasks("map", &["--timeout", "2s", "wait", "0", "60", "0"]) else {
        return;
    };
    program.run().ended(1).printed("null\nnull\n").said("input 2: timed out");
}

#[test]
fn nobody_stays_behind_when_the_master_is_killed() {
    let Some(program) = with_tasks("map", &["wait", "600"]) else { return };
    let running = program.start();
    running.wait_for_file("waiting");
    running.signal(Signal::KILL);
    // The harness looks for processes that are left.
    running.finish().ended(128 + 9);
}
