//! Results to MessagePack, never beyond what a frame can hold.

use std::io::{self, Write};

use protocol::{limits::MAX_FRAME, message::kind::INVALID_RESULT};
use serde::Serialize;

use crate::{error::Error, result::ResultBuffer};

/// Appends `value` to `out` as one MessagePack value: what a raw function does with its result.
///
/// A struct becomes a map with the names of its fields. Bytes become binary data through the
/// crate `serde_bytes`; a plain `Vec<u8>` is an array of integers. Integers of 128 bits become
/// binary data, as MessagePack has none.
///
/// ```
/// let mut out = Vec::new();
/// worker::encode(&("ab", 5), &mut out)?;
/// assert_eq!(out, [0x92, 0xa2, b'a', b'b', 5]);
/// # Ok::<(), worker::Error>(())
/// ```
///
/// # Errors
/// Of the kind `InvalidResult`: the value does not fit a frame of 1 GiB, or its type refuses to
/// be encoded. `out` then holds part of it.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    encode_within(value, out, MAX_FRAME)
}

/// As [`encode`], for the result of a function.
pub(crate) fn encode_result<T: Serialize + ?Sized>(
    value: &T,
    out: &mut ResultBuffer,
) -> Result<(), Error> {
    encode_within(value, out, MAX_FRAME)
}

fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    out: &mut impl Grow,
    limit: usize,
) -> Result<(), Error> {
    let mut limited = Limited { room: limit.saturating_sub(out.size()), full: false, out };
    let encoded = rmp_serde::encode::write_named(&mut limited, value);
    match encoded {
        Ok(()) => Ok(()),
        Err(_) if limited.full => Err(too_large(limit)),
        Err(error) => {
            Err(Error::new(INVALID_RESULT, format!("the result cannot be encoded: {error}")))
        }
    }
}

/// What can be written at the end.
trait Grow {
    fn size(&self) -> usize;
    fn append(&mut self, bytes: &[u8]);
}

impl Grow for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Grow for ResultBuffer {
    fn size(&self) -> usize {
        self.len()
    }

    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The error of a result that does not fit a frame of `limit` bytes.
pub(crate) fn too_large(limit: usize) -> Error {
    let message = format!("the result is larger than the {limit} bytes that a frame may have");
    Error::new(INVALID_RESULT, message)
}

/// Stops an encoder at a limit, so that a runaway result does not take all memory first.
struct Limited<'a, G> {
    out: &'a mut G,
    room: usize,
    full: bool,
}

impl<G: Grow> Write for Limited<'_, G> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.room.checked_sub(bytes.len()) {
            Some(room) => {
                self.room = room;
                self.out.append(bytes);
                Ok(bytes.len())
            }
            None => {
                self.full = true;
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{encode, encode_within};

    #[test]
    fn a_result_up_to_the_limit() {
        let mut out = Vec::new();
        encode_within("ab", &mut out, 3).unwrap();
        assert_eq!(out, [0xa2, b'a', b'b']);
        let error = encode_within("abc", &mut Vec::new(), 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "InvalidResult: the result is larger than the 3 bytes that a frame may have"
        );
    }

    #[test]
    fn a_result_that_refuses() {
        struct Refuses;
        impl serde::Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        let error = encode(&Refuses, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "InvalidResult: the result cannot be encoded: not today");
    }
}
