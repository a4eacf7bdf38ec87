//! How workers leave: told to, with their master gone, and started by nobody.

use std::process::{Command, Stdio};

use protocol::message::{FromMaster, FromWorker, Welcome};

use crate::{
    peer::{Peer, call, message, pack, welcome},
    workers::each_worker,
};

#[test]
fn at_a_drain() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        // All at once: what came before the drain is answered.
        let calls = call(1, "square", &[pack(&(3,)), pack(&("x",))], false);
        peer.send(&[calls, message(&FromMaster::Drain {}, &[])].concat());
        assert_eq!(peer.answer(1, 0), Ok(pack(&9)));
        assert_eq!(peer.answer(1, 1).unwrap_err().0, "InvalidArguments");
        let ended = peer.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{worker:?}");

        let mut peer = Peer::start(worker);
        peer.send(&[welcome(), message(&FromMaster::Drain {}, &[])].concat());
        peer.expect_ready();
        assert_eq!(peer.finish().code, Some(0), "{worker:?}");
    });
}

#[test]
fn after_a_last_call() {
    each_worker(|worker| {
        for (items, code) in
            [(vec![pack(&(2,)), pack(&(3,))], 0), (vec![pack(&("x",)), pack(&(3,))], 1)]
        {
            let mut peer = Peer::ready(worker);
            peer.send(&call(1, "square", &items, true));
            assert_eq!(peer.answer(1, 0).is_ok(), code == 0);
            assert_eq!(peer.answer(1, 1), Ok(pack(&9)));
            assert_eq!(peer.finish().code, Some(code), "{worker:?}");
        }
    });
}

#[test]
fn rejected() {
    each_worker(|worker| {
        let mut peer = Peer::start(worker);
        peer.send(&message(&FromMaster::Reject { reason: "not today".into() }, &[]));
        let ended = peer.finish();
        assert_eq!(ended.code, Some(76), "{worker:?}");
        assert!(ended.stderr.contains("not today"), "{ended:?}");
    });
}

#[test]
fn with_the_master_gone_while_they_wait() {
    each_worker(|worker| {
        for peer in [Peer::start(worker), Peer::ready(worker)] {
            let ended = peer.close();
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{worker:?}");
        }
        let mut peer = Peer::ready(worker);
        peer.call("square", &(2,)).unwrap();
        assert_eq!(peer.close().code, Some(0), "{worker:?}");
    });
}

#[test]
fn with_the_master_gone_in_the_middle_of_a_call() {
    each_worker(|worker| {
        let mut peer = Peer::ready(worker);
        // The answer to the first item shows that the second has begun, or is about to.
        peer.send(&call(1, "sleep", &[pack(&(0,)), pack(&(1000,))], false));
        peer.answer(1, 0).unwrap();
        let ended = peer.close();
        // In the middle of the item it is killed; before it has begun it just leaves.
        let left = (ended.code, ended.signal);
        assert!([(None, Some(9)), (Some(0), None)].contains(&left), "{worker:?}: {ended:?}");
    });
}

#[test]
fn with_an_initializer_that_fails() {
    each_worker(|worker| {
        for (function, item, kind) in [
            ("fail", pack(&("no", "Mine")), "Mine"),
            ("no_such_function", pack(&[0]), "UnknownFunction"),
            ("square", pack(&("x",)), "InvalidArguments"),
        ] {
            let mut peer = Peer::start(worker);
            let initializer = Some(function.into());
            let welcome = Welcome { version: 1, initializer, ..Welcome::default() };
            peer.send(&message(&FromMaster::Welcome(welcome), &item));
            match peer.receive().0 {
                FromWorker::InitializerFailed(failure) => assert_eq!(failure.kind, kind),
                other => panic!("expected a failure, found {other:?}"),
            }
            assert_eq!(peer.finish().code, Some(1), "{worker:?}");
        }
    });
}

#[test]
fn started_by_hand() {
    each_worker(|worker| {
        #[expect(clippy::disallowed_methods, reason = "the worker under test")]
        let output = Command::new(&worker.words[0])
            .args(&worker.words[1..])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{worker:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{worker:?}: {output:?}");
    });
}
