//! How figures are written.

use crate::{results::Spread, row::Unit};

/// Three digits that count, and a letter for thousands.
pub(crate) fn number(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{letter}")
}

/// How many of something.
pub(crate) fn count(of: u64) -> String {
    match of {
        1_000_000.. => format!("{} million", of / 1_000_000),
        1_000.. => format!("{} thousand", of / 1_000),
        _ => of.to_string(),
    }
}

/// A value with its unit.
pub(crate) fn value(of: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate => format!("{}/s", number(of)),
        Unit::Plain(name) => format!("{} {name}", number(of)),
    }
}

/// The median, and what it lies between if there was more than one round.
pub(crate) fn spread(of: Spread) -> String {
    if of.min == of.max {
        return number(of.median);
    }
    format!("{} ({}-{})", number(of.median), number(of.min), number(of.max))
}

/// As a cell of a table.
pub(crate) fn one_line(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
