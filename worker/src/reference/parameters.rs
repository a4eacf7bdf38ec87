//! The types of parameters and results that are stricter, or wider, than those of Rust.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, Unexpected, Visitor},
};

/// Any integer that the protocol carries: from -2^63 to 2^64 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Integer(i128);

impl Integer {
    pub(super) const fn value(self) -> i128 {
        self.0
    }

    /// `None` if it is out of range.
    pub(super) fn new(value: i128) -> Option<Self> {
        let fits = u64::try_from(value).is_ok() || i64::try_from(value).is_ok();
        fits.then_some(Self(value))
    }
}

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (u64::try_from(self.0), i64::try_from(self.0)) {
            (Ok(value), _) => serializer.serialize_u64(value),
            (_, Ok(value)) => serializer.serialize_i64(value),
            _ => Err(serde::ser::Error::custom("an integer beyond 64 bits")),
        }
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;

        impl Visitor<'_> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an integer")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Integer, E> {
                Ok(Integer(value.into()))
            }
        }

        deserializer.deserialize_any(IntegerVisitor)
    }
}

/// The longest time to wait, in seconds: 30 years, far from where a clock overflows.
const MAX_SECONDS: f64 = 1e9;

/// A time to wait, an integer or a float, from 0 to [`MAX_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(Duration);

impl Seconds {
    pub(super) const fn duration(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;

        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of seconds from 0 to 1000000000")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Seconds, E> {
                match Duration::try_from_secs_f64(value) {
                    Ok(duration) if value <= MAX_SECONDS => Ok(Seconds(duration)),
                    _ => Err(E::invalid_value(Unexpected::Float(value), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Seconds, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Seconds, E> {
                match Duration::from_secs(value) {
                    duration if duration <= Duration::from_secs_f64(MAX_SECONDS) => {
                        Ok(Seconds(duration))
                    }
                    _ => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
                }
            }
        }

        deserializer.deserialize_any(SecondsVisitor)
    }
}

/// A text, or whatever bytes an operating system takes in the place of one: a string, or binary
/// data if it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(Vec<u8>);

impl Text {
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or binary data")
            }

            fn visit_str<E>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.as_bytes().to_vec()))
            }

            fn visit_bytes<E>(self, value: &[u8]) -> Result<Text, E> {
                Ok(Text(value.to_vec()))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A text in the form that the operating system takes: a path, a command or its argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SystemText(OsString);

impl SystemText {
    pub(super) fn into_path(self) -> PathBuf {
        self.0.into()
    }

    pub(super) fn into_os_string(self) -> OsString {
        self.0
    }
}

impl<'de> Deserialize<'de> for SystemText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Text::deserialize(deserializer)?.into_bytes();
        if bytes.contains(&0) {
            return Err(D::Error::custom("expected a text without the byte 0, found one with it"));
        }
        os_string(bytes).map(Self).ok_or_else(|| D::Error::custom("expected UTF-8"))
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems do not take any bytes")]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(OsString::from)
}

#[cfg(test)]
mod tests {
    use super::{Integer, Seconds, SystemText, Text};

    fn decode<T: serde::de::DeserializeOwned + std::fmt::Debug>(
        value: &impl serde::Serialize,
    ) -> String {
        match rmp_serde::from_slice::<T>(&rmp_serde::to_vec(value).unwrap()) {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn seconds() {
        let expected = "expected a number of seconds from 0 to 1000000000";
        assert_eq!(decode::<Seconds>(&0), "Seconds(0ns)");
        assert_eq!(decode::<Seconds>(&1.5), "Seconds(1.5s)");
        assert_eq!(decode::<Seconds>(&1e9), "Seconds(1000000000s)");
        for (value, found) in [
            (-1.0, "-1.0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1e300, "1e300"),
            (1_000_000_001.0, "1000000001.0"),
        ] {
            let error = decode::<Seconds>(&value);
            assert!(error.starts_with("invalid value: floating point"), "{error}");
            assert!(error.ends_with(expected), "{error} for {found}");
        }
        for value in [-1, i64::MIN, i64::MAX] {
            assert!(decode::<Seconds>(&value).ends_with(expected));
        }
        assert!(decode::<Seconds>(&"1").ends_with(expected));
    }

    #[test]
    fn integers() {
        assert_eq!(decode::<Integer>(&u64::MAX), "Integer(18446744073709551615)");
        assert_eq!(decode::<Integer>(&i64::MIN), "Integer(-9223372036854775808)");
        for error in [decode::<Integer>(&1.0), decode::<Integer>(&true), decode::<Integer>(&"1")] {
            assert!(error.ends_with("expected an integer"), "{error}");
        }
    }

    #[test]
    fn texts_that_are_not_utf_8_are_binary() {
        let text = |bytes: &[u8]| rmp_serde::to_vec(&Text::new(bytes.to_vec())).unwrap();
        assert_eq!(text(b"ab"), [0xa2, b'a', b'b']);
        assert_eq!(text(b"a\xff"), [0xc4, 2, b'a', 0xff]);
        assert_eq!(decode::<SystemText>(&"a"), r#"SystemText("a")"#);
        assert_eq!(
            decode::<SystemText>(&"a\0"),
            "expected a text without the byte 0, found one with it"
        );
        #[cfg(unix)]
        assert_eq!(
            decode::<SystemText>(&serde_bytes::Bytes::new(b"a\xff")),
            r#"SystemText("a\xFF")"#
        );
    }
}
