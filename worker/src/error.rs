//! What a function fails with.

use std::{any::Any, fmt};

use protocol::message::{Failure, kind::CANCELLED};

/// The longest text of an error, in bytes: 1 MiB. More is of no use to people, and an error
/// should not be what fills memory.
const MAX_TEXT: usize = 1 << 20;

/// The failure of one call: a kind, a message, and where it happened.
///
/// Every error type converts to it, so `?` works in functions that return it:
///
/// ```
/// fn double(text: String) -> Result<i64, worker::Error> {
///     let number: i64 = text.parse()?;
///     number
///         .checked_mul(2)
///         .ok_or_else(|| worker::Error::new("Overflow", format!("twice {number} is too large")))
/// }
///
/// let error = double("five".to_owned()).unwrap_err();
/// assert_eq!(error.to_string(), "ParseIntError: invalid digit found in string");
/// ```
///
/// For that reason it is not itself a [`std::error::Error`].
///
/// Texts of more than 1 MiB are cut when they are sent, with a note of how much is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    failure: Failure,
    opaque: Option<Vec<u8>>,
}

impl Error {
    /// An error of a kind, a short name such as `Overflow`, with a message for people.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        let (kind, message) = (kind.into(), message.into());
        Self { failure: Failure { kind, message, traceback: String::new() }, opaque: None }
    }

    /// The error of something that can be displayed: its text is the message, and the name of
    /// its type the kind, or `Error` for a text or a box. An [`Error`] stays as it is.
    pub fn from_display<E: fmt::Display + 'static>(error: E) -> Self {
        if let Some(error) = (&error as &dyn Any).downcast_ref::<Self>() {
            return error.clone();
        }
        // Some error types write their causes too when asked for the alternate form.
        Self::new(kind_of::<E>(), format!("{error:#}"))
    }

    /// The error of a function that ends early because [`is_cancelled`](crate::is_cancelled) says
    /// so, of the kind `Cancelled`.
    ///
    /// ```
    /// assert_eq!(worker::Error::cancelled().kind(), "Cancelled");
    /// ```
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(CANCELLED, "the master cancelled it")
    }

    /// The same error with a text that says where it happened.
    #[must_use]
    pub fn with_traceback(mut self, traceback: impl Into<String>) -> Self {
        self.failure.traceback = traceback.into();
        self
    }

    /// The same error with bytes for another party that knows what they mean, for example to
    /// rebuild an exception. Masters pass them on unread.
    #[must_use]
    pub fn with_opaque(mut self, opaque: impl Into<Vec<u8>>) -> Self {
        self.opaque = Some(opaque.into());
        self
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.failure.kind
    }

    /// What happened.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.failure.message
    }

    /// Where it happened; empty if that is not known.
    #[must_use]
    pub fn traceback(&self) -> &str {
        &self.failure.traceback
    }

    /// Bytes for another party, if there are any.
    #[must_use]
    pub fn opaque(&self) -> Option<&[u8]> {
        self.opaque.as_deref()
    }

    /// What is sent of it.
    pub(crate) fn into_parts(self) -> (Failure, Option<Vec<u8>>) {
        let Failure { kind, message, traceback } = self.failure;
        let failure = Failure { kind: cut(kind), message: cut(message), traceback: cut(traceback) };
        (failure, self.opaque)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.failure.kind, self.failure.message)
    }
}

/// The kind is the name of the type; the message is that of the error, followed by its causes.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors repeat their cause in their own text.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(kind_of::<E>(), message)
    }
}

/// The last name in the path of a type, or `Error` where that would say nothing.
fn kind_of<E>() -> &'static str {
    let path = std::any::type_name::<E>();
    let path = path.split('<').next().unwrap_or(path);
    let name = path.rsplit("::").next().unwrap_or(path);
    match name {
        "String" | "&str" | "Box" | "Cow" | "" => "Error",
        name => name,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = boundary(&text, MAX_TEXT);
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!(" [{missing} more bytes were cut off]"));
    }
    text
}

/// Where to cut a text so that at most `size` bytes of it are left, all of them whole characters.
pub(crate) fn boundary(text: &str, size: usize) -> usize {
    (0..=size.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Error, MAX_TEXT};

    #[test]
    fn kinds_and_messages() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::num::ParseIntError);
        let number = || "x".parse::<i32>().unwrap_err();
        let boxed: Box<dyn std::error::Error> = Box::new(number());
        for (error, expected) in [
            (Error::from_display("text"), "Error: text"),
            (Error::from_display("text".to_owned()), "Error: text"),
            (Error::from_display(boxed), "Error: invalid digit found in string"),
            (Error::from_display(number()), "ParseIntError: invalid digit found in string"),
            (Error::from_display(Error::new("Kind", "text")), "Kind: text"),
            (Error::from(Outer(number())), "Outer: cannot start: invalid digit found in string"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = format!("x{}", "é".repeat(MAX_TEXT));
        let (failure, _) = Error::new("Kind", text).with_traceback("short").into_parts();
        let (kept, note) = failure.message.split_at(MAX_TEXT - 1);
        assert!(kept.ends_with('é'));
        assert_eq!(note, format!(" [{} more bytes were cut off]", MAX_TEXT + 2));
        assert_eq!(failure.traceback, "short");
    }
}
