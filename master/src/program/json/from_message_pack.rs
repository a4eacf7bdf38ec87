//! From MessagePack to JSON.

use std::io::Write;

use protocol::{
    limits::MAX_PAYLOAD_DEPTH,
    value::{Kind, ValueError},
};
use rmp::Marker;

use crate::program::{decimal, search};

/// The keys of the agreed forms.
const FORMS: [&str; 5] = ["\"$float\"", "\"$binary\"", "\"$extension\"", "\"$string\"", "\"$map\""];

/// Why a payload cannot be turned into JSON: it is not one value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// A value is malformed, cut short or too deep.
    #[error("malformed MessagePack: {0}")]
    Value(#[from] ValueError),
    /// There are bytes behind the value.
    #[error("malformed MessagePack: expected one value, found {surplus} more bytes")]
    Surplus {
        /// How many bytes follow the value.
        surplus: usize,
    },
}

/// Appends to `out` the JSON text, on one line and without a line end, of the one MessagePack
/// value that `payload` holds. On an error `out` is as it was before.
///
/// ```
/// use master::program::json;
///
/// let mut out = Vec::new();
/// json::to_json(b"\x93\x01\xcb\x3f\xf0\0\0\0\0\0\0\xc4\x02hi", &mut out)?;
/// assert_eq!(out, br#"[1,1.0,{"$binary":"aGk="}]"#);
/// # Ok::<(), json::PayloadError>(())
/// ```
///
/// # Errors
/// [`PayloadError`] for a payload that is not one value. Every value has a form.
pub fn to_json(payload: &[u8], out: &mut Vec<u8>) -> Result<(), PayloadError> {
    let start = out.len();
    let mut printer = Printer { payload, offset: 0, out, open: Vec::new(), entries: Vec::new() };
    let result = printer.value().map_err(PayloadError::from).and_then(|()| {
        match payload.len() - printer.offset {
            0 => Ok(()),
            surplus => Err(PayloadError::Surplus { surplus }),
        }
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// An array or a map whose values are not all printed.
struct Open {
    /// Where in the output it begins.
    start: usize,
    /// Values that are still to come; each pair of a map is two.
    left: u64,
    kind: Container,
}

enum Container {
    Array,
    /// Its entries are those from this one on.
    Map {
        first_entry: usize,
    },
}

/// Where in the output an entry of an open map begins, and where its colon is.
struct Entry {
    start: usize,
    colon: usize,
}

struct Printer<'a> {
    payload: &'a [u8],
    offset: usize,
    out: &'a mut Vec<u8>,
    open: Vec<Open>,
    entries: Vec<Entry>,
}

impl<'a> Printer<'a> {
    fn value(&mut self) -> Result<(), ValueError> {
        loop {
            self.separate();
            self.begin_value()?;
            while let Some(container) = self.open.pop_if(|container| container.left == 0) {
                self.end(&container);
            }
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Prints what stands between the value before and the one that comes.
    fn separate(&mut self) {
        let Some(container) = self.open.last_mut() else { return };
        let first = self.out.len() == container.start + 1;
        container.left -= 1;
        let value_of_entry = match container.kind {
            Container::Map { .. } if container.left % 2 == 0 => self.entries.last_mut(),
            _ => None,
        };
        if let Some(entry) = value_of_entry {
            entry.colon = self.out.len();
            self.out.push(b':');
            return;
        }
        if !first {
            self.out.push(b',');
        }
        if let Container::Map { .. } = container.kind {
            self.entries.push(Entry { start: self.out.len(), colon: self.out.len() });
        }
    }

    /// Prints a value that is no container, or opens one.
    fn begin_value(&mut self) -> Result<(), ValueError> {
        let start = self.offset;
        let [byte] = self.take("a value")?;
        match Marker::from_u8(byte) {
            Marker::Null => self.print("null"),
            Marker::True => self.print("true"),
            Marker::False => self.print("false"),
            Marker::FixPos(value) => decimal::write_unsigned(self.out, u64::from(value)),
            Marker::FixNeg(value) => decimal::write_signed(self.out, i64::from(value)),
            Marker::U8 => self.unsigned::<1>()?,
            Marker::U16 => self.unsigned::<2>()?,
            Marker::U32 => self.unsigned::<4>()?,
            Marker::U64 => self.unsigned::<8>()?,
            Marker::I8 => self.signed::<1>()?,
            Marker::I16 => self.signed::<2>()?,
            Marker::I32 => self.signed::<4>()?,
            Marker::I64 => self.signed::<8>()?,
            Marker::F32 => {
                let value = f32::from_be_bytes(self.take("a float")?);
                self.float(f64::from(value));
            }
            Marker::F64 => {
                let value = f64::from_be_bytes(self.take("a float")?);
                self.float(value);
            }
            Marker::FixStr(length) => self.string(u64::from(length))?,
            Marker::Str8 => self.sized::<1>(Self::string)?,
            Marker::Str16 => self.sized::<2>(Self::string)?,
            Marker::Str32 => self.sized::<4>(Self::string)?,
            Marker::Bin8 => self.sized::<1>(Self::binary)?,
            Marker::Bin16 => self.sized::<2>(Self::binary)?,
            Marker::Bin32 => self.sized::<4>(Self::binary)?,
            Marker::FixArray(length) => self.array(start, u64::from(length))?,
            Marker::Array16 => self.sized::<2>(|this, length| this.array(start, length))?,
            Marker::Array32 => self.sized::<4>(|this, length| this.array(start, length))?,
            Marker::FixMap(length) => self.map(start, u64::from(length))?,
            Marker::Map16 => self.sized::<2>(|this, length| this.map(start, length))?,
            Marker::Map32 => self.sized::<4>(|this, length| this.map(start, length))?,
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.sized::<1>(Self::extension)?,
            Marker::Ext16 => self.sized::<2>(Self::extension)?,
            Marker::Ext32 => self.sized::<4>(Self::extension)?,
            Marker::Reserved => {
                let expected = "a MessagePack value";
                let found = Kind::Reserved.name();
                return Err(ValueError::Unexpected { offset: start, expected, found });
            }
        }
        Ok(())
    }

    fn unsigned<const N: usize>(&mut self) -> Result<(), ValueError> {
        let value = number(self.take::<N>("an integer")?);
        decimal::write_unsigned(self.out, value);
        Ok(())
    }

    fn signed<const N: usize>(&mut self) -> Result<(), ValueError> {
        let value = number(self.take::<N>("an integer")?);
        // The sign is the first bit of the N bytes, wherever they stand in the 8.
        let unused = u64::BITS - 8 * N as u32;
        decimal::write_signed(self.out, (value << unused).cast_signed() >> unused);
        Ok(())
    }

    fn float(&mut self, value: f64) {
        if value.is_nan() {
            self.print(r#"{"$float":"NaN"}"#);
        } else if value.is_infinite() {
            let sign = if value < 0.0 { "-" } else { "" };
            self.print(&format!(r#"{{"$float":"{sign}Infinity"}}"#));
        } else {
            // The debug form has the fewest digits that read back as the same float, and unlike
            // the display form it always has a fraction or an exponent.
            let _never_fails = write!(self.out, "{value:?}");
        }
    }

    fn string(&mut self, length: u64) -> Result<(), ValueError> {
        let bytes = self.bytes(length, "a string")?;
        match str::from_utf8(bytes) {
            Ok(text) => print_string(self.out, text),
            Err(_) => {
                self.print(r#"{"$string":"#);
                print_base64(self.out, bytes);
                self.print("}");
            }
        }
        Ok(())
    }

    fn binary(&mut self, length: u64) -> Result<(), ValueError> {
        let bytes = self.bytes(length, "binary data")?;
        self.print(r#"{"$binary":"#);
        print_base64(self.out, bytes);
        self.print("}");
        Ok(())
    }

    fn extension(&mut self, length: u64) -> Result<(), ValueError> {
        let expected = "an extension type";
        let kind = i8::from_be_bytes(self.take(expected)?);
        let bytes = self.bytes(length, expected)?;
        self.print(&format!(r#"{{"$extension":[{kind},"#));
        print_base64(self.out, bytes);
        self.print("]}");
        Ok(())
    }

    fn array(&mut self, offset: usize, length: u64) -> Result<(), ValueError> {
        if length == 0 {
            self.print("[]");
            return Ok(());
        }
        self.begin(offset, length, Container::Array)?;
        self.print("[");
        Ok(())
    }

    fn map(&mut self, offset: usize, length: u64) -> Result<(), ValueError> {
        if length == 0 {
            self.print("{}");
            return Ok(());
        }
        let first_entry = self.entries.len();
        self.begin(offset, 2 * length, Container::Map { first_entry })?;
        self.print("{");
        Ok(())
    }

    fn begin(&mut self, offset: usize, left: u64, kind: Container) -> Result<(), ValueError> {
        if self.open.len() == MAX_PAYLOAD_DEPTH {
            return Err(ValueError::TooDeep { offset, limit: MAX_PAYLOAD_DEPTH });
        }
        self.open.push(Open { start: self.out.len(), left, kind });
        Ok(())
    }

    fn end(&mut self, container: &Open) {
        match container.kind {
            Container::Array => self.print("]"),
            Container::Map { first_entry } => {
                if self.is_object(first_entry) {
                    self.print("}");
                } else {
                    self.print_as_pairs(container.start, first_entry);
                }
                self.entries.truncate(first_entry);
            }
        }
    }

    /// Whether the map that ends here can be a JSON object that is not mistaken for one of the
    /// agreed forms. Keys are told by their text, which begins with a quote for strings alone.
    fn is_object(&self, first_entry: usize) -> bool {
        let entries = &self.entries[first_entry..];
        let key = |index: usize| &self.out[entries[index].start..entries[index].colon];
        let form = || FORMS.iter().any(|form| form.as_bytes() == key(0));
        (0..entries.len()).all(|index| key(index).first() == Some(&b'"'))
            && super::find_duplicate(entries.len(), key).is_none()
            && !(entries.len() == 1 && form())
    }

    /// Prints once more, as an array of pairs, the entries of the map that ends here.
    fn print_as_pairs(&mut self, start: usize, first_entry: usize) {
        let text = self.out.split_off(start);
        self.out.extend_from_slice(br#"{"$map":["#);
        let entries = &self.entries[first_entry..];
        // Each entry ends at the comma before the next, the last at the end of the text.
        let ends = entries.iter().skip(1).map(|next| next.start - 1).chain([start + text.len()]);
        for (index, (entry, end)) in entries.iter().zip(ends).enumerate() {
            self.out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
            self.out.extend_from_slice(&text[entry.start - start..entry.colon - start]);
            self.out.push(b',');
            self.out.extend_from_slice(&text[entry.colon + 1 - start..end - start]);
            self.out.push(b']');
        }
        self.out.extend_from_slice(b"]}");
    }

    fn print(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Reads a length of `N` bytes and goes on with it.
    fn sized<const N: usize>(
        &mut self,
        read: impl FnOnce(&mut Self, u64) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let length = number(self.take::<N>("a length")?);
        read(self, length)
    }

    fn take<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], ValueError> {
        let Some(&bytes) = self.payload[self.offset..].first_chunk() else {
            return Err(self.truncated(expected));
        };
        self.offset += N;
        Ok(bytes)
    }

    fn bytes(&mut self, length: u64, expected: &'static str) -> Result<&'a [u8], ValueError> {
        let rest = &self.payload[self.offset..];
        let Some(bytes) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
            return Err(self.truncated(expected));
        };
        self.offset += bytes.len();
        Ok(bytes)
    }

    const fn truncated(&self, expected: &'static str) -> ValueError {
        ValueError::Truncated { offset: self.payload.len(), expected }
    }
}

/// The unsigned number that up to 8 bytes hold.
fn number<const N: usize>(bytes: [u8; N]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Prints a string in quotes; only what must be escaped is.
fn print_string(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    out.push(b'"');
    while let Some(place) = search::find(rest, super::is_special) {
        out.extend_from_slice(&rest[..place]);
        match rest[place] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte => {
                let _never_fails = write!(out, "\\u{byte:04x}");
            }
        }
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Prints bytes in quotes, in the standard base64 of RFC 4648 with padding.
fn print_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        let bits = bits << (8 * (3 - group.len()));
        for position in 0..4 {
            let digit = ALPHABET[bits >> (6 * (3 - position)) & 63];
            out.push(if position <= group.len() { digit } else { b'=' });
        }
    }
    out.push(b'"');
}
