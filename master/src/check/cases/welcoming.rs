//! The welcome, the initializer, and being refused.

use protocol::{
    launch::{EXIT_CALL_FAILED, EXIT_PROTOCOL},
    limits::{LENGTH_BYTES, MAX_FRAME_BEFORE_WELCOME, PROTOCOL_VERSION},
};

use super::malformed::is_refused;
use crate::check::{
    finding::{Finding, Stop},
    session::{HELLO_PATIENCE, Session},
    trial::{Case, Trial},
};
use protocol::strict::{Form, Value, envelope, frame, frame_in};

pub(super) const CASES: &[Case] = &[
    Case::new("an initializer runs in the process that serves", &[25], |trial| {
        let mut session = Session::greeted(trial)?;
        session.needs(&["remember", "recall"])?;
        let value = Value::text("kept by the initializer");
        let initializer = [("initializer", Value::text("remember"))];
        session.welcome(&[], initializer, &[Value::Array(vec![value.clone()])])?;
        session.get_ready()?;
        session.call("recall", &[vec![]])?;
        session.gives(25, &value)?;
        session.finish()
    }),
    Case::new("an initializer that fails", &[20, 25], |trial| {
        let message = Value::Array(vec![Value::text("on purpose")]);
        fails_to_start(trial, "fail", true, message)
    }),
    Case::new("an initializer that does not exist", &[20, 25], |trial| {
        fails_to_start(trial, "there is no such function", false, Value::Array(vec![]))
    }),
    Case::new("rejected", &[22], |trial| {
        rejected(trial, "the reason of the checker".to_owned(), 22)
    }),
    Case::new("rejected with 65536 bytes", &[10, 22], |trial| {
        let empty = frame(&envelope("reject", [("reason", Value::text(&"x".repeat(70_000)))]), &[]);
        let head = empty.len() - LENGTH_BYTES - 70_000;
        // A string of this length has a head of three bytes instead of five.
        let reason = "x".repeat(MAX_FRAME_BEFORE_WELCOME - (head - 2));
        rejected(trial, reason, 10)
    }),
    Case::new("a welcome of 65536 bytes", &[10, 13], |trial| {
        let mut session = Session::greeted(trial)?;
        let welcome = |padding: usize| {
            let fields = [
                ("version", Value::Integer(PROTOCOL_VERSION.into())),
                ("slot", Value::Integer(0)),
                ("x-padding", Value::text(&"x".repeat(padding))),
            ];
            frame(&envelope("welcome", fields), &[])
        };
        let head = welcome(60_000).len() - LENGTH_BYTES - 60_000;
        session.say_welcome(&welcome(MAX_FRAME_BEFORE_WELCOME - head))?;
        session.get_ready()?;
        session.finish()
    }),
    Case::new("a version out of its range", &[24], |trial| {
        let mut session = Session::greeted(trial)?;
        let newest = session.hello.as_ref().map_or(0, |hello| hello.number("newest"));
        let fields = [("version", Value::Integer(i128::from(newest) + 1))];
        session.say_welcome(&frame(&envelope("welcome", fields), &[]))?;
        is_refused(trial, session, 24).map(|_| ())
    }),
    Case::new("a feature that it did not announce", &[24], |trial| {
        let mut session = Session::greeted(trial)?;
        session.welcome(&["x-nobody-has-this"], [], &[])?;
        is_refused(trial, session, 24).map(|_| ())
    }),
    Case::new("the initializer runs once", &[25, 61], |trial| {
        let mut session = Session::greeted(trial)?;
        session.needs(&["print"])?;
        let text = "printed by the initializer";
        let arguments = [Value::Array(vec![Value::text(text)])];
        session.welcome(&[], [("initializer", Value::text("print"))], &arguments)?;
        session.get_ready()?;
        session.send(&frame(&envelope("drain", []), &[]))?;
        session.leaves(23)?;
        for (stream, name) in session.subject.output().iter().zip(["output", "error"]) {
            match stream.lines().filter(|line| *line == text).count() {
                1 => {}
                0 => {
                    let problem = format!("`print` has written nothing to standard {name}");
                    return Err(Finding::new(61, problem).into());
                }
                count => {
                    let problem = format!("the initializer ran {count} times");
                    return Err(Finding::new(25, problem).into());
                }
            }
        }
        session.look_back()
    }),
    Case::new("a drain right behind the welcome", &[19, 23], |trial| {
        let mut session = Session::greeted(trial)?;
        let version = [("version", Value::Integer(PROTOCOL_VERSION.into()))];
        let both = [frame(&envelope("welcome", version), &[]), frame(&envelope("drain", []), &[])];
        session.say_welcome(&both.concat())?;
        session.get_ready()?;
        let status = session.leaves(23)?;
        if !status.success() {
            let text = format!("it ended with another status than 0 after a drain: {status}");
            return Err(Finding::new(23, text).into());
        }
        session.look_back()
    }),
    Case::new("unknown fields, another order and longer forms", &[13], other_forms),
];

fn fails_to_start(
    trial: &Trial<'_>,
    function: &'static str,
    is_needed: bool,
    arguments: Value,
) -> Result<(), Stop> {
    let mut session = Session::greeted(trial)?;
    if is_needed {
        session.needs(&[function])?;
    }
    session.welcome(&[], [("initializer", Value::text(function))], &[arguments])?;
    match session.receive(HELLO_PATIENCE)? {
        Some(message) if message.name == "initializer_failed" => {}
        Some(message) => {
            let text =
                format!("the initializer `{function}` fails, and it said `{}`", message.name);
            return Err(Finding::new(25, text).came(&message.body).into());
        }
        None => {
            let text = format!("the initializer `{function}` fails, and it said nothing");
            return Err(Finding::new(25, text).into());
        }
    }
    let status = session.leaves(20)?;
    if status.code() != Some(EXIT_CALL_FAILED.into()) {
        trial.remark(20, format!("status {EXIT_CALL_FAILED} is recommended, not {status}"));
    }
    session.look_back()
}

fn rejected(trial: &Trial<'_>, reason: String, requirement: u32) -> Result<(), Stop> {
    let mut session = Session::greeted(trial)?;
    session.send(&frame(&envelope("reject", [("reason", Value::text(&reason))]), &[]))?;
    let status = session.leaves(requirement)?;
    if status.code() != Some(EXIT_PROTOCOL.into()) {
        trial.remark(22, format!("status {EXIT_PROTOCOL} is recommended, not {status}"));
    }
    let start: String = reason.chars().take(20).collect();
    let [_, stderr] = session.subject.output();
    if !stderr.contains(&start) {
        trial.remark(22, "it is recommended to write the reason to standard error");
    }
    session.look_back()
}

fn other_forms(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::greeted(trial)?;
    session.needs(&["echo"])?;
    let unknown = || {
        let inner = Value::fields([("version", Value::Integer(9)), ("id", Value::Nil)]);
        let list = Value::Array(vec![Value::Nil, Value::Boolean(true), inner.clone()]);
        [
            ("x-nil", Value::Nil),
            ("x-map", inner),
            ("x-list", list),
            ("x-deep", Value::nested(14)),
            ("x-number", Value::Integer(u64::MAX.into())),
            ("x-negative", Value::Integer(i64::MIN.into())),
            ("", Value::text("")),
        ]
    };
    let [first, second, others @ ..] = unknown();
    let welcome: Vec<_> = [first, second]
        .into_iter()
        .chain([
            ("keywords", Value::Boolean(false)),
            ("initializer", Value::Nil),
            ("pool", Value::text("a pool")),
            ("slot", Value::Integer(3)),
            ("features", Value::Array(vec![])),
        ])
        .chain(others)
        .chain([("version", Value::Integer(PROTOCOL_VERSION.into()))])
        .collect();
    session.say_welcome(&frame_in(Form::Longest, &envelope("welcome", welcome), &[]))?;
    session.get_ready()?;
    for form in [Form::Longest, Form::Shortest] {
        let id = session.awaits(2);
        let fields: Vec<_> = unknown()
            .into_iter()
            .chain([
                ("last", Value::Boolean(false)),
                ("shared", Value::Nil),
                ("items", Value::Integer(2)),
                ("function", Value::text("echo")),
                ("id", Value::Integer(id.into())),
            ])
            .collect();
        let items = [1, 2].map(|number| Value::Array(vec![Value::Integer(number)]));
        session.send(&frame_in(form, &envelope("call", fields), &items))?;
        session.gives(13, &Value::Integer(1))?;
        session.gives(13, &Value::Integer(2))?;
    }
    let drain = envelope("drain", unknown());
    session.send(&frame_in(Form::Longest, &drain, &[]))?;
    let status = session.leaves(13)?;
    if !status.success() {
        let text = format!("a drain with unknown fields ended in {status}");
        return Err(Finding::new(13, text).into());
    }
    session.look_back()
}
