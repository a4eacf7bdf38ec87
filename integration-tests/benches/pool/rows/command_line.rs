//! Rows about the program `master`.

use std::ffi::OsString;

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
    subject::Kind,
};

const LINES: &str = "ours, master map square";
const CHUNKS_OF_1: &str = "multiprocessing.Pool.imap, chunksize 1";
const CHUNKS_OF_1000: &str = "multiprocessing.Pool.imap, chunksize 1000";
const PARALLEL: &str = "GNU parallel --pipe";

/// Row 8.
pub(crate) fn lines(context: &Context) -> Row {
    let mut row = Row::new(
        8,
        "JSON lines through the command line",
        "A million lines with an integer each, from a file to a file through `master map square` \
         with its default options, the reference worker and as many workers as there are CPUs; \
         the whole program, from its start to its end. The Python scripts read the same lines, \
         and print the results of `Pool().imap` as JSON, with as many workers. GNU parallel cuts the lines into blocks \
         of 1 MiB, keeps their order, and gives them to a filter in Rust that does the same work. \
         All results are checked, and their order.",
    );
    let parameters = || context.lines_parameters();
    let peers = &context.peers;
    for (name, chunk) in [(CHUNKS_OF_1, 1), (CHUNKS_OF_1000, 1000)] {
        let script = format!("lines workers={} chunk={chunk}", context.cpus);
        let script = peers.python_words("multiprocessing_pool.py", &script);
        row.add(context.wrapped((Kind::Peer, name), "lines", parameters(), script).within(180));
    }
    let parallel = peers.parallel.clone().map(|program| {
        let mut words = vec![program.into_os_string()];
        words.extend(["--pipe", "--keep-order", "--block", "1M"].map(OsString::from));
        words.push(context.bench_worker.clone().into_os_string());
        words.push("--square-lines".into());
        words
    });
    row.add(context.wrapped((Kind::Peer, PARALLEL), "lines", parameters(), parallel));
    row.add(context.program(LINES, "lines", parameters(), &["map", "square"]));
    row.column("per_second", "lines/s", Unit::Rate);
    row.column("seconds", "s", Unit::Plain("s"));

    let ours = (LINES, "per_second");
    for (against, times) in [(CHUNKS_OF_1, 20.0), (CHUNKS_OF_1000, 5.0)] {
        let against = Against::Subject(against.to_owned(), "per_second");
        row.least("whole program", ours, against, Target::AtLeast(times));
    }
    let parallel = Against::Subject(PARALLEL.to_owned(), "per_second");
    row.aim("whole program", ours, parallel, Target::AtLeast(1.0));
    row
}
