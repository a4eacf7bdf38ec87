//! Outcomes that have come and were not taken, in blocks of consecutive inputs.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::Outcome;
use crate::{batch::Values, error::Error};

/// Outcomes of consecutive inputs.
#[derive(Debug, Default)]
pub(super) struct Block {
    inputs: Range<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Values {
        bytes: Vec<u8>,
        /// Where in `bytes` each ends.
        ends: Vec<usize>,
        /// How many were taken, and where the next begins.
        taken: usize,
        start: usize,
    },
    /// All end in the same way.
    Error(Error),
}

impl Default for Content {
    fn default() -> Self {
        Self::Error(Error::NotRunning)
    }
}

impl Block {
    /// The values of inputs from `first` on.
    pub(super) fn of_values(first: u64, values: Values<'_>) -> Self {
        let ends = values.places().map(|place| place.end).collect();
        let bytes = values.bytes().to_vec();
        let content = Content::Values { bytes, ends, taken: 0, start: 0 };
        Self { inputs: first..first + values.len() as u64, content }
    }

    /// Inputs that end with the same error.
    pub(super) const fn of_error(inputs: Range<u64>, error: Error) -> Self {
        Self { inputs, content: Content::Error(error) }
    }

    /// Appends the values of inputs from `first` on. False if they do not follow those that are here,
    /// none of which may have been taken.
    pub(super) fn extend(&mut self, first: u64, values: Values<'_>) -> bool {
        let Content::Values { bytes, ends, .. } = &mut self.content else { return false };
        if self.inputs.end != first {
            return false;
        }
        let start = bytes.len();
        bytes.extend_from_slice(values.bytes());
        ends.extend(values.places().map(|place| start + place.end));
        self.inputs.end += values.len() as u64;
        true
    }

    pub(super) const fn inputs(&self) -> Range<u64> {
        self.inputs.start..self.inputs.end
    }

    pub(super) const fn len(&self) -> u64 {
        self.inputs.end - self.inputs.start
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) const fn is_error(&self) -> bool {
        matches!(self.content, Content::Error(_))
    }

    /// The size of all values.
    pub(super) const fn bytes(&self) -> usize {
        match &self.content {
            Content::Values { bytes, .. } => bytes.len(),
            Content::Error(_) => 0,
        }
    }

    /// Takes the first outcome, with the number of its input. There has to be one.
    pub(super) fn take_first(&mut self) -> (u64, Outcome<'_>) {
        let input = self.inputs.start;
        self.inputs.start += 1;
        let outcome = match &mut self.content {
            Content::Values { bytes, ends, taken, start } => {
                let end = ends.get(*taken).copied().unwrap_or(*start);
                *taken += 1;
                Ok(bytes.get(std::mem::replace(start, end)..end).unwrap_or_default())
            }
            Content::Error(error) => Err(error.clone()),
        };
        (input, outcome)
    }
}

/// Blocks that wait to be taken.
#[derive(Debug)]
pub(super) enum Outcomes {
    /// In the order in which they came.
    AsTheyCome(VecDeque<Block>),
    /// By their first inputs; `next` is the one that is to be taken next.
    Ordered { blocks: BTreeMap<u64, Block>, next: u64 },
}

impl Default for Outcomes {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Outcomes {
    pub(super) const fn new(ordered: bool) -> Self {
        match ordered {
            true => Self::Ordered { blocks: BTreeMap::new(), next: 0 },
            false => Self::AsTheyCome(VecDeque::new()),
        }
    }

    /// Takes in a block. Tells whether one can be taken now because of it.
    pub(super) fn put(&mut self, block: Block) -> bool {
        match self {
            Self::AsTheyCome(blocks) => {
                blocks.push_back(block);
                true
            }
            Self::Ordered { blocks, next } => {
                let ready = block.inputs.start == *next;
                blocks.insert(block.inputs.start, block);
                ready
            }
        }
    }

    /// Takes out the block that is next.
    pub(super) fn take(&mut self) -> Option<Block> {
        match self {
            Self::AsTheyCome(blocks) => blocks.pop_front(),
            Self::Ordered { blocks, next } => {
                let first = blocks.first_entry().filter(|first| first.key() == next)?;
                let block = first.remove();
                *next = block.inputs.end;
                Some(block)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(first: u64, count: u8) -> Block {
        let bytes: Vec<u8> = (0..count).collect();
        let ends: Vec<usize> = (1..=bytes.len()).collect();
        Block::of_values(first, Values::new(&bytes, &ends))
    }

    fn take_all(outcomes: &mut Outcomes) -> Vec<u64> {
        let mut inputs = Vec::new();
        while let Some(mut block) = outcomes.take() {
            while !block.is_empty() {
                inputs.push(block.take_first().0);
            }
        }
        inputs
    }

    #[test]
    fn blocks_are_put_in_order() {
        let mut outcomes = Outcomes::new(true);
        assert!(!outcomes.put(numbers(3, 2)));
        assert!(!outcomes.put(Block::of_error(2..3, Error::NotRunning)));
        assert!(take_all(&mut outcomes).is_empty());
        assert!(outcomes.put(numbers(0, 2)));
        assert_eq!(take_all(&mut outcomes), [0, 1, 2, 3, 4]);
        assert!(outcomes.put(numbers(5, 1)));
    }

    #[test]
    fn blocks_are_taken_as_they_come() {
        let mut outcomes = Outcomes::new(false);
        assert!(outcomes.put(numbers(3, 2)) && outcomes.put(numbers(0, 1)));
        assert_eq!(take_all(&mut outcomes), [3, 4, 0]);
    }

    #[test]
    fn only_what_follows_is_appended() {
        let mut block = numbers(5, 2);
        assert!(block.extend(7, Values::new(b"ab", &[2])));
        assert!(!block.extend(9, Values::new(b"c", &[1])));
        assert_eq!((block.inputs(), block.bytes()), (5..8, 4));
        assert!(matches!(block.take_first(), (5, Ok([0]))));
        assert!(matches!(block.take_first(), (6, Ok([1]))));
        assert!(matches!(block.take_first(), (7, Ok(b"ab"))));
        assert!(!Block::default().extend(0, Values::new(b"c", &[1])));
    }

    #[test]
    fn each_value_is_cut_out() {
        let values = Values::new(b"abbccc", &[1, 3, 6]).part(1, 2);
        let mut block = Block::of_values(7, values);
        assert_eq!((block.len(), block.bytes()), (2, 5));
        assert!(matches!(block.take_first(), (7, Ok(b"bb"))));
        assert!(matches!(block.take_first(), (8, Ok(b"ccc"))));
        assert!(block.is_empty());
    }
}
