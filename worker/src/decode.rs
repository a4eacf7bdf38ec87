//! Encoded arguments to the types of parameters, with errors that say what the type expects.

use std::fmt;

use protocol::{
    binary::{self, Binary},
    copying,
    value::Kind,
};
use serde::{
    Deserializer,
    de::{self, DeserializeOwned, Expected, Visitor},
    forward_to_deserialize_any,
};

/// The byte that is nil.
const NIL: u8 = 0xc0;

/// Decodes one argument; one that is missing becomes `None` if the type is an `Option`. The
/// error says what is wrong with it.
pub(crate) fn argument<T: DeserializeOwned>(encoded: Option<&[u8]>) -> Result<T, String> {
    let Some(encoded) = encoded else {
        return T::deserialize(Absent).map_err(|_| "it is missing".to_owned());
    };
    if encoded.len() >= copying::LARGE
        && let Some(header) = binary::header_of(encoded, encoded.len())
        && let Some(data) = encoded.get(header..)
        && let Ok(value) = T::deserialize(Binary(copying::to_vec(data)))
    {
        return Ok(value);
    }
    rmp_serde::from_slice(encoded).map_err(|error| match (error, expectation::<T>()) {
        (rmp_serde::decode::Error::TypeMismatch(marker), Some(expected)) => {
            let found = Kind::of(marker.to_u8());
            // The marker is that of the value itself unless the trouble is further inside.
            let place = match encoded.first() {
                Some(&first) if Kind::of(first) == found => "",
                _ => " inside it",
            };
            format!("expected {expected}, found {}{place}", found.name())
        }
        // What MessagePack calls nil serde calls a unit value.
        (_, Some(expected)) if encoded == [NIL] => format!("expected {expected}, found nil"),
        (error, _) => error.to_string(),
    })
}

/// What can be known of a parameter from its type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The type has a value for an argument that is missing.
    pub(crate) accepts_absent: bool,
    /// The type is an integer of 128 bits, which the protocol does not carry.
    pub(crate) too_wide: bool,
}

/// The shape of the type `T` as a parameter.
pub(crate) fn shape<T: DeserializeOwned>() -> Shape {
    Shape {
        accepts_absent: T::deserialize(Absent).is_ok(),
        too_wide: matches!(T::deserialize(Probe), Err(Probed::TooWide)),
    }
}

/// What the type `T` expects, in words such as `i64` or `a string`.
fn expectation<T: DeserializeOwned>() -> Option<String> {
    match T::deserialize(Probe) {
        Err(Probed::Expects(expected)) => Some(expected),
        Ok(_) | Err(Probed::TooWide) => None,
    }
}

/// Holds no value at all: an `Option` finds `None`, any other type an error.
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no value"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Never gives a value; its error is what the type asked for.
struct Probe;

/// What a type told the [`Probe`].
#[derive(Debug, thiserror::Error)]
enum Probed {
    #[error("{0}")]
    Expects(String),
    #[error("an integer of 128 bits")]
    TooWide,
}

impl de::Error for Probed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Expects(message.to_string())
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Probed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Probed> {
        Err(Probed::Expects((&visitor as &dyn Expected).to_string()))
    }

    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(Probed::TooWide)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(Probed::TooWide)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Probed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Probed> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
