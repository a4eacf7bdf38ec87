//! Bodies up to the largest, which take gigabytes of memory at both ends.

use std::time::Duration;

use protocol::{limits::MAX_FRAME, message::kind::INVALID_RESULT};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, Session},
    trial::{Case, Trial},
};
use protocol::strict::Value;

/// A gigabyte takes its time in every language.
const LONG: Duration = Duration::from_secs(120);

/// How many bytes a call has beside its one value, at most.
const AROUND: usize = 64;

pub(super) const CASES: &[Case] = &[
    Case::new("a call as large as a frame may be", &[60], |trial| {
        let mut session = begin(trial)?;
        session.needs(&["remember", "echo"])?;
        let value = Value::Binary(vec![0; MAX_FRAME - AROUND]);
        session.call("remember", &[vec![value]])?;
        match session.answer_within(LONG) {
            Ok(Answer::Value(Value::Nil)) => {}
            Ok(answer) => {
                let text = "a call as large as a frame may be had another answer";
                trial.note(
                    Finding::new(60, text).expected_text("nil").came_text(answer.to_string()),
                );
            }
            Err(Stop::Broken(finding)) => {
                trial.note(Finding { requirement: 60, ..*finding });
                return Ok(());
            }
            Err(stop) => return Err(stop),
        }
        session.call("echo", &[vec![Value::Integer(1)]])?;
        session.gives_within(LONG, 60, &Value::Integer(1))?;
        session.finish()
    })
    .alone(),
    Case::new("a result too large for a frame", &[21], |trial| {
        let mut session = begin(trial)?;
        session.needs(&["repeat", "echo"])?;
        let text = Value::text(&"x".repeat(1024));
        let times = Value::Integer((MAX_FRAME / 1024) as i128 + 1);
        session.call("repeat", &[vec![text, times]])?;
        session.fails_within(LONG, 21, Some(INVALID_RESULT))?;
        session.call("echo", &[vec![Value::Integer(1)]])?;
        session.gives_within(LONG, 21, &Value::Integer(1))?;
        session.finish()
    })
    .alone(),
    Case::new("a failure too large for a frame", &[34], |trial| {
        let mut session = begin(trial)?;
        session.needs(&["fail", "echo"])?;
        let text = Value::text(&"x".repeat(1024));
        let times = Value::Integer((MAX_FRAME / 1024) as i128 + 1);
        session.call("fail", &[vec![text, Value::text("Large"), times]])?;
        let message = session.fails_within(LONG, 34, Some("Large"))?;
        // Otherwise there was nothing to shorten, or nothing is left of it.
        if message.len() < 1024 || !message.starts_with("xxxx") {
            let text = "the message is not the start of the one that `fail` was to give";
            let start: String = message.chars().take(200).collect();
            return Err(Finding::new(34, text).came_text(start).into());
        }
        session.call("echo", &[vec![Value::Integer(1)]])?;
        session.gives_within(LONG, 34, &Value::Integer(1))?;
        session.finish()
    })
    .alone(),
];

fn begin<'a>(trial: &'a Trial<'a>) -> Result<Session<'a>, Stop> {
    match trial.large {
        true => Session::ready(trial),
        false => Err(Stop::Impossible("bodies of a gigabyte were left out, as was asked".into())),
    }
}
