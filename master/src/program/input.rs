//! Inputs, from the command line or a stream, to the encoded items of calls.
//!
//! An input is JSON or text ([`InputMode`]):
//!
//! | | JSON | text |
//! |---|---|---|
//! | on the command line | JSON if it parses as such, otherwise a string | a string |
//! | in a stream | a line of JSON | a line, without its `\n` |
//! | lines that are skipped | those of white space alone | empty ones |
//! | not UTF-8 | on the command line binary data, in a stream an error | binary data |
//! | byte order mark | skipped at the start of a stream | kept |
//!
//! A text that parses as JSON but cannot be held exactly, such as an integer beyond 64 bits, is
//! an error wherever it stands and not a string. Inputs are counted from 1, lines that are
//! skipped not among them; errors name the line, and there every line counts.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    io::Read,
};

use protocol::{limits::MAX_FRAME, value::Kind};

use crate::program::{
    json::{self, JsonError},
    message_pack,
};

mod integers;
mod lines;

use lines::Lines;

/// The largest item, in bytes: what fits a frame beside an envelope of 64 KiB. No line may be
/// longer than that either.
pub const MAX_ITEM: usize = MAX_FRAME - (64 << 10);

/// A chunk takes no further items once it has so many bytes, 1 MiB, so that long lines and large
/// keyword arguments do not multiply.
const FULL_CHUNK: usize = 1 << 20;

/// What an input is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputMode {
    /// JSON, and on the command line strings that need no quotes.
    #[default]
    Json,
    /// Text: every input is a string, or binary data if it is not UTF-8, as names of files may be.
    Text,
}

/// What becomes of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// It is the one argument of its call.
    Whole,
    /// It is an array, and holds the arguments of its call.
    Arguments,
}

/// How inputs become items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFormat {
    /// What they are written in.
    pub mode: InputMode,
    /// What becomes of each.
    pub spread: Spread,
    /// Keyword arguments for every call.
    pub keywords: Option<Keywords>,
}

/// Keyword arguments: an encoded map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keywords(Vec<u8>);

impl Keywords {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// [`InputProblem`] if the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InputProblem> {
        let mut encoded = Vec::new();
        json::to_message_pack(text, &mut encoded)?;
        expect(&encoded, Kind::Map, "a JSON object")?;
        Ok(Self(encoded))
    }

    /// The encoded map.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// Positional arguments: an encoded array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positional(Vec<u8>);

impl Positional {
    /// Reads a JSON array.
    ///
    /// # Errors
    /// [`InputProblem`] if the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InputProblem> {
        let mut encoded = Vec::new();
        json::to_message_pack(text, &mut encoded)?;
        expect(&encoded, Kind::Array, "a JSON array")?;
        Ok(Self(encoded))
    }

    /// The encoded array.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }
}

/// Some inputs, encoded as the items of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedChunk {
    /// The items, one after another: each an array of arguments, followed by the map of keyword
    /// arguments if there are any.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each item ends.
    pub ends: Vec<usize>,
    /// The number of the first input, counted from 1; the others follow without a gap.
    pub first_input: u64,
}

impl EncodedChunk {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The encoded items, in order.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, &end)| self.bytes.get(start..end))
    }
}

/// An input that cannot be sent, or an end that came too early.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InputError {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    #[source]
    pub problem: InputProblem,
}

/// Where an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of the stream, counted from 1 with the skipped ones.
    Line(u64),
    /// An INPUT of the command line, counted from 1.
    Input(u64),
    /// An ARG of the command line, counted from 1.
    Argument(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(formatter, "line {number}"),
            Self::Input(number) => write!(formatter, "input {number}"),
            Self::Argument(number) => write!(formatter, "argument {number}"),
        }
    }
}

/// What is wrong with an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// It is not JSON, or JSON that cannot be held exactly.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A line that is to be JSON is not UTF-8.
    #[error("not JSON: byte {position} is not UTF-8; --text passes lines on as they are")]
    NotUtf8 {
        /// Where in the line the first such byte is, counted from 1.
        position: usize,
    },
    /// It is JSON of another type than called for.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What was called for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A line has more bytes than an item may have.
    #[error("the line is longer than {MAX_ITEM} bytes, which is more than fits a call")]
    LineTooLong,
    /// The encoded item has more bytes than it may have.
    #[error("its encoding has {size} bytes, more than the limit of {MAX_ITEM}")]
    ItemTooLarge {
        /// The size of the item, in bytes.
        size: usize,
    },
    /// The stream cannot be read any further.
    #[error("cannot read on: {0}")]
    Read(#[source] io::Error),
}

/// Inputs as they come, chunk by chunk.
///
/// ```
/// use master::program::input::{InputMode, Inputs, ItemFormat, Spread};
///
/// let format = ItemFormat { mode: InputMode::Json, spread: Spread::Whole, keywords: None };
/// let mut inputs = Inputs::from_stream(format, Box::new(&b"2\n\n\"two\"\n"[..]));
/// let chunk = inputs.next_chunk(100).ok_or("there is a chunk")??;
/// assert_eq!(chunk.first_input, 1);
/// assert_eq!(chunk.items().collect::<Vec<_>>(), [&b"\x91\x02"[..], b"\x91\xa3two"]);
/// assert!(inputs.next_chunk(100).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inputs {
    format: ItemFormat,
    source: Source,
    next_input: u64,
    state: State,
}

#[derive(Debug)]
enum Source {
    Arguments(std::vec::IntoIter<OsString>),
    Stream(Lines),
}

/// What the next call has to do.
#[derive(Debug)]
enum State {
    Reading,
    /// Report an error that was met behind good inputs.
    Failed(InputError),
    Ended,
}

impl Inputs {
    /// The INPUTs of the command line.
    pub fn from_arguments(format: ItemFormat, inputs: Vec<OsString>) -> Self {
        Self::new(format, Source::Arguments(inputs.into_iter()))
    }

    /// The lines of a stream. Nothing is read before it is asked for.
    pub fn from_stream(format: ItemFormat, stream: Box<dyn Read + Send>) -> Self {
        let byte_order_mark = format.mode == InputMode::Json;
        Self::new(format, Source::Stream(Lines::new(stream, byte_order_mark)))
    }

    const fn new(format: ItemFormat, source: Source) -> Self {
        Self { format, source, next_input: 1, state: State::Reading }
    }

    /// The next inputs, at least 1 and at most `max_items` of them; `None` at the end.
    ///
    /// Waits for the stream only while there is nothing to return: as soon as there is an input,
    /// and no further line has arrived as a whole, the chunk is returned as it is. An input that
    /// is in error ends the inputs: those before it are returned first, then the error, then
    /// `None` for ever.
    pub fn next_chunk(&mut self, max_items: usize) -> Option<Result<EncodedChunk, InputError>> {
        let mut chunk = EncodedChunk { first_input: self.next_input, ..EncodedChunk::default() };
        while let State::Reading = self.state {
            if !chunk.is_empty() && (chunk.len() >= max_items || chunk.bytes.len() >= FULL_CHUNK) {
                break;
            }
            if self.append_integers(max_items, &mut chunk) {
                continue;
            }
            match self.append_next(&mut chunk) {
                Ok(Next::Appended) => self.next_input += 1,
                Ok(Next::Skipped) => {}
                Ok(Next::NotYet) => break,
                Ok(Next::End) => self.state = State::Ended,
                Err(error) => self.state = State::Failed(error),
            }
        }
        if !chunk.is_empty() {
            return Some(Ok(chunk));
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(error) => Some(Err(error)),
            State::Reading | State::Ended => None,
        }
    }

    /// Appends those of the next inputs that have arrived and are plain integers. Tells whether
    /// there were any.
    fn append_integers(&mut self, max_items: usize, chunk: &mut EncodedChunk) -> bool {
        let (
            Source::Stream(lines),
            ItemFormat { mode: InputMode::Json, spread: Spread::Whole, .. },
        ) = (&mut self.source, &self.format)
        else {
            return false;
        };
        let keywords = self.format.keywords.as_ref().map_or(&[][..], Keywords::encoded);
        let (length, count) = integers::append_plain(lines.arrived(), keywords, max_items, chunk);
        lines.skip(length, count);
        self.next_input += count as u64;
        count > 0
    }

    fn append_next(&mut self, chunk: &mut EncodedChunk) -> Result<Next, InputError> {
        match &mut self.source {
            Source::Arguments(arguments) => {
                let Some(input) = arguments.next() else { return Ok(Next::End) };
                let encode = |out: &mut Vec<u8>| encode_argument(&input, self.format.mode, out);
                append_item(&self.format, chunk, encode)
                    .map_err(|problem| InputError { place: Place::Input(self.next_input), problem })
            }
            Source::Stream(lines) => {
                let wait = chunk.is_empty();
                let result = match lines.next(wait) {
                    Ok(lines::Next::Line(line)) if is_blank(line, self.format.mode) => {
                        Ok(Next::Skipped)
                    }
                    Ok(lines::Next::Line(line)) => append_item(&self.format, chunk, |out| {
                        encode_line(line, self.format.mode, out)
                    }),
                    Ok(lines::Next::NotYet) => Ok(Next::NotYet),
                    Ok(lines::Next::End) => Ok(Next::End),
                    Err(problem) => Err(problem),
                };
                result.map_err(|problem| InputError { place: Place::Line(lines.number()), problem })
            }
        }
    }
}

/// What came of asking for one more input.
enum Next {
    Appended,
    Skipped,
    /// There is none without waiting.
    NotYet,
    End,
}

/// Encodes the arguments of one call: ARGs of the command line.
///
/// ```
/// use master::program::input::{InputMode, encode_call};
///
/// let call = encode_call(&["5".into(), "five".into()], InputMode::Json, None)?;
/// assert_eq!(call, b"\x92\x05\xa4five");
/// # Ok::<(), master::program::input::InputError>(())
/// ```
///
/// # Errors
/// [`InputError`] for an argument that is JSON that cannot be held exactly, and for arguments
/// that are too large for a call.
pub fn encode_call(
    arguments: &[OsString],
    mode: InputMode,
    keywords: Option<&Keywords>,
) -> Result<Vec<u8>, InputError> {
    let mut out = Vec::new();
    message_pack::write_array_header(&mut out, arguments.len());
    for (number, argument) in (1..).zip(arguments) {
        encode_argument(argument, mode, &mut out)
            .and_then(|()| check_size(out.len()))
            .map_err(|problem| InputError { place: Place::Argument(number), problem })?;
    }
    out.extend(keywords.into_iter().flat_map(Keywords::encoded));
    Ok(out)
}

/// Appends one encoded value from the command line: JSON if it parses as such, otherwise a
/// string; in text mode always a string. What is not UTF-8 is binary data.
///
/// # Errors
/// [`InputProblem::Json`] for JSON that cannot be held exactly; then `out` is as it was before.
pub fn encode_argument(
    argument: &OsStr,
    mode: InputMode,
    out: &mut Vec<u8>,
) -> Result<(), InputProblem> {
    if let (InputMode::Json, Some(text)) = (mode, argument.to_str()) {
        match json::to_message_pack(text, out) {
            Err(JsonError::Syntax { .. }) => {}
            held_or_not => return Ok(held_or_not?),
        }
    }
    encode_text(argument.as_encoded_bytes(), out);
    Ok(())
}

fn encode_line(line: &[u8], mode: InputMode, out: &mut Vec<u8>) -> Result<(), InputProblem> {
    match mode {
        InputMode::Text => encode_text(line, out),
        InputMode::Json => {
            let text = str::from_utf8(line)
                .map_err(|error| InputProblem::NotUtf8 { position: error.valid_up_to() + 1 })?;
            json::to_message_pack(text, out)?;
        }
    }
    Ok(())
}

fn encode_text(bytes: &[u8], out: &mut Vec<u8>) {
    match str::from_utf8(bytes) {
        Ok(text) => message_pack::write_string(out, text),
        Err(_) => message_pack::write_binary(out, bytes),
    }
}

fn is_blank(line: &[u8], mode: InputMode) -> bool {
    match mode {
        InputMode::Json => line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')),
        InputMode::Text => line.is_empty(),
    }
}

/// Appends an item whose input `encode` appends; on an error the chunk is as it was before.
fn append_item(
    format: &ItemFormat,
    chunk: &mut EncodedChunk,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), InputProblem>,
) -> Result<Next, InputProblem> {
    let start = chunk.bytes.len();
    if format.spread == Spread::Whole {
        message_pack::write_array_header(&mut chunk.bytes, 1);
    }
    let result = encode(&mut chunk.bytes).and_then(|()| {
        let encoded = chunk.bytes.get(start..).unwrap_or_default();
        expect(encoded, Kind::Array, "a JSON array of arguments")?;
        if let Some(keywords) = &format.keywords {
            chunk.bytes.extend_from_slice(keywords.encoded());
        }
        check_size(chunk.bytes.len() - start)
    });
    match result {
        Ok(()) => chunk.ends.push(chunk.bytes.len()),
        Err(_) => chunk.bytes.truncate(start),
    }
    result.map(|()| Next::Appended)
}

const fn check_size(size: usize) -> Result<(), InputProblem> {
    if size > MAX_ITEM { Err(InputProblem::ItemTooLarge { size }) } else { Ok(()) }
}

fn expect(encoded: &[u8], kind: Kind, expected: &'static str) -> Result<(), InputProblem> {
    match encoded.first().map(|&byte| Kind::of(byte)) {
        Some(found) if found != kind => {
            // Kinds are named as JSON names them where the two differ.
            let found = match found {
                Kind::Nil => "null",
                Kind::Map => "an object",
                other => other.name(),
            };
            Err(InputProblem::Unexpected { expected, found })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
