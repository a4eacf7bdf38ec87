//! Walking over MessagePack values without decoding them.
//!
//! A master passes payloads on as bytes, and a worker cuts the payload of a call into its items:
//! both need to know where a value ends and nothing else. Reading is strict and never recurses.

use rmp::Marker;

use crate::limits::{MAX_ENVELOPE_DEPTH, MAX_PAYLOAD_DEPTH};

/// Why bytes are not the MessagePack value that was expected. Offsets count from the start of
/// the bytes that were given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The bytes end inside a value.
    #[error("the bytes end at offset {offset}, inside {expected}")]
    Truncated {
        /// Where the bytes end.
        offset: usize,
        /// What was being read.
        expected: &'static str,
    },
    /// A value nests deeper than the limit.
    #[error("the value that begins at offset {offset} nests deeper than {limit} levels")]
    TooDeep {
        /// Where the first value beyond the limit begins.
        offset: usize,
        /// The limit, in levels.
        limit: usize,
    },
    /// A value is of another type than expected.
    #[error("expected {expected} at offset {offset}, found {found}")]
    Unexpected {
        /// Where the value begins.
        offset: usize,
        /// What had to stand there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
}

impl ValueError {
    /// The same error with its offset counted from `distance` bytes earlier.
    #[must_use]
    pub const fn moved_by(self, distance: usize) -> Self {
        match self {
            Self::Truncated { offset, expected } => {
                Self::Truncated { offset: offset + distance, expected }
            }
            Self::TooDeep { offset, limit } => Self::TooDeep { offset: offset + distance, limit },
            Self::Unexpected { offset, expected, found } => {
                Self::Unexpected { offset: offset + distance, expected, found }
            }
        }
    }
}

/// What a value is, as far as the protocol tells values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Boolean,
    /// Any integer.
    Integer,
    /// A 32-bit or 64-bit float.
    Float,
    /// A string.
    String,
    /// Binary data.
    Binary,
    /// An array.
    Array,
    /// A map.
    Map,
    /// An extension type.
    Extension,
    /// The byte 0xc1, which MessagePack never uses.
    Reserved,
}

impl Kind {
    /// The kind of the value that begins with `byte`.
    pub const fn of(byte: u8) -> Self {
        match Marker::from_u8(byte) {
            Marker::Null => Self::Nil,
            Marker::True | Marker::False => Self::Boolean,
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => Self::Integer,
            Marker::F32 | Marker::F64 => Self::Float,
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => Self::String,
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Self::Binary,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => Self::Array,
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => Self::Map,
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => Self::Extension,
            Marker::Reserved => Self::Reserved,
        }
    }

    /// The kind in words, with its article.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Float => "a float",
            Self::String => "a string",
            Self::Binary => "binary data",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Extension => "an extension type",
            Self::Reserved => "the reserved byte 0xc1",
        }
    }
}

/// The length in bytes of the one value that `bytes` begin with.
///
/// ```
/// // [1, "ab"] and then a nil.
/// let bytes = [0x92, 0x01, 0xa2, b'a', b'b', 0xc0];
/// assert_eq!(protocol::value::skip(&bytes)?, 5);
/// # Ok::<(), protocol::value::ValueError>(())
/// ```
///
/// # Errors
/// [`ValueError::Truncated`], [`ValueError::TooDeep`] beyond [`MAX_PAYLOAD_DEPTH`] levels, and
/// [`ValueError::Unexpected`] at the reserved byte.
#[inline]
pub fn skip(bytes: &[u8]) -> Result<usize, ValueError> {
    match skip_flat(bytes) {
        Some(length) => Ok(length),
        None => skip_deep(bytes),
    }
}

fn skip_deep(bytes: &[u8]) -> Result<usize, ValueError> {
    let mut walk = Walk { bytes, offset: 0, max_depth: MAX_PAYLOAD_DEPTH };
    walk.value(|_, _, _| Ok(()))?;
    Ok(walk.offset)
}

/// As [`skip`], for what most items and results are: one value whose head tells its length, or an
/// array or a map of few such. `None` says nothing but that somebody else is to look.
#[inline]
fn skip_flat(bytes: &[u8]) -> Option<usize> {
    let &first = bytes.first()?;
    let length = match LENGTHS[first as usize] {
        0 => {
            let children = match first {
                0x80..=0x8f => 2 * (first & 0x0f),
                0x90..=0x9f => first & 0x0f,
                _ => return None,
            };
            let mut length = 1;
            for _ in 0..children {
                match LENGTHS[*bytes.get(length)? as usize] {
                    0 => return None,
                    child => length += child as usize,
                }
            }
            length
        }
        length => length as usize,
    };
    (length <= bytes.len()).then_some(length)
}

/// The length of the values that begin with each byte, in bytes; 0 where the byte alone does not
/// tell it.
static LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        lengths[byte] = match Marker::from_u8(byte as u8) {
            Marker::FixPos(_) | Marker::FixNeg(_) => 1,
            Marker::Null | Marker::True | Marker::False => 1,
            Marker::U8 | Marker::I8 => 2,
            Marker::U16 | Marker::I16 | Marker::FixExt1 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 9,
            Marker::FixStr(length) => 1 + length,
            Marker::FixExt2 => 4,
            Marker::FixExt4 => 6,
            Marker::FixExt8 => 10,
            Marker::FixExt16 => 18,
            _ => 0,
        };
        byte += 1;
    }
    lengths
};

/// The length in bytes of the envelope that `bytes` begin with: a map of one entry, whose value
/// is a map, with strings as keys at every level, and no float, binary data, extension type or
/// reserved byte in it.
///
/// # Errors
/// As for [`skip`], with [`MAX_ENVELOPE_DEPTH`] levels, and [`ValueError::Unexpected`] for
/// whatever may not stand in an envelope.
pub fn skip_envelope(bytes: &[u8]) -> Result<usize, ValueError> {
    if let Some(&first) = bytes.first() {
        expect(Kind::of(first), Kind::Map, "a map as the envelope", 0)?;
        if first != ONE_ENTRY {
            let found = "a map of another size or form";
            let expected = "a map of one entry (0x81) as the envelope";
            return Err(ValueError::Unexpected { offset: 0, expected, found });
        }
    }
    let mut walk = Walk { bytes, offset: 0, max_depth: MAX_ENVELOPE_DEPTH };
    walk.value(|kind, place, offset| match (place, kind) {
        (Place::Key, _) => expect(kind, Kind::String, "a string as the key of a map", offset),
        (Place::Value { depth: 1 }, _) => {
            expect(kind, Kind::Map, "a map of the fields of the message", offset)
        }
        (_, Kind::Float | Kind::Binary | Kind::Extension) => Err(ValueError::Unexpected {
            offset,
            expected: "a value that an envelope may hold",
            found: kind.name(),
        }),
        _ => Ok(()),
    })?;
    Ok(walk.offset)
}

fn expect(
    kind: Kind,
    wanted: Kind,
    expected: &'static str,
    offset: usize,
) -> Result<(), ValueError> {
    if kind == wanted {
        Ok(())
    } else {
        Err(ValueError::Unexpected { offset, expected, found: kind.name() })
    }
}

/// The byte that begins a map of one entry.
const ONE_ENTRY: u8 = 0x81;

/// Where in its parent a value stands.
#[derive(Clone, Copy)]
enum Place {
    /// A key of a map.
    Key,
    /// A value of a map that is this many levels deep, 1 being the outermost.
    Value { depth: usize },
    /// An element of an array, or the whole.
    Other,
}

/// A container whose values are not all read. A map alternates between keys and values, so the
/// parity of what is left tells which comes next.
struct Open {
    left: u64,
    map: bool,
}

struct Walk<'a> {
    bytes: &'a [u8],
    offset: usize,
    max_depth: usize,
}

impl Walk<'_> {
    /// Walks over one value and everything in it; `check` sees the kind, place and offset of
    /// each.
    fn value(
        &mut self,
        check: impl Fn(Kind, Place, usize) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let depth = open.len();
            let place = match open.last_mut() {
                Some(container) => {
                    container.left -= 1;
                    match container.map {
                        true if container.left % 2 == 1 => Place::Key,
                        true => Place::Value { depth },
                        false => Place::Other,
                    }
                }
                None => Place::Other,
            };
            let start = self.offset;
            let (kind, children) = self.head(place, &check)?;
            if matches!(kind, Kind::Array | Kind::Map) && open.len() == self.max_depth {
                return Err(ValueError::TooDeep { offset: start, limit: self.max_depth });
            }
            if children > 0 {
                open.push(Open { left: children, map: kind == Kind::Map });
            }
            while open.last().is_some_and(|container| container.left == 0) {
                open.pop();
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Reads one value up to its children, and tells how many of those follow.
    fn head(
        &mut self,
        place: Place,
        check: &impl Fn(Kind, Place, usize) -> Result<(), ValueError>,
    ) -> Result<(Kind, u64), ValueError> {
        let start = self.offset;
        let &[byte] = self.take::<1>("a value")?;
        let kind = Kind::of(byte);
        if kind == Kind::Reserved {
            let expected = "a MessagePack value";
            return Err(ValueError::Unexpected { offset: start, expected, found: kind.name() });
        }
        check(kind, place, start)?;
        let mut children = 0;
        match Marker::from_u8(byte) {
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::Null
            | Marker::True
            | Marker::False
            | Marker::Reserved => {}
            Marker::U8 | Marker::I8 => self.skip_bytes(1, "an integer")?,
            Marker::U16 | Marker::I16 => self.skip_bytes(2, "an integer")?,
            Marker::U32 | Marker::I32 => self.skip_bytes(4, "an integer")?,
            Marker::U64 | Marker::I64 => self.skip_bytes(8, "an integer")?,
            Marker::F32 => self.skip_bytes(4, "a float")?,
            Marker::F64 => self.skip_bytes(8, "a float")?,
            Marker::FixStr(length) => self.skip_bytes(u64::from(length), "a string")?,
            Marker::Str8 => self.skip_sized::<1>("a string")?,
            Marker::Str16 => self.skip_sized::<2>("a string")?,
            Marker::Str32 => self.skip_sized::<4>("a string")?,
            Marker::Bin8 => self.skip_sized::<1>("binary data")?,
            Marker::Bin16 => self.skip_sized::<2>("binary data")?,
            Marker::Bin32 => self.skip_sized::<4>("binary data")?,
            Marker::FixArray(length) => children = u64::from(length),
            Marker::Array16 => children = self.length::<2>("the length of an array")?,
            Marker::Array32 => children = self.length::<4>("the length of an array")?,
            Marker::FixMap(length) => children = 2 * u64::from(length),
            Marker::Map16 => children = 2 * self.length::<2>("the length of a map")?,
            Marker::Map32 => children = 2 * self.length::<4>("the length of a map")?,
            Marker::FixExt1 => self.skip_bytes(2, "an extension type")?,
            Marker::FixExt2 => self.skip_bytes(3, "an extension type")?,
            Marker::FixExt4 => self.skip_bytes(5, "an extension type")?,
            Marker::FixExt8 => self.skip_bytes(9, "an extension type")?,
            Marker::FixExt16 => self.skip_bytes(17, "an extension type")?,
            Marker::Ext8 => self.skip_extension::<1>()?,
            Marker::Ext16 => self.skip_extension::<2>()?,
            Marker::Ext32 => self.skip_extension::<4>()?,
        }
        Ok((kind, children))
    }

    fn skip_sized<const N: usize>(&mut self, expected: &'static str) -> Result<(), ValueError> {
        let length = self.length::<N>(expected)?;
        self.skip_bytes(length, expected)
    }

    fn skip_extension<const N: usize>(&mut self) -> Result<(), ValueError> {
        let expected = "an extension type";
        let length = self.length::<N>(expected)?;
        self.skip_bytes(length + 1, expected)
    }

    fn length<const N: usize>(&mut self, expected: &'static str) -> Result<u64, ValueError> {
        let bytes = self.take::<N>(expected)?;
        Ok(bytes.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)))
    }

    fn take<const N: usize>(&mut self, expected: &'static str) -> Result<&[u8; N], ValueError> {
        match self.bytes[self.offset..].first_chunk::<N>() {
            Some(chunk) => {
                self.offset += N;
                Ok(chunk)
            }
            None => Err(self.truncated(expected)),
        }
    }

    fn skip_bytes(&mut self, count: u64, expected: &'static str) -> Result<(), ValueError> {
        match usize::try_from(count) {
            Ok(count) if count <= self.bytes.len() - self.offset => {
                self.offset += count;
                Ok(())
            }
            _ => Err(self.truncated(expected)),
        }
    }

    const fn truncated(&self, expected: &'static str) -> ValueError {
        ValueError::Truncated { offset: self.bytes.len(), expected }
    }
}
