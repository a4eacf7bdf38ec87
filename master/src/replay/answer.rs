//! Answers, recorded and heard.

use protocol::{
    envelope,
    message::{Failure, FromWorker},
};

use crate::compare::difference_of_values;

/// What a worker answers to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its encoded value.
    Value(Vec<u8>),
    /// Its failure.
    Failure {
        /// The kind.
        kind: String,
        /// The message.
        message: String,
    },
}

impl Answer {
    pub(super) fn of_failure(failure: Failure) -> Self {
        let Failure { kind, message, .. } = failure;
        Self::Failure { kind, message }
    }
}

/// What a worker says that is of any concern here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Ready,
    Unfit(Answer),
    Answer {
        id: u64,
        item: u32,
        answer: Answer,
    },
    Progress,
    /// The name of any other message.
    Other(&'static str),
}

impl Said {
    /// Reads the body of a frame.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let (message, payload) =
            envelope::open::<FromWorker>(body).map_err(|error| error.to_string())?;
        envelope::check_worker_payload(&message, payload).map_err(|error| error.to_string())?;
        Ok(match message {
            FromWorker::Ready { .. } => Self::Ready,
            FromWorker::InitializerFailed(failure) => Self::Unfit(Answer::of_failure(failure)),
            FromWorker::Result { id, item } => {
                Self::Answer { id, item, answer: Answer::Value(payload.to_vec()) }
            }
            FromWorker::Error { id, item, failure } => {
                Self::Answer { id, item, answer: Answer::of_failure(failure) }
            }
            FromWorker::Progress { .. } => Self::Progress,
            FromWorker::Hello(_) => Self::Other("hello"),
            FromWorker::Results { .. } => Self::Other("results"),
            FromWorker::SharedResult { .. } => Self::Other("shared_result"),
        })
    }
}

/// How two answers compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    /// Errors of the same kind, with other messages.
    OtherWords,
    /// Values that differ at this place.
    Values(String),
    /// Not even of the same sort, or errors of different kinds.
    Different,
}

pub(super) fn liken(recorded: &Answer, came: &Answer, tolerance: f64) -> Likeness {
    match (recorded, came) {
        (Answer::Value(recorded), Answer::Value(came)) => {
            match difference_of_values(recorded, came, tolerance) {
                None => Likeness::Same,
                Some(place) => Likeness::Values(place),
            }
        }
        (
            Answer::Failure { kind, message },
            Answer::Failure { kind: other_kind, message: other_message },
        ) => match (kind == other_kind, message == other_message) {
            (true, true) => Likeness::Same,
            (true, false) => Likeness::OtherWords,
            (false, _) => Likeness::Different,
        },
        _ => Likeness::Different,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, message: &str) -> Answer {
        Answer::Failure { kind: kind.into(), message: message.into() }
    }

    #[test]
    fn answers_are_likened_by_what_they_mean() {
        let value = |bytes: &[u8]| Answer::Value(bytes.to_vec());
        let no = failure("No", "no");
        for (one, other, likeness) in [
            (value(b"\x05"), value(b"\xcc\x05"), Likeness::Same),
            (value(b"\x91\x05"), value(b"\x91\x06"), Likeness::Values("$[0]".into())),
            (no.clone(), no.clone(), Likeness::Same),
            (no.clone(), failure("No", "never"), Likeness::OtherWords),
            (no.clone(), failure("Yes", "no"), Likeness::Different),
            (no, value(b"\xc0"), Likeness::Different),
        ] {
            assert_eq!(liken(&one, &other, 0.0), likeness);
        }
    }

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(Said::read(b"\x81\xa5ready\x80"), Ok(Said::Ready));
        let answer = Answer::Value(vec![4]);
        let result = Said::Answer { id: 1, item: 0, answer };
        assert_eq!(Said::read(b"\x81\xa6result\x82\xa2id\x01\xa4item\x00\x04"), Ok(result));
        assert!(Said::read(b"\x81\xa6result\x82\xa2id\x01\xa4item\x00").is_err(), "no value");
        assert!(Said::read(b"\xc1").is_err());
    }
}
