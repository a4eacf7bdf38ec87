//! Rows 1 to 3: tasks that do nothing.

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
};

/// Names of subjects that goals refer to.
const BASE_RULE: &str = "ours, a write for each answer";
const SHARED: &str = "ours, shared output";
const ONE_WORKER: &str = "ours, 1 worker";
const TWO_WORKERS: &str = "ours, 2 workers";
const PING_PONG: &str = "ping-pong, placed by the scheduler";
const ENCODING: &str = "encoding and decoding alone, on one CPU";

/// Row 1.
pub(crate) fn tasks(context: &Context) -> Row {
    let mut row = Row::new(
        1,
        "no-op tasks one by one",
        "The square of a small integer, each task sent by itself: `imap_unordered` with chunks of \
         1, and what comes nearest to it in each peer. Two workers. (ipc-channel has no pool, so it \
         is only in rows 3 and 4.) The count and the sum of the \
         results are checked. The bare pool is a single thread that keeps so many frames of 20 \
         bytes in flight at each of two processes, without MessagePack, supervision or \
         bookkeeping; its workers write each answer by itself, or pack those of all that they \
         have read into one write. `ours, shared output` is the pool as it comes; workers that do \
         not have the feature keep to the base rule there too, and both figures are then the same.",
    );
    for write in ["each", "packed"] {
        for flight in [1, 2, 16, 256] {
            let parameters = format!("workers=2 flight={flight} write={write}");
            row.add(context.limit(&bare_pool(flight, write), "limit-bare-pool", &parameters));
        }
    }
    let few = format!("one-by-one workers=2 tasks={}", context.scaled(20_000));
    let some = format!("one-by-one workers=2 tasks={}", context.scaled(100_000));
    let peers = &context.peers;
    row.add(peers.python("multiprocessing.Pool", "multiprocessing_pool.py", &some));
    row.add(peers.python("billiard", "billiard_pool.py", &some));
    row.add(peers.python("ProcessPoolExecutor", "process_pool_executor.py", &few));
    row.add(peers.python("loky", "loky_executor.py", &few));
    row.add(peers.python("mpire", "mpire_pool.py", &few));
    row.add(peers.python("pebble", "pebble_pool.py", &few));
    row.add(peers.node("poolifier (cluster)", "poolifier.js", &some));
    row.add(peers.node("workerpool (processes)", "workerpool.js", &some));
    row.add(peers.node("jest-worker (processes)", "jest-worker.js", &some));
    row.add(peers.node("piscina (threads)", "piscina.js", &some));
    row.add(peers.rust("procspawn", "procspawn-peer", &some));
    let tasks = context.scaled(500_000);
    let run = |name, shared| {
        let parameters = format!("workers=2 tasks={tasks} shared={shared}");
        context.ours(name, "ours-one-by-one", &parameters)
    };
    row.add(run(BASE_RULE, "off"));
    row.add(run(SHARED, "on"));
    row.column("per_second", "tasks/s", Unit::Rate);
    row.column("us", "us a task", Unit::Plain("us"));

    let rate = "per_second";
    let ours = (BASE_RULE, rate);
    row.least("base rule", ours, Against::BestPeer(rate), Target::AtLeast(8.0));
    let bare = Against::Subject(bare_pool(256, "each"), rate);
    row.aim("base rule", ours, bare, Target::AtLeast(0.8));
    let several = Against::Number(1e6, "a million");
    row.aim("shared output", (SHARED, rate), several, Target::AtLeast(3.0));
    let bare = Against::Subject(bare_pool(256, "packed"), rate);
    row.aim("shared output", (SHARED, rate), bare, Target::AtLeast(0.8));
    row
}

fn bare_pool(flight: u32, write: &str) -> String {
    match write {
        "each" => format!("bare pool, {flight} in flight, a write for each answer"),
        _ => format!("bare pool, {flight} in flight, answers packed"),
    }
}

/// Row 2.
pub(crate) fn map(context: &Context) -> Row {
    let mut row = Row::new(
        2,
        "map in the default chunks",
        "The squares of two million small integers by one `map` with the default chunks, two \
         workers; peers that have no default in the chunks that are best for them, made by hand \
         where they have none at all. Every result is checked, outside the time. The limit \
         encodes each argument as an array of one, decodes it, encodes the result and decodes it, \
         on one CPU and without sending anything; with several CPUs these steps can overlap.",
    );
    let tasks = context.scaled(2_000_000);
    row.add(context.limit(ENCODING, "limit-encoding", &format!("tasks={tasks}")));
    let all = format!("map workers=2 tasks={tasks}");
    let few = format!("map workers=2 tasks={}", context.scaled(100_000));
    let peers = &context.peers;
    row.add(peers.python("multiprocessing.Pool", "multiprocessing_pool.py", &all));
    row.add(peers.python("billiard", "billiard_pool.py", &all));
    row.add(peers.python("ProcessPoolExecutor, 1000", "process_pool_executor.py", &all));
    row.add(peers.python("loky, 1000", "loky_executor.py", &all));
    row.add(peers.python("mpire", "mpire_pool.py", &few));
    row.add(peers.python("pebble, 1000", "pebble_pool.py", &few));
    row.add(peers.node("poolifier (cluster), 1000 by hand", "poolifier.js", &all));
    row.add(peers.node("piscina (threads), 1000 by hand", "piscina.js", &all));
    row.add(peers.rust("procspawn, 1000 by hand", "procspawn-peer", &all));
    let run = |name, shared| {
        let parameters = format!("workers=2 tasks={tasks} shared={shared}");
        context.ours(name, "ours-map", &parameters)
    };
    row.add(run(BASE_RULE, "off"));
    row.add(run(SHARED, "on"));
    row.column("per_second", "items/s", Unit::Rate);
    row.column("ns", "ns an item", Unit::Plain("ns"));

    let ours = (SHARED, "per_second");
    row.least("shared output", ours, Against::BestPeer("per_second"), Target::AtLeast(1.0));
    let limit = Against::Subject(ENCODING.to_owned(), "per_second");
    row.aim("shared output", ours, limit, Target::AtLeast(0.6));
    row
}

/// Row 3.
pub(crate) fn round_trip(context: &Context) -> Row {
    let mut row = Row::new(
        3,
        "round trip of apply",
        "One call at a time, the next when the result is there; the machine is otherwise idle. \
         The ping-pong is two processes with blocking sockets and MessagePack by rmp-serde; the \
         median of three pairs, because it decides much where the scheduler puts a pair: on one \
         CPU, or on two, of which each has to be woken. The others show both ends on one CPU, and \
         both spinning on two.",
    );
    let count = context.scaled(20_000);
    for (name, place) in [
        (PING_PONG, "scheduler"),
        ("ping-pong, both ends on one CPU", "one-core"),
        ("ping-pong, both ends spinning", "spinning"),
    ] {
        let parameters = format!("place={place} count={count}");
        row.add(context.limit(name, "limit-round-trip", &parameters));
    }
    let some = format!("round-trip workers=1 tasks={}", context.scaled(5_000));
    let peers = &context.peers;
    row.add(peers.python("multiprocessing.Pool", "multiprocessing_pool.py", &some));
    row.add(peers.python("billiard", "billiard_pool.py", &some));
    row.add(peers.python("ProcessPoolExecutor", "process_pool_executor.py", &some));
    row.add(peers.node("workerpool (processes)", "workerpool.js", &some));
    row.add(peers.node("jest-worker (processes)", "jest-worker.js", &some));
    row.add(peers.node("piscina (threads)", "piscina.js", &some));
    row.add(peers.rust("procspawn", "procspawn-peer", &some));
    row.add(peers.rust("ipc-channel (no pool)", "ipc-channel-peer", &some));
    for (name, workers) in [(ONE_WORKER, 1), (TWO_WORKERS, 2)] {
        let parameters = format!("workers={workers} tasks={count}");
        row.add(context.ours(name, "ours-apply", &parameters));
    }
    row.column("p50_us", "p50, us", Unit::Plain("us"));
    row.column("p90_us", "p90, us", Unit::Plain("us"));
    row.column("p99_us", "p99, us", Unit::Plain("us"));

    for (work, name) in [("p50, 1 worker", ONE_WORKER), ("p50, 2 workers", TWO_WORKERS)] {
        let ping_pong = Against::Subject(PING_PONG.to_owned(), "p50_us");
        row.least(work, (name, "p50_us"), ping_pong, Target::AtMost(1.3));
        let number = Against::Number(10.0, "10 us");
        row.aim(work, (name, "p50_us"), number, Target::AtMost(1.0));
    }
    row
}
