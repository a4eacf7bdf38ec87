//! Everything up to the readiness of a worker, and its end.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Valid,
        pack::{Value, map, unusual},
    },
    TOKEN, canonical, described, failure, loose, same, spelled_function, spelled_hello,
    spelled_ready, spelled_welcome,
};

pub fn hellos() -> Vec<Valid> {
    let square = ("square", "(n, seconds?)", "the square of an integer");
    let pid = ("pid", "()", "the process id of the worker");
    let nothing = || Value::Array(vec![]);
    let full = |functions: [Value; 2]| {
        let features = vec!["example-feature".into()].into();
        let functions = Vec::from(functions).into();
        spelled_hello(1, 1, features, "example-worker", "1.2.3", functions)
    };
    let minimal = |oldest: Value, newest: Value| {
        map([("token", TOKEN.into()), ("oldest", oldest), ("newest", newest)])
    };
    let minimal_means =
        |oldest, newest| spelled_hello(oldest, newest, nothing(), "", "", nothing());
    vec![
        loose(
            "hello-minimal",
            "the least that a worker may say; a hello without functions can run none",
            FromWorker,
            [("hello", minimal(1.into(), 1.into()), minimal_means(1, 1), vec![])],
        ),
        canonical(
            "hello-full",
            "every field of a hello, with two functions and a feature",
            FromWorker,
            [(
                "hello",
                full(
                    [square, pid].map(|(name, parameters, help)| described(name, parameters, help)),
                ),
                full([square, pid].map(|(name, parameters, help)| {
                    spelled_function(name, parameters, help, false, false)
                })),
                vec![],
            )],
        ),
        loose(
            "hello-unknown-fields",
            "fields that version 1 does not know, in the hello and in a function, are ignored",
            FromWorker,
            [(
                "hello",
                map([
                    ("token", TOKEN.into()),
                    ("colour", "blue".into()),
                    ("oldest", 1.into()),
                    ("newest", 1.into()),
                    ("capacity", map([("units", 4.into()), ("tags", vec![Value::Nil].into())])),
                    (
                        "functions",
                        vec![map([
                            ("since", vec![1.into(), 2.into()].into()),
                            ("name", "square".into()),
                            ("idempotent", true.into()),
                        ])]
                        .into(),
                    ),
                ]),
                spelled_hello(
                    1,
                    1,
                    nothing(),
                    "",
                    "",
                    vec![spelled_function("square", "", "", false, false)].into(),
                ),
                vec![],
            )],
        ),
        loose(
            "hello-unknown-features",
            "features that the master does not know are left out of its welcome",
            FromWorker,
            [(
                "hello",
                map([
                    ("token", TOKEN.into()),
                    ("oldest", 1.into()),
                    ("newest", 1.into()),
                    ("features", vec!["from-the-future".into(), "x-private".into()].into()),
                ]),
                spelled_hello(
                    1,
                    1,
                    vec!["from-the-future".into(), "x-private".into()].into(),
                    "",
                    "",
                    nothing(),
                ),
                vec![],
            )],
        ),
        loose(
            "hello-newer-worker",
            "a worker that speaks versions 1 to 9; a master of version 1 welcomes it with 1",
            FromWorker,
            [("hello", minimal(1.into(), 9.into()), minimal_means(1, 9), vec![])],
        ),
        loose(
            "hello-future-version",
            "a worker that speaks versions 2 and 3 only; a master of version 1 rejects it",
            FromWorker,
            [("hello", minimal(2.into(), 3.into()), minimal_means(2, 3), vec![])],
        ),
        loose(
            "hello-wide-integers",
            "integers need not be in their shortest form",
            FromWorker,
            [(
                "hello",
                minimal(unusual(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 1], 1), unusual(&[0xcd, 0, 1], 1)),
                minimal_means(1, 1),
                vec![],
            )],
        ),
    ]
}

pub fn welcomes() -> Vec<Valid> {
    let full = |initializer: Value, keywords: bool| {
        spelled_welcome(Value::Array(vec![]), 2, "images", initializer, keywords)
    };
    vec![
        loose(
            "welcome-minimal",
            "only the field that has no default",
            FromMaster,
            [(
                "welcome",
                map([("version", 1.into())]),
                spelled_welcome(Value::Array(vec![]), 0, "", Value::Nil, false),
                vec![],
            )],
        ),
        canonical(
            "welcome-plain",
            "a welcome without an initializer has no payload",
            FromMaster,
            [(
                "welcome",
                map([("version", 1.into()), ("slot", 2.into()), ("pool", "images".into())]),
                full(Value::Nil, false),
                vec![],
            )],
        ),
        canonical(
            "welcome-features",
            "the features to use, a subset of those of the hello",
            FromMaster,
            [(
                "welcome",
                map([
                    ("version", 1.into()),
                    ("features", vec!["example-feature".into()].into()),
                    ("slot", 0.into()),
                ]),
                spelled_welcome(vec!["example-feature".into()].into(), 0, "", Value::Nil, false),
                vec![],
            )],
        ),
        canonical(
            "welcome-initializer",
            "the payload is the list of positional arguments of the initializer",
            FromMaster,
            [(
                "welcome",
                map([
                    ("version", 1.into()),
                    ("slot", 2.into()),
                    ("pool", "images".into()),
                    ("initializer", "connect".into()),
                ]),
                full("connect".into(), false),
                vec![vec!["db.example.org".into(), 5432.into()].into()],
            )],
        ),
        canonical(
            "welcome-initializer-keywords",
            "with keywords the payload is a list and a map",
            FromMaster,
            [(
                "welcome",
                map([
                    ("version", 1.into()),
                    ("slot", 2.into()),
                    ("pool", "images".into()),
                    ("initializer", "connect".into()),
                    ("keywords", true.into()),
                ]),
                full("connect".into(), true),
                vec![vec!["db.example.org".into()].into(), map([("port", 5432.into())])],
            )],
        ),
        loose(
            "welcome-initializer-nil",
            "nil is the one value that stands for no initializer",
            FromMaster,
            [(
                "welcome",
                map([("version", 1.into()), ("slot", 2.into()), ("initializer", Value::Nil)]),
                spelled_welcome(Value::Array(vec![]), 2, "", Value::Nil, false),
                vec![],
            )],
        ),
        loose(
            "welcome-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromMaster,
            [(
                "welcome",
                map([("version", 1.into()), ("slot", 2.into()), ("region", Value::Nil)]),
                spelled_welcome(Value::Array(vec![]), 2, "", Value::Nil, false),
                vec![],
            )],
        ),
    ]
}

pub fn starts() -> Vec<Valid> {
    let reason = "this master speaks protocol version 1, the worker 2 to 3";
    vec![
        same(
            "reject",
            "the master refuses a worker and says why",
            FromMaster,
            "reject",
            map([("reason", reason.into())]),
            vec![],
        ),
        canonical(
            "ready",
            "the one field is left out",
            FromWorker,
            [("ready", map([]), spelled_ready(false), vec![])],
        ),
        loose(
            "ready-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [("ready", map([("warm", true.into())]), spelled_ready(false), vec![])],
        ),
        canonical(
            "initializer-failed",
            "the initializer failed; nothing opaque",
            FromWorker,
            [(
                "initializer_failed",
                map([
                    ("kind", "ConnectionRefused".into()),
                    ("message", "no database at db.example.org:5432".into()),
                ]),
                failure("ConnectionRefused", "no database at db.example.org:5432", ""),
                vec![],
            )],
        ),
        same(
            "initializer-failed-opaque",
            "the payload is one bin that only a party of the same language understands",
            FromWorker,
            "initializer_failed",
            failure("OSError", "no such device", "connect, line 3"),
            vec![Value::Binary(vec![0x80, 0x04, 0x95, 0x00])],
        ),
        same("drain", "finish what came before, then leave", FromMaster, "drain", map([]), vec![]),
    ]
}
