//! Row 7: tasks that only the processor limits.

use crate::{
    context::Context,
    row::{Against, Level, Row, Target, Unit},
};

/// Tasks of one kind. All kinds are the same work in total.
struct Shape {
    name: &'static str,
    tasks: u64,
    /// Milliseconds of a task.
    ms: f64,
    /// How many times as long the one in the middle is.
    long: u64,
    level: Level,
    /// The share of the speed-up of two bare processes.
    share: f64,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "200 of 10 ms", tasks: 200, ms: 10.0, long: 1, level: Level::Least, share: 0.98 },
    Shape {
        name: "20,000 of 0.1 ms",
        tasks: 20_000,
        ms: 0.1,
        long: 1,
        level: Level::Least,
        share: 0.93,
    },
    Shape {
        name: "1,400 of 1 ms and one of 600 ms",
        tasks: 1_401,
        ms: 1.0,
        long: 600,
        level: Level::Aim,
        share: 0.93,
    },
];

/// Seconds that all of it takes one process.
const WORK: f64 = 2.0;

/// Row 7.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        7,
        "CPU-bound tasks on two workers",
        "Two seconds of work in three shapes. The last is uneven: one task is as long as 600 \
         others, and begins when half of the others are done, so that a pool can still be done \
         as early as with even tasks if nobody waits behind it; the share that is aimed at there \
         is our own choice. Two bare processes do half of the tasks each, of equal length, and are \
         started before the clock. The speed-up is over the work in one process, as it was \
         measured before the run for Rust, and in the same process just before for the other \
         languages, each with a loop of its own.",
    );
    row.column("seconds", "s", Unit::Plain("s"));
    row.column("speed_up", "speed-up", Unit::Plain("times"));
    let peers = &context.peers;
    for shape in SHAPES {
        let Shape { name, tasks, ms, long, level, share } = shape;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small enough")]
        let rounds_of = |ms: f64| (context.rounds_per_ms as f64 * ms) as u64;
        let rounds = rounds_of(ms);
        let even = if long == 1 {
            format!("tasks={tasks} rounds={rounds}")
        } else {
            even(rounds_of(10.0))
        };
        let bare = |processes: u64| {
            let parameters = format!("processes={processes} {even} work={WORK}");
            let of = if processes == 1 { "one bare process" } else { "two bare processes" };
            let mut subject = context.limit(&format!("{name}: {of}"), "limit-burn", &parameters);
            if let Ok(words) = &mut subject.words {
                words.push(context.worker_parameter());
            }
            subject
        };
        row.add(bare(1));
        row.add(bare(2));
        let others = format!("burning workers=2 tasks={tasks} ms={ms}");
        let uneven = format!("{others} long={long}");
        let named = |peer: &str| format!("{name}: {peer}");
        let python = |peer, script, parameters| peers.python(&named(peer), script, parameters);
        row.add(python("multiprocessing.Pool, map", "multiprocessing_pool.py", &uneven));
        if long == 1 {
            row.add(python("ProcessPoolExecutor, map", "process_pool_executor.py", &uneven));
            row.add(peers.node(&named("piscina (threads)"), "piscina.js", &others));
            let parameters = format!("burning workers=2 tasks={tasks} rounds={rounds} work={WORK}");
            row.add(peers.rust(&named("procspawn"), "procspawn-peer", &parameters));
        }
        for call in ["map", "imap_unordered"] {
            let parameters = format!(
                "workers=2 tasks={tasks} rounds={rounds} long={long} call={call} work={WORK}"
            );
            let ours = named(&format!("ours, {call}"));
            row.add(context.ours(&ours, "ours-burn", &parameters));
            let bare = Against::Subject(named("two bare processes"), "speed_up");
            let work = format!("{name}, {call}");
            row.goal(level, &work, (&ours, "speed_up"), bare, Target::AtLeast(share));
        }
    }
    row
}

/// The same work in equal tasks.
fn even(rounds: u64) -> String {
    format!("tasks=200 rounds={rounds}")
}
