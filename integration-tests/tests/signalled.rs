//! What signals do to a run of `master`, other than to end it: other workers, more, fewer, and how
//! things stand. Ends are in `ending.rs`, but for those by SIGHUP and those in the midst of output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    fs,
    io::Write as _,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    thread,
};

use integration_tests::{Program, Running, check_all, executables, leftovers, write_script};
use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::{Value, json};
use support::{Until, wait_until};

/// A program on PATH, with those that belong to `master`.
fn program(name: &str) -> Program {
    let executables = executables();
    Program::new(Path::new(name))
        .link("worker", &executables.worker)
        .link("misbehaving-worker", &executables.misbehaving_worker)
}

/// `master`, without a terminal that could hang up.
fn detached(arguments: &[&str]) -> Program {
    program("setsid").arg(&executables().master).args(arguments)
}

/// The events in the file `events` of a run, as far as there are any.
fn events(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("events")).unwrap_or_default();
    // The last line may be in the making.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The pids of the workers that an event of this name tells of.
fn pids_of(events: &[Value], name: &str) -> Vec<u64> {
    let those = events.iter().filter(|event| event["event"] == name);
    those.map(|event| event["pid"].as_u64().unwrap()).collect()
}

/// Waits until so many workers have been ready.
#[track_caller]
fn wait_until_ready(directory: &Path, workers: usize) {
    wait_until(&format!("{workers} workers were ready"), || {
        pids_of(&events(directory), "ready").len() >= workers
    });
}

/// A run with the worker `engine`, which is a link to the reference worker.
struct Swap {
    program: Program,
    directory: PathBuf,
}

impl Swap {
    fn new(function: &str) -> Self {
        let options = ["--worker", "engine", "--processes", "2", "--events", "events"];
        let program = detached(&["map"]).args(options).arg(function).stdin_open().count_starts();
        let program = program.link("engine", &executables().worker);
        let directory = program.directory().to_owned();
        Self { program, directory }
    }

    fn engine(directory: &Path) -> PathBuf {
        directory.join("bin/engine")
    }
}

#[test]
fn a_hang_up_without_a_terminal_replaces_the_workers_by_those_of_now() {
    let Swap { program, directory } = Swap::new("square");
    let mut running = program.start();
    let mut stdin = running.take_stdin().unwrap();
    let done = Until::default();
    let (running, count) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0_u64;
            while !done.is_set() {
                count += 1;
                writeln!(stdin, "{count}").unwrap();
            }
            drop(stdin);
            count
        });
        let guard = done.set_at_end();
        assert_eq!(running.next_line(), "1");
        wait_until_ready(&directory, 2);
        // A new link takes the place of the old one, so that there is one at any time.
        write_script(&directory.join("bin/wrapper"), "exec misbehaving-worker well-behaved");
        symlink(directory.join("bin/wrapper"), directory.join("bin/new")).unwrap();
        fs::rename(directory.join("bin/new"), Swap::engine(&directory)).unwrap();
        running.signal(Signal::HUP);
        running.wait_for_stderr("all workers are now `");
        wait_until_ready(&directory, 4);
        drop(guard);
        (running, writer.join().unwrap())
    });
    // What it printed is compared as a whole, and events are looked at before they go.
    let events = wait_for_last_events(&directory, 4);
    let finished = running.finish();
    let squares: String = (1..=count).map(|n| format!("{}\n", n * n)).collect();
    finished.ended(0).printed(&squares);
    let started = pids_of(&events, "started");
    let new: Vec<u64> = finished.starts.iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(started.len(), 4, "{events:?}");
    assert!(started[..2].iter().all(|pid| !new.contains(pid)), "{events:?}");
    assert_eq!(started[2..], new, "{events:?}");
    assert_eq!(pids_of(&events, "died").len(), 0, "{events:?}");
    assert_eq!(pids_of(&events, "left").len(), 4, "{events:?}");
    assert_eq!(events.iter().filter(|event| event["event"] == "replaced").count(), 1);
}

/// The events of a run that is about to end, when so many workers have left.
fn wait_for_last_events(directory: &Path, left: usize) -> Vec<Value> {
    wait_until("all have left", || pids_of(&events(directory), "left").len() == left);
    events(directory)
}

#[test]
fn a_hang_up_with_workers_that_cannot_be_used_changes_nothing() {
    type Change = fn(&Path);
    let cases: [(&str, Change); 5] = [
        ("status 7", |engine| write_script(engine, "exit 7")),
        ("engine", |_| ()),
        ("not executable", |engine| fs::write(engine, "#!/bin/sh\n").unwrap()),
        ("has no function `sum_primes`", |engine| {
            write_script(engine, "exec misbehaving-worker well-behaved");
        }),
        ("999", |engine| {
            write_script(engine, "exec misbehaving-worker future-version");
        }),
    ];
    let case = |(text, change): &(&str, Change)| {
        let Swap { program, directory } = Swap::new("sum_primes");
        let mut running = program.start();
        running.write_line("3");
        assert_eq!(running.next_line(), "2");
        wait_until_ready(&directory, 2);
        let engine = Swap::engine(&directory);
        fs::remove_file(&engine).unwrap();
        change(&engine);
        running.signal(Signal::HUP);
        running.wait_for_stderr("not replaced: ");
        running.write_line("4");
        assert_eq!(running.next_line(), "5");
        running.close_stdin();
        let events = wait_for_last_events(&directory, 2);
        let finished = running.finish();
        finished.ended(0).printed("2\n5\n").said(text);
        let (ready, mut left) = (pids_of(&events, "ready"), pids_of(&events, "left"));
        left.sort_by_key(|pid| ready.iter().position(|ready| ready == pid));
        assert_eq!(left, ready, "the old ones stay: {events:?}");
    };
    check_all(&cases, case);
}

/// Two kinds of workers, which are replaced one after the other; with two signals at once too.
#[test]
fn a_hang_up_replaces_every_kind_of_worker() {
    check_all(&[1, 2, 5], |&signals| {
        let options = ["--worker", "2*first", "--worker", "1*second", "--events", "events"];
        let mut program = detached(&["map"]).args(options).arg("count").stdin_open();
        let directory = program.directory().to_owned();
        for (name, target) in [("first", "worker"), ("second", "misbehaving-worker well-behaved")] {
            program = program.script(name, &format!("exec {target}"));
        }
        let mut running = program.start();
        running.write_line("0");
        assert_eq!(running.next_line(), "1");
        wait_until_ready(&directory, 3);
        let before: Vec<_> = pids_of(&events(&directory), "started");
        for number in 1..=signals {
            running.signal(Signal::HUP);
            // Each comes when the one before is under way, and the last of them stands.
            let started = || pids_of(&events(&directory), "started").len();
            wait_until("it is under way", || started() >= 3 + number);
        }
        wait_until("both kinds are replaced and nobody else comes", || {
            let events = events(&directory);
            let left = pids_of(&events, "left");
            let gone = before.iter().all(|pid| left.contains(pid));
            let replaced = |name: &str| {
                let ours = |event: &&Value| {
                    event["event"] == "replaced"
                        && event["command"].as_str().unwrap().ends_with(name)
                };
                events.iter().any(|event| ours(&event))
            };
            gone && replaced("first") && replaced("second")
        });
        running.write_line("0");
        // Its worker is a new one.
        assert_eq!(running.next_line(), "1");
        running.finish().ended(0).printed("1\n1\n");
    });
}

/// Does what a shell says before it becomes a run of `master` without a terminal.
fn after(preparation: &str, arguments: &[&str]) -> Program {
    let script = format!("{preparation} setsid \"$0\" \"$@\"");
    program("sh").args(["-c", &script]).arg(&executables().master).args(arguments)
}

/// Who starts it may have no interest in the ends of children, and hands that on.
#[test]
fn ends_of_workers_are_seen_though_those_of_children_were_ignored() {
    let options = ["starmap", "--processes", "1", "--chunksize", "3", "exec"];
    let program = after("trap '' CHLD; exec", &options);
    let item = |script: &str| json!(["sh", ["-c", script]]).to_string();
    let items = [item("true"), item("kill -9 $PPID"), item("true")];
    let finished = program.args(&items).run();
    finished.ended(1).said("input 2: lost").said("SIGKILL");
    assert_eq!(finished.stdout.lines().count(), 2);
    let record = "\"$0\" map --processes 1 --record recording square 2 > /dev/null";
    let replay = ["replay", "recording", "--worker", "worker"];
    let finished = after(&format!("{record}; trap '' CHLD; exec"), &replay).run();
    finished.ended(0).printed("").said("1 answer of 1 worker compared: 0 differences");
}

/// What came in meanwhile is heard before it is judged by the time that has passed.
#[test]
fn a_master_that_was_stopped_for_a_while_blames_nobody() {
    let program = detached(&["starmap", "--processes", "2", "--timeout", "1s", "exec"]);
    let directory = program.directory().to_owned();
    let item = |mark: &str| json!(["sh", ["-c", format!("mkdir {mark}; sleep 0.4")]]).to_string();
    let items = format!("{}\n{}\n", item("first"), item("second"));
    let running = program.stdin(items).start();
    wait_until("both have begun", || {
        ["first", "second"].iter().all(|mark| directory.join(mark).exists())
    });
    running.signal(Signal::STOP);
    let stopped = integration_tests::Deadline::after(std::time::Duration::from_secs(2));
    stopped.pause(stopped.left());
    running.signal(Signal::CONT);
    let finished = running.finish();
    finished.ended(0).was_quiet();
    assert_eq!(finished.stdout.lines().count(), 2);
}

#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    let options = ["map", "--processes", "1", "--events", "events", "square"];
    check_all(&["trap '' HUP; exec", "exec nohup"], |preparation| {
        let program = after(preparation, &options).stdin_open();
        let directory = program.directory().to_owned();
        let mut running = program.start();
        running.write_line("3");
        assert_eq!(running.next_line(), "9");
        running.signal(Signal::HUP);
        // It is taken up after the other one.
        running.signal(Signal::USR1);
        running.wait_for_stderr("there are 2 workers now");
        wait_until_ready(&directory, 2);
        running.write_line("4");
        assert_eq!(running.next_line(), "16");
        running.close_stdin();
        let events = wait_for_last_events(&directory, 2);
        let finished = running.finish();
        finished.ended(0).printed("9\n16\n");
        assert!(!finished.stderr.contains("replaced"), "{}", finished.describe());
        assert!(!finished.stderr.contains("all workers are now"), "{}", finished.describe());
        assert_eq!(pids_of(&events, "started").len(), 2, "{events:?}");
    });
}

/// A terminal, and the end of it that hangs up when it is dropped.
fn terminal() -> (OwnedFd, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (master, name)
}

#[test]
fn with_a_terminal_a_hang_up_ends_the_run() {
    check_all(&[true, false], |&hangs_up| {
        let (terminal, name) = terminal();
        let item = json!(["sh", ["-c", "touch started; sleep 600"]]).to_string();
        let script = "exec setsid -c \"$0\" starmap --processes 1 exec \"$1\" < \"$2\"";
        let program = program("sh").args(["-c", script]).arg(&executables().master);
        let running = program.args([item, name]).start();
        running.wait_for_file("started");
        if hangs_up {
            drop(terminal);
        } else {
            running.signal(Signal::HUP);
        }
        let finished = running.finish();
        finished.ended(143).printed("");
        assert!(!finished.stderr.contains("all workers are now"), "{}", finished.describe());
    });
}

#[test]
fn processes_are_ended_by_a_hang_up() {
    let mut running = detached(&["run", "introduce", "anyone", ":::", "sleep", "600"]).start();
    assert!(running.next_line().contains("anyone"));
    running.signal(Signal::HUP);
    running.finish().ended(143);
}

/// How many workers live: all processes of the run but itself and its guardian.
fn workers(running: &Running) -> usize {
    let worker = |pid: &rustix::process::Pid| {
        let link = fs::read_link(format!("/proc/{pid}/exe"));
        link.is_ok_and(|path| path == executables().worker)
    };
    leftovers::marked(running.mark()).iter().filter(|pid| worker(pid)).count()
}

#[test]
fn two_signals_add_and_take_a_worker() {
    let options = ["map", "--processes", "1", "--events", "events", "square"];
    let program = detached(&options).stdin_open();
    let directory = program.directory().to_owned();
    let mut running = program.start();
    running.write_line("3");
    assert_eq!(running.next_line(), "9");
    assert_eq!(workers(&running), 1);
    running.signal(Signal::USR1);
    running.wait_for_stderr("there are 2 workers now");
    wait_until_ready(&directory, 2);
    running.signal(Signal::USR1);
    running.wait_for_stderr("there are 3 workers now");
    wait_until_ready(&directory, 3);
    assert_eq!(workers(&running), 3);
    running.signal(Signal::USR2);
    wait_until("there are 2 again", || workers(&running) == 2);
    running.signal(Signal::USR2);
    running.wait_for_stderr("there is 1 worker now");
    wait_until("there is 1 again", || workers(&running) == 1);
    running.signal(Signal::USR2);
    running.wait_for_stderr("the number of workers stays 1: ");
    running.write_line("4");
    assert_eq!(running.next_line(), "16");
    assert_eq!(workers(&running), 1);
    running.close_stdin();
    let events = wait_for_last_events(&directory, 3);
    running.finish().ended(0).printed("9\n16\n");
    let resized = events.iter().filter(|event| event["event"] == "resized");
    let sizes: Vec<_> = resized.map(|event| event["processes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [2, 3, 2, 1]);
}

#[test]
fn a_quit_tells_how_things_stand_and_the_run_goes_on() {
    let item = |name| {
        let script = format!("touch started-{name}; until [ -e go-on ]; do sleep 0.01; done");
        json!(["sh", ["-c", script]]).to_string()
    };
    let options = ["starmap", "--processes", "2", "--chunksize", "1", "exec"];
    let program = detached(&options).args([item("1"), item("2"), item("3")]);
    let directory = program.directory().to_owned();
    let mut running = program.start();
    running.wait_for_file("started-1");
    running.wait_for_file("started-2");
    running.signal(Signal::QUIT);
    running.wait_for_stderr("master: 2 tasks running, 1 waiting; so far 0 completed");
    for slot in [0, 1] {
        running.wait_for_stderr(&format!("\n    worker {slot}, pid "));
    }
    running.wait_for_stderr(": busy with `exec` for ");
    running.wait_for_stderr("; 0 tasks done in ");
    fs::write(directory.join("go-on"), "").unwrap();
    let finished = running.finish();
    assert_eq!(finished.ended(0).stdout.lines().count(), 3);
}

#[test]
fn a_quit_tells_what_tasks_tell() {
    let options = ["starmap", "--processes", "1", "--chunksize", "1", "--timeout", "600s", "tick"];
    let mut running = detached(&options).args(["[1, 0]", "[600, 1]"]).start();
    assert_eq!(running.next_line(), "1");
    // It is told at the begin of each second; the first time may be yet to come.
    running.signal(Signal::QUIT);
    running.wait_for_stderr("so far 1 completed");
    wait_until_told(&mut running, "(2 of 600)");
    running.signal(Signal::TERM);
    running.finish().ended(143);
}

/// Asks how things stand until a text is among what is said.
fn wait_until_told(running: &mut Running, text: &str) {
    wait_until(text, || {
        running.signal(Signal::QUIT);
        running.has_said(text)
    });
}

/// Signals, and whether the last line may be torn: only a kill can do that.
const ENDS: &[(&[Signal], bool)] = &[
    (&[Signal::TERM], false),
    (&[Signal::INT], false),
    (&[Signal::INT, Signal::INT], false),
    (&[Signal::INT, Signal::INT, Signal::INT], false),
    (&[Signal::TERM, Signal::TERM], false),
    (&[Signal::KILL], true),
];

#[test]
fn output_consists_of_whole_lines_whenever_the_run_is_ended() {
    let cases: Vec<_> = ENDS
        .iter()
        .flat_map(|&(signals, torn)| [10, 1000, 100_000].map(|size| (signals, torn, size)))
        .flat_map(|case| [1, 40].map(|lines| (case, lines)))
        .collect();
    for cases in cases.chunks(6) {
        check_all(cases, |&((signals, torn, size), lines)| {
            let mut running = detached(&["map", "--processes", "2", "echo"]).stdin_open().start();
            let mut stdin = running.take_stdin().unwrap();
            let line = move |number: usize| json!([number, "x".repeat(size)]).to_string();
            let writer = thread::spawn(move || {
                // Until nobody reads on.
                (0..).take_while(|&number| writeln!(stdin, "{}", line(number)).is_ok()).count()
            });
            for _ in 0..lines {
                let _ = running.next_line();
            }
            signals.iter().for_each(|&signal| running.signal(signal));
            let finished = running.finish();
            writer.join().unwrap();
            let expected = match signals[0] {
                Signal::INT => 130,
                Signal::TERM => 143,
                _ => 137,
            };
            finished.ended(expected);
            let printed: Vec<_> = finished.stdout.split_inclusive('\n').collect();
            let last = printed.len() - 1;
            let mut next = 0;
            for (number, line) in printed.into_iter().enumerate() {
                if number == last && torn {
                    break;
                }
                let value: Value = serde_json::from_str(line).unwrap();
                assert!(line.ends_with('\n'), "line {number} is torn");
                // What was being run when the end came is missing.
                let given = value[0].as_u64().unwrap();
                assert!(given >= next && value[1].as_str().unwrap().len() == size, "{number}");
                next = given + 1;
            }
        });
    }
}
