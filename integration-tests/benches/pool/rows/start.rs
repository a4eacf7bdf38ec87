//! Rows 5 and 6: how long it takes to get going.

use std::ffi::OsString;

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
    subject::Kind,
};

const PROGRAM: &str = "ours, master apply square 5";
const TRIVIAL: &str = "a program that does nothing";
const POOL_OF_TWO: &str = "procspawn, a pool of 2";
const PROCSPAWN: &str = "procspawn";
const XARGS: &str = "xargs -P";
const OURS: &str = "ours";

/// How many workers start at once.
const WORKERS: usize = 16;

/// Row 5.
pub(crate) fn cold(context: &Context) -> Row {
    let mut row = Row::new(
        5,
        "a cold program",
        "A whole program from its start to its end, seen from outside: it starts a pool, makes \
         one call, `square 5`, prints the result and ends. The median of many runs. `apply` starts \
         one worker, since it has one call. procspawn is there with a pool of two, and with a \
         single process without a pool. What does nothing is `true`: fork, exec and wait.",
    );
    let runs = |count: u64| [OsString::from(format!("runs={}", context.scaled(count)))];
    let checked = |count| runs(count).into_iter().chain(["prints=25".into()]);
    let peers = &context.peers;
    let trivial = Ok(vec!["true".into()]);
    row.add(context.wrapped((Kind::Limit, TRIVIAL), "cold", runs(300), trivial));
    for (name, workload) in
        [(POOL_OF_TWO, "cold workers=2"), ("procspawn, one process", "cold-alone")]
    {
        let words = peers.rust_words("procspawn-peer", workload);
        row.add(context.wrapped((Kind::Peer, name), "cold", checked(100), words));
    }
    for (name, script) in [
        ("multiprocessing.Pool", "multiprocessing_pool.py"),
        ("ProcessPoolExecutor", "process_pool_executor.py"),
    ] {
        let words = peers.python_words(script, "cold workers=2");
        row.add(context.wrapped((Kind::Peer, name), "cold", checked(20), words));
    }
    let words = peers.node_words("piscina.js", "cold workers=2");
    row.add(context.wrapped((Kind::Peer, "piscina (threads)"), "cold", checked(20), words));
    row.add(context.program(PROGRAM, "cold", checked(200), &["apply", "square", "5"]));
    row.column("ms", "ms", Unit::Plain("ms"));

    let ours = (PROGRAM, "ms");
    let pool = || Against::Subject(POOL_OF_TWO.to_owned(), "ms");
    row.least("whole program, beside a pool", ours, pool(), Target::AtMost(1.0));
    row.least("whole program, beside all", ours, Against::BestPeer("ms"), Target::AtMost(1.0));
    let trivial = Against::Subject(TRIVIAL.to_owned(), "ms");
    row.aim("whole program", ours, trivial, Target::AtMost(3.0));
    row
}

/// Row 6.
pub(crate) fn sixteen(context: &Context) -> Row {
    let mut row = Row::new(
        6,
        "start of 16 workers and a task on each",
        "From the wish for a pool to the last result. Each task waits until all sixteen are at \
         theirs, so each is surely on a worker of its own; with xargs each is a process. The \
         median of several starts.",
    );
    let parameters =
        || [format!("workers={WORKERS}"), format!("runs={}", context.scaled(10))].map(Into::into);
    let workload = format!("start workers={WORKERS} socket=SOCKET");
    let peers = &context.peers;
    let mut xargs = peers.shell_words("xargs.sh", &workload);
    xargs.push(context.worker_parameter());
    row.add(context.wrapped((Kind::Peer, XARGS), "all-at-once", parameters(), Ok(xargs)));
    let procspawn = peers.rust_words("procspawn-peer", &workload);
    row.add(context.wrapped((Kind::Peer, PROCSPAWN), "all-at-once", parameters(), procspawn));
    for (name, script) in [
        ("multiprocessing.Pool", "multiprocessing_pool.py"),
        ("billiard", "billiard_pool.py"),
        ("ProcessPoolExecutor", "process_pool_executor.py"),
    ] {
        let words = peers.python_words(script, &workload);
        row.add(context.wrapped((Kind::Peer, name), "all-at-once", parameters(), words));
    }
    let mut ours = crate::measure::words("ours-start", &format!("workers={WORKERS} socket=SOCKET"));
    ours.push(context.worker_parameter());
    row.add(context.wrapped((Kind::Ours, OURS), "all-at-once", parameters(), Ok(ours)));
    row.column("ms", "ms", Unit::Plain("ms"));

    let against = |name: &str| Against::Subject(name.to_owned(), "ms");
    row.least("all results", (OURS, "ms"), against(PROCSPAWN), Target::AtMost(1.0));
    row.aim("all results", (OURS, "ms"), against(XARGS), Target::AtMost(1.0));
    row
}
