//! The messages and fields of the features `progress` and `cancel`.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Valid,
        pack::{Value, map},
    },
    TOKEN, canonical, failure, loose, result, same, spelled_call, spelled_function, spelled_hello,
    spelled_ready, spelled_welcome,
};

/// The two features, as a hello or a welcome lists them.
fn both() -> Value {
    vec!["progress".into(), "cancel".into()].into()
}

/// A hello with both features and one function that knows both, as it is written.
fn hello() -> Value {
    let tick = map([("name", "tick".into()), ("progress", true.into()), ("cancel", true.into())]);
    map([
        ("token", TOKEN.into()),
        ("oldest", 1.into()),
        ("newest", 1.into()),
        ("features", both()),
        ("name", "demo".into()),
        ("version", "1".into()),
        ("functions", vec![tick].into()),
    ])
}

fn hello_means() -> Value {
    let tick = spelled_function("tick", "", "", true, true);
    spelled_hello(1, 1, both(), "demo", "1", vec![tick].into())
}

fn welcome(features: Value) -> Value {
    map([("version", 1.into()), ("features", features), ("slot", 0.into())])
}

pub fn hellos_and_welcomes() -> Vec<Valid> {
    let one = || Value::from(vec!["cancel".into()]);
    let of = |name: &str, flags: [(&str, Value); 2]| {
        let [progress, cancel] = flags;
        map([("name", name.into()), progress, cancel])
    };
    let flags =
        |progress: bool, cancel: bool| [("progress", progress.into()), ("cancel", cancel.into())];
    let functions = vec![
        of("neither", flags(false, false)),
        of("progress", flags(true, false)),
        of("cancel", flags(false, true)),
    ];
    let functions_mean = vec![
        spelled_function("neither", "", "", false, false),
        spelled_function("progress", "", "", true, false),
        spelled_function("cancel", "", "", false, true),
    ];
    vec![
        canonical(
            "hello-progress-and-cancel",
            "both features of version 1, and a function that reports progress and can be told to stop",
            FromWorker,
            [("hello", hello(), hello_means(), vec![])],
        ),
        loose(
            "hello-explicit-flags",
            "what a function can do may be written also where it is the default",
            FromWorker,
            [(
                "hello",
                map([
                    ("token", TOKEN.into()),
                    ("oldest", 1.into()),
                    ("newest", 1.into()),
                    ("functions", functions.into()),
                ]),
                spelled_hello(1, 1, Value::Array(vec![]), "", "", functions_mean.into()),
                vec![],
            )],
        ),
        canonical(
            "welcome-progress-and-cancel",
            "the master uses both features",
            FromMaster,
            [(
                "welcome",
                welcome(both()),
                spelled_welcome(both(), 0, "", Value::Nil, false),
                vec![],
            )],
        ),
        canonical(
            "welcome-cancel",
            "the master uses one of the two features",
            FromMaster,
            [("welcome", welcome(one()), spelled_welcome(one(), 0, "", Value::Nil, false), vec![])],
        ),
    ]
}

pub fn progress() -> Vec<Valid> {
    let said = |id: i128, item: i128, note: &str| {
        map([("id", id.into()), ("item", item.into()), ("note", note.into())])
    };
    vec![
        same(
            "progress",
            "an item is alive, and says how far it is",
            FromWorker,
            "progress",
            said(7, 0, "3 of 10"),
            vec![],
        ),
        canonical(
            "progress-without-note",
            "an item is alive; the note is left out",
            FromWorker,
            [("progress", result(7, 0), said(7, 0, ""), vec![])],
        ),
        loose(
            "progress-empty-note",
            "a note that is empty may be written all the same",
            FromWorker,
            [("progress", said(7, 0, ""), said(7, 0, ""), vec![])],
        ),
        same(
            "progress-largest",
            "the largest id, the largest number of an item, and a note beyond ASCII",
            FromWorker,
            "progress",
            said(u64::MAX.into(), u32::MAX.into(), "größe \u{1f4cf}"),
            vec![],
        ),
        loose(
            "progress-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [(
                "progress",
                map([("id", 7.into()), ("item", 0.into()), ("percent", 30.into())]),
                said(7, 0, ""),
                vec![],
            )],
        ),
    ]
}

pub fn cancels() -> Vec<Valid> {
    vec![
        same(
            "cancel",
            "an item is not wanted any more",
            FromMaster,
            "cancel",
            result(7, 1),
            vec![],
        ),
        same(
            "cancel-largest",
            "the largest id and the largest number of an item",
            FromMaster,
            "cancel",
            result(u64::MAX.into(), u32::MAX.into()),
            vec![],
        ),
        loose(
            "cancel-unknown-fields",
            "fields that version 1 does not know are ignored, and their order means nothing",
            FromMaster,
            [(
                "cancel",
                map([("reason", "too late".into()), ("item", 1.into()), ("id", 7.into())]),
                result(7, 1),
                vec![],
            )],
        ),
    ]
}

pub fn sessions() -> Vec<Valid> {
    let note = |note: &str| map([("id", 1.into()), ("item", 0.into()), ("note", note.into())]);
    let brief = map([("kind", "Cancelled".into()), ("message", "the master cancelled it".into())]);
    let error = |failure| map([("id", 1.into()), ("item", 0.into()), ("failure", failure)]);
    let call = map([("id", 1.into()), ("function", "tick".into()), ("items", 2.into())]);
    let arguments = |times: i128, seconds: i128| vec![times.into(), seconds.into()].into();
    vec![
        canonical(
            "session-cancelled-from-worker",
            "all that a worker says in a session in which the first of two items is cancelled",
            FromWorker,
            [
                ("hello", hello(), hello_means(), vec![]),
                ("ready", map([]), spelled_ready(false), vec![]),
                ("progress", note("1 of 10"), note("1 of 10"), vec![]),
                ("progress", note("2 of 10"), note("2 of 10"), vec![]),
                (
                    "error",
                    error(brief),
                    error(failure("Cancelled", "the master cancelled it", "")),
                    vec![],
                ),
                ("result", result(1, 1), result(1, 1), vec![0.into()]),
            ],
        ),
        canonical(
            "session-cancelled-from-master",
            "all that a master says in the same session",
            FromMaster,
            [
                (
                    "welcome",
                    welcome(both()),
                    spelled_welcome(both(), 0, "", Value::Nil, false),
                    vec![],
                ),
                (
                    "call",
                    call,
                    spelled_call(1, "tick", 2, false, false),
                    vec![arguments(10, 60), arguments(0, 60)],
                ),
                ("cancel", result(1, 0), result(1, 0), vec![]),
                ("drain", map([]), map([]), vec![]),
            ],
        ),
    ]
}
