//! What a caller submits, on its way to the workers, and where the outcomes go.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{error::Error, machine};

/// The encoded arguments of any number of items, one after another in one buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Items {
    pub(crate) bytes: Vec<u8>,
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
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
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

/// Where the outcomes of a batch go: each item exactly once, on the thread of the supervisor.
/// An implementation must not block.
pub(crate) trait Sink: Send + Sync {
    /// `values` are the encoded results of as many items, from `first` on.
    fn completed(&self, first: u64, values: Values<'_>);
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
        Self { id: fresh_id(), function, items, sink, stream: None }
    }

    /// A part of a stream, which got its number from [`fresh_id`].
    pub(crate) fn of_stream(
        stream: u64,
        function: String,
        items: Items,
        sink: Arc<dyn Sink>,
    ) -> Self {
        Self { id: fresh_id(), function, items, sink, stream: Some(stream) }
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
