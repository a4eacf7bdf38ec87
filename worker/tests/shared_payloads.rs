//! Large arguments and results in files that a master shares, under a scripted master.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs::File,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use protocol::{
    message::{
        Call, FromMaster, FromWorker, SharedArguments, SharedOutput, SharedRange, Welcome,
        feature::{SHARED_ARGUMENTS, SHARED_OUTPUT, SHARED_RESULTS},
    },
    shared_output::{KEY, TAKEN},
};
use serde_bytes::Bytes;
use support::{Answer, Connection, pack, reference, until};
use tempfile::TempDir;

/// Where the room for results begins, and its size: two halves.
const RESULTS: u64 = 128 << 10;
const ROOM: u64 = 4 << 20;

const ARGUMENTS_SIZE: u64 = 1 << 20;

const OUTPUT_KEY: u64 = 0xfedc_ba98_7654_3210;
const ARGUMENTS_KEY: u64 = 0x0123_4567_89ab_cdef;

/// More than what goes through the socket.
const LARGE: usize = 100_000;

/// Both files in the hands of a test.
struct Files {
    output: File,
    arguments: File,
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name, size, key: u64| {
            let mut options = File::options();
            let path = directory.path().join(name);
            let file = options.read(true).write(true).create_new(true).open(path).unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(&key.to_le_bytes(), KEY as u64).unwrap();
            file
        };
        let output = file("output", RESULTS + ROOM, OUTPUT_KEY);
        let arguments = file("arguments", ARGUMENTS_SIZE, ARGUMENTS_KEY);
        Self { output, arguments, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().into()
    }

    /// A welcome that has everything.
    fn welcome(&self) -> Welcome {
        let features = [SHARED_OUTPUT, SHARED_RESULTS, SHARED_ARGUMENTS].map(String::from);
        Welcome {
            version: 1,
            features: features.into(),
            shared_output: Some(SharedOutput {
                path: self.path("output"),
                key: OUTPUT_KEY,
                results: Some(RESULTS),
            }),
            shared_arguments: Some(SharedArguments {
                path: self.path("arguments"),
                key: ARGUMENTS_KEY,
            }),
            ..Welcome::default()
        }
    }

    /// The value of a shared result, which has to lie in the room.
    fn value(&self, offset: u64, length: u64) -> Vec<u8> {
        assert!(offset >= RESULTS && offset + length <= RESULTS + ROOM, "{length} at {offset}");
        let mut value = vec![0; usize::try_from(length).unwrap()];
        self.output.read_exact_at(&mut value, offset).unwrap();
        value
    }

    fn set_taken(&self, taken: u64) {
        self.output.write_all_at(&taken.to_le_bytes(), TAKEN as u64).unwrap();
    }
}

/// Says welcome to the reference worker, and tells whether it can see shared arguments.
fn start(welcome: Welcome) -> (Connection, bool) {
    let mut connection = Connection::open(reference());
    assert!(matches!(connection.receive(), (FromWorker::Hello(_), _)));
    connection.send(&FromMaster::Welcome(welcome), &[]);
    match connection.receive().0 {
        FromWorker::Ready { shared_arguments } => (connection, shared_arguments),
        other => panic!("expected ready, found {other:?}"),
    }
}

/// Calls `echo` on so many bytes of this kind, each time as another call.
fn send_echo(connection: &mut Connection, size: usize, byte: u8) -> Vec<u8> {
    let item = pack(&(Bytes::new(&vec![byte; size]),));
    connection.send_items("echo", std::slice::from_ref(&item), false);
    item[1..].to_vec()
}

/// A call of `echo` whose arguments lie elsewhere.
fn shared_call(id: u64, range: SharedRange) -> FromMaster<'static> {
    let (function, shared) = ("echo".into(), Some(range));
    FromMaster::Call(Call { id, function, items: 1, keywords: false, last: false, shared })
}

#[test]
fn large_results_lie_in_the_room_until_they_are_taken() {
    let files = Files::new();
    let (mut connection, _) = start(files.welcome());
    let mut taken = 0;
    for round in 0..3 {
        // There is room for two, and the third one comes as if there were none.
        let sent: Vec<_> =
            (0..3).map(|item| send_echo(&mut connection, LARGE, round * 3 + item)).collect();
        let mut places = Vec::new();
        for value in &sent[..2] {
            let FromWorker::SharedResult { item: 0, offset, length, .. } = connection.receive().0
            else {
                panic!("expected a shared result in round {round}");
            };
            places.push((offset, length, value));
        }
        match connection.receive() {
            (FromWorker::Result { .. } | FromWorker::Results { .. }, payload) => {
                assert!(payload == sent[2]);
            }
            (other, _) => panic!("expected a result in round {round}, found {other:?}"),
        }
        for (offset, length, value) in places {
            assert!(files.value(offset, length) == **value, "round {round}");
        }
        taken += 2;
        files.set_taken(taken);
    }
    // What is small never lies there.
    send_echo(&mut connection, 10_000, 7);
    assert!(matches!(connection.receive().0, FromWorker::Results { .. }));
    // Nor does what is larger than half of the room.
    let sent = send_echo(&mut connection, 3 << 20, 8);
    match connection.receive() {
        (FromWorker::Result { .. }, payload) => assert!(payload == sent),
        (other, _) => panic!("expected a result, found {other:?}"),
    }
    assert_eq!(connection.close().code, Some(0));
}

#[test]
fn an_idle_worker_gives_the_room_back() {
    let files = Files::new();
    let (mut connection, _) = start(files.welcome());
    let sent = send_echo(&mut connection, 2_000_000, 1);
    let FromWorker::SharedResult { offset, length, .. } = connection.receive().0 else {
        panic!("expected a shared result");
    };
    let blocks = || files.output.metadata().unwrap().blocks() * 512;
    assert!(blocks() > 2_000_000);
    // It is not taken yet, however long that takes: the worker answers meanwhile.
    assert_eq!(connection.call_small(), 9);
    assert!(files.value(offset, length) == sent);
    files.set_taken(1);
    until("the room is given back", || blocks() < 1_000_000);
    assert_eq!(connection.call_small(), 9);
    assert_eq!(connection.close().code, Some(0));
}

#[test]
fn arguments_are_read_where_they_lie() {
    let files = Files::new();
    let (mut connection, sees_arguments) = start(files.welcome());
    assert!(sees_arguments);
    for (id, text) in [(1, "one"), (2, "another")] {
        let item = pack(&(text,));
        let offset = 5000 * id;
        files.arguments.write_all_at(&item, offset).unwrap();
        connection.send(&shared_call(id, SharedRange { offset, length: item.len() as u64 }), &[]);
        match connection.receive() {
            (FromWorker::Results { .. } | FromWorker::Result { .. }, payload) => {
                assert_eq!(Answer::Value(payload).value::<String>(), text);
            }
            (other, _) => panic!("expected a result, found {other:?}"),
        }
    }
    assert_eq!(connection.close().code, Some(0));
}

#[test]
fn arguments_that_are_not_there_end_the_session() {
    let files = Files::new();
    let there = SharedRange { offset: 8, length: 2 };
    files.arguments.write_all_at(&[0x91, 5], 8).unwrap();
    let without =
        Welcome { features: vec![SHARED_OUTPUT.into()], shared_arguments: None, ..files.welcome() };
    let cases: [(&str, Welcome, SharedRange, &[u8], &str); 6] = [
        (
            "beyond the end",
            files.welcome(),
            SharedRange { offset: ARGUMENTS_SIZE - 1, length: 2 },
            &[],
            "not in the file",
        ),
        (
            "far beyond",
            files.welcome(),
            SharedRange { offset: u64::MAX, length: u64::MAX },
            &[],
            "not in the file",
        ),
        ("nothing", files.welcome(), SharedRange { offset: 8, length: 0 }, &[], "not in the file"),
        ("no item", files.welcome(), SharedRange { offset: 9, length: 1 }, &[], "malformed"),
        ("a payload besides", files.welcome(), there, &[0x91, 5], "malformed"),
        ("not agreed on", without, there, &[], "there are none"),
    ];
    for (name, welcome, range, payload, words) in cases {
        let (mut connection, _) = start(welcome);
        connection.send(&shared_call(1, range), payload);
        let finished = connection.close();
        assert_eq!(finished.code, Some(76), "{name}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{name}: {}", finished.stderr);
    }
}

#[test]
fn what_cannot_be_mapped_costs_nothing_but_speed() {
    let files = Files::new();
    let arguments = |change: &dyn Fn(&mut SharedArguments)| {
        let mut welcome = files.welcome();
        change(welcome.shared_arguments.as_mut().unwrap());
        welcome
    };
    let output = |change: &dyn Fn(&mut SharedOutput)| {
        let mut welcome = files.welcome();
        change(welcome.shared_output.as_mut().unwrap());
        welcome
    };
    let missing = Path::new(&files.path("missing")).to_str().unwrap().to_owned();
    let cases = [
        ("another key", arguments(&|place| place.key += 1), false, true),
        ("no file", arguments(&|place| place.path.clone_from(&missing)), false, true),
        ("no field", Welcome { shared_arguments: None, ..files.welcome() }, false, true),
        ("no room told", output(&|place| place.results = None), true, false),
        ("room beyond the end", output(&|place| place.results = Some(1 << 40)), true, false),
        ("room at the end", output(&|place| place.results = Some(RESULTS + ROOM)), true, false),
        ("room at no page", output(&|place| place.results = Some(RESULTS + 1)), true, false),
        ("room in the header", output(&|place| place.results = Some(0)), true, false),
        ("no output", Welcome { shared_output: None, ..files.welcome() }, true, false),
    ];
    for (name, welcome, sees_arguments, shares_results) in cases {
        let (mut connection, sees) = start(welcome);
        assert_eq!(sees, sees_arguments, "{name}");
        let sent = send_echo(&mut connection, LARGE, 3);
        match connection.receive() {
            (FromWorker::SharedResult { offset, length, .. }, _) => {
                assert!(shares_results, "{name}");
                assert!(files.value(offset, length) == sent, "{name}");
            }
            (FromWorker::Result { .. } | FromWorker::Results { .. }, payload) => {
                assert!(!shares_results, "{name}");
                assert!(payload == sent, "{name}");
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
        let finished = connection.close();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{name}");
    }
}

trait CallSmall {
    /// A call with a small result, wherever that comes.
    fn call_small(&mut self) -> i64;
}

impl CallSmall for Connection {
    fn call_small(&mut self) -> i64 {
        self.send_items("square", &[pack(&(3,))], false);
        match self.receive() {
            (FromWorker::Result { .. } | FromWorker::Results { .. }, payload) => {
                Answer::Value(payload).value()
            }
            (other, _) => panic!("expected a result, found {other:?}"),
        }
    }
}
