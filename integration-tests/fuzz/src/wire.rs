//! Encoded values and bodies of frames, right ones and broken ones, out of the bytes of a fuzzer.
//!
//! Bytes alone seldom pass the first check of a reader. So a target lets the fuzzer choose among
//! whole messages, and then damage some of them.

use arbitrary::Arbitrary;

/// A MessagePack value, or bytes that may be none.
#[derive(Debug, Clone, Arbitrary)]
pub enum Value {
    /// `nil`.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// An integer, in its longest form.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
    /// Binary data.
    Binary(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A map.
    Map(Vec<(Value, Value)>),
    /// One value in so many arrays.
    Nested(u16),
    /// Whatever this is.
    Raw(Vec<u8>),
}

impl Value {
    /// Appends the encoded value.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Boolean(value) => out.push(0xc2 + u8::from(*value)),
            Self::Integer(value) => {
                out.push(0xd3);
                out.extend(value.to_be_bytes());
            }
            Self::Float(value) => {
                out.push(0xcb);
                out.extend(value.to_be_bytes());
            }
            Self::Text(text) => sized(out, 0xdb, text.as_bytes()),
            Self::Binary(bytes) => sized(out, 0xc6, bytes),
            Self::Array(values) => array(out, values),
            Self::Map(entries) => map(out, entries),
            Self::Nested(levels) => {
                out.extend(std::iter::repeat_n(0x91, usize::from(*levels)));
                out.push(0xc0);
            }
            Self::Raw(bytes) => out.extend(bytes),
        }
    }
}

/// The arguments of one call of a function.
#[derive(Debug, Clone, Arbitrary)]
pub struct Item {
    positional: Vec<Value>,
    keywords: Vec<(Value, Value)>,
}

impl Item {
    /// Appends the encoded arguments, with those by keyword if the call says that it has them.
    pub fn write(&self, out: &mut Vec<u8>, keywords: bool) {
        array(out, &self.positional);
        if keywords {
            map(out, &self.keywords);
        }
    }
}

/// What happens to a body on its way.
#[derive(Debug, Clone, Arbitrary)]
pub enum Damage {
    /// A byte becomes another.
    Changed(u16, u8),
    /// A byte is lost.
    Lost(u16),
    /// Bytes come in between.
    Inserted(u16, Vec<u8>),
    /// The rest is lost.
    Cut(u16),
}

impl Damage {
    /// Does it to a body that is not empty, at a place that there is.
    pub fn strike(&self, body: &mut Vec<u8>) {
        let place = |place: &u16| usize::from(*place) % body.len().max(1);
        match self {
            _ if body.is_empty() => {}
            Self::Changed(at, byte) => {
                let at = place(at);
                body[at] = *byte;
            }
            Self::Lost(at) => drop(body.remove(place(at))),
            Self::Inserted(at, bytes) => {
                let at = place(at);
                drop(body.splice(at..at, bytes.iter().copied()));
            }
            Self::Cut(at) => body.truncate(place(at)),
        }
    }
}

fn sized(out: &mut Vec<u8>, marker: u8, bytes: &[u8]) {
    out.push(marker);
    count(out, bytes.len());
    out.extend(bytes);
}

fn array(out: &mut Vec<u8>, values: &[Value]) {
    out.push(0xdd);
    count(out, values.len());
    values.iter().for_each(|value| value.write(out));
}

fn map(out: &mut Vec<u8>, entries: &[(Value, Value)]) {
    out.push(0xdf);
    count(out, entries.len());
    for (key, value) in entries {
        key.write(out);
        value.write(out);
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    // An input of a fuzzer is far smaller than that.
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}
