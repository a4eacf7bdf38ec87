//! The rows of the table, as data: what is measured, and what it is compared with.

mod bytes;
mod command_line;
mod one_by_one;

use crate::{context::Context, row::Row};

/// All rows, in order.
pub(crate) fn all(context: &Context) -> Vec<Row> {
    vec![
        one_by_one::tasks(context),
        one_by_one::map(context),
        one_by_one::round_trip(context),
        bytes::row(context),
        command_line::lines(context),
    ]
}
