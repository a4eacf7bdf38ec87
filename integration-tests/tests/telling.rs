//! Tasks that tell how far they are, and that are told to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::time::Duration;

use integration_tests::{
    check_all,
    library::{pool, watched},
    master, master_with,
};
use master::{Cancelled, Encoded, Error, Pool, PoolBuilder, WorkerReport};
use serde_json::{Value, json};
use support::{misbehaving, wait_until, wait_until_idle};

fn misbehaving_pool(mode: &str) -> PoolBuilder {
    Pool::builder().worker(misbehaving(&[mode])).processes(1)
}

fn timed_out<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Box<WorkerReport> {
    match outcome {
        Err(Error::TimedOut(report)) => report,
        other => panic!("it has not timed out: {other:?}"),
    }
}

/// The note of the one worker's task.
fn note(pool: &Pool) -> Option<String> {
    let status = pool.status().unwrap();
    status.workers.first()?.task.as_ref()?.note.clone()
}

#[test]
fn a_task_that_falls_silent_is_timed_out_with_the_reason() {
    watched(|| {
        let pool = misbehaving_pool("progress-then-silent");
        let pool = pool.silence_timeout(Duration::from_millis(300)).build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        let report = timed_out(pool.apply::<Encoded>("echo", ("bad",)));
        let text = report.to_string();
        assert!(text.contains("told nothing of its progress for 300 ms"), "{text}");
        assert_eq!(report.pid, Some(before));
        // Its worker cannot be told, so that another has taken the seat.
        assert_ne!(pool.apply::<u32>("pid", ()).unwrap(), before);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.timed_out, counters.died), (1, 1), "{counters:?}");
    });
}

#[test]
fn a_task_that_tells_lives_on_and_one_that_cannot_tell_is_not_concerned() {
    watched(|| {
        let pool = pool(1).silence_timeout(Duration::from_secs(1)).build().unwrap();
        assert_eq!(pool.apply::<u64>("tick", (30, 0.05)).unwrap(), 30);
        assert_eq!(pool.apply::<u64>("sleep", (1.3, 7)).unwrap(), 7);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.timed_out, counters.started), (0, 1), "{counters:?}");
        // And it is the silence that counts, not whether it ever told.
        let report = timed_out(pool.apply::<u64>("tick", (2, 600)));
        assert!(report.to_string().contains("told nothing of its progress for 1.0 s"), "{report}");
    });
}

#[test]
fn the_command_line_ends_silent_calls() {
    let finished = master(["starmap", "--processes", "2", "--chunksize", "1"])
        .args(["--silence-timeout", "1s", "tick", "[30, 0.05]", "[2, 600]", "[1, 0]"])
        .run();
    finished.ended(1).printed("30\n1\n").said("input 2: timed out").said("told nothing");
}

/// The functions heed it, so the worker has not to be stopped.
#[test]
fn a_worker_that_heeds_its_cancel_goes_on_serving() {
    let timeout = Duration::from_millis(300);
    type Try = fn(&Pool) -> Result<Encoded, Error>;
    let cases: [(&str, PoolBuilder, Try); 2] = [
        ("tick", pool(1), |pool| pool.apply("tick", (600, 0.1))),
        ("heeds-cancel", misbehaving_pool("heeds-cancel"), |pool| pool.apply("echo", ("bad",))),
    ];
    watched(move || {
        for (name, builder, attempt) in cases {
            let pool = builder.task_timeout(timeout).build().unwrap();
            let before: u32 = pool.apply("pid", ()).unwrap();
            for _ in 0..3 {
                let report = timed_out(attempt(&pool));
                assert!(report.to_string().contains("time limit"), "{name}: {report}");
                assert_eq!(pool.apply::<u32>("pid", ()).unwrap(), before, "{name}");
            }
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.timed_out, counters.started), (3, 1), "{name}: {counters:?}");
            assert_eq!(counters.refused, 3, "{name}: an answer that comes too late is dropped");
        }
    });
}

/// A chunk of which one item is ended in its middle: those behind it have the same worker.
#[test]
fn what_lies_behind_an_item_that_is_told_to_end_is_done() {
    watched(|| {
        for chunk_size in [1, 5] {
            let pool = pool(1).task_timeout(Duration::from_millis(400)).build().unwrap();
            let items = [(1, 0.0), (2, 0.0), (600, 0.1), (4, 0.0), (5, 0.0)];
            let outcomes = pool.starmap_async::<_, u64>("tick", items, Some(chunk_size));
            let outcomes = outcomes.unwrap().outcomes();
            let given: Vec<_> = outcomes.iter().flatten().copied().collect();
            assert_eq!(given, [1, 2, 4, 5]);
            assert!(matches!(outcomes[2], Err(Error::TimedOut(_))), "{:?}", outcomes[2]);
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.started, counters.died), (1, 0), "{counters:?}");
        }
    });
}

#[test]
fn a_running_task_that_is_cancelled_keeps_its_worker_if_it_heeds_that() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        for _ in 0..3 {
            let ticking = pool.apply_async::<u64>("tick", (600, 0.1)).unwrap();
            wait_until("it ticks", || note(&pool).is_some_and(|note| note.contains("of 600")));
            ticking.cancel();
            assert!(matches!(ticking.get(), Err(Error::Cancelled(Cancelled::ByCaller))));
            assert_eq!(pool.apply::<u32>("pid", ()).unwrap(), before);
            assert_eq!(note(&pool), None);
        }
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.cancelled, counters.started), (3, 1), "{counters:?}");
    });
}

#[test]
fn a_worker_that_ignores_its_cancel_is_stopped_and_replaced() {
    watched(|| {
        let builder =
            || misbehaving_pool("ignores-cancel").cancel_grace(Duration::from_millis(200));
        let pool = builder().task_timeout(Duration::from_millis(200)).build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        let report = timed_out(pool.apply::<Encoded>("echo", ("bad",)));
        assert_eq!(report.pid, Some(before));
        assert_ne!(pool.apply::<u32>("pid", ()).unwrap(), before);

        let pool = builder().build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        let endless = pool.apply_async::<Encoded>("echo", ("bad",)).unwrap();
        wait_until("it runs", || pool.status().unwrap().running == 1);
        endless.cancel();
        assert!(matches!(endless.get(), Err(Error::Cancelled(Cancelled::ByCaller))));
        assert_ne!(pool.apply::<u32>("pid", ()).unwrap(), before);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.died, counters.lost), (1, 0), "{counters:?}");
    });
}

/// A task that was told to end and does not is tried again when its worker is gone, not before.
#[test]
fn a_task_that_is_told_to_end_may_be_tried_again() {
    watched(|| {
        for (mode, starts) in [("ignores-cancel", 3), ("heeds-cancel", 1)] {
            let builder =
                misbehaving_pool(mode).cancel_grace(Duration::from_millis(200)).retries(1);
            let builder = builder.retry_backoff(Duration::ZERO);
            let pool = builder.task_timeout(Duration::from_millis(200)).build().unwrap();
            let report = timed_out(pool.apply::<Encoded>("echo", ("bad",)));
            assert_eq!(report.attempts.len(), 1, "{mode}: {report}");
            wait_until_idle(&pool, 1);
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.timed_out, counters.retried), (1, 1), "{mode}: {counters:?}");
            assert_eq!(counters.started, starts, "{mode}: {counters:?}");
        }
    });
}

#[test]
fn a_flood_of_progress_changes_nothing_and_costs_no_memory() {
    const FLOOD: &str = "progress-flood 300000";
    const GROWTH: u64 = 16 << 10;
    check_all(&["--chunksize=1", "--silence-timeout=20s", "--timeout=50s"], |option| {
        let mut running =
            master_with(FLOOD, "map", ["--processes", "1", option, "echo"]).stdin_open().start();
        running.write_line("1");
        assert_eq!(running.next_line(), "1");
        let before = running.peak_memory();
        running.write_line("\"bad\"");
        running.write_line("2");
        assert_eq!(running.next_line(), "true");
        assert_eq!(running.next_line(), "2");
        let peak = running.peak_memory();
        running.finish().ended(0).was_quiet();
        assert!(peak < before + GROWTH, "{option}: from {before} to {peak} KiB");
    });
}

/// The worker is killed for it. If its answer came right behind, that stands, and what it may
/// have begun since is lost instead.
#[test]
fn progress_out_of_place_costs_one_task_and_its_worker() {
    watched(|| {
        for (mode, chunk_size) in [
            ("progress-of-another-item", 1),
            ("progress-of-another-item", 5),
            ("progress-unasked", 1),
            ("progress-unasked", 5),
        ] {
            let pool = misbehaving_pool(mode).build().unwrap();
            let first: u32 = pool.apply("pid", ()).unwrap();
            let items = (0..5).map(|n| if n == 2 { json!("bad") } else { json!(n) });
            let items: Vec<Value> = items.collect();
            let result = pool.map_async::<_, Encoded>("echo", items, Some(chunk_size)).unwrap();
            let mut lost = Vec::new();
            for (n, outcome) in (0..).zip(result.outcomes()) {
                match outcome {
                    Ok(Encoded(value)) if n == 2 => assert_eq!(value, [0xc3], "{mode}"),
                    Ok(Encoded(value)) => assert_eq!(value, [n], "{mode}"),
                    Err(Error::Lost(report)) => {
                        assert_eq!(report.pid, Some(first), "{mode}: {report}");
                        let text = report.to_string();
                        assert!(text.contains("broke the protocol"), "{mode}: {text}");
                        lost.push(n);
                    }
                    Err(error) => panic!("{mode}: {error}"),
                }
            }
            match mode {
                "progress-unasked" => assert_eq!(lost, [2]),
                _ => assert!(matches!(lost[..], [] | [2 | 3]), "{mode}: {lost:?}"),
            }
            assert_ne!(wait_until_idle(&pool, 1), [first], "{mode}");
        }
    });
}
