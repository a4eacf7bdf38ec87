//! Workers whose executable is pinned to a checksum.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use integration_tests::{executables, library, master};
use master::{Error, Pool, Process, command::Checksum};
use sha2::{Digest as _, Sha256};

const WRONG: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn checksum(path: &Path) -> String {
    let bytes = <[u8; 32]>::from(Sha256::digest(fs::read(path).unwrap()));
    Checksum::from(bytes).to_string()
}

#[test]
fn the_right_executable_works() {
    let executables = executables();
    let (right, other) = (checksum(&executables.worker), checksum(&executables.misbehaving_worker));
    master(["map", "--worker-sha256", &right, "square", "3"]).run().ended(0).printed("9\n");
    master(["run", "--worker-sha256", &right, "square", "3"]).run().ended(0).printed("9\n");
    let two = ["map", "--worker", "worker", "--worker", "misbehaving-worker well-behaved"];
    let checksums = ["--worker-sha256", &right, "--worker-sha256", &other, "square", "3"];
    master(two).args(checksums).run().ended(0).printed("9\n");
}

#[test]
fn another_executable_is_not_started() {
    let found = checksum(&executables().worker);
    let text =
        format!("could not be started (its SHA-256 is {found}, and it is pinned to {WRONG})");
    for verb in ["map", "apply", "run"] {
        let finished = master([verb, "--worker-sha256", WRONG, "square", "3"]).run();
        finished.ended(3).printed("").said(&text);
    }
    // In the order of the workers.
    let other = checksum(&executables().misbehaving_worker);
    let two = ["map", "--worker", "worker", "--worker", "misbehaving-worker well-behaved"];
    let checksums = ["--worker-sha256", &other, "--worker-sha256", &found, "square", "3"];
    master(two).args(checksums).run().ended(3).printed("").said("SHA-256");
}

#[test]
fn mistakes_are_told() {
    let finished = master(["map", "--worker-sha256", "abc", "square", "3"]).run();
    finished.ended(2).said("64 hexadecimal digits");
    let two = ["map", "--worker", "worker", "--worker", "worker", "--worker-sha256", WRONG];
    master(two).args(["square", "3"]).run().ended(2).said("once for each --worker");
    let two = ["run", "--worker-sha256", WRONG, "--worker-sha256", WRONG, "square", "3"];
    master(two).run().ended(2).said("once for each --worker");
}

#[test]
fn an_executable_that_changed_is_not_started_again() {
    library::watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker");
        fs::copy(&executables().worker, &path).unwrap();
        let pinned = library::command(&[path.to_str().unwrap()]);
        let pinned = pinned.pinned(checksum(&path).parse().unwrap());
        let builder = Pool::builder().worker(pinned.clone()).processes(1).max_tasks_per_child(2);
        let pool = builder.build().unwrap();
        assert_eq!(pool.apply::<i64>("square", (3,)).unwrap(), 9);
        // Replaced as an update does it; the worker that runs keeps the old file.
        let other = directory.path().join("other");
        fs::write(&other, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(pool.apply::<i64>("square", (4,)).unwrap(), 16);
        let reason = match pool.apply::<i64>("square", (5,)) {
            Err(Error::PoolFailed(report)) => report.to_string(),
            other => panic!("{other:?}"),
        };
        let now = checksum(&path);
        assert!(reason.contains(&format!("its SHA-256 is {now}, and it is pinned to")), "{reason}");
        let process = Process::builder(pinned).function("square").arguments((3,)).start();
        assert!(matches!(process, Err(Error::ProcessFailed(_))));
    });
}
