//! The values of a batch, one after another in one buffer.

use std::collections::BTreeMap;

use crate::{
    arguments::FromResult,
    batch::{Value, Values},
    error::Error,
};

/// Values as they came, each with the number of its item.
#[derive(Debug, Default)]
pub(super) struct ValueStore {
    bytes: Vec<u8>,
    /// Where each value ends, counted from the start of its run: four bytes an item.
    ends: Vec<u32>,
    runs: Vec<Run>,
    /// Values that came in memory of their own.
    alone: BTreeMap<u64, Value>,
}

/// A value in the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ValueAt<'a> {
    Here(&'a [u8]),
    Alone(&'a Value),
}

impl ValueAt<'_> {
    pub(super) fn decode<R: FromResult>(self) -> Result<R, Error> {
        match self {
            Self::Here(bytes) => R::from_result(bytes),
            Self::Alone(Value::Encoded(bytes)) => R::from_result(bytes),
            // As one copy as decoding it would be.
            Self::Alone(Value::Binary(data)) => R::from_binary(data.clone()),
        }
    }
}

/// Values of consecutive items that came one after another.
#[derive(Debug)]
struct Run {
    /// The first item.
    first: u64,
    /// How many there are.
    count: usize,
    /// Where in `bytes` they begin, and where in `ends`.
    start: usize,
    ends: usize,
}

impl ValueStore {
    /// Appends the values of items from `first` on.
    pub(super) fn append(&mut self, first: u64, values: Values<'_>) {
        let start = match self.runs.last_mut().filter(|run| run.is_followed_by(first, &self.bytes))
        {
            Some(run) => {
                run.count += values.len();
                run.start
            }
            None => {
                let (start, ends) = (self.bytes.len(), self.ends.len());
                self.runs.push(Run { first, count: values.len(), start, ends });
                start
            }
        };
        let before = self.bytes.len() - start;
        self.bytes.extend_from_slice(values.bytes());
        // A frame is smaller than what can be counted so, and a run ends before it is not.
        let end = |end: usize| u32::try_from(before + end).unwrap_or(u32::MAX);
        self.ends.extend(values.places().map(|place| end(place.end)));
    }

    /// Takes in the value of one item as it is.
    pub(super) fn put(&mut self, item: u64, value: Value) {
        self.alone.insert(item, value);
    }

    /// Gives a value away that lies in memory of its own.
    pub(super) fn take_alone(&mut self, item: u64) -> Option<Value> {
        self.alone.remove(&item)
    }

    /// Gives all of them away, by their items.
    pub(super) fn take_all_alone(&mut self) -> BTreeMap<u64, Value> {
        std::mem::take(&mut self.alone)
    }

    /// Puts runs in the order of their items. To be called before values are looked at.
    pub(super) fn sort(&mut self) {
        self.runs.sort_unstable_by_key(|run| run.first);
    }

    /// The value of an item.
    pub(super) fn get(&self, item: u64) -> Option<ValueAt<'_>> {
        match self.alone.get(&item) {
            Some(value) => Some(ValueAt::Alone(value)),
            None => self.find(item).map(ValueAt::Here),
        }
    }

    fn find(&self, item: u64) -> Option<&[u8]> {
        let behind = self.runs.partition_point(|run| run.first <= item);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let index = usize::try_from(item - run.first).ok().filter(|&index| index < run.count)?;
        self.value(run, index)
    }

    /// All values that do not lie in memory of their own, in the order of their items.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.runs
            .iter()
            .flat_map(move |run| (0..run.count).filter_map(move |index| self.value(run, index)))
    }

    /// Whether a value lies in memory of its own.
    pub(super) fn has_alone(&self) -> bool {
        !self.alone.is_empty()
    }

    fn value(&self, run: &Run, index: usize) -> Option<&[u8]> {
        let end = |index: usize| Some(run.start + *self.ends.get(run.ends + index)? as usize);
        let start = match index.checked_sub(1) {
            Some(before) => end(before)?,
            None => run.start,
        };
        self.bytes.get(start..end(index)?)
    }
}

impl Run {
    /// Whether an item that comes at the end of `bytes` goes on with it.
    fn is_followed_by(&self, item: u64, bytes: &[u8]) -> bool {
        const LONGEST: usize = 1 << 31;
        self.first + self.count as u64 == item && bytes.len() - self.start < LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_items() {
        let mut store = ValueStore::default();
        store.append(3, Values::new(b"dee", &[1, 3]));
        store.append(5, Values::new(b"fff", &[3]));
        store.append(0, Values::new(b"abbc", &[1, 3, 4]));
        store.append(7, Values::new(b"h", &[1]));
        store.sort();
        let found: Vec<_> = (0..9).map(|item| store.get(item)).collect();
        let expected: [Option<&[u8]>; 9] = [
            Some(b"a"),
            Some(b"bb"),
            Some(b"c"),
            Some(b"d"),
            Some(b"ee"),
            Some(b"fff"),
            None,
            Some(b"h"),
            None,
        ];
        assert_eq!(found, expected.map(|value| value.map(ValueAt::Here)));
        let all: Vec<_> = store.iter().collect();
        assert_eq!(all, expected.into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(store.runs.len(), 3);
    }

    #[test]
    fn values_in_memory_of_their_own_are_found_and_given_away() {
        let mut store = ValueStore::default();
        store.append(1, Values::new(b"b", &[1]));
        store.put(0, Value::Binary(b"a".to_vec()));
        store.put(2, Value::Encoded(b"\xa1c".to_vec()));
        store.sort();
        let texts: Vec<_> = [0, 2].map(|item| store.get(item).unwrap().decode::<String>()).into();
        assert_eq!(texts.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), ["a", "c"]);
        assert_eq!(store.get(1), Some(ValueAt::Here(b"b")));
        assert_eq!(store.take_alone(0), Some(Value::Binary(b"a".to_vec())));
        assert_eq!(store.get(0), None);
        assert_eq!(store.take_all_alone().into_keys().collect::<Vec<_>>(), [2]);
        assert!(!store.has_alone());
    }
}
