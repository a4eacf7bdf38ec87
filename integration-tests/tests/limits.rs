//! How long a worker lives: so many tasks, so long, as long as there is something to do, and as
//! long as it is not too large.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{collections::BTreeSet, path::Path, thread, time::Duration};

use integration_tests::{
    Program, check_all, executables,
    library::{pool, watched},
    master, master_with,
    misbehaving::SHARED_OUTPUT_VARIABLE,
};
use master::{Arguments, Error, Pool, PoolBuilder, Resource};
use support::{
    Executed, Mark, counts, misbehaving, pids, serving, under_load, wait_until, wait_until_idle,
};

const MEBIBYTE: u64 = 1 << 20;

/// A pool of workers with a function `grow`.
fn growing(processes: usize) -> PoolBuilder {
    Pool::builder().worker(misbehaving(&["well-behaved"])).processes(processes)
}

/// Memory is shared through files, which are larger than anybody's who limits them.
#[test]
fn a_limit_on_files_of_the_master_is_none_on_the_run() {
    for limit in ["0", "1000", "1000000", "4194304"] {
        let script = format!("ulimit -f {limit}; \"$0\" map square 1 2 3 | cat");
        let run = Program::new(Path::new("/bin/sh")).args(["-c", &script]);
        let run = run.arg(&executables().master).link("worker", &executables().worker);
        run.run().ended(0).printed("1\n4\n9\n").was_quiet();
    }
}

#[test]
fn chance_spreads_the_ends_of_workers() {
    watched(|| {
        let pool = pool(2).max_tasks_per_child(5).max_tasks_jitter(10).build().unwrap();
        let served: Vec<u32> = pool.map_chunked("pid", 0..300, 1).unwrap();
        let last: BTreeSet<u32> = pids(&pool).into_iter().collect();
        let mut served = counts(served);
        served.retain(|pid, _| !last.contains(pid));
        let limits: BTreeSet<usize> = served.values().copied().collect();
        assert!(limits.iter().all(|limit| (5..=15).contains(limit)), "{served:?}");
        assert!(limits.len() > 2, "{served:?}");
    });
}

#[test]
fn workers_that_are_too_old_are_replaced_one_after_another() {
    watched(|| {
        let pool = pool(3).max_age(Duration::from_millis(400)).build().unwrap();
        let first = wait_until_idle(&pool, 3);
        let look = |status: &master::PoolStatus| {
            // One leaves or is on its way, and the others serve.
            assert!(serving(status) >= 2, "{status:?}");
            assert!(status.workers.len() <= 4, "{status:?}");
        };
        let enough = || {
            let renewed = pool.status().unwrap().counters.started >= 9;
            renewed && pids(&pool).iter().all(|pid| !first.contains(pid))
        };
        under_load(&pool, look, || wait_until("all are others", enough));
        assert_eq!(pool.status().unwrap().counters.died, 0);
    });
}

#[test]
fn a_worker_that_is_too_old_finishes_the_task_in_hand() {
    watched(|| {
        let pool = pool(1).max_age(Duration::from_millis(100)).build().unwrap();
        let before: u32 = pool.apply("pid", ()).unwrap();
        let nap = pool.apply_async::<String>("sleep", (0.5, "rested")).unwrap();
        assert_eq!(nap.get().unwrap(), "rested");
        let after: u32 = pool.apply("pid", ()).unwrap();
        assert_ne!(before, after);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.lost, counters.died), (0, 0), "{counters:?}");
    });
}

/// Each of `count` tasks waits until all of them run.
fn meet(pool: &Pool, count: usize) -> BTreeSet<String> {
    let mark = Mark::new();
    let script = "touch \"$1/$$\"; until [ $(ls \"$1\" | wc -l) -ge $2 ]; do sleep 0.01; done
        echo $PPID";
    let (path, size) = (mark.path().to_owned(), count.to_string());
    let task = || ("sh", ["-c", script, "sh", &path, &size]);
    let met = pool.starmap_async::<_, Executed>("exec", (0..count).map(|_| task()), Some(1));
    met.unwrap().get().unwrap().into_iter().map(Executed::printed).collect()
}

#[test]
fn idle_workers_leave_until_they_are_needed_again() {
    watched(|| {
        for minimum in [None, Some(0), Some(2), Some(9)] {
            let builder = pool(4).idle_timeout(Duration::from_millis(200));
            let pool = match minimum {
                Some(minimum) => builder.minimum_processes(minimum),
                None => builder,
            };
            let pool = pool.build().unwrap();
            let stay = minimum.unwrap_or(1).min(4);
            let mut starts = Vec::new();
            for _ in 0..2 {
                assert_eq!(meet(&pool, 4).len(), 4, "all four are needed");
                wait_until(&format!("{stay} workers are left"), || pids(&pool).len() == stay);
                let status = pool.status().unwrap();
                assert_eq!((serving(&status), pool.processes()), (stay, 4), "{status:?}");
                starts.push(status.counters.started);
            }
            assert_eq!(starts, [4, 4 + (4 - stay as u64)], "{minimum:?}");
            // One that stays, or is started for it, is enough for this.
            assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.died, counters.lost), (0, 0), "{counters:?}");
            let expected = starts[1] + u64::from(stay == 0);
            assert_eq!(counters.started, expected, "{minimum:?}: {counters:?}");
        }
    });
}

#[test]
fn a_pool_in_which_nobody_is_left_can_be_ended() {
    watched(|| {
        let builder = || pool(2).idle_timeout(Duration::from_millis(50)).minimum_processes(0);
        for end in [Pool::close as fn(&Pool), Pool::terminate, Pool::kill, Pool::interrupt] {
            let pool = builder().build().unwrap();
            assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
            wait_until("nobody is left", || pids(&pool).is_empty());
            end(&pool);
            pool.join().unwrap();
        }
    });
}

#[test]
fn a_worker_that_has_grown_too_large_is_replaced_after_its_task() {
    watched(|| {
        let pool = growing(1).soft_memory_limit(80 * MEBIBYTE).build().unwrap();
        for _ in 0..4 {
            let before: u32 = pool.apply("pid", ()).unwrap();
            // It is over the limit in the middle of the task, and for long enough to be seen.
            assert_eq!(pool.apply::<u64>("grow", (100, 0.2)).unwrap(), 100);
            assert_ne!(pool.apply::<u32>("pid", ()).unwrap(), before);
        }
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.started, counters.died), (5, 0), "{counters:?}");
        assert_eq!((counters.completed, counters.lost), (12, 0), "{counters:?}");
    });
}

/// The leak that recycling is for. Each worker is replaced when it has kept 200 MiB.
#[test]
fn forty_tasks_that_leak_are_done_and_no_worker_grows_beyond_its_limit_and_a_task() {
    watched(|| {
        for chunk_size in [Some(1), None] {
            let pool = growing(2).soft_memory_limit(200 * MEBIBYTE).build().unwrap();
            let leaked: Vec<u64> =
                pool.map_async("grow", [50; 40], chunk_size).unwrap().get().unwrap();
            let kept = counts(leaked);
            assert!(kept.keys().all(|&kept| kept <= 250), "chunks of {chunk_size:?}: {kept:?}");
            assert_eq!(kept.values().sum::<usize>(), 40);
            let counters = pool.status().unwrap().counters;
            assert!((8..=12).contains(&counters.started), "{counters:?}");
            assert_eq!(counters.died, 0, "{counters:?}");
        }
    });
}

/// Many of them are over between two looks at all workers, so each of them is followed by a look.
#[test]
fn short_tasks_that_leak_are_noticed_too() {
    watched(|| {
        let pool = growing(1).soft_memory_limit(30 * MEBIBYTE).build().unwrap();
        let leaked: Vec<u64> = pool.map_chunked("grow", [5; 60], 1).unwrap();
        let most = leaked.iter().max().unwrap();
        assert!(*most <= 60, "{leaked:?}");
    });
}

/// A chunk is not taken back from a worker that has it.
#[test]
fn a_worker_that_has_grown_too_large_finishes_its_chunk() {
    watched(|| {
        let pool = growing(1).soft_memory_limit(60 * MEBIBYTE).build().unwrap();
        let leaked: Vec<u64> = pool.map_chunked("grow", [40; 8], 4).unwrap();
        assert_eq!(leaked, [40, 80, 120, 160, 40, 80, 120, 160]);
        assert_eq!(pool.status().unwrap().counters.lost, 0);
    });
}

#[test]
fn the_command_line_knows_the_limits_of_memory() {
    let arguments = ["--processes", "1", "--soft-memory", "80M", "--chunksize", "1"];
    let finished =
        master_with("well-behaved", "map", arguments).args(["grow", "60", "60", "60"]).run();
    finished.ended(0).printed("60\n120\n60\n").was_quiet();
    let arguments = ["--processes", "1", "--hard-memory", "100M", "--chunksize", "1"];
    let finished = master_with("well-behaved", "starmap", arguments)
        .args(["grow", "[10]", "[200, 60]", "[20]"])
        .run();
    finished
        .ended(1)
        .printed("10\n20\n")
        .said("input 2: lost")
        .said("over its memory limit of 100");
}

#[test]
fn a_worker_that_is_far_too_large_is_killed_and_only_its_task_is_lost() {
    watched(|| {
        let cases = [(Some(1), "off"), (Some(5), "off"), (Some(5), "on"), (None, "on")];
        for (chunk_size, keeps) in cases {
            let builder = growing(2).hard_memory_limit(100 * MEBIBYTE);
            let pool = builder.environment(SHARED_OUTPUT_VARIABLE, keeps).build().unwrap();
            let items = (0..10).map(|n| if n == 4 { (200, 60.0) } else { (0, 0.001) });
            let outcomes = pool.starmap_async::<_, u64>("grow", items, chunk_size).unwrap();
            for (n, outcome) in outcomes.outcomes().into_iter().enumerate() {
                if n != 4 {
                    assert_eq!(outcome.unwrap(), 0, "{n}");
                    continue;
                }
                let Err(Error::Lost(report)) = outcome else { panic!("{outcome:?}") };
                let text = report.to_string();
                assert!(text.contains("was over its memory limit of 100.0 MiB"), "{text}");
                assert!(text.contains("while it ran `grow`"), "{text}");
            }
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.died, counters.lost), (1, 1), "{counters:?}");
            wait_until_idle(&pool, 2);
        }
    });
}

#[test]
fn a_worker_that_is_far_too_large_from_the_start_fails_the_pool() {
    watched(|| {
        let mark = Mark::new();
        let initializer = Arguments::new((200,)).unwrap();
        let builder = growing(1).initializer("grow", initializer);
        let pool = mark.on(builder.hard_memory_limit(100 * MEBIBYTE)).build().unwrap();
        let outcomes = pool.map_async::<_, u64>("square", 0..100, Some(1)).unwrap().outcomes();
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::PoolFailed(_)), "{error}");
            assert!(error.to_string().contains("over its memory limit"), "{error}");
        }
        pool.join().unwrap();
        assert!(mark.starts() <= 5, "{} starts", mark.starts());
    });
}

/// A soft limit that every worker is over from the start on would replace without end.
#[test]
fn a_worker_that_is_too_large_from_the_start_serves_one_task_each() {
    watched(|| {
        let mark = Mark::new();
        let initializer = Arguments::new((200,)).unwrap();
        let builder = growing(1).initializer("grow", initializer);
        let pool = mark.on(builder.soft_memory_limit(100 * MEBIBYTE)).build().unwrap();
        let served: Vec<u32> = pool.starmap("sleep", [(0.02, 7); 5]).unwrap();
        assert_eq!(served, [7; 5]);
        let pid = wait_until_idle(&pool, 1);
        assert!(mark.starts() <= 6, "{} starts", mark.starts());
        thread::park_timeout(Duration::from_millis(300));
        assert_eq!(pids(&pool), pid, "it stays while there is nothing to do");
    });
}

#[test]
fn a_worker_that_gets_no_more_memory_from_the_system_costs_its_task() {
    watched(|| {
        let limit = 1 << 30;
        let builder = growing(2).resource_limit(Resource::AddressSpace, limit);
        // Its last words are to be what happened, and not where.
        let pool = builder.environment("RUST_BACKTRACE", "0").build().unwrap();
        let sizes = [1_u64, 4096, 2, 4096, 3];
        for chunk_size in [Some(1), Some(5)] {
            let outcomes = pool.map_async::<_, u64>("grow", sizes, chunk_size).unwrap().outcomes();
            for (size, outcome) in sizes.into_iter().zip(outcomes) {
                match outcome {
                    Ok(kept) => assert!(size <= 3 && kept >= size),
                    Err(Error::Lost(report)) => {
                        assert_eq!(size, 4096, "{report}");
                        let text = report.to_string();
                        assert!(text.contains("SIGABRT"), "{text}");
                        assert!(text.contains("memory allocation"), "{text}");
                    }
                    Err(error) => panic!("{size}: {error}"),
                }
            }
        }
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.lost, counters.died), (4, 4), "{counters:?}");
        assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
    });
}

#[test]
fn every_limit_at_once_loses_nothing() {
    let cases: [&[&str]; 3] = [
        &["--max-tasks-per-child", "3", "--max-tasks-jitter", "4"],
        &["--max-age", "50ms"],
        &[
            "--max-tasks-per-child",
            "7",
            "--max-age",
            "80ms",
            "--idle-timeout",
            "1ms",
            "--minimum-processes",
            "0",
            "--soft-memory",
            "1M",
        ],
    ];
    let numbers: String = (0..300).map(|n| format!("{n}\n")).collect();
    let squares: String = (0..300).map(|n: u32| format!("{}\n", n * n)).collect();
    check_all(&cases, |options| {
        let program = master(["map", "--processes", "2"]).args(*options).arg("square");
        program.stdin(numbers.as_str()).run().ended(0).printed(&squares).was_quiet();
    });
}

/// They have served, so nothing is wrong with their command.
#[test]
fn idle_workers_that_are_killed_are_replaced() {
    watched(|| {
        let pool = pool(3).restart_intensity(0).build().unwrap();
        for round in 0..5 {
            wait_until_idle(&pool, 3);
            assert_eq!(meet(&pool, 3).len(), 3);
            let before = wait_until_idle(&pool, 3);
            before.iter().for_each(|&pid| support::kill(pid));
            assert_eq!(pool.map::<_, u64>("square", 0..20).unwrap().len(), 20, "{round}");
        }
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.died, counters.lost), (15, 0), "{counters:?}");
    });
}
