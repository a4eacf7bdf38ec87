//! Values as text.

use std::fmt::Write as _;

use super::Value;

/// How values are written as JSON. The forms for what JSON lacks are those of
/// `protocol/vectors/README.md`, and `{"$string": "ff"}` for a string that is not UTF-8.
///
/// ```
/// use master::recording::{Notation, Value};
///
/// let value = Value::Array(vec![Value::Float(1.5), Value::Binary(&[0, 255])]);
/// assert_eq!(Notation::EXACT.text(&value), r#"[{"$float":"1.5"},{"$bin":"00ff"}]"#);
/// assert_eq!(Notation::SHORT.text(&value), r#"[1.5,{"$bin":"00ff"}]"#);
/// assert_eq!(Notation::SHORT.up_to(4).text(&value), "[1.5...");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Notation {
    /// Floats and large integers as they stand in the vectors, so that every value can be told.
    exact: bool,
    /// So many bytes of text at the most.
    width: usize,
}

/// The largest integer that every reader of JSON takes exactly.
const SAFE: i128 = (1 << 53) - 1;

impl Notation {
    /// For machines: whole, and no value looks like another.
    pub const EXACT: Self = Self { exact: true, width: usize::MAX };

    /// For people: floats and integers are plain.
    pub const SHORT: Self = Self { exact: false, width: usize::MAX };

    /// The same, cut behind so many bytes.
    #[must_use]
    pub const fn up_to(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// The text of a value.
    #[must_use]
    pub fn text(self, value: &Value<'_>) -> String {
        self.texts(std::slice::from_ref(value))
    }

    /// The texts of some values, with a space between them.
    #[must_use]
    pub fn texts(self, values: &[Value<'_>]) -> String {
        let mut writer = Writer { exact: self.exact, width: self.width, out: String::new() };
        for (index, value) in values.iter().enumerate() {
            writer.push(if index == 0 { "" } else { " " });
            writer.value(value);
        }
        let Writer { mut out, .. } = writer;
        if out.len() > self.width {
            let end = (0..=self.width).rev().find(|&end| out.is_char_boundary(end)).unwrap_or(0);
            out.truncate(end);
            out.push_str("...");
        }
        out
    }

    /// A name that somebody else has chosen: in quotes if it is more than letters, so that it can
    /// be nothing but a name.
    pub(crate) fn name(self, name: &str) -> String {
        let is_plain = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
        match !name.is_empty() && name.chars().all(is_plain) {
            true => name.to_owned(),
            false => self.text(&Value::String(name.as_bytes())),
        }
    }

    /// The fields of a JSON object for a call, of its encoded arguments: `function`, `arguments`
    /// and, if there are any, `keywords`.
    pub(crate) fn call_fields(self, function: &str, arguments: &[u8]) -> String {
        let function = serde_json::Value::from(function);
        let arguments = Value::read_all(arguments).unwrap_or_default();
        let list = arguments.first().map_or("[]".into(), |list| self.text(list));
        let keywords = arguments.get(1).map(|map| format!(",\"keywords\":{}", self.text(map)));
        let keywords = keywords.unwrap_or_default();
        format!("\"function\":{function},\"arguments\":{list}{keywords}")
    }

    /// The field of a JSON object for an encoded value: `value`, or `malformed`.
    pub(crate) fn value_field(self, bytes: &[u8]) -> String {
        match Value::read(bytes) {
            Ok((value, _)) => format!("\"value\":{}", self.text(&value)),
            Err(_) => "\"malformed\":true".to_owned(),
        }
    }

    /// A call as people write it, such as `square(2, seconds=0.5)`, of its arguments: a list, and
    /// perhaps a map.
    pub(crate) fn call(self, function: &str, arguments: &[Value<'_>]) -> String {
        let function = self.name(function);
        let mut texts = Vec::new();
        let mut length = 0;
        let mut add = |text: String| {
            length += text.len();
            texts.push(text);
            // Of very many only some are seen.
            length <= self.width
        };
        match arguments.first() {
            Some(Value::Array(list)) => {
                let _all = list.iter().all(|value| add(self.text(value)));
            }
            Some(value) => {
                add(self.text(value));
            }
            None => {}
        }
        if let Some(Value::Map(keywords)) = arguments.get(1) {
            let _all = keywords.iter().all(|(name, value)| {
                let name = self.name(name.as_str().unwrap_or("?"));
                add(format!("{name}={}", self.text(value)))
            });
        }
        let list = texts.join(", ");
        match list.get(self.width..).is_some_and(|rest| !rest.is_empty()) {
            true => {
                let end = (0..=self.width).rev().find(|&end| list.is_char_boundary(end));
                format!("{function}({}...)", list.get(..end.unwrap_or(0)).unwrap_or_default())
            }
            false => format!("{function}({list})"),
        }
    }
}

/// Delete, and the controls beyond ASCII.
const fn is_control(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}')
}

struct Writer {
    exact: bool,
    width: usize,
    out: String,
}

impl Writer {
    /// What is beyond the width is not worth being written.
    const fn is_full(&self) -> bool {
        self.out.len() > self.width
    }

    fn push(&mut self, text: &str) {
        if !self.is_full() {
            self.out.push_str(text);
        }
    }

    fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Nil => self.push("null"),
            Value::Boolean(value) => self.push(if *value { "true" } else { "false" }),
            Value::Integer(number) if self.exact && !(-SAFE..=SAFE).contains(number) => {
                self.push(&format!(r#"{{"$integer":"{number}"}}"#));
            }
            Value::Integer(number) => self.push(&number.to_string()),
            Value::Float32(number) if self.exact || !number.is_finite() => {
                self.push(&format!(r#"{{"$float32":"{number:?}"}}"#));
            }
            Value::Float32(number) => self.push(&format!("{number:?}")),
            Value::Float(number) if self.exact || !number.is_finite() => {
                self.push(&format!(r#"{{"$float":"{number:?}"}}"#));
            }
            Value::Float(number) => self.push(&format!("{number:?}")),
            Value::String(bytes) => match str::from_utf8(bytes) {
                Ok(text) => self.string(text),
                Err(_) => self.hexadecimal("$string", bytes),
            },
            Value::Binary(bytes) => self.hexadecimal("$bin", bytes),
            Value::Extension(kind, bytes) => {
                self.push(&format!(r#"{{"$ext":[{kind},""#));
                self.digits(bytes);
                self.push("\"]}");
            }
            Value::Array(elements) => {
                self.push("[");
                self.separated(elements, Self::value);
                self.push("]");
            }
            Value::Map(entries) if is_object(entries) => {
                self.push("{");
                self.separated(entries, |this, (key, value)| {
                    this.value(key);
                    this.push(":");
                    this.value(value);
                });
                self.push("}");
            }
            Value::Map(entries) => {
                self.push(r#"{"$map":["#);
                self.separated(entries, |this, (key, value)| {
                    this.push("[");
                    this.value(key);
                    this.push(",");
                    this.value(value);
                    this.push("]");
                });
                self.push("]}");
            }
        }
    }

    fn separated<T>(&mut self, all: &[T], mut write: impl FnMut(&mut Self, &T)) {
        for (index, one) in all.iter().enumerate() {
            if self.is_full() {
                return;
            }
            self.push(if index == 0 { "" } else { "," });
            write(self, one);
        }
    }

    /// A string in quotes; of a long one only what is going to be seen.
    fn string(&mut self, text: &str) {
        let room = self.width.saturating_sub(self.out.len()).saturating_add(1);
        let seen = match text.char_indices().nth(room) {
            Some((end, _)) if room < text.len() => text.get(..end).unwrap_or(text),
            _ => text,
        };
        match serde_json::to_string(seen) {
            // JSON lets these stand as they are, and terminals heed them.
            Ok(quoted) if quoted.contains(is_control) => {
                let escaped = |c: char| match is_control(c) {
                    true => format!("\\u{:04x}", u32::from(c)),
                    false => c.to_string(),
                };
                self.push(&quoted.chars().map(escaped).collect::<String>());
            }
            Ok(quoted) => self.push(&quoted),
            // A string can always be written.
            Err(_) => self.push("\"\""),
        }
    }

    fn hexadecimal(&mut self, form: &str, bytes: &[u8]) {
        self.push(&format!("{{\"{form}\":\""));
        self.digits(bytes);
        self.push("\"}");
    }

    fn digits(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.is_full() {
                return;
            }
            let _never_fails = write!(self.out, "{byte:02x}");
        }
    }
}

/// Whether a map can be an object that is not mistaken for one of the forms.
fn is_object(entries: &[(Value<'_>, Value<'_>)]) -> bool {
    let mut keys = Vec::with_capacity(entries.len());
    for (key, _) in entries {
        match key.as_str() {
            Some(key) => keys.push(key),
            None => return false,
        }
    }
    let is_form = matches!(keys[..], [key] if key.starts_with('$'));
    keys.sort_unstable();
    let has_twins = keys.windows(2).any(|pair| pair.first() == pair.get(1));
    !is_form && !has_twins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_form_of_its_own() {
        for (bytes, exact, short) in [
            (&b"\xc0"[..], "null", "null"),
            (b"\x05", "5", "5"),
            (b"\xcf\0\x20\0\0\0\0\0\0", r#"{"$integer":"9007199254740992"}"#, "9007199254740992"),
            (b"\xcb\x3f\xf0\0\0\0\0\0\0", r#"{"$float":"1.0"}"#, "1.0"),
            (b"\xca\x7f\xc0\0\0", r#"{"$float32":"NaN"}"#, r#"{"$float32":"NaN"}"#),
            (b"\xcb\xff\xf0\0\0\0\0\0\0", r#"{"$float":"-inf"}"#, r#"{"$float":"-inf"}"#),
            (b"\xa2\"\n", r#""\"\n""#, r#""\"\n""#),
            (b"\xa1\xff", r#"{"$string":"ff"}"#, r#"{"$string":"ff"}"#),
            (b"\xc4\x02hi", r#"{"$bin":"6869"}"#, r#"{"$bin":"6869"}"#),
            (b"\xd4\xff\x01", r#"{"$ext":[-1,"01"]}"#, r#"{"$ext":[-1,"01"]}"#),
            (b"\x82\xa1a\x01\xa1b\x02", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
            (b"\x81\x01\x02", r#"{"$map":[[1,2]]}"#, r#"{"$map":[[1,2]]}"#),
            (b"\x81\xa4$bin\x02", r#"{"$map":[["$bin",2]]}"#, r#"{"$map":[["$bin",2]]}"#),
            (
                b"\x82\xa1a\x01\xa1a\x02",
                r#"{"$map":[["a",1],["a",2]]}"#,
                r#"{"$map":[["a",1],["a",2]]}"#,
            ),
        ] {
            let value = Value::read(bytes).unwrap().0;
            assert_eq!(Notation::EXACT.text(&value), exact);
            assert_eq!(Notation::SHORT.text(&value), short);
        }
    }

    #[test]
    fn what_is_long_is_cut_and_not_written_first() {
        let long = vec![b'x'; 1 << 20];
        for value in [Value::String(&long), Value::Binary(&long)] {
            let text = Notation::SHORT.up_to(20).text(&value);
            assert_eq!(text.len(), 23, "{text}");
            assert!(text.ends_with("..."));
        }
        let umlauts = "ü".repeat(50);
        let text = Notation::SHORT.up_to(20).text(&Value::String(umlauts.as_bytes()));
        assert_eq!(text, format!("\"{}...", "ü".repeat(9)));
    }
}
