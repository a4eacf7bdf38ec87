//! Row 9: what a task costs with more workers, and with more tasks that wait.

use crate::{
    context::Context,
    report::count,
    row::{Against, Row, Target, Unit},
};

/// How many workers.
pub(crate) const WORKERS: [u64; 3] = [2, 8, 64];

/// How many tasks wait.
pub(crate) const QUEUES: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// How many tasks wait where workers are compared.
pub(crate) const QUEUE_OF_WORKERS: u64 = 1_000_000;

/// The name of the subject with so many workers.
pub(crate) fn name(workers: u64) -> String {
    format!("ours, {workers} workers")
}

/// Row 9.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        9,
        "cost of a task against workers and queue",
        "No-op tasks that are all submitted at once, each sent by itself: `map_chunked` with \
         chunks of 1. The time on the clock, that of the CPUs in the master's process, and that \
         in the workers, in microseconds a task. The growth is the largest ratio of a cost to one \
         with a shorter queue. Short queues are the median of many.",
    );
    let [first, .., most] = WORKERS;
    let queues = QUEUES.map(|queue| queue.to_string()).join(",");
    // What is measured is the length itself, so less of it is another thing.
    let few = QUEUES[..4].iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let queues = if context.quick { few } else { queues };
    for workers in WORKERS {
        let parameters = format!("workers={workers} queues={queues}");
        row.add(context.ours(&name(workers), "ours-growth", &parameters).within(300));
    }
    let micros = Unit::Plain("us");
    for (part, heading) in [("wall", "clock"), ("master", "master"), ("workers", "workers")] {
        for queue in QUEUES {
            let heading = format!("{heading}, {}", count(queue));
            row.column(&format!("{part}_{queue}"), &heading, micros);
        }
    }
    let times = Unit::Plain("times");
    row.column("growth_wall", "growth, clock", times);
    row.column("growth_master", "growth, master", times);

    for workers in WORKERS {
        let same = || Against::Number(1.0, "the cheapest shorter queue");
        let work = format!("queue of up to 10 million, {workers} workers, clock");
        row.least(&work, (&name(workers), "growth_wall"), same(), Target::AtMost(1.3));
    }
    for (part, what) in [("wall_1000000", "clock"), ("master_1000000", "CPU of the master")] {
        let work = format!("{most} workers, a million tasks, {what}");
        let few = Against::Subject(name(first), part);
        row.least(&work, (&name(most), part), few, Target::AtMost(1.3));
    }
    row
}
