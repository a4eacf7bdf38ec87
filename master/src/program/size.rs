//! Sizes of memory as people write them: `500M`, `2G`, `1048576`.

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// It is not a whole number and perhaps a unit.
    #[error("expected a whole number of bytes, or with a unit, such as 64K, 500M or 2G")]
    Malformed,
    /// It does not fit 64 bits.
    #[error("is too large")]
    TooLarge,
}

/// Reads a size in bytes: digits, then perhaps `K`, `M`, `G` or `T` for powers of 1024, with or
/// without `iB` or `B` behind it.
///
/// ```
/// use master::program::size;
///
/// assert_eq!(size::parse("500M"), Ok(500 << 20));
/// assert_eq!(size::parse("2GiB"), Ok(2 << 30));
/// assert_eq!(size::parse("1048576"), Ok(1 << 20));
/// assert_eq!(size::parse("some"), Err(size::SizeError::Malformed));
/// ```
///
/// # Errors
/// [`SizeError`].
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KB" | "KiB" | "k" => 10,
        "M" | "MB" | "MiB" => 20,
        "G" | "GB" | "GiB" => 30,
        "T" | "TB" | "TiB" => 40,
        _ => return Err(SizeError::Malformed),
    };
    if digits.is_empty() {
        return Err(SizeError::Malformed);
    }
    let number: u64 = digits.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::{SizeError, parse};

    #[test]
    fn sizes_and_what_is_none() {
        let cases = [
            ("1", Ok(1)),
            ("64K", Ok(64 << 10)),
            ("3TiB", Ok(3 << 40)),
            ("0", Ok(0)),
            ("0G", Ok(0)),
            ("", Err(SizeError::Malformed)),
            ("G", Err(SizeError::Malformed)),
            ("1.5G", Err(SizeError::Malformed)),
            ("-1", Err(SizeError::Malformed)),
            ("5X", Err(SizeError::Malformed)),
            ("99999999999999999999", Err(SizeError::TooLarge)),
            ("99999999T", Err(SizeError::TooLarge)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
