//! Whole numbers to digits, without a detour by a string of their own.

/// The most digits that 64 bits have.
const MAX_DIGITS: usize = 20;

/// The digits of the numbers below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value as usize] = [b'0' + value / 10, b'0' + value % 10];
        value += 1;
    }
    pairs
};

/// Appends the digits of a number.
pub(super) fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; MAX_DIGITS];
    let mut start = MAX_DIGITS;
    // Each division waits for the one before it, so there are few: eight digits at a time, from
    // the last on, and then those of the eight apart from each other.
    while value >= 100_000_000 {
        start -= 8;
        digits[start..start + 8].copy_from_slice(&eight_digits((value % 100_000_000) as u32));
        value /= 100_000_000;
    }
    let mut value = value as u32;
    while value >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[value as usize % 100]);
        value /= 100;
    }
    // One digit is left over, or none of a number that is not 0.
    if value > 0 || start == MAX_DIGITS {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

fn eight_digits(value: u32) -> [u8; 8] {
    let pair = |divisor: u32| PAIRS[(value / divisor % 100) as usize];
    let ([a, b], [c, d]) = (pair(1_000_000), pair(10_000));
    let ([e, f], [g, h]) = (pair(100), pair(1));
    [a, b, c, d, e, f, g, h]
}

/// Appends a number with its sign, if that is a minus.
pub(super) fn write_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(out, value.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: u64) {
        let mut out = b"before".to_vec();
        write_unsigned(&mut out, value);
        assert_eq!(str::from_utf8(&out).unwrap(), format!("before{value}"));
        for value in [value.cast_signed(), value.cast_signed().wrapping_neg()] {
            let mut out = b"before".to_vec();
            write_signed(&mut out, value);
            assert_eq!(str::from_utf8(&out).unwrap(), format!("before{value}"));
        }
    }

    #[test]
    fn digits_are_those_of_the_standard_library_at_all_edges() {
        check(u64::MAX);
        for power in 0..20 {
            let edge = 10u64.pow(power);
            [edge - 1, edge, edge + 1, edge.saturating_mul(2) - 1].into_iter().for_each(check);
        }
        for power in 0..64 {
            let edge = 1u64 << power;
            [edge - 1, edge, edge + 1].into_iter().for_each(check);
        }
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(value: u64, shift in 0..64) {
            check(value >> shift);
        }
    }
}
