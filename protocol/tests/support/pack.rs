//! A small MessagePack writer of its own, so that the vectors check the crate's encoder rather
//! than repeat it; and the JSON form of values that `vectors/README.md` describes.

use serde_json::{Value as Json, json};

/// A MessagePack value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Nil,
    Boolean(bool),
    Integer(i128),
    Float32(f32),
    Float(f64),
    String(String),
    Binary(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Extension(i8, Vec<u8>),
    /// Bytes that stand for a value, in a form that is not the shortest.
    Unusual {
        bytes: Vec<u8>,
        means: Box<Value>,
    },
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i128> for Value {
    fn from(number: i128) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Self {
        Self::Array(elements)
    }
}

/// A map with strings as keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The same value in bytes that are not its shortest form.
pub fn unusual(bytes: &[u8], means: impl Into<Value>) -> Value {
    Value::Unusual { bytes: bytes.to_vec(), means: Box::new(means.into()) }
}

impl Value {
    /// The bytes of the value, everything in its shortest form.
    pub fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Boolean(false) => out.push(0xc2),
            Self::Boolean(true) => out.push(0xc3),
            Self::Integer(number) => write_integer(*number, out),
            Self::Float32(number) => {
                out.push(0xca);
                out.extend(number.to_bits().to_be_bytes());
            }
            Self::Float(number) => {
                out.push(0xcb);
                out.extend(number.to_bits().to_be_bytes());
            }
            Self::String(text) => {
                write_length(
                    text.len(),
                    Some((0xa0, 31)),
                    [Some(0xd9), Some(0xda), Some(0xdb)],
                    out,
                );
                out.extend(text.as_bytes());
            }
            Self::Binary(bytes) => {
                write_length(bytes.len(), None, [Some(0xc4), Some(0xc5), Some(0xc6)], out);
                out.extend(bytes);
            }
            Self::Array(elements) => {
                write_length(elements.len(), Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)], out);
                elements.iter().for_each(|element| element.write(out));
            }
            Self::Map(entries) => {
                write_length(entries.len(), Some((0x80, 15)), [None, Some(0xde), Some(0xdf)], out);
                for (key, value) in entries {
                    key.write(out);
                    value.write(out);
                }
            }
            Self::Extension(kind, bytes) => {
                match bytes.len() {
                    1 => out.push(0xd4),
                    2 => out.push(0xd5),
                    4 => out.push(0xd6),
                    8 => out.push(0xd7),
                    16 => out.push(0xd8),
                    other => write_length(other, None, [Some(0xc7), Some(0xc8), Some(0xc9)], out),
                }
                out.extend(kind.to_be_bytes());
                out.extend(bytes);
            }
            Self::Unusual { bytes, .. } => out.extend(bytes),
        }
    }

    /// The value in JSON, by the convention of `vectors/README.md`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Nil => Json::Null,
            Self::Boolean(flag) => json!(flag),
            Self::Integer(number) if number.unsigned_abs() < 1 << 53 => {
                json!(i64::try_from(*number).unwrap())
            }
            Self::Integer(number) => json!({ "$integer": number.to_string() }),
            Self::Float32(number) => json!({ "$float32": format!("{number:?}") }),
            Self::Float(number) => json!({ "$float": format!("{number:?}") }),
            Self::String(text) => match repetition(text) {
                Some((letter, times)) => json!({ "$repeat": [letter, times] }),
                None => json!(text),
            },
            Self::Binary(bytes) => json!({ "$bin": hex(bytes) }),
            Self::Array(elements) => elements.iter().map(Self::to_json).collect(),
            Self::Map(entries) => object(entries).unwrap_or_else(|| {
                let pair = |(key, value): &(Self, Self)| json!([key.to_json(), value.to_json()]);
                json!({ "$map": entries.iter().map(pair).collect::<Vec<_>>() })
            }),
            Self::Extension(kind, bytes) => json!({ "$ext": [kind, hex(bytes)] }),
            Self::Unusual { means, .. } => means.to_json(),
        }
    }

    /// The value that a piece of JSON stands for.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(flag) => Self::Boolean(*flag),
            Json::Number(number) => Self::Integer(number.to_string().parse().unwrap()),
            Json::String(text) => Self::String(text.clone()),
            Json::Array(elements) => {
                elements.iter().map(Self::from_json).collect::<Vec<_>>().into()
            }
            Json::Object(object) => match object.iter().next() {
                Some((key, json)) if key.starts_with('$') => Self::from_marked(key, json),
                _ => Self::Map(
                    object
                        .iter()
                        .map(|(key, json)| (key.as_str().into(), Self::from_json(json)))
                        .collect(),
                ),
            },
        }
    }

    fn from_marked(mark: &str, json: &Json) -> Self {
        let text = |json: &Json| json.as_str().unwrap().to_owned();
        match mark {
            "$integer" => Self::Integer(text(json).parse().unwrap()),
            "$float32" => Self::Float32(text(json).parse().unwrap()),
            "$float" => Self::Float(text(json).parse().unwrap()),
            "$repeat" => {
                let times = usize::try_from(json[1].as_u64().unwrap()).unwrap();
                Self::String(text(&json[0]).repeat(times))
            }
            "$bin" => Self::Binary(unhex(&text(json))),
            "$ext" => {
                let kind = i8::try_from(json[0].as_i64().unwrap()).unwrap();
                Self::Extension(kind, unhex(&text(&json[1])))
            }
            "$map" => Self::Map(
                json.as_array()
                    .unwrap()
                    .iter()
                    .map(|pair| (Self::from_json(&pair[0]), Self::from_json(&pair[1])))
                    .collect(),
            ),
            other => panic!("{other} is no mark of the convention"),
        }
    }
}

/// The entries as a JSON object, if their keys are different strings that cannot be taken for a
/// mark.
fn object(entries: &[(Value, Value)]) -> Option<Json> {
    let mut object = serde_json::Map::new();
    for (key, value) in entries {
        let Value::String(key) = key else { return None };
        if key.starts_with('$') || object.insert(key.clone(), value.to_json()).is_some() {
            return None;
        }
    }
    Some(Json::Object(object))
}

fn repetition(text: &str) -> Option<(char, usize)> {
    let letter = text.chars().next()?;
    let repeated = text.len() > 100 && text.chars().all(|other| other == letter);
    repeated.then(|| (letter, text.chars().count()))
}

fn write_integer(number: i128, out: &mut Vec<u8>) {
    let (first, size) = match number {
        -32..=127 => return out.push(number.to_be_bytes()[15]),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000..=0xffff_ffff_ffff_ffff => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        -0x8000_0000_0000_0000..=-0x8000_0001 => (0xd3, 8),
        _ => panic!("{number} is no integer of MessagePack"),
    };
    out.push(first);
    out.extend(&number.to_be_bytes()[16 - size..]);
}

/// Writes a length: in the low bits of the first byte if `fixed` (that byte and the largest such
/// length) allows, else behind the first of the markers for 1, 2 and 4 bytes that fits.
fn write_length(
    length: usize,
    fixed: Option<(u8, usize)>,
    markers: [Option<u8>; 3],
    out: &mut Vec<u8>,
) {
    if let Some((first, largest)) = fixed
        && length <= largest
    {
        return out.push(first | u8::try_from(length).unwrap());
    }
    for (marker, size) in markers.into_iter().zip([1, 2, 4]) {
        if let Some(marker) = marker
            && (length as u64) < 1 << (8 * size)
        {
            out.push(marker);
            out.extend(&(length as u64).to_be_bytes()[8 - size..]);
            return;
        }
    }
    panic!("{length} is no length of MessagePack");
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
