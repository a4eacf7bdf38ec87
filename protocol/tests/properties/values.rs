//! Where values end, by the crate and by the letter of the format.

use proptest::{collection::vec, prelude::*};
use protocol::{
    envelope,
    limits::MAX_PAYLOAD_DEPTH,
    value::{self, ValueError},
};

use crate::strategies::{disorder, encoded_value};

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn skip_does_as_a_plain_reader_does(
        value in encoded_value(),
        behind in vec(any::<u8>(), 0..20),
        cut: prop::sample::Index,
        disorder in disorder(),
    ) {
        let bytes = [&value[..], &behind[..]].concat();
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)], &disorder[..]] {
            prop_assert_eq!(outline(value::skip(bytes)), plain_skip(bytes, 0, 0));
        }
    }

    #[test]
    fn skip_does_as_a_plain_reader_does_near_the_deepest_level(
        value in encoded_value(),
        levels in MAX_PAYLOAD_DEPTH - 8..MAX_PAYLOAD_DEPTH + 3,
        maps in vec(any::<bool>(), 8),
    ) {
        let mut bytes = Vec::new();
        for level in 0..levels {
            let is_map = maps[level % maps.len()];
            bytes.extend_from_slice(if is_map { &[0x81, 0xa0] } else { &[0x91] });
        }
        bytes.extend(value);
        prop_assert_eq!(outline(value::skip(&bytes)), plain_skip(&bytes, 0, 0));
    }

    #[test]
    fn the_values_of_results_are_told_apart_where_they_were_joined(
        values in vec(encoded_value(), 1..20),
        cut: prop::sample::Index,
    ) {
        let payload = values.concat();
        let mut expected = Vec::new();
        for value in &values {
            expected.push(expected.last().copied().unwrap_or(0) + value.len());
        }
        let mut found = Vec::new();
        envelope::values(&payload, |end| found.push(end)).unwrap();
        prop_assert_eq!(&found, &expected);

        found.clear();
        let cut = cut.index(payload.len());
        let read = envelope::values(&payload[..cut], |end| found.push(end));
        let whole = expected.iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&found[..], &expected[..whole]);
        prop_assert_eq!(read.is_ok(), cut > 0 && expected.contains(&cut));
    }
}

/// The outcome of [`value::skip`], without its words.
#[derive(Debug, PartialEq, Eq)]
enum Outline {
    /// Where the value ends.
    End(usize),
    Truncated,
    TooDeep(usize),
    Reserved(usize),
}

fn outline(read: Result<usize, ValueError>) -> Outline {
    match read {
        Ok(end) => Outline::End(end),
        Err(ValueError::Truncated { .. }) => Outline::Truncated,
        Err(ValueError::TooDeep { offset, .. }) => Outline::TooDeep(offset),
        Err(ValueError::Unexpected { offset, .. }) => Outline::Reserved(offset),
        Err(other) => panic!("{other} is new"),
    }
}

/// Walks over the value at `start` by the letter of the format, with `depth` levels around it.
fn plain_skip(bytes: &[u8], start: usize, depth: usize) -> Outline {
    let number = |offset: usize, width: usize| {
        let bytes = bytes.get(offset..offset + width)?;
        Some(bytes.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)))
    };
    let behind = start + 1;
    let Some(first) = number(start, 1) else { return Outline::Truncated };
    // How wide the length field is, how many more bytes, and how many values follow for each that
    // is counted.
    let (width, more, values) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0, 0),
        0x80..=0x8f => (0, first & 0x0f, 2),
        0x90..=0x9f => (0, first & 0x0f, 1),
        0xa0..=0xbf => (0, first & 0x1f, 0),
        0xc1 => return Outline::Reserved(start),
        0xc4..=0xc6 => (1 << (first - 0xc4), 0, 0),
        0xc7..=0xc9 => (1 << (first - 0xc7), 1, 0),
        0xca => (0, 4, 0),
        0xcb => (0, 8, 0),
        0xcc..=0xcf => (0, 1 << (first - 0xcc), 0),
        0xd0..=0xd3 => (0, 1 << (first - 0xd0), 0),
        0xd4..=0xd8 => (0, 1 + (1 << (first - 0xd4)), 0),
        0xd9..=0xdb => (1 << (first - 0xd9), 0, 0),
        0xdc | 0xdd => (2 << (first - 0xdc), 0, 1),
        0xde | 0xdf => (2 << (first - 0xde), 0, 2),
        _ => unreachable!("a byte"),
    };
    let Some(length) = number(behind, width) else { return Outline::Truncated };
    let length = length + more;
    let mut end = behind + width;
    if values == 0 {
        end += length;
        return if end <= bytes.len() { Outline::End(end) } else { Outline::Truncated };
    }
    if depth == MAX_PAYLOAD_DEPTH {
        return Outline::TooDeep(start);
    }
    for _ in 0..length * values {
        match plain_skip(bytes, end, depth + 1) {
            Outline::End(next) => end = next,
            other => return other,
        }
    }
    Outline::End(end)
}
