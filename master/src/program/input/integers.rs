//! Lines that hold one integer and nothing else, the most common of all: from the buffer into the
//! chunk in one pass. Every other line, one that is in error included, is left to the way that
//! all lines can go, and both ways come to the same.

use super::{EncodedChunk, FULL_CHUNK, MAX_ITEM};
use crate::program::message_pack;

/// So many digits always fit 64 bits.
const MAX_DIGITS: usize = 19;

/// The encoded list of one integer has so many bytes at the most.
const MAX_LIST: usize = 10;

/// Appends an item for each of the plain integers that `arrived` begins with, until the chunk
/// has `max_items`. Tells how many bytes, and how many lines, they took.
pub(super) fn append_plain(
    arrived: &[u8],
    keywords: &[u8],
    max_items: usize,
    chunk: &mut EncodedChunk,
) -> (usize, usize) {
    if keywords.len() > MAX_ITEM - MAX_LIST {
        return (0, 0);
    }
    let (mut length, mut count) = (0, 0);
    while chunk.len() < max_items
        && chunk.bytes.len() < FULL_CHUNK
        && let Some((integer, line)) = plain(&arrived[length..])
    {
        message_pack::write_array_header(&mut chunk.bytes, 1);
        match integer {
            Integer::Unsigned(value) => message_pack::write_unsigned(&mut chunk.bytes, value),
            Integer::Signed(value) => message_pack::write_signed(&mut chunk.bytes, value),
        }
        chunk.bytes.extend_from_slice(keywords);
        chunk.ends.push(chunk.bytes.len());
        length += line;
        count += 1;
    }
    (length, count)
}

enum Integer {
    Unsigned(u64),
    Signed(i64),
}

/// The integer that the first line holds, if that is all it holds, and the length of the line
/// with its end.
fn plain(bytes: &[u8]) -> Option<(Integer, usize)> {
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut end = start;
    let mut value = 0;
    while let Some(digit @ 0..=9) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')) {
        if end == start + MAX_DIGITS {
            return None;
        }
        value = value * 10 + u64::from(digit);
        end += 1;
    }
    let line_end = end + usize::from(bytes.get(end) == Some(&b'\r'));
    let leading_zero = bytes.get(start) == Some(&b'0') && end > start + 1;
    if bytes.get(line_end) != Some(&b'\n') || end == start || leading_zero {
        return None;
    }
    let integer = match start {
        0 => Integer::Unsigned(value),
        _ => Integer::Signed(0i64.checked_sub_unsigned(value)?),
    };
    Some((integer, line_end + 1))
}
