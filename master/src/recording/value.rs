//! MessagePack values as such: read, compared by what they mean, written again.

use protocol::value::{self, ValueError};
use rmp::Marker;

/// A MessagePack value, whose texts and data lie where it was read from.
///
/// ```
/// use master::recording::Value;
///
/// let (value, length) = Value::read(b"\x92\xcc\x05\xa1a\xc0")?;
/// assert_eq!(value, Value::Array(vec![Value::Integer(5), Value::String(b"a")]));
/// assert_eq!(length, 5);
/// # Ok::<(), protocol::value::ValueError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nil.
    Nil,
    /// True or false.
    Boolean(bool),
    /// An integer, in whatever form it was.
    Integer(i128),
    /// A float of 32 bits.
    Float32(f32),
    /// A float of 64 bits.
    Float(f64),
    /// A string, which is UTF-8 unless somebody made a mistake.
    String(&'a [u8]),
    /// Binary data.
    Binary(&'a [u8]),
    /// An extension type and its data.
    Extension(i8, &'a [u8]),
    /// An array.
    Array(Vec<Value<'a>>),
    /// A map, in the order in which its entries stand.
    Map(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Reads the one value that `bytes` begin with, and tells how many of them it takes.
    ///
    /// # Errors
    /// As [`protocol::value::skip`]: cut short, deeper than 512 levels, or the byte `c1`.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), ValueError> {
        Self::read_start(bytes, &mut usize::MAX.clone())
    }

    /// The same with at most so many values in it, counted down: what is behind them is not there.
    fn read_start(bytes: &'a [u8], most: &mut usize) -> Result<(Self, usize), ValueError> {
        // Found out first, so that what follows is well formed and not too deep to recurse into.
        let length = value::skip(bytes)?;
        let bytes = bytes.get(..length).unwrap_or_default();
        let mut reader = Reader { bytes, offset: 0, left: *most };
        let value = reader.value()?;
        *most = reader.left;
        Ok((value, length))
    }

    /// Reads all values of a payload.
    ///
    /// # Errors
    /// As [`Self::read`]; offsets count from the start of the payload.
    pub fn read_all(payload: &'a [u8]) -> Result<Vec<Self>, ValueError> {
        Self::read_all_start(payload, usize::MAX)
    }

    /// The same with at most so many values in all: what is behind them is looked through and not
    /// kept.
    pub(super) fn read_all_start(
        payload: &'a [u8],
        mut most: usize,
    ) -> Result<Vec<Self>, ValueError> {
        let (mut values, mut offset) = (Vec::new(), 0);
        while let Some(rest) = payload.get(offset..).filter(|rest| !rest.is_empty()) {
            let moved = |error: ValueError| error.moved_by(offset);
            offset += if most > 0 {
                let (value, length) = Self::read_start(rest, &mut most).map_err(moved)?;
                values.push(value);
                length
            } else {
                value::skip(rest).map_err(moved)?
            };
        }
        Ok(values)
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value of this key, if it is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// Appends the value, everything in its shortest form.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(Marker::Null.to_u8()),
            Self::Boolean(false) => out.push(Marker::False.to_u8()),
            Self::Boolean(true) => out.push(Marker::True.to_u8()),
            Self::Integer(number) => write_integer(out, *number),
            Self::Float32(number) => append(out, Marker::F32, &number.to_be_bytes()),
            Self::Float(number) => append(out, Marker::F64, &number.to_be_bytes()),
            Self::String(bytes) => {
                match size(bytes.len()) {
                    [0, 0, 0, length @ 0..0x20] => out.push(Marker::FixStr(length).to_u8()),
                    [0, 0, 0, length] => append(out, Marker::Str8, &[length]),
                    [0, 0, length @ ..] => append(out, Marker::Str16, &length),
                    length => append(out, Marker::Str32, &length),
                }
                out.extend_from_slice(bytes);
            }
            Self::Binary(bytes) => {
                match size(bytes.len()) {
                    [0, 0, 0, length] => append(out, Marker::Bin8, &[length]),
                    [0, 0, length @ ..] => append(out, Marker::Bin16, &length),
                    length => append(out, Marker::Bin32, &length),
                }
                out.extend_from_slice(bytes);
            }
            Self::Extension(kind, bytes) => {
                match size(bytes.len()) {
                    [0, 0, 0, 1] => out.push(Marker::FixExt1.to_u8()),
                    [0, 0, 0, 2] => out.push(Marker::FixExt2.to_u8()),
                    [0, 0, 0, 4] => out.push(Marker::FixExt4.to_u8()),
                    [0, 0, 0, 8] => out.push(Marker::FixExt8.to_u8()),
                    [0, 0, 0, 16] => out.push(Marker::FixExt16.to_u8()),
                    [0, 0, 0, length] => append(out, Marker::Ext8, &[length]),
                    [0, 0, length @ ..] => append(out, Marker::Ext16, &length),
                    length => append(out, Marker::Ext32, &length),
                }
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Array(elements) => {
                match size(elements.len()) {
                    [0, 0, 0, length @ 0..0x10] => out.push(Marker::FixArray(length).to_u8()),
                    [0, 0, length @ ..] => append(out, Marker::Array16, &length),
                    length => append(out, Marker::Array32, &length),
                }
                elements.iter().for_each(|element| element.write(out));
            }
            Self::Map(entries) => {
                match size(entries.len()) {
                    [0, 0, 0, length @ 0..0x10] => out.push(Marker::FixMap(length).to_u8()),
                    [0, 0, length @ ..] => append(out, Marker::Map16, &length),
                    length => append(out, Marker::Map32, &length),
                }
                for (key, value) in entries {
                    key.write(out);
                    value.write(out);
                }
            }
        }
    }

    /// Where two values first differ, as a path such as `$[2].name`; `None` if they are the same
    /// value: integers whatever their form, floats of 32 and 64 bits by what they are, within
    /// `tolerance` of each other and not a number like not a number, maps in whatever order. An
    /// integer and a float are never the same.
    ///
    /// ```
    /// use master::recording::Value;
    ///
    /// let (one, other) = ([0x92, 1, 2], [0x92, 0xcd, 0, 1, 3]);
    /// let (one, other) = (Value::read(&one)?.0, Value::read(&other)?.0);
    /// assert_eq!(one.difference(&other, 0.0).as_deref(), Some("$[1]"));
    /// # Ok::<(), protocol::value::ValueError>(())
    /// ```
    pub fn difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        let mut path = Vec::new();
        self.differs(other, tolerance, &mut path).then(|| {
            path.reverse();
            format!("${}", path.concat())
        })
    }

    /// Whether they differ; `path` is from the inside to the outside.
    fn differs(&self, other: &Self, tolerance: f64, path: &mut Vec<String>) -> bool {
        match (self, other) {
            (Self::Float(_) | Self::Float32(_), Self::Float(_) | Self::Float32(_)) => {
                !same_float(self.float(), other.float(), tolerance)
            }
            (Self::Array(one), Self::Array(other)) => {
                let differs = one.iter().zip(other).enumerate().any(|(index, (one, other))| {
                    let differs = one.differs(other, tolerance, path);
                    if differs {
                        path.push(format!("[{index}]"));
                    }
                    differs
                });
                differs || one.len() != other.len()
            }
            (Self::Map(one), Self::Map(other)) => {
                if one.len() != other.len() {
                    return true;
                }
                let (one, other) = (sorted(one), sorted(other));
                one.iter().zip(&other).any(|((key, value), (other_key, other_value))| {
                    if key != other_key {
                        return true;
                    }
                    let differs = value.differs(other_value, tolerance, path);
                    if differs {
                        path.push(step(key));
                    }
                    differs
                })
            }
            _ => self != other,
        }
    }

    fn float(&self) -> f64 {
        match self {
            Self::Float(number) => *number,
            Self::Float32(number) => f64::from(*number),
            _ => f64::NAN,
        }
    }
}

/// Two floats that may differ by so much, relative to the larger of them beyond 1.
fn same_float(one: f64, other: f64, tolerance: f64) -> bool {
    #[expect(clippy::float_cmp, reason = "the same value is what is asked for")]
    let same = one == other || one.is_nan() && other.is_nan();
    let scale = one.abs().max(other.abs()).max(1.0);
    same || (one - other).abs() <= tolerance * scale && scale.is_finite()
}

/// The entries of a map in the order of their encoded keys.
fn sorted<'v, 'a>(entries: &'v [(Value<'a>, Value<'a>)]) -> Vec<(Vec<u8>, &'v Value<'a>)> {
    let mut sorted: Vec<_> = entries
        .iter()
        .map(|(key, value)| {
            let mut encoded = Vec::new();
            key.write(&mut encoded);
            (encoded, value)
        })
        .collect();
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    sorted
}

/// A step of a path, by an encoded key.
fn step(key: &[u8]) -> String {
    match Value::read(key) {
        Ok((Value::String(text), _)) => format!(".{}", String::from_utf8_lossy(text)),
        Ok((key, _)) => format!("[{}]", super::Notation::SHORT.text(&key)),
        Err(_) => String::new(),
    }
}

fn write_integer(out: &mut Vec<u8>, number: i128) {
    let bytes = number.to_be_bytes();
    let [.., last] = bytes;
    match number {
        -0x20..=0x7f => out.push(last),
        0x80..=0xff => append(out, Marker::U8, &bytes[15..]),
        0x100..=0xffff => append(out, Marker::U16, &bytes[14..]),
        0x1_0000..=0xffff_ffff => append(out, Marker::U32, &bytes[12..]),
        0x1_0000_0000.. => append(out, Marker::U64, &bytes[8..]),
        -0x80..=-0x21 => append(out, Marker::I8, &bytes[15..]),
        -0x8000..=-0x81 => append(out, Marker::I16, &bytes[14..]),
        -0x8000_0000..=-0x8001 => append(out, Marker::I32, &bytes[12..]),
        _ => append(out, Marker::I64, &bytes[8..]),
    }
}

fn append(out: &mut Vec<u8>, marker: Marker, bytes: &[u8]) {
    out.push(marker.to_u8());
    out.extend_from_slice(bytes);
}

/// Whatever was read had a length of 32 bits.
const fn size(length: usize) -> [u8; 4] {
    (length as u32).to_be_bytes()
}

/// What a byte begins.
enum Begun<'a> {
    Value(Value<'a>),
    Container(Open<'a>),
}

impl Begun<'_> {
    const fn array(left: u64) -> Self {
        Self::Container(Open { is_map: false, elements: Vec::new(), left })
    }

    const fn map(pairs: u64) -> Self {
        Self::Container(Open { is_map: true, elements: Vec::new(), left: 2 * pairs })
    }
}

/// An array or a map of which not everything is read. Room is made as elements come, so that no
/// length is believed.
struct Open<'a> {
    is_map: bool,
    elements: Vec<Value<'a>>,
    /// Values that are still to come; of a map a key and its value are two.
    left: u64,
}

impl<'a> Open<'a> {
    fn into_value(self) -> Value<'a> {
        if !self.is_map {
            return Value::Array(self.elements);
        }
        let mut elements = self.elements.into_iter();
        let pair = || Some((elements.next()?, elements.next()?));
        Value::Map(std::iter::from_fn(pair).collect())
    }
}

/// Reads what is known to be well formed; errors are there so that nothing depends on that.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// So many more values are read, a container being one itself.
    left: usize,
}

impl<'a> Reader<'a> {
    /// Reads a value. It does not recurse: the levels of a value would need more of a small stack
    /// than there is.
    fn value(&mut self) -> Result<Value<'a>, ValueError> {
        let mut open: Vec<Open<'a>> = Vec::new();
        loop {
            let begun = self.begin()?;
            self.left = self.left.saturating_sub(1);
            let is_cut = self.left == 0;
            let mut value = match begun {
                Begun::Value(value) => value,
                Begun::Container(container) => {
                    open.push(container);
                    // An empty one is complete at once.
                    match open.pop_if(|container| container.left == 0 || is_cut) {
                        Some(container) => container.into_value(),
                        None => continue,
                    }
                }
            };
            loop {
                let Some(container) = open.last_mut() else { return Ok(value) };
                container.elements.push(value);
                container.left -= 1;
                match open.pop_if(|container| container.left == 0 || is_cut) {
                    Some(container) => value = container.into_value(),
                    None => break,
                }
            }
        }
    }

    /// Reads a value that is no container, or the head of one that is.
    fn begin(&mut self) -> Result<Begun<'a>, ValueError> {
        let start = self.offset;
        let marker = Marker::from_u8(self.number::<1>()? as u8);
        Ok(Begun::Value(match marker {
            Marker::Null => Value::Nil,
            Marker::False => Value::Boolean(false),
            Marker::True => Value::Boolean(true),
            Marker::FixPos(number) => Value::Integer(i128::from(number)),
            Marker::FixNeg(number) => Value::Integer(i128::from(number)),
            Marker::U8 => Value::Integer(i128::from(self.number::<1>()?)),
            Marker::U16 => Value::Integer(i128::from(self.number::<2>()?)),
            Marker::U32 => Value::Integer(i128::from(self.number::<4>()?)),
            Marker::U64 => Value::Integer(i128::from(self.number::<8>()?)),
            Marker::I8 => Value::Integer(i128::from(self.number::<1>()? as i8)),
            Marker::I16 => Value::Integer(i128::from(self.number::<2>()? as i16)),
            Marker::I32 => Value::Integer(i128::from(self.number::<4>()? as i32)),
            Marker::I64 => Value::Integer(i128::from(self.number::<8>()?.cast_signed())),
            Marker::F32 => Value::Float32(f32::from_bits(self.number::<4>()? as u32)),
            Marker::F64 => Value::Float(f64::from_bits(self.number::<8>()?)),
            Marker::FixStr(length) => Value::String(self.take(u64::from(length))?),
            Marker::Str8 => Value::String(self.sized::<1>()?),
            Marker::Str16 => Value::String(self.sized::<2>()?),
            Marker::Str32 => Value::String(self.sized::<4>()?),
            Marker::Bin8 => Value::Binary(self.sized::<1>()?),
            Marker::Bin16 => Value::Binary(self.sized::<2>()?),
            Marker::Bin32 => Value::Binary(self.sized::<4>()?),
            Marker::FixArray(length) => return Ok(Begun::array(u64::from(length))),
            Marker::Array16 => return Ok(Begun::array(self.number::<2>()?)),
            Marker::Array32 => return Ok(Begun::array(self.number::<4>()?)),
            Marker::FixMap(length) => return Ok(Begun::map(u64::from(length))),
            Marker::Map16 => return Ok(Begun::map(self.number::<2>()?)),
            Marker::Map32 => return Ok(Begun::map(self.number::<4>()?)),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => {
                let length = self.number::<1>()?;
                self.extension(length)?
            }
            Marker::Ext16 => {
                let length = self.number::<2>()?;
                self.extension(length)?
            }
            Marker::Ext32 => {
                let length = self.number::<4>()?;
                self.extension(length)?
            }
            Marker::Reserved => {
                let (expected, found) = ("a MessagePack value", "the reserved byte c1");
                return Err(ValueError::Unexpected { offset: start, expected, found });
            }
        }))
    }

    fn extension(&mut self, length: u64) -> Result<Value<'a>, ValueError> {
        let kind = self.number::<1>()? as i8;
        Ok(Value::Extension(kind, self.take(length)?))
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], ValueError> {
        let length = self.number::<N>()?;
        self.take(length)
    }

    /// An unsigned number of so many bytes.
    fn number<const N: usize>(&mut self) -> Result<u64, ValueError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ValueError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let Some(taken) = taken else {
            let (offset, expected) = (self.bytes.len(), "a value");
            return Err(ValueError::Truncated { offset, expected });
        };
        self.offset += taken.len();
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Value<'_> {
        Value::read(bytes).unwrap().0
    }

    #[track_caller]
    fn check(one: &[u8], other: &[u8], tolerance: f64, expected: Option<&str>) {
        let (one, other) = (read(one), read(other));
        assert_eq!(one.difference(&other, tolerance).as_deref(), expected);
        assert_eq!(other.difference(&one, tolerance).as_deref(), expected);
        assert_eq!(one.difference(&one, tolerance), None);
    }

    #[test]
    fn values_are_the_same_by_what_they_mean() {
        check(b"\x05", b"\xd3\0\0\0\0\0\0\0\x05", 0.0, None);
        check(b"\xff", b"\xd1\xff\xff", 0.0, None);
        check(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xff", 0.0, Some("$"));
        // 1.5 in both sizes, and one as an integer and as a float.
        check(b"\xca\x3f\xc0\0\0", b"\xcb\x3f\xf8\0\0\0\0\0\0", 0.0, None);
        check(b"\x01", b"\xcb\x3f\xf0\0\0\0\0\0\0", 1.0, Some("$"));
        check(b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xca\x7f\xc0\0\0", 0.0, None);
        check(b"\xa1a", b"\xd9\x01a", 0.0, None);
        check(b"\xa1a", b"\xc4\x01a", 0.0, Some("$"));
        check(b"\x82\xa1a\x01\xa1b\x02", b"\xde\0\x02\xa1b\x02\xa1a\x01", 0.0, None);
        check(
            b"\x82\xa1a\x01\xa1b\x92\x01\x02",
            b"\x82\xa1b\x92\x01\x03\xa1a\x01",
            0.0,
            Some("$.b[1]"),
        );
        check(b"\x91\x01", b"\x92\x01\x02", 0.0, Some("$"));
        check(b"\x81\x01\x01", b"\x81\xcc\x01\x02", 0.0, Some("$[1]"));
    }

    #[test]
    fn floats_may_differ_by_the_tolerance() {
        let encoded = |number: f64| [&[0xcb][..], &number.to_be_bytes()].concat();
        check(&encoded(1.0), &encoded(1.001), 0.0, Some("$"));
        check(&encoded(1.0), &encoded(1.001), 0.01, None);
        check(&encoded(1e9), &encoded(1.001e9), 0.01, None);
        check(&encoded(0.0), &encoded(-0.0), 0.0, None);
        check(&encoded(f64::INFINITY), &encoded(1.0), 0.5, Some("$"));
        check(&encoded(f64::NAN), &encoded(1.0), 0.5, Some("$"));
    }

    #[test]
    fn what_is_written_is_what_was_read_in_its_shortest_form() {
        for (long, short) in [
            (&b"\xd3\0\0\0\0\0\0\0\x05"[..], &b"\x05"[..]),
            (b"\xd1\xff\x80", b"\xd0\x80"),
            (b"\xcf\0\0\0\0\xff\xff\xff\xff", b"\xce\xff\xff\xff\xff"),
            (b"\xdb\0\0\0\x01a", b"\xa1a"),
            (b"\xc6\0\0\0\x01a", b"\xc4\x01a"),
            (b"\xc7\x01\x07a", b"\xd4\x07a"),
            (b"\xdd\0\0\0\x01\xc0", b"\x91\xc0"),
            (b"\xdf\0\0\0\x01\xc2\xc3", b"\x81\xc2\xc3"),
            (b"\xca\x3f\xc0\0\0", b"\xca\x3f\xc0\0\0"),
        ] {
            let mut written = Vec::new();
            read(long).write(&mut written);
            assert_eq!(written, short);
        }
    }

    #[test]
    fn of_many_values_the_first_are_read() {
        let read = |most| {
            let payload = b"\x93\x01\x82\xa1a\x02\xa1b\x03\x04\x05\xdc\xff";
            let whole = &payload[..payload.len() - 2];
            assert!(Value::read_all_start(payload, most).is_err(), "the end is looked through");
            let values = Value::read_all_start(whole, most).unwrap();
            super::super::Notation::SHORT.texts(&values)
        };
        assert_eq!(read(usize::MAX), r#"[1,{"a":2,"b":3},4] 5"#);
        assert_eq!(read(8), r#"[1,{"a":2,"b":3},4]"#);
        assert_eq!(read(7), r#"[1,{"a":2,"b":3}]"#);
        assert_eq!(read(6), r#"[1,{"a":2}]"#);
        assert_eq!(read(3), "[1,{}]");
        assert_eq!(read(1), "[]");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bytes in
            [&b""[..], b"\xc1", b"\x92\x01", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
        {
            assert!(Value::read(bytes).is_err(), "{bytes:02x?}");
        }
        let deep = [vec![0x91; 600], vec![0xc0]].concat();
        assert!(Value::read(&deep).is_err());
        let deepest = [vec![0x91; 512], vec![0xc0]].concat();
        let value = read(&deepest);
        assert_eq!(value.difference(&value.clone(), 0.0), None);
        assert!(super::super::Notation::EXACT.text(&value).ends_with("]]]"));
        let mut written = Vec::new();
        value.write(&mut written);
        assert_eq!(written, deepest);
    }
}
