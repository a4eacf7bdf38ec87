//! The rows of the table, as data: what is measured, and what it is compared with.

mod bytes;
mod command_line;
pub(crate) mod growth;
mod memory;
mod one_by_one;
mod processor;
mod python;
mod start;

use crate::{context::Context, row::Row};

/// All rows, in order.
pub(crate) fn all(context: &Context) -> Vec<Row> {
    vec![
        one_by_one::tasks(context),
        one_by_one::map(context),
        one_by_one::round_trip(context),
        bytes::row(context),
        start::cold(context),
        start::sixteen(context),
        processor::row(context),
        command_line::lines(context),
        growth::row(context),
        memory::row(context),
        python::row(context),
    ]
}
