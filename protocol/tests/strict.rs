//! The strict reader against the golden vectors: it takes what is valid, knows what is canonical, and
//! refuses what is malformed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path};

use protocol::{
    limits::LENGTH_BYTES,
    spec::Side,
    strict::{Defect, Message},
};
use serde_json::Value as Json;

/// Every vector of a folder: its name, what stands in its JSON, and its bytes.
fn vectors(folder: &str) -> Vec<(String, Json, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder);
    let mut vectors = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            vectors.push((name, json, fs::read(path.with_extension("bin")).unwrap()));
        }
    }
    assert!(vectors.len() > 30, "{} vectors", vectors.len());
    vectors
}

/// The bodies of all frames, if the bytes are whole frames.
fn bodies(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        bodies.push(body.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(bodies)
}

#[test]
fn valid_vectors_are_read_and_canonical_ones_known() {
    for (name, json, bytes) in vectors("valid") {
        let side = match json["direction"].as_str().unwrap() {
            "from_worker" => Side::Worker,
            "from_master" => Side::Master,
            other => panic!("{name}: {other}"),
        };
        let bodies = bodies(&bytes).expect("valid vectors are whole frames");
        for (body, frame) in bodies.into_iter().zip(json["frames"].as_array().unwrap()) {
            let message = Message::read(side, body).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Of unknown fields nobody knows what is canonical.
            let canonical = message.canonical_defect().is_none() && !name.contains("unknown-field");
            assert_eq!(Some(canonical), frame["canonical"].as_bool(), "{name}: {frame}");
        }
    }
}

#[test]
fn malformed_vectors_are_refused() {
    let mut refused = 0;
    for (name, json, bytes) in vectors("malformed") {
        let side = match json["rejected_by"].as_str().unwrap() {
            "master" => Side::Worker,
            "worker" => Side::Master,
            other => panic!("{name}: {other}"),
        };
        // What is wrong with a length is for whoever cuts the stream.
        let Some(bodies) = bodies(&bytes).filter(|bodies| bodies.iter().all(|b| !b.is_empty()))
        else {
            continue;
        };
        if json["error"]["name"].as_str().unwrap().starts_with("frame_") {
            continue;
        }
        let read: Result<Vec<Message>, Defect> =
            bodies.into_iter().map(|body| Message::read(side, body)).collect();
        assert!(read.is_err(), "{name} was read");
        refused += 1;
    }
    assert!(refused > 60, "{refused}");
}
