//! Row 11: functions in Python, behind this pool and behind Python's own.

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
};

const PEER: &str = "multiprocessing.Pool";
const SCRIPT: &str = "multiprocessing_pool.py";

/// Row 11.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        11,
        "the Python SDK's worker",
        "The same functions in Python, in the same interpreter, behind this pool by `worker-python` \
         and behind `multiprocessing.Pool`: the square of a small integer, one by one, two workers; \
         1 MiB of bytes there and back, one worker; and 200 tasks of 10 ms that only the processor \
         limits, two workers, whose speed-up is over the same loop in one of the processes just \
         before.",
    );
    row.column("per_second", "tasks/s", Unit::Rate);
    row.column("mb_per_second", "MB/s", Unit::Plain("MB/s"));
    row.column("seconds", "s", Unit::Plain("s"));
    row.column("speed_up", "speed-up", Unit::Plain("times"));
    let tasks = context.scaled(100_000);
    let burning = "tasks=200 ms=10";
    for (work, figure, theirs, ours) in [
        (
            "no-op, one by one",
            "per_second",
            format!("one-by-one workers=2 tasks={tasks}"),
            ("ours-one-by-one", format!("workers=2 tasks={tasks}")),
        ),
        (
            "1 MiB of bytes",
            "mb_per_second",
            format!("bytes workers=1 size={}", 1 << 20),
            ("ours-bytes", format!("workers=1 size={} form=echo", 1 << 20)),
        ),
        (
            "200 tasks of 10 ms",
            "speed_up",
            format!("burning workers=2 {burning}"),
            ("ours-burn-python", format!("workers=2 {burning}")),
        ),
    ] {
        let [peer, pool] = [PEER, "ours"].map(|name| format!("{work}: {name}"));
        row.add(context.peers.python(&peer, SCRIPT, &theirs));
        row.add(context.ours_in_python(&pool, ours.0, &ours.1));
        let against = Against::Subject(peer, figure);
        row.least(work, (&pool, figure), against, Target::AtLeast(1.0));
    }
    row
}
