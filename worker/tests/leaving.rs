//! How a worker leaves: when it is told to, when its master is gone, and when its master breaks
//! the protocol.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use protocol::message::{Call, FromMaster, Welcome};
use support::{Connection, Gate, Process, Sign, pack, reference};

#[test]
fn after_the_last_call() {
    for (items, code) in
        [(vec![pack(&(2,)), pack(&(3,))], 0), (vec![pack(&("x",)), pack(&(3,))], 1)]
    {
        let mut connection = Connection::ready(reference());
        connection.send_items("square", &items, true);
        connection.answer(1, 0);
        assert_eq!(connection.answer(1, 1).value::<i64>(), 9);
        assert_eq!(connection.finish().code, Some(code));
    }
}

#[test]
fn what_was_printed_before_the_last_answer_is_not_lost() {
    let mut connection = Connection::ready(reference());
    connection.send_items("introduce", &[pack(&("m1",))], true);
    connection.answer(1, 0);
    let expected = format!("I am m1, process {}\n", connection.process_id());
    assert_eq!(connection.finish().stdout, expected);
}

#[test]
fn drained() {
    let mut connection = Connection::ready(reference());
    connection.send_items("square", &[pack(&(2,))], false);
    connection.send(&FromMaster::Drain {}, &[]);
    assert_eq!(connection.answer(1, 0).value::<i64>(), 4);
    assert_eq!(connection.finish().code, Some(0));
}

#[test]
fn the_master_is_gone_while_the_worker_is_idle() {
    let mut unwelcomed = Connection::open(reference());
    unwelcomed.receive();
    for connection in [unwelcomed, Connection::ready(reference())] {
        let finished = connection.close();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn the_master_is_gone_in_the_middle_of_a_call() {
    let mut sign = Sign::new();
    let mut connection = Connection::ready(reference());
    let script = format!("exec 9> '{}'; echo >&9; sleep 1000; true", sign.path.display());
    connection.send_items("exec", &[pack(&("sh", ["-c", &script]))], false);
    sign.wait();
    let finished = connection.close();
    assert_eq!((finished.code, finished.signal), (None, Some(9)));
    // The shell and its child are in the same process group, and went with it.
    sign.wait_for_end();
}

#[test]
fn a_worker_that_leads_no_process_group_ends_alone() {
    let (mut begun, mut gate) = (Sign::new(), Gate::new());
    // In the process group of this test, which is to survive.
    let mut connection = Connection::open_with(reference(), |_| {}).welcomed();
    let (begun_path, gate_path) = (begun.path.display(), gate.path.display());
    // It shares neither output, so that the end of the worker is the end of those.
    let script =
        format!("exec 9> '{begun_path}' > /dev/null 2>&1; echo >&9; read line < '{gate_path}'");
    connection.send_items("exec", &[pack(&("sh", ["-c", &script]))], false);
    begun.wait();
    let finished = connection.close();
    assert_eq!((finished.code, finished.signal), (None, Some(9)));
    gate.open();
    begun.wait_for_end();
}

#[test]
fn rejected() {
    let mut connection = Connection::open(reference());
    connection.receive();
    connection.send(&FromMaster::Reject { reason: "full house".into() }, &[]);
    let finished = connection.finish();
    assert_eq!(finished.code, Some(76));
    assert_eq!(finished.stderr, "worker: the master refused this worker: full house\n");
}

#[test]
fn the_master_breaks_the_protocol() {
    let welcome = |version, features: &[&str]| {
        let features = features.iter().map(ToString::to_string).collect();
        frame(&FromMaster::Welcome(Welcome { version, features, ..Welcome::default() }), &[])
    };
    let call = |items, payload: &[u8]| {
        let function = "introduce".into();
        frame(
            &FromMaster::Call(Call {
                id: 1,
                function,
                items,
                keywords: false,
                last: false,
                shared: None,
            }),
            payload,
        )
    };
    let broke = "the master broke the protocol: ";
    for (welcomed, bytes, expected) in [
        (false, welcome(2, &[]), "the welcome chose version 2, this worker offered 1"),
        (
            false,
            welcome(1, &["fast"]),
            "the welcome chose the feature `fast`, this worker offered `progress`, `cancel`",
        ),
        (
            false,
            call(1, &pack(&("m1",))),
            "expected `welcome` or `reject`, found the message `call`",
        ),
        (
            false,
            frame(&FromMaster::Drain {}, &[]),
            "expected `welcome` or `reject`, found the message `drain`",
        ),
        (
            true,
            frame(&FromMaster::Cancel { id: 1, item: 0 }, &[]),
            "expected `call` or `drain`, found the message `cancel`",
        ),
        (
            false,
            frame(&FromMaster::Cancel { id: 1, item: 0 }, &[]),
            "expected `welcome` or `reject`, found the message `cancel`",
        ),
        (true, welcome(1, &[]), "expected `call` or `drain`, found the message `welcome`"),
        (true, b"\0\0\0\0".to_vec(), "a frame claims 0 bytes"),
        (true, b"\xff\xff\xff\xff".to_vec(), "a frame claims 4294967295 bytes"),
        (true, b"\0\0\0\x01\xc0".to_vec(), "malformed envelope: expected a map"),
        (true, b"\0\0\0\x06\x81\xa3nop\x80".to_vec(), "not a message: "),
        // Not even the first item is run.
        (true, call(2, &pack(&("m1",))), "malformed payload of the message `call`: "),
        (true, call(1, b"\x91\xa2m1\x91\x01"), "malformed payload of the message `call`: "),
        (true, call(1, b"\x80"), "malformed payload of the message `call`: "),
        (true, frame(&FromMaster::Drain {}, &[1]), "malformed payload of the message `drain`: "),
    ] {
        let mut connection = Connection::open(reference());
        if welcomed {
            connection = connection.welcomed();
        } else {
            connection.receive();
        }
        connection.send_bytes(&bytes);
        let finished = connection.finish();
        let expected = format!("worker: {broke}{expected}");
        assert!(finished.stderr.starts_with(&expected), "{expected}: {finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(76), ""), "{expected}");
    }
}

#[test]
fn the_stream_ends_inside_a_frame() {
    let mut connection = Connection::ready(reference());
    connection.send_bytes(&[0, 0, 0, 9, 0x81]);
    let finished = connection.close();
    assert_eq!(finished.code, Some(76));
    assert_eq!(
        finished.stderr,
        "worker: the master broke the protocol: \
         the stream ended inside a frame: 5 of 13 bytes came\n"
    );
}

#[test]
fn the_launch_is_broken() {
    let address = "/does/not/exist";
    for (token, code, expected) in [
        (Some("token"), 76, "worker: cannot connect to the master at /does/not/exist: "),
        (None, 2, "worker: WORKER_ADDRESS is set and WORKER_TOKEN is not: a master sets both\n"),
    ] {
        let finished = Process::start(reference(), |command| {
            command.env("WORKER_ADDRESS", address).envs(token.map(|token| ("WORKER_TOKEN", token)));
        })
        .finish();
        assert_eq!(finished.code, Some(code));
        assert!(finished.stderr.starts_with(expected), "{finished:?}");
    }
}

fn frame(message: &FromMaster<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    protocol::envelope::append_frame(&mut bytes, message, payload).unwrap();
    bytes
}
