//! What a worker has to refuse: section 14.

use std::fs;

use integration_tests::workspace;
use protocol::message::{FromMaster, Welcome};

use crate::{
    peer::{Ended, Peer, call, frame, message, pack, welcome},
    workers::{Worker, each_worker},
};

/// When the bytes come.
#[derive(Clone, Copy, Debug)]
enum Time {
    InsteadOfWelcome,
    AfterReady,
}
use Time::{AfterReady, InsteadOfWelcome};

/// Plays bytes, in pieces of each of these sizes, and sees that the worker runs nothing of them,
/// says why and leaves.
fn refuses(worker: &Worker, name: &str, time: Time, bytes: &[u8], pieces: &[usize]) {
    for &piece in pieces {
        let mut peer = match time {
            InsteadOfWelcome => Peer::start(worker),
            AfterReady => Peer::ready(worker),
        };
        bytes.chunks(piece).for_each(|piece| peer.send_in_vain(piece));
        if name.starts_with("end ") {
            peer.end_stream();
        }
        let Ended { code, signal, stderr, .. } = peer.finish();
        assert_eq!((code, signal), (Some(76), None), "{name}: {worker:?}: {stderr}");
        // One line and no report of a sanitizer or an exception.
        assert_eq!(stderr.lines().count(), 1, "{name}: {worker:?}: {stderr}");
        assert!(stderr.contains("broke the protocol"), "{name}: {worker:?}: {stderr}");
    }
}

#[test]
fn the_malformed_vectors_for_workers() {
    let directory = workspace().join("protocol/vectors/malformed");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&path).unwrap();
            let described: serde_json::Value = serde_json::from_str(&text).unwrap();
            if described["rejected_by"] == "worker" {
                names.push(described["name"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(names.len() > 30, "{names:?}");
    each_worker(|worker| {
        for name in &names {
            let bytes = fs::read(directory.join(format!("{name}.bin"))).unwrap();
            // The name of the message is behind the length, the byte 81 and its own head.
            let instead =
                [&b"welcome"[..], b"reject"].iter().any(|name| bytes[6..].starts_with(name));
            let time = if instead { InsteadOfWelcome } else { AfterReady };
            refuses(worker, name, time, &bytes, &[usize::MAX, 1]);
        }
    });
}

/// A map of fields, each a name and an encoded value, as the fields of a message.
fn fields(message: &str, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let count = 0x80 | u8::try_from(fields.len()).unwrap();
    let entries = fields.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>();
    [&[0x81], pack(message).as_slice(), &[count], &entries.concat()].concat()
}

/// A call of `square` with one item that would be answered, and with one more field.
fn call_with(name: &[u8], value: &[u8]) -> Vec<u8> {
    let (id, function) = (pack("id"), pack("function"));
    let square = pack("square");
    let body = fields("call", &[(&id, &[7]), (&function, &square), (name, value)]);
    frame(&[body, vec![0x91, 5]].concat())
}

/// So many arrays inside of one another.
fn nested(levels: usize) -> Vec<u8> {
    [vec![0x91; levels - 1], vec![0x90]].concat()
}

#[test]
fn other_malformed_calls() {
    let text = pack;
    let (id, function, items) = (text("id"), text("function"), text("items"));
    let (keywords, last, shared) = (text("keywords"), text("last"), text("shared"));
    let unknown = text("unknown");
    let square = text("square");
    let with = |name: &[u8], value: &[u8]| call_with(name, value);
    let of = |list: &[(&[u8], &[u8])]| frame(&[fields("call", list), vec![0x91, 5]].concat());
    let place = [&[0x82][..], &text("offset"), &[8], &text("length"), &[2]].concat();
    let body = |bytes: &[u8]| frame(bytes);
    let drain = message(&FromMaster::Drain {}, &[]);
    let reject = message(&FromMaster::Reject { reason: "late".into() }, &[]);
    let valid = call(7, "square", &[pack(&(5,))], false);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a frame of no bytes", vec![0; 4]),
        ("a frame beyond the limit", vec![0x40, 0, 0, 1, 0x81]),
        ("a frame of four gigabytes", vec![0xff; 8]),
        ("end inside a length", vec![0, 0]),
        ("end behind a length", vec![0, 0, 0, 8]),
        ("end inside a body", valid[..valid.len() - 1].to_vec()),
        ("no map", body(&[0x93, 1, 2, 3])),
        ("no entry", body(&[0x80])),
        (
            "two entries",
            body(&[&[0x82][..], &text("drain"), &[0x80], &text("more"), &[0x80]].concat()),
        ),
        ("a wide map", body(&[&[0xde, 0, 1][..], &text("drain"), &[0x80]].concat())),
        ("a name that is no string", body(&[0x81, 5, 0x80])),
        ("a name that is binary", body(&[0x81, 0xc4, 1, b'x', 0x80])),
        ("fields that are nil", body(&[&[0x81][..], &text("drain"), &[0xc0]].concat())),
        ("fields that are an array", body(&[&[0x81][..], &text("drain"), &[0x90]].concat())),
        ("an unknown message", body(&fields("nonsense", &[]))),
        ("a message of JavaScript's own", body(&fields("toString", &[]))),
        ("no name at all", body(&[0x81, 0xa0, 0x80])),
        ("an envelope cut short", body(&[0x81])),
        ("a string cut short", body(&[0x81, 0xa5, b'd'])),
        ("a long string cut short", body(&[0x81, 0xdb, 0xff, 0xff, 0xff, 0xff, b'd'])),
        ("a float nobody knows", with(&unknown, &pack(&1.5))),
        ("a short float nobody knows", with(&unknown, &pack(&1.5_f32))),
        ("binary data nobody knows", with(&unknown, &[0xc4, 0])),
        ("an extension nobody knows", with(&unknown, &[0xd4, 1, 0])),
        ("a reserved byte nobody knows", with(&unknown, &[0xc1])),
        (
            "a float far inside",
            with(&unknown, &[&[0x91, 0x81, 0xa0, 0x91][..], &pack(&1.5)].concat()),
        ),
        ("a key that is no string", with(&[5], &[5])),
        ("a key that is no string inside", with(&unknown, &[0x81, 5, 5])),
        ("17 levels", with(&unknown, &nested(15))),
        ("many levels", with(&unknown, &nested(100_000))),
        ("id missing", of(&[(&function, &square)])),
        ("id nil", of(&[(&id, &[0xc0]), (&function, &square)])),
        ("id negative", of(&[(&id, &[0xff]), (&function, &square)])),
        ("id in digits", of(&[(&id, &text("7")), (&function, &square)])),
        ("id twice", with(&id, &[7])),
        ("function twice", with(&function, &square)),
        ("function binary", of(&[(&id, &[7]), (&function, &[0xc4, 1, b'x'])])),
        ("function nil", of(&[(&id, &[7]), (&function, &[0xc0])])),
        ("function no UTF-8", of(&[(&id, &[7]), (&function, &[0xa2, 0xc3, 0x28])])),
        ("function half a pair", of(&[(&id, &[7]), (&function, &[0xa3, 0xed, 0xa0, 0x80])])),
        ("items nil", with(&items, &[0xc0])),
        ("items true", with(&items, &[0xc3])),
        ("items negative", with(&items, &[0xd0, 0xff])),
        ("items beyond 32 bits", with(&items, &pack(&(1_u64 << 32)))),
        ("items of which many are missing", with(&items, &pack(&u32::MAX))),
        ("items twice", {
            let body = fields(
                "call",
                &[(&id, &[7]), (&function, &square), (&items, &[1]), (&items, &[1])],
            );
            frame(&[body, vec![0x91, 5]].concat())
        }),
        ("keywords nil", with(&keywords, &[0xc0])),
        ("keywords in digits", with(&keywords, &text("true"))),
        ("last 1", with(&last, &[1])),
        (
            "shared without the feature",
            frame(&fields("call", &[(&id, &[7]), (&function, &square), (&shared, &place)])),
        ),
        ("an item of 513 levels", frame(&[&valid[4..valid.len() - 2], &nested(513)].concat())),
        (
            "an item of very many levels",
            frame(&[&valid[4..valid.len() - 2], &nested(1 << 20)].concat()),
        ),
        ("more than the items", frame(&[&valid[4..], &[0xc0]].concat())),
        ("no items", frame(&valid[4..valid.len() - 2])),
        ("a second welcome", welcome()),
        ("a late reject", reject),
        (
            "a cancel without the feature",
            frame(&fields("cancel", &[(&id, &[7]), (&text("item"), &[0])])),
        ),
        (
            "a result",
            frame(&[fields("result", &[(&id, &[7]), (&text("item"), &[0])]), vec![5]].concat()),
        ),
        ("a drain with a payload", frame(&[&drain[4..], &[0xc0]].concat())),
    ];
    each_worker(|worker| {
        for (name, bytes) in &cases {
            refuses(worker, name, AfterReady, bytes, &[usize::MAX]);
        }
    });
}

#[test]
fn before_the_welcome() {
    let of = |welcome: Welcome, payload: &[u8]| message(&FromMaster::Welcome(welcome), payload);
    let plain = || Welcome { version: 1, ..Welcome::default() };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a call", call(1, "square", &[pack(&(5,))], false)),
        ("a drain", message(&FromMaster::Drain {}, &[])),
        ("version 2", of(Welcome { version: 2, ..Welcome::default() }, &[])),
        ("version 0", of(Welcome { version: 0, ..Welcome::default() }, &[])),
        ("no version", frame(&fields("welcome", &[]))),
        ("a feature of nobody's", of(Welcome { features: vec!["x-no".into()], ..plain() }, &[])),
        ("an argument for nothing", of(plain(), &[0x90])),
        ("no arguments", of(Welcome { initializer: Some("square".into()), ..plain() }, &[])),
        ("two lists", of(Welcome { initializer: Some("square".into()), ..plain() }, &[0x90, 0x90])),
        ("a frame of no bytes", vec![0; 4]),
        ("a frame beyond the limit", vec![0x40, 0, 0, 1, 0x81]),
        ("end inside a welcome", welcome()[..8].to_vec()),
    ];
    each_worker(|worker| {
        for (name, bytes) in &cases {
            refuses(worker, name, InsteadOfWelcome, bytes, &[usize::MAX]);
        }
    });
}

#[test]
fn what_is_at_the_limit_is_accepted() {
    each_worker(|worker| {
        // The limit of 64 KiB is for the hello.
        let mut peer = Peer::start(worker);
        let pool = "x".repeat(100_000);
        let welcome = Welcome { version: 1, pool, ..Welcome::default() };
        peer.send(&message(&FromMaster::Welcome(welcome), &[]));
        peer.expect_ready();
        // An envelope of 16 levels with every kind that it may hold, and an item of 512 levels.
        let unknown = [&[0x93, 0xc0, 0xc3][..], &nested(13)].concat();
        peer.send(&call_with(&pack("unknown"), &unknown));
        assert_eq!(peer.answer(7, 0), Ok(pack(&25)), "{worker:?}");
        assert_eq!(peer.call_packed("square", nested(512)).unwrap_err().0, "InvalidArguments");
    });
}
