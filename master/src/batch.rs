//! What a caller submits, on its way to the workers, and where the outcomes go.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use protocol::binary;

use crate::{
    arguments::FromResult,
    error::Error,
    machine,
    payload::{Payload, SHARED_FROM},
};

/// The encoded arguments of any number of items, one after another in one buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Items {
    pub(crate) bytes: Payload,
    /// Where in `bytes` each item ends.
    pub(crate) ends: Vec<usize>,
    /// Each item is a list and a map of keyword arguments, rather than a list alone.
    pub(crate) keywords: bool,
}

impl Items {
    pub(crate) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Appends the items of another.
    pub(crate) fn append(&mut self, other: Self) {
        if self.ends.is_empty() {
            *self = other;
            return;
        }
        let start = self.bytes.len();
        self.bytes.own().extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    /// Moves them to where workers can see them, if they are large.
    fn share(&mut self) {
        if self.bytes.len() / self.ends.len().max(1) > SHARED_FROM {
            self.bytes.share();
        }
    }

    /// The place of `items` in the buffer.
    pub(crate) fn place(&self, items: &Range<u64>) -> Range<usize> {
        self.start_of(items.start)..self.start_of(items.end)
    }

    fn start_of(&self, item: u64) -> usize {
        let before = usize::try_from(item).unwrap_or(usize::MAX).checked_sub(1);
        before.map_or(0, |before| self.ends.get(before).copied().unwrap_or(self.bytes.len()))
    }
}

/// Encoded results of consecutive items, one after another. There is at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    bytes: &'a [u8],
    /// Where the first begins.
    start: usize,
    /// Where in `bytes` each ends.
    ends: &'a [usize],
}

impl<'a> Values<'a> {
    /// All of `bytes`, with the place where each value ends.
    pub(crate) const fn new(bytes: &'a [u8], ends: &'a [usize]) -> Self {
        Self { bytes, start: 0, ends }
    }

    /// So many of them, from one on.
    pub(crate) fn part(self, first: usize, count: u64) -> Self {
        let before = first.checked_sub(1).and_then(|before| self.ends.get(before));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let ends = self.ends.get(first..).unwrap_or_default();
        let ends = ends.get(..count).unwrap_or(ends);
        Self { start: before.copied().unwrap_or(self.start), ends, ..self }
    }

    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// All of them together.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        let end = self.ends.last().copied().unwrap_or(self.start);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// Where each lies in [`Self::bytes`].
    pub(crate) fn places(self) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = end - self.start;
            std::mem::replace(&mut start, end)..end
        })
    }
}

/// An encoded result in memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Binary data, without the header that tells its length.
    Binary(Vec<u8>),
    /// Any value.
    Encoded(Vec<u8>),
}

impl Value {
    /// The value with its header.
    pub(crate) fn into_encoded(self) -> Vec<u8> {
        match self {
            Self::Binary(data) => binary::encoded(data),
            Self::Encoded(bytes) => bytes,
        }
    }

    /// Decodes it, and keeps its memory if the type can use that.
    pub(crate) fn decode<R: FromResult>(self) -> Result<R, Error> {
        match self {
            Self::Binary(data) => R::from_binary(data),
            Self::Encoded(bytes) => R::from_result(&bytes),
        }
    }
}

/// Where the outcomes of a batch go: each item exactly once, on the thread of the supervisor.
/// An implementation must not block.
pub(crate) trait Sink: Send + Sync {
    /// `values` are the encoded results of as many items, from `first` on.
    fn completed(&self, first: u64, values: Values<'_>);
    /// The result of one item, in memory of its own.
    fn completed_alone(&self, item: u64, value: Value) {
        let bytes = value.into_encoded();
        self.completed(item, Values::new(&bytes, &[bytes.len()]));
    }
    /// The round of the loop is over in which results came: what was held back is passed on.
    fn round_is_over(&self) {}
    /// These items have no result, for the same reason.
    fn ended(&self, items: Range<u64>, error: &Error);
    /// No more outcomes will come. Only a supervisor that panicked leaves items without one.
    fn abandoned(&self);
}

/// One submission.
pub(crate) struct Submission {
    /// No other submission of this process has it.
    pub(crate) id: u64,
    pub(crate) function: String,
    pub(crate) items: Items,
    pub(crate) sink: Arc<dyn Sink>,
    /// The stream that it is a part of, by a number that no submission has.
    stream: Option<u64>,
}

impl Submission {
    pub(crate) fn new(function: String, items: Items, sink: Arc<dyn Sink>) -> Self {
        Self::build(None, function, items, sink)
    }

    /// A part of a stream, which got its number from [`fresh_id`].
    pub(crate) fn of_stream(
        stream: u64,
        function: String,
        items: Items,
        sink: Arc<dyn Sink>,
    ) -> Self {
        Self::build(Some(stream), function, items, sink)
    }

    fn build(stream: Option<u64>, function: String, items: Items, sink: Arc<dyn Sink>) -> Self {
        let mut items = items;
        items.share();
        Self { id: fresh_id(), function, items, sink, stream }
    }
}

/// A number that nothing else of this process has.
pub(crate) fn fresh_id() -> u64 {
    static NEXT_ID: AtomicU64 = AtomicU64::new(0);
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.sink.abandoned();
    }
}

impl machine::Batch for Arc<Submission> {
    fn id(&self) -> u64 {
        self.id
    }

    fn job(&self) -> Option<u64> {
        self.stream.or_else(|| (self.items.len() > 1).then_some(self.id))
    }

    fn bytes(&self, items: Range<u64>) -> u64 {
        self.items.place(&items).len() as u64
    }
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { function, items, .. } = self;
        write!(f, "Submission({function}, {} items)", items.len())
    }
}
