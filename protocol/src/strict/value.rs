//! MessagePack values, read strictly and written in any form that the format has.

use std::fmt;

/// One value. It displays much as JSON would show it, for people; what is long is cut.
///
/// ```
/// use protocol::strict::{Form, Value, read};
///
/// let value = Value::fields([("id", Value::Integer(7)), ("note", Value::text("half"))]);
/// let bytes = value.encoded(Form::Shortest);
/// assert_eq!(read(&bytes, 0, 512).unwrap(), (value.clone(), bytes.len()));
/// assert_eq!(value.to_string(), r#"{"id": 7, "note": "half"}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Boolean(bool),
    /// From the least of 64 bits with a sign to the largest without.
    Integer(i128),
    /// The bits of a float of 32 bits.
    Float32(u32),
    /// The bits of a float of 64 bits.
    Float64(u64),
    /// A string, which may hold what is not UTF-8.
    String(Vec<u8>),
    /// Binary data.
    Binary(Vec<u8>),
    /// An array.
    Array(Vec<Self>),
    /// A map, in the order of the bytes; a key may stand there twice.
    Map(Vec<(Self, Self)>),
    /// An extension type and its data.
    Extension(i8, Vec<u8>),
}

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct Malformed {
    /// Where, counted from the start of the bytes.
    pub offset: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Reads one value of at most so many levels from the bytes at `offset`, and gives it with the offset
/// behind it.
///
/// # Errors
/// [`Malformed`] if the bytes end inside the value, hold the byte `c1`, or nest deeper.
pub fn read(bytes: &[u8], offset: usize, levels: usize) -> Result<(Value, usize), Malformed> {
    let mut reader = Reader { bytes, offset };
    let value = reader.value(levels)?;
    Ok((value, reader.offset))
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Malformed> {
        let end = self.offset.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or_else(|| Malformed {
            offset: self.bytes.len(),
            problem: format!("the bytes end inside {what}"),
        })?;
        self.offset += count;
        Ok(taken)
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, bytes: usize, what: &str) -> Result<u64, Malformed> {
        let taken = self.take(bytes, what)?;
        Ok(taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, bytes: usize, what: &str) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.number(bytes, what)?).unwrap_or(usize::MAX))
    }

    /// A number of so many bytes with a sign.
    fn signed(&mut self, bytes: usize) -> Result<i128, Malformed> {
        let unsigned = i128::from(self.number(bytes, "an integer")?);
        let half = 1_i128 << (8 * bytes - 1);
        Ok(if unsigned < half { unsigned } else { unsigned - 2 * half })
    }

    fn value(&mut self, levels: usize) -> Result<Value, Malformed> {
        let start = self.offset;
        let [first] = *self.take(1, "a value")? else { return Err(self.broken(start)) };
        let value = match first {
            0x00..=0x7f => Value::Integer(first.into()),
            0xe0..=0xff => Value::Integer(i128::from(first) - 256),
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(first == 0xc3),
            0xcc..=0xcf => {
                let number = self.number(1 << (first - 0xcc), "an integer")?;
                Value::Integer(number.into())
            }
            0xd0..=0xd3 => Value::Integer(self.signed(1 << (first - 0xd0))?),
            0xca => {
                let bits = self.number(4, "a float")?;
                Value::Float32(u32::try_from(bits).unwrap_or_default())
            }
            0xcb => Value::Float64(self.number(8, "a float")?),
            0xa0..=0xbf => self.string((first & 0x1f).into())?,
            0xd9..=0xdb => {
                let length = self.length(1 << (first - 0xd9), "the length of a string")?;
                self.string(length)?
            }
            0xc4..=0xc6 => {
                let length = self.length(1 << (first - 0xc4), "the length of binary data")?;
                Value::Binary(self.take(length, "binary data")?.to_vec())
            }
            0x90..=0x9f => self.array((first & 0x0f).into(), levels, start)?,
            0xdc | 0xdd => {
                let length = self.length(2 << (first - 0xdc), "the length of an array")?;
                self.array(length, levels, start)?
            }
            0x80..=0x8f => self.map((first & 0x0f).into(), levels, start)?,
            0xde | 0xdf => {
                let length = self.length(2 << (first - 0xde), "the length of a map")?;
                self.map(length, levels, start)?
            }
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xc7..=0xc9 => {
                let length = self.length(1 << (first - 0xc7), "the length of an extension")?;
                self.extension(length)?
            }
            0xc1 => {
                let problem = "the byte c1 stands for no value".to_owned();
                return Err(Malformed { offset: start, problem });
            }
        };
        Ok(value)
    }

    fn broken(&self, offset: usize) -> Malformed {
        Malformed { offset, problem: "there is no value".to_owned() }
    }

    fn string(&mut self, length: usize) -> Result<Value, Malformed> {
        Ok(Value::String(self.take(length, "a string")?.to_vec()))
    }

    fn extension(&mut self, length: usize) -> Result<Value, Malformed> {
        let kind = self.signed(1)?;
        let data = self.take(length, "an extension")?.to_vec();
        Ok(Value::Extension(i8::try_from(kind).unwrap_or_default(), data))
    }

    fn array(&mut self, length: usize, levels: usize, start: usize) -> Result<Value, Malformed> {
        let levels = inner(levels, start)?;
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(levels)?);
        }
        Ok(Value::Array(elements))
    }

    fn map(&mut self, length: usize, levels: usize, start: usize) -> Result<Value, Malformed> {
        let levels = inner(levels, start)?;
        let mut entries = Vec::new();
        for _ in 0..length {
            entries.push((self.value(levels)?, self.value(levels)?));
        }
        Ok(Value::Map(entries))
    }
}

/// How many levels are left inside of an array or a map.
fn inner(levels: usize, offset: usize) -> Result<usize, Malformed> {
    let problem = || "it nests deeper than it may".to_owned();
    levels.checked_sub(1).ok_or_else(|| Malformed { offset, problem: problem() })
}

/// How lengths and integers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In as few bytes as there is a form for.
    Shortest,
    /// In as many bytes as there is a form for.
    Longest,
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::String(text.as_bytes().to_vec())
    }

    /// A map with keys that are strings.
    pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(fields.into_iter().map(|(name, value)| (Self::text(name), value)).collect())
    }

    /// A float of 64 bits.
    pub const fn float(number: f64) -> Self {
        Self::Float64(number.to_bits())
    }

    /// So many arrays inside of one another; nil for none.
    pub fn nested(levels: usize) -> Self {
        match levels {
            0 => Self::Nil,
            _ => (1..levels).fold(Self::Array(vec![]), |inner, _| Self::Array(vec![inner])),
        }
    }

    /// The value as bytes.
    pub fn encoded(&self, form: Form) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(form, &mut bytes);
        bytes
    }

    /// Appends the value.
    pub fn write(&self, form: Form, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Self::Integer(number) => write_integer(*number, form, out),
            Self::Float32(bits) => {
                out.push(0xca);
                out.extend(bits.to_be_bytes());
            }
            Self::Float64(bits) => {
                out.push(0xcb);
                out.extend(bits.to_be_bytes());
            }
            Self::String(bytes) => {
                let short = Some((0xa0, 31));
                write_head(bytes.len(), short, &[(0xd9, 1), (0xda, 2), (0xdb, 4)], form, out);
                out.extend_from_slice(bytes);
            }
            Self::Binary(bytes) => {
                write_head(bytes.len(), None, &[(0xc4, 1), (0xc5, 2), (0xc6, 4)], form, out);
                out.extend_from_slice(bytes);
            }
            Self::Array(elements) => {
                let short = Some((0x90, 15));
                write_head(elements.len(), short, &[(0xdc, 2), (0xdd, 4)], form, out);
                elements.iter().for_each(|element| element.write(form, out));
            }
            Self::Map(entries) => {
                let short = Some((0x80, 15));
                write_head(entries.len(), short, &[(0xde, 2), (0xdf, 4)], form, out);
                for (key, value) in entries {
                    key.write(form, out);
                    value.write(form, out);
                }
            }
            Self::Extension(kind, data) => {
                match (data.len(), form) {
                    (1 | 2 | 4 | 8 | 16, Form::Shortest) => {
                        out.push(0xd4 + u8::try_from(data.len().ilog2()).unwrap_or_default());
                    }
                    (length, _) => {
                        write_head(length, None, &[(0xc7, 1), (0xc8, 2), (0xc9, 4)], form, out);
                    }
                }
                out.extend(kind.to_be_bytes());
                out.extend_from_slice(data);
            }
        }
    }

    /// How many levels of arrays and maps it has.
    pub fn levels(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::levels).max().unwrap_or(0),
            Self::Map(entries) => {
                let levels = |(key, value): &(Self, Self)| key.levels().max(value.levels());
                1 + entries.iter().map(levels).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Whether a worker that was given one may give the other back: the form and the order of maps
    /// are free (W-61).
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float32(_) | Self::Float64(_), Self::Float32(_) | Self::Float64(_)) => {
                match (self.as_float(), other.as_float()) {
                    (Some(one), Some(two)) if one.is_nan() => two.is_nan(),
                    (Some(one), Some(two)) => one.to_bits() == two.to_bits(),
                    _ => false,
                }
            }
            (Self::Array(one), Self::Array(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same(two))
            }
            (Self::Map(one), Self::Map(two)) => {
                let mut left: Vec<_> = two.iter().collect();
                one.len() == two.len()
                    && one.iter().all(|(key, value)| {
                        let same = |entry: &&(Self, Self)| {
                            key.is_same(&entry.0) && value.is_same(&entry.1)
                        };
                        let found = left.iter().position(same);
                        found.is_some_and(|place| {
                            left.swap_remove(place);
                            true
                        })
                    })
            }
            _ => self == other,
        }
    }

    /// The number of a float.
    fn as_float(&self) -> Option<f64> {
        match *self {
            Self::Float32(bits) => Some(f32::from_bits(bits).into()),
            Self::Float64(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }
}

fn write_integer(number: i128, form: Form, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let mut write = |marker: u8, width: usize| {
        out.push(marker);
        out.extend_from_slice(bytes.get(bytes.len() - width..).unwrap_or_default());
    };
    match number {
        0.. if form == Form::Longest => write(0xcf, 8),
        _ if form == Form::Longest => write(0xd3, 8),
        -32..=0x7f => out.extend_from_slice(bytes.last_chunk::<1>().unwrap_or(&[0])),
        0x80..=0xff => write(0xcc, 1),
        0x100..=0xffff => write(0xcd, 2),
        0x1_0000..=0xffff_ffff => write(0xce, 4),
        0x1_0000_0000.. => write(0xcf, 8),
        -0x80..=-33 => write(0xd0, 1),
        -0x8000..=-0x81 => write(0xd1, 2),
        -0x8000_0000..=-0x8001 => write(0xd2, 4),
        _ => write(0xd3, 8),
    }
}

/// Writes the marker and the length of something that has one: `short` is the marker that holds the
/// length itself, up to the most that it holds, `forms` the others with the width of their length.
fn write_head(
    length: usize,
    short: Option<(u8, usize)>,
    forms: &[(u8, usize)],
    form: Form,
    out: &mut Vec<u8>,
) {
    if let Some((marker, most)) = short
        && form == Form::Shortest
        && length <= most
    {
        out.push(marker + u8::try_from(length).unwrap_or_default());
        return;
    }
    let fits = |&&(_, width): &&(u8, usize)| width >= 8 || length >> (8 * width) == 0;
    let chosen = match form {
        Form::Shortest => forms.iter().find(fits),
        Form::Longest => forms.last(),
    };
    if let Some(&(marker, width)) = chosen {
        out.push(marker);
        let bytes = length.to_be_bytes();
        out.extend_from_slice(bytes.get(bytes.len() - width..).unwrap_or_default());
    }
}

/// As JSON where JSON has such a value, for people; long ones are cut.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Elements, and bytes, that are shown.
        const SHOWN: usize = 16;
        let dots = |length: usize| if length > SHOWN { ", ..." } else { "" };
        match self {
            Self::Nil => formatter.write_str("nil"),
            Self::Boolean(value) => write!(formatter, "{value}"),
            Self::Integer(number) => write!(formatter, "{number}"),
            Self::Float32(_) | Self::Float64(_) => {
                write!(formatter, "{:?}", self.as_float().unwrap_or_default())
            }
            Self::String(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let shown: String = text.chars().take(4 * SHOWN).collect();
                let cut = if shown.len() < text.len() { "..." } else { "" };
                write!(formatter, "{shown:?}{cut}")
            }
            Self::Binary(bytes) => write!(formatter, "bin of {}", bytes.len()),
            Self::Array(elements) => {
                formatter.write_str("[")?;
                for (number, element) in elements.iter().take(SHOWN).enumerate() {
                    let comma = if number > 0 { ", " } else { "" };
                    write!(formatter, "{comma}{element}")?;
                }
                write!(formatter, "{}]", dots(elements.len()))
            }
            Self::Map(entries) => {
                formatter.write_str("{")?;
                for (number, (key, value)) in entries.iter().take(SHOWN).enumerate() {
                    let comma = if number > 0 { ", " } else { "" };
                    write!(formatter, "{comma}{key}: {value}")?;
                }
                write!(formatter, "{}}}", dots(entries.len()))
            }
            Self::Extension(kind, data) => {
                write!(formatter, "extension {kind} of {}", data.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Value, Malformed> {
        read(bytes, 0, 512).map(|(value, end)| {
            assert_eq!(end, bytes.len(), "{bytes:02x?}");
            value
        })
    }

    fn samples() -> Vec<Value> {
        let mut samples = vec![
            Value::Nil,
            Value::Boolean(true),
            Value::Boolean(false),
            Value::float(-0.0),
            Value::Float32(1.5_f32.to_bits()),
            Value::Map(vec![(Value::Integer(1), Value::nested(3))]),
        ];
        let edges = [5_u32, 7, 8, 15, 16, 31, 32, 63].map(|bits| 1_i128 << bits);
        samples.extend(
            edges
                .iter()
                .flat_map(|edge| [*edge - 1, *edge, -*edge, -*edge - 1].map(Value::Integer)),
        );
        samples.retain(|value| !matches!(value, Value::Integer(..=-0x8000_0000_0000_0001)));
        samples.push(Value::Integer(u64::MAX.into()));
        for length in [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536] {
            samples.push(Value::String(vec![b'a'; length]));
            samples.push(Value::Binary(vec![0; length]));
            samples.push(Value::Extension(-7, vec![1; length]));
            samples.push(Value::Array(vec![Value::Nil; length]));
        }
        samples
    }

    #[test]
    fn what_is_written_is_read() {
        for sample in samples() {
            for form in [Form::Shortest, Form::Longest] {
                assert_eq!(whole(&sample.encoded(form)), Ok(sample.clone()), "{form:?}");
            }
            assert!(sample.is_same(&sample));
        }
    }

    #[test]
    fn the_shortest_form_is_what_another_encoder_writes() {
        for sample in samples() {
            let mut other = Vec::new();
            match &sample {
                Value::Integer(number) => {
                    let written = match u64::try_from(*number) {
                        Ok(number) => rmp::encode::write_uint(&mut other, number),
                        Err(_) => {
                            let number = i64::try_from(*number).expect("it has 64 bits");
                            rmp::encode::write_sint(&mut other, number)
                        }
                    };
                    written.expect("it fits");
                }
                Value::String(bytes) => {
                    let text = std::str::from_utf8(bytes).expect("it is text");
                    rmp::encode::write_str(&mut other, text).expect("it fits");
                }
                Value::Binary(bytes) => {
                    rmp::encode::write_bin(&mut other, bytes).expect("it fits");
                }
                _ => continue,
            }
            assert_eq!(sample.encoded(Form::Shortest), other, "{sample}");
        }
    }

    #[test]
    fn what_is_cut_short_or_reserved_or_too_deep_is_refused() {
        for sample in samples() {
            let bytes = sample.encoded(Form::Shortest);
            for end in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
                assert!(whole(&bytes[..end]).is_err(), "{sample} cut to {end}");
            }
        }
        assert_eq!(whole(&[0x91, 0xc1]).map_err(|error| error.offset), Err(1));
        assert_eq!(Value::nested(512).levels(), 512);
        assert!(whole(&Value::nested(512).encoded(Form::Shortest)).is_ok());
        let deep = whole(&Value::nested(513).encoded(Form::Shortest));
        assert_eq!(deep.map_err(|error| error.offset), Err(512));
    }

    #[test]
    fn sameness_is_about_values() {
        let one = Value::fields([("a", Value::Integer(1)), ("b", Value::Nil)]);
        let two = Value::fields([("b", Value::Nil), ("a", Value::Integer(1))]);
        assert!(one.is_same(&two));
        assert!(Value::Float32(1.5_f32.to_bits()).is_same(&Value::float(1.5)));
        assert!(Value::float(f64::NAN).is_same(&Value::Float32(f32::NAN.to_bits())));
        assert!(!Value::float(0.0).is_same(&Value::float(-0.0)));
        assert!(!Value::float(1.0).is_same(&Value::Integer(1)));
        assert!(!Value::text("a").is_same(&Value::Binary(b"a".to_vec())));
        assert!(!one.is_same(&Value::fields([("a", Value::Integer(1))])));
    }
}
