//! Values of every kind, size and depth.

use protocol::{limits::MAX_PAYLOAD_DEPTH, message::kind::INVALID_RESULT};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, Session},
    trial::{Case, Trial},
};
use protocol::strict::{Form, Value, envelope, frame_in};

pub(super) const CASES: &[Case] = &[
    Case::new("values of every kind", &[15, 61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo"])?;
        for value in common() {
            come_back(&mut session, &value, true)?;
        }
        for value in rare() {
            come_back(&mut session, &value, false)?;
        }
        session.finish()
    }),
    Case::new("values in their longest forms", &[61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo"])?;
        for value in common() {
            let id = session.awaits(1);
            let fields = [("id", Value::Integer(id.into())), ("function", Value::text("echo"))];
            let item = Value::Array(vec![value.clone()]);
            session.send(&frame_in(Form::Longest, &envelope("call", fields), &[item]))?;
            session.gives(61, &value)?;
        }
        session.finish()
    }),
    Case::new("sizes around each boundary", &[10, 61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo"])?;
        for length in [15, 16, 31, 32, 255, 256, 65_534, 65_535, 65_536, 65_537, 1 << 20, 16 << 20]
        {
            let string = Value::String(vec![b'a'; length]);
            for value in [string, Value::Binary(vec![0x80; length])] {
                session.call("echo", &[vec![value.clone()]])?;
                session.gives_within(session.patience_for(length), 61, &value)?;
            }
        }
        for length in [15, 16, 65_535, 65_536] {
            let array = Value::Array(vec![Value::Integer(7); length]);
            session.call("echo", &[vec![array.clone()]])?;
            session.gives_within(session.patience_for(length), 61, &array)?;
        }
        session.finish()
    }),
    Case::new("as many levels as a value may have", &[15, 21, 61], deep),
    Case::new("what was given can be remembered", &[61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["remember", "recall"])?;
        session.call("recall", &[vec![]])?;
        session.gives(61, &Value::Nil)?;
        for value in [Value::text("one"), Value::Array(vec![Value::Integer(2)])] {
            session.call("remember", &[vec![value.clone()]])?;
            session.gives(61, &Value::Nil)?;
            session.call("recall", &[vec![]])?;
            session.gives(61, &value)?;
        }
        session.finish()
    }),
    Case::new("the text so many times over", &[61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["repeat"])?;
        let items = [0, 1, 3].map(|times| vec![Value::text("ab\u{e9}"), Value::Integer(times)]);
        session.call("repeat", &items)?;
        for text in ["", "ab\u{e9}", "ab\u{e9}ab\u{e9}ab\u{e9}"] {
            session.gives(61, &Value::text(text))?;
        }
        session.finish()
    }),
];

/// Values that every language has.
fn common() -> Vec<Value> {
    let mut values = vec![Value::Nil, Value::Boolean(false), Value::Boolean(true)];
    let integers = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        (1 << 53) - 1,
        -1,
        -32,
        -33,
        -0x80,
        -0x81,
        -0x8000,
        -0x8001,
        -0x8000_0000,
        -0x8000_0001,
        -(1 << 53) + 1,
    ];
    values.extend(integers.map(Value::Integer));
    // Not whole, so that they are floats in every language.
    values.extend([0.5, -1.25, 1e-300, 1.797e308, f64::MIN_POSITIVE / 4.0, 0.1].map(Value::float));
    values.extend([f64::INFINITY, f64::NEG_INFINITY].map(Value::float));
    let texts = ["", "a", "\u{e9}\u{4e2d}\u{1f600}", "a\u{0}b", "\"\\\n"];
    values.extend(texts.map(Value::text));
    values.extend([vec![], vec![0], vec![0xff, 0xfe, 0xc1]].map(Value::Binary));
    values.push(Value::Array(vec![]));
    values.push(Value::Array(vec![Value::Nil, Value::Array(vec![Value::text("x")])]));
    values.push(Value::Map(vec![]));
    let inner = Value::fields([("", Value::Nil), ("b", Value::Array(vec![Value::Integer(-1)]))]);
    values.push(Value::fields([("a", inner), ("1", Value::Boolean(true))]));
    values
}

/// Values that a language need not have: they come back as they were, or as an error.
fn rare() -> Vec<Value> {
    vec![
        Value::Integer(1 << 53),
        Value::Integer((1 << 53) + 1),
        Value::Integer(i64::MAX.into()),
        Value::Integer(i64::MIN.into()),
        Value::Integer(u64::MAX.into()),
        Value::float(0.0),
        Value::float(-0.0),
        Value::float(1.0),
        Value::float(f64::NAN),
        Value::Float32(1.5_f32.to_bits()),
        Value::Float32(16_777_216_f32.to_bits()),
        Value::Extension(5, vec![1, 2, 3]),
        Value::Extension(-5, vec![]),
        Value::Extension(127, vec![0; 16]),
        Value::Map(vec![(Value::Integer(1), Value::text("one"))]),
        Value::Map(vec![
            (Value::Integer(1), Value::text("a number")),
            (Value::text("1"), Value::text("a string")),
        ]),
        Value::Map(vec![(Value::Nil, Value::Nil)]),
        Value::Map(vec![(Value::Array(vec![Value::Integer(1)]), Value::Nil)]),
        Value::fields([("__proto__", Value::Integer(1)), ("constructor", Value::Nil)]),
    ]
}

fn come_back(session: &mut Session<'_>, value: &Value, must: bool) -> Result<(), Stop> {
    session.call("echo", &[vec![value.clone()]])?;
    if must {
        return session.gives(61, value);
    }
    match session.answer()? {
        Answer::Value(given) if value.is_same(&given) => Ok(()),
        Answer::Error { .. } => Ok(()),
        answer => Err(Finding::new(61, "a value came back as another one")
            .expected_text(format!("the value {value}, or an error"))
            .came_text(answer.to_string())
            .into()),
    }
}

fn deep(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready(trial)?;
    session.needs(&["echo", "nest"])?;
    // The list of arguments is a level, too.
    for levels in [1, 15, 16, 17, 100, MAX_PAYLOAD_DEPTH - 1] {
        let value = Value::nested(levels);
        session.call("echo", &[vec![value.clone()]])?;
        session.gives(61, &value)?;
    }
    for levels in [0, 1, 2, MAX_PAYLOAD_DEPTH - 1, MAX_PAYLOAD_DEPTH] {
        session.call("nest", &[vec![Value::Integer(levels as i128)]])?;
        session.gives(61, &Value::nested(levels))?;
    }
    session.call("nest", &[vec![Value::Integer(MAX_PAYLOAD_DEPTH as i128 + 1)]])?;
    session.fails(21, Some(INVALID_RESULT))?;
    session.call("nest", &[vec![Value::Integer(3)]])?;
    session.gives(21, &Value::nested(3))?;
    session.finish()
}
