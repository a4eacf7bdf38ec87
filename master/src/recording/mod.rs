//! Recordings: everything that a pool and its workers say to each other, in a file.
//!
//! A recording shows what went over the sockets, helps to find out who was at fault, and can be
//! played to another worker ([`crate::replay`]). On the command line `master map --record FILE`
//! makes one and `master frames FILE` prints it.
//!
//! ```
//! use std::io::BufReader;
//!
//! use master::recording::{Direction, Reader, Record, Recorder};
//!
//! let file = tempfile::NamedTempFile::new()?;
//! let recorder = Recorder::create(file.path())?;
//! # let builder = integration_tests::library::pool(1);
//! let pool = builder.record(&recorder).build()?;
//! assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
//! pool.close();
//! pool.join()?;
//! recorder.finish()?;
//!
//! let mut reader = Reader::new(BufReader::new(file))?;
//! let mut answers = 0;
//! while let Some(entry) = reader.next()? {
//!     if let Record::Frame { direction: Direction::FromWorker, body, .. } = entry.record {
//!         answers += usize::from(body.starts_with(b"\x81\xa6result"));
//!     }
//! }
//! assert_eq!(answers, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is in it
//!
//! Each frame as it was sent or came, in the order in which the pool saw them, and the starts and
//! ends of workers. Of a frame that was cut short by the end of its connection, what came. While
//! a pool is recorded it agrees on no feature that shares memory, so that nothing passes by.
//! A frame to a worker is recorded when it is queued for its socket; whether the worker has read
//! it only its answers tell.
//!
//! No token is in a recording: that of a hello is replaced by an empty string. What somebody says
//! who never brought the right token is not in it.
//!
//! # The format, version 1
//!
//! A sequence of MessagePack values, so that any language can read it, as far as it was written.
//! The first one is the header, an array: the string `master-recording`, the version of the
//! format, and a map for information: `master` (the version of the program), `protocol` (that
//! of the protocol) and `began` (milliseconds since 1970). Each further one is a record, an
//! array that begins with the name of the record and the microseconds since the start:
//!
//! | Record | What follows |
//! |---|---|
//! | `started` | worker, slot, process id, command |
//! | `not_started` | worker, slot, command, reason |
//! | `to_worker` | worker, the body of a frame as binary data |
//! | `from_worker` | worker, the body of a frame as binary data |
//! | `rest` | worker, what came behind the last whole frame, with the length before it |
//! | `ended` | worker, exit status or nil, number of the signal or nil |
//! | `end` | nothing: the recording is complete |
//!
//! A worker is a number from 0 that is used for one process; its slot is the seat in the pool,
//! which several have one after another. Later versions may add records of other names, and
//! elements at the end of these, which a reader passes over.

mod format;
mod hello;
mod message;
mod notation;
mod reader;
mod recorder;
mod value;

pub(crate) use self::recorder::{Tap, Tape};
pub use self::{
    format::{Direction, Entry, FORMAT, Record, VERSION},
    message::Message,
    notation::Notation,
    reader::{Damage, Header, Reader},
    recorder::{RecordError, Recorder},
    value::Value,
};
