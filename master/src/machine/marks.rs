//! Functions that something is true of.

use super::FunctionId;

/// A set of functions. They are numbered from 0, so a look at it, which there is for every item,
/// takes no hashing.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<bool>);

impl Marks {
    pub(super) fn insert(&mut self, function: FunctionId) {
        let index = function.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, false);
        }
        if let Some(mark) = self.0.get_mut(index) {
            *mark = true;
        }
    }

    pub(super) fn contains(&self, function: FunctionId) -> bool {
        self.0.get(function.0 as usize).copied().unwrap_or(false)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FunctionId> {
        (0..).zip(&self.0).filter(|&(_, &mark)| mark).map(|(number, _)| FunctionId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_by_number() {
        let mut marks = Marks::default();
        assert!(!marks.contains(FunctionId(3)));
        marks.insert(FunctionId(3));
        marks.insert(FunctionId(1));
        marks.insert(FunctionId(3));
        assert!(marks.contains(FunctionId(3)) && !marks.contains(FunctionId(2)));
        assert_eq!(marks.iter().collect::<Vec<_>>(), [FunctionId(1), FunctionId(3)]);
    }
}
