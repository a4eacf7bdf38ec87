//! What was found, and why a case stopped.

use std::fmt::Write as _;

use protocol::strict::Defect;

/// A requirement that was not kept, with the evidence.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Its number: W-26 is 26.
    pub(super) requirement: u32,
    pub(super) problem: String,
    /// What should have come, and what came, in bytes where bytes say it best.
    pub(super) expected: Option<String>,
    pub(super) came: Option<String>,
}

impl Finding {
    pub(super) fn new(requirement: u32, problem: impl Into<String>) -> Self {
        Self { requirement, problem: problem.into(), expected: None, came: None }
    }

    pub(super) fn expected(self, bytes: &[u8]) -> Self {
        Self { expected: Some(hexadecimal(bytes)), ..self }
    }

    pub(super) fn came(self, bytes: &[u8]) -> Self {
        Self { came: Some(hexadecimal(bytes)), ..self }
    }

    pub(super) fn expected_text(self, text: impl Into<String>) -> Self {
        Self { expected: Some(text.into()), ..self }
    }

    pub(super) fn came_text(self, text: impl Into<String>) -> Self {
        Self { came: Some(text.into()), ..self }
    }
}

impl From<Defect> for Finding {
    fn from(defect: Defect) -> Self {
        let Defect { requirement, problem, expected, body } = defect;
        let finding = Self::new(requirement, problem).came(&body);
        match expected {
            Some(expected) => finding.expected(&expected),
            None => finding,
        }
    }
}

/// Why a case did not come to its end.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// A requirement was not kept, and it cannot go on.
    Broken(Box<Finding>),
    /// The worker does not offer these functions, so that what takes them cannot be tried.
    Lacking(Vec<&'static str>),
    /// The worker does not have the optional feature, so that its requirements do not apply.
    Without(String),
    /// It cannot be tried here, for a reason that is not the worker's.
    Impossible(String),
}

impl From<Defect> for Stop {
    fn from(defect: Defect) -> Self {
        Finding::from(defect).into()
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Broken(Box::new(finding))
    }
}

/// How many bytes are shown.
const SHOWN: usize = 96;

/// Bytes for people: the start of them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, byte) in bytes.iter().take(SHOWN).enumerate() {
        let space = if number > 0 { " " } else { "" };
        // Writing to a string does not fail.
        let _ = write!(text, "{space}{byte:02x}");
    }
    if bytes.len() > SHOWN {
        let _ = write!(text, " ... ({} bytes)", bytes.len());
    }
    text
}
