//! The message and the fields of the feature `shared_output`.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Valid,
        pack::{Value, map, unusual},
    },
    TOKEN, canonical, described, failure, loose, result, same, spelled_call, spelled_function,
    spelled_hello, spelled_ready, spelled_welcome, with,
};

const PATH: &str = "/proc/4711/fd/9";

/// A key that uses all of its 64 bits.
const KEY: i128 = 0xfedc_ba98_7654_3210;

/// The feature, as a hello or a welcome lists it.
fn feature() -> Value {
    vec!["shared_output".into()].into()
}

fn hello() -> Value {
    let square = described("square", "(n)", "the square of an integer");
    map([
        ("token", TOKEN.into()),
        ("oldest", 1.into()),
        ("newest", 1.into()),
        ("features", feature()),
        ("name", "demo".into()),
        ("version", "1".into()),
        ("functions", vec![square].into()),
    ])
}

fn hello_means() -> Value {
    let square = spelled_function("square", "(n)", "the square of an integer", false, false);
    spelled_hello(1, 1, feature(), "demo", "1", vec![square].into())
}

fn place() -> Value {
    map([("path", PATH.into()), ("key", KEY.into())])
}

fn place_means() -> Value {
    map([("path", PATH.into()), ("key", KEY.into()), ("results", Value::Nil)])
}

fn welcome(place: Value) -> Value {
    map([
        ("version", 1.into()),
        ("features", feature()),
        ("slot", 0.into()),
        ("shared_output", place),
    ])
}

fn welcome_means() -> Value {
    let plain = spelled_welcome(feature(), 0, "", Value::Nil, false);
    with(plain, "shared_output", place_means())
}

pub fn hellos_and_welcomes() -> Vec<Valid> {
    vec![
        canonical(
            "hello-shared-output",
            "a worker that can keep answers in a shared output",
            FromWorker,
            [("hello", hello(), hello_means(), vec![])],
        ),
        canonical(
            "welcome-shared-output",
            "the master tells where the file is and with which number it begins",
            FromMaster,
            [("welcome", welcome(place()), welcome_means(), vec![])],
        ),
        loose(
            "welcome-shared-output-nil",
            "nil is the one value that stands for no shared output",
            FromMaster,
            [(
                "welcome",
                map([("version", 1.into()), ("slot", 2.into()), ("shared_output", Value::Nil)]),
                spelled_welcome(Value::Array(vec![]), 2, "", Value::Nil, false),
                vec![],
            )],
        ),
        loose(
            "welcome-shared-output-unknown-fields",
            "here too fields that version 1 does not know are ignored, and the order means nothing",
            FromMaster,
            [(
                "welcome",
                welcome(map([("key", KEY.into()), ("size", 65600.into()), ("path", PATH.into())])),
                welcome_means(),
                vec![],
            )],
        ),
    ]
}

pub fn results() -> Vec<Valid> {
    let of = |name, description, id: i128, item: i128, values: Vec<Value>| {
        same(name, description, FromWorker, "results", result(id, item), values)
    };
    let every_kind = vec![
        Value::Nil,
        true.into(),
        25.into(),
        (-33).into(),
        i128::from(u64::MAX).into(),
        Value::Float(1.5),
        Value::Float32(-0.5),
        "text".into(),
        "a".repeat(256).as_str().into(),
        Value::Binary(vec![0, 1, 2]),
        vec![].into(),
        vec![1.into(), vec!["two".into()].into()].into(),
        map([("key", map([("inner", Value::Nil)]))]),
        Value::Map(vec![(1.into(), "one".into())]),
        Value::Extension(-1, vec![0, 0, 0, 0]),
        Value::Extension(7, vec![0xcd; 17]),
    ];
    vec![
        of(
            "results",
            "the values of three items, the first of which is item 4",
            7,
            4,
            vec![4.into(), "nine".into(), Value::Nil],
        ),
        of("results-one-item", "one value is enough", 7, 0, vec![25.into()]),
        of(
            "results-of-every-kind",
            "each item has one value, of whatever kind and size",
            7,
            0,
            every_kind,
        ),
        of(
            "results-three-hundred-items",
            "as many items as there are values; no field counts them",
            7,
            100,
            (0..300_i128).map(Value::from).collect(),
        ),
        of(
            "results-item-largest",
            "the largest id and the largest number of an item, behind which there is none",
            u64::MAX.into(),
            u32::MAX.into(),
            vec![Value::Nil],
        ),
        loose(
            "results-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [(
                "results",
                map([("id", 7.into()), ("item", 0.into()), ("microseconds", 1250.into())]),
                result(7, 0),
                vec![25.into(), 36.into()],
            )],
        ),
        loose(
            "results-other-order",
            "the order of fields means nothing",
            FromWorker,
            [(
                "results",
                map([("item", 3.into()), ("id", 7.into())]),
                result(7, 3),
                vec![25.into(), 36.into()],
            )],
        ),
        loose(
            "results-wide-forms",
            "integers need not be in their shortest form",
            FromWorker,
            [(
                "results",
                map([
                    ("id", unusual(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7], 7)),
                    ("item", unusual(&[0xcd, 0, 3], 3)),
                ]),
                result(7, 3),
                vec![25.into(), 36.into()],
            )],
        ),
    ]
}

pub fn sessions() -> Vec<Valid> {
    let broken =
        map([("kind", "InvalidArguments".into()), ("message", "n is not an integer".into())]);
    let error = |failure| map([("id", 1.into()), ("item", 2.into()), ("failure", failure)]);
    let items = [2.into(), 3.into(), "x".into(), 4.into(), 5.into(), 6.into()];
    let call = map([("id", 1.into()), ("function", "square".into()), ("items", 6.into())]);
    vec![
        canonical(
            "session-shared-output-from-worker",
            "all that a worker says in a session in which the third of six items fails",
            FromWorker,
            [
                ("hello", hello(), hello_means(), vec![]),
                ("ready", map([]), spelled_ready(false), vec![]),
                ("results", result(1, 0), result(1, 0), vec![4.into(), 9.into()]),
                (
                    "error",
                    error(broken),
                    error(failure("InvalidArguments", "n is not an integer", "")),
                    vec![],
                ),
                ("results", result(1, 3), result(1, 3), vec![16.into(), 25.into(), 36.into()]),
            ],
        ),
        canonical(
            "session-shared-output-from-master",
            "all that a master says in the same session",
            FromMaster,
            [
                ("welcome", welcome(place()), welcome_means(), vec![]),
                (
                    "call",
                    call,
                    spelled_call(1, "square", 6, false, false),
                    items.map(|item: Value| vec![item].into()).into(),
                ),
                ("drain", map([]), map([]), vec![]),
            ],
        ),
    ]
}
