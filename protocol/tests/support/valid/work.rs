//! Calls and their answers.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Valid,
        pack::{Value, map},
    },
    answers, canonical, failure, loose, result, same, spelled_call,
};

pub fn calls() -> Vec<Valid> {
    let call = |id: i128, function: &str| map([("id", id.into()), ("function", function.into())]);
    let numbers = |range: std::ops::RangeInclusive<i128>| -> Vec<Value> {
        range.map(|number| vec![number.into()].into()).collect()
    };
    let one = |name, description, id: i128, function: &str, arguments: Vec<Value>| {
        let means = spelled_call(id, function, 1, false, false);
        canonical(
            name,
            description,
            FromMaster,
            [("call", call(id, function), means, vec![arguments.into()])],
        )
    };
    let many = |name, description, count: i128| {
        let envelope =
            map([("id", 3.into()), ("function", "square".into()), ("items", count.into())]);
        let means = spelled_call(3, "square", count, false, false);
        canonical(name, description, FromMaster, [("call", envelope, means, numbers(1..=count))])
    };
    vec![
        one("call-one-item", "one item is the default", 1, "square", vec![5.into()]),
        one("call-empty-arguments", "an item may have no arguments", 2, "pid", vec![]),
        one("call-id-above-32-bits", "ids have 64 bits", 1 << 32, "square", vec![5.into()]),
        one("call-id-largest", "the largest id", u64::MAX.into(), "square", vec![5.into()]),
        one("call-id-zero", "an id may be 0", 0, "square", vec![5.into()]),
        one(
            "call-function-beyond-ascii",
            "names are UTF-8 and compared byte by byte",
            4,
            "größe_\u{1f4cf}",
            vec![],
        ),
        one(
            "call-arguments-of-every-kind",
            "arguments are any MessagePack values, extension types too",
            5,
            "echo",
            vec![
                Value::Nil,
                true.into(),
                (-1).into(),
                Value::Float(1.5),
                "text".into(),
                Value::Binary(vec![0, 1, 2]),
                vec![1.into()].into(),
                map([("key", "value".into())]),
                Value::Extension(-1, vec![0, 0, 0, 0]),
            ],
        ),
        many("call-three-items", "three items of one function, each a list of arguments", 3),
        many("call-three-hundred-items", "a count that does not fit a byte", 300),
        loose(
            "call-explicit-defaults",
            "a field that has its default may be written all the same",
            FromMaster,
            [(
                "call",
                spelled_call(1, "square", 1, false, false),
                spelled_call(1, "square", 1, false, false),
                numbers(5..=5),
            )],
        ),
        loose(
            "call-other-order",
            "the order of fields means nothing",
            FromMaster,
            [(
                "call",
                map([("items", 2.into()), ("function", "square".into()), ("id", 1.into())]),
                spelled_call(1, "square", 2, false, false),
                numbers(5..=6),
            )],
        ),
        loose(
            "call-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromMaster,
            [(
                "call",
                map([
                    ("id", 1.into()),
                    ("deadline", 30.into()),
                    ("function", "square".into()),
                    ("trace", map([("parent", "00f0".into())])),
                ]),
                spelled_call(1, "square", 1, false, false),
                numbers(5..=5),
            )],
        ),
        loose(
            "call-wide-forms",
            "integers, strings and maps need not be in their shortest form",
            FromMaster,
            [(
                "call",
                Value::Unusual {
                    bytes: [
                        &[0xde, 0, 3, 0xd9, 2][..],
                        b"id",
                        &[0xcf, 0, 0, 0, 0, 0, 0, 0, 7, 0xda, 0, 8],
                        b"function",
                        &[0xdb, 0, 0, 0, 6],
                        b"square",
                        &[0xa5],
                        b"items",
                        &[0xd0, 1],
                    ]
                    .concat(),
                    means: Box::new(map([
                        ("id", 7.into()),
                        ("function", "square".into()),
                        ("items", 1.into()),
                    ])),
                },
                spelled_call(7, "square", 1, false, false),
                numbers(5..=5),
            )],
        ),
        canonical(
            "call-keywords",
            "with keywords an item is a list and a map",
            FromMaster,
            [(
                "call",
                map([("id", 6.into()), ("function", "sleep".into()), ("keywords", true.into())]),
                spelled_call(6, "sleep", 1, true, false),
                vec![vec![1.into()].into(), map([("value", "done".into())])],
            )],
        ),
        canonical(
            "call-keywords-three-items",
            "six values for three items; lists and maps may be empty",
            FromMaster,
            [(
                "call",
                map([
                    ("id", 7.into()),
                    ("function", "sleep".into()),
                    ("items", 3.into()),
                    ("keywords", true.into()),
                ]),
                spelled_call(7, "sleep", 3, true, false),
                vec![
                    vec![1.into()].into(),
                    map([]),
                    vec![].into(),
                    map([("seconds", 0.into()), ("value", Value::Nil)]),
                    vec![].into(),
                    map([]),
                ],
            )],
        ),
        canonical(
            "call-last",
            "the worker exits after this call, with the status that the call deserves",
            FromMaster,
            [(
                "call",
                map([("id", 8.into()), ("function", "square".into()), ("last", true.into())]),
                spelled_call(8, "square", 1, false, true),
                numbers(10..=10),
            )],
        ),
    ]
}

pub fn results() -> Vec<Valid> {
    let letters = |count: usize| Value::from("a".repeat(count).as_str());
    let list = |count| Value::Array(vec![Value::Nil; count]);
    let object = |count: i128| {
        Value::Map(
            (0..count).map(|key| (format!("{key:02}").as_str().into(), key.into())).collect(),
        )
    };
    let integers = [
        0,
        1,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        (1 << 32) - 1,
        1 << 32,
        (1 << 53) - 1,
        1 << 53,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX.into(),
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -(1 << 31),
        -(1 << 31) - 1,
        i64::MIN.into(),
    ];
    let floats = [
        0.0,
        -0.0,
        1.5,
        0.1,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let floats = floats.map(Value::Float).into_iter();
    let extensions = [0, 1, 2, 3, 4, 8, 16, 17, 256];
    vec![
        answers("result-nil", "nil", [Value::Nil]),
        answers("result-booleans", "false, then true", [false.into(), true.into()]),
        answers(
            "result-integers",
            "both sides of each boundary of width",
            integers.map(Value::from),
        ),
        answers(
            "result-floats",
            "64-bit floats, then one of 32 bits; a result may be NaN",
            floats.chain([Value::Float32(1.5)]),
        ),
        answers(
            "result-strings",
            "both sides of the boundaries of 32 and 256 bytes, and text beyond ASCII",
            [0, 1, 31, 32, 255, 256].map(letters).into_iter().chain(["größe \u{1f4cf}".into()]),
        ),
        answers(
            "result-string-65535",
            "the longest string with a 16-bit length",
            [letters(65_535)],
        ),
        answers(
            "result-string-65536",
            "the shortest string with a 32-bit length",
            [letters(65_536)],
        ),
        answers(
            "result-binaries",
            "binary data, both sides of the boundary of 256 bytes",
            [0, 1, 255, 256].map(|count| Value::Binary(vec![0xab; count])),
        ),
        answers("result-arrays", "both sides of the boundary of 16", [0, 1, 15, 16].map(list)),
        answers("result-maps", "both sides of the boundary of 16", [0, 1, 15, 16].map(object)),
        answers(
            "result-map-any-keys",
            "a payload may have keys that are no strings, unlike an envelope",
            [Value::Map(vec![
                (1.into(), "one".into()),
                (Value::Nil, "nothing".into()),
                (Value::Binary(vec![0xff]), true.into()),
                (vec![1.into(), 2.into()].into(), Value::Float(0.5)),
            ])],
        ),
        answers(
            "result-extensions",
            "extension types of every form, the last but one a timestamp of 4 bytes",
            extensions
                .map(|count| Value::Extension(7, vec![0xcd; count]))
                .into_iter()
                .chain([Value::Extension(-1, vec![0x68, 0, 0, 0]), Value::Extension(-128, vec![])]),
        ),
        same(
            "result-item-largest",
            "the largest id and the largest number of an item",
            FromWorker,
            "result",
            result(u64::MAX.into(), u32::MAX.into()),
            vec![Value::Nil],
        ),
        loose(
            "result-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [(
                "result",
                map([("id", 7.into()), ("item", 0.into()), ("microseconds", 1250.into())]),
                result(7, 0),
                vec![25.into()],
            )],
        ),
    ]
}

pub fn errors() -> Vec<Valid> {
    let brief =
        |kind: &str, message: &str| map([("kind", kind.into()), ("message", message.into())]);
    let error = |failure: Value| map([("id", 7.into()), ("item", 1.into()), ("failure", failure)]);
    let traceback = "  at square (functions.py:12)\n  at serve (worker.py:80)";
    let overflow = "3037000500 squared does not fit 64 bits";
    let plain = |name, description, kind: &str, message: &str| {
        let means = error(failure(kind, message, ""));
        let envelope = error(brief(kind, message));
        canonical(name, description, FromWorker, [("error", envelope, means, vec![])])
    };
    vec![
        plain("error-plain", "no traceback, nothing opaque", "Overflow", overflow),
        plain(
            "error-unknown-function",
            "the first kind of failure that the protocol itself names",
            "UnknownFunction",
            "no function `cube`; there are: pid, square",
        ),
        plain(
            "error-cancelled",
            "how an item ends that was told to stop",
            "Cancelled",
            "the master cancelled it",
        ),
        same(
            "error-traceback",
            "a traceback is text in whatever form the language of the worker has",
            FromWorker,
            "error",
            error(failure("Overflow", overflow, traceback)),
            vec![],
        ),
        same(
            "error-opaque",
            "the payload is one bin that only a party of the same language understands",
            FromWorker,
            "error",
            error(failure("Overflow", overflow, traceback)),
            vec![Value::Binary(b"\x80\x04\x95any bytes".to_vec())],
        ),
        loose(
            "error-minimal",
            "every field of a failure has a default",
            FromWorker,
            [("error", error(map([])), error(failure("", "", "")), vec![])],
        ),
        loose(
            "error-unknown-fields",
            "fields that version 1 does not know are ignored, in a failure too",
            FromWorker,
            [(
                "error",
                error(map([("kind", "Overflow".into()), ("retry", false.into())])),
                error(failure("Overflow", "", "")),
                vec![],
            )],
        ),
    ]
}
