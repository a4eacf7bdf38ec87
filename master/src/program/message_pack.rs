//! Writing single MessagePack values, each in its shortest form.

use rmp::Marker;

/// Appends an integer that is not negative.
pub(super) fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(Marker::FixPos(bytes[7]).to_u8()),
        0x80..=0xff => write(out, Marker::U8, &bytes[7..]),
        0x100..=0xffff => write(out, Marker::U16, &bytes[6..]),
        0x1_0000..=0xffff_ffff => write(out, Marker::U32, &bytes[4..]),
        _ => write(out, Marker::U64, &bytes),
    }
}

/// Appends an integer.
pub(super) fn write_signed(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_be_bytes();
    match value {
        0.. => write_unsigned(out, value.unsigned_abs()),
        -0x20..=-1 => out.push(bytes[7]),
        -0x80..=-0x21 => write(out, Marker::I8, &bytes[7..]),
        -0x8000..=-0x81 => write(out, Marker::I16, &bytes[6..]),
        -0x8000_0000..=-0x8001 => write(out, Marker::I32, &bytes[4..]),
        _ => write(out, Marker::I64, &bytes),
    }
}

/// Appends a 64-bit float.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    write(out, Marker::F64, &value.to_be_bytes());
}

/// Appends a string of fewer than 2^32 bytes.
pub(super) fn write_string(out: &mut Vec<u8>, value: &str) {
    match size(value.len()) {
        [0, 0, 0, length @ 0..0x20] => out.push(Marker::FixStr(length).to_u8()),
        [0, 0, 0, length] => write(out, Marker::Str8, &[length]),
        [0, 0, length @ ..] => write(out, Marker::Str16, &length),
        length => write(out, Marker::Str32, &length),
    }
    out.extend_from_slice(value.as_bytes());
}

/// Appends binary data of fewer than 2^32 bytes.
pub(super) fn write_binary(out: &mut Vec<u8>, value: &[u8]) {
    match size(value.len()) {
        [0, 0, 0, length] => write(out, Marker::Bin8, &[length]),
        [0, 0, length @ ..] => write(out, Marker::Bin16, &length),
        length => write(out, Marker::Bin32, &length),
    }
    out.extend_from_slice(value);
}

/// Appends the header of an array of fewer than 2^32 elements, which are to follow.
pub(super) fn write_array_header(out: &mut Vec<u8>, length: usize) {
    match size(length) {
        [0, 0, 0, length @ 0..0x10] => out.push(Marker::FixArray(length).to_u8()),
        [0, 0, length @ ..] => write(out, Marker::Array16, &length),
        length => write(out, Marker::Array32, &length),
    }
}

/// Appends the header of a map of fewer than 2^32 pairs, which are to follow.
pub(super) fn write_map_header(out: &mut Vec<u8>, length: usize) {
    match size(length) {
        [0, 0, 0, length @ 0..0x10] => out.push(Marker::FixMap(length).to_u8()),
        [0, 0, length @ ..] => write(out, Marker::Map16, &length),
        length => write(out, Marker::Map32, &length),
    }
}

/// The callers hold to the limit of a frame, so no length is ever cut off here.
fn size(length: usize) -> [u8; 4] {
    debug_assert!(u32::try_from(length).is_ok(), "{length} is beyond any limit of the protocol");
    (length as u32).to_be_bytes()
}

fn write(out: &mut Vec<u8>, marker: Marker, bytes: &[u8]) {
    out.push(marker.to_u8());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Vec<u8>), reference: impl Fn(&mut Vec<u8>)) {
        let (mut written, mut expected) = (Vec::new(), Vec::new());
        write(&mut written);
        reference(&mut expected);
        assert_eq!(written, expected);
    }

    /// The numbers around every power of 2, where the forms change.
    fn edges() -> impl Iterator<Item = u64> {
        (0..64)
            .flat_map(|power| {
                let edge = 1u64 << power;
                [edge - 1, edge, edge + 1]
            })
            .chain([u64::MAX])
    }

    #[test]
    fn integers_are_as_short_as_those_of_rmp() {
        for value in edges() {
            check(
                |out| write_unsigned(out, value),
                |out| {
                    rmp::encode::write_uint(out, value).unwrap();
                },
            );
            for value in [value as i64, (value as i64).wrapping_neg()] {
                check(
                    |out| write_signed(out, value),
                    |out| {
                        rmp::encode::write_sint(out, value).unwrap();
                    },
                );
            }
        }
    }

    #[test]
    fn lengths_are_as_short_as_those_of_rmp() {
        for length in edges().take_while(|&length| length <= 1 << 17) {
            let (length, text) = (length as u32, "x".repeat(length as usize));
            let bytes = text.as_bytes();
            let size = bytes.len();
            check(
                |out| write_string(out, &text),
                |out| rmp::encode::write_str(out, &text).unwrap(),
            );
            check(
                |out| write_binary(out, bytes),
                |out| rmp::encode::write_bin(out, bytes).unwrap(),
            );
            check(
                |out| write_array_header(out, size),
                |out| {
                    rmp::encode::write_array_len(out, length).unwrap();
                },
            );
            check(
                |out| write_map_header(out, size),
                |out| {
                    rmp::encode::write_map_len(out, length).unwrap();
                },
            );
        }
    }
}
