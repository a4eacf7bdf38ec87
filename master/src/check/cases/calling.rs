//! Calls, their items, and their answers.

use std::time::Duration;

use protocol::{
    launch::EXIT_CALL_FAILED,
    message::kind::{INVALID_ARGUMENTS, UNKNOWN_FUNCTION},
};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, Session},
    trial::{Case, Trial},
};
use protocol::strict::{Value, envelope, frame};

/// A short wait, in which a worker could do what it should not.
const MOMENT: Duration = Duration::from_millis(200);

pub(super) const CASES: &[Case] = &[
    Case::new("items are answered in order", &[9, 12, 15, 21, 26, 27, 42, 52], in_order),
    Case::new("each item is answered before the next begins", &[28], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["sleep"])?;
        let item = |seconds, text| vec![Value::float(seconds), Value::text(text)];
        session.call("sleep", &[item(0.0, "first"), item(1.5, "second")])?;
        let written = session.has_answer(Duration::from_millis(900))?;
        if !written {
            let text = "the answer of an item did not come while the next one ran";
            return Err(Finding::new(28, text).into());
        }
        session.gives(61, &Value::text("first"))?;
        session.gives(61, &Value::text("second"))?;
        session.finish()
    })
    .alone(),
    Case::new("frames in pieces, and many at once", &[11], in_pieces),
    Case::new("a call is read in full before it begins", &[26], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["print"])?;
        let text = "begun before its call was read in full";
        let (_, frame) = session.prepare(
            "print",
            [],
            &[vec![Value::text(text)], vec![Value::text("the second")]],
        );
        let (start, end) = frame.split_at(frame.len() - 1);
        session.send(start)?;
        session.receive(MOMENT)?;
        let begun = session.subject.output().into_iter().any(|stream| stream.contains(text));
        if begun {
            return Err(Finding::new(26, "an item began before its call was read in full").into());
        }
        session.send(end)?;
        session.gives(61, &Value::Nil)?;
        session.gives(61, &Value::Nil)?;
        session.finish()
    }),
    Case::new("a failing item does not keep the others from being run", &[29, 33, 61], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["sleep", "fail"])?;
        let good = |text| vec![Value::Integer(0), Value::text(text)];
        session.call("sleep", &[good("a"), vec![Value::text("not a number")], good("c")])?;
        session.call(
            "fail",
            &[
                vec![Value::text("no"), Value::text("Mine")],
                vec![Value::text("no"), Value::text("Mine"), Value::Integer(3)],
                vec![Value::text("again")],
            ],
        )?;
        session.gives(29, &Value::text("a"))?;
        session.fails(33, Some(INVALID_ARGUMENTS))?;
        session.gives(29, &Value::text("c"))?;
        for given in ["no", "nonono"] {
            let message = session.fails(61, Some("Mine"))?;
            if message != given {
                return Err(Finding::new(61, "`fail` has another message than it was given")
                    .expected_text(given)
                    .came_text(message)
                    .into());
            }
        }
        session.fails(29, None)?;
        session.finish()
    }),
    Case::new("a function that panics", &[30], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["panic", "echo"])?;
        // The same string as in `in_order`, for the same reason.
        for number in 0..3 {
            session.call("panic", &[vec![Value::text("bad")]])?;
            session.call("echo", &[vec![Value::Integer(number)]])?;
            session.fails(30, None)?;
            session.gives(30, &Value::Integer(number))?;
        }
        session.finish()
    }),
    Case::new("a function that it does not have", &[32], |trial| {
        let mut session = Session::ready(trial)?;
        let items = [vec![Value::Integer(1)], vec![]];
        for name in ["there is no such function", "", "Echo", "\u{e9}"] {
            session.call(name, &items)?;
            session.fails(32, Some(UNKNOWN_FUNCTION))?;
            session.fails(32, Some(UNKNOWN_FUNCTION))?;
        }
        session.finish()
    }),
    Case::new("arguments that do not fit", &[33], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo", "sleep"])?;
        let two = vec![Value::Nil, Value::Nil];
        session.call("echo", &[vec![], two, vec![Value::Integer(7)]])?;
        session.fails(33, Some(INVALID_ARGUMENTS))?;
        session.fails(33, Some(INVALID_ARGUMENTS))?;
        session.gives(33, &Value::Integer(7))?;
        let odd = [Value::text("x"), Value::Array(vec![]), Value::Map(vec![])];
        session.call("sleep", &odd.clone().map(|value| vec![value]))?;
        for _ in odd {
            session.fails(33, Some(INVALID_ARGUMENTS))?;
        }
        session.finish()
    }),
    Case::new("keyword arguments", &[61], keywords),
    Case::new("a keyword argument that no function has", &[33], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["recall", "echo"])?;
        let names = Value::Map(vec![(Value::text("nonsense"), Value::Integer(1))]);
        let id = session.awaits(1);
        let fields = [
            ("id", Value::Integer(id.into())),
            ("function", Value::text("recall")),
            ("keywords", Value::Boolean(true)),
        ];
        session.send(&frame(&envelope("call", fields), &[Value::Array(vec![]), names]))?;
        session.fails(33, Some(INVALID_ARGUMENTS))?;
        session.finish()
    }),
    Case::new("a failure whose words are not UTF-8", &[12], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["fail"])?;
        // Each string of an envelope is looked at as it comes.
        session.call("fail", &[vec![Value::String(b"half \xff done".to_vec())]])?;
        session.fails(33, None)?;
        session.finish()
    }),
    Case::new("a last call", &[31], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo", "fail"])?;
        session.call("echo", &[vec![Value::Integer(1)]])?;
        let last = || [("last", Value::Boolean(true))];
        session.call_with("echo", last(), &[vec![Value::Integer(2)], vec![Value::Integer(3)]])?;
        for number in 1..=3 {
            session.gives(31, &Value::Integer(number))?;
        }
        let status = session.leaves(31)?;
        if !status.success() {
            let text = format!("after a last call without failures it ended with {status}");
            return Err(Finding::new(31, text).into());
        }
        session.look_back()?;
        let mut session = Session::ready(trial)?;
        session.call_with("fail", last(), &[vec![Value::text("on purpose")]])?;
        session.fails(31, None)?;
        let status = session.leaves(31)?;
        if status.code() != Some(EXIT_CALL_FAILED.into()) {
            let text = format!("after a last call with a failure it ended with {status}, not 1");
            return Err(Finding::new(31, text).into());
        }
        session.look_back()
    }),
];

/// Single items, and several together; the strings are what a worker of this project's own tests
/// may take offence at.
fn in_order(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready(trial)?;
    session.needs(&["echo"])?;
    let item = |number: i32| match number % 7 {
        3 => Value::text("bad"),
        5 => Value::text("good"),
        _ => Value::Integer(number.into()),
    };
    let calls = [1, 1, 7, 1, 1, 14, 1, 1];
    let mut first = 0;
    for items in calls {
        let items: Vec<_> = (first..first + items).map(|number| vec![item(number)]).collect();
        first += i32::try_from(items.len()).unwrap_or_default();
        session.call("echo", &items)?;
    }
    for number in 0..first {
        session.echoes(&item(number))?;
    }
    session.is_silent(MOMENT)?;
    // One at a time, so that nothing else is there to be read.
    for number in 0..9 {
        session.call("echo", &[vec![item(number)]])?;
        session.echoes(&item(number))?;
    }
    session.is_silent(Duration::from_millis(50))?;
    session.finish()
}

fn in_pieces(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready(trial)?;
    session.needs(&["echo"])?;
    let (_, call) =
        session.prepare("echo", [], &[vec![Value::text("in pieces")], vec![Value::Integer(2)]]);
    let (last, start) = call.split_last().unwrap_or((&0, &[]));
    for byte in start {
        session.send(&[*byte])?;
        session.is_silent(Duration::from_millis(1)).map_err(|stop| match stop {
            Stop::Broken(finding) => Stop::from(Finding { requirement: 11, ..*finding }),
            stop => stop,
        })?;
    }
    session.send(&[*last])?;
    session.gives(11, &Value::text("in pieces"))?;
    session.gives(11, &Value::Integer(2))?;
    let mut many = Vec::new();
    for number in 0..2000 {
        let (_, call) = session.prepare("echo", [], &[vec![Value::Integer(number)]]);
        many.extend(call);
    }
    // Cut anywhere.
    let cut = many.len() / 3 + 2;
    session.send(many.get(..cut).unwrap_or_default())?;
    session.gives(11, &Value::Integer(0))?;
    session.send(many.get(cut..).unwrap_or_default())?;
    for number in 1..2000 {
        session.gives(11, &Value::Integer(number))?;
    }
    session.finish()
}

fn keywords(trial: &Trial<'_>) -> Result<(), Stop> {
    let mut session = Session::ready(trial)?;
    session.needs(&["sleep"])?;
    let id = session.awaits(3);
    let fields = [
        ("id", Value::Integer(id.into())),
        ("function", Value::text("sleep")),
        ("items", Value::Integer(3)),
        ("keywords", Value::Boolean(true)),
    ];
    let seconds = ("seconds", Value::Integer(0));
    let value = ("value", Value::text("by name"));
    let payload = [
        Value::Array(vec![Value::Integer(0), Value::text("by place")]),
        Value::Map(vec![]),
        Value::Array(vec![Value::Integer(0)]),
        Value::fields([value.clone()]),
        Value::Array(vec![]),
        Value::fields([value, seconds]),
    ];
    session.send(&frame(&envelope("call", fields), &payload))?;
    session.gives(61, &Value::text("by place"))?;
    for _ in 0..2 {
        let answer = session.answer()?;
        match &answer {
            Answer::Value(given) if *given == Value::text("by name") => {}
            Answer::Error { kind, .. } if kind == INVALID_ARGUMENTS => {
                trial.remark(61, "it takes no keyword arguments");
            }
            answer => {
                return Err(Finding::new(61, "a call with keyword arguments had another answer")
                    .expected_text("the value \"by name\", or an error of kind `InvalidArguments`")
                    .came_text(answer.to_string())
                    .into());
            }
        }
    }
    session.finish()
}
