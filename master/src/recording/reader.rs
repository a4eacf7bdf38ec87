//! Reads recordings, record by record.

use std::{io::Read, time::Duration};

use protocol::{
    limits::MAX_FRAME,
    value::{self, ValueError},
};

use super::{
    Direction, Entry, FORMAT, Record, VERSION, Value,
    format::{END, ENDED, FROM_WORKER, NOT_STARTED, REST, STARTED, TO_WORKER},
};
use crate::report::Exit;

/// Bytes that are read at a time, at least: 64 KiB.
const READ_SIZE: usize = 64 << 10;

/// The largest record, in bytes: a frame and what stands before it.
const MAX_RECORD: usize = MAX_FRAME + (64 << 10);

/// What stands at the beginning of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The version of its format.
    pub version: u32,
    /// The version of the program that made it.
    pub master: String,
    /// When it was made, in milliseconds since 1970.
    pub began: u64,
}

/// A recording that cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("{problem} (byte {offset}, record {record}, behind {frames} frames)")]
pub struct Damage {
    /// Where the record begins that is at fault.
    pub offset: u64,
    /// Which record that is, the header being record 0.
    pub record: u64,
    /// How many frames stand before it.
    pub frames: u64,
    /// It only ends too early, as when its writer was killed: what came before is all there.
    pub cut_short: bool,
    /// What is wrong.
    pub problem: String,
}

/// Reads a recording from a stream, a record at a time. Memory grows with the largest record, as
/// far as it is there, and not with the recording.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    buffer: Vec<u8>,
    /// What was handed out of the buffer.
    consumed: usize,
    /// What is before the buffer in the stream.
    before: u64,
    records: u64,
    frames: u64,
    /// Where the last record begins.
    last: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The record of that name was there.
    Complete,
    /// The stream ended without it.
    Incomplete,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Damage`] if the stream is no recording, or one of another version.
    pub fn new(input: R) -> Result<Self, Damage> {
        let header = Header { version: 0, master: String::new(), began: 0 };
        let mut reader = Self {
            input,
            header,
            buffer: Vec::new(),
            consumed: 0,
            before: 0,
            records: 0,
            frames: 0,
            last: 0,
            state: State::Reading,
        };
        let length = match reader.fill() {
            Ok(Some(length)) => length,
            Ok(None) => return Err(reader.damage("it is empty, and no recording".into(), true)),
            Err(damage) if damage.cut_short => return Err(damage),
            Err(damage) => {
                let problem = format!("it is no recording ({})", damage.problem);
                return Err(Damage { problem, ..damage });
            }
        };
        match header_of(reader.buffer.get(..length).unwrap_or_default()) {
            Ok(header) => reader.header = header,
            Err(problem) => return Err(reader.damage(problem, false)),
        }
        reader.consumed = length;
        reader.records = 1;
        Ok(reader)
    }

    /// Goes on where a record begins, with what was read of its header before.
    pub(crate) fn resume(input: R, offset: u64) -> Self {
        Self {
            input,
            header: Header { version: VERSION, master: String::new(), began: 0 },
            buffer: Vec::new(),
            consumed: 0,
            before: offset,
            records: 1,
            frames: 0,
            last: offset,
            state: State::Reading,
        }
    }

    /// Where in the stream the next record begins.
    pub(crate) const fn next_offset(&self) -> u64 {
        self.before + self.consumed as u64
    }

    /// What stands at its beginning.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; `None` at the end, whether the recording is complete or not.
    ///
    /// # Errors
    /// [`Damage`] where the stream cannot be read on. What came before is as it was recorded.
    #[expect(clippy::should_implement_trait, reason = "what it gives lies in the reader")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Damage> {
        if self.state != State::Reading {
            return Ok(None);
        }
        let Some(length) = self.fill()? else {
            self.state = State::Incomplete;
            return Ok(None);
        };
        let (start, end) = (self.consumed, self.consumed + length);
        // Looked at twice, as an error has to say where it is.
        let checked = entry_of(self.buffer.get(start..end).unwrap_or_default());
        let (is_frame, is_end) = match &checked {
            Ok(Entry { record: Record::Frame { .. }, .. }) => (true, false),
            Ok(Entry { record: Record::End, .. }) => (false, true),
            Ok(_) => (false, false),
            Err(problem) => {
                let problem = format!("a record makes no sense: {problem}");
                return Err(self.damage(problem, false));
            }
        };
        self.last = self.before + start as u64;
        self.consumed = end;
        self.records += 1;
        self.frames += u64::from(is_frame);
        if is_end {
            self.state = State::Complete;
            return Ok(None);
        }
        Ok(entry_of(self.buffer.get(start..end).unwrap_or_default()).ok())
    }

    /// Whether the end was reached that is written when a pool ends. Otherwise its program was
    /// killed, or the recording could not be written any more.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Where in the stream the record begins that was given last.
    pub const fn offset(&self) -> u64 {
        self.last
    }

    /// How many frames were given so far.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Makes sure that the next value is in the buffer as a whole, and tells how long it is;
    /// `None` at the end of the stream.
    fn fill(&mut self) -> Result<Option<usize>, Damage> {
        loop {
            let there = self.buffer.get(self.consumed..).unwrap_or_default();
            let wanted = match value::skip(there) {
                Ok(length) => return Ok(Some(length)),
                Err(ValueError::Truncated { .. }) => there.len().max(READ_SIZE),
                Err(error) => {
                    return Err(self.damage(format!("it is not MessagePack ({error})"), false));
                }
            };
            let size = there.len();
            if size > MAX_RECORD {
                return Err(self.damage("a record is larger than any can be".into(), false));
            }
            self.buffer.drain(..self.consumed);
            self.before += self.consumed as u64;
            self.consumed = 0;
            let read = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.buffer);
            match read {
                Ok(0) if size == 0 => return Ok(None),
                Ok(0) => {
                    let problem = format!("it ends inside a record, {size} bytes of which came");
                    return Err(self.damage(problem, true));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(self.damage(format!("it cannot be read ({error})"), false));
                }
            }
        }
    }

    const fn damage(&self, problem: String, cut_short: bool) -> Damage {
        let offset = self.before + self.consumed as u64;
        Damage { offset, record: self.records, frames: self.frames, cut_short, problem }
    }
}

fn header_of(bytes: &[u8]) -> Result<Header, String> {
    let no_recording = || format!("it is no recording: it does not begin with `{FORMAT}`");
    let Ok((Value::Array(elements), _)) = Value::read(bytes) else { return Err(no_recording()) };
    let mut elements = elements.iter();
    if elements.next().and_then(Value::as_str) != Some(FORMAT) {
        return Err(no_recording());
    }
    let version = match elements.next() {
        Some(Value::Integer(version)) => *version,
        _ => return Err("its header has no version".into()),
    };
    if version != i128::from(VERSION) {
        return Err(format!(
            "it is of version {version} of the format, and this program reads version {VERSION}"
        ));
    }
    let information = elements.next();
    let master = information.and_then(|map| map.get("master")).and_then(Value::as_str);
    let began = match information.and_then(|map| map.get("began")) {
        Some(Value::Integer(began)) => u64::try_from(*began).unwrap_or(0),
        _ => 0,
    };
    Ok(Header { version: VERSION, master: master.unwrap_or_default().to_owned(), began })
}

fn entry_of(bytes: &[u8]) -> Result<Entry<'_>, &'static str> {
    let Ok((Value::Array(elements), _)) = Value::read(bytes) else { return Err("no array") };
    let mut elements = elements.into_iter();
    let name = elements.next().and_then(|name| name.as_str()).ok_or("it has no name")?;
    let mut fields = Fields(elements);
    let at = Duration::from_micros(fields.number()?);
    let record = match name {
        STARTED => Record::Started {
            worker: fields.number()?,
            slot: fields.number()?,
            pid: fields.number()?,
            command: fields.text()?,
        },
        NOT_STARTED => Record::NotStarted {
            worker: fields.number()?,
            slot: fields.number()?,
            command: fields.text()?,
            reason: fields.text()?,
        },
        TO_WORKER | FROM_WORKER => {
            let worker = fields.number()?;
            let direction = match name {
                TO_WORKER => Direction::ToWorker,
                _ => Direction::FromWorker,
            };
            Record::Frame { worker, direction, body: fields.binary()? }
        }
        REST => Record::Rest { worker: fields.number()?, bytes: fields.binary()? },
        ENDED => {
            let worker = fields.number()?;
            let (status, signal) = (fields.optional()?, fields.optional()?);
            let exit = match (status, signal) {
                (Some(status), _) => Some(Exit::Code(status)),
                (None, signal) => signal.map(Exit::Signal),
            };
            Record::Ended { worker, exit }
        }
        END => Record::End,
        other => Record::Other(other),
    };
    Ok(Entry { at, record })
}

/// The elements of a record, one after another.
struct Fields<'a>(std::vec::IntoIter<Value<'a>>);

impl<'a> Fields<'a> {
    fn number<N: TryFrom<i128>>(&mut self) -> Result<N, &'static str> {
        match self.0.next() {
            Some(Value::Integer(number)) => {
                N::try_from(number).map_err(|_| "a number is too large")
            }
            _ => Err("a number is missing"),
        }
    }

    fn optional(&mut self) -> Result<Option<i32>, &'static str> {
        match self.0.next() {
            None | Some(Value::Nil) => Ok(None),
            Some(Value::Integer(number)) => {
                i32::try_from(number).map(Some).map_err(|_| "a number is too large")
            }
            Some(_) => Err("a number is missing"),
        }
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        self.0.next().and_then(|text| text.as_str()).ok_or("a text is missing")
    }

    fn binary(&mut self) -> Result<&'a [u8], &'static str> {
        match self.0.next() {
            Some(Value::Binary(bytes)) => Ok(bytes),
            _ => Err("binary data is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::format::write_header, *};
    use crate::recording::{Message, Notation};

    fn entries() -> Vec<Entry<'static>> {
        let worker = 3;
        let records = [
            Record::Started { worker, slot: 1, pid: 4711, command: "/bin/worker" },
            Record::NotStarted { worker: 4, slot: 2, command: "nothing", reason: "none" },
            Record::Frame { worker, direction: Direction::ToWorker, body: b"\x81\xa5drain\x80" },
            Record::Frame { worker, direction: Direction::FromWorker, body: b"\x81\xa5ready\x80" },
            Record::Rest { worker, bytes: b"\0\0\0" },
            Record::Ended { worker, exit: Some(Exit::Code(0)) },
            Record::Ended { worker, exit: Some(Exit::Signal(9)) },
            Record::Ended { worker, exit: None },
        ];
        let times = (0..).map(|time| Duration::from_micros(time * 1000));
        times.zip(records).map(|(at, record)| Entry { at, record }).collect()
    }

    fn recorded() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(Duration::ZERO, &mut bytes);
        entries().iter().for_each(|entry| entry.write(&mut bytes));
        Entry { at: Duration::from_secs(1), record: Record::End }.write(&mut bytes);
        bytes
    }

    /// A reader of pieces of one byte.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let length = out.len().min(1);
            self.0.read(&mut out[..length])
        }
    }

    fn read(input: impl Read, each: &mut dyn FnMut(&Entry<'_>)) -> Result<bool, Damage> {
        let mut reader = Reader::new(input)?;
        while let Some(entry) = reader.next()? {
            each(&entry);
        }
        Ok(reader.is_complete())
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = recorded();
        let inputs: [&mut dyn Read; 2] = [&mut &bytes[..], &mut Slow(&bytes)];
        for input in inputs {
            let mut expected = entries().into_iter();
            let complete =
                read(input, &mut |entry| assert_eq!(Some(entry), expected.next().as_ref()));
            assert!(complete.unwrap());
            assert_eq!(expected.next(), None);
        }
    }

    #[test]
    fn a_recording_that_was_cut_anywhere_is_read_up_to_there() {
        let bytes = recorded();
        for length in 0..bytes.len() {
            let (mut count, mut expected) = (0, entries().into_iter());
            let result = read(&bytes[..length], &mut |entry| {
                assert_eq!(Some(entry), expected.next().as_ref());
                count += 1;
            });
            match result {
                Ok(complete) => assert!(!complete),
                Err(damage) => {
                    assert!(damage.cut_short, "{damage}");
                    assert!(damage.offset <= length as u64);
                    assert!(length == 0 || damage.record == 0 || damage.record == count + 1);
                }
            }
        }
    }

    #[test]
    fn what_is_no_recording_is_told_with_its_place() {
        for (bytes, text) in [
            (&b"hello, world"[..], "no recording"),
            (b"\xc1", "no recording"),
            (b"\x93\xb0master-recording\x02\x80", "version 2"),
            (b"\x92\xb0master-recording\xc0", "no version"),
            (b"", "empty"),
        ] {
            let damage = read(bytes, &mut |_| {}).unwrap_err();
            assert!(damage.to_string().contains(text), "{damage}");
            assert_eq!((damage.offset, damage.record), (0, 0));
        }
        let good = recorded();
        for (bad, text) in [
            (&b"\xc1"[..], "not MessagePack"),
            (b"\x05", "no array"),
            (b"\x91\x05", "no name"),
            (b"\x92\xa7started\xc0", "number"),
            (b"\x94\xa9to_worker\x01\x01\xa1x", "binary"),
            (b"\x93\xa5ended\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff", ""),
        ] {
            let end = good.len() - b"\x92\xa3end\xce\0\x0f\x42\x40".len();
            let bytes = [&good[..end], bad].concat();
            let mut count = 0;
            let result = read(&bytes[..], &mut |_| count += 1);
            if text.is_empty() {
                assert!(!result.unwrap());
                continue;
            }
            let damage = result.unwrap_err();
            assert!(damage.to_string().contains(text), "{damage}");
            assert_eq!((damage.offset, damage.record, damage.frames), (end as u64, 9, 2));
            assert_eq!(count, 8);
        }
    }

    #[test]
    fn records_and_elements_of_later_versions_are_passed_over() {
        let mut bytes = Vec::new();
        write_header(Duration::ZERO, &mut bytes);
        bytes.extend(b"\x94\xa5news!\x01\x81\x01\x02\xc0\x94\xa3end\x05\x01\x02");
        let mut names = Vec::new();
        let complete = read(&bytes[..], &mut |entry| match entry.record {
            Record::Other(name) => names.push(name.to_owned()),
            _ => panic!("{entry:?}"),
        });
        assert!(complete.unwrap());
        assert_eq!(names, ["news!"]);
    }

    proptest! {
        /// Whatever is wrong with a recording, it is told, and what is read can be printed.
        #[test]
        fn any_damage_is_told(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = recorded();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.extend(tail);
            let mut offset = 0;
            let result = read(&bytes[..], &mut |entry| {
                if let Record::Frame { body, .. } = entry.record
                    && let Ok(message) = Message::read(body)
                {
                    let _ = Notation::EXACT.text(&Value::Map(message.fields));
                    let _ = Notation::SHORT.up_to(7).texts(&message.payload);
                }
                offset += 1;
            });
            if let Err(damage) = result {
                prop_assert!(damage.offset <= bytes.len() as u64);
                prop_assert!(damage.record == 0 || damage.record == offset + 1);
            }
        }
    }
}
