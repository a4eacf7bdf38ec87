//! All cases, in the order of the specification.

mod calling;
mod featured;
mod keeping;
mod large;
mod launching;
mod leaving;
mod malformed;
mod sharing;
mod values;
mod welcoming;

use super::trial::Case;

pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    launching::CASES
        .iter()
        .chain(welcoming::CASES)
        .chain(calling::CASES)
        .chain(values::CASES)
        .chain(leaving::CASES)
        .chain(malformed::CASES)
        .chain(featured::CASES)
        .chain(keeping::CASES)
        .chain(sharing::CASES)
        .chain(large::CASES)
}
