//! From JSON to MessagePack.

use std::ops::Range;

use protocol::limits::MAX_FRAME;
use rmp::Marker;

use crate::program::{message_pack, search};

/// How deep arrays and objects may nest: as deep as common JSON readers go, and well below what
/// the protocol lets a payload nest.
pub const MAX_DEPTH: usize = 128;

/// The longest text that is read, in bytes: the largest body of a frame. What is longer could
/// not be sent, with the exception of texts that are mostly white space.
pub const MAX_TEXT: usize = MAX_FRAME;

/// Digits of a number that an error quotes; the rest is cut off.
const QUOTED_DIGITS: usize = 40;

/// Why a text cannot be turned into MessagePack. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON: expected {expected} at character {position}, found {found}")]
    Syntax {
        /// Where the reading stopped.
        position: usize,
        /// What could have stood there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The text is JSON, but holds a value that MessagePack cannot hold exactly.
    #[error("{problem} (at character {position})")]
    Unrepresentable {
        /// Where the value begins.
        position: usize,
        /// What it is.
        problem: Problem,
    },
}

/// What MessagePack cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An integer that does not fit 64 bits.
    #[error(
        "the integer {0} does not fit 64 bits; write it as a string, or with a fraction for the \
         nearest float"
    )]
    Integer(String),
    /// A number with a fraction or an exponent that no 64-bit float comes near.
    #[error("the number {0} is outside the range of a 64-bit float; write it as a string")]
    Float(String),
    /// A key that comes twice in one object.
    #[error("the key {0:?} comes twice in one object")]
    DuplicateKey(String),
    /// Half of a surrogate pair, which is no character.
    #[error("the escape \\u{0:04x} is half of a surrogate pair and stands alone")]
    LoneSurrogate(u16),
    /// Arrays and objects that nest beyond [`MAX_DEPTH`].
    #[error("arrays and objects nest deeper than {MAX_DEPTH} levels")]
    Depth,
    /// A text of more than [`MAX_TEXT`] bytes.
    #[error("the text has {0} bytes, more than the limit of {MAX_TEXT}")]
    Size(usize),
}

/// Appends to `out` the MessagePack encoding of the one JSON value that `text` holds, in the
/// shortest form of each value. On an error `out` is as it was before.
///
/// ```
/// use master::program::json;
///
/// let mut out = Vec::new();
/// json::to_message_pack(r#"[1, 1.0, "one"]"#, &mut out)?;
/// assert_eq!(out, b"\x93\x01\xcb\x3f\xf0\0\0\0\0\0\0\xa3one");
/// # Ok::<(), json::JsonError>(())
/// ```
///
/// # Errors
/// [`JsonError::Syntax`] for a text that is not JSON, and [`JsonError::Unrepresentable`] for JSON
/// that cannot be held exactly. A text with both faults is not JSON, unless the fault that comes
/// first is [`Problem::Depth`] or [`Problem::Size`], where the reading stops.
pub fn to_message_pack(text: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
    if text.len() > MAX_TEXT {
        let problem = Problem::Size(text.len());
        return Err(JsonError::Unrepresentable { position: 1, problem });
    }
    let start = out.len();
    let mut reader =
        Reader { text, offset: 0, out, open: Vec::new(), keys: Vec::new(), problem: None };
    let read = reader.document();
    let problem = reader.problem.take();
    let result = match (read, problem) {
        (Ok(()), None) => return Ok(()),
        (Ok(()), Some((offset, problem))) | (Err(Stop::Problem(offset, problem)), _) => {
            Err(JsonError::Unrepresentable { position: position(text, offset), problem })
        }
        (Err(Stop::Syntax(offset, expected)), _) => Err(JsonError::Syntax {
            position: position(text, offset),
            expected,
            found: match text.get(offset..).and_then(|rest| rest.chars().next()) {
                Some(character) => format!("`{}`", character.escape_debug()),
                None => "the end".to_owned(),
            },
        }),
    };
    out.truncate(start);
    result
}

fn position(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(0, |before| before.chars().count()) + 1
}

/// Why the reading stopped before the end, and at which byte.
enum Stop {
    Syntax(usize, &'static str),
    Problem(usize, Problem),
}

/// An array or an object whose end was not yet reached.
struct Open {
    /// Where in the output its header is: a byte in its place, until the size is known.
    header: usize,
    /// Elements, or pairs of key and value.
    count: usize,
    kind: Container,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    /// Its keys are those from this one on.
    Object {
        first_key: usize,
    },
}

/// A key of an open object: where it stands in the output, without its header, and in the text.
struct Key {
    output: Range<usize>,
    offset: usize,
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    out: &'a mut Vec<u8>,
    open: Vec<Open>,
    keys: Vec<Key>,
    /// The first value that cannot be held, and where it begins. The reading goes on, because
    /// whether the text is JSON at all is only known at its end.
    problem: Option<(usize, Problem)>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<(), Stop> {
        loop {
            self.begin_value()?;
            if !self.end_values()? {
                break;
            }
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// Reads values up to one that is complete: a scalar, or an empty container.
    fn begin_value(&mut self) -> Result<(), Stop> {
        loop {
            let closing = match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    break;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    break;
                }
                Some(b'[') => self.begin(Container::Array)?,
                Some(b'{') => self.begin(Container::Object { first_key: self.keys.len() })?,
                _ => {
                    self.word()?;
                    break;
                }
            };
            if self.peek() == Some(closing) {
                self.end();
                break;
            }
            if closing == b'}' {
                self.key("a key in quotes or `}`")?;
            }
        }
        Ok(())
    }

    /// Follows a complete value: ends the containers that end here. Tells whether another value
    /// comes next.
    fn end_values(&mut self) -> Result<bool, Stop> {
        loop {
            let next = self.peek();
            let Some(container) = self.open.last_mut() else { return Ok(false) };
            container.count += 1;
            match (container.kind, next) {
                (Container::Array, Some(b',')) => {
                    self.offset += 1;
                    return Ok(true);
                }
                (Container::Object { .. }, Some(b',')) => {
                    self.offset += 1;
                    self.key("a key in quotes")?;
                    return Ok(true);
                }
                (Container::Array, Some(b']')) | (Container::Object { .. }, Some(b'}')) => {
                    self.end();
                }
                (Container::Array, _) => return Err(self.expected("`,` or `]`")),
                (Container::Object { .. }, _) => return Err(self.expected("`,` or `}`")),
            }
        }
    }

    /// Opens a container and gives the byte that closes it.
    fn begin(&mut self, kind: Container) -> Result<u8, Stop> {
        if self.open.len() == MAX_DEPTH {
            return Err(Stop::Problem(self.offset, Problem::Depth));
        }
        self.offset += 1;
        self.open.push(Open { header: self.out.len(), count: 0, kind });
        self.out.push(0);
        Ok(if kind == Container::Array { b']' } else { b'}' })
    }

    /// Closes the innermost container: its size is known now.
    fn end(&mut self) {
        self.offset += 1;
        let Some(Open { header, count, kind }) = self.open.pop() else { return };
        if let Container::Object { first_key } = kind {
            self.find_duplicate(first_key);
            self.keys.truncate(first_key);
        }
        if let Ok(short @ 0..0x10) = u8::try_from(count) {
            self.out[header] = match kind {
                Container::Array => Marker::FixArray(short).to_u8(),
                Container::Object { .. } => Marker::FixMap(short).to_u8(),
            };
            return;
        }
        let mut sized = Vec::new();
        match kind {
            Container::Array => message_pack::write_array_header(&mut sized, count),
            Container::Object { .. } => message_pack::write_map_header(&mut sized, count),
        }
        self.out.splice(header..=header, sized);
    }

    fn find_duplicate(&mut self, first_key: usize) {
        let keys = &self.keys[first_key..];
        let name = |index: usize| &self.out[keys[index].output.clone()];
        if let Some(index) = super::find_duplicate(keys.len(), name) {
            let offset = keys[index].offset;
            let name = String::from_utf8_lossy(name(index)).into_owned();
            self.note(offset, Problem::DuplicateKey(name));
        }
    }

    fn key(&mut self, expected: &'static str) -> Result<(), Stop> {
        if self.peek() != Some(b'"') {
            return Err(self.expected(expected));
        }
        let offset = self.offset;
        let output = self.string()?;
        self.keys.push(Key { output, offset });
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.offset += 1;
        Ok(())
    }

    /// Reads a string and tells where in the output it stands, without its header.
    fn string(&mut self) -> Result<Range<usize>, Stop> {
        self.offset += 1;
        let plain = self.plain_characters();
        if self.byte() == Some(b'"') {
            self.offset += 1;
            return Ok(self.write_string(plain));
        }
        let mut unescaped = plain.to_owned();
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => unescaped.push(self.escape()?),
                Some(_) => return Err(self.expected("an escape for a control character")),
                None => return Err(self.expected("`\"` at the end of a string")),
            }
            unescaped.push_str(self.plain_characters());
        }
        self.offset += 1;
        Ok(self.write_string(&unescaped))
    }

    fn write_string(&mut self, value: &str) -> Range<usize> {
        message_pack::write_string(self.out, value);
        self.out.len() - value.len()..self.out.len()
    }

    /// Takes what stands for itself in a string, perhaps nothing.
    fn plain_characters(&mut self) -> &'a str {
        let start = self.offset;
        let rest = &self.text.as_bytes()[start..];
        self.offset += search::find(rest, super::is_special).unwrap_or(rest.len());
        &self.text[start..self.offset]
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let start = self.offset;
        self.offset += 1;
        let character = match self.byte() {
            Some(character @ (b'"' | b'\\' | b'/')) => char::from(character),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.offset += 1;
                return self.code_units(start);
            }
            _ => return Err(self.expected("one of `\"\\/bfnrtu` after a backslash")),
        };
        self.offset += 1;
        Ok(character)
    }

    /// Reads the digits after `\u`, and a second escape if it belongs to the first.
    fn code_units(&mut self, start: usize) -> Result<char, Stop> {
        let first = self.hexadecimal()?;
        let after_first = self.offset;
        if (0xd800..0xdc00).contains(&first) && self.text[self.offset..].starts_with("\\u") {
            self.offset += 2;
            let second = self.hexadecimal()?;
            if let Some(Ok(character)) = char::decode_utf16([first, second]).next() {
                return Ok(character);
            }
            // The second escape stands for itself.
            self.offset = after_first;
        }
        match char::from_u32(u32::from(first)) {
            Some(character) => Ok(character),
            None => {
                self.note(start, Problem::LoneSurrogate(first));
                Ok(char::REPLACEMENT_CHARACTER)
            }
        }
    }

    fn hexadecimal(&mut self) -> Result<u16, Stop> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.expected("4 hexadecimal digits after `\\u`"));
            };
            value = value << 4 | digit as u16;
            self.offset += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), Stop> {
        let start = self.offset;
        self.take(b'-');
        let whole = self.offset;
        self.digits("a digit")?;
        if self.text[whole..].starts_with('0') && self.offset > whole + 1 {
            self.offset = whole + 1;
            return Err(self.expected("no digit after a leading 0"));
        }
        let mut float = false;
        if self.take(b'.') {
            float = true;
            self.digits("a digit after the decimal point")?;
        }
        let significand = start..self.offset;
        if self.take(b'e') || self.take(b'E') {
            float = true;
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits("a digit in the exponent")?;
        }
        let text = &self.text[start..self.offset];
        if float {
            self.float(start, text, &self.text[significand]);
        } else if let Ok(value) = text.parse() {
            message_pack::write_unsigned(self.out, value);
        } else if let Ok(value) = text.parse() {
            message_pack::write_signed(self.out, value);
        } else {
            self.note(start, Problem::Integer(quoted(text)));
        }
        Ok(())
    }

    fn float(&mut self, start: usize, text: &str, significand: &str) {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && (value != 0.0 || is_zero(significand)) => {
                message_pack::write_float(self.out, value);
            }
            _ => self.note(start, Problem::Float(quoted(text))),
        }
    }

    fn digits(&mut self, expected: &'static str) -> Result<(), Stop> {
        let rest = &self.text.as_bytes()[self.offset..];
        match rest.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => Err(self.expected(expected)),
            count => {
                self.offset += count;
                Ok(())
            }
        }
    }

    fn word(&mut self) -> Result<(), Stop> {
        let words = [("null", Marker::Null), ("true", Marker::True), ("false", Marker::False)];
        let rest = &self.text[self.offset..];
        match words.into_iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, marker)) => {
                self.offset += word.len();
                self.out.push(marker.to_u8());
                Ok(())
            }
            None => Err(self.expected("a value")),
        }
    }

    /// The next byte that is not white space; it is not taken.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.offset += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    const fn expected(&self, expected: &'static str) -> Stop {
        Stop::Syntax(self.offset, expected)
    }

    fn note(&mut self, offset: usize, problem: Problem) {
        self.problem.get_or_insert((offset, problem));
    }
}

fn is_zero(significand: &str) -> bool {
    significand.bytes().all(|byte| matches!(byte, b'-' | b'.' | b'0'))
}

fn quoted(number: &str) -> String {
    match number.get(..QUOTED_DIGITS) {
        Some(start) if number.len() > QUOTED_DIGITS => format!("{start}..."),
        _ => number.to_owned(),
    }
}
