//! The records of a recording, and how they are encoded.

use std::time::Duration;

use super::Value;
use crate::report::Exit;

/// The name of the format, with which every recording begins.
pub const FORMAT: &str = "master-recording";

/// The version of the format.
pub const VERSION: u32 = 1;

/// Who said something to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The master to a worker.
    ToWorker,
    /// A worker to the master.
    FromWorker,
}

/// One record, and when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// The time since the start of the recording.
    pub at: Duration,
    /// What happened.
    pub record: Record<'a>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// A worker was started.
    Started {
        /// Its number, which is never used for another.
        worker: u64,
        /// Its seat.
        slot: u32,
        /// Its process id.
        pid: u32,
        /// Its command.
        command: &'a str,
    },
    /// A worker could not be started.
    NotStarted {
        /// Its number.
        worker: u64,
        /// Its seat.
        slot: u32,
        /// Its command.
        command: &'a str,
        /// Why not.
        reason: &'a str,
    },
    /// A frame.
    Frame {
        /// The worker that said or heard it.
        worker: u64,
        /// Which of the two.
        direction: Direction,
        /// The body: envelope and payload.
        body: &'a [u8],
    },
    /// What came behind the last whole frame of a worker.
    Rest {
        /// The worker.
        worker: u64,
        /// As it came.
        bytes: &'a [u8],
    },
    /// A worker has ended.
    Ended {
        /// The worker.
        worker: u64,
        /// How, if that is known.
        exit: Option<Exit>,
    },
    /// The recording is complete.
    End,
    /// A record that this version does not know.
    Other(&'a str),
}

pub(super) const STARTED: &str = "started";
pub(super) const NOT_STARTED: &str = "not_started";
pub(super) const TO_WORKER: &str = "to_worker";
pub(super) const FROM_WORKER: &str = "from_worker";
pub(super) const REST: &str = "rest";
pub(super) const ENDED: &str = "ended";
pub(super) const END: &str = "end";

/// The header of a recording that begins so long after the start of 1970.
pub(super) fn write_header(began: Duration, out: &mut Vec<u8>) {
    let began = began.as_millis();
    let text = |text: &'static str| Value::String(text.as_bytes());
    let information = vec![
        (text("master"), text(env!("CARGO_PKG_VERSION"))),
        (text("protocol"), Value::Integer(i128::from(protocol::limits::PROTOCOL_VERSION))),
        (text("began"), Value::Integer(i128::try_from(began).unwrap_or(0))),
    ];
    let version = Value::Integer(i128::from(VERSION));
    Value::Array(vec![text(FORMAT), version, Value::Map(information)]).write(out);
}

impl Entry<'_> {
    /// Appends the record. Frames of which the body lies in pieces have [`write_bytes`].
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let at = self.at;
        let number = |number: u64| Value::Integer(i128::from(number));
        let optional =
            |value: Option<i32>| value.map_or(Value::Nil, |value| Value::Integer(value.into()));
        let (name, rest) = match &self.record {
            Record::Started { worker, slot, pid, command } => {
                let (slot, pid) = (u64::from(*slot), u64::from(*pid));
                let command = Value::String(command.as_bytes());
                (STARTED, vec![number(*worker), number(slot), number(pid), command])
            }
            Record::NotStarted { worker, slot, command, reason } => {
                let (command, reason) = (command.as_bytes(), reason.as_bytes());
                let texts = [Value::String(command), Value::String(reason)];
                let numbers = [number(*worker), number(u64::from(*slot))];
                (NOT_STARTED, numbers.into_iter().chain(texts).collect())
            }
            Record::Frame { worker, direction, body } => {
                return write_frame(out, at, *worker, *direction, &[body]);
            }
            Record::Rest { worker, bytes } => {
                return write_bytes(out, REST, at, *worker, &[bytes]);
            }
            Record::Ended { worker, exit } => {
                let (status, signal) = match exit {
                    Some(Exit::Code(code)) => (Some(*code), None),
                    Some(Exit::Signal(signal)) => (None, Some(*signal)),
                    None => (None, None),
                };
                (ENDED, vec![number(*worker), optional(status), optional(signal)])
            }
            Record::End => (END, Vec::new()),
            // Nobody makes one.
            Record::Other(name) => (*name, Vec::new()),
        };
        let first = [Value::String(name.as_bytes()), microseconds(at)];
        Value::Array(first.into_iter().chain(rest).collect()).write(out);
    }
}

/// Appends a frame whose body lies in pieces.
pub(super) fn write_frame(
    out: &mut Vec<u8>,
    at: Duration,
    worker: u64,
    direction: Direction,
    body: &[&[u8]],
) {
    let name = match direction {
        Direction::ToWorker => TO_WORKER,
        Direction::FromWorker => FROM_WORKER,
    };
    write_bytes(out, name, at, worker, body);
}

/// Appends a record of bytes, without a copy of them in between.
fn write_bytes(out: &mut Vec<u8>, name: &str, at: Duration, worker: u64, pieces: &[&[u8]]) {
    const ARRAY_OF_4: u8 = 0x94;
    const BIN_32: u8 = 0xc6;
    out.push(ARRAY_OF_4);
    Value::String(name.as_bytes()).write(out);
    microseconds(at).write(out);
    Value::Integer(i128::from(worker)).write(out);
    out.push(BIN_32);
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    // A frame has a length of 32 bits.
    out.extend_from_slice(&(length as u32).to_be_bytes());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

fn microseconds(time: Duration) -> Value<'static> {
    Value::Integer(i128::try_from(time.as_micros()).unwrap_or(i128::MAX).min(u64::MAX.into()))
}
