//! What an executable is to be, byte by byte.

use std::{fmt, str::FromStr};

use super::WorkerCommand;

/// Bytes of a SHA-256.
const LENGTH: usize = 32;

/// The SHA-256 of an executable, to which a worker command can be
/// [pinned](WorkerCommand::pinned). In text it is what `sha256sum` prints.
///
/// ```
/// use master::command::Checksum;
///
/// let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let checksum: Checksum = text.parse()?;
/// assert_eq!(checksum.to_string(), text);
/// assert_ne!(checksum, Checksum::from([0; 32]));
/// # Ok::<(), master::command::ParseChecksumError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; LENGTH]);

/// Why a text is no [`Checksum`].
///
/// ```
/// use master::command::{Checksum, ParseChecksumError};
///
/// let error: ParseChecksumError = "abc".parse::<Checksum>().unwrap_err();
/// assert!(error.to_string().contains("64 hexadecimal digits"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("expected a SHA-256, which is 64 hexadecimal digits, as `sha256sum` prints it")]
pub struct ParseChecksumError;

impl From<[u8; LENGTH]> for Checksum {
    fn from(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Checksum {
    type Err = ParseChecksumError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 2 * LENGTH {
            return Err(ParseChecksumError);
        }
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or(ParseChecksumError)?;
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = pair.iter().fold(0, |value, digit| value << 4 | digit);
            *byte = u8::try_from(value).map_err(|_| ParseChecksumError)?;
        }
        Ok(Self(bytes))
    }
}

impl WorkerCommand {
    /// The same command, for this very executable: its SHA-256 is compared before each start, and
    /// a worker whose executable is another is not started, as [`Error::PoolFailed`] or
    /// [`Error::ProcessFailed`] with both checksums. In a pool that was ready before, a worker
    /// that is to take the seat of another counts as a start that failed.
    ///
    /// This finds an executable that was updated, mixed up or damaged. It is no defence against
    /// somebody who may write to its directory, since the file can be replaced in the moment
    /// between the comparison and the start; nor does it cover what the executable reads itself:
    /// libraries, and for an interpreter the script among its arguments. The file has to be
    /// readable. It is read again only when it has changed.
    ///
    /// ```
    /// use master::{
    ///     Error, Pool,
    ///     command::{Checksum, CommandLine, SearchPath},
    /// };
    ///
    /// # let path = integration_tests::library::worker().program().display().to_string();
    /// let worker = CommandLine::from_words([path])?.resolve(&SearchPath::from_environment()?)?;
    /// let pinned = worker.pinned(Checksum::from([0; 32]));
    /// let pool = Pool::builder().worker(pinned).processes(1).build()?;
    /// match pool.apply::<i64>("square", (5,)) {
    ///     Err(Error::PoolFailed(report)) => assert!(report.to_string().contains("pinned to 0000")),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`Error::PoolFailed`]: crate::Error::PoolFailed
    /// [`Error::ProcessFailed`]: crate::Error::ProcessFailed
    pub const fn pinned(mut self, checksum: Checksum) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// What it is pinned to.
    ///
    /// ```
    /// # use master::command::{Checksum, CommandLine, SearchPath};
    /// let command = CommandLine::parse("sh")?.resolve(&SearchPath::from_environment()?)?;
    /// assert_eq!(command.checksum(), None);
    /// let checksum = Checksum::from([0; 32]);
    /// assert_eq!(command.pinned(checksum).checksum(), Some(checksum));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn checksum(&self) -> Option<Checksum> {
        self.checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_64_hexadecimal_digits_is_a_checksum() {
        let upper = "AB".repeat(LENGTH);
        assert_eq!(upper.parse(), Ok(Checksum([0xab; LENGTH])));
        let (short, long) = ("0".repeat(63), "0".repeat(65));
        let (sign, strange) = (format!("+{short}"), "é".repeat(LENGTH));
        for text in ["", &short, &long, &sign, &strange, &"g".repeat(64)] {
            assert_eq!(text.parse::<Checksum>(), Err(ParseChecksumError), "{text}");
        }
    }
}
