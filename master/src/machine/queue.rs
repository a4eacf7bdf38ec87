//! What waits to be sent, first in, first out for each function. What waits of one batch is found
//! without a look at the others, so that it takes no longer to cancel many than to submit them.
//!
//! Items that are to be tried again stand apart, until their time has come. How many there are of each function and batch is known,
//! so that they are looked at only where some of them are concerned.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Range, RangeInclusive},
};

use super::{Batch, Chunk, FunctionId, Time, WorkerId, pace::Kind};

/// A call carries no more than this many bytes of arguments, unless a single item has more:
/// 4 MiB. It bounds what a death makes the pool send again, whatever the chunk size.
pub(super) const MAX_CHUNK_BYTES: u64 = 4 << 20;

/// Items of one batch in a row that wait.
#[derive(Debug)]
struct Run<B> {
    batch: B,
    items: Range<u64>,
    /// How many go together; `None` if that is left to the pool.
    chunk_size: Option<u64>,
}

/// A run that a chunk may be taken of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) kind: Kind,
    pub(super) chunk_size: Option<u64>,
    pub(super) waiting: Waiting,
}

/// How many items wait, of which a chunk is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// So many, and none of the same function behind them.
    Last(u64),
    WithMoreBehind,
}

/// Where a run stands: the place of its batch in the order of submission over all functions, and
/// where its items end. The end, as items are taken from the start.
type Place = (u64, u64);

/// A chunk that was taken out of the queue, and what it takes to put it back.
#[derive(Debug, Clone)]
pub(super) struct Taken<B> {
    pub(super) chunk: Chunk<B>,
    sequence: u64,
    chunk_size: Option<u64>,
}

/// One item that is to be tried again.
#[derive(Debug)]
struct Single<B> {
    batch: B,
    function: FunctionId,
    sequence: u64,
    item: u64,
}

impl<B: Batch> Single<B> {
    fn new(taken: Taken<B>, item: u64) -> Self {
        let Taken { chunk: Chunk { batch, function, .. }, sequence, .. } = taken;
        Self { batch, function, sequence, item }
    }

    fn into_items(self) -> (B, Range<u64>) {
        (self.batch, self.item..self.item + 1)
    }
}

#[derive(Debug)]
pub(super) struct Queue<B> {
    /// Functions that nothing waits for are removed.
    runs: BTreeMap<FunctionId, BTreeMap<Place, Run<B>>>,
    /// The function and the sequence of each batch that has runs.
    batches: HashMap<u64, (FunctionId, u64)>,
    next_sequence: u64,
    /// Items that wait for their time, by that time.
    later: BTreeMap<(Time, u64), Single<B>>,
    next_later: u64,
    /// Items that wait for the end of the worker that may still be at them.
    held: BTreeMap<WorkerId, Single<B>>,
    /// How many stand apart of each function and of each batch, as far as there are any.
    apart_functions: BTreeMap<FunctionId, u64>,
    apart_batches: HashMap<u64, u64>,
}

impl<B: Batch> Queue<B> {
    pub(super) fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
            batches: HashMap::new(),
            next_sequence: 0,
            later: BTreeMap::new(),
            next_later: 0,
            held: BTreeMap::new(),
            apart_functions: BTreeMap::new(),
            apart_batches: HashMap::new(),
        }
    }

    /// Whether nothing waits, for whatever it may wait.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.later.is_empty() && self.held.is_empty()
    }

    /// Whether anything could be sent now.
    pub(super) fn has_ready(&self) -> bool {
        !self.runs.is_empty()
    }

    /// How many items could be sent now to a worker with the functions that `can_run` names.
    pub(super) fn ready_items(&self, can_run: impl Fn(FunctionId) -> bool) -> u64 {
        let runs = self.runs.iter().filter(|&(&function, _)| can_run(function));
        let runs = runs.flat_map(|(_, runs)| runs.values());
        runs.map(|run| run.items.end - run.items.start).sum()
    }

    /// How many items wait.
    pub(super) fn len(&self) -> u64 {
        self.ready_items(|_| true) + (self.later.len() + self.held.len()) as u64
    }

    /// The functions that something waits for.
    pub(super) fn functions(&self) -> impl Iterator<Item = FunctionId> {
        self.runs.keys().chain(self.apart_functions.keys()).copied()
    }

    /// Puts an item that was taken back, to be taken again from a point in time on.
    pub(super) fn put_later(&mut self, taken: Taken<B>, item: u64, time: Time) {
        let single = Single::new(taken, item);
        self.count_apart(&single);
        self.insert_later(single, time);
    }

    /// Keeps an item that was taken until `worker` is through with it.
    pub(super) fn hold(&mut self, taken: Taken<B>, item: u64, worker: WorkerId) {
        let single = Single::new(taken, item);
        self.count_apart(&single);
        self.held.insert(worker, single);
    }

    /// The item that is held for a worker.
    pub(super) fn held(&self, worker: WorkerId) -> Option<(B, u64)> {
        self.held.get(&worker).map(|single| (single.batch.clone(), single.item))
    }

    /// The worker is through with the item that was held for it, which may be taken again from a
    /// point in time on.
    pub(super) fn release(&mut self, worker: WorkerId, time: Time) {
        if let Some(single) = self.held.remove(&worker) {
            self.insert_later(single, time);
        }
    }

    /// When the next item that waits for its time can be taken.
    pub(super) fn next_time(&self) -> Option<Time> {
        self.later.keys().next().map(|&(time, _)| time)
    }

    /// Puts back to where they were those whose time has come.
    pub(super) fn put_back_due(&mut self, now: Time) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            let single = first.remove();
            self.discount_apart(&single);
            let Single { batch, function, sequence, item } = single;
            self.insert(
                function,
                sequence,
                Run { batch, items: item..item + 1, chunk_size: Some(1) },
            );
        }
    }

    pub(super) fn push(
        &mut self,
        batch: B,
        function: FunctionId,
        items: Range<u64>,
        chunk_size: Option<u64>,
    ) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.insert(function, sequence, Run { batch, items, chunk_size });
    }

    /// Takes up to `limit` items, of the chunk that has waited longest among the functions that
    /// `can_run` names. `size` tells how many go together; none of them if that is 0.
    pub(super) fn take(
        &mut self,
        limit: u64,
        can_run: impl Fn(FunctionId) -> bool,
        size: impl Fn(Offer) -> u64,
    ) -> Option<Taken<B>> {
        let function = self
            .runs
            .iter()
            .filter(|&(&function, _)| can_run(function))
            .min_by_key(|(_, runs)| runs.keys().next())
            .map(|(&function, _)| function)?;
        let runs = self.runs.get_mut(&function)?;
        let more_behind = runs.len() > 1;
        let mut first = runs.first_entry()?;
        let (sequence, _) = *first.key();
        let run = first.get_mut();
        let waiting = match more_behind {
            true => Waiting::WithMoreBehind,
            false => Waiting::Last(run.items.end - run.items.start),
        };
        let kind = Kind { function, job: run.batch.job() };
        let together = size(Offer { kind, chunk_size: run.chunk_size, waiting });
        if together == 0 {
            return None;
        }
        let count = items_that_fit(run, limit.min(together));
        let items = run.items.start..run.items.start + count;
        run.items.start = items.end;
        let chunk = Chunk { batch: run.batch.clone(), function, items };
        let taken = Taken { chunk, sequence, chunk_size: run.chunk_size };
        if run.items.is_empty() {
            first.remove();
            self.forget_if_empty(taken.chunk.batch.id(), function, sequence);
        }
        Some(taken)
    }

    /// Puts `items` of a chunk that was taken back to where they were.
    pub(super) fn put_back(&mut self, taken: Taken<B>, items: Range<u64>) {
        if items.is_empty() {
            return;
        }
        let Taken { chunk: Chunk { batch, function, .. }, sequence, chunk_size } = taken;
        self.insert(function, sequence, Run { batch, items, chunk_size });
    }

    /// Takes out what waits of one batch.
    pub(super) fn remove_batch(&mut self, batch: u64) -> Vec<(B, Range<u64>)> {
        let mut removed = match self.apart_batches.contains_key(&batch) {
            true => self.remove_apart(|single| single.batch.id() == batch),
            false => Vec::new(),
        };
        let Some((function, sequence)) = self.batches.get(&batch).copied() else { return removed };
        if let Some(runs) = self.runs.get_mut(&function) {
            while let Some((&place, _)) = runs.range(places(sequence)).next()
                && let Some(run) = runs.remove(&place)
            {
                removed.push((run.batch, run.items));
            }
        }
        self.forget_if_empty(batch, function, sequence);
        removed
    }

    /// Takes out everything that waits for a function that `wanted` names.
    pub(super) fn remove_functions(
        &mut self,
        wanted: impl Fn(FunctionId) -> bool,
    ) -> impl Iterator<Item = (B, Range<u64>)> {
        let functions: Vec<_> =
            self.runs.keys().copied().filter(|&function| wanted(function)).collect();
        let removed: Vec<_> =
            functions.into_iter().filter_map(|function| self.runs.remove(&function)).collect();
        for run in removed.iter().flat_map(BTreeMap::values) {
            self.batches.remove(&run.batch.id());
        }
        let any_apart = self.apart_functions.keys().any(|&function| wanted(function));
        let apart = match any_apart {
            true => self.remove_apart(|single| wanted(single.function)),
            false => Vec::new(),
        };
        let runs = removed.into_iter().flat_map(BTreeMap::into_values);
        runs.map(|run| (run.batch, run.items)).chain(apart)
    }

    fn remove_apart(&mut self, wanted: impl Fn(&Single<B>) -> bool) -> Vec<(B, Range<u64>)> {
        let mut removed = remove_wanted(&mut self.later, &wanted);
        removed.extend(remove_wanted(&mut self.held, &wanted));
        removed.iter().for_each(|single| self.discount_apart(single));
        removed.into_iter().map(Single::into_items).collect()
    }

    fn count_apart(&mut self, single: &Single<B>) {
        *self.apart_functions.entry(single.function).or_default() += 1;
        *self.apart_batches.entry(single.batch.id()).or_default() += 1;
    }

    fn discount_apart(&mut self, single: &Single<B>) {
        if let Some(count) = self.apart_functions.get_mut(&single.function) {
            *count -= 1;
            if *count == 0 {
                self.apart_functions.remove(&single.function);
            }
        }
        let batch = single.batch.id();
        if let Some(count) = self.apart_batches.get_mut(&batch) {
            *count -= 1;
            if *count == 0 {
                self.apart_batches.remove(&batch);
            }
        }
    }

    fn insert_later(&mut self, single: Single<B>, time: Time) {
        self.later.insert((time, self.next_later), single);
        self.next_later += 1;
    }

    fn insert(&mut self, function: FunctionId, sequence: u64, run: Run<B>) {
        self.batches.insert(run.batch.id(), (function, sequence));
        self.runs.entry(function).or_default().insert((sequence, run.items.end), run);
    }

    /// Removes the places of a batch and a function, if a run was the last there.
    fn forget_if_empty(&mut self, batch: u64, function: FunctionId, sequence: u64) {
        let Some(runs) = self.runs.get(&function) else { return };
        if runs.range(places(sequence)).next().is_none() {
            self.batches.remove(&batch);
        }
        if runs.is_empty() {
            self.runs.remove(&function);
        }
    }
}

fn remove_wanted<K: Ord + Copy, B>(
    singles: &mut BTreeMap<K, Single<B>>,
    wanted: impl Fn(&Single<B>) -> bool,
) -> Vec<Single<B>> {
    let all = singles.iter().filter(|(_, single)| wanted(single));
    let keys: Vec<_> = all.map(|(&key, _)| key).collect();
    keys.iter().filter_map(|key| singles.remove(key)).collect()
}

/// The places of all runs of a batch.
const fn places(sequence: u64) -> RangeInclusive<Place> {
    (sequence, 0)..=(sequence, u64::MAX)
}

fn items_that_fit<B: Batch>(run: &Run<B>, limit: u64) -> u64 {
    let Range { start, end } = run.items;
    let wanted = (end - start).min(limit).min(u64::from(u32::MAX)).max(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    struct Numbered(u64);

    impl Batch for Numbered {
        fn id(&self) -> u64 {
            self.0
        }

        fn job(&self) -> Option<u64> {
            None
        }

        fn bytes(&self, _: Range<u64>) -> u64 {
            0
        }
    }

    fn take_all(queue: &mut Queue<Numbered>) {
        while queue.take(9, |_| true, |_| 9).is_some() {}
    }

    fn put_back_and_take(queue: &mut Queue<Numbered>) {
        let taken = queue.take(9, |_| true, |_| 9).unwrap();
        take_all(queue);
        queue.put_back(taken, 1..3);
        assert!(!queue.batches.is_empty() && !queue.is_empty());
        take_all(queue);
    }

    fn remove_batches(queue: &mut Queue<Numbered>) {
        let removed = [2, 0, 1, 7].map(|batch| queue.remove_batch(batch).len());
        assert_eq!(removed, [1, 1, 1, 0]);
    }

    fn remove_functions(queue: &mut Queue<Numbered>) {
        assert_eq!(queue.remove_functions(|_| true).count(), 3);
    }

    /// In whichever way items leave the queue, nothing of them is kept: a pool lives for long.
    #[test]
    fn an_empty_queue_keeps_nothing() {
        let ways: [fn(&mut Queue<Numbered>); 4] =
            [take_all, put_back_and_take, remove_batches, remove_functions];
        for (way, empty) in ways.iter().enumerate() {
            let mut queue = Queue::new();
            for (batch, function) in [(0, 0), (1, 1), (2, 0)] {
                queue.push(Numbered(batch), FunctionId(function), 0..20, Some(6));
            }
            empty(&mut queue);
            assert!(queue.is_empty() && queue.batches.is_empty(), "way {way}: {queue:?}");
        }
    }
}
