//! The vectors of `vectors/malformed/`, each with one defect, at its end or nothing behind it
//! that matters.

mod payloads;
mod shared_payloads;

use super::{
    Defect,
    Direction::{self, FromMaster, FromWorker},
    Malformed, framed,
    pack::{Value, map},
};

pub fn vectors() -> Vec<Malformed> {
    let groups = [
        frames(),
        envelopes(),
        forbidden_values(),
        messages(),
        shared_payloads::messages(),
        payloads::from_master(),
        payloads::from_worker(),
    ];
    groups.into_iter().flatten().collect()
}

fn frames() -> Vec<Malformed> {
    let before = |vector: Malformed| Malformed { before_welcome: true, ..vector };
    let ready = framed(&map([("ready", map([]))]).encoded());
    let frame = |name, description, bytes: &[u8], error, words| Malformed {
        name,
        description,
        direction: FromWorker,
        before_welcome: false,
        bytes: bytes.to_vec(),
        defect: Defect { error, words, at: None, mentions: None },
    };
    vec![
        frame(
            "length-zero",
            "a frame without a body",
            &[0, 0, 0, 0],
            "frame_empty",
            "a body holds at least an envelope",
        ),
        before(frame(
            "length-beyond-limit",
            "a stranger claims 65537 bytes; nothing of the body need arrive to refuse it",
            &[0, 1, 0, 1],
            "frame_too_large",
            "before the welcome a body has at most 65536 bytes",
        )),
        frame(
            "length-beyond-limit-after-welcome",
            "a worker claims 1073741825 bytes",
            &[0x40, 0, 0, 1],
            "frame_too_large",
            "a body has at most 1073741824 bytes",
        ),
        before(frame(
            "length-four-gib",
            "a stranger claims as much as four bytes can",
            &[0xff, 0xff, 0xff, 0xff],
            "frame_too_large",
            "before the welcome a body has at most 65536 bytes",
        )),
        frame(
            "end-inside-length",
            "the stream ends after two bytes of a length",
            &ready[..2],
            "end_inside_frame",
            "two of the four bytes of a length came",
        ),
        frame(
            "end-after-length",
            "the stream ends where a body should begin",
            &ready[..4],
            "end_inside_frame",
            "none of the eight bytes of a body came",
        ),
        frame(
            "end-inside-body",
            "the stream ends before the last byte of a body",
            &ready[..ready.len() - 1],
            "end_inside_frame",
            "seven of the eight bytes of a body came",
        ),
    ]
}

fn envelopes() -> Vec<Malformed> {
    let unexpected = |name, description, body: &[u8], at, words| {
        malformed(name, description, FromWorker, body, offset("envelope_unexpected", at, words))
    };
    let ready = || map([]);
    let cut = map([("result", result())]).encoded();
    let deep = |levels| map([("ready", map([("later", nested(levels))]))]).encoded();
    vec![
        unexpected(
            "envelope-not-a-map",
            "an array with the name and the fields",
            &Value::from(vec!["ready".into(), ready()]).encoded(),
            0,
            "an envelope begins with the byte 0x81",
        ),
        unexpected(
            "envelope-without-entries",
            "a map of no entries",
            &map([]).encoded(),
            0,
            "an envelope has one entry",
        ),
        unexpected(
            "envelope-two-entries",
            "two messages in one envelope",
            &map([("ready", ready()), ("result", result())]).encoded(),
            0,
            "an envelope has one entry",
        ),
        unexpected(
            "envelope-wide-map",
            "a map of one entry whose size has 16 bits",
            &[&[0xde, 0, 1][..], b"\xa5ready\x80"].concat(),
            0,
            "an envelope begins with the byte 0x81",
        ),
        unexpected(
            "message-name-not-a-string",
            "the number of a message for its name",
            &Value::Map(vec![(1.into(), ready())]).encoded(),
            1,
            "the name of a message is a string",
        ),
        unexpected(
            "fields-as-array",
            "the fields of a message without their names",
            &map([("result", vec![7.into(), 0.into()].into())]).encoded(),
            8,
            "the fields are a map",
        ),
        unexpected(
            "shared-result-as-array",
            "the fields of a shared result without their names",
            &map([("shared_result", vec![7.into(), 0.into(), 4096.into(), 1.into()].into())])
                .encoded(),
            15,
            "the fields are a map",
        ),
        unexpected(
            "fields-nil",
            "nil for no fields",
            &map([("ready", Value::Nil)]).encoded(),
            7,
            "the fields are a map, which may be empty",
        ),
        unexpected(
            "key-not-a-string",
            "an integer as the name of a field",
            &map([("ready", Value::Map(vec![(0.into(), true.into())]))]).encoded(),
            8,
            "the keys of an envelope are strings",
        ),
        unexpected(
            "bin-as-key",
            "binary data as the name of a field",
            &map([("ready", Value::Map(vec![(Value::Binary(b"id".to_vec()), 7.into())]))])
                .encoded(),
            8,
            "the keys of an envelope are strings",
        ),
        unexpected(
            "nested-key-not-a-string",
            "an integer as a key within a field that nobody knows",
            &map([("ready", map([("later", Value::Map(vec![(1.into(), 2.into())]))]))]).encoded(),
            15,
            "the keys of an envelope are strings at every level",
        ),
        malformed(
            "truncated-value",
            "the body ends inside the envelope",
            FromWorker,
            &cut[..cut.len() - 1],
            offset("envelope_truncated", cut.len() - 1, "the value of a field is missing"),
        ),
        malformed(
            "truncated-string",
            "a string claims more bytes than the body has",
            FromWorker,
            b"\x81\xa5rea",
            offset("envelope_truncated", 5, "the name of the message is cut short"),
        ),
        malformed(
            "nested-too-deep",
            "an unknown field that makes 17 levels; 16 are allowed",
            FromWorker,
            &deep(15),
            offset("envelope_too_deep", 28, "an envelope has at most 16 levels"),
        ),
    ]
}

fn forbidden_values() -> Vec<Malformed> {
    let value = |name, description, value: &[u8], words| {
        let body = [&b"\x81\xa5ready\x81\xa5later"[..], value].concat();
        malformed(name, description, FromWorker, &body, offset("envelope_unexpected", 14, words))
    };
    vec![
        value(
            "float-in-envelope",
            "a 64-bit float in a field that nobody knows",
            &Value::Float(1.0).encoded(),
            "an envelope holds no floats",
        ),
        value(
            "short-float-in-envelope",
            "a 32-bit float in a field that nobody knows",
            &Value::Float32(1.0).encoded(),
            "an envelope holds no floats",
        ),
        value(
            "bin-in-envelope",
            "binary data in a field that nobody knows",
            &Value::Binary(vec![1]).encoded(),
            "an envelope holds no binary data",
        ),
        value(
            "ext-in-envelope",
            "an extension type in a field that nobody knows",
            &Value::Extension(-1, vec![0, 0, 0, 0]).encoded(),
            "an envelope holds no extension types",
        ),
        value(
            "reserved-byte",
            "the byte that MessagePack never uses",
            &[0xc1],
            "0xc1 begins no value",
        ),
    ]
}

fn messages() -> Vec<Malformed> {
    let result_with = |id: Value, item: Value| map([("id", id), ("item", item)]);
    let hello_with = |key, value| {
        map([("token", "t".into()), ("oldest", 1.into()), ("newest", 1.into()), (key, value)])
    };
    let wrong_failure = vec!["ValueError".into(), "no".into()].into();
    let wrong_function = vec!["square".into(), "(n)".into(), "help".into()].into();
    let error = |failure| map([("id", 7.into()), ("item", 0.into()), ("failure", failure)]);
    let welcome = |place| map([("version", 1.into()), ("shared_output", place)]);
    let no_string = "a string is UTF-8";
    let id_range = "an id is an integer from 0 to 18446744073709551615";
    vec![
        not(
            "unknown-message",
            "a message that version 1 does not have",
            FromWorker,
            "sing",
            map([]),
            "sing",
            "only the messages of the negotiated version may be sent",
        ),
        not(
            "wrong-direction",
            "a worker sends what only a master may send",
            FromWorker,
            "drain",
            map([]),
            "drain",
            "a worker does not send `drain`",
        ),
        not(
            "wrong-direction-to-worker",
            "a master sends what only a worker may send",
            FromMaster,
            "ready",
            map([]),
            "ready",
            "a master does not send `ready`",
        ),
        not(
            "missing-field",
            "a result that does not say of which item",
            FromWorker,
            "result",
            map([("id", 7.into())]),
            "item",
            "`item` has no default",
        ),
        not(
            "missing-token",
            "a hello without a token",
            FromWorker,
            "hello",
            map([("oldest", 1.into()), ("newest", 1.into())]),
            "token",
            "`token` has no default",
        ),
        not(
            "missing-function",
            "a call that does not say of what",
            FromMaster,
            "call",
            map([("id", 7.into())]),
            "function",
            "`function` has no default",
        ),
        not(
            "field-twice",
            "two ids in one result",
            FromWorker,
            "result",
            map([("id", 7.into()), ("item", 0.into()), ("id", 8.into())]),
            "duplicate field",
            "a field stands at most once",
        ),
        not(
            "negative-id",
            "an id below 0",
            FromWorker,
            "result",
            result_with((-1).into(), 0.into()),
            "-1",
            id_range,
        ),
        not(
            "string-as-id",
            "an id in digits",
            FromWorker,
            "result",
            result_with("7".into(), 0.into()),
            "a string",
            id_range,
        ),
        not(
            "nil-as-id",
            "nil is a value, not an absence",
            FromWorker,
            "result",
            result_with(Value::Nil, 0.into()),
            "unit value",
            id_range,
        ),
        not(
            "item-above-32-bits",
            "the number of an item beyond its range",
            FromWorker,
            "result",
            result_with(7.into(), (1 << 32).into()),
            "4294967296",
            "an item is an integer from 0 to 4294967295",
        ),
        not(
            "integer-as-boolean",
            "1 for true",
            FromMaster,
            "call",
            map([("id", 7.into()), ("function", "square".into()), ("last", 1.into())]),
            "expected a boolean",
            "`last` is a boolean",
        ),
        not(
            "results-item-above-32-bits",
            "the number of the first item beyond its range",
            FromWorker,
            "results",
            result_with(7.into(), (1 << 32).into()),
            "4294967296",
            "an item is an integer from 0 to 4294967295",
        ),
        not(
            "results-without-item",
            "results that do not say of which items",
            FromWorker,
            "results",
            map([("id", 7.into())]),
            "item",
            "`item` has no default",
        ),
        not(
            "results-from-master",
            "a master gives results",
            FromMaster,
            "results",
            result(),
            "results",
            "a master does not send `results`",
        ),
        not(
            "shared-output-as-array",
            "a shared output without the names of its fields",
            FromMaster,
            "welcome",
            welcome(vec!["/shared".into(), 1.into()].into()),
            "expected a map",
            "a shared output is a map",
        ),
        not(
            "shared-output-without-key",
            "a shared output that cannot be told from another file",
            FromMaster,
            "welcome",
            welcome(map([("path", "/shared".into())])),
            "key",
            "`key` has no default",
        ),
        not(
            "shared-output-without-path",
            "a shared output that cannot be found",
            FromMaster,
            "welcome",
            welcome(map([("key", 1.into())])),
            "path",
            "`path` has no default",
        ),
        not(
            "shared-output-path-not-a-string",
            "the number of an open file for its path",
            FromMaster,
            "welcome",
            welcome(map([("path", 9.into()), ("key", 1.into())])),
            "expected a string",
            "`path` is a string",
        ),
        not(
            "shared-output-key-negative",
            "a key below 0",
            FromMaster,
            "welcome",
            welcome(map([("path", "/shared".into()), ("key", (-1).into())])),
            "-1",
            "a key is an integer from 0 to 18446744073709551615",
        ),
        not(
            "progress-without-item",
            "progress that does not say of which item",
            FromWorker,
            "progress",
            map([("id", 7.into()), ("note", "3 of 10".into())]),
            "item",
            "`item` has no default",
        ),
        not(
            "progress-note-nil",
            "nil is a value, not an absence",
            FromWorker,
            "progress",
            map([("id", 7.into()), ("item", 0.into()), ("note", Value::Nil)]),
            "unit value",
            "`note` is a string",
        ),
        not(
            "cancel-without-item",
            "a cancel that does not say of which item",
            FromMaster,
            "cancel",
            map([("id", 7.into())]),
            "item",
            "`item` has no default",
        ),
        not(
            "cancel-from-worker",
            "a worker cancels its own item",
            FromWorker,
            "cancel",
            result(),
            "cancel",
            "a worker does not send `cancel`",
        ),
        not(
            "function-flag-as-integer",
            "1 for true in the description of a function",
            FromWorker,
            "hello",
            hello_with(
                "functions",
                vec![map([("name", "tick".into()), ("progress", 1.into())])].into(),
            ),
            "expected a boolean",
            "`progress` of a function is a boolean",
        ),
        not(
            "failure-as-array",
            "a failure without the names of its fields",
            FromWorker,
            "error",
            error(wrong_failure),
            "expected a map",
            "a failure is a map",
        ),
        not(
            "function-as-array",
            "a function without the names of its fields",
            FromWorker,
            "hello",
            hello_with("functions", vec![wrong_function].into()),
            "expected a map",
            "a description of a function is a map",
        ),
        not(
            "function-without-name",
            "a function that cannot be called",
            FromWorker,
            "hello",
            hello_with("functions", vec![map([("help", "?".into())])].into()),
            "name",
            "`name` has no default",
        ),
        not(
            "string-not-utf-8",
            "a string whose bytes are no UTF-8",
            FromWorker,
            "hello",
            hello_with("name", super::pack::unusual(&[0xa2, 0xc3, 0x28], "?")),
            "byte",
            no_string,
        ),
    ]
}

/// A well-formed envelope that is no message, and a text that the error mentions.
fn not(
    name: &'static str,
    description: &'static str,
    direction: Direction,
    message: &str,
    fields: Value,
    mentions: &'static str,
    words: &'static str,
) -> Malformed {
    let body = map([(message, fields)]).encoded();
    let defect = Defect { error: "not_a_message", words, at: None, mentions: Some(mentions) };
    malformed(name, description, direction, &body, defect)
}

/// The fields of a good result.
fn result() -> Value {
    map([("id", 7.into()), ("item", 0.into())])
}

/// Arrays within one another, so many levels in all.
fn nested(levels: usize) -> Value {
    (1..levels).fold(Value::Array(vec![]), |inner, _| vec![inner].into())
}

const fn plain(error: &'static str, words: &'static str) -> Defect {
    Defect { error, words, at: None, mentions: None }
}

const fn offset(error: &'static str, at: usize, words: &'static str) -> Defect {
    Defect { error, words, at: Some(at), mentions: None }
}

fn malformed(
    name: &'static str,
    description: &'static str,
    direction: Direction,
    body: &[u8],
    defect: Defect,
) -> Malformed {
    Malformed { name, description, direction, before_welcome: false, bytes: framed(body), defect }
}
