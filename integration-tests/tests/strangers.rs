//! Who connects without being a worker, and where the socket lies: nobody stops the work.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests report by panicking")]

use std::{
    fs::{self, DirBuilder},
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use integration_tests::{Program, Running, check_all, master};
use protocol::{
    envelope,
    message::{FromWorker, Hello},
};
use rustix::process::{Signal, kill_process};

#[path = "support/processes.rs"]
mod processes;

use processes::{guardian_of, wait_for};

/// How many may be connected without having said who they are.
const MAX_STRANGERS: usize = 256;

/// A worker that tells what it was given, and begins when it may.
const HELD_WORKER: &str = "\
printf %s \"$WORKER_TOKEN\" > token
printf %s \"$WORKER_ADDRESS\" > address.new
mv address.new address
until [ -e go ]; do sleep 0.01; done
exec misbehaving-worker well-behaved";

/// A run whose one worker is not connected yet.
struct Held {
    running: Running,
    directory: PathBuf,
    address: String,
}

impl Held {
    fn start() -> Self {
        let program = master(["map", "--worker", "held", "--processes", "1", "echo"]).stdin_open();
        let directory = program.directory().to_owned();
        let running = program.script("held", HELD_WORKER).start();
        running.wait_for_file("address");
        let address = fs::read_to_string(directory.join("address")).unwrap();
        Self { running, directory, address }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.address).unwrap()
    }

    /// Lets the worker begin.
    fn go(&self) {
        fs::write(self.directory.join("go"), "").unwrap();
    }

    /// Checks that a call is answered.
    #[track_caller]
    fn check_call(&mut self, value: &str) {
        self.running.write_line(value);
        assert_eq!(self.running.next_line(), value);
    }

    /// A hello with the token of the worker.
    fn hello(&self) -> Vec<u8> {
        let token = fs::read_to_string(self.directory.join("token")).unwrap();
        let hello = Hello {
            token,
            oldest: 1,
            newest: 1,
            features: Vec::new(),
            name: "stranger".into(),
            version: "1".into(),
            functions: Vec::new(),
        };
        let mut bytes = Vec::new();
        envelope::append_frame(&mut bytes, &FromWorker::Hello(hello), &[]).unwrap();
        bytes
    }

    #[track_caller]
    fn finish(self) {
        // Only one was ever started: none was taken for faulty.
        self.running.finish().ended(0).was_quiet();
    }
}

#[test]
fn silent_strangers_are_no_hindrance() {
    let mut held = Held::start();
    let before: Vec<_> = (0..200).map(|_| held.connect()).collect();
    held.go();
    held.check_call("1");
    let after: Vec<_> = (0..200).map(|_| held.connect()).collect();
    held.check_call("2");
    drop((before, after));
    held.finish();
}

#[test]
fn of_too_many_strangers_the_oldest_go() {
    let mut held = Held::start();
    let strangers: Vec<_> = (0..MAX_STRANGERS + 100).map(|_| held.connect()).collect();
    let gone = |mut stranger: &UnixStream| {
        stranger.set_nonblocking(true).unwrap();
        match stranger.read(&mut [0]) {
            Ok(0) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            other => panic!("{other:?}"),
        }
    };
    wait_for("the end of the oldest", || strangers[..100].iter().all(gone).then_some(()));
    assert!(!strangers[100..].iter().any(gone), "there is room for these");
    held.go();
    held.check_call("1");
    // The worker took the room of one.
    assert!(gone(&strangers[100]) && !gone(&strangers[101]));
    held.finish();
}

#[test]
fn garbage_is_turned_away() {
    let mut held = Held::start();
    let say = |bytes: &[u8]| {
        let mut stranger = held.connect();
        // It may be turned away before everything is said.
        let _ = stranger.write_all(bytes);
        stranger
    };
    let endless = vec![0; 1 << 20];
    let strangers = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 100],
        &[0, 0, 0, 3, 0xc1, 0xc1, 0xc1],
        &[0, 0, 0, 0],
        &endless,
    ]
    .map(say);
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let end = stranger.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
    }
    held.go();
    held.check_call("1");
    held.finish();
}

#[test]
fn a_token_that_was_redeemed_is_worth_nothing() {
    let mut held = Held::start();
    held.go();
    held.check_call("1");
    let mut stranger = held.connect();
    stranger.write_all(&held.hello()).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("a token that is not awaited"));
    held.check_call("2");
    held.finish();
}

#[test]
fn a_flood_of_connections_holds_nobody_up() {
    let mut held = Held::start();
    let flood = || {
        let address = held.address.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            // As long as there is a gate.
            while let Ok(stranger) = UnixStream::connect(&address) {
                kept.push(stranger);
                if kept.len() > 50 {
                    kept.clear();
                }
            }
        })
    };
    let floods = [flood(), flood()];
    held.go();
    for number in 0..100 {
        held.check_call(&number.to_string());
    }
    held.finish();
    for flood in floods {
        flood.join().unwrap();
    }
}

/// A run whose socket is to lie in this place, if that is possible.
fn in_place(place: &Path) -> Program {
    master(["map", "square", "3"]).env("XDG_RUNTIME_DIR", place).env("TMPDIR", place)
}

#[test]
fn a_place_that_will_not_do_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("a".repeat(200));
    let with_spaces = directory.path().join("a b  c");
    let strange = directory.path().join("a\nb");
    for place in [&long, &with_spaces, &strange] {
        fs::create_dir(place).unwrap();
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let nowhere = directory.path().join("nowhere");
    let places = [&long, &with_spaces, &strange, &file, &nowhere];
    check_all(&places, |place| {
        in_place(place).run().ended(0).printed("9\n").was_quiet();
    });
    assert_eq!(fs::read_dir(&with_spaces).unwrap().count(), 0);
}

/// Makes what a master that was killed leaves.
fn abandon(place: &Path, name: &str, mode: u32) -> PathBuf {
    let path = place.join(name);
    DirBuilder::new().mode(0o700).create(&path).unwrap();
    drop(UnixListener::bind(path.join("s")).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_next_master_removes_what_dead_ones_left() {
    let place = tempfile::tempdir().unwrap();
    let dead = abandon(place.path(), "master-4194304-abcdef", 0o700);
    // A process with this number lives: that says nothing.
    let reused = abandon(place.path(), "master-1-ABCDEF", 0o700);
    let others = [("master-1-abcdef.old", 0o700), ("master-1-000000", 0o755)];
    let others = others.map(|(name, mode)| abandon(place.path(), name, mode));
    let full = abandon(place.path(), "master-1-111111", 0o700);
    fs::write(full.join("other"), "").unwrap();

    let mut living = in_place(place.path()).args(["4"]).start();
    assert_eq!(living.next_line(), "9");
    living.finish().ended(0);
    assert!(!dead.exists() && !reused.exists());
    for other in others.iter().chain([&full]) {
        assert!(other.join("s").exists(), "{}", other.display());
    }
}

#[test]
fn the_directory_of_a_living_master_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let directories = || -> Vec<_> {
        fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let idle = master(["map", "--processes", "1", "square"]).stdin_open();
    let mut living = idle.env("XDG_RUNTIME_DIR", place.path()).start();
    living.write_line("2");
    assert_eq!(living.next_line(), "4");
    let held = directories();
    assert_eq!(held.len(), 1);
    in_place(place.path()).run().ended(0).printed("9\n");
    assert_eq!(directories(), held);
    // It still starts workers.
    living.write_line("3");
    assert_eq!(living.next_line(), "9");

    // Killed together with what would have put it away, which is stopped first.
    let guardian = wait_for("a guardian", || guardian_of(living.pid()));
    kill_process(guardian, Signal::STOP).unwrap();
    living.signal(Signal::KILL);
    kill_process(guardian, Signal::KILL).unwrap();
    living.finish().ended(128 + 9);
    assert_eq!(directories(), held, "nobody was there to remove it");
    in_place(place.path()).run().ended(0).printed("9\n");
    assert_eq!(directories(), Vec::<PathBuf>::new());
}
