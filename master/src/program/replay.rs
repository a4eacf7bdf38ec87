//! `master replay`: a recording played to another worker.

use std::{
    fs::File,
    io::{self, Write as _},
};

use serde_json::json;

use super::{
    Refusal,
    arguments::ReplayArguments,
    output::{Closed, complain, count},
    search_path, signals,
    status::ExitStatus,
};
use crate::{
    driver::Surroundings,
    recording::{Notation, Value},
    replay::{Answer, Difference, Different, ReplayError, ReplayOptions, ReplaySummary, replay_in},
};

/// Bytes of a call and of each value that are printed.
const WIDTH: usize = 200;

pub(super) fn replay(arguments: ReplayArguments) -> Result<ExitStatus, Refusal> {
    let ReplayArguments { file, worker, timeout, tolerance, json, start_timeout, surroundings } =
        arguments;
    let name = file.display();
    let recording = File::open(&file)
        .map_err(|error| Refusal::usage(format!("cannot open the recording {name}: {error}")))?;
    let command = worker.resolve(&search_path()?).map_err(Refusal::pool)?;
    let options = ReplayOptions { tolerance, timeout, start_timeout };
    let mut around = Surroundings::default();
    surroundings.tell(&mut around);
    around.check()?;
    signals::hear_children()?;
    let mut closed = None;
    let mut print = |line: &str| {
        // Who reads no more still wants the status.
        if closed.is_none() {
            closed = io::stdout().write_all(format!("{line}\n").as_bytes()).err();
        }
    };
    let tell = |difference: &Difference| {
        print(&if json { to_json(difference) } else { to_text(difference) });
    };
    let summary = match replay_in(recording, &command, &around, &options, tell) {
        Ok(summary) => summary,
        Err(error @ ReplayError::Start { .. }) => return Err(Refusal::pool(error)),
        Err(error) => return Err(Refusal::usage(format!("{name}: {error}"))),
    };
    if json {
        print(&summary_json(&summary).to_string());
    }
    tell_summary(&summary);
    let status = match summary.different {
        0 => ExitStatus::Success,
        _ => ExitStatus::TaskFailed,
    };
    Ok(closed.map_or(status, |error| status.combine(Closed::from(error).report())))
}

fn to_text(difference: &Difference) -> String {
    let Difference { worker, slot, what } = difference;
    let what = match what {
        Different::MissingFunction(function) => format!("there is no function `{function}`"),
        Different::Initializer { recorded, came } => {
            let recorded = recorded.as_ref().map_or("was ready".into(), answer_to_text);
            format!("recorded: {recorded}; now: {came}")
        }
        Different::Answer { call, item, function, arguments, recorded, came, place } => {
            let notation = Notation::SHORT.up_to(WIDTH);
            let text = match Value::read_all(arguments) {
                Ok(arguments) => notation.call(function, &arguments),
                Err(_) => function.clone(),
            };
            let recorded = answer_to_text(recorded);
            let came = came.as_ref().map_or_else(Clone::clone, answer_to_text);
            let place = match place.as_deref() {
                None | Some("$") => String::new(),
                Some(place) => format!(", at {place}"),
            };
            format!("call {call}, item {item}, {text}: recorded {recorded}, now {came}{place}")
        }
        Different::End { recorded, came } => {
            let came = came.map_or("did not end".to_owned(), |exit| exit.to_string());
            format!("recorded: {recorded} when it was asked to leave; now: {came}")
        }
    };
    format!("worker {slot}/{worker}: {what}")
}

fn to_json(difference: &Difference) -> String {
    let Difference { worker, slot, what } = difference;
    let text = |text: &str| json!(text).to_string();
    let fields = match what {
        Different::MissingFunction(function) => format!("\"missing_function\":{}", text(function)),
        Different::Initializer { recorded, came } => {
            let recorded = recorded.as_ref().map_or("null".to_owned(), answer_to_json);
            format!("\"initializer\":{{\"recorded\":{recorded},\"now\":{}}}", text(came))
        }
        Different::Answer { call, item, function, arguments, recorded, came, place } => {
            let arguments = Notation::EXACT.call_fields(function, arguments);
            let came = match came {
                Ok(came) => answer_to_json(came),
                Err(why) => format!("{{\"missing\":{}}}", text(why)),
            };
            let place = place.as_deref();
            let place = place.map_or(String::new(), |place| format!(",\"at\":{}", text(place)));
            format!(
                "\"call\":{call},\"item\":{item},{arguments},\"recorded\":{},\"now\":{came}{place}",
                answer_to_json(recorded)
            )
        }
        Different::End { recorded, came } => {
            let came = came.map_or("null".to_owned(), |exit| text(&exit.to_string()));
            format!("\"end\":{{\"recorded\":{},\"now\":{came}}}", text(&recorded.to_string()))
        }
    };
    format!("{{\"worker\":{worker},\"slot\":{slot},{fields}}}")
}

fn answer_to_json(answer: &Answer) -> String {
    match answer {
        Answer::Value(bytes) => format!("{{{}}}", Notation::EXACT.value_field(bytes)),
        Answer::Failure { kind, message } => {
            json!({ "error": { "kind": kind, "message": message } }).to_string()
        }
    }
}

fn summary_json(summary: &ReplaySummary) -> serde_json::Value {
    let ReplaySummary { workers, answers, different, other_words, notes } = summary;
    json!({ "summary": {
        "workers": workers,
        "answers": answers,
        "different": different,
        "other_messages": other_words,
        "notes": notes,
    }})
}

fn answer_to_text(answer: &Answer) -> String {
    match answer {
        Answer::Value(bytes) => match Value::read(bytes) {
            Ok((value, _)) => Notation::SHORT.up_to(WIDTH).text(&value),
            Err(error) => format!("what is malformed ({error})"),
        },
        Answer::Failure { kind, message } => {
            let message = message.lines().next().unwrap_or_default();
            format!("an error ({kind}: {message})")
        }
    }
}

fn tell_summary(summary: &ReplaySummary) {
    let ReplaySummary { workers, answers, different, other_words, notes } = summary;
    let workers = count(*workers, "worker");
    let answers = count(*answers, "answer");
    let differences = count(*different, "difference");
    complain(&format!("{answers} of {workers} compared: {differences}"));
    if *other_words > 0 {
        let errors = count(*other_words, "error");
        complain(&format!("{errors} of the same kind with another message"));
    }
    notes.iter().for_each(|note| complain(note));
}
