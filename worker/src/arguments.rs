//! The arguments of one item, still encoded, and their way to the parameters of a function.

use protocol::{
    envelope::Item,
    message::kind::INVALID_ARGUMENTS,
    value::{self, Kind, ValueError},
};
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::{decode, error::Error, signature::Signature};

/// The arguments of one item of a call as they came, encoded as MessagePack.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    signature: &'a Signature,
    item: Item<'a>,
}

impl<'a> Arguments<'a> {
    pub(crate) const fn new(signature: &'a Signature, item: Item<'a>) -> Self {
        Self { signature, item }
    }

    /// The positional arguments: one MessagePack array.
    #[must_use]
    pub const fn positional(&self) -> &'a [u8] {
        self.item.positional
    }

    /// The keyword arguments, if the call has them: one MessagePack map.
    #[must_use]
    pub const fn keywords(&self) -> Option<&'a [u8]> {
        self.item.keywords
    }

    /// The arguments one after another, if they are as many as there are parameters, and all of them
    /// positional: what most calls are.
    pub(crate) fn in_order(&self, parameters: usize) -> Option<InOrder<'a>> {
        let (&first, rest) = self.item.positional.split_first()?;
        let few = u8::try_from(parameters).ok().filter(|&parameters| parameters < 16)?;
        let matches = first == 0x90 | few && self.item.keywords.is_none();
        matches.then_some(InOrder { signature: self.signature, rest })
    }

    /// Gives each argument to its parameter in the signature, without decoding it.
    ///
    /// # Errors
    /// Of the kind `InvalidArguments`: too many arguments, one that is missing, a keyword that
    /// the signature does not name, or one that comes twice.
    pub fn bind(&self) -> Result<Bound<'a>, Error> {
        let signature = self.signature;
        let mut values = elements(self.item.positional).map_err(|error| self.malformed(&error))?;
        let count = values.len();
        if count > signature.parameters.len() && !signature.open {
            return Err(self.miscounted(count, ""));
        }
        values.resize(count.max(signature.parameters.len()), None);
        if let Some(keywords) = self.item.keywords {
            self.bind_keywords(keywords, &mut values)?;
        }
        let missing = signature
            .parameters
            .iter()
            .zip(&values)
            .position(|(parameter, value)| !parameter.optional && value.is_none());
        match missing {
            Some(position) => {
                let missing = format!(": {} is missing", signature.argument_text(position));
                Err(self.miscounted(values.iter().flatten().count(), &missing))
            }
            None => Ok(Bound { signature, values }),
        }
    }

    fn bind_keywords(
        &self,
        keywords: &'a [u8],
        values: &mut [Option<&'a [u8]>],
    ) -> Result<(), Error> {
        let signature = self.signature;
        for (key, value) in entries(keywords).map_err(|error| self.malformed(&error))? {
            let name = text(key).ok_or_else(|| {
                let found = key.first().map_or("nothing", |&byte| Kind::of(byte).name());
                self.invalid(format_args!(
                    "the name of a keyword argument is a string, found {found}"
                ))
            })?;
            let parameter =
                |parameter: &crate::signature::Parameter| parameter.name.as_deref() == Some(name);
            let position = signature.parameters.iter().position(parameter);
            match position.and_then(|position| values.get_mut(position)) {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => {
                    return Err(self.invalid(format_args!("argument `{name}` comes twice")));
                }
                None => return Err(self.unknown_keyword(name)),
            }
        }
        Ok(())
    }

    fn unknown_keyword(&self, name: &str) -> Error {
        let names: Vec<String> = self
            .signature
            .parameters
            .iter()
            .filter_map(|parameter| parameter.name.as_ref())
            .map(|name| format!("`{name}`"))
            .collect();
        match names.as_slice() {
            [] => self.invalid(format_args!("takes no keyword arguments, found `{name}`")),
            names => {
                let names = names.join(", ");
                self.invalid(format_args!("has no parameter `{name}`, only {names}"))
            }
        }
    }

    fn miscounted(&self, found: usize, detail: &str) -> Error {
        let expected = self.signature.count_text();
        self.invalid(format_args!("takes {expected}, found {found}{detail}"))
    }

    fn malformed(&self, error: &ValueError) -> Error {
        self.invalid(format_args!("malformed arguments: {error}"))
    }

    fn invalid(&self, problem: std::fmt::Arguments<'_>) -> Error {
        Error::new(INVALID_ARGUMENTS, format!("`{}`: {problem}", self.signature.text))
    }
}

/// Arguments, each at the place of its parameter.
#[derive(Debug, Clone)]
pub struct Bound<'a> {
    signature: &'a Signature,
    values: Elements<'a>,
}

impl<'a> Bound<'a> {
    /// The argument at a position, counted from 0, as one MessagePack value; `None` if it is
    /// missing.
    #[must_use]
    pub fn encoded(&self, position: usize) -> Option<&'a [u8]> {
        self.values.get(position).copied().flatten()
    }

    /// The argument at a position, counted from 0, decoded. One that is missing becomes `None`
    /// if the type is an [`Option`].
    ///
    /// # Errors
    /// Of the kind `InvalidArguments`, if the argument does not fit the type.
    pub fn decode<T: DeserializeOwned>(&self, position: usize) -> Result<T, Error> {
        decode::argument(self.encoded(position))
            .map_err(|problem| unfit(self.signature, position, &problem))
    }
}

/// Arguments that are taken one after another.
pub(crate) struct InOrder<'a> {
    signature: &'a Signature,
    rest: &'a [u8],
}

impl InOrder<'_> {
    /// Takes and decodes the next argument, the one at `position`.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, position: usize) -> Result<T, Error> {
        // The item was walked over before, so this finds the end of each value.
        let length = value::skip(self.rest).unwrap_or(self.rest.len());
        let (encoded, rest) = self.rest.split_at(length);
        self.rest = rest;
        decode::argument(Some(encoded)).map_err(|problem| unfit(self.signature, position, &problem))
    }
}

#[cold]
fn unfit(signature: &Signature, position: usize, problem: &str) -> Error {
    let argument = signature.argument_text(position);
    Error::new(INVALID_ARGUMENTS, format!("{argument} of `{}`: {problem}", signature.text))
}

/// Encoded values, all of them there as they come. Few fit without an allocation.
pub(crate) type Elements<'a> = SmallVec<[Option<&'a [u8]>; 4]>;

/// The elements of an array, each as one encoded value.
pub(crate) fn elements(array: &[u8]) -> Result<Elements<'_>, ValueError> {
    let (count, rest) = header(array, Kind::Array, "an array")?;
    values(rest, count)
}

/// An entry of a map: its key and its value, encoded.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// The entries of a map, in order.
pub(crate) fn entries(map: &[u8]) -> Result<Vec<Entry<'_>>, ValueError> {
    let (count, rest) = header(map, Kind::Map, "a map")?;
    let values = values(rest, count.saturating_mul(2))?;
    let pairs = values.chunks_exact(2);
    Ok(pairs.filter_map(|pair| pair.first().copied()?.zip(pair.get(1).copied()?)).collect())
}

/// The text of an encoded string; `None` for any other value.
pub(crate) fn text(encoded: &[u8]) -> Option<&str> {
    match Kind::of(*encoded.first()?) {
        Kind::String => rmp_serde::from_slice(encoded).ok(),
        _ => None,
    }
}

fn values(mut rest: &[u8], count: usize) -> Result<Elements<'_>, ValueError> {
    let mut values = Elements::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (value, behind) = rest.split_at(value::skip(rest)?);
        values.push(Some(value));
        rest = behind;
    }
    Ok(values)
}

/// How many values a container says it holds, and the bytes behind that.
fn header<'a>(
    bytes: &'a [u8],
    kind: Kind,
    expected: &'static str,
) -> Result<(usize, &'a [u8]), ValueError> {
    let truncated = ValueError::Truncated { offset: bytes.len(), expected };
    let Some((&first, rest)) = bytes.split_first() else { return Err(truncated) };
    let found = Kind::of(first);
    if found != kind {
        return Err(ValueError::Unexpected { offset: 0, expected, found: found.name() });
    }
    let count_bytes = match first {
        0xdc | 0xde => 2,
        0xdd | 0xdf => 4,
        // The count of a small array or map is in the low bits of its first byte.
        _ => return Ok((usize::from(first & 0x0f), rest)),
    };
    let Some((count, rest)) = rest.split_at_checked(count_bytes) else { return Err(truncated) };
    Ok((count.iter().fold(0, |count, &byte| count << 8 | usize::from(byte)), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Arguments, Item, elements, entries};
    use crate::{json, signature::Signature};

    fn pack(value: &serde_json::Value) -> Vec<u8> {
        json::to_message_pack(&value.to_string()).unwrap()
    }

    /// Binds and decodes as a function `(n: i64, label: Option<String>)` would.
    fn bind(signature: &str, positional: serde_json::Value, keywords: serde_json::Value) -> String {
        let signature = Signature::parse(signature).unwrap();
        let keywords = (!keywords.is_null()).then(|| pack(&keywords));
        let item = Item { positional: &pack(&positional), keywords: keywords.as_deref() };
        let decoded = Arguments::new(&signature, item)
            .bind()
            .and_then(|bound| Ok((bound.decode::<i64>(0)?, bound.decode::<Option<String>>(1)?)));
        match decoded {
            Ok(values) => format!("{values:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn binding() {
        let signature = "f(n, label?)";
        for (positional, keywords, expected) in [
            (json!([1]), json!(null), "(1, None)"),
            (json!([1, "a"]), json!(null), r#"(1, Some("a"))"#),
            (json!([1, null]), json!(null), "(1, None)"),
            (json!([-9_223_372_036_854_775_808_i64]), json!({}), "(-9223372036854775808, None)"),
            (json!([]), json!({"label": "a", "n": 1}), r#"(1, Some("a"))"#),
            (
                json!([]),
                json!(null),
                "InvalidArguments: `f(n, label?)`: takes 1 to 2 arguments, found 0: \
                 argument 1 (`n`) is missing",
            ),
            (
                json!([]),
                json!({"label": "a"}),
                "InvalidArguments: `f(n, label?)`: takes 1 to 2 arguments, found 1: \
                 argument 1 (`n`) is missing",
            ),
            (
                json!([1, 2, 3]),
                json!(null),
                "InvalidArguments: `f(n, label?)`: takes 1 to 2 arguments, found 3",
            ),
            (
                json!([1]),
                json!({"n": 1}),
                "InvalidArguments: `f(n, label?)`: argument `n` comes twice",
            ),
            (
                json!([1]),
                json!({"m": 1}),
                "InvalidArguments: `f(n, label?)`: has no parameter `m`, only `n`, `label`",
            ),
            (
                json!(["x"]),
                json!(null),
                "InvalidArguments: argument 1 (`n`) of `f(n, label?)`: expected i64, \
                 found a string",
            ),
            (
                json!([null]),
                json!(null),
                "InvalidArguments: argument 1 (`n`) of `f(n, label?)`: expected i64, found nil",
            ),
            (
                json!([1.0]),
                json!(null),
                "InvalidArguments: argument 1 (`n`) of `f(n, label?)`: invalid type: \
                 floating point `1.0`, expected i64",
            ),
            (
                json!([9_223_372_036_854_775_808_u64]),
                json!(null),
                "InvalidArguments: argument 1 (`n`) of `f(n, label?)`: invalid value: \
                 integer `9223372036854775808`, expected i64",
            ),
            (
                json!([1, 2]),
                json!(null),
                "InvalidArguments: argument 2 (`label`) of `f(n, label?)`: invalid type: \
                 integer `2`, expected a string",
            ),
            (
                json!([1, [[]]]),
                json!(null),
                "InvalidArguments: argument 2 (`label`) of `f(n, label?)`: invalid type: \
                 sequence, expected a string",
            ),
        ] {
            assert_eq!(bind(signature, positional, keywords), expected);
        }
    }

    #[test]
    fn binding_without_names() {
        for (positional, keywords, expected) in [
            (json!([1, "a", 3]), json!({}), r#"(1, Some("a"))"#),
            (
                json!([1]),
                json!({"n": 1}),
                "InvalidArguments: `f`: takes no keyword arguments, found `n`",
            ),
        ] {
            assert_eq!(bind("f", positional, keywords), expected);
        }
    }

    #[test]
    fn keywords_that_are_not_strings_or_come_twice() {
        let signature = Signature::parse("f(n)").unwrap();
        for (keywords, expected) in [
            (
                &[0x81, 0x01, 0x01][..],
                "InvalidArguments: `f(n)`: the name of a keyword argument is a string, \
                 found an integer",
            ),
            (
                &[0x82, 0xa1, b'n', 0x01, 0xa1, b'n', 0x02][..],
                "InvalidArguments: `f(n)`: argument `n` comes twice",
            ),
        ] {
            let item = Item { positional: &[0x90], keywords: Some(keywords) };
            let error = Arguments::new(&signature, item).bind().unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn containers_of_every_width() {
        let elements = |array| elements(array).map(|all| all.into_iter().flatten().collect());
        assert_eq!(elements(&[0x92, 1, 0xa1, b'x']), Ok(vec![&[1][..], &[0xa1, b'x']]));
        assert_eq!(elements(&[0xdc, 0, 1, 7]), Ok(vec![&[7][..]]));
        assert_eq!(elements(&[0xdd, 0, 0, 0, 1, 7]), Ok(vec![&[7][..]]));
        assert_eq!(entries(&[0xde, 0, 1, 7, 8]), Ok(vec![(&[7][..], &[8][..])]));
        assert_eq!(entries(&[0xdf, 0, 0, 0, 1, 7, 8]), Ok(vec![(&[7][..], &[8][..])]));
        assert!(elements(&[0xdd, 0, 0]).is_err());
        assert!(elements(&[0xdd, 0xff, 0xff, 0xff, 0xff, 7]).is_err());
        assert!(elements(&[0x80]).is_err());
    }
}
