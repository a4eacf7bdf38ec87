//! The messages and fields of the features `shared_results` and `shared_arguments`.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Valid,
        pack::{Value, map, unusual},
    },
    TOKEN, canonical, described, failure, loose, result, same, spelled_call, spelled_function,
    spelled_hello, spelled_ready, spelled_welcome, with,
};

const OUTPUT: &str = "/proc/4711/fd/9";
const ARGUMENTS: &str = "/proc/4711/fd/5";

/// Two keys that use all of their 64 bits.
const OUTPUT_KEY: i128 = 0xfedc_ba98_7654_3210;
const ARGUMENTS_KEY: i128 = 0x8123_4567_89ab_cdef;

/// Where the room for large results begins, behind 64 KiB of frames.
const ROOM: i128 = 17 * 4096;

/// The largest number that is a multiple of 4096.
const LARGEST_ROOM: i128 = 0xffff_ffff_ffff_f000;

/// The features, as a hello or a welcome lists them.
fn features() -> Value {
    vec!["shared_output".into(), "shared_results".into(), "shared_arguments".into()].into()
}

fn hello() -> Value {
    let reverse = described("reverse", "(list)", "the list from its end");
    map([
        ("token", TOKEN.into()),
        ("oldest", 1.into()),
        ("newest", 1.into()),
        ("features", features()),
        ("name", "demo".into()),
        ("version", "1".into()),
        ("functions", vec![reverse].into()),
    ])
}

fn hello_means() -> Value {
    let reverse = spelled_function("reverse", "(list)", "the list from its end", false, false);
    spelled_hello(1, 1, features(), "demo", "1", vec![reverse].into())
}

fn output(results: i128) -> Value {
    map([("path", OUTPUT.into()), ("key", OUTPUT_KEY.into()), ("results", results.into())])
}

fn arguments() -> Value {
    map([("path", ARGUMENTS.into()), ("key", ARGUMENTS_KEY.into())])
}

fn welcome(output: Value, arguments: Value) -> Value {
    map([
        ("version", 1.into()),
        ("features", features()),
        ("slot", 0.into()),
        ("shared_output", output),
        ("shared_arguments", arguments),
    ])
}

fn welcome_means() -> Value {
    with_places(spelled_welcome(features(), 0, "", Value::Nil, false))
}

/// A welcome that is spelled out, with both places.
fn with_places(welcome: Value) -> Value {
    let welcome = with(welcome, "shared_output", output(ROOM));
    with(welcome, "shared_arguments", arguments())
}

pub fn hellos_and_welcomes() -> Vec<Valid> {
    let full = || with_places(spelled_welcome(features(), 2, "images", "connect".into(), true));
    let only_arguments = || Value::from(vec!["shared_arguments".into()]);
    let plain = || spelled_welcome(Value::Array(vec![]), 2, "", Value::Nil, false);
    let without_room =
        || map([("path", OUTPUT.into()), ("key", 1.into()), ("results", Value::Nil)]);
    let largest = || map([("path", "".into()), ("key", i128::from(u64::MAX).into())]);
    let largest_output = || {
        map([
            ("path", "".into()),
            ("key", i128::from(u64::MAX).into()),
            ("results", LARGEST_ROOM.into()),
        ])
    };
    vec![
        canonical(
            "hello-shared-payloads",
            "a worker that knows of large results and large arguments",
            FromWorker,
            [("hello", hello(), hello_means(), vec![])],
        ),
        canonical(
            "welcome-shared-payloads",
            "a file with room for large results, and one with large arguments",
            FromMaster,
            [("welcome", welcome(output(ROOM), arguments()), welcome_means(), vec![])],
        ),
        canonical(
            "welcome-shared-arguments",
            "large arguments need no shared output",
            FromMaster,
            [(
                "welcome",
                map([
                    ("version", 1.into()),
                    ("features", only_arguments()),
                    ("slot", 0.into()),
                    ("shared_arguments", arguments()),
                ]),
                with(
                    spelled_welcome(only_arguments(), 0, "", Value::Nil, false),
                    "shared_arguments",
                    arguments(),
                ),
                vec![],
            )],
        ),
        same(
            "welcome-every-field",
            "a welcome that leaves nothing out",
            FromMaster,
            "welcome",
            full(),
            vec![vec!["db.example.org".into()].into(), map([("port", 5432.into())])],
        ),
        canonical(
            "welcome-shared-payloads-largest",
            "the largest numbers; whether the files are like that is another question",
            FromMaster,
            [(
                "welcome",
                welcome(largest_output(), largest()),
                with(
                    with(welcome_means(), "shared_output", largest_output()),
                    "shared_arguments",
                    largest(),
                ),
                vec![],
            )],
        ),
        loose(
            "welcome-shared-arguments-nil",
            "nil is the one value that stands for no shared arguments, and for no room",
            FromMaster,
            [(
                "welcome",
                map([
                    ("version", 1.into()),
                    ("slot", 2.into()),
                    ("shared_output", without_room()),
                    ("shared_arguments", Value::Nil),
                ]),
                with(plain(), "shared_output", without_room()),
                vec![],
            )],
        ),
        loose(
            "welcome-shared-payloads-unknown-fields",
            "here too fields that version 1 does not know are ignored, and the order means nothing",
            FromMaster,
            [(
                "welcome",
                welcome(
                    map([
                        ("results", ROOM.into()),
                        ("size", (1 << 30).into()),
                        ("key", OUTPUT_KEY.into()),
                        ("path", OUTPUT.into()),
                    ]),
                    map([
                        ("key", ARGUMENTS_KEY.into()),
                        ("sealed", true.into()),
                        ("path", ARGUMENTS.into()),
                    ]),
                ),
                welcome_means(),
                vec![],
            )],
        ),
    ]
}

pub fn readies() -> Vec<Valid> {
    vec![
        same(
            "ready-shared-arguments",
            "the worker has mapped the file with the shared arguments",
            FromWorker,
            "ready",
            spelled_ready(true),
            vec![],
        ),
        loose(
            "ready-explicit-default",
            "that there is no such file may be written all the same",
            FromWorker,
            [("ready", spelled_ready(false), spelled_ready(false), vec![])],
        ),
        loose(
            "ready-shared-arguments-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [(
                "ready",
                map([("mapped", (1 << 40).into()), ("shared_arguments", true.into())]),
                spelled_ready(true),
                vec![],
            )],
        ),
    ]
}

fn shared_result(id: i128, item: i128, offset: i128, length: i128) -> Value {
    map([
        ("id", id.into()),
        ("item", item.into()),
        ("offset", offset.into()),
        ("length", length.into()),
    ])
}

pub fn results() -> Vec<Valid> {
    let of = |name, description, id, item, offset, length| {
        let fields = shared_result(id, item, offset, length);
        same(name, description, FromWorker, "shared_result", fields, vec![])
    };
    let (largest, largest_item) = (u64::MAX.into(), u32::MAX.into());
    let means = || shared_result(7, 4, ROOM, 50_000);
    vec![
        of(
            "shared-result",
            "the value of item 4 lies at the start of the room for large results",
            7,
            4,
            ROOM,
            50_000,
        ),
        of("shared-result-one-byte", "large is what the worker takes for large", 7, 0, ROOM, 1),
        of(
            "shared-result-largest",
            "the largest numbers; no file has such bytes, which is another question",
            largest,
            largest_item,
            largest,
            largest,
        ),
        loose(
            "shared-result-unknown-fields",
            "fields that version 1 does not know are ignored",
            FromWorker,
            [(
                "shared_result",
                map([
                    ("id", 7.into()),
                    ("item", 4.into()),
                    ("microseconds", 1250.into()),
                    ("offset", ROOM.into()),
                    ("length", 50_000.into()),
                ]),
                means(),
                vec![],
            )],
        ),
        loose(
            "shared-result-other-order",
            "the order of fields means nothing",
            FromWorker,
            [(
                "shared_result",
                map([
                    ("length", 50_000.into()),
                    ("offset", ROOM.into()),
                    ("item", 4.into()),
                    ("id", 7.into()),
                ]),
                means(),
                vec![],
            )],
        ),
        loose(
            "shared-result-wide-forms",
            "integers need not be in their shortest form",
            FromWorker,
            [(
                "shared_result",
                map([
                    ("id", unusual(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7], 7)),
                    ("item", unusual(&[0xcd, 0, 4], 4)),
                    ("offset", unusual(&[0xcf, 0, 0, 0, 0, 0, 1, 0x10, 0], ROOM)),
                    ("length", unusual(&[0xd2, 0, 0, 0xc3, 0x50], 50_000)),
                ]),
                means(),
                vec![],
            )],
        ),
    ]
}

fn range(offset: i128, length: i128) -> Value {
    map([("offset", offset.into()), ("length", length.into())])
}

/// A call as it is written whose payload lies elsewhere.
fn call(id: i128, shared: Value) -> Value {
    map([("id", id.into()), ("function", "reverse".into()), ("shared", shared)])
}

fn call_means(id: i128, shared: Value) -> Value {
    with(spelled_call(id, "reverse", 1, false, false), "shared", shared)
}

pub fn calls() -> Vec<Valid> {
    let loosely = |name, description, shared| {
        let message = ("call", call(7, shared), call_means(7, range(4096, 1_000_000)), vec![]);
        loose(name, description, FromMaster, [message])
    };
    let largest = || range(u64::MAX.into(), u64::MAX.into());
    vec![
        canonical(
            "call-shared",
            "the payload lies in the file of the shared arguments; the frame has none",
            FromMaster,
            [(
                "call",
                call(7, range(4096, 1_000_000)),
                call_means(7, range(4096, 1_000_000)),
                vec![],
            )],
        ),
        same(
            "call-every-field",
            "a call that leaves nothing out",
            FromMaster,
            "call",
            with(spelled_call(7, "reverse", 300, true, true), "shared", range(8, 100)),
            vec![],
        ),
        canonical(
            "call-shared-largest",
            "the largest numbers; no file has such bytes, which is another question",
            FromMaster,
            [("call", call(7, largest()), call_means(7, largest()), vec![])],
        ),
        loose(
            "call-shared-nil",
            "nil is the one value that stands for a payload in the frame",
            FromMaster,
            [(
                "call",
                call(7, Value::Nil),
                call_means(7, Value::Nil),
                vec![vec![vec![1.into(), 2.into()].into()].into()],
            )],
        ),
        loosely(
            "call-shared-unknown-fields",
            "here too fields that version 1 does not know are ignored, and the order means nothing",
            map([("length", 1_000_000.into()), ("sum", 0.into()), ("offset", 4096.into())]),
        ),
        loosely(
            "call-shared-wide-forms",
            "integers, strings and maps need not be in their shortest form",
            Value::Unusual {
                bytes: [
                    &[0xde, 0, 2, 0xd9, 6][..],
                    b"offset",
                    &[0xce, 0, 0, 0x10, 0, 0xda, 0, 6],
                    b"length",
                    &[0xd3, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40],
                ]
                .concat(),
                means: Box::new(range(4096, 1_000_000)),
            },
        ),
    ]
}

pub fn sessions() -> Vec<Valid> {
    let broken = map([("kind", "InvalidArguments".into()), ("message", "no list".into())]);
    let error = |failure| map([("id", 2.into()), ("item", 1.into()), ("failure", failure)]);
    let shared = |item, offset, length| {
        let fields = shared_result(2, item, offset, length);
        ("shared_result", fields.clone(), fields, vec![])
    };
    let three = map([
        ("id", 2.into()),
        ("function", "reverse".into()),
        ("items", 3.into()),
        ("shared", range(4096, 250_000)),
    ]);
    let three_mean =
        with(spelled_call(2, "reverse", 3, false, false), "shared", range(4096, 250_000));
    let small = |numbers: [i128; 2]| Value::from(numbers.map(Value::from).to_vec());
    vec![
        canonical(
            "session-shared-payloads-from-worker",
            "all that a worker says in a session with a small call and a large one",
            FromWorker,
            [
                ("hello", hello(), hello_means(), vec![]),
                ("ready", spelled_ready(true), spelled_ready(true), vec![]),
                ("result", result(1, 0), result(1, 0), vec![small([2, 1])]),
                shared(0, ROOM, 100_005),
                ("error", error(broken), error(failure("InvalidArguments", "no list", "")), vec![]),
                shared(2, ROOM + 25 * 4096, 140_005),
            ],
        ),
        canonical(
            "session-shared-payloads-from-master",
            "all that a master says in the same session",
            FromMaster,
            [
                ("welcome", welcome(output(ROOM), arguments()), welcome_means(), vec![]),
                (
                    "call",
                    map([("id", 1.into()), ("function", "reverse".into())]),
                    spelled_call(1, "reverse", 1, false, false),
                    vec![vec![small([1, 2])].into()],
                ),
                ("call", three, three_mean, vec![]),
                ("drain", map([]), map([]), vec![]),
            ],
        ),
    ]
}
