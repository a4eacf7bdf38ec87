//! What waits to be sent, first in, first out for each function.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::{Batch, Chunk, FunctionId};

/// A call carries no more than this many bytes of arguments, unless a single item has more:
/// 4 MiB. It bounds what a death makes the pool send again, whatever the chunk size.
pub(super) const MAX_CHUNK_BYTES: u64 = 4 << 20;

/// Items of one batch in a row that wait.
#[derive(Debug)]
struct Run<B> {
    /// Its place in the order of submission over all functions.
    sequence: u64,
    batch: B,
    items: Range<u64>,
    chunk_size: u64,
}

/// A chunk that was taken out of the queue, and what it takes to put it back.
#[derive(Debug)]
pub(super) struct Taken<B> {
    pub(super) chunk: Chunk<B>,
    sequence: u64,
    chunk_size: u64,
}

#[derive(Debug)]
pub(super) struct Queue<B> {
    /// Empty queues are removed.
    runs: BTreeMap<FunctionId, VecDeque<Run<B>>>,
    next_sequence: u64,
}

impl<B: Batch> Queue<B> {
    pub(super) const fn new() -> Self {
        Self { runs: BTreeMap::new(), next_sequence: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn push(
        &mut self,
        batch: B,
        function: FunctionId,
        items: Range<u64>,
        chunk_size: u64,
    ) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let run = Run { sequence, batch, items, chunk_size };
        self.runs.entry(function).or_default().push_back(run);
    }

    /// Takes up to `limit` items, of the chunk that has waited longest among the functions that
    /// `can_run` names.
    pub(super) fn take(
        &mut self,
        limit: u64,
        can_run: impl Fn(FunctionId) -> bool,
    ) -> Option<Taken<B>> {
        let function = self
            .runs
            .iter()
            .filter(|&(&function, _)| can_run(function))
            .min_by_key(|(_, runs)| runs.front().map(|run| run.sequence))
            .map(|(&function, _)| function)?;
        let runs = self.runs.get_mut(&function)?;
        let run = runs.front_mut()?;
        let count = items_that_fit(run, limit);
        let items = run.items.start..run.items.start + count;
        run.items.start = items.end;
        let chunk = Chunk { batch: run.batch.clone(), function, items };
        let taken = Taken { chunk, sequence: run.sequence, chunk_size: run.chunk_size };
        if run.items.is_empty() {
            runs.pop_front();
        }
        if runs.is_empty() {
            self.runs.remove(&function);
        }
        Some(taken)
    }

    /// Puts `items` of a chunk that was taken back to where they were.
    pub(super) fn put_back(&mut self, taken: Taken<B>, items: Range<u64>) {
        if items.is_empty() {
            return;
        }
        let Taken { chunk: Chunk { batch, function, .. }, sequence, chunk_size } = taken;
        let runs = self.runs.entry(function).or_default();
        let key = (sequence, items.start);
        let place = runs.partition_point(|run| (run.sequence, run.items.start) < key);
        runs.insert(place, Run { sequence, batch, items, chunk_size });
    }

    /// Takes out everything that waits for a function that `wanted` names.
    pub(super) fn remove(
        &mut self,
        wanted: impl Fn(FunctionId) -> bool,
    ) -> impl Iterator<Item = (B, Range<u64>)> {
        let functions: Vec<_> =
            self.runs.keys().copied().filter(|&function| wanted(function)).collect();
        let removed: Vec<_> =
            functions.into_iter().filter_map(|function| self.runs.remove(&function)).collect();
        removed.into_iter().flatten().map(|run| (run.batch, run.items))
    }
}

fn items_that_fit<B: Batch>(run: &Run<B>, limit: u64) -> u64 {
    let Range { start, end } = run.items;
    let wanted = (end - start).min(run.chunk_size).min(limit).min(u64::from(u32::MAX)).max(1);
    if run.batch.bytes(start..start + wanted) <= MAX_CHUNK_BYTES {
        return wanted;
    }
    // The largest number of items that fits, or the one item that does not.
    let (mut fits, mut exceeds) = (1, wanted);
    while fits + 1 < exceeds {
        let middle = fits.midpoint(exceeds);
        if run.batch.bytes(start..start + middle) <= MAX_CHUNK_BYTES {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    fits
}
