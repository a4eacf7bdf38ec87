//! The conformance functions of section 23, and what calls have to look like.

use protocol::message::{Call, FromMaster, Welcome};

use crate::{
    peer::{Peer, call, message, pack},
    workers::{Worker, each_worker},
};

const NIL: &[u8] = &[0xc0];

/// An array of one value, encoded.
fn item(value: &[u8]) -> Vec<u8> {
    [&[0x91], value].concat()
}

#[test]
fn values_come_back_as_they_were() {
    let mut values: Vec<Vec<u8>> = vec![
        NIL.into(),
        pack(&true),
        pack(&u64::MAX),
        pack(&i64::MIN),
        pack(&((1_u64 << 53) + 1)),
        pack(&-1),
        pack(&1.0),
        pack(&-0.0),
        pack(&f64::INFINITY),
        pack(&f64::MIN_POSITIVE),
        pack(&1.1_f32),
        pack(""),
        pack("é\u{10ffff}\0"),
        pack(&"x".repeat(70_000)),
        pack(serde_bytes::Bytes::new(b"\xff\x00")),
        pack(serde_bytes::Bytes::new(&[7; 300])),
        // An extension type, a timestamp, and a map with keys of several kinds.
        vec![0xd4, 5, 0xff],
        vec![0xd6, 0xff, 0, 0, 0, 1],
        vec![0x83, 1, 2, 0xc0, 3, 0xa1, b'k', 4],
        pack(&(1, [[()]], "x")),
    ];
    // So deep that the item has 512 levels.
    values.push([vec![0x91; 510], vec![0x90]].concat());
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        for value in &values {
            let came = |answer, function| {
                assert!(answer == Ok(value.clone()), "{worker:?}: {function} {value:02x?}")
            };
            came(peer.call_packed("echo", item(value)), "echo");
            came(peer.call_packed("sleep", [&[0x92, 0], value.as_slice()].concat()), "sleep");
            assert_eq!(peer.call_packed("remember", item(value)), Ok(NIL.into()));
            came(peer.call("recall", &[0; 0]), "recall");
        }
    });
}

#[test]
fn large_values_come_back() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        let value = pack(serde_bytes::Bytes::new(&vec![0xc1; 20 << 20]));
        assert!(peer.call_packed("echo", item(&value)) == Ok(value), "{worker:?}");
    });
}

#[test]
fn functions_do_what_the_specification_says() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        assert_eq!(peer.call("recall", &[0; 0]), Ok(NIL.into()), "{worker:?}");
        assert_eq!(peer.call("nest", &(0,)), Ok(NIL.into()));
        assert_eq!(peer.call("nest", &(2,)), Ok(vec![0x91, 0x90]));
        assert_eq!(peer.call("nest", &(512,)), Ok([vec![0x91; 511], vec![0x90]].concat()));
        assert_eq!(peer.call("repeat", &("aé", 3)), Ok(pack("aéaéaé")));
        assert_eq!(peer.call("repeat", &("", 3)), Ok(pack("")));
        assert_eq!(peer.call("repeat", &("ab", 1 << 20)), Ok(pack(&"ab".repeat(1 << 20))));
        assert_eq!(peer.call("tick", &(2, 0.001)), Ok(pack(&2)));
        assert_eq!(peer.call("environment", &("GREETING",)), Ok(pack("hello")));
        assert_eq!(peer.call("environment", &("NO_SUCH_VARIABLE",)), Ok(NIL.into()));
        // W-5
        assert_eq!(peer.call("environment", &("WORKER_TOKEN",)), Ok(NIL.into()));
        assert_eq!(peer.call("environment", &("WORKER_ADDRESS",)), Ok(NIL.into()));
        assert_eq!(peer.call("print", &("a line",)), Ok(NIL.into()));
        let ended = peer.close();
        let printed = (ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(printed, ("a line\n", "a line\n"), "{worker:?}");
    });
}

#[test]
fn failures_cost_their_item_alone() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        let mut fails = |function: &str, arguments: Vec<u8>, kind: &str, message: &str| {
            let (found, said) = peer.call_packed(function, arguments).unwrap_err();
            assert_eq!(found, kind, "{worker:?}: {function}: {said}");
            assert!(said.contains(message), "{worker:?}: {function}: {said}");
        };
        fails("fail", pack(&("boo", "Mine", 2)), "Mine", "booboo");
        fails("fail", pack(&("é\0", "Kind")), "Kind", "é\0");
        fails("panic", pack(&("oh",)), "Panic", "oh");
        fails("square", pack(&("x",)), "InvalidArguments", "");
        fails("square", pack(&(2.5,)), "InvalidArguments", "");
        fails("square", pack(&[0; 0]), "InvalidArguments", "");
        fails("recall", pack(&(1,)), "InvalidArguments", "");
        fails("square", pack(&(u64::MAX,)), "Overflow", "");
        fails("nest", pack(&(513,)), "InvalidResult", "");
        // The reference worker would make the text first, which takes a while.
        if worker.name != "reference" {
            fails("repeat", pack(&("x", 1_u64 << 31)), "InvalidResult", "");
        }
        fails("nothing", pack(&(1,)), "UnknownFunction", "");
        fails("toString", pack(&[0; 0]), "UnknownFunction", "");
        fails("", pack(&[0; 0]), "UnknownFunction", "");
        // W-34: shortened, so that it fits, and still text.
        let (_, said) = peer.call("fail", &("aé", "Long", 1 << 20)).unwrap_err();
        assert!(said.starts_with("aéaé") && said.len() < 2 << 20, "{worker:?}: {}", said.len());
        assert_eq!(peer.call("square", &(2,)), Ok(pack(&4)));
    });
}

#[test]
fn items_are_answered_one_by_one_and_in_order() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        let items = [pack(&(1,)), pack(&("x",)), pack(&(-3,))];
        let calls = [call(u64::MAX, "square", &items, false), call(0, "nothing", &items, false)];
        peer.send(&calls.concat());
        assert_eq!(peer.answer(u64::MAX, 0), Ok(pack(&1)));
        assert!(peer.answer(u64::MAX, 1).is_err());
        assert_eq!(peer.answer(u64::MAX, 2), Ok(pack(&9)));
        for number in 0..3 {
            assert_eq!(peer.answer(0, number).unwrap_err().0, "UnknownFunction", "{worker:?}");
        }
        // W-28: the first answer is there while the second item runs.
        peer.send(&call(1, "sleep", &[pack(&(0,)), pack(&(1000,))], false));
        peer.answer(1, 0).unwrap();
    });
}

/// Keywords are taken by the names of the parameters, or not at all.
fn with_keywords(worker: &Worker, keywords: &[u8]) -> Result<Vec<u8>, String> {
    let mut peer = Peer::ready(worker);
    let function = "repeat".into();
    let call = Call { id: 1, function, items: 1, keywords: true, last: false, shared: None };
    peer.send(&message(&FromMaster::Call(call), &[&item(&pack("ab")), keywords].concat()));
    peer.answer(1, 0).map_err(|(kind, _)| kind)
}

#[test]
fn keyword_arguments_are_taken_or_refused() {
    each_worker(|worker| {
        let named = with_keywords(worker, &[&[0x81][..], &pack("times"), &[2]].concat());
        let taken = [Ok(pack("abab")), Err("InvalidArguments".to_owned())];
        assert!(taken.contains(&named), "{worker:?}: {named:?}");
        for keywords in [&[0x80][..], &[0x81, 1, 2], &[0x81, 0xa1, b'x', 2]] {
            let answer = with_keywords(worker, keywords);
            assert_eq!(answer, Err("InvalidArguments".into()), "{worker:?}: {keywords:02x?}");
        }
    });
}

#[test]
fn the_initializer_runs_before_ready_in_the_same_process() {
    each_worker(|worker| {
        let mut peer = Peer::start(worker);
        let initializer = Some("remember".into());
        let welcome = Welcome { version: 1, initializer, ..Welcome::default() };
        peer.send(&message(&FromMaster::Welcome(welcome), &item(&pack("kept"))));
        peer.expect_ready();
        assert_eq!(peer.call("recall", &[0; 0]), Ok(pack("kept")), "{worker:?}");
    });
}

#[test]
fn the_hello_describes_the_functions() {
    each_worker(|worker| {
        let hello = &Peer::start(worker).hello;
        let mut names: Vec<_> = hello.functions.iter().map(|function| &function.name).collect();
        for name in ["square", "echo", "fail", "panic", "sleep", "print", "environment", "remember"]
        {
            assert!(names.iter().any(|known| *known == name), "{worker:?}: {name}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{worker:?}");
        assert!(!hello.name.is_empty() && !hello.version.is_empty(), "{worker:?}");
    });
}
