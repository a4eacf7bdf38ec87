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

    /// The place of `items` in the buffer.
    pub(crate) fn place(&self, items: &Range<u64>) -> Range<usize> {
        self.start_of(items.start)..self.start_of(items.end)
    }

    fn start_of(&self, item: u64) -> usize {
        let before = usize::try_from(item).unwrap_or(usize::MAX).checked_sub(1);
        before.map_or(0, |before| self.ends.get(before).copied().unwrap_or(self.bytes.len()))
    }
}

/// Where the outcomes of a batch go: each item exactly once, on the thread of the supervisor.
/// An implementation must not block.
pub(crate) trait Sink: Send + Sync {
    /// `value` is the encoded result of the item.
    fn completed(&self, item: u64, value: &[u8]);
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
}

impl Submission {
    pub(crate) fn new(function: String, items: Items, sink: Arc<dyn Sink>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, function, items, sink }
    }
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
