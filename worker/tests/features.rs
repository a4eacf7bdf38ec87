//! The features `progress` and `cancel` of a worker under a scripted master, which agrees on
//! them or does not.

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

use std::time::Instant;

use protocol::{
    envelope,
    limits::PROGRESS_INTERVAL,
    message::{Call, FromMaster, FromWorker, Welcome},
};
use support::{Connection, Gate, Sign, pack, reference};

const BOTH: &[&str] = &["progress", "cancel"];

/// A number of seconds that no test waits for.
const LONG: i64 = 1000;

fn ready(features: &[&str]) -> Connection {
    Connection::open(reference()).welcomed_with(features)
}

fn progress(id: u64, item: u32, note: &str) -> FromWorker {
    FromWorker::Progress { id, item, note: note.into() }
}

fn frame(message: &FromMaster<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::append_frame(&mut bytes, message, payload).unwrap();
    bytes
}

fn call(id: u64, function: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let count = items.len().try_into().unwrap();
    let function = function.into();
    let call = Call { id, function, items: count, keywords: false, last: false, shared: None };
    frame(&FromMaster::Call(call), &items.concat())
}

fn cancel(id: u64, item: u32) -> Vec<u8> {
    frame(&FromMaster::Cancel { id, item }, &[])
}

/// Waits for the answer to an item that was cancelled.
fn expect_cancelled(connection: &mut Connection, id: u64, item: u32) {
    let answer = connection.answer(id, item);
    assert_eq!(answer.error(), "Cancelled: the master cancelled it");
}

#[test]
fn a_master_chooses_any_of_the_features() {
    for features in [&[][..], &["progress"], &["cancel"], BOTH, &["cancel", "progress"]] {
        let mut connection = ready(features);
        connection.send_items("tick", &[pack(&(2, 0.06))], false);
        if features.contains(&"progress") {
            assert_eq!(connection.receive().0, progress(1, 0, "1 of 2"));
            assert_eq!(connection.receive().0, progress(1, 0, "2 of 2"));
        }
        assert_eq!(connection.answer(1, 0).value::<i64>(), 2);
        connection.send_bytes(&cancel(1, 0));
        connection.send(&FromMaster::Drain {}, &[]);
        let finished = connection.finish();
        if features.contains(&"cancel") {
            assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{features:?}");
        } else {
            assert_eq!(finished.code, Some(76), "{features:?}");
            assert!(finished.stderr.contains("found the message `cancel`"), "{finished:?}");
        }
    }
}

#[test]
fn each_item_has_its_own_progress() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(1, 0)), pack(&(0, 0)), pack(&(1, 0))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1"));
    assert_eq!(connection.answer(1, 0).value::<i64>(), 1);
    assert_eq!(connection.answer(1, 1).value::<i64>(), 0);
    assert_eq!(connection.receive().0, progress(1, 2, "1 of 1"));
    assert_eq!(connection.answer(1, 2).value::<i64>(), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about time")]
fn progress_has_a_highest_rate() {
    let mut connection = ready(BOTH);
    let start = Instant::now();
    connection.send_items("tick", &[pack(&(5000, 0.000_01))], false);
    let mut notes = Vec::new();
    let answer = loop {
        match connection.receive().0 {
            FromWorker::Progress { id: 1, item: 0, note } => notes.push(note),
            answer => break answer,
        }
    };
    assert_eq!(answer, FromWorker::Result { id: 1, item: 0 });
    let most = 1 + start.elapsed().as_millis() / PROGRESS_INTERVAL.as_millis();
    assert!((2..=most).contains(&(notes.len() as u128)), "{most}: {notes:?}");
    assert_eq!(notes[0], "1 of 5000");
}

#[test]
fn an_initializer_has_no_item_to_report_or_cancel() {
    let mut connection = Connection::open(reference());
    connection.receive();
    let features = BOTH.iter().map(ToString::to_string).collect();
    let initializer = Some("tick".to_owned());
    let welcome = Welcome { version: 1, features, initializer, ..Welcome::default() };
    connection.send_bytes(
        &[frame(&FromMaster::Welcome(welcome), &pack(&(2, 0.001))), cancel(0, 0)].concat(),
    );
    assert_eq!(connection.receive().0, FromWorker::Ready { shared_arguments: false });
    assert_eq!(connection.call("square", &(5,)).value::<i64>(), 25);
}

#[test]
fn an_item_in_hand_is_cancelled() {
    let mut connection = ready(BOTH);
    for id in 1..4 {
        connection.send_items("tick", &[pack(&(LONG, LONG))], false);
        assert_eq!(connection.receive().0, progress(id, 0, "1 of 1000"));
        connection.send_bytes(&cancel(id, 0));
        expect_cancelled(&mut connection, id, 0);
    }
    assert_eq!(connection.close().code, Some(0));
}

#[test]
fn an_item_is_cancelled_before_it_begins() {
    let mut connection = ready(&["cancel"]);
    connection.send_bytes(&[call(1, "tick", &[pack(&(LONG, LONG))]), cancel(1, 0)].concat());
    expect_cancelled(&mut connection, 1, 0);
    // So also behind a call that cannot be told, and of which the worker knows nothing more.
    let mut gate = Gate::new();
    let script = format!("read line < '{}'", gate.path.display());
    let held = call(2, "exec", &[pack(&("sh", ["-c", &script]))]);
    connection.send_bytes(&[held, call(3, "tick", &[pack(&(LONG, LONG))]), cancel(3, 0)].concat());
    gate.open();
    connection.answer(2, 0);
    expect_cancelled(&mut connection, 3, 0);
}

#[test]
fn only_the_item_in_hand_is_cancelled() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(LONG, LONG)), pack(&(3, 0.001))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    connection.send_bytes(&[cancel(0, 0), cancel(1, 1), cancel(2, 0), cancel(1, 0)].concat());
    expect_cancelled(&mut connection, 1, 0);
    assert_eq!(connection.receive().0, progress(1, 1, "1 of 3"));
    assert_eq!(connection.answer(1, 1).value::<i64>(), 3);
    assert_eq!(connection.call("tick", &(0, 0)).value::<i64>(), 0);
}

#[test]
fn a_function_that_does_not_ask_is_not_cancelled() {
    let mut connection = ready(BOTH);
    let (mut begun, mut gate) = (Sign::new(), Gate::new());
    let (begun_path, gate_path) = (begun.path.display(), gate.path.display());
    let script = format!("echo > '{begun_path}'; read line < '{gate_path}'");
    connection.send_items("exec", &[pack(&("sh", ["-c", &script]))], false);
    begun.wait();
    connection.send_bytes(&cancel(1, 0));
    gate.open();
    connection.answer(1, 0);
    assert_eq!(connection.call("square", &(5,)).value::<i64>(), 25);
}

#[test]
fn what_is_read_ahead_is_answered_in_order() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(LONG, LONG))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    let calls = 2..500_u64;
    for id in calls.clone() {
        let filler = "x".repeat(usize::try_from(id % 7 * 500).unwrap());
        connection.send_bytes(&call(id, "echo", &[pack(&((id, filler),))]));
    }
    connection.send_bytes(&cancel(1, 0));
    expect_cancelled(&mut connection, 1, 0);
    for id in calls {
        assert_eq!(connection.answer(id, 0).value::<(u64, String)>().0, id);
    }
}

#[test]
fn a_cancel_comes_in_pieces() {
    let mut connection = ready(BOTH);
    let bytes = [cancel(1, 0), call(2, "tick", &[pack(&(0, 0))])].concat();
    connection.send_items("tick", &[pack(&(LONG, LONG))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    for byte in bytes {
        connection.send_bytes(&[byte]);
    }
    expect_cancelled(&mut connection, 1, 0);
    assert_eq!(connection.answer(2, 0).value::<i64>(), 0);
}

#[test]
fn a_last_call_is_cancelled() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(LONG, LONG))], true);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    connection.send_bytes(&cancel(1, 0));
    expect_cancelled(&mut connection, 1, 0);
    assert_eq!(connection.finish().code, Some(1));
}

#[test]
fn an_item_is_cancelled_behind_whose_call_a_drain_stands() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(LONG, LONG)), pack(&(0, 0))], false);
    connection.send(&FromMaster::Drain {}, &[]);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    connection.send_bytes(&cancel(1, 0));
    expect_cancelled(&mut connection, 1, 0);
    assert_eq!(connection.answer(1, 1).value::<i64>(), 0);
    assert_eq!(connection.finish().code, Some(0));
}

#[test]
fn the_master_is_gone_while_a_function_asks() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(LONG, LONG)), pack(&(LONG, LONG))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 1000"));
    // Whichever sees it first, the function or the thread that watches: nothing goes on.
    let finished = connection.close();
    assert!(finished.code == Some(0) || finished.signal == Some(9), "{finished:?}");
}

#[test]
fn what_is_malformed_behind_an_item_ends_the_worker_after_it() {
    let mut connection = ready(BOTH);
    connection.send_items("tick", &[pack(&(20, 0.01))], false);
    assert_eq!(connection.receive().0, progress(1, 0, "1 of 20"));
    connection.send_bytes(&[&call(2, "tick", &[pack(&(0, 0))])[..], b"\0\0\0\x01\xc0"].concat());
    while !matches!(connection.receive().0, FromWorker::Result { id: 1, item: 0 }) {}
    assert_eq!(connection.answer(2, 0).value::<i64>(), 0);
    let finished = connection.finish();
    assert_eq!(finished.code, Some(76));
    assert!(finished.stderr.contains("malformed envelope: expected a map"), "{finished:?}");
}
