//! `master frames`: a recording, readable.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use serde_json::json;

use super::{
    Refusal, arguments::FramesArguments, output::Closed, output::complain, status::ExitStatus,
};
use crate::{
    recording::{Damage, Direction, Entry, Message, Notation, Reader, Record, Value},
    report::Exit,
};

/// Characters of the fields of a message, and of its payload, that are printed unless all is
/// asked for.
const WIDTH: usize = 120;

pub(super) fn print(arguments: &FramesArguments) -> Result<ExitStatus, Refusal> {
    let mut reader = open(&arguments.file)?;
    let mut printer = Printer {
        arguments,
        workers: HashMap::new(),
        notation: match (arguments.json, arguments.all) {
            (true, _) => Notation::EXACT,
            (false, true) => Notation::SHORT,
            (false, false) => Notation::SHORT.up_to(WIDTH),
        },
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let ended = loop {
        let line = match reader.next() {
            Ok(Some(entry)) => printer.line(&entry),
            Ok(None) => break Ok(()),
            Err(damage) => break Err(damage),
        };
        if let Some(line) = line
            && let Err(error) = writeln!(output, "{line}")
        {
            return Ok(Closed::from(error).report());
        }
    };
    if let Err(error) = output.flush() {
        return Ok(Closed::from(error).report());
    }
    drop(output);
    Ok(tell_end(&arguments.file, ended, reader.is_complete()))
}

/// Opens a recording and reads its header.
pub(super) fn open(path: &Path) -> Result<Reader<File>, Refusal> {
    let name = path.display();
    let file = File::open(path)
        .map_err(|error| Refusal::usage(format!("cannot open the recording {name}: {error}")))?;
    Reader::new(file)
        .map_err(|damage| Refusal::usage(format!("cannot read the recording {name}: {damage}")))
}

fn tell_end(path: &Path, ended: Result<(), Damage>, complete: bool) -> ExitStatus {
    let name = path.display();
    match ended {
        Ok(()) if complete => ExitStatus::Success,
        Ok(()) => {
            complain(&format!(
                "the recording {name} has no end: `master` was killed, or could not write it on"
            ));
            ExitStatus::Success
        }
        Err(damage) => {
            complain(&format!("cannot read on in the recording {name}: {damage}"));
            ExitStatus::Usage
        }
    }
}

struct Printer<'a> {
    arguments: &'a FramesArguments,
    /// The seat and the process id of each worker.
    workers: HashMap<u64, (u32, Option<u32>)>,
    notation: Notation,
}

impl Printer<'_> {
    /// The line of a record, if it is to be printed.
    fn line(&mut self, entry: &Entry<'_>) -> Option<String> {
        let worker = match entry.record {
            Record::Started { worker, slot, pid, .. } => {
                self.workers.insert(worker, (slot, Some(pid)));
                worker
            }
            Record::NotStarted { worker, slot, .. } => {
                self.workers.insert(worker, (slot, None));
                worker
            }
            Record::Frame { worker, .. }
            | Record::Rest { worker, .. }
            | Record::Ended { worker, .. } => worker,
            _ => return None,
        };
        let slot = self.workers.get(&worker).map(|(slot, _)| *slot);
        let FramesArguments { slot: slots, worker: workers, errors, json, all, .. } =
            self.arguments;
        let is_asked_for = (slots.is_empty() || slot.is_some_and(|slot| slots.contains(&slot)))
            && (workers.is_empty() || workers.contains(&worker));
        if !is_asked_for {
            return None;
        }
        // Each value takes a character at least, and more are not seen.
        let most = if *json || *all { usize::MAX } else { WIDTH + 1 };
        let message = match &entry.record {
            Record::Frame { body, .. } => Some(Message::read_start(body, most)),
            _ => None,
        };
        let is_wanted = !errors || is_error(&entry.record, message.as_ref());
        is_wanted.then(|| match json {
            true => self.json(entry, worker, message),
            false => self.text(entry, worker, message),
        })
    }

    fn text(
        &self,
        entry: &Entry<'_>,
        worker: u64,
        message: Option<Result<Message<'_>, String>>,
    ) -> String {
        let slot = self.workers.get(&worker).map_or("?".into(), |(slot, _)| slot.to_string());
        let (arrow, what) = match &entry.record {
            Record::Started { pid, command, .. } => {
                ("--", format!("started, pid {pid}: {command}"))
            }
            Record::NotStarted { command, reason, .. } => {
                ("--", format!("could not be started: {command}: {reason}"))
            }
            Record::Frame { direction, body, .. } => {
                let arrow = match direction {
                    Direction::ToWorker => "->",
                    Direction::FromWorker => "<-",
                };
                let what = match message {
                    Some(Ok(message)) => self.message(&message),
                    Some(Err(problem)) => {
                        let body = self.notation.text(&Value::Binary(body));
                        format!("no message ({problem}): {body}")
                    }
                    None => String::new(),
                };
                (arrow, what)
            }
            Record::Rest { bytes, .. } => {
                let rest = self.notation.text(&Value::Binary(bytes));
                ("<-", format!("no whole frame, {} bytes: {rest}", bytes.len()))
            }
            Record::Ended { exit, .. } => {
                let how = exit.map_or("ended, nobody knows how".into(), |exit| exit.to_string());
                ("--", how)
            }
            Record::End | Record::Other(_) => ("--", String::new()),
        };
        format!("{:>10.6} {slot}/{worker} {arrow} {what}", seconds(entry.at))
    }

    fn message(&self, message: &Message<'_>) -> String {
        let mut fields = String::new();
        for (name, value) in &message.fields {
            let name = self.notation.name(name.as_str().unwrap_or("?"));
            let _never_fails = write!(fields, " {name}={}", self.notation.text(value));
        }
        let payload = self.notation.texts(&message.payload);
        let space = if payload.is_empty() { "" } else { "  " };
        format!("{}{fields}{space}{payload}", self.notation.name(message.name))
    }

    fn json(
        &self,
        entry: &Entry<'_>,
        worker: u64,
        message: Option<Result<Message<'_>, String>>,
    ) -> String {
        let (slot, pid) = self.workers.get(&worker).copied().unzip();
        let mut line = format!("{{\"at\":{:.6},\"worker\":{worker}", seconds(entry.at));
        let mut add = |name: &str, text: &str| {
            let _never_fails = write!(line, ",\"{name}\":{text}");
        };
        let hexadecimal = |bytes| self.notation.text(&Value::Binary(bytes));
        let text = |text: &str| json!(text).to_string();
        add("slot", &json!(slot).to_string());
        add("pid", &json!(pid.flatten()).to_string());
        match &entry.record {
            Record::Started { command, .. } => {
                add("event", "\"started\"");
                add("command", &text(command));
            }
            Record::NotStarted { command, reason, .. } => {
                add("event", "\"not_started\"");
                add("command", &text(command));
                add("reason", &text(reason));
            }
            Record::Frame { direction, body, .. } => {
                add(
                    "direction",
                    match direction {
                        Direction::ToWorker => "\"to_worker\"",
                        Direction::FromWorker => "\"from_worker\"",
                    },
                );
                match message {
                    Some(Ok(message)) => {
                        add("message", &text(message.name));
                        add("fields", &self.notation.text(&Value::Map(message.fields)));
                        add("payload", &self.notation.text(&Value::Array(message.payload)));
                    }
                    Some(Err(problem)) => {
                        add("malformed", &text(&problem));
                        add("body", &hexadecimal(body));
                    }
                    None => {}
                }
            }
            Record::Rest { bytes, .. } => {
                add("event", "\"rest\"");
                add("bytes", &hexadecimal(bytes));
            }
            Record::Ended { exit, .. } => {
                add("event", "\"ended\"");
                match exit {
                    Some(Exit::Code(code)) => add("status", &code.to_string()),
                    Some(Exit::Signal(signal)) => add("signal", &signal.to_string()),
                    None => {}
                }
            }
            Record::End | Record::Other(_) => {}
        }
        line.push('}');
        line
    }
}

/// Whether a record tells of something that went wrong.
fn is_error(record: &Record<'_>, message: Option<&Result<Message<'_>, String>>) -> bool {
    match record {
        Record::NotStarted { .. } | Record::Rest { .. } => true,
        Record::Ended { exit, .. } => *exit != Some(Exit::Code(0)),
        Record::Frame { .. } => match message {
            Some(Ok(message)) => matches!(message.name, "error" | "initializer_failed" | "reject"),
            _ => true,
        },
        _ => false,
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
