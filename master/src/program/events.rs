//! The events of a pool in a file, a JSON object a line.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{Refusal, output::complain_aside, status::ExitStatus};
use crate::{EventKind, Events, Exit, PoolBuilder, PoolEvent, WorkerReport};

/// How long the end of the program waits for events to be written, which may be to a pipe.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Writes the events of a pool as they come, from a thread of its own.
pub(super) struct EventLog(Receiver<bool>);

impl EventLog {
    /// Begins, if there is a file to write to. The file is made anew.
    pub(super) fn start(
        builder: PoolBuilder,
        path: Option<&Path>,
    ) -> Result<(PoolBuilder, Option<Self>), Refusal> {
        let Some(path) = path else { return Ok((builder, None)) };
        let refuse = |error: io::Error| {
            Refusal::usage(format!("cannot write events to {}: {error}", path.display()))
        };
        let mut file = File::create(path).map_err(refuse)?;
        let (builder, events) = builder.events();
        let name = path.display().to_string();
        let (done, finished) = sync_channel(1);
        let write = move || {
            let written = write_all(events, &mut file);
            if let Err(error) = &written {
                complain_aside(format!("cannot write events to {name}: {error}"));
            }
            let _ = done.send(written.is_ok());
        };
        let thread = std::thread::Builder::new().name("master-events".into()).spawn(write);
        thread.map_err(refuse)?;
        Ok((builder, Some(Self(finished))))
    }

    /// Waits a moment until all is written, after the end of the pool. Who asked for events and has
    /// not all of them is told so, by the status too.
    pub(super) fn finish(self) -> ExitStatus {
        match self.0.recv_timeout(LAST_EVENTS) {
            Ok(true) => return ExitStatus::Success,
            Err(RecvTimeoutError::Timeout) => {
                complain_aside("the last events are not written: nobody takes them".into());
            }
            // It has been told.
            Ok(false) | Err(RecvTimeoutError::Disconnected) => {}
        }
        ExitStatus::TaskFailed
    }
}

fn write_all(events: Events, file: &mut File) -> io::Result<()> {
    for event in events {
        // One write a line, so that whoever reads along sees whole lines.
        file.write_all(format!("{}\n", to_json(&event)).as_bytes())?;
    }
    Ok(())
}

fn to_json(event: &PoolEvent) -> Value {
    let PoolEvent { at, slot, pid, kind } = event;
    let mut fields = Map::new();
    fields.insert("at".into(), seconds(*at));
    fields.insert("event".into(), json!(kind.name()));
    if let Some(slot) = slot {
        fields.insert("worker".into(), json!(slot));
    }
    if let Some(pid) = pid {
        fields.insert("pid".into(), json!(pid));
    }
    match kind {
        EventKind::Started { command } | EventKind::Replaced { command } => {
            fields.insert("command".into(), json!(command));
        }
        EventKind::Ready | EventKind::Left => {}
        EventKind::NotStarted { report }
        | EventKind::Died { report }
        | EventKind::Failed { report } => add_report(&mut fields, report),
        EventKind::Retried { function, attempt } => {
            fields.insert("function".into(), json!(function));
            fields.insert("attempt".into(), json!(attempt.number));
            fields.insert("error".into(), json!(attempt.error));
        }
        EventKind::Quarantined { function, report } => {
            fields.insert("function".into(), json!(function));
            add_report(&mut fields, report);
        }
        EventKind::Resized { processes } => {
            fields.insert("processes".into(), json!(processes));
        }
        EventKind::RolledBack { reason } => {
            fields.insert("reason".into(), json!(reason));
        }
        EventKind::Missed { events } => {
            fields.insert("events".into(), json!(events));
        }
    }
    Value::Object(fields)
}

/// Whole microseconds, as a number of seconds.
fn seconds(time: Duration) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "exact for the next 285 years")]
    let microseconds = time.as_micros() as f64;
    json!(microseconds / 1e6)
}

fn add_report(fields: &mut Map<String, Value>, report: &WorkerReport) {
    fields.insert("command".into(), json!(report.command));
    match report.exit {
        Some(Exit::Code(code)) => drop(fields.insert("status".into(), json!(code))),
        Some(Exit::Signal(signal)) => drop(fields.insert("signal".into(), json!(signal))),
        None => {}
    }
    if let Some(reason) = &report.reason {
        fields.insert("reason".into(), json!(reason));
    }
    if let Some((function, time)) = &report.running {
        fields.insert("function".into(), json!(function));
        fields.insert("ran_for".into(), seconds(*time));
    }
    fields.insert("text".into(), json!(report.to_string()));
}
