//! Durations as people write them: `500ms`, `10s`, `1.5m`, `2h`.

use std::time::Duration;

/// The longest duration that is accepted: ten years, far beyond any task and near enough that
/// adding it to the time of day never overflows.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const NANOSECOND_DIGITS: usize = 9;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// There is a number, but nothing that says of what.
    #[error("a unit is missing; write 500ms, 10s, 5m or 2h")]
    NoUnit,
    /// It is not a number and a unit.
    #[error("expected a number and a unit, such as 500ms, 10s, 5m or 2h")]
    Malformed,
    /// It is no time at all.
    #[error("must be longer than 0")]
    Zero,
    /// It is finer than a nanosecond.
    #[error("has more than {NANOSECOND_DIGITS} digits after the point")]
    TooFine,
    /// It is longer than [`MAX_DURATION`].
    #[error("must be at most 87600h")]
    TooLong,
}

/// Reads a duration: digits, perhaps a point and more digits, then `ms`, `s`, `m` or `h`.
///
/// ```
/// use master::program::duration;
/// use std::time::Duration;
///
/// assert_eq!(duration::parse("1.5s"), Ok(Duration::from_millis(1500)));
/// assert_eq!(duration::parse("0s"), Err(duration::DurationError::Zero));
/// ```
///
/// # Errors
/// [`DurationError`], also for 0 and for anything beyond [`MAX_DURATION`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let unit_start = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(DurationError::Malformed),
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    let unit: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        "" => return Err(DurationError::NoUnit),
        _ => return Err(DurationError::Malformed),
    };
    if fraction.len() > NANOSECOND_DIGITS {
        return Err(DurationError::TooFine);
    }
    // Both parts as a count of billionths, so that nothing is rounded on the way.
    let billionths: u128 = format!("{whole}{fraction:0<NANOSECOND_DIGITS$}")
        .parse()
        .map_err(|_| DurationError::TooLong)?;
    let nanoseconds = billionths.checked_mul(unit).ok_or(DurationError::TooLong)? / 1_000_000_000;
    match u64::try_from(nanoseconds).map(Duration::from_nanos) {
        Ok(Duration::ZERO) => Err(DurationError::Zero),
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(DurationError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, DurationError>) {
        assert_eq!(parse(text), expected.map(Duration::from_micros), "{text:?}");
    }

    #[test]
    fn a_number_and_a_unit_is_a_duration() {
        check("500ms", Ok(500_000));
        check("10s", Ok(10_000_000));
        check("1.5s", Ok(1_500_000));
        check("0.25ms", Ok(250));
        check("5m", Ok(300_000_000));
        check("1.5m", Ok(90_000_000));
        check("2h", Ok(7_200_000_000));
        check("0.000001s", Ok(1));
        check("87600h", Ok(315_360_000_000_000));
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["0s", "0ms", "0.0h", "0.000000001ms"] {
            check(text, Err(DurationError::Zero));
        }
        for text in ["10", "1.5", "0"] {
            check(text, Err(DurationError::NoUnit));
        }
        for text in [
            "", "s", ".5s", "1.s", "1..5s", "1.2.3s", "-1s", "+1s", "1 s", "1S", "1e3s", "1d",
            "soon", "1s ", "٣s",
        ] {
            check(text, Err(DurationError::Malformed));
        }
        check("0.0000000001s", Err(DurationError::TooFine));
        for text in ["87600.1h", "99999999999999999999h", &format!("{}s", "9".repeat(60))] {
            check(text, Err(DurationError::TooLong));
        }
    }
}
