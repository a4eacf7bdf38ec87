//! JSON to MessagePack and back, for trying a function by hand. What one of them cannot hold
//! exactly is refused, never rounded and never dropped.

use std::fmt::{self, Write};

use protocol::value::{self, Kind};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::arguments::{elements, entries, text};

/// How deep JSON may nest: as deep as MessagePack may.
const MAX_DEPTH: usize = protocol::limits::MAX_PAYLOAD_DEPTH;

/// Whether a text is one JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Encodes a JSON text as MessagePack. An integer is one if it is written without point and
/// exponent.
///
/// # Errors
/// In words: not JSON, a number beyond what MessagePack holds, a key that stands twice, or more
/// than 512 levels.
pub(crate) fn to_message_pack(json: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    append(json.trim(), MAX_DEPTH, &mut out)?;
    Ok(out)
}

/// An array of values that are encoded already.
pub(crate) fn array(values: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    append_header(0x90, 0xdc, values.len(), &mut out)?;
    out.extend(values.iter().flatten());
    Ok(out)
}

/// Writes one MessagePack value as JSON.
///
/// # Errors
/// In words: malformed, or something that JSON cannot hold: binary data, an extension type, a
/// float that is not finite, a key that is not a string or stands twice.
pub(crate) fn from_message_pack(encoded: &[u8]) -> Result<String, String> {
    let length = value::skip(encoded).map_err(|error| error.to_string())?;
    if length != encoded.len() {
        return Err(format!("{} bytes follow the value", encoded.len() - length));
    }
    let mut out = String::new();
    write(encoded, &mut out)?;
    Ok(out)
}

fn append(json: &str, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let inside = || depth.checked_sub(1).ok_or(format!("it nests deeper than {MAX_DEPTH} levels"));
    match json.as_bytes().first() {
        Some(b'{') => {
            let depth = inside()?;
            let Entries(entries) = parse(json)?;
            append_header(0x80, 0xde, entries.len(), out)?;
            let mut names = std::collections::HashSet::new();
            for (name, value) in &entries {
                if !names.insert(name) {
                    return Err(format!("the key {name:?} stands twice"));
                }
                encode(name, out)?;
                append(value.get(), depth, out)?;
            }
            Ok(())
        }
        Some(b'[') => {
            let depth = inside()?;
            let values: Vec<&RawValue> = parse(json)?;
            append_header(0x90, 0xdc, values.len(), out)?;
            values.iter().try_for_each(|value| append(value.get(), depth, out))
        }
        Some(b'"') => encode(&parse::<String>(json)?, out),
        Some(b'n') => encode(&parse::<()>(json)?, out),
        Some(b't' | b'f') => encode(&parse::<bool>(json)?, out),
        _ => append_number(json, out),
    }
}

fn append_number(json: &str, out: &mut Vec<u8>) -> Result<(), String> {
    parse::<IgnoredAny>(json)?;
    if json.contains(['.', 'e', 'E']) {
        return match json.parse::<f64>() {
            Ok(number) if number.is_finite() => encode(&number, out),
            _ => Err(format!("the number {json} is beyond a float of 64 bits")),
        };
    }
    if let Ok(number) = json.parse::<u64>() {
        return encode(&number, out);
    }
    match json.parse::<i64>() {
        Ok(number) => encode(&number, out),
        Err(_) => Err(format!("the integer {json} is beyond 64 bits")),
    }
}

/// Appends the head of an array or a map: `small` is the first byte of a short one without its
/// count, `wide` that of one with a count of 16 bits; that with 32 bits follows it.
fn append_header(small: u8, wide: u8, count: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match (u8::try_from(count), u16::try_from(count), u32::try_from(count)) {
        (Ok(count @ ..16), _, _) => out.push(small | count),
        (_, Ok(count), _) => {
            out.push(wide);
            out.extend(count.to_be_bytes());
        }
        (_, _, Ok(count)) => {
            out.push(wide + 1);
            out.extend(count.to_be_bytes());
        }
        _ => return Err(format!("{count} values are more than MessagePack holds")),
    }
    Ok(())
}

fn encode<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    rmp_serde::encode::write(out, value).map_err(|error| error.to_string())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The entries of a JSON object, in order, keys that stand twice among them.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Writes a value that is known to be well formed and to nest within the limit.
fn write(encoded: &[u8], out: &mut String) -> Result<(), String> {
    let kind = encoded.first().map_or(Kind::Reserved, |&first| Kind::of(first));
    match kind {
        Kind::Nil => out.push_str("null"),
        Kind::Boolean => write_with(out, decode::<bool>(encoded)?)?,
        Kind::Integer => match decode::<u64>(encoded) {
            Ok(number) => write_with(out, number)?,
            Err(_) => write_with(out, decode::<i64>(encoded)?)?,
        },
        Kind::Float => {
            let number = decode::<f64>(encoded)?;
            if !number.is_finite() {
                return Err(format!("JSON has no {number}"));
            }
            out.push_str(&serde_json::to_string(&number).map_err(|error| error.to_string())?);
        }
        Kind::String => write_string(encoded, out)?,
        Kind::Array => {
            let elements = elements(encoded).map_err(|error| error.to_string())?;
            out.push('[');
            for (index, element) in elements.into_iter().flatten().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write(element, out)?;
            }
            out.push(']');
        }
        Kind::Map => write_map(encoded, out)?,
        Kind::Binary | Kind::Extension | Kind::Reserved => {
            return Err(format!("JSON has no {}", kind.name().trim_start_matches("an ")));
        }
    }
    Ok(())
}

fn write_map(encoded: &[u8], out: &mut String) -> Result<(), String> {
    let entries = entries(encoded).map_err(|error| error.to_string())?;
    let mut names = std::collections::HashSet::new();
    out.push('{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        if !key.first().is_some_and(|&first| Kind::of(first) == Kind::String) {
            return Err("JSON has no keys but strings".to_owned());
        }
        let name = text(key).ok_or("a string is not UTF-8")?;
        if !names.insert(name) {
            return Err(format!("the key {name:?} stands twice"));
        }
        write_string(key, out)?;
        out.push(':');
        write(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_string(encoded: &[u8], out: &mut String) -> Result<(), String> {
    let text = text(encoded).ok_or("a string is not UTF-8")?;
    out.push_str(&serde_json::to_string(text).map_err(|error| error.to_string())?);
    Ok(())
}

fn write_with(out: &mut String, value: impl fmt::Display) -> Result<(), String> {
    write!(out, "{value}").map_err(|error| error.to_string())
}

fn decode<T: de::DeserializeOwned>(encoded: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(encoded).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{array, from_message_pack, is_json, to_message_pack};

    #[test]
    fn there_and_back() {
        for json in [
            "null",
            "true",
            "0",
            "-1",
            "18446744073709551615",
            "-9223372036854775808",
            "1.5",
            "0.1",
            "1e300",
            r#""""#,
            r#""a\"\né""#,
            "[]",
            "[1,[2,[]],{}]",
            r#"{"b":1,"a":[null]}"#,
        ] {
            let encoded = to_message_pack(json).unwrap();
            assert_eq!(from_message_pack(&encoded).unwrap().replace("e+", "e"), json);
        }
        let long = format!("[{}1]", "1,".repeat(70_000));
        assert_eq!(from_message_pack(&to_message_pack(&long).unwrap()).unwrap(), long);
    }

    #[test]
    fn json_that_message_pack_cannot_hold() {
        let deep = format!("{}{}", "[".repeat(513), "]".repeat(513));
        for (json, problem) in [
            ("18446744073709551616", "the integer 18446744073709551616 is beyond 64 bits"),
            ("-9223372036854775809", "the integer -9223372036854775809 is beyond 64 bits"),
            ("1e400", "the number 1e400 is beyond a float of 64 bits"),
            (r#"{"a":1,"a":1}"#, r#"the key "a" stands twice"#),
            (r#"[{"b":{"a":1,"\u0061":1}}]"#, r#"the key "a" stands twice"#),
            (&deep, "it nests deeper than 512 levels"),
        ] {
            assert_eq!(to_message_pack(json).unwrap_err(), problem);
        }
    }

    #[test]
    fn message_pack_that_json_cannot_hold() {
        for (encoded, problem) in [
            (&[0xc4, 1, 0xff][..], "JSON has no binary data"),
            (&[0x91, 0xd4, 1, 0xff], "JSON has no extension type"),
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], "JSON has no NaN"),
            (&[0x81, 1, 1], "JSON has no keys but strings"),
            (&[0x82, 0xa1, b'a', 1, 0xa1, b'a', 2], r#"the key "a" stands twice"#),
            (&[0xa1, 0xff], "a string is not UTF-8"),
            (&[1, 1], "1 bytes follow the value"),
            (&[], "the bytes end at offset 0, inside a value"),
        ] {
            assert_eq!(from_message_pack(encoded).unwrap_err(), problem);
        }
    }

    #[test]
    fn what_counts_as_json() {
        for text in ["5", "-3", " [1] ", "\"a\"", "1e400"] {
            assert!(is_json(text), "{text}");
        }
        for text in ["", "abc", "-x", "{", "1 2", "nul", "'a'", "01"] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn arrays_of_encoded_values() {
        assert_eq!(array(&[]).unwrap(), [0x90]);
        assert_eq!(array(&[vec![1], vec![0xa1, b'x']]).unwrap(), [0x92, 1, 0xa1, b'x']);
    }
}
