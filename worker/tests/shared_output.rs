//! The feature `shared_output` of a worker under a scripted master: what it keeps, when it writes
//! it, and what is left when it is killed.

#![cfg(target_os = "linux")]
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
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use protocol::{
    envelope,
    frame::Decoder,
    limits::MAX_FRAME,
    message::{Call, FromMaster, FromWorker, SharedOutput, Welcome},
    shared_output::{BASE, DATA, HELD, Header, KEY, LAST, PATIENCE, file_size},
};
use serde_bytes::{ByteBuf, Bytes};
use support::{Answer, Connection, Gate, pack, reference, sleeps, until};
use tempfile::TempDir;

const FEATURE: &str = "shared_output";

/// Room for frames, in bytes, where a test does not depend on it.
const ROOM: usize = 64 << 10;

/// A number of seconds that no test waits for.
const LONG: i64 = 1000;

/// How often a test tries to find a worker in a state that it may pass by.
const TRIES: usize = 20;

/// A shared output in the hands of a test.
struct Shared {
    file: File,
    place: SharedOutput,
    directory: TempDir,
}

impl Shared {
    fn new(room: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(file_size(room) as u64).unwrap();
        let path = path.to_str().unwrap().into();
        let place = SharedOutput { path, key: 0xfedc_ba98_7654_3210, results: None };
        let shared = Self { file, place, directory };
        shared.set(KEY, shared.place.key);
        shared
    }

    fn path(&self) -> &Path {
        Path::new(&self.place.path)
    }

    fn set(&self, number: usize, value: u64) {
        self.file.write_all_at(&value.to_le_bytes(), number as u64).unwrap();
    }

    fn header(&self) -> Header {
        let mut bytes = [0; DATA];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        Header::read(&bytes)
    }

    /// The frames that the stream has not brought, after so many bytes of it; `None` if the worker
    /// has begun to write them.
    fn unsent(&self, received: u64) -> Option<Vec<u8>> {
        let before = self.header();
        let mut data = vec![0; usize::try_from(before.held).unwrap()];
        self.file.read_exact_at(&mut data, DATA as u64).unwrap();
        let after = self.header();
        let stands = after.base == before.base && after.held >= before.held;
        stands.then(|| before.unsent(&mut data, received).to_vec())
    }

    fn welcome(&self) -> Welcome {
        let shared_output = Some(self.place.clone());
        Welcome { version: 1, features: vec![FEATURE.into()], shared_output, ..Welcome::default() }
    }

    /// Starts the reference worker, which agrees on this and nothing else.
    fn ready(&self) -> Connection {
        Connection::open(reference()).welcomed_as(self.welcome())
    }
}

/// The answer to an item: the call, the item, and what became of it.
type Given = (u64, u32, Answer);

/// The answers in a message.
fn answers_in((message, payload): (FromWorker, Vec<u8>)) -> Vec<Given> {
    let (id, mut item) = match message {
        FromWorker::Result { id, item } => return vec![(id, item, Answer::Value(payload))],
        FromWorker::Results { id, item } => (id, item),
        FromWorker::Error { id, item, failure } => {
            let (kind, message) = (failure.kind, failure.message);
            let traceback = failure.traceback;
            return vec![(id, item, Answer::Error { kind, message, traceback, opaque: payload })];
        }
        other => panic!("expected answers, found {other:?}"),
    };
    let (mut start, mut answers) = (0, Vec::new());
    envelope::values(&payload, |end| {
        answers.push((id, item, Answer::Value(payload[start..end].to_vec())));
        (start, item) = (end, item + 1);
    })
    .unwrap();
    answers
}

/// The next so many answers, and in how many messages they came.
fn receive(connection: &mut Connection, count: usize) -> (Vec<Given>, usize) {
    let (mut answers, mut messages) = (Vec::new(), 0);
    while answers.len() < count {
        answers.extend(answers_in(connection.receive()));
        messages += 1;
    }
    assert_eq!(answers.len(), count);
    (answers, messages)
}

/// All answers that have come and were not yet looked at.
fn answers_at_hand(connection: &mut Connection) -> Vec<Given> {
    std::iter::from_fn(|| connection.next_message()).flat_map(answers_in).collect()
}

/// The answers in frames that a worker keeps.
fn answers_kept(frames: &[u8]) -> Vec<Given> {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder.push(frames);
    let mut answers = Vec::new();
    while let Some(body) = decoder.next_frame().unwrap() {
        let (message, payload) = envelope::open::<FromWorker>(body).unwrap();
        answers.extend(answers_in((message, payload.to_vec())));
    }
    answers
}

/// Reads the stream and looks at the file until so many answers are there in all; gives those
/// that came over the stream.
fn until_answered(connection: &mut Connection, shared: &Shared, count: usize) -> Vec<Given> {
    let mut heard = Vec::new();
    until("answers in the stream and the file", || {
        connection.read_at_once();
        heard.extend(answers_at_hand(connection));
        let frames = shared.unsent(connection.received()).unwrap_or_default();
        connection.unread().is_empty() && heard.len() + answers_kept(&frames).len() >= count
    });
    heard
}

/// Kills the worker, and gives all answers that it left, in the stream and in the file.
fn kill(connection: &mut Connection, shared: &Shared) -> Vec<Given> {
    connection.kill();
    let unsent = shared.unsent(connection.received()).unwrap();
    connection.push(&unsent);
    let answers = answers_at_hand(connection);
    assert_eq!(connection.unread(), b"", "the rest of every frame is there");
    answers
}

fn values<T: serde::Serialize>(id: u64, values: impl IntoIterator<Item = T>) -> Vec<Given> {
    (0..).zip(values).map(|(item, value)| (id, item, Answer::Value(pack(&value)))).collect()
}

fn call(id: u64, function: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let count = items.len().try_into().unwrap();
    let function = function.into();
    let call = Call { id, function, items: count, keywords: false, last: false, shared: None };
    let mut bytes = Vec::new();
    envelope::append_frame(&mut bytes, &FromMaster::Call(call), &items.concat()).unwrap();
    bytes
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|number| pack(&(number,))).collect()
}

/// Items for `sleep` that end at once, and behind them one that does not.
fn quick_items_and_a_hang(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| pack(&(0, number))).chain([pack(&(LONG,))]).collect()
}

#[test]
fn answers_of_quick_items_come_many_at_once() {
    let shared = Shared::new(ROOM);
    let mut connection = shared.ready();
    let count = 20_000;
    connection.send_items("square", &numbers(0..count), false);
    let (mut answers, mut messages) = (Vec::new(), 0);
    while answers.len() < 20_000 {
        let message = connection.receive();
        assert!(matches!(message.0, FromWorker::Results { id: 1, .. }), "{:?}", message.0);
        answers.extend(answers_in(message));
        messages += 1;
    }
    assert!(answers == values(1, (0..count).map(|number| number * number)));
    assert!(messages < 5000, "{messages} messages for {count} answers");
    connection.send(&FromMaster::Drain {}, &[]);
    assert_eq!(connection.finish().code, Some(0));
}

#[test]
fn a_worker_that_waits_keeps_nothing() {
    let shared = Shared::new(ROOM);
    let mut connection = shared.ready();
    for id in 1..30 {
        let count = id % 4 + 1;
        connection.send_items("square", &numbers(0..count), false);
        let (answers, _) = receive(&mut connection, usize::try_from(count).unwrap());
        assert_eq!(answers, values(id, (0..count).map(|number| number * number)));
    }
    let worker = connection.process_id();
    until("the worker to wait for more", || sleeps(worker));
    let Header { key, base, held, last } = shared.header();
    assert_eq!((base, held, last), (connection.received(), 0, 0));
    assert_eq!(key, shared.place.key);
}

#[test]
fn what_is_kept_outlives_the_worker() {
    let expected = values(1, 0..30_u64);
    for _ in 0..TRIES {
        let shared = Shared::new(ROOM);
        let mut connection = shared.ready();
        connection.send_items("sleep", &quick_items_and_a_hang(30), false);
        let mut answers = until_answered(&mut connection, &shared, 30);
        let heard = answers.len();
        answers.extend(kill(&mut connection, &shared));
        assert_eq!(answers, expected);
        if heard < answers.len() {
            return;
        }
    }
    panic!("nothing was ever kept");
}

#[test]
fn what_is_kept_of_several_calls_outlives_the_worker() {
    let mut expected = values(1, [0_u64, 1, 4]);
    expected.push((2, 0, Answer::Value(pack("text"))));
    expected.extend(values(3, [5_u64, 6]));
    let calls = [
        call(1, "square", &numbers(0..3)),
        call(2, "echo", &[pack(&("text",))]),
        call(3, "sleep", &[pack(&(0, 5)), pack(&(0, 6)), pack(&(LONG,))]),
    ];
    for _ in 0..TRIES {
        let shared = Shared::new(ROOM);
        let mut connection = shared.ready();
        connection.send_bytes(&calls.concat());
        let mut answers = until_answered(&mut connection, &shared, 6);
        let heard = answers.len();
        answers.extend(kill(&mut connection, &shared));
        assert_eq!(answers, expected);
        // The first answer came after a pause, and was written at once. Behind it are some of all
        // three calls.
        if heard <= 1 {
            return;
        }
    }
    panic!("some of it was written each time");
}

#[test]
fn a_worker_is_killed_at_any_time() {
    let count = 20_000;
    let items: Vec<Vec<u8>> =
        (0..count).map(|number| pack(&((number, "x".repeat(number % 40)),))).collect();
    for bytes in [0, 1, 5, 100, 1000, 3000, 10_000, 30_000, 100_000, 200_000, 300_000] {
        let shared = Shared::new(ROOM);
        let mut connection = shared.ready();
        connection.send_items("echo", &items, false);
        let start = connection.received();
        while connection.received() < start + bytes {
            assert!(connection.read() > 0);
        }
        let answers = kill(&mut connection, &shared);
        assert!(bytes == 0 || !answers.is_empty());
        // The first ones, without a gap, each as it should be.
        assert!(answers.len() <= count);
        for (item, (answer, arguments)) in answers.iter().zip(&items).enumerate() {
            let expected = (1, u32::try_from(item).unwrap(), Answer::Value(arguments[1..].into()));
            assert_eq!(*answer, expected);
        }
    }
}

#[test]
fn a_worker_is_killed_in_the_middle_of_writing() {
    // No socket takes an answer of this size at once.
    let large: Vec<Vec<u8>> = (0..3).map(|item| vec![item; 4 << 20]).collect();
    let items: Vec<Vec<u8>> = large.iter().map(|value| pack(&(Bytes::new(value),))).collect();
    let shared = Shared::new(16 << 20);
    let mut connection = shared.ready();
    let start = connection.received();
    connection.send_items("echo", &items, false);
    assert!(connection.read() > 0);
    let worker = connection.process_id();
    until("the worker to wait for its master to read", || sleeps(worker));
    connection.kill();
    let received = connection.received();
    assert!(received - start < 4 << 20, "the stream ends inside of an answer");
    let answers = {
        let unsent = shared.unsent(received).unwrap();
        connection.push(&unsent);
        answers_at_hand(&mut connection)
    };
    assert_eq!(connection.unread(), b"");
    assert!(!answers.is_empty());
    for (expected, (id, item, answer)) in large.iter().zip(&answers) {
        assert_eq!((*id, *item), (1, u32::from(expected[0])));
        assert!(answer.value::<ByteBuf>() == *expected);
    }
}

#[test]
fn what_is_kept_is_what_the_stream_brings() {
    for _ in 0..TRIES {
        let shared = Shared::new(ROOM);
        let (mut connection, mut gate) = (shared.ready(), Gate::new());
        let script = format!("read line < '{}'", gate.path.display());
        let held = call(2, "exec", &[pack(&("sh", ["-c", &script]))]);
        connection.send_bytes(&[call(1, "square", &numbers(0..5)), held].concat());
        let heard = until_answered(&mut connection, &shared, 5);
        let kept = shared.unsent(connection.received()).unwrap();
        let start = connection.received();
        gate.open();
        let mut behind = Vec::new();
        while !matches!(behind.last(), Some((2, 0, _))) {
            connection.read_at_once();
            let unread = connection.unread().to_vec();
            // The same bytes, or the start of them.
            if start + unread.len() as u64 == connection.received() {
                let both = kept.len().min(unread.len());
                assert_eq!(unread[..both], kept[..both]);
            }
            behind.extend(answers_at_hand(&mut connection));
        }
        let (_, first) = behind.split_last().unwrap();
        assert_eq!([&heard, first].concat(), values(1, [0_u64, 1, 4, 9, 16]));
        if !kept.is_empty() {
            return;
        }
    }
    panic!("nothing was ever kept");
}

#[test]
fn slow_answers_do_not_wait_for_those_behind_them() {
    let shared = Shared::new(ROOM);
    let mut connection = shared.ready();
    let slow = (0..12).map(|number| pack(&(0.003, number)));
    let items: Vec<Vec<u8>> = slow.chain([pack(&(LONG,))]).collect();
    connection.send_items("sleep", &items, false);
    // These come while the last item runs, and nobody looks at the file.
    let mut answers = Vec::new();
    while answers.len() < 8 {
        answers.extend(answers_in(connection.receive()));
    }
    assert_eq!(answers, values(1, 0..answers.len()));
}

#[test]
fn errors_between_results_come_in_order() {
    let shared = Shared::new(ROOM);
    let mut connection = shared.ready();
    let items: Vec<Vec<u8>> = (0..600_u64)
        .map(|number| if number % 7 == 3 { pack(&("x",)) } else { pack(&(number,)) })
        .collect();
    connection.send_items("square", &items, false);
    connection.send_items("fail", &[pack(&("on purpose",)), pack(&("again",))], false);
    connection.send_items("cube", &numbers(0..3), false);
    let (answers, messages) = receive(&mut connection, 605);
    for (number, (id, item, answer)) in (0..600_u64).zip(&answers) {
        assert_eq!((*id, u64::from(*item)), (1, number));
        if number % 7 == 3 {
            assert!(answer.error().starts_with("InvalidArguments: "), "{answer:?}");
        } else {
            assert_eq!(answer.value::<u64>(), number * number);
        }
    }
    assert_eq!(answers[600].2.error(), "Error: on purpose");
    assert_eq!(answers[601].2.error(), "Error: again");
    assert_eq!(answers[602..], values(3, [0_u64, 1, 8]));
    assert!(messages < 605, "{messages}");
}

#[test]
fn an_error_is_behind_what_was_kept_when_the_worker_is_killed() {
    let shared = Shared::new(ROOM);
    let mut connection = shared.ready();
    let items = [pack(&(0, 1)), pack(&(-1,)), pack(&(0, 2)), pack(&(LONG,))];
    connection.send_items("sleep", &items, false);
    let mut answers = until_answered(&mut connection, &shared, 3);
    answers.extend(kill(&mut connection, &shared));
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0], (1, 0, Answer::Value(pack(&1))));
    assert!(answers[1].2.error().starts_with("InvalidArguments: "), "{answers:?}");
    assert_eq!(answers[2], (1, 2, Answer::Value(pack(&2))));
}

#[test]
fn an_answer_without_room_comes_by_itself() {
    let sizes = [3, 40, 41, 4000, 2, 500, 1, 70, 0, 100_000, 5, 6];
    let items: Vec<Vec<u8>> = sizes.iter().map(|&size| pack(&("x".repeat(size),))).collect();
    for room in [1, 20, 30, 64, 100, 4050, ROOM] {
        let shared = Shared::new(room);
        let mut connection = shared.ready();
        connection.send_items("echo", &items, false);
        let mut answers = Vec::new();
        while answers.len() < sizes.len() {
            let message = connection.receive();
            let size: usize =
                answers_in(message.clone()).iter().map(|(.., answer)| length(answer)).sum();
            match message.0 {
                FromWorker::Result { .. } => assert!(room < size + HEAD, "{size} in {room}"),
                FromWorker::Results { .. } => assert!(room >= size + HEAD, "{size} in {room}"),
                ref other => panic!("{other:?}"),
            }
            answers.extend(answers_in(message));
        }
        assert_eq!(answers, values(1, sizes.map(|size| "x".repeat(size))));
        let worker = connection.process_id();
        until("the worker to wait for more", || sleeps(worker));
        assert_eq!(shared.header().base, connection.received());
        // Nothing was written behind the end of the file.
        assert_eq!(fs::metadata(shared.path()).unwrap().len(), file_size(room) as u64);
    }
}

/// The bytes of a frame before the first value, for the small ids and items of these tests.
const HEAD: usize = 4 + 2 + "results".len() + 1 + 1 + "id".len() + 1 + 1 + "item".len() + 1;

fn length(answer: &Answer) -> usize {
    match answer {
        Answer::Value(value) => value.len(),
        Answer::Error { .. } => panic!("expected a value, found {answer:?}"),
    }
}

#[test]
fn without_the_file_each_answer_comes_by_itself() {
    let shared = Shared::new(ROOM);
    let nothing = shared.directory.path().join("nothing");
    let at =
        |path: &Path| SharedOutput { path: path.to_str().unwrap().into(), ..shared.place.clone() };
    let file_of = |name: &str, bytes: &[u8]| {
        let path = shared.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        at(&path)
    };
    let header = [&shared.place.key.to_le_bytes()[..], &[0; DATA - 8]].concat();
    let reversed = [&shared.place.key.to_be_bytes()[..], &[0; 2 * DATA]].concat();
    let places = [
        ("no file", at(&nothing)),
        ("a folder", at(shared.directory.path())),
        ("no path", SharedOutput { path: String::new(), ..shared.place.clone() }),
        ("nul", SharedOutput { path: "a\0b".into(), ..shared.place.clone() }),
        ("wrong key", SharedOutput { key: shared.place.key + 1, ..shared.place.clone() }),
        ("empty", file_of("empty", &[])),
        ("short", file_of("short", &header[..DATA - 1])),
        ("no room", file_of("no room", &header)),
        ("big-endian", file_of("big-endian", &reversed)),
    ];
    let welcomes = places.into_iter().map(|(name, place)| {
        let welcome = Welcome { shared_output: Some(place), ..shared.welcome() };
        (name, welcome)
    });
    let more = [
        ("no field", Welcome { shared_output: None, ..shared.welcome() }),
        ("no feature", Welcome { features: vec![], ..shared.welcome() }),
    ];
    for (name, welcome) in welcomes.chain(more) {
        let mut connection = Connection::open(reference()).welcomed_as(welcome);
        let items = [pack(&(2,)), pack(&("x",)), pack(&(3,)), pack(&(4,))];
        connection.send_items("square", &items, false);
        // Only `result` and `error` pass here.
        assert_eq!(connection.answer(1, 0).value::<i64>(), 4, "{name}");
        assert!(connection.answer(1, 1).error().starts_with("InvalidArguments"), "{name}");
        assert_eq!(connection.answer(1, 2).value::<i64>(), 9, "{name}");
        assert_eq!(connection.answer(1, 3).value::<i64>(), 16, "{name}");
        let finished = connection.close();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{name}");
    }
    // What belongs to others was not touched.
    assert!(!nothing.exists());
    assert_eq!(shared.header(), Header { key: shared.place.key, base: 0, held: 0, last: 0 });
}

#[test]
fn a_worker_may_be_told_to_do_without() {
    let open = |value: &str| {
        Connection::open_with(reference(), |command| {
            command.env("WORKER_SHARED_OUTPUT", value);
        })
    };
    for (value, offered) in [("off", false), ("on", true), ("", true)] {
        let (message, _) = open(value).receive();
        let FromWorker::Hello(hello) = message else { panic!("expected a hello") };
        assert_eq!(hello.features.contains(&FEATURE.to_owned()), offered, "{value}");
    }
    let shared = Shared::new(ROOM);
    let mut connection = open("off");
    connection.receive();
    connection.send(&FromMaster::Welcome(shared.welcome()), &[]);
    let finished = connection.finish();
    assert_eq!(finished.code, Some(76));
    assert!(finished.stderr.contains("chose the feature `shared_output`"), "{finished:?}");
}

#[test]
fn progress_and_cancel_come_behind_what_was_kept() {
    let shared = Shared::new(ROOM);
    let features = vec!["progress".into(), "cancel".into(), FEATURE.into()];
    let welcome = Welcome { features, ..shared.welcome() };
    let mut connection = Connection::open(reference()).welcomed_as(welcome);
    let tick = [pack(&(0, 0)), pack(&(0, 0)), pack(&(LONG, LONG)), pack(&(0, 0))];
    connection.send_bytes(&[call(1, "square", &numbers(0..4)), call(2, "tick", &tick)].concat());
    let (answers, _) = receive(&mut connection, 6);
    let expected = [values(1, [0_u64, 1, 4, 9]), values(2, [0_u64, 0])].concat();
    assert_eq!(answers, expected);
    let progress = FromWorker::Progress { id: 2, item: 2, note: "1 of 1000".into() };
    assert_eq!(connection.receive(), (progress, vec![]));
    connection.send(&FromMaster::Cancel { id: 2, item: 2 }, &[]);
    let (answers, _) = receive(&mut connection, 2);
    assert_eq!(answers[0].2.error(), "Cancelled: the master cancelled it");
    assert_eq!(answers[1], (2, 3, Answer::Value(pack(&0))));
}

#[test]
fn a_worker_that_leaves_writes_what_it_keeps() {
    let frame = |message: &FromMaster<'_>, payload: &[u8]| {
        let mut bytes = Vec::new();
        envelope::append_frame(&mut bytes, message, payload).unwrap();
        bytes
    };
    let last = |items: &[Vec<u8>]| {
        let count = items.len().try_into().unwrap();
        let function = "square".into();
        let call =
            Call { id: 2, function, items: count, keywords: false, last: true, shared: None };
        frame(&FromMaster::Call(call), &items.concat())
    };
    let first = call(1, "square", &numbers(0..3));
    let squares = || values(1, [0_u64, 1, 4]);
    for (name, behind, more, code) in [
        ("drain", frame(&FromMaster::Drain {}, &[]), 0, 0),
        ("last call", last(&numbers(0..2)), 2, 0),
        ("last call that fails", last(&[pack(&(1,)), pack(&("x",))]), 2, 1),
        ("malformed", b"\0\0\0\x01\xc0".to_vec(), 0, 76),
        ("frame without a body", vec![0; 4], 0, 76),
        ("second welcome", frame(&FromMaster::Welcome(Welcome::default()), &[]), 0, 76),
    ] {
        let shared = Shared::new(ROOM);
        let mut connection = shared.ready();
        connection.send_bytes(&[&first[..], &behind].concat());
        let (answers, _) = receive(&mut connection, 3 + more);
        assert_eq!(answers[..3], squares(), "{name}");
        assert_eq!(connection.finish().code, Some(code), "{name}");
        assert_eq!(shared.header().held, 0, "{name}");
    }
}

#[test]
fn nobody_looks_for_input_for_ever() {
    let shared = Shared::new(ROOM);
    for patience in [1, 50_000, u64::MAX] {
        shared.set(PATIENCE, patience);
        let mut connection = shared.ready();
        for id in 1..20 {
            connection.send_items("square", &numbers(3..5), false);
            assert_eq!(receive(&mut connection, 2).0, values(id, [9_u64, 16]));
        }
        let worker = connection.process_id();
        until("the worker to go to sleep", || sleeps(worker));
        connection.send_items("square", &numbers(5..6), false);
        assert_eq!(receive(&mut connection, 1).0, values(20, [25_u64]));
        assert_eq!(connection.close().code, Some(0));
        for number in [BASE, HELD, LAST] {
            shared.set(number, 0);
        }
    }
}
