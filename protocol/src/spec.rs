//! The text of the specification, and its requirements one by one.

use std::fmt;

/// `SPEC.md`, whole.
pub const TEXT: &str = include_str!("../SPEC.md");

/// Whom a requirement binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Numbers that begin with `W-`.
    Worker,
    /// Numbers that begin with `M-`.
    Master,
}

/// How much a requirement binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Its text says MUST.
    Required,
    /// Its text says SHOULD, and nowhere MUST.
    Recommended,
    /// Its text says MAY, and neither of the others.
    Allowed,
}

impl Level {
    /// The level in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Recommended => "recommended",
            Self::Allowed => "allowed",
        }
    }
}

/// One numbered requirement. It displays as its number, such as `W-26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// Whom it binds.
    pub side: Side,
    /// Its number, counted from 1 for each side.
    pub number: u32,
    /// How much it binds.
    pub level: Level,
    /// Its text, in Markdown.
    pub text: &'static str,
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.side {
            Side::Worker => 'W',
            Side::Master => 'M',
        };
        write!(formatter, "{letter}-{}", self.number)
    }
}

/// All requirements, in the order of the text.
///
/// ```
/// use protocol::spec::{Level, Side, requirements};
///
/// let first = requirements().find(|requirement| requirement.side == Side::Worker).unwrap();
/// assert_eq!((first.to_string().as_str(), first.level), ("W-1", Level::Required));
/// assert!(first.text.starts_with("A worker that waits for a message"));
/// ```
pub fn requirements() -> impl Iterator<Item = Requirement> {
    TEXT.lines().filter_map(|line| {
        let (name, text) = line.strip_prefix("- **")?.split_once("** ")?;
        let (side, number) = match name.split_at_checked(2)? {
            ("W-", number) => (Side::Worker, number),
            ("M-", number) => (Side::Master, number),
            _ => return None,
        };
        let number = number.parse().ok()?;
        let level = match text {
            _ if text.contains("MUST") => Level::Required,
            _ if text.contains("SHOULD") => Level::Recommended,
            _ => Level::Allowed,
        };
        Some(Requirement { side, number, level, text })
    })
}
