//! What becomes of workers and files when a master is killed: nothing is left, whatever its
//! workers are doing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking")]

use std::{env, fs, path::Path, time::Duration};

use integration_tests::{
    Deadline, Program, Running, check_all, executables, leftovers::count_processes, library,
    master, master_with,
};
use rustix::process::{Pid, Signal, kill_process};

#[path = "support/processes.rs"]
mod processes;

use processes::{children_of, guardian_of, wait_for, wait_for_guardian};

/// How long all may take that a killed master leaves to others.
const SOON: Duration = Duration::from_secs(5);

/// Kills the master; the harness checks that no process and no file is left.
#[track_caller]
fn kill(running: Running) {
    assert!(count_processes(running.mark()) > 2, "workers and guardian carry the mark");
    let deadline = Deadline::after(SOON);
    running.signal(Signal::KILL);
    running.finish().ended(128 + 9);
    assert!(!deadline.left().is_zero(), "it took more than {SOON:?}");
}

#[test]
fn workers_in_any_state_end_when_their_master_is_killed() {
    let modes = ["hang-in-call", "hang-in-call-ignoring-sigterm"];
    check_all(&modes, |mode| {
        let arguments = ["--processes", "2", "--chunksize", "1", "echo", "1", "bad", "bad"];
        let mut running = master_with(mode, "map", arguments).start();
        assert_eq!(running.next_line(), "1");
        wait_for_guardian(&running);
        kill(running);
    });
}

#[test]
fn workers_that_never_connect_end_as_well() {
    check_all(&["never-connects", "prints-text-and-stays"], |mode| {
        let program = master_with(mode, "map", ["--processes", "2", "echo", "1", "2"]);
        let running = program.count_starts().start();
        wait_for("two workers", || (running.starts().len() == 2).then_some(()));
        wait_for_guardian(&running);
        kill(running);
    });
}

#[test]
fn workers_of_single_calls_end_as_well() {
    check_all(&["apply", "run"], |verb| {
        let running = master_with("hang-in-call", verb, ["echo", "bad"]).start();
        wait_for_guardian(&running);
        kill(running);
    });
}

#[test]
fn idle_and_stopped_workers_end_as_well() {
    check_all(&[Signal::CONT, Signal::STOP], |&signal| {
        let mut running = master(["map", "--processes", "1", "pid"]).stdin_open().start();
        running.write_line("1");
        let worker: i32 = running.next_line().parse().unwrap();
        kill_process(Pid::from_raw(worker).unwrap(), signal).unwrap();
        wait_for_guardian(&running);
        kill(running);
    });
}

#[test]
fn what_a_stopped_worker_started_in_its_group_ends_as_well() {
    let script = "sleep 600 & echo started; kill -STOP $PPID; touch stopped; sleep 600";
    let item = serde_json::json!(["sh", ["-c", script]]).to_string();
    let running = master(["starmap", "--processes", "1", "exec", &item]).start();
    running.wait_for_file("stopped");
    wait_for_guardian(&running);
    kill(running);
}

#[test]
fn names_with_spaces_are_no_hindrance() {
    check_all(&["a b", " a  b ", "$(touch x)*", "a'b\"c\\"], |name| {
        let program = master(["map", "--processes", "1", "pid"]).stdin_open();
        let place = program.directory().join("runtime").join(name);
        fs::create_dir(&place).unwrap();
        let mut running = program.env("XDG_RUNTIME_DIR", &place).start();
        running.write_line("1");
        running.next_line();
        wait_for_guardian(&running);
        let held = fs::read_dir(&place).unwrap().count();
        assert_eq!(held, 1, "the directory of the socket is there");
        // Gone before the directory of the run is looked at.
        running.signal(Signal::KILL);
        wait_for("an empty place", || fs::read_dir(&place).unwrap().next().is_none().then_some(()));
        fs::remove_dir(&place).unwrap();
        running.finish().ended(128 + 9);
    });
}

#[test]
fn a_guardian_that_was_killed_has_a_successor() {
    let mut running = master_with("hang-in-call", "map", ["--processes", "2", "echo"])
        .args(["--chunksize", "1"])
        .stdin_open()
        .start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    for _ in 0..3 {
        let first = wait_for_guardian(&running);
        kill_process(first, Signal::KILL).unwrap();
        wait_for("another guardian", || {
            guardian_of(running.pid()).filter(|&guardian| guardian != first)
        });
    }
    running.write_line("\"bad\"");
    kill(running);
}

#[test]
fn the_guardian_holds_nothing_of_its_master() {
    let mut running = master(["map", "--processes", "1", "pid"]).stdin_open().start();
    running.write_line("1");
    running.next_line();
    let guardian = wait_for_guardian(&running);
    // Its descriptors are closed by the time that it runs the script.
    let open = || {
        let mut open: Vec<_> = fs::read_dir(format!("/proc/{guardian}/fd"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        open.sort();
        open
    };
    wait_for("nothing but the standard streams", || (open() == ["0", "1", "2"]).then_some(()));
    for stream in [1, 2] {
        let path = fs::read_link(format!("/proc/{guardian}/fd/{stream}")).unwrap();
        assert_eq!(path, Path::new("/dev/null"));
    }
    running.close_stdin();
    running.finish().ended(0);
}

#[test]
fn a_closed_terminal_does_not_reach_the_guardian() {
    let mut running =
        master_with("hang-in-call", "map", ["--processes", "1", "echo"]).stdin_open().start();
    running.write_line("1");
    assert_eq!(running.next_line(), "1");
    let guardian = wait_for_guardian(&running);
    assert_eq!(rustix::process::getsid(Some(guardian)).unwrap(), guardian);
    // It ignores them as soon as it runs the script.
    let ignored = || {
        let status = fs::read_to_string(format!("/proc/{guardian}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        u64::from_str_radix(mask, 16).unwrap()
    };
    let wanted = [Signal::HUP, Signal::INT, Signal::TERM];
    let all = wanted.iter().fold(0, |mask, signal| mask | 1 << (signal.as_raw() - 1));
    wait_for("ignored signals", || (ignored() & all == all).then_some(()));
    for signal in wanted {
        kill_process(guardian, signal).unwrap();
    }
    kill(running);
}

/// Names the program below that a run of this test is to be.
const PROGRAM: &str = "GUARDIAN_PROGRAM";

/// A program that uses the library, for a process of its own.
#[test]
#[ignore = "a program that other tests run"]
fn program() {
    if env::var(PROGRAM).is_err() {
        return;
    }
    let worker = library::command(&[&env::var("WORKER").unwrap()]);
    let builder = || master::Pool::builder().worker(worker.clone()).processes(2);
    let me = rustix::process::getpid();
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let (descriptors, threads) = (count("fd"), count("task"));
    for _ in 0..3 {
        let (first, second) = (builder().build().unwrap(), builder().build().unwrap());
        for pool in [&first, &second] {
            assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
        }
        let guardian = wait_for("a guardian", || guardian_of(me));
        first.close();
        first.join().unwrap();
        // The other pool goes on under the same one, and there is only one.
        assert_eq!(second.apply::<i64>("square", (6,)).unwrap(), 36);
        assert_eq!(guardian_of(me), Some(guardian));
        assert_eq!(children_of(me).len(), 3, "two workers and a guardian");
        second.terminate();
        second.join().unwrap();
        assert_eq!(children_of(me), []);
        drop((first, second));
        assert_eq!(count("fd"), descriptors);
        // A thread that was joined may be listed for a moment.
        wait_for("no thread", || (count("task") <= threads).then_some(()));
    }
}

#[test]
fn nothing_is_left_of_a_pool_that_has_ended() {
    let program = Program::new(&env::current_exe().unwrap());
    program
        .args(["program", "--exact", "--ignored", "--nocapture"])
        .env(PROGRAM, "pools")
        .env("WORKER", &executables().worker)
        .run()
        .ended(0);
}
