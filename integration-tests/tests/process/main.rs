//! `Process` of the library: the life of one call in a process of its own, and in [`told`] what it
//! is told before it starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod told;

use std::{fs, path::Path, thread, time::Duration};

use integration_tests::{
    Deadline, check_all, executables,
    library::{command, watched, worker},
    write_script,
};
use master::{
    Cancelled, ChildProcess, Encoded, Error, IntoArguments, Process, ProcessBuilder,
    active_children,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};

/// How long something may take that nobody resists.
const SOON: Duration = Duration::from_secs(4);

fn process(function: &str, arguments: impl IntoArguments) -> ProcessBuilder {
    Process::builder(worker()).function(function).arguments(arguments)
}

fn misbehaving(mode: &str) -> ProcessBuilder {
    let executable = executables().misbehaving_worker.to_str().unwrap();
    let words: Vec<_> = [executable].into_iter().chain(mode.split(' ')).collect();
    Process::builder(command(&words)).function("echo").arguments((1,))
}

fn signal(process: &Process, signal: Signal) {
    let pid = process.pid().unwrap().and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
    kill_process(pid.unwrap(), signal).unwrap();
}

/// A zombie is there too: this holds until the process is reaped.
fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn child(name: &str) -> Option<ChildProcess> {
    active_children().into_iter().find(|child| child.name() == name)
}

const fn is_shared_between_threads<T: Send + Sync>() {}
const _: () = is_shared_between_threads::<Process>();
const _: () = is_shared_between_threads::<ChildProcess>();
const _: () = is_shared_between_threads::<ProcessBuilder>();

#[test]
fn the_tutorial() {
    watched(|| {
        let square = process("square", (10, 1)).start().unwrap();
        let cube = process("cube", (15,)).start().unwrap();
        assert_eq!(cube.result::<i64>().unwrap(), 3375);
        assert!(square.is_alive().unwrap());
        assert_eq!(square.exit_code().unwrap(), None);
        assert_eq!(square.result::<i64>().unwrap(), 100);
        assert_eq!(square.result::<u8>().unwrap(), 100, "asked for again");
        assert!(matches!(square.result::<String>(), Err(Error::Decode(_))));
        for ended in [square, cube] {
            ended.join().unwrap();
            ended.join().unwrap();
            assert!(!ended.is_alive().unwrap());
            assert_eq!(ended.exit_code().unwrap(), Some(0));
        }
    });
}

/// A function of the misbehaving worker with its argument, the exit code, and what the result
/// says if it is an error.
const ENDINGS: &[(&str, &str, i32, Option<&str>)] = &[
    ("echo", "[7]", 0, None),
    ("fail", "[\"no\"]", 1, Some("Refused: no")),
    ("echo", "[1, 2]", 1, Some("InvalidArguments")),
    ("exit", "[0]", 0, Some("lost: ")),
    ("exit", "[5]", 5, Some("exited with status 5")),
    ("kill", "[11]", -11, Some("SIGSEGV")),
    ("kill", "[9]", -9, Some("SIGKILL")),
    ("kill", "[15]", -15, Some("SIGTERM")),
    ("close", "[]", -9, Some("lost: ")),
];

#[test]
fn a_process_tells_how_it_ended() {
    watched(|| {
        check_all(ENDINGS, |&(function, arguments, code, error)| {
            let arguments: Vec<serde_json::Value> = serde_json::from_str(arguments).unwrap();
            let process =
                misbehaving("well-behaved").function(function).arguments(arguments).start();
            let process = process.unwrap();
            let result = process.result::<Encoded>();
            process.join().unwrap();
            assert_eq!(process.exit_code().unwrap(), Some(code));
            assert!(!is_there(process.pid().unwrap().unwrap()));
            match (result, error) {
                (Ok(_), None) => {}
                (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
                (result, _) => panic!("{result:?}"),
            }
        });
    });
}

#[test]
fn before_its_start_it_can_be_asked_but_not_waited_for() {
    let mut new = process("square", (3,)).name("new").build().unwrap();
    assert_eq!(new.pid().unwrap(), None);
    assert_eq!(new.exit_code().unwrap(), None);
    assert!(!new.is_alive().unwrap());
    let errors = [
        new.join().unwrap_err(),
        new.join_timeout(Duration::ZERO).unwrap_err(),
        new.terminate().unwrap_err(),
        new.kill().unwrap_err(),
        new.result::<i64>().unwrap_err(),
        new.sentinel().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::WrongState(_)), "{error}");
        assert_eq!(error.to_string(), "the process `new` was not started yet");
    }
    assert!(child("new").is_none());
    watched(move || {
        new.start().unwrap();
        assert_eq!(new.result::<i64>().unwrap(), 9);
    });
}

#[test]
fn a_process_runs_once() {
    watched(|| {
        let mut process = process("square", (3,)).name("once").build().unwrap();
        process.start().unwrap();
        for _ in 0..2 {
            let error = process.start().unwrap_err();
            assert!(matches!(error, Error::WrongState(_)), "{error}");
            assert!(error.to_string().contains("`once` was started already"), "{error}");
            process.join().unwrap();
        }
        assert_eq!(process.result::<i64>().unwrap(), 9);
    });
}

#[test]
fn after_close_nothing_is_left_but_the_name() {
    watched(|| {
        let mut process = process("sleep", (600,)).name("closing").daemon(true).build().unwrap();
        process.start().unwrap();
        let error = process.close().unwrap_err();
        assert!(matches!(error, Error::WrongState(_)), "{error}");
        assert!(error.to_string().contains("still alive"), "{error}");
        assert!(process.is_alive().unwrap());
        process.kill().unwrap();
        process.join().unwrap();
        process.close().unwrap();
        process.close().unwrap();
        assert_eq!(process.name(), "closing");
        assert!(process.is_daemon());
        let errors = [
            process.pid().unwrap_err(),
            process.is_alive().unwrap_err(),
            process.exit_code().unwrap_err(),
            process.join().unwrap_err(),
            process.join_timeout(Duration::ZERO).unwrap_err(),
            process.terminate().unwrap_err(),
            process.kill().unwrap_err(),
            process.result::<i64>().unwrap_err(),
            process.sentinel().unwrap_err(),
            process.start().unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Closed(_)), "{error}");
        }
    });
}

#[test]
fn it_can_be_ended() {
    let check = |end: fn(&Process) -> Result<(), Error>, exit_code: i32| {
        let process = process("sleep", (600,)).start().unwrap();
        assert!(!process.join_timeout(Duration::from_millis(50)).unwrap());
        thread::scope(|scope| {
            let waiters: Vec<_> =
                (0..4).map(|_| scope.spawn(|| process.result::<Encoded>())).collect();
            scope.spawn(|| process.join().unwrap());
            end(&process).unwrap();
            end(&process).unwrap();
            for waiter in waiters {
                let error = waiter.join().unwrap().unwrap_err();
                assert!(matches!(error, Error::Cancelled(Cancelled::Terminated)), "{error}");
            }
        });
        assert!(process.join_timeout(Duration::ZERO).unwrap());
        assert_eq!(process.exit_code().unwrap(), Some(exit_code));
        end(&process).unwrap();
    };
    watched(move || {
        check(Process::terminate, -15);
        check(Process::kill, -9);
    });
}

#[test]
fn one_that_ignores_the_polite_signal_is_killed_in_the_end() {
    watched(|| {
        let process = misbehaving("hang-in-call-ignoring-sigterm").arguments(("bad",));
        let process = process.start().unwrap();
        assert!(!process.join_timeout(Duration::from_millis(300)).unwrap());
        process.terminate().unwrap();
        process.join().unwrap();
        assert_eq!(process.exit_code().unwrap(), Some(-9));
    });
}

#[test]
fn one_that_somebody_else_kills_says_so() {
    watched(|| {
        let running = process("sleep", (600,)).start().unwrap();
        signal(&running, Signal::KILL);
        let error = running.result::<Encoded>().unwrap_err();
        assert!(matches!(error, Error::Lost(_) | Error::ProcessFailed(_)), "{error}");
        assert!(error.to_string().contains("SIGKILL"), "{error}");

        let starting = misbehaving("never-connects").start().unwrap();
        signal(&starting, Signal::KILL);
        let error = starting.result::<Encoded>().unwrap_err();
        let Error::ProcessFailed(report) = &error else { panic!("{error}") };
        assert_eq!(report.pid, starting.pid().unwrap());
        assert!(error.to_string().contains("SIGKILL"), "{error}");
        starting.join().unwrap();
        assert_eq!(starting.exit_code().unwrap(), Some(-9));
    });
}

#[test]
fn one_that_is_ended_while_it_starts_ends_at_once() {
    let check = |end: fn(&Process) -> Result<(), Error>, exit_code: i32| {
        let deadline = Deadline::after(SOON);
        let process = misbehaving("never-connects").start().unwrap();
        end(&process).unwrap();
        let error = process.result::<Encoded>().unwrap_err();
        assert!(matches!(error, Error::Cancelled(Cancelled::Terminated)), "{error}");
        process.join().unwrap();
        assert_eq!(process.exit_code().unwrap(), Some(exit_code));
        assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
    };
    watched(move || {
        check(Process::terminate, -15);
        check(Process::kill, -9);
    });
}

/// Modes that never get as far as a call, and what the result says about them.
const NEVER_READY: &[(&str, &str)] = &[
    ("exits-at-once 42", "exited with status 42 before its hello"),
    ("exits-at-once", "exited with status 0 before its hello"),
    ("prints-text", "exited with status 0 before its hello"),
    ("never-connects", "did not connect within 1.0 s"),
    ("connects-and-stays-silent", "sent no hello within 1.0 s"),
    ("connects-and-exits", "before its hello"),
    ("wrong-token", "token"),
    ("future-version", "version"),
    ("garbage-hello", "broke the protocol"),
    ("ready-before-hello", "broke the protocol"),
    ("silent-after-welcome", "was not ready within 1.0 s"),
    ("exits-after-welcome", "exited with status 4"),
    ("initializer-fails", "the licence has run out"),
];

#[test]
fn a_worker_that_cannot_be_used_is_the_reason_that_there_is_no_result() {
    watched(|| {
        check_all(NEVER_READY, |&(mode, text)| {
            let deadline = Deadline::after(SOON);
            let process = misbehaving(mode).start_timeout(Duration::from_secs(1)).start().unwrap();
            let error = process.result::<Encoded>().unwrap_err();
            assert!(matches!(error, Error::ProcessFailed(_)), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.to_string().contains(mode), "{error}");
            process.join().unwrap();
            assert!(process.exit_code().unwrap().is_some());
            assert!(!is_there(process.pid().unwrap().unwrap()));
            assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
        });
    });
}

#[test]
fn a_command_that_cannot_be_executed_is_an_error_of_the_start() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let real = executables().worker.display();
        write_script(&script, &format!("exec '{real}'"));
        let builder = Process::builder(command(&[script.to_str().unwrap()])).function("square");
        let mut process = builder.arguments((3,)).name("late").build().unwrap();
        fs::remove_file(&script).unwrap();
        for _ in 0..2 {
            let error = process.start().unwrap_err();
            let Error::ProcessFailed(report) = &error else { panic!("{error}") };
            assert!(report.command.contains("script"), "{report}");
            assert_eq!((report.pid, report.exit), (None, None));
            assert!(error.to_string().contains("could not be started (No such file"), "{error}");
            assert_eq!(process.pid().unwrap(), None);
            assert!(!process.is_alive().unwrap());
            assert!(matches!(process.result::<i64>(), Err(Error::WrongState(_))));
            assert!(child("late").is_none());
        }
        // Nothing was started, so that it can be tried again. Links are never open for writing.
        std::os::unix::fs::symlink(&executables().worker, &script).unwrap();
        process.start().unwrap();
        assert_eq!(process.result::<i64>().unwrap(), 9);
    });
}

#[test]
fn a_function_over_its_time_is_ended() {
    watched(|| {
        let process = process("sleep", (600,)).task_timeout(Duration::from_millis(300));
        let process = process.start().unwrap();
        let error = process.result::<Encoded>().unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        process.join().unwrap();
        assert_eq!(process.exit_code().unwrap(), Some(-15));
    });
}

#[test]
fn a_function_that_there_is_not_is_named_with_those_there_are() {
    watched(|| {
        let process = process("sqare", (2,)).start().unwrap();
        let error = process.result::<i64>().unwrap_err();
        let Error::UnknownFunction { function, available, .. } = &error else { panic!("{error}") };
        assert_eq!(function, "sqare");
        assert!(available.contains(&"square".to_owned()), "{error}");
        process.join().unwrap();
    });
}

#[test]
fn an_event_loop_can_wait_for_its_end() {
    let is_readable = |sentinel: &std::os::fd::OwnedFd, timeout: Duration| {
        let timeout = Timespec::try_from(timeout).unwrap();
        poll(&mut [PollFd::new(sentinel, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    watched(move || {
        let mut process = process("sleep", (600,)).start().unwrap();
        let (one, other) = (process.sentinel().unwrap(), process.sentinel().unwrap());
        assert!(!is_readable(&one, Duration::from_millis(50)));
        process.terminate().unwrap();
        assert!(is_readable(&one, SOON));
        process.join().unwrap();
        assert!(is_readable(&process.sentinel().unwrap(), Duration::ZERO), "also afterwards");
        process.close().unwrap();
        drop(one);
        assert!(is_readable(&other, Duration::ZERO), "it belongs to the caller");
    });
}

#[test]
fn dropping_a_handle_waits_for_the_process() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("done");
        let script = format!("sleep 0.5; touch '{}'", file.display());
        let process = process("exec", ("sh", ["-c", &script])).name("dropped").start().unwrap();
        let pid = process.pid().unwrap().unwrap();
        drop(process);
        assert!(file.exists());
        assert!(!is_there(pid));
        assert!(child("dropped").is_none());
        drop(self::process("sleep", (600,)).build().unwrap());
    });
}

#[test]
fn a_panic_ends_the_processes_of_its_handles() {
    watched(|| {
        let deadline = Deadline::after(SOON);
        let (sender, receiver) = std::sync::mpsc::channel();
        let panicked = thread::spawn(move || {
            let started = process("sleep", (600,)).start().unwrap();
            let _new = process("sleep", (600,)).build().unwrap();
            sender.send(started.pid().unwrap().unwrap()).unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(!is_there(receiver.recv().unwrap()));
        assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
    });
}

#[test]
fn a_daemon_lives_on_without_a_handle() {
    watched(|| {
        let daemon = process("sleep", (600,)).daemon(true).name("daemon").start().unwrap();
        let pid = daemon.pid().unwrap().unwrap();
        drop(daemon);
        let child = child("daemon").expect("it is among the active children");
        assert_eq!(child.pid(), pid);
        assert!(child.is_alive() && is_there(pid));
        assert_eq!(child.exit_code(), None);
        assert!(!child.join_timeout(Duration::from_millis(50)));
        child.terminate();
        child.join();
        assert_eq!(child.exit_code(), Some(-15));
        assert!(!child.is_alive() && !is_there(pid));
        assert!(self::child("daemon").is_none());
    });
}

#[test]
fn active_children_are_those_that_were_started_and_have_not_ended() {
    watched(|| {
        let names = || -> Vec<String> {
            let children = active_children();
            let names = children.iter().map(|child| child.name().to_owned());
            names.filter(|name| name.starts_with("of mine ")).collect()
        };
        let mut processes: Vec<_> = (0..3)
            .map(|number| process("sleep", (600,)).name(&format!("of mine {number}")).build())
            .map(Result::unwrap)
            .collect();
        assert_eq!(names(), [""; 0]);
        for process in &mut processes {
            process.start().unwrap();
        }
        assert_eq!(names(), ["of mine 0", "of mine 1", "of mine 2"]);
        processes[1].kill().unwrap();
        processes[1].join().unwrap();
        assert_eq!(names(), ["of mine 0", "of mine 2"]);
        for child in active_children() {
            if child.name().starts_with("of mine ") {
                child.kill();
                assert!(child.join_timeout(SOON));
            }
        }
        assert_eq!(names(), [""; 0]);
        for process in &processes {
            assert_eq!(process.exit_code().unwrap(), Some(-9));
        }
    });
}
