//! The vectors of `vectors/valid/`.

mod features;
mod handshake;
mod shared_output;
mod shared_payloads;
mod work;

use super::{
    Direction::{self, FromMaster, FromWorker},
    Frame, Valid,
    pack::{Value, map},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub fn vectors() -> Vec<Valid> {
    [
        handshake::hellos(),
        handshake::welcomes(),
        handshake::starts(),
        work::calls(),
        work::results(),
        work::errors(),
        features::hellos_and_welcomes(),
        features::progress(),
        features::cancels(),
        features::sessions(),
        shared_output::hellos_and_welcomes(),
        shared_output::results(),
        shared_output::sessions(),
        shared_payloads::hellos_and_welcomes(),
        shared_payloads::readies(),
        shared_payloads::results(),
        shared_payloads::calls(),
        shared_payloads::sessions(),
        sessions(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn sessions() -> Vec<Valid> {
    let square = ("square", "(n)", "the square of an integer");
    let functions = vec![described(square.0, square.1, square.2)];
    let functions_mean = vec![spelled_function(square.0, square.1, square.2, false, false)];
    let hello = map([
        ("token", TOKEN.into()),
        ("oldest", 1.into()),
        ("newest", 1.into()),
        ("name", "demo".into()),
        ("version", "1".into()),
        ("functions", functions.into()),
    ]);
    let hello_means = spelled_hello(1, 1, Value::Array(vec![]), "demo", "1", functions_mean.into());
    let broken =
        map([("kind", "InvalidArguments".into()), ("message", "n is not an integer".into())]);
    let error = |failure| map([("id", 2.into()), ("item", 0.into()), ("failure", failure)]);
    vec![
        canonical(
            "session-from-worker",
            "all that a worker says in a short session",
            FromWorker,
            [
                ("hello", hello, hello_means, vec![]),
                ("ready", map([]), spelled_ready(false), vec![]),
                ("result", result(1, 0), result(1, 0), vec![4.into()]),
                ("result", result(1, 1), result(1, 1), vec![9.into()]),
                (
                    "error",
                    error(broken),
                    error(failure("InvalidArguments", "n is not an integer", "")),
                    vec![],
                ),
            ],
        ),
        canonical(
            "session-from-master",
            "all that a master says in the same session",
            FromMaster,
            [
                (
                    "welcome",
                    map([("version", 1.into()), ("slot", 0.into())]),
                    spelled_welcome(Value::Array(vec![]), 0, "", Value::Nil, false),
                    vec![],
                ),
                (
                    "call",
                    map([("id", 1.into()), ("function", "square".into()), ("items", 2.into())]),
                    spelled_call(1, "square", 2, false, false),
                    vec![vec![2.into()].into(), vec![3.into()].into()],
                ),
                (
                    "call",
                    map([("id", 2.into()), ("function", "square".into())]),
                    spelled_call(2, "square", 1, false, false),
                    vec![vec!["x".into()].into()],
                ),
                ("drain", map([]), map([]), vec![]),
            ],
        ),
    ]
}

/// A message of a vector: its name, its fields on the wire, its fields as understood, its payload.
type Said = (&'static str, Value, Value, Vec<Value>);

fn canonical<const N: usize>(
    name: &'static str,
    description: &'static str,
    direction: Direction,
    messages: [Said; N],
) -> Valid {
    let frame = |(message, fields, means, payload)| Frame {
        envelope: map([(message, fields)]),
        means: map([(message, means)]),
        canonical: true,
        payload,
    };
    Valid { name, description, direction, frames: messages.map(frame).into() }
}

/// Like [`canonical`], but the envelopes are not in canonical form.
fn loose<const N: usize>(
    name: &'static str,
    description: &'static str,
    direction: Direction,
    messages: [Said; N],
) -> Valid {
    let mut vector = canonical(name, description, direction, messages);
    vector.frames.iter_mut().for_each(|frame| frame.canonical = false);
    vector
}

/// One canonical message that spells every field out.
fn same(
    name: &'static str,
    description: &'static str,
    direction: Direction,
    message: &'static str,
    fields: Value,
    payload: Vec<Value>,
) -> Valid {
    canonical(name, description, direction, [(message, fields.clone(), fields, payload)])
}

/// The results of one call, an item each.
fn answers(
    name: &'static str,
    description: &'static str,
    values: impl IntoIterator<Item = Value>,
) -> Valid {
    let frame = |(item, value)| Frame {
        envelope: map([("result", result(7, item))]),
        means: map([("result", result(7, item))]),
        canonical: true,
        payload: vec![value],
    };
    let frames = (0..).zip(values).map(frame).collect();
    Valid { name, description, direction: FromWorker, frames }
}

fn result(id: i128, item: i128) -> Value {
    map([("id", id.into()), ("item", item.into())])
}

fn described(name: &str, parameters: &str, help: &str) -> Value {
    map([("name", name.into()), ("parameters", parameters.into()), ("help", help.into())])
}

fn spelled_function(
    name: &str,
    parameters: &str,
    help: &str,
    progress: bool,
    cancel: bool,
) -> Value {
    map([
        ("name", name.into()),
        ("parameters", parameters.into()),
        ("help", help.into()),
        ("progress", progress.into()),
        ("cancel", cancel.into()),
    ])
}

fn failure(kind: &str, message: &str, traceback: &str) -> Value {
    map([("kind", kind.into()), ("message", message.into()), ("traceback", traceback.into())])
}

fn spelled_hello(
    oldest: i128,
    newest: i128,
    features: Value,
    name: &str,
    version: &str,
    functions: Value,
) -> Value {
    map([
        ("token", TOKEN.into()),
        ("oldest", oldest.into()),
        ("newest", newest.into()),
        ("features", features),
        ("name", name.into()),
        ("version", version.into()),
        ("functions", functions),
    ])
}

fn spelled_welcome(
    features: Value,
    slot: i128,
    pool: &str,
    initializer: Value,
    keywords: bool,
) -> Value {
    map([
        ("version", 1.into()),
        ("features", features),
        ("slot", slot.into()),
        ("pool", pool.into()),
        ("initializer", initializer),
        ("keywords", keywords.into()),
        ("shared_output", Value::Nil),
        ("shared_arguments", Value::Nil),
    ])
}

fn spelled_ready(shared_arguments: bool) -> Value {
    map([("shared_arguments", shared_arguments.into())])
}

fn spelled_call(id: i128, function: &str, items: i128, keywords: bool, last: bool) -> Value {
    map([
        ("id", id.into()),
        ("function", function.into()),
        ("items", items.into()),
        ("keywords", keywords.into()),
        ("last", last.into()),
        ("shared", Value::Nil),
    ])
}

/// The same fields, with another value for one of them.
fn with(mut fields: Value, name: &str, value: Value) -> Value {
    let Value::Map(entries) = &mut fields else { panic!("no fields") };
    let entry = entries.iter_mut().find(|(key, _)| *key == name.into());
    entry.expect("there is such a field").1 = value;
    fields
}
