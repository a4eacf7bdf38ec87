//! Shared results and shared arguments.

use std::time::Duration;

use protocol::message::feature;

use super::malformed::is_refused;
use crate::check::{
    finding::{Finding, Stop},
    session::{Session, SharedOutput, broken_here},
    shared::SharedFile,
    trial::{Case, Trial},
};
use protocol::strict::{Form, Value, envelope, frame};

/// Where the room for large results begins.
const RESULTS: u64 = 128 << 10;

/// The size of that room.
const ROOM: u64 = 8 << 20;

pub(super) const CASES: &[Case] = &[
    Case::new("large results", &[52, 54, 56], |trial| {
        let mut session = Session::ready_keeping(trial, RESULTS + ROOM, Some(RESULTS))?;
        session.needs(&["echo"])?;
        for length in [10, 1000, 16 << 10, 100_000, 1 << 20, 3 << 20, 10 << 20] {
            for byte in [1, 2] {
                let value = Value::Binary(vec![byte; length]);
                session.call("echo", &[vec![value.clone()]])?;
                session.gives_within(session.patience_for(length), 54, &value)?;
            }
        }
        if session.shared_results.iter().any(|&(_, length)| length < 4096) {
            trial.note(Finding::new(56, "it shares results of less than 4096 bytes"));
        } else {
            trial.confirm(56);
        }
        session.finish()
    }),
    Case::new("items in order, where large results may be shared", &[27, 52], |trial| {
        let mut session = Session::ready_keeping(trial, RESULTS + ROOM, Some(RESULTS))?;
        session.needs(&["echo"])?;
        for text in ["good", "bad", "good"] {
            session.call("echo", &[vec![Value::text(text)]])?;
            session.echoes(&Value::text(text))?;
        }
        session.is_silent(Duration::from_millis(100))?;
        session.finish()
    }),
    Case::new("a shared result stays until it is taken", &[55], |trial| {
        let mut session = Session::ready_keeping(trial, RESULTS + ROOM, Some(RESULTS))?;
        session.needs(&["echo"])?;
        session.takes_results = false;
        let mut before: Vec<((u64, u64), Vec<u8>)> = Vec::new();
        for byte in 0..24 {
            let value = Value::Binary(vec![byte; 1 << 20]);
            session.call("echo", &[vec![value.clone()]])?;
            session.gives_within(session.patience_for(1 << 20), 55, &value)?;
            let Some(SharedOutput { file, .. }) = &session.shared_output else { break };
            for ((offset, length), bytes) in &before {
                if file.read(*offset, *length).map_err(broken_here)? != *bytes {
                    let text = "the bytes of a shared result changed before it was taken";
                    return Err(Finding::new(55, text).into());
                }
            }
            if let Some(&place) = session.shared_results.get(before.len()) {
                let bytes = file.read(place.0, place.1).map_err(broken_here)?;
                before.push((place, bytes));
            }
        }
        if before.is_empty() {
            return Err(Stop::Without("it shares no results".into()));
        }
        session.finish()
    }),
    Case::new("a room that cannot be one", &[53], |trial| {
        for results in [RESULTS + 1, 0, RESULTS + ROOM, u64::MAX - 4095] {
            let mut session = Session::greeted(trial)?;
            session.needs_features(&[feature::SHARED_OUTPUT, feature::SHARED_RESULTS])?;
            session.needs(&["echo"])?;
            let file = SharedFile::new(RESULTS + ROOM).map_err(broken_here)?;
            let place = [("shared_output", file.place(Some(results)))];
            session.welcome(&[feature::SHARED_OUTPUT, feature::SHARED_RESULTS], place, &[])?;
            session.get_ready()?;
            let value = Value::Binary(vec![7; 1 << 20]);
            for _ in 0..3 {
                session.call("echo", &[vec![value.clone()]])?;
                session.gives(53, &value).map_err(as_53)?;
            }
            let numbers = file.numbers().map_err(broken_here)?;
            if numbers.base != 0 || numbers.held != 0 {
                let text = format!("with `results` at {results} it uses the shared output");
                return Err(Finding::new(53, text).into());
            }
            session.finish()?;
        }
        Ok(())
    }),
    Case::new("large arguments", &[57, 59], arguments),
    Case::new("a file of arguments that is not the right one", &[57], |trial| {
        for wrong in ["path", "key", "nothing"] {
            let mut session = Session::greeted(trial)?;
            session.needs_features(&[feature::SHARED_ARGUMENTS])?;
            session.needs(&["echo"])?;
            let file = SharedFile::new(ROOM).map_err(broken_here)?;
            let path = if wrong == "path" { "/nowhere/at/all".to_owned() } else { file.path() };
            let key = if wrong == "key" { file.key ^ 1 } else { file.key };
            let place = [("path", Value::text(&path)), ("key", Value::Integer(key.into()))];
            let field = (wrong != "nothing").then(|| ("shared_arguments", Value::fields(place)));
            session.welcome(&[feature::SHARED_ARGUMENTS], field, &[])?;
            if session.get_ready()?.flag("shared_arguments") {
                let text = format!("it says that it has the file, which has another {wrong}");
                return Err(Finding::new(57, text).into());
            }
            session.call("echo", &[vec![Value::Integer(1)]])?;
            session.gives(57, &Value::Integer(1))?;
            session.finish()?;
        }
        Ok(())
    }),
    Case::new("malformed shared arguments", &[58], |trial| {
        let item = Value::Array(vec![Value::Nil]).encoded(Form::Shortest);
        let inside = item.len() as u64;
        let samples = [
            ("a range of no bytes", 4096, 0, vec![]),
            ("a range behind the file", ROOM, 2, vec![]),
            ("a range across the end of the file", ROOM - 1, 2, vec![]),
            ("a range that is too long", 4096, u64::MAX, vec![]),
            ("a payload in the frame besides", 4096, inside, vec![Value::Array(vec![])]),
            ("an item that is cut short", 4096, inside - 1, vec![]),
            ("bytes behind the item", 4096, inside + 1, vec![]),
        ];
        for (name, offset, length, payload) in samples {
            let (mut session, file) = sharing(trial)?;
            file.write(4096, &item).map_err(broken_here)?;
            let call = shared_call(session.awaits(1), offset, length, &payload);
            session.send(&call)?;
            is_refused(trial, session, 58).map_err(|stop| match stop {
                Stop::Broken(finding) => {
                    let problem = format!("{name}: {}", finding.problem);
                    Finding { problem, ..*finding }.into()
                }
                stop => stop,
            })?;
        }
        Ok(())
    }),
];

/// What goes wrong here goes wrong because of the room.
fn as_53(stop: Stop) -> Stop {
    match stop {
        Stop::Broken(finding) => Finding { requirement: 53, ..*finding }.into(),
        stop => stop,
    }
}

/// A worker that has the file of shared arguments.
fn sharing<'a>(trial: &'a Trial<'a>) -> Result<(Session<'a>, SharedFile), Stop> {
    let mut session = Session::greeted(trial)?;
    session.needs_features(&[feature::SHARED_ARGUMENTS])?;
    session.needs(&["echo", "remember", "recall"])?;
    let file = SharedFile::new(ROOM).map_err(broken_here)?;
    let place = [("shared_arguments", file.arguments_place())];
    session.welcome(&[feature::SHARED_ARGUMENTS], place, &[])?;
    if !session.get_ready()?.flag("shared_arguments") {
        return Err(Stop::Without("it did not map the file of the shared arguments".into()));
    }
    Ok((session, file))
}

fn shared_call(id: u64, offset: u64, length: u64, payload: &[Value]) -> Vec<u8> {
    shared_call_of("echo", id, offset, length, payload)
}

fn shared_call_of(function: &str, id: u64, offset: u64, length: u64, payload: &[Value]) -> Vec<u8> {
    let range =
        [("offset", Value::Integer(offset.into())), ("length", Value::Integer(length.into()))];
    let fields = [
        ("id", Value::Integer(id.into())),
        ("function", Value::text(function)),
        ("shared", Value::fields(range)),
    ];
    frame(&envelope("call", fields), payload)
}

fn arguments(trial: &Trial<'_>) -> Result<(), Stop> {
    let (mut session, file) = sharing(trial)?;
    let share = |session: &mut Session<'_>, function, value: &Value, offset: u64| {
        let item = Value::Array(vec![value.clone()]).encoded(Form::Shortest);
        file.write(offset, &item).map_err(broken_here)?;
        let call = shared_call_of(function, session.awaits(1), offset, item.len() as u64, &[]);
        session.send(&call)
    };
    let large = Value::Binary(vec![0x5a; 1 << 20]);
    for value in [Value::Integer(1), Value::text("two"), large.clone()] {
        for offset in [8, 4096, 1_000_001] {
            share(&mut session, "echo", &value, offset)?;
            session.gives(58, &value)?;
        }
    }
    // What was remembered is the worker's own.
    share(&mut session, "remember", &large, 4096)?;
    session.gives(61, &Value::Nil)?;
    file.write(4096, &vec![0xc1; 2 << 20]).map_err(broken_here)?;
    session.call("recall", &[vec![]])?;
    session.gives(59, &large)?;
    session.finish()
}
