//! How a worker leaves.

use std::{process::ExitStatus, time::Duration};

use crate::check::{
    finding::{Finding, Stop},
    session::{Answer, Session},
    subject::OtherProcess,
    trial::{Case, Trial},
};
use protocol::strict::{Value, envelope, frame};

pub(super) const CASES: &[Case] = &[
    Case::new("the socket closes while it waits for a call", &[1], |trial| {
        let mut session = Session::ready(trial)?;
        session.wire.close();
        let status = session.exits(1)?;
        remark_status(trial, 1, status);
        session.look_back()
    }),
    Case::new("the stream ends while it waits for a call", &[1], |trial| {
        let mut session = Session::ready(trial)?;
        session.wire.say_end();
        let status = session.leaves(1)?;
        remark_status(trial, 1, status);
        session.look_back()
    }),
    Case::new("the socket closes while it waits for the welcome", &[1], |trial| {
        let mut session = Session::greeted(trial)?;
        session.wire.close();
        session.exits(1)?;
        session.look_back()
    }),
    Case::new("the socket closes while calls wait behind another", &[2], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["sleep", "print"])?;
        session.call("sleep", &[vec![Value::float(0.5)]])?;
        let text = "begun after the end";
        session.call("print", &[vec![Value::text(text)]])?;
        // So that the first one has begun.
        session.is_silent(Duration::from_millis(100))?;
        session.wire.close();
        session.exits(2)?;
        if session.subject.output().into_iter().any(|stream| stream.contains(text)) {
            return Err(Finding::new(2, "an item began after the socket had closed").into());
        }
        session.look_back()
    }),
    Case::new("the socket closes in the middle of a call", &[3], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["sleep"])?;
        // One that goes on goes with this.
        if close_in_a_call(trial, &mut session)? { session.look_back() } else { Ok(()) }
    }),
    Case::new("a process that a worker has started, when its socket closes", &[3], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["spawn", "sleep"])?;
        let lasts = trial.patience.as_secs().saturating_add(60);
        session.call("spawn", &[vec![Value::Integer(lasts.into())]])?;
        let answer = session.answer()?;
        let id = match &answer {
            Answer::Value(Value::Integer(id)) => *id,
            _ => 0,
        };
        let Some(process) = OtherProcess::of(id) else {
            return Err(Finding::new(61, "`spawn` did not give the id of a process that runs")
                .came_text(answer.to_string())
                .into());
        };
        if close_in_a_call(trial, &mut session)? && !process.ends(trial.patience) {
            let seconds = trial.patience.as_secs_f64();
            let text =
                format!("a process that it had started was still there {seconds:.1} s after it");
            trial.note(Finding::new(3, text));
        }
        Ok(())
    }),
    Case::new("a drain behind calls", &[23, 35], |trial| {
        let mut session = Session::ready(trial)?;
        session.needs(&["echo", "sleep"])?;
        let mut all = session.prepare("sleep", [], &[vec![Value::float(0.2)]]).1;
        for number in 0..50 {
            all.extend(session.prepare("echo", [], &[vec![Value::Integer(number)]]).1);
        }
        all.extend(frame(&envelope("drain", []), &[]));
        session.send(&all)?;
        session.gives(35, &Value::Nil)?;
        for number in 0..50 {
            session.gives(35, &Value::Integer(number))?;
        }
        let status = session.leaves(23)?;
        if !status.success() {
            let text = format!("it ended with another status than 0 after a drain: {status}");
            return Err(Finding::new(23, text).into());
        }
        session.look_back()
    }),
];

/// Closes the socket in the middle of a call that takes long. Tells whether the worker ends by that,
/// as it should.
fn close_in_a_call(trial: &Trial<'_>, session: &mut Session<'_>) -> Result<bool, Stop> {
    session.call("sleep", &[vec![Value::Integer(600)]])?;
    session.is_silent(Duration::from_millis(100))?;
    session.wire.close();
    let ends = session.subject.exit(trial.patience).is_some();
    if !ends {
        let seconds = trial.patience.as_secs_f64();
        let text = format!("it went on with its call {seconds:.1} s after its socket had closed");
        trial.note(Finding::new(3, text));
    }
    Ok(ends)
}

fn remark_status(trial: &Trial<'_>, requirement: u32, status: ExitStatus) {
    if !status.success() {
        trial
            .remark(requirement, format!("status 0 is usual when the socket closes, not {status}"));
    }
}
