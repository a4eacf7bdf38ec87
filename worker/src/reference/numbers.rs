//! Functions of numbers.

use crate::{
    Error,
    reference::{
        parameters::{Integer, Seconds},
        wait,
    },
};

pub(super) fn square(n: Integer, seconds: Option<Seconds>) -> Result<Integer, Error> {
    power(n, 2, seconds)
}

pub(super) fn cube(n: Integer, seconds: Option<Seconds>) -> Result<Integer, Error> {
    power(n, 3, seconds)
}

fn power(n: Integer, exponent: u32, seconds: Option<Seconds>) -> Result<Integer, Error> {
    if let Some(seconds) = seconds {
        wait(seconds.duration());
    }
    let power = n.value().checked_pow(exponent).and_then(Integer::new);
    power.ok_or_else(|| overflow(&format!("{} to the power of {exponent}", n.value())))
}

/// No sum fits 64 bits from here on; the largest that does belongs to a number below it.
const TOO_MANY: u64 = 50_000_000_000;

/// How many numbers are sieved at once: what fits the cache of a processor.
const SEGMENT: u64 = 1 << 18;

/// The sum of all primes below `n`, by the sieve of Eratosthenes in segments, so that memory
/// does not grow with `n`.
pub(super) fn sum_primes(n: u64) -> Result<u64, Error> {
    let too_large = || overflow(&format!("the sum of the primes below {n}"));
    if n > TOO_MANY {
        return Err(too_large());
    }
    let base = primes_up_to(n.isqrt());
    let mut sum = 0_u64;
    let mut start = 2;
    while start < n {
        let end = n.min(start + SEGMENT);
        for prime in sieve(start, end, &base) {
            sum = sum.checked_add(prime).ok_or_else(too_large)?;
        }
        start = end;
    }
    Ok(sum)
}

/// The primes of a segment, given all primes up to the square root of its end.
fn sieve(start: u64, end: u64, base: &[u64]) -> impl Iterator<Item = u64> {
    let index = |number: u64| usize::try_from(number - start).unwrap_or(usize::MAX);
    let mut composite = vec![false; index(end)];
    for &prime in base.iter().take_while(|&&prime| prime * prime < end) {
        let mut multiple = (prime * prime).max(start.next_multiple_of(prime));
        while let Some(slot) = composite.get_mut(index(multiple)) {
            *slot = true;
            multiple += prime;
        }
    }
    (start..end).zip(composite).filter_map(|(number, composite)| (!composite).then_some(number))
}

/// All primes up to `limit`, by trial division: few, as the limit is a square root.
fn primes_up_to(limit: u64) -> Vec<u64> {
    let mut primes: Vec<u64> = Vec::new();
    for number in 2..=limit {
        let mut divisors = primes.iter().take_while(|&&prime| prime * prime <= number);
        if divisors.all(|prime| !number.is_multiple_of(*prime)) {
            primes.push(number);
        }
    }
    primes
}

fn overflow(what: &str) -> Error {
    Error::new("Overflow", format!("{what} does not fit 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::{Integer, SEGMENT, cube, square, sum_primes};

    fn show(result: Result<Integer, crate::Error>) -> String {
        match result {
            Ok(number) => number.value().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn powers() {
        let integer = |value: i128| Integer::new(value).unwrap();
        for (n, squared, cubed) in [
            (0, "0", "0"),
            (-3, "9", "-27"),
            (
                4_294_967_295,
                "18446744065119617025",
                "Overflow: 4294967295 to the power of 3 does not fit 64 bits",
            ),
            (
                4_294_967_296,
                "Overflow: 4294967296 to the power of 2 does not fit 64 bits",
                "Overflow: 4294967296 to the power of 3 does not fit 64 bits",
            ),
            (-2_097_152, "4398046511104", "-9223372036854775808"),
            (
                -2_097_153,
                "4398050705409",
                "Overflow: -2097153 to the power of 3 does not fit 64 bits",
            ),
            (
                i128::from(u64::MAX),
                "Overflow: 18446744073709551615 to the power of 2 does not fit 64 bits",
                "Overflow: 18446744073709551615 to the power of 3 does not fit 64 bits",
            ),
        ] {
            assert_eq!(show(square(integer(n), None)), squared);
            assert_eq!(show(cube(integer(n), None)), cubed);
        }
    }

    #[test]
    fn sums_of_primes() {
        for (n, sum) in [
            (0, 0),
            (2, 0),
            (3, 2),
            (10, 17),
            (26, 100),
            (1_000, 76_127),
            (2_000_000, 142_913_828_922),
        ] {
            assert_eq!(sum_primes(n), Ok(sum), "{n}");
        }
        assert_eq!(
            sum_primes(u64::MAX).unwrap_err().to_string(),
            "Overflow: the sum of the primes below 18446744073709551615 does not fit 64 bits"
        );
    }

    #[test]
    fn segments_meet_without_gap() {
        let is_prime = |n: u64| (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor));
        for n in SEGMENT..SEGMENT + 8 {
            let added = sum_primes(n + 1).unwrap() - sum_primes(n).unwrap();
            assert_eq!(added, if is_prime(n) { n } else { 0 }, "{n}");
        }
    }
}
