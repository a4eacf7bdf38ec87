//! Binary data in memory of its own, between MessagePack and types that keep it as it is.

use serde::{
    Deserializer,
    de::{
        Visitor,
        value::{Error, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// The bytes that begin binary data whose length has 8, 16 or 32 bits.
const HEADS: [u8; 3] = [0xc4, 0xc5, 0xc6];

/// The largest header of binary data, in bytes.
pub const MAX_HEADER: usize = 5;

/// The size of the header in front of binary data that is all of a value of `length` bytes, which
/// begins with `start`. `None` if that is something else.
///
/// ```
/// use protocol::binary::header_of;
///
/// assert_eq!(header_of(&[0xc4, 2, 7, 7], 4), Some(2));
/// assert_eq!(header_of(&[0xc4, 2, 7, 7], 5), None, "something else is behind it");
/// ```
#[must_use]
pub fn header_of(start: &[u8], length: usize) -> Option<usize> {
    let (&head, rest) = start.split_first()?;
    let (size, claimed) = match HEADS.iter().position(|&known| known == head)? {
        0 => (2, usize::from(*rest.first()?)),
        1 => (3, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        _ => (5, usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?),
    };
    (size + claimed == length).then_some(size)
}

/// Binary data with its header in front, in the shortest form.
///
/// ```
/// assert_eq!(protocol::binary::encoded(vec![7, 7]), [0xc4, 2, 7, 7]);
/// ```
#[must_use]
pub fn encoded(mut data: Vec<u8>) -> Vec<u8> {
    let (length, [_, _, high, low]) = (data.len(), (data.len() as u32).to_be_bytes());
    let header = match length {
        0..=0xff => vec![HEADS[0], low],
        0x100..=0xffff => vec![HEADS[1], high, low],
        // It came in a frame, so it is no larger.
        _ => [&HEADS[2..], &(length as u32).to_be_bytes()].concat(),
    };
    data.splice(..0, header);
    data
}

/// Gives the data away to whatever type takes it.
///
/// ```
/// use protocol::binary::Binary;
/// use serde::Deserialize as _;
///
/// let text = String::deserialize(Binary(b"text".to_vec()))?;
/// assert_eq!(text, "text");
/// # Ok::<(), serde::de::value::Error>(())
/// ```
#[derive(Debug)]
pub struct Binary(
    /// The data, without a header.
    pub Vec<u8>,
);

impl<'de> Deserializer<'de> for Binary {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_where_they_belong() {
        for length in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 100_000] {
            let data = vec![7; length];
            let value = encoded(data.clone());
            let mut written = Vec::new();
            rmp::encode::write_bin(&mut written, &data).unwrap();
            assert_eq!(value, written);
            let start = value.get(..MAX_HEADER.min(value.len())).unwrap();
            let header = header_of(start, value.len()).unwrap();
            assert_eq!(value.get(header..), Some(&data[..]));
            assert_eq!(header_of(start, value.len() + 1), None, "something follows");
            assert_eq!(header_of(&start[..1], value.len()), None);
        }
        assert_eq!(header_of(&[0xa1, b'a'], 2), None, "a string");
        assert_eq!(header_of(&[], 0), None);
    }
}
