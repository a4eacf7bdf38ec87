//! The valid vectors of what a master says, played to workers: all at once, and byte by byte.

use std::{fs, path::PathBuf};

use integration_tests::workspace;
use protocol::{
    envelope,
    message::{FromMaster, FromWorker, Welcome, feature},
};

use crate::{
    peer::{Peer, message, welcome},
    workers::{Worker, each_worker},
};

/// The vectors of frames from a master: the name, and the body of each frame.
fn vectors() -> Vec<(String, Vec<Vec<u8>>)> {
    let directory = workspace().join("protocol/vectors/valid");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut vectors = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let described: serde_json::Value = serde_json::from_str(&text).unwrap();
        if described["direction"] == "from_master" {
            let name = described["name"].as_str().unwrap().to_owned();
            vectors.push((name, bodies(&fs::read(path.with_extension("bin")).unwrap())));
        }
    }
    vectors
}

fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (body, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bodies.push(body.to_vec());
        bytes = rest;
    }
    bodies
}

#[test]
fn the_valid_vectors_of_a_master() {
    let vectors = vectors();
    assert!(vectors.len() > 40);
    each_worker(|worker| {
        for (name, bodies) in &vectors {
            let code = play(worker, bodies, usize::MAX);
            assert_eq!(code, play(worker, bodies, 1), "{name}: {worker:?}: byte by byte");
        }
    });
}

/// Plays frames, behind a welcome if they begin without, and checks what comes back. Gives the
/// status with which the worker left.
fn play(worker: &Worker, bodies: &[Vec<u8>], piece: usize) -> i32 {
    let mut peer = Peer::start(worker);
    let open = |body| envelope::open::<FromMaster<'_>>(body).unwrap();
    let first = open(&bodies[0]).0;
    let greeted = matches!(first, FromMaster::Welcome(_) | FromMaster::Reject { .. });
    let mut bytes = if greeted { Vec::new() } else { welcome() };
    for body in bodies {
        bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
    }
    bytes.chunks(piece.min(bytes.len())).for_each(|piece| peer.send_in_vain(piece));
    if !greeted {
        peer.expect_ready();
    }
    let features = peer.hello.features.clone();
    let mut chosen = Vec::new();
    for body in bodies {
        let expected = match open(body).0 {
            FromMaster::Welcome(welcome) => {
                chosen.clone_from(&welcome.features);
                welcomed(&mut peer, &welcome, &features)
            }
            FromMaster::Reject { .. } => Some(76),
            FromMaster::Cancel { .. } => {
                let agreed = chosen.iter().any(|name| name == feature::CANCEL);
                (!agreed).then_some(76)
            }
            FromMaster::Drain {} => Some(0),
            FromMaster::Call(call) if call.shared.is_some() => Some(76),
            FromMaster::Call(call) => {
                let answers = (0..call.items).map(|item| peer.answer(call.id, item));
                let failed = answers.filter(Result::is_err).count() > 0;
                call.last.then_some(failed.into())
            }
        };
        if let Some(status) = expected {
            let ended = peer.finish();
            assert_eq!(ended.code, Some(status), "{worker:?}: {}", ended.stderr);
            return status;
        }
    }
    peer.send(&message(&FromMaster::Drain {}, &[]));
    let ended = peer.finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{worker:?}");
    0
}

/// What a welcome leads to: the status with which the worker leaves, or ready.
fn welcomed(peer: &mut Peer, welcome: &Welcome, offered: &[String]) -> Option<i32> {
    if !welcome.features.iter().all(|feature| offered.contains(feature)) {
        return Some(76);
    }
    match peer.receive().0 {
        FromWorker::Ready { shared_arguments: false } => None,
        // No vector has an initializer that these workers have.
        FromWorker::InitializerFailed(failure) if welcome.initializer.is_some() => {
            assert_eq!(failure.kind, "UnknownFunction");
            Some(1)
        }
        other => panic!("expected ready, found {other:?}"),
    }
}
