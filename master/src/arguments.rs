//! Arguments and results on their way between Rust types and MessagePack.

use protocol::{
    binary::{self, Binary},
    limits::MAX_FRAME,
    value,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    batch::Items,
    error::Error,
    payload::{Encoding, Payload},
};

/// Room that is left in a frame beside the arguments of an item, in bytes: 64 KiB, more than any
/// envelope needs.
const ENVELOPE_ROOM: usize = 64 << 10;

/// The largest encoded arguments of one task, in bytes: a little less than 1 GiB.
///
/// ```
/// assert!(master::MAX_ARGUMENTS < 1 << 30);
/// ```
pub const MAX_ARGUMENTS: usize = MAX_FRAME - ENVELOPE_ROOM;

/// The arguments of one call: a list, and perhaps a map of keyword arguments.
///
/// Every method that takes arguments also takes a tuple: `(5,)`, `("a", 2.5)`, `()`.
///
/// ```
/// use master::Arguments;
/// use std::collections::BTreeMap;
///
/// let arguments = Arguments::new((5,))?.keywords(BTreeMap::from([("seconds", 0.5)]))?;
/// # let _ = arguments;
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    positional: Payload,
    keywords: Option<Vec<u8>>,
}

impl Arguments {
    /// Positional arguments: a tuple, an array, a `Vec`, or `()` for none.
    ///
    /// ```
    /// # use master::{Arguments, Error};
    /// let pair = Arguments::new(("a", 2.5))?;
    /// assert_ne!(pair, Arguments::new(())?);
    /// assert_eq!(Arguments::new(vec![1, 2])?, Arguments::new((1, 2))?);
    /// assert!(matches!(Arguments::new("a"), Err(Error::Encode(_))), "a text is no sequence");
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if they cannot be encoded, or are no sequence.
    pub fn new(positional: impl Serialize) -> Result<Self, Error> {
        let mut bytes = Payload::default();
        append_spread(&mut bytes, &positional)?;
        Ok(Self { positional: bytes, keywords: None })
    }

    /// Adds keyword arguments: a struct, or a map with strings as keys.
    ///
    /// ```
    /// # use master::Arguments;
    /// # use std::collections::BTreeMap;
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let arguments = Arguments::new((5,))?.keywords(BTreeMap::from([("seconds", 0.01)]))?;
    /// assert_eq!(pool.apply::<i64>("square", arguments)?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if they cannot be encoded, or are no map.
    pub fn keywords(mut self, keywords: impl Serialize) -> Result<Self, Error> {
        let bytes = encode(&keywords)?;
        expect_kind(&bytes, value::Kind::Map, "keyword arguments are a struct or a map")?;
        self.keywords = Some(bytes);
        Ok(self)
    }

    /// Arguments that are MessagePack already: an array, and perhaps a map.
    ///
    /// ```
    /// use master::Arguments;
    ///
    /// // An array of one element, the integer 5.
    /// assert_eq!(Arguments::from_encoded(vec![0x91, 0x05], None)?, Arguments::new((5,))?);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if the bytes are not one array, or one map.
    pub fn from_encoded(positional: Vec<u8>, keywords: Option<Vec<u8>>) -> Result<Self, Error> {
        let whole = |bytes: &[u8], kind, problem: &str| {
            expect_kind(bytes, kind, problem)?;
            match value::skip(bytes) {
                Ok(length) if length == bytes.len() => Ok(()),
                Ok(_) => Err(Error::Encode(format!("{problem}, with nothing behind it"))),
                Err(error) => Err(Error::Encode(error.to_string())),
            }
        };
        whole(&positional, value::Kind::Array, "positional arguments are one array")?;
        if let Some(keywords) = &keywords {
            whole(keywords, value::Kind::Map, "keyword arguments are one map")?;
        }
        Ok(Self { positional: positional.into(), keywords })
    }

    /// The encoded item of a call.
    pub(crate) fn into_item(self) -> (Payload, bool) {
        let Self { mut positional, keywords } = self;
        let has_keywords = keywords.is_some();
        positional.extend_from_slice(&keywords.unwrap_or_default());
        (positional, has_keywords)
    }

    pub(crate) fn into_items(self) -> Result<Items, Error> {
        let (bytes, keywords) = self.into_item();
        check_size(bytes.len())?;
        Ok(Items { ends: vec![bytes.len()], bytes, keywords })
    }
}

/// What can stand where a call takes its arguments: [`Arguments`], or anything that encodes as
/// a sequence.
///
/// ```
/// use master::{Arguments, IntoArguments};
///
/// assert_eq!((5, "five").into_arguments()?, Arguments::new((5, "five"))?);
/// assert!(5.into_arguments().is_err(), "a number is no sequence");
/// # Ok::<(), master::Error>(())
/// ```
pub trait IntoArguments {
    /// Encodes the arguments.
    ///
    /// ```
    /// # use master::{Arguments, IntoArguments};
    /// assert_eq!(["a", "b"].into_arguments()?, Arguments::new(("a", "b"))?);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`].
    fn into_arguments(self) -> Result<Arguments, Error>;
}

impl IntoArguments for Arguments {
    fn into_arguments(self) -> Result<Arguments, Error> {
        Ok(self)
    }
}

impl<T: Serialize> IntoArguments for T {
    fn into_arguments(self) -> Result<Arguments, Error> {
        Arguments::new(self)
    }
}

/// A result as the MessagePack value that the worker sent, for callers that do not know its
/// type.
///
/// ```
/// # use master::Encoded;
/// # let pool = integration_tests::library::pool(1).build()?;
/// let result: Encoded = pool.apply("echo", ("five",))?;
/// // A string of four bytes.
/// assert_eq!(result.0, b"\xa4five");
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded(pub Vec<u8>);

/// What a result can be taken as: any type that can be deserialized and owns its data, or
/// [`Encoded`].
///
/// ```
/// use master::{Encoded, Error, FromResult};
///
/// let value = [0x05];
/// assert_eq!(i64::from_result(&value)?, 5);
/// assert_eq!(Encoded::from_result(&value)?, Encoded(vec![0x05]));
/// assert!(matches!(String::from_result(&value), Err(Error::Decode(_))));
/// # Ok::<(), Error>(())
/// ```
pub trait FromResult: Sized {
    /// Decodes the one MessagePack value of a result.
    ///
    /// ```
    /// # use master::FromResult;
    /// // An array of two integers.
    /// assert_eq!(<(i64, i64)>::from_result(&[0x92, 5, 7])?, (5, 7));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] if the value is of another type, or malformed.
    fn from_result(value: &[u8]) -> Result<Self, Error>;

    /// Takes a result that is binary data, which may come without its header, in memory of its
    /// own: a type that keeps it saves a copy. By default it is decoded like any other.
    ///
    /// ```
    /// # use master::{Encoded, FromResult};
    /// use serde_bytes::ByteBuf;
    ///
    /// assert_eq!(ByteBuf::from_binary(vec![1, 2, 3])?, [1, 2, 3]);
    /// assert_eq!(Encoded::from_binary(vec![1, 2, 3])?.0, [0xc4, 3, 1, 2, 3]);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] as for [`Self::from_result`].
    fn from_binary(data: Vec<u8>) -> Result<Self, Error> {
        Self::from_result(&binary::encoded(data))
    }
}

impl FromResult for Encoded {
    fn from_result(value: &[u8]) -> Result<Self, Error> {
        Ok(Self(value.to_vec()))
    }

    fn from_binary(data: Vec<u8>) -> Result<Self, Error> {
        Ok(Self(binary::encoded(data)))
    }
}

impl<T: DeserializeOwned> FromResult for T {
    fn from_result(value: &[u8]) -> Result<Self, Error> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(value);
        let result = T::deserialize(&mut deserializer);
        result.map_err(|error| Error::Decode(error.to_string()))
    }

    fn from_binary(data: Vec<u8>) -> Result<Self, Error> {
        T::deserialize(Binary(data)).map_err(|error| Error::Decode(error.to_string()))
    }
}

pub(crate) fn check_size(size: usize) -> Result<(), Error> {
    if size <= MAX_ARGUMENTS {
        return Ok(());
    }
    Err(Error::Encode(format!("{size} bytes are more than a task may have, {MAX_ARGUMENTS}")))
}

/// Items of one positional argument each.
pub(crate) fn single_arguments<A: Serialize>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<Items, Error> {
    collect(arguments, append_single)
}

/// Items whose elements are spread over the arguments.
pub(crate) fn spread_arguments<A: Serialize>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<Items, Error> {
    collect(arguments, append_spread::<A>)
}

/// Appends an item of one positional argument.
pub(crate) fn append_single<A: Serialize>(bytes: &mut Vec<u8>, argument: &A) -> Result<(), Error> {
    // An array of one element.
    bytes.push(0x91);
    append(bytes, argument)
}

/// Room for so many items is made before any has come.
const MAX_RESERVED: usize = 1 << 20;

fn collect<A>(
    arguments: impl IntoIterator<Item = A>,
    append: impl Fn(&mut Vec<u8>, &A) -> Result<(), Error>,
) -> Result<Items, Error> {
    let arguments = arguments.into_iter();
    let (least, _) = arguments.size_hint();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    ends.reserve(least.min(MAX_RESERVED));
    for argument in arguments {
        let start = bytes.len();
        append(&mut bytes, &argument)?;
        check_size(bytes.len() - start)?;
        ends.push(bytes.len());
    }
    Ok(Items { bytes: bytes.into(), ends, keywords: false })
}

/// Appends the elements of a sequence as an item.
pub(crate) fn append_spread<A: Serialize>(
    bytes: &mut impl Encoding,
    arguments: &A,
) -> Result<(), Error> {
    let start = bytes.encoded().len();
    append(bytes, arguments)?;
    let encoded = bytes.encoded().get(start..).unwrap_or_default();
    // The unit type is the empty tuple, which serde encodes as nil.
    if encoded == [0xc0] {
        bytes.cut(start);
        bytes.push_byte(0x90);
        return Ok(());
    }
    expect_kind(encoded, value::Kind::Array, "arguments are a tuple or another sequence")
}

fn expect_kind(bytes: &[u8], kind: value::Kind, problem: &str) -> Result<(), Error> {
    match bytes.first().map(|&byte| value::Kind::of(byte)) {
        Some(found) if found == kind => Ok(()),
        Some(found) => Err(Error::Encode(format!("{problem}, not {}", found.name()))),
        None => Err(Error::Encode(format!("{problem}, not nothing"))),
    }
}

fn append<A: Serialize>(bytes: &mut impl Encoding, argument: &A) -> Result<(), Error> {
    rmp_serde::encode::write_named(bytes, argument)
        .map_err(|error| Error::Encode(error.to_string()))
}

fn encode<A: Serialize>(argument: &A) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    append(&mut bytes, argument)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_take_it_as_they_would_take_it_encoded() {
        fn check<T: FromResult + PartialEq + std::fmt::Debug>(data: &[u8]) {
            let (given, decoded) =
                (T::from_binary(data.to_vec()), T::from_result(&binary::encoded(data.to_vec())));
            assert_eq!(
                given.is_ok(),
                decoded.is_ok(),
                "{data:?} as {}",
                std::any::type_name::<T>()
            );
            if let Ok(decoded) = decoded {
                assert_eq!(given.unwrap(), decoded);
            }
        }
        for data in [&b""[..], b"text", b"\xff\xfe"] {
            check::<serde_bytes::ByteBuf>(data);
            check::<Option<serde_bytes::ByteBuf>>(data);
            check::<Vec<u8>>(data);
            check::<String>(data);
            check::<Option<String>>(data);
            check::<i64>(data);
            check::<bool>(data);
            check::<()>(data);
            check::<Vec<String>>(data);
            check::<crate::Encoded>(data);
        }
    }
}
