//! Messages to frames and back.
//!
//! The body of a frame is an envelope, which says what is meant, and payload values, which the
//! two ends pass on as they are. Reading is strict where rmp-serde alone would be lenient: an
//! envelope is a map with string keys, at every level.

use serde::{Deserialize, Serialize};

use crate::{
    frame::{self, FrameTooLarge},
    limits::MAX_FRAME,
    message::{Call, FromMaster, FromWorker},
    quick::Quick,
    value::{self, Kind, ValueError},
};

/// Why the body of a frame is not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The body does not begin with an envelope.
    #[error("malformed envelope: {0}")]
    Value(#[from] ValueError),
    /// The envelope is well formed, but not a message that this side knows: an unknown name, a
    /// missing field, a field of another type or range.
    #[error("not a message: {0}")]
    Message(String),
    /// The payload is not what the message calls for. Offsets count from the start of the
    /// payload.
    #[error("malformed payload of the message `{message}`: {problem}")]
    Payload {
        /// The name of the message.
        message: &'static str,
        /// What is wrong with it.
        problem: PayloadProblem,
    },
}

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadProblem {
    /// A value is malformed, cut short or of the wrong type.
    #[error("{0}")]
    Value(#[from] ValueError),
    /// There are bytes where there should be none.
    #[error("expected {expected} values, found {surplus} more bytes")]
    Surplus {
        /// How many values the message calls for.
        expected: u64,
        /// How many bytes follow them.
        surplus: usize,
    },
    /// There are no bytes where a value should be.
    #[error("expected {expected} values, found {found}")]
    Missing {
        /// How many values the message calls for.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A call has no items.
    #[error("a call has at least 1 item, found 0")]
    NoItems,
}

/// A message that can be sent as the envelope of a frame.
pub trait Message<'a>: Serialize + Quick<'a> {}
impl Message<'_> for FromWorker {}
impl<'a> Message<'a> for FromMaster<'a> {}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The frame would be larger than the protocol allows.
    #[error(transparent)]
    TooLarge(#[from] FrameTooLarge),
    /// The envelope cannot be encoded.
    #[error("cannot encode the envelope: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Appends to `out` one frame with `message` as its envelope and `payload` behind it, which is
/// zero or more encoded values. On an error `out` is as it was before.
///
/// # Errors
/// [`SendError::TooLarge`] beyond [`MAX_FRAME`] bytes.
pub fn append_frame<'a>(
    out: &mut Vec<u8>,
    message: &impl Message<'a>,
    payload: &[u8],
) -> Result<(), SendError> {
    append_head(out, message, payload.len())?;
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends to `out` the start of a frame: its length and its envelope. The caller sends the
/// payload of `payload_size` bytes behind it, from wherever it lies. On an error `out` is as it
/// was before.
///
/// # Errors
/// As for [`append_frame`].
pub fn append_head<'a>(
    out: &mut Vec<u8>,
    message: &impl Message<'a>,
    payload_size: usize,
) -> Result<(), SendError> {
    frame::append_head(out, MAX_FRAME, payload_size, |out| {
        if message.write(out) {
            return Ok(());
        }
        rmp_serde::encode::write_named(out, message).map_err(SendError::from)
    })
}

/// Opens the body of a frame: the message, and the payload behind it.
///
/// The payload is not looked at: [`check_worker_payload`] and [`check_master_payload`] do that,
/// and [`items`] and [`initializer_item`] while they cut it up.
///
/// # Errors
/// [`EnvelopeError::Value`] and [`EnvelopeError::Message`].
pub fn open<'a, M: Message<'a> + Deserialize<'a>>(
    body: &'a [u8],
) -> Result<(M, &'a [u8]), EnvelopeError> {
    if let Some((message, envelope)) = M::read(body) {
        return Ok((message, body.get(envelope..).unwrap_or_default()));
    }
    let (envelope, payload) = body.split_at(value::skip_envelope(body)?);
    let message =
        rmp_serde::from_slice(envelope).map_err(|error| EnvelopeError::Message(words(&error)))?;
    Ok((message, payload))
}

/// The error in words for people, where rmp-serde has only the name of a marker.
fn words(error: &rmp_serde::decode::Error) -> String {
    match error {
        rmp_serde::decode::Error::TypeMismatch(marker) => {
            let found = Kind::of(marker.to_u8()).name();
            format!("{found} stands where a field has another type")
        }
        other => other.to_string(),
    }
}

/// Checks that the payload of a message from a worker has the shape that the message calls for.
/// The value of a result is not walked over: whoever decodes it finds out. That of a shared
/// result is elsewhere; here is nothing.
///
/// # Errors
/// [`EnvelopeError::Payload`].
pub fn check_worker_payload(message: &FromWorker, payload: &[u8]) -> Result<(), EnvelopeError> {
    let (name, check) = match message {
        FromWorker::Result { .. } => {
            let missing = PayloadProblem::Missing { expected: 1, found: 0 };
            ("result", if payload.is_empty() { Err(missing) } else { Ok(()) })
        }
        FromWorker::Results { .. } => return values(payload, |_| ()),
        FromWorker::SharedResult { .. } => ("shared_result", check_end(payload, 0)),
        FromWorker::Error { .. } => ("error", check_opaque(payload)),
        FromWorker::InitializerFailed(_) => ("initializer_failed", check_opaque(payload)),
        FromWorker::Hello(_) => ("hello", check_end(payload, 0)),
        FromWorker::Ready { .. } => ("ready", check_end(payload, 0)),
        FromWorker::Progress { .. } => ("progress", check_end(payload, 0)),
    };
    check.map_err(|problem| EnvelopeError::Payload { message: name, problem })
}

/// The values of the payload of [`FromWorker::Results`], one after another: `each` is given where
/// each ends, counted from the start of the payload.
///
/// ```
/// let mut ends = Vec::new();
/// protocol::envelope::values(&[0x01, 0xa1, b'a', 0x02], |end| ends.push(end))?;
/// assert_eq!(ends, [1, 3, 4]);
/// # Ok::<(), protocol::envelope::EnvelopeError>(())
/// ```
///
/// # Errors
/// [`EnvelopeError::Payload`] if there is no value, or one that is malformed.
pub fn values(payload: &[u8], mut each: impl FnMut(usize)) -> Result<(), EnvelopeError> {
    let mut end = 0;
    let problem = loop {
        let rest = payload.get(end..).unwrap_or_default();
        match value::skip(rest) {
            Ok(length) => end += length,
            Err(_) if payload.is_empty() => {
                break PayloadProblem::Missing { expected: 1, found: 0 };
            }
            Err(error) => break error.moved_by(end).into(),
        }
        each(end);
        if end == payload.len() {
            return Ok(());
        }
    };
    Err(EnvelopeError::Payload { message: "results", problem })
}

/// Checks that the payload of a message from a master has the shape that the message calls for.
/// For a call and a welcome that is what [`items`] and [`initializer_item`] check too; of a call
/// whose payload is elsewhere, that there is none here.
///
/// # Errors
/// [`EnvelopeError::Payload`].
pub fn check_master_payload(message: &FromMaster<'_>, payload: &[u8]) -> Result<(), EnvelopeError> {
    let (name, check) = match message {
        FromMaster::Welcome(welcome) => return initializer_item(welcome, payload).map(|_| ()),
        FromMaster::Call(Call { shared: Some(_), .. }) => ("call", check_end(payload, 0)),
        FromMaster::Call(call) => return items(call, payload).map(|_| ()),
        FromMaster::Reject { .. } => ("reject", check_end(payload, 0)),
        FromMaster::Cancel { .. } => ("cancel", check_end(payload, 0)),
        FromMaster::Drain {} => ("drain", check_end(payload, 0)),
    };
    check.map_err(|problem| EnvelopeError::Payload { message: name, problem })
}

/// One item of a call: its arguments, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// An array of positional arguments.
    pub positional: &'a [u8],
    /// A map of keyword arguments, if the call has them.
    pub keywords: Option<&'a [u8]>,
}

/// The items of the payload of a call, in order; the payload holds them and nothing else, which
/// is found out here for all of them. It is what stands in the frame, or, of a call with
/// [`Call::shared`], what lies there.
///
/// ```
/// use protocol::{envelope, message::Call};
///
/// let call =
///     Call { id: 1, function: "f".into(), items: 2, keywords: false, last: false, shared: None };
/// // [5] and then [].
/// let items: Vec<_> = envelope::items(&call, &[0x91, 5, 0x90])?.collect();
/// assert_eq!((items[0].positional, items[1].positional), (&[0x91, 5][..], &[0x90][..]));
/// assert!(envelope::items(&call, &[0x91, 5]).is_err(), "the second is missing");
/// # Ok::<(), protocol::envelope::EnvelopeError>(())
/// ```
///
/// # Errors
/// [`EnvelopeError::Payload`] if there are no items, too few or too many values, or values of
/// another type.
pub fn items<'a>(call: &Call<'_>, payload: &'a [u8]) -> Result<Items<'a>, EnvelopeError> {
    let Call { items, keywords, .. } = *call;
    let checked = match items {
        0 => Err(PayloadProblem::NoItems),
        _ => walk_items(u64::from(items), keywords, payload, |_| ()),
    };
    checked.map_err(|problem| EnvelopeError::Payload { message: "call", problem })?;
    Ok(Items { rest: payload, left: items, keywords })
}

/// The items of a call; see [`items`].
#[derive(Debug, Clone)]
pub struct Items<'a> {
    /// Well formed, as it was walked over before.
    rest: &'a [u8],
    left: u32,
    keywords: bool,
}

impl<'a> Items<'a> {
    fn value(&mut self) -> &'a [u8] {
        let length = value::skip(self.rest).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        value
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let positional = self.value();
        let keywords = self.keywords.then(|| self.value());
        Some(Item { positional, keywords })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// The arguments of the initializer in the payload of a welcome; `None` without one.
///
/// # Errors
/// [`EnvelopeError::Payload`] if the payload is not one item, or not empty without initializer.
pub fn initializer_item<'a>(
    welcome: &crate::message::Welcome,
    payload: &'a [u8],
) -> Result<Option<Item<'a>>, EnvelopeError> {
    let mut item = None;
    let walked = match welcome.initializer {
        Some(_) => walk_items(1, welcome.keywords, payload, |found| item = Some(found)),
        None => check_end(payload, 0),
    };
    walked.map_err(|problem| EnvelopeError::Payload { message: "welcome", problem })?;
    Ok(item)
}

/// Walks over the items of a payload, which holds them and nothing else.
fn walk_items<'a>(
    count: u64,
    keywords: bool,
    payload: &'a [u8],
    mut each: impl FnMut(Item<'a>),
) -> Result<(), PayloadProblem> {
    let expected = if keywords { count * 2 } else { count };
    let mut rest = Values { payload, offset: 0, expected, found: 0 };
    for _ in 0..count {
        let positional = rest.next(Kind::Array, "an array of positional arguments")?;
        let keywords = match keywords {
            true => Some(rest.next(Kind::Map, "a map of keyword arguments")?),
            false => None,
        };
        each(Item { positional, keywords });
    }
    check_end(&payload[rest.offset..], expected)
}

struct Values<'a> {
    payload: &'a [u8],
    offset: usize,
    expected: u64,
    found: u64,
}

impl<'a> Values<'a> {
    fn next(&mut self, kind: Kind, expected: &'static str) -> Result<&'a [u8], PayloadProblem> {
        let rest = &self.payload[self.offset..];
        let Some(&first) = rest.first() else {
            return Err(PayloadProblem::Missing { expected: self.expected, found: self.found });
        };
        let found = Kind::of(first);
        if found != kind {
            let offset = self.offset;
            return Err(ValueError::Unexpected { offset, expected, found: found.name() }.into());
        }
        let length = value::skip(rest).map_err(|error| error.moved_by(self.offset))?;
        self.offset += length;
        self.found += 1;
        Ok(&rest[..length])
    }
}

fn check_opaque(payload: &[u8]) -> Result<(), PayloadProblem> {
    let Some(&first) = payload.first() else { return Ok(()) };
    let found = Kind::of(first);
    if found != Kind::Binary {
        let expected = "nothing or binary data";
        return Err(ValueError::Unexpected { offset: 0, expected, found: found.name() }.into());
    }
    check_end(&payload[value::skip(payload)?..], 1)
}

const fn check_end(rest: &[u8], expected: u64) -> Result<(), PayloadProblem> {
    match rest.len() {
        0 => Ok(()),
        surplus => Err(PayloadProblem::Surplus { expected, surplus }),
    }
}
