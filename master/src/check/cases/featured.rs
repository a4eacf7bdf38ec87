//! The features `progress` and `cancel`.

use std::time::Duration;

use protocol::message::{feature, kind::CANCELLED};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, Session},
    trial::Case,
};
use protocol::strict::{Value, envelope, frame};

pub(super) const CASES: &[Case] = &[
    Case::new("no progress where that was not agreed on", &[38], |trial| {
        let mut session = Session::ready(trial)?;
        if session.function("tick").is_none() {
            session.needs_features(&[feature::PROGRESS])?;
        }
        session.needs(&["tick", "echo"])?;
        session.call("tick", &[ticks(3, 0.06)])?;
        session.gives(61, &Value::Integer(3))?;
        session.finish()
    }),
    Case::new("progress is about the item in hand", &[38], |trial| {
        let mut session = Session::ready_with(trial, &[feature::PROGRESS])?;
        session.needs(&["tick"])?;
        let tells = session.function("tick").is_some_and(|function| function.progress);
        session.call("tick", &[ticks(3, 0.06), ticks(2, 0.06)])?;
        session.gives(61, &Value::Integer(3))?;
        session.gives(61, &Value::Integer(2))?;
        if tells && session.progress == 0 {
            let text = "`tick` says that it reports progress, and nothing came";
            return Err(Finding::new(61, text).into());
        }
        session.finish()
    }),
    Case::new("progress does not come too often", &[39], |trial| {
        let mut session = Session::ready_with(trial, &[feature::PROGRESS])?;
        session.needs(&["tick"])?;
        // How often they come is looked at with each.
        session.call("tick", &[ticks(200, 0.001)])?;
        session.gives(61, &Value::Integer(200))?;
        session.finish()
    }),
    Case::new("items in order, where progress was agreed on", &[38, 39], |trial| {
        let mut session = Session::ready_with(trial, &[feature::PROGRESS])?;
        session.needs(&["echo"])?;
        for text in ["good", "bad", "good"] {
            session.call("echo", &[vec![Value::text(text)]])?;
            session.echoes(&Value::text(text))?;
        }
        session.finish()
    }),
    Case::new("an item that has not ended when it is cancelled is answered", &[40], |trial| {
        let mut session = Session::ready_with(trial, &[feature::CANCEL])?;
        session.needs(&["echo", "sleep"])?;
        // Whether a function can be cancelled or not.
        let text = Value::text("slept");
        let id = session.call("sleep", &[vec![Value::float(0.5), text.clone()]])?;
        session.is_silent(Duration::from_millis(100))?;
        session.send(&cancel(id, 0))?;
        match session.answer_for(40, trial.patience)? {
            Answer::Value(value) if value != text => {
                let finding = Finding::new(40, "an item that was cancelled had another value");
                return Err(finding.came_text(value.to_string()).into());
            }
            _ => {}
        }
        for text in ["good", "bad", "good"] {
            let id = session.call("echo", &[vec![Value::text(text)]])?;
            if !session.has_answer(Duration::from_millis(300))? {
                session.send(&cancel(id, 0))?;
                if !session.has_answer(trial.patience)? {
                    let text = "an item that was cancelled was not answered";
                    return Err(Finding::new(40, text).into());
                }
            }
            session.answer()?;
        }
        session.finish()
    }),
    Case::new("an item that is cancelled ends soon, and is answered", &[40], |trial| {
        let mut session = Session::ready_with(trial, &[feature::CANCEL])?;
        session.needs(&["tick", "echo"])?;
        if !session.function("tick").is_some_and(|function| function.cancel) {
            return Err(Stop::Without("`tick` does not say that it can be cancelled".into()));
        }
        let id = session.call("tick", &[ticks(2000, 0.05), ticks(1, 0.01)])?;
        session.is_silent(Duration::from_millis(150))?;
        session.send(&cancel(id, 0))?;
        match session.answer_within(Duration::from_secs(5))? {
            Answer::Error { kind, .. } if kind == CANCELLED => {}
            answer => {
                trial.remark(40, format!("the kind `{CANCELLED}` is recommended; came {answer}"))
            }
        }
        session.gives(41, &Value::Integer(1))?;
        session.call("echo", &[vec![Value::Integer(5)]])?;
        session.gives(41, &Value::Integer(5))?;
        session.finish()
    }),
    Case::new("a cancel of anything else is ignored", &[41], |trial| {
        let mut session = Session::ready_with(trial, &[feature::CANCEL])?;
        session.needs(&["sleep", "echo"])?;
        let first = session.call("echo", &[vec![Value::Integer(1)]])?;
        session.gives(41, &Value::Integer(1))?;
        // Answered, never there, and not begun.
        session.send(&cancel(first, 0))?;
        session.send(&cancel(first, 7))?;
        session.send(&cancel(u64::MAX, 0))?;
        let item = |seconds, text| vec![Value::float(seconds), Value::text(text)];
        let second = session.call("sleep", &[item(0.2, "a"), item(0.0, "b")])?;
        session.send(&cancel(second, 1))?;
        session.call("echo", &[vec![Value::Integer(2)]])?;
        session.gives(41, &Value::text("a"))?;
        session.gives(41, &Value::text("b"))?;
        session.gives(41, &Value::Integer(2))?;
        session.finish()
    }),
];

fn ticks(times: i128, seconds: f64) -> Vec<Value> {
    vec![Value::Integer(times), Value::float(seconds)]
}

fn cancel(id: u64, item: u32) -> Vec<u8> {
    let fields = [("id", Value::Integer(id.into())), ("item", Value::Integer(item.into()))];
    frame(&envelope("cancel", fields), &[])
}
