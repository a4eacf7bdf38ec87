//! `master replay`: a recording played to another worker.

use std::{
    fs::File,
    io::{self, Write as _},
};

use super::{
    Refusal,
    arguments::ReplayArguments,
    output::{Closed, complain, count},
    search_path,
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
    let ReplayArguments { file, worker, timeout, tolerance, start_timeout, surroundings } =
        arguments;
    let name = file.display();
    let recording = File::open(&file)
        .map_err(|error| Refusal::usage(format!("cannot open the recording {name}: {error}")))?;
    let command = worker.resolve(&search_path()?).map_err(Refusal::pool)?;
    let options = ReplayOptions { tolerance, timeout, start_timeout };
    let mut around = Surroundings::default();
    surroundings.tell(&mut around);
    around.check()?;
    let mut closed = None;
    let tell = |difference: &Difference| {
        let line = format!("{}\n", to_text(difference));
        // Who reads no more still wants the status.
        if closed.is_none() {
            closed = io::stdout().write_all(line.as_bytes()).err();
        }
    };
    let summary = match replay_in(recording, &command, &around, &options, tell) {
        Ok(summary) => summary,
        Err(error @ ReplayError::Start { .. }) => return Err(Refusal::pool(error)),
        Err(error) => return Err(Refusal::usage(format!("{name}: {error}"))),
    };
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
