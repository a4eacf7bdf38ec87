//! Row 11: functions in Python, behind this pool and behind Python's own.

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
};

/// Row 11.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        11,
        "the Python SDK's worker",
        "The same functions in Python, in the same version of the interpreter, behind this pool by \
         `worker-python`, and behind `multiprocessing.Pool`: the square of a small integer, one by \
         one, two workers; 1 MiB of bytes there and back, one worker; and 200 tasks of 10 ms that \
         only the processor limits, two workers. `map` of `multiprocessing.Pool` has these in \
         chunks of 25, of which each is sent and answered as a whole; here a task that takes so \
         long is always sent by itself, so that none waits behind another.",
    );
    row.column("per_second", "tasks/s", Unit::Rate);
    row.column("mb_per_second", "MB/s", Unit::Plain("MB/s"));
    row.column("seconds", "s", Unit::Plain("s"));
    let tasks = context.scaled(100_000);
    let one_by_one = format!("workers=2 tasks={tasks}");
    let mebibyte = format!("workers=1 size={}", 1 << 20);
    let rounds = 10 * context.python_rounds_per_ms;
    let burn = |call: &str| format!("workers=2 tasks=200 rounds={rounds} call={call}");
    let more = Target::AtLeast(1.0);
    for (work, (figure, target), theirs, ours, parameters) in [
        ("no-op, one by one", ("per_second", more), "one-by-one", "ours-one-by-one", one_by_one),
        ("1 MiB of bytes", ("mb_per_second", more), "bytes", "ours-bytes", mebibyte),
        (
            "200 tasks of 10 ms, map",
            ("seconds", Target::AtMost(1.0)),
            "calls-of-burn",
            "ours-burn-python",
            burn("map"),
        ),
        (
            "200 tasks of 10 ms, imap_unordered",
            ("seconds", Target::AtMost(1.0)),
            "calls-of-burn",
            "ours-burn-python",
            burn("imap_unordered"),
        ),
    ] {
        let [peer, pool] = ["multiprocessing.Pool", "ours"].map(|name| format!("{work}: {name}"));
        let script = "multiprocessing_pool.py";
        row.add(context.peers.python(&peer, script, &format!("{theirs} {parameters}")));
        row.add(context.ours_in_python(&pool, ours, &parameters));
        row.least(work, (&pool, figure), Against::Subject(peer, figure), target);
    }
    row
}
