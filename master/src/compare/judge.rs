//! Whether two outcomes are the same.

use crate::{error::Error, recording::Value};

/// What came of a call.
#[derive(Debug)]
pub enum Outcome {
    /// Its encoded value.
    Value(Vec<u8>),
    /// The error that it ended in: it failed, was lost or timed out.
    Error(Box<Error>),
}

impl Outcome {
    /// How many bytes it holds.
    pub(super) const fn size(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Error(_) => 0,
        }
    }

    /// The kind of an error; `None` of a value. Of a failure it is the one that its worker told.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Error(error) => Some(match &**error {
                Error::Failed(failure) => &failure.kind,
                Error::TimedOut(_) => "timed out",
                _ => "lost",
            }),
        }
    }
}

/// How two outcomes compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Both have the same value, or failed in the same way: the messages of errors are for people
    /// and may differ.
    Same,
    /// Their values differ, at first at this place, such as `$[2].name`.
    Values(String),
    /// Both failed, with errors of different kinds.
    Errors,
    /// Only this side failed, 0 or 1.
    FailedAlone(usize),
}

/// Compares two outcomes. Values are compared by what they mean, as
/// [`Value::difference`] does.
///
/// ```
/// use master::compare::{Outcome, Verdict, judge};
///
/// let value = |bytes: &[u8]| Outcome::Value(bytes.to_vec());
/// assert_eq!(judge(&value(&[5]), &value(&[0xcc, 5]), 0.0), Verdict::Same);
/// assert_eq!(judge(&value(&[5]), &value(&[6]), 0.0), Verdict::Values("$".into()));
/// ```
pub fn judge(one: &Outcome, other: &Outcome, tolerance: f64) -> Verdict {
    match (one, other) {
        (Outcome::Value(one), Outcome::Value(other)) => {
            match difference_of_values(one, other, tolerance) {
                None => Verdict::Same,
                Some(place) => Verdict::Values(place),
            }
        }
        (Outcome::Error(_), Outcome::Error(_)) => {
            if one.kind() == other.kind() {
                Verdict::Same
            } else {
                Verdict::Errors
            }
        }
        (Outcome::Error(_), Outcome::Value(_)) => Verdict::FailedAlone(0),
        (Outcome::Value(_), Outcome::Error(_)) => Verdict::FailedAlone(1),
    }
}

/// Where two encoded values differ. The same bytes are the same value, without a look at them.
pub(crate) fn difference_of_values(one: &[u8], other: &[u8], tolerance: f64) -> Option<String> {
    if one == other {
        return None;
    }
    let whole = |bytes| match Value::read(bytes) {
        Ok((value, length)) if length == bytes.len() => Some(value),
        // What is malformed is the same as nothing but the same bytes.
        _ => None,
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.difference(&other, tolerance),
        _ => Some("$".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Failure, report::WorkerReport};

    fn failed(kind: &str, message: &str) -> Outcome {
        let (kind, message) = (kind.to_owned(), message.to_owned());
        let (traceback, opaque, attempts) = (String::new(), None, Vec::new());
        let failure = Failure { kind, message, traceback, opaque, attempts };
        Outcome::Error(Box::new(Error::Failed(Box::new(failure))))
    }

    fn lost() -> Outcome {
        Outcome::Error(Box::new(Error::Lost(Box::new(WorkerReport::unknown()))))
    }

    #[test]
    fn errors_are_the_same_by_their_kind() {
        let value = Outcome::Value(vec![5]);
        let (one, other) = (failed("ValueError", "no"), failed("ValueError", "never"));
        assert_eq!(judge(&one, &other, 0.0), Verdict::Same);
        assert_eq!(judge(&one, &failed("TypeError", "no"), 0.0), Verdict::Errors);
        assert_eq!(judge(&lost(), &lost(), 0.0), Verdict::Same);
        assert_eq!(judge(&lost(), &one, 0.0), Verdict::Errors);
        assert_eq!(judge(&one, &value, 0.0), Verdict::FailedAlone(0));
        assert_eq!(judge(&value, &lost(), 0.0), Verdict::FailedAlone(1));
    }

    #[test]
    fn malformed_values_are_told_and_not_taken_for_the_same() {
        let value = |bytes: &[u8]| Outcome::Value(bytes.to_vec());
        assert_eq!(judge(&value(b"\xc1"), &value(b"\x05"), 0.0), Verdict::Values("$".into()));
        assert_eq!(judge(&value(b"\x05\x05"), &value(b"\x05"), 0.0), Verdict::Values("$".into()));
    }
}
