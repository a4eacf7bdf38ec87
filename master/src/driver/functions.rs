//! The names of functions, numbered.

use std::collections::{BTreeSet, HashMap};

use crate::machine::{FunctionId, Generation, GroupId};

/// The names of functions, numbered.
#[derive(Default)]
pub(super) struct Functions {
    numbers: HashMap<String, FunctionId>,
    /// By number.
    names: Vec<String>,
    /// What the workers of each command of each group announced, by name.
    pub(super) announced: HashMap<(GroupId, Generation), Vec<String>>,
}

impl Functions {
    pub(super) fn number(&mut self, name: &str) -> FunctionId {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = FunctionId(u32::try_from(self.numbers.len()).unwrap_or(u32::MAX));
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    pub(super) fn name(&self, number: FunctionId) -> Option<&str> {
        self.names.get(number.0 as usize).map(String::as_str)
    }

    /// Every function that the commands in use announced, in alphabetical order.
    pub(super) fn available(
        &self,
        in_use: impl Iterator<Item = (GroupId, Generation)>,
    ) -> Vec<String> {
        let current = in_use.filter_map(|command| self.announced.get(&command));
        let names: BTreeSet<_> = current.flatten().cloned().collect();
        names.into_iter().collect()
    }
}
