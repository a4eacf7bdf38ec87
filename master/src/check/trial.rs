//! What the cases have in common: which worker is tried, and what was found so far.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Checker,
    finding::{Finding, Stop},
    running::Running,
};
use crate::command::WorkerCommand;

/// One case on its way.
pub(super) struct Trial<'a> {
    pub(super) command: &'a WorkerCommand,
    pub(super) running: &'a Running,
    /// How long a worker may take for what it is to do at once.
    pub(super) patience: Duration,
    /// Whether bodies up to the largest are tried.
    pub(super) large: bool,
    pub(super) findings: RefCell<Vec<Finding>>,
    pub(super) confirmed: RefCell<BTreeSet<u32>>,
    /// What is recommended within a requirement and was not done.
    pub(super) remarks: RefCell<BTreeMap<u32, String>>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(checker: &'a Checker, running: &'a Running) -> Self {
        Self {
            command: &checker.command,
            running,
            patience: checker.patience,
            large: checker.large,
            findings: RefCell::default(),
            confirmed: RefCell::default(),
            remarks: RefCell::default(),
        }
    }

    /// A requirement was not kept, and the case goes on.
    pub(super) fn note(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if findings.iter().all(|other| other.requirement != finding.requirement) {
            findings.push(finding);
        }
    }

    /// A requirement was kept where it could have been broken.
    pub(super) fn confirm(&self, requirement: u32) {
        self.confirmed.borrow_mut().insert(requirement);
    }

    /// Something that is recommended within a requirement was not done.
    pub(super) fn remark(&self, requirement: u32, text: impl Into<String>) {
        self.remarks.borrow_mut().entry(requirement).or_insert_with(|| text.into());
    }
}

/// One case: what it tries, and how.
pub(super) struct Case {
    /// What is tried, in words.
    pub(super) name: &'static str,
    /// The requirements that are kept if it comes to its end.
    pub(super) tries: &'static [u32],
    /// It measures time, so that nothing else is to run meanwhile.
    pub(super) alone: bool,
    pub(super) run: fn(&Trial<'_>) -> Result<(), Stop>,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        tries: &'static [u32],
        run: fn(&Trial<'_>) -> Result<(), Stop>,
    ) -> Self {
        Self { name, tries, alone: false, run }
    }

    pub(super) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }
}
