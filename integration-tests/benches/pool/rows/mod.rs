//! The rows of the table, as data: what is measured, and what it is compared with.

mod bytes;
mod command_line;
pub(crate) mod growth;
mod memory;
mod one_by_one;
mod processor;
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
        python(),
    ]
}

/// Row 11, which has nothing to measure yet.
fn python() -> Row {
    Row::new(
        11,
        "the Python SDK's worker",
        "No-op tasks one by one, 1 MiB of bytes and tasks of 10 ms, behind the pool, are to be \
         ahead of `multiprocessing.Pool` in each. There is no Python SDK yet.",
    )
}
