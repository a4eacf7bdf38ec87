//! The golden vectors against the crate, and the files against what they are written from.
//!
//! After a change in `support/`: `cargo test -p protocol --test vectors -- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and nobody but these tests uses its helpers"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use protocol::{
    envelope::{self, EnvelopeError, PayloadProblem},
    frame::{Decoder, FrameError},
    limits::{LENGTH_BYTES, MAX_FRAME, MAX_FRAME_BEFORE_WELCOME},
    message::{
        Call, Failure, FromMaster, FromWorker, FunctionDescription, Hello, SharedArguments,
        SharedOutput, SharedRange, Welcome,
    },
    value::{self, ValueError},
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use support::pack::Value;

const FROM_WORKER: [&str; 8] = [
    "hello",
    "ready",
    "initializer_failed",
    "result",
    "results",
    "shared_result",
    "error",
    "progress",
];
const FROM_MASTER: [&str; 5] = ["welcome", "reject", "call", "cancel", "drain"];

#[test]
fn valid_vectors_mean_what_their_descriptions_say() {
    for (name, bytes, description) in read("valid") {
        check_valid(&name, &bytes, &description);
    }
}

#[test]
fn malformed_vectors_give_the_error_that_their_descriptions_say() {
    for (name, bytes, description) in read("malformed") {
        check_malformed(&name, &bytes, &description);
    }
}

#[test]
fn every_message_has_a_valid_vector() {
    let mut found = BTreeSet::new();
    for (_, _, description) in read("valid") {
        for frame in array(&description["frames"]) {
            let (message, _) = frame["envelope"].as_object().unwrap().iter().next().unwrap();
            found.insert((text(&description["direction"]).to_owned(), message.clone()));
        }
    }
    let worker = FROM_WORKER.map(|message| ("from_worker".to_owned(), message.to_owned()));
    let master = FROM_MASTER.map(|message| ("from_master".to_owned(), message.to_owned()));
    assert_eq!(found, worker.into_iter().chain(master).collect());
}

#[test]
fn the_files_are_what_they_are_written_from() {
    let expected = support::files();
    let mut found = BTreeMap::new();
    for folder in ["valid", "malformed"] {
        for entry in fs::read_dir(support::folder().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            found.insert(format!("{folder}/{name}"), fs::read(&path).unwrap());
        }
    }
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} differs from what it is written from");
    }
}

#[test]
#[ignore = "writes the files that the other tests read"]
fn write_the_files() {
    let root = support::folder();
    for folder in ["valid", "malformed"] {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
    }
    for (path, bytes) in support::files() {
        fs::write(root.join(path), bytes).unwrap();
    }
}

fn check_valid(name: &str, bytes: &[u8], description: &Json) {
    let limit = match description["frames"][0]["envelope"].get("hello") {
        Some(_) => MAX_FRAME_BEFORE_WELCOME,
        None => MAX_FRAME,
    };
    let whole = bodies(bytes, bytes.len(), limit).unwrap();
    assert_eq!(whole, bodies(bytes, 1, limit).unwrap(), "{name}: one byte at a time");
    let frames = array(&description["frames"]);
    assert_eq!(whole.len(), frames.len(), "{name}: number of frames");
    for (index, (body, frame)) in whole.iter().zip(frames).enumerate() {
        let place = format!("{name}, frame {index}");
        match text(&description["direction"]) {
            "from_worker" => check_from_worker(&place, body, frame),
            "from_master" => check_from_master(&place, body, frame),
            other => panic!("{place}: {other} is no direction"),
        }
    }
}

fn check_from_worker(place: &str, body: &[u8], frame: &Json) {
    let (message, payload) = envelope::open::<FromWorker>(body).unwrap();
    assert_eq!(message, FromWorker::deserialize(&plain(&frame["envelope"])).unwrap(), "{place}");
    assert_eq!(spelled_from_worker(&message), plain(&frame["means"]), "{place}");
    envelope::check_worker_payload(&message, payload).unwrap();
    assert_eq!(payload, encoded(&frame["payload"]), "{place}: payload");
    let mut again = Vec::new();
    envelope::append_frame(&mut again, &message, payload).unwrap();
    check_canonical(place, &again, body, frame);
}

fn check_from_master(place: &str, body: &[u8], frame: &Json) {
    let (message, payload) = envelope::open::<FromMaster<'_>>(body).unwrap();
    let expected = plain(&frame["envelope"]);
    assert_eq!(message, FromMaster::deserialize(&expected).unwrap(), "{place}");
    assert_eq!(spelled_from_master(&message), plain(&frame["means"]), "{place}");
    envelope::check_master_payload(&message, payload).unwrap();
    assert_eq!(payload, encoded(&frame["payload"]), "{place}: payload");
    let items = match &message {
        FromMaster::Call(Call { shared: Some(_), .. }) => Vec::new(),
        FromMaster::Call(call) => envelope::items(call, payload).unwrap().collect(),
        FromMaster::Welcome(welcome) => {
            envelope::initializer_item(welcome, payload).unwrap().into_iter().collect()
        }
        FromMaster::Reject { .. } | FromMaster::Cancel { .. } | FromMaster::Drain {} => Vec::new(),
    };
    let cut: Vec<&[u8]> =
        items.iter().flat_map(|item| [Some(item.positional), item.keywords]).flatten().collect();
    let values: Vec<Vec<u8>> =
        array(&frame["payload"]).iter().map(|value| Value::from_json(value).encoded()).collect();
    assert_eq!(cut, values, "{place}: items");
    let mut again = Vec::new();
    envelope::append_frame(&mut again, &message, payload).unwrap();
    check_canonical(place, &again, body, frame);
}

fn check_canonical(place: &str, again: &[u8], body: &[u8], frame: &Json) {
    let same = again[LENGTH_BYTES..] == *body;
    assert_eq!(json!(same), frame["canonical"], "{place}: canonical or not");
}

fn check_malformed(name: &str, bytes: &[u8], description: &Json) {
    let limit = match text(&description["phase"]) {
        "before_welcome" => MAX_FRAME_BEFORE_WELCOME,
        "after_welcome" => MAX_FRAME,
        other => panic!("{name}: {other} is no phase"),
    };
    let found = refusal(bytes, bytes.len(), limit, description);
    assert_eq!(found, refusal(bytes, 1, limit, description), "{name}: one byte at a time");
    let found = found.unwrap_or_else(|| panic!("{name}: accepted"));
    let error = &description["error"];
    assert_eq!(json!(found.name), error["name"], "{name}: {}", found.words);
    assert_eq!(json!(found.at), error["at"], "{name}: {}", found.words);
    let mentions = error["mentions"].as_str().unwrap_or_default();
    assert!(found.words.contains(mentions), "{name}: {:?} in {:?}", mentions, found.words);
    let receiver = match text(&description["direction"]) {
        "from_worker" => "master",
        _ => "worker",
    };
    assert_eq!(description["rejected_by"], receiver, "{name}");
}

/// What a receiver found wrong.
#[derive(Debug, PartialEq)]
struct Refusal {
    name: &'static str,
    at: Option<usize>,
    words: String,
}

fn refusal(bytes: &[u8], step: usize, limit: usize, description: &Json) -> Option<Refusal> {
    let bodies = match bodies(bytes, step, limit) {
        Ok(bodies) => bodies,
        Err(error) => {
            let words = error.to_string();
            let name = match error {
                FrameError::TooLarge { .. } => "frame_too_large",
                FrameError::Empty => "frame_empty",
                FrameError::EndInsideFrame { .. } => "end_inside_frame",
                other => panic!("{other} has no stable name yet"),
            };
            return Some(Refusal { name, at: None, words });
        }
    };
    let understand = match text(&description["direction"]) {
        "from_worker" => understand_from_worker,
        _ => understand_from_master,
    };
    bodies.iter().find_map(|body| understand(body).err()).map(|error| refused(&error))
}

fn understand_from_worker(body: &[u8]) -> Result<(), EnvelopeError> {
    let (message, payload) = envelope::open::<FromWorker>(body)?;
    envelope::check_worker_payload(&message, payload)?;
    if matches!(message, FromWorker::Result { .. }) {
        // Whoever decodes the value of a result does this.
        let problem = |problem| EnvelopeError::Payload { message: "result", problem };
        let length = value::skip(payload).map_err(|error| problem(error.into()))?;
        let surplus = payload.len() - length;
        if surplus > 0 {
            return Err(problem(PayloadProblem::Surplus { expected: 1, surplus }));
        }
    }
    Ok(())
}

fn understand_from_master(body: &[u8]) -> Result<(), EnvelopeError> {
    let (message, payload) = envelope::open::<FromMaster<'_>>(body)?;
    envelope::check_master_payload(&message, payload)
}

fn refused(error: &EnvelopeError) -> Refusal {
    let (name, at) = match error {
        EnvelopeError::Value(value) => of_value(value, |name| match name {
            "truncated" => "envelope_truncated",
            "too_deep" => "envelope_too_deep",
            _ => "envelope_unexpected",
        }),
        EnvelopeError::Message(_) => ("not_a_message", None),
        EnvelopeError::Payload { problem, .. } => match problem {
            PayloadProblem::Value(value) => of_value(value, |name| match name {
                "truncated" => "payload_truncated",
                "too_deep" => "payload_too_deep",
                _ => "payload_unexpected",
            }),
            PayloadProblem::Surplus { .. } => ("payload_surplus", None),
            PayloadProblem::Missing { .. } => ("payload_missing", None),
            PayloadProblem::NoItems => ("payload_no_items", None),
            other => panic!("{other} has no stable name yet"),
        },
        other => panic!("{other} has no stable name yet"),
    };
    Refusal { name, at, words: error.to_string() }
}

fn of_value(
    error: &ValueError,
    name: impl Fn(&str) -> &'static str,
) -> (&'static str, Option<usize>) {
    match error {
        ValueError::Truncated { offset, .. } => (name("truncated"), Some(*offset)),
        ValueError::TooDeep { offset, .. } => (name("too_deep"), Some(*offset)),
        ValueError::Unexpected { offset, .. } => (name("unexpected"), Some(*offset)),
        other => panic!("{other} has no stable name yet"),
    }
}

/// The bodies in a stream that arrives in pieces of `step` bytes and then ends.
fn bodies(bytes: &[u8], step: usize, limit: usize) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut decoder = Decoder::new();
    decoder.set_limit(limit);
    let mut bodies = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece);
        while let Some(body) = decoder.next_frame()? {
            bodies.push(body.to_vec());
        }
    }
    decoder.finish()?;
    Ok(bodies)
}

/// A message with every field, by hand, so that the defaults of the crate are checked too.
fn spelled_from_worker(message: &FromWorker) -> Json {
    match message {
        FromWorker::Hello(Hello { token, oldest, newest, features, name, version, functions }) => {
            let function = |function: &FunctionDescription| {
                let FunctionDescription { name, parameters, help, progress, cancel } = function;
                json!({
                    "name": name,
                    "parameters": parameters,
                    "help": help,
                    "progress": progress,
                    "cancel": cancel,
                })
            };
            json!({ "hello": {
                "token": token,
                "oldest": oldest,
                "newest": newest,
                "features": features,
                "name": name,
                "version": version,
                "functions": functions.iter().map(function).collect::<Vec<_>>(),
            }})
        }
        FromWorker::Ready { shared_arguments } => {
            json!({ "ready": { "shared_arguments": shared_arguments } })
        }
        FromWorker::InitializerFailed(failure) => {
            json!({ "initializer_failed": spelled_failure(failure) })
        }
        FromWorker::Result { id, item } => json!({ "result": { "id": id, "item": item } }),
        FromWorker::Results { id, item } => json!({ "results": { "id": id, "item": item } }),
        FromWorker::SharedResult { id, item, offset, length } => json!({ "shared_result": {
            "id": id,
            "item": item,
            "offset": offset,
            "length": length,
        }}),
        FromWorker::Error { id, item, failure } => {
            json!({ "error": { "id": id, "item": item, "failure": spelled_failure(failure) } })
        }
        FromWorker::Progress { id, item, note } => {
            json!({ "progress": { "id": id, "item": item, "note": note } })
        }
    }
}

fn spelled_from_master(message: &FromMaster<'_>) -> Json {
    match message {
        FromMaster::Welcome(welcome) => {
            let Welcome {
                version,
                features,
                slot,
                pool,
                initializer,
                keywords,
                shared_output,
                shared_arguments,
            } = welcome;
            let output = |place: &SharedOutput| {
                let SharedOutput { path, key, results } = place;
                json!({ "path": path, "key": key, "results": results })
            };
            let arguments = |place: &SharedArguments| {
                let SharedArguments { path, key } = place;
                json!({ "path": path, "key": key })
            };
            json!({ "welcome": {
                "version": version,
                "features": features,
                "slot": slot,
                "pool": pool,
                "initializer": initializer,
                "keywords": keywords,
                "shared_output": shared_output.as_ref().map(output),
                "shared_arguments": shared_arguments.as_ref().map(arguments),
            }})
        }
        FromMaster::Reject { reason } => json!({ "reject": { "reason": reason } }),
        FromMaster::Call(Call { id, function, items, keywords, last, shared }) => {
            let range = |place: &SharedRange| {
                let SharedRange { offset, length } = place;
                json!({ "offset": offset, "length": length })
            };
            json!({ "call": {
                "id": id,
                "function": function,
                "items": items,
                "keywords": keywords,
                "last": last,
                "shared": shared.as_ref().map(range),
            }})
        }
        FromMaster::Cancel { id, item } => json!({ "cancel": { "id": id, "item": item } }),
        FromMaster::Drain {} => json!({ "drain": {} }),
    }
}

fn spelled_failure(Failure { kind, message, traceback }: &Failure) -> Json {
    json!({ "kind": kind, "message": message, "traceback": traceback })
}

/// The JSON of an envelope with its marked integers as plain ones.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(object) => match object.get("$integer") {
            Some(digits) => serde_json::from_str(text(digits)).unwrap(),
            None => Json::Object(
                object.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
            ),
        },
        Json::Array(elements) => elements.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn encoded(values: &Json) -> Vec<u8> {
    array(values).iter().flat_map(|value| Value::from_json(value).encoded()).collect()
}

/// The vectors of a folder: their names, bytes and descriptions.
fn read(folder: &str) -> Vec<(String, Vec<u8>, Json)> {
    let folder = support::folder().join(folder);
    let mut vectors: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| read_one(&path))
        .collect();
    assert!(vectors.len() > 40, "{} has only {} vectors", folder.display(), vectors.len());
    vectors.sort_by(|(left, ..), (right, ..)| left.cmp(right));
    vectors
}

fn read_one(path: &Path) -> (String, Vec<u8>, Json) {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let description: Json =
        serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    assert_eq!(description["name"], json!(name));
    (name, fs::read(path).unwrap(), description)
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

fn array(json: &Json) -> &[Json] {
    json.as_array().unwrap()
}
