//! What workers find around them, and what they do not: environment, directory, limits, CPUs, and
//! the descriptors of others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking")]

use std::fs;

use integration_tests::{Finished, Program, check_all, executables, library, master};
use master::{Error, Pool, Process, Resource};

/// Has a worker run a script of the shell, whose parent it is.
fn run_in_worker(program: Program, options: &[&str], script: &str) -> Finished {
    let script = serde_json::json!(["-c", script]).to_string();
    program.args(["apply"]).args(options).args(["exec", "sh", &script]).run()
}

fn plain() -> Program {
    master(std::iter::empty::<&str>()).env("ONE", "1").env("TWO", "2")
}

/// What the script printed.
#[track_caller]
fn printed(finished: &Finished) -> String {
    finished.ended(0);
    let result: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    result["stdout"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// Checks what the script prints in a worker that was started with these options.
#[track_caller]
fn check(options: &[&str], script: &str, expected: &str) {
    let finished = run_in_worker(plain(), options, script);
    assert_eq!(printed(&finished), expected, "{options:?}");
}

#[test]
fn the_environment_is_as_told() {
    let script = "echo ${ONE-none} ${TWO-none} ${THREE-none}";
    check(&[], script, "1 2 none\n");
    check(&["--env", "THREE=3", "--env", "ONE=one=1"], script, "one=1 2 3\n");
    check(&["--clear-env"], script, "none none none\n");
    // The order of the two does not matter: everything is left out first.
    check(&["--env", "ONE", "--clear-env", "--env", "THREE=x y"], script, "1 none x y\n");
    check(&["--clear-env", "--env", "NOWHERE"], "echo ${NOWHERE-none}", "none\n");
}

#[test]
fn processes_have_their_surroundings_too() {
    let script = serde_json::json!(["-c", "echo $THREE $(pwd) $(ulimit -n) $(nice)"]).to_string();
    let options = ["--env", "THREE=3", "--directory", "/", "--limit", "open-files=32"];
    let program = plain().arg("run").args(options).args(["--nice", "19", "exec", "sh", &script]);
    assert_eq!(printed(&program.run()), "3 / 32 19\n");
}

#[test]
fn limits_hold_in_the_worker() {
    check(&["--limit", "open-files=40"], "ulimit -n", "40\n");
    check(&["--limit", "open-files=40", "--limit", "open-files=41"], "ulimit -n", "41\n");
    check(&["--limit", "cpu-time=1m", "--limit", "core=0"], "ulimit -t; ulimit -c", "60\n0\n");
    check(&["--limit", "address-space=2G"], "ulimit -v", "2097152\n");
    check(&["--limit", "stack=1M"], "ulimit -s", "1024\n");
    check(&["--limit", "data=1G"], "ulimit -d", "1048576\n");
    check(&["--limit", "file-size=1M"], "ulimit -f", "2048\n");
    // Nor can it be raised.
    check(&["--limit", "open-files=40"], "ulimit -H -n", "40\n");
    check(&["--nice", "7"], "nice", "7\n");
}

#[test]
fn a_worker_that_takes_too_much_is_ended_by_its_limit() {
    let script = "while :; do :; done";
    let finished = run_in_worker(plain(), &["--limit", "cpu-time=1s"], script);
    let result: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(result["signal"].is_number(), "{result}");
}

#[test]
fn cpus_are_pinned() {
    let first = library::first_cpu().to_string();
    check(&["--cpus", &first], "nproc", "1\n");
    let expected = format!("Cpus_allowed_list:\t{first}\n");
    check(&["--cpus", &first], "grep Cpus_allowed_list /proc/$PPID/status", &expected);
}

#[test]
fn workers_are_pinned_to_one_cpu_each_by_their_slot() {
    library::watched(|| {
        let ours = rustix::thread::sched_getaffinity(None).unwrap();
        let cpus: Vec<_> =
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| ours.is_set(cpu)).collect();
        // One more than there are, so that it goes around.
        let processes = cpus.len() + 1;
        let meeting = tempfile::tempdir().unwrap();
        let pool =
            library::pool(processes).pin_to_cpus().directory(meeting.path()).build().unwrap();
        // None ends before all have begun, so that each is in a worker of its own.
        let script = format!(
            "grep Cpus_allowed_list /proc/$PPID/status; touch $$; \
             until [ $(ls | wc -l) = {processes} ]; do sleep 0.01; done"
        );
        let script = script.as_str();
        let runs = (0..processes).map(|_| ("sh", ["-c", script]));
        let found: Vec<serde_json::Value> = pool.starmap("exec", runs).unwrap();
        let mut found: Vec<usize> = found
            .iter()
            .map(|run| run["stdout"].as_str().unwrap())
            .map(|line| line.split_once('\t').unwrap().1.trim().parse().unwrap())
            .collect();
        found.sort_unstable();
        let mut expected: Vec<_> = cpus.iter().cycle().take(processes).copied().collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    });
}

#[test]
fn what_the_system_refuses_is_told() {
    let refused = |options: &[&str], what: &str| {
        let finished = run_in_worker(plain(), options, "true");
        finished.ended(3).printed("").said("could not be started (cannot ").said(what);
    };
    refused(
        &["--limit", "open-files=18446744073709551614"],
        "set its limit of open-files to 18446744073709551614: operation not permitted",
    );
    refused(&["--cpus", "0-1023"], "not all of which it may use");
    // The first step that fails is told, and those before it are no hindrance.
    let options = ["--nice", "5", "--limit", "core=0", "--limit", "open-files=9999999999"];
    refused(&options, "set its limit of open-files");
    let finished = run_in_worker(plain(), &["--directory", "nowhere"], "true");
    finished.ended(3).said("there is no directory nowhere");
    let finished = run_in_worker(plain(), &["--cpus", "1024"], "true");
    finished.ended(2).said("the CPU 1024 cannot exist");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_starts() {
    let pool = || library::pool(1);
    let refused = |pool: master::PoolBuilder| match pool.build() {
        Err(Error::InvalidArgument(problem)) => problem,
        other => panic!("{other:?}"),
    };
    assert!(refused(pool().niceness(20)).contains("from -20 to 19"));
    assert!(refused(pool().niceness(i32::MIN)).contains("from -20 to 19"));
    assert!(refused(pool().cpus([])).contains("no CPU"));
    assert!(refused(pool().cpus([0, usize::MAX])).contains("cannot exist"));
    assert!(refused(pool().cpus(0..5000)).contains("cannot exist"));
    let process = Process::builder(library::worker()).function("square").niceness(-21);
    assert!(matches!(process.start(), Err(Error::InvalidArgument(_))));
}

#[test]
fn a_limit_that_was_lifted_again_is_none() {
    library::watched(|| {
        let builder = Pool::builder().worker(library::worker()).processes(1);
        let builder = builder.resource_limit(Resource::Core, 0);
        let pool = builder.resource_limit(Resource::Core, u64::MAX).build();
        // Only those who may raise a limit can have none.
        match pool.unwrap().apply::<serde_json::Value>("exec", ("sh", ["-c", "ulimit -c"])) {
            Ok(run) => assert_eq!(run["stdout"], "unlimited\n"),
            Err(Error::PoolFailed(report)) => assert!(report.to_string().contains("limit of core")),
            Err(error) => panic!("{error}"),
        }
    });
}

/// The shell that starts the master opens files for it without marking them, as many programs do.
#[test]
fn no_descriptor_of_the_master_reaches_a_worker() {
    check_all(&["apply", "run"], |verb| {
        let executables = executables();
        let program = Program::new("/bin/sh".as_ref()).link("worker", &executables.worker);
        let leaked = program.directory().join("leaked");
        fs::write(&leaked, "").unwrap();
        let script = "for open in /proc/$PPID/fd/*; do readlink $open; done; exit 0";
        let script = serde_json::json!(["-c", script]).to_string();
        let program = program
            .args(["-c", "exec \"$0\" \"$@\" 3<leaked 9<leaked"])
            .arg(&executables.master)
            .args([verb, "exec", "sh", &script]);
        let open = printed(&program.run());
        assert!(open.contains("socket:"), "its own connection is there: {open}");
        assert!(!open.contains("leaked"), "{open}");
    });
}
