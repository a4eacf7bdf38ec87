//! Messages of the features `shared_results` and `shared_arguments` with fields that do not fit.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Malformed,
        pack::{Value, map},
    },
    not,
};

pub fn messages() -> Vec<Malformed> {
    [results(), calls(), handshakes()].into_iter().flatten().collect()
}

const NUMBER: &str = "it is an integer from 0 to 18446744073709551615";

fn results() -> Vec<Malformed> {
    let field = |name: &'static str, value: i128| (name, Value::from(value));
    let (id, item) = (|| field("id", 7), || field("item", 0));
    let (offset, length) = (|| field("offset", 4096), || field("length", 1));
    let refuse = |name, description, fields: Value, mentions, words| {
        not(name, description, FromWorker, "shared_result", fields, mentions, words)
    };
    vec![
        refuse(
            "shared-result-without-id",
            "a large result that does not say of which call",
            map([item(), offset(), length()]),
            "`id`",
            "`id` has no default",
        ),
        refuse(
            "shared-result-without-item",
            "a large result that does not say of which item",
            map([id(), offset(), length()]),
            "`item`",
            "`item` has no default",
        ),
        refuse(
            "shared-result-without-offset",
            "a large result that does not say where it begins",
            map([id(), item(), length()]),
            "`offset`",
            "`offset` has no default",
        ),
        refuse(
            "shared-result-without-length",
            "a large result that does not say where it ends",
            map([id(), item(), offset()]),
            "`length`",
            "`length` has no default",
        ),
        refuse(
            "shared-result-item-above-32-bits",
            "the number of an item beyond its range",
            map([id(), field("item", 1 << 32), offset(), length()]),
            "4294967296",
            "an item is an integer from 0 to 4294967295",
        ),
        refuse(
            "shared-result-offset-negative",
            "an offset below 0",
            map([id(), item(), field("offset", -4096), length()]),
            "-4096",
            NUMBER,
        ),
        refuse(
            "shared-result-length-negative",
            "a length below 0",
            map([id(), item(), offset(), field("length", -1)]),
            "-1",
            NUMBER,
        ),
        refuse(
            "shared-result-length-nil",
            "nil is a value, not an absence",
            map([id(), item(), offset(), ("length", Value::Nil)]),
            "unit value",
            NUMBER,
        ),
        not(
            "shared-result-from-master",
            "a master gives a result",
            FromMaster,
            "shared_result",
            map([id(), item(), offset(), length()]),
            "shared_result",
            "a master does not send `shared_result`",
        ),
    ]
}

fn calls() -> Vec<Malformed> {
    let refuse = |name, description, shared: Value, mentions, words| {
        let fields = map([("id", 7.into()), ("function", "square".into()), ("shared", shared)]);
        not(name, description, FromMaster, "call", fields, mentions, words)
    };
    vec![
        refuse(
            "call-shared-as-array",
            "the place of a payload without the names of its fields",
            vec![4096.into(), 1.into()].into(),
            "expected a map",
            "`shared` is a map",
        ),
        refuse(
            "call-shared-without-offset",
            "a payload that does not say where it begins",
            map([("length", 1.into())]),
            "`offset`",
            "`offset` has no default",
        ),
        refuse(
            "call-shared-without-length",
            "a payload that does not say where it ends",
            map([("offset", 4096.into())]),
            "`length`",
            "`length` has no default",
        ),
        refuse(
            "call-shared-offset-negative",
            "an offset below 0",
            map([("offset", (-1).into()), ("length", 1.into())]),
            "-1",
            NUMBER,
        ),
        refuse(
            "call-shared-length-not-an-integer",
            "a length in digits",
            map([("offset", 4096.into()), ("length", "1".into())]),
            "a string",
            NUMBER,
        ),
    ]
}

fn handshakes() -> Vec<Malformed> {
    let ready = |name, description, flag: Value, mentions| {
        let (fields, words) =
            (map([("shared_arguments", flag)]), "`shared_arguments` is a boolean");
        not(name, description, FromWorker, "ready", fields, mentions, words)
    };
    let arguments = |name, description, place: Value, mentions, words| {
        let fields = map([("version", 1.into()), ("shared_arguments", place)]);
        not(name, description, FromMaster, "welcome", fields, mentions, words)
    };
    let room = |name, description, results: Value, mentions| {
        let place = map([("path", "/shared".into()), ("key", 1.into()), ("results", results)]);
        let fields = map([("version", 1.into()), ("shared_output", place)]);
        not(name, description, FromMaster, "welcome", fields, mentions, NUMBER)
    };
    vec![
        ready("ready-flag-as-integer", "1 for true", 1.into(), "expected a boolean"),
        ready("ready-flag-nil", "nil is a value, not an absence", Value::Nil, "unit value"),
        arguments(
            "shared-arguments-as-array",
            "shared arguments without the names of their fields",
            vec!["/shared".into(), 1.into()].into(),
            "expected a map",
            "shared arguments are a map",
        ),
        arguments(
            "shared-arguments-without-path",
            "shared arguments that cannot be found",
            map([("key", 1.into())]),
            "`path`",
            "`path` has no default",
        ),
        arguments(
            "shared-arguments-without-key",
            "shared arguments that cannot be told from another file",
            map([("path", "/shared".into())]),
            "`key`",
            "`key` has no default",
        ),
        room(
            "shared-output-results-not-an-integer",
            "true for a place that the worker may choose",
            true.into(),
            "boolean",
        ),
        room(
            "shared-output-results-negative",
            "a room that begins before its file",
            (-4096).into(),
            "-4096",
        ),
    ]
}
