//! Workers that leave after so many tasks, and those that take their seats.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use integration_tests::{
    Deadline, executables,
    library::{WATCHDOG, command, pool, watched},
    write_script,
};
use master::{Arguments, Encoded, Error, Pool, PoolBuilder};
use support::{Executed, LOOK_AGAIN, Mark, counts, misbehaving, shell, wait_until};

#[test]
fn ten_calls_with_a_limit_of_three_come_from_four_workers() {
    watched(|| {
        for chunk_size in [Some(1), Some(2), Some(4), Some(10), Some(11), None] {
            let pool = pool(1).max_tasks_per_child(3).build().unwrap();
            let pids: Vec<u32> = pool.map_async("pid", 0..10, chunk_size).unwrap().get().unwrap();
            let rows: Vec<_> = pids.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
            assert_eq!(rows, [3, 3, 3, 1], "chunks of {chunk_size:?}: {pids:?}");
            // What is left of the last one's limit is used up before it goes.
            let more: Vec<u32> = pool.map_chunked("pid", 0..3, 3).unwrap();
            assert_eq!(more[..2], pids[9..10].repeat(2));
            assert!(!pids.contains(&more[2]), "{pids:?}, {more:?}");
        }
    });
}

#[test]
fn single_calls_count_as_items_do() {
    watched(|| {
        let pool = pool(1).max_tasks_per_child(3).build().unwrap();
        let pids: Vec<u32> = (0..10).map(|_| pool.apply("pid", ()).unwrap()).collect();
        let rows: Vec<_> = pids.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert_eq!(rows, [3, 3, 3, 1], "{pids:?}");
    });
}

/// An item that fails is an item.
#[test]
fn failures_count_too() {
    watched(|| {
        let builder = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(1);
        let pool = builder.max_tasks_per_child(2).build().unwrap();
        let first: u32 = pool.apply("pid", ()).unwrap();
        assert!(matches!(pool.apply::<u32>("fail", ()), Err(Error::Failed(_))));
        let second: u32 = pool.apply("pid", ()).unwrap();
        assert_ne!(first, second);
    });
}

#[test]
fn no_worker_of_many_serves_more_than_the_limit() {
    watched(|| {
        for (processes, limit, chunk_size) in
            [(2, 1, Some(1)), (2, 3, Some(1)), (2, 3, Some(5)), (3, 7, Some(100)), (4, 5, None)]
        {
            let pool = pool(processes).max_tasks_per_child(limit).build().unwrap();
            let pids = pool.map_async::<_, u32>("pid", 0..60, chunk_size).unwrap().get().unwrap();
            let counts = counts(pids);
            let case = format!("{processes} of {limit}, chunks of {chunk_size:?}: {counts:?}");
            let limit = usize::try_from(limit).unwrap();
            assert!(counts.values().all(|&count| count <= limit), "{case}");
            // Each but those that sit there now has used up its limit.
            let unused = counts.values().filter(|&&count| count < limit).count();
            assert!(unused <= processes, "{case}");
        }
    });
}

/// What a dead worker had not begun goes on, and still no worker serves more than its limit.
#[test]
fn the_limit_holds_while_workers_die() {
    watched(|| {
        for chunk_size in [Some(1), Some(8), None] {
            let mark = Mark::new();
            let builder = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(2);
            let pool = mark.on(builder.max_tasks_per_child(3)).build().unwrap();
            let crashing = pool.map_async::<_, u64>("crash_if_odd", 0..24, chunk_size).unwrap();
            let counted = pool.map_async::<_, u64>("count", 0..24, chunk_size).unwrap();
            for (n, outcome) in crashing.outcomes().into_iter().enumerate() {
                match outcome {
                    Ok(value) => assert!(n % 2 == 0 && value == n as u64, "{n}"),
                    Err(Error::Lost(_)) => assert_eq!(n % 2, 1, "{n}"),
                    Err(error) => panic!("{n}: {error}"),
                }
            }
            let counted = counted.get().unwrap();
            assert!(counted.iter().all(|count| (1..=3).contains(count)), "{counted:?}");
            pool.close();
            pool.join().unwrap();
            // 12 die, each of the others has served 3 tasks, but for those that are left at the end.
            assert!((16..=12 + 36 / 3 + 3).contains(&mark.starts()), "{} starts", mark.starts());
        }
    });
}

/// The command is a child of the worker, so that it knows the worker's pid.
#[test]
fn the_initializer_runs_once_in_each_replacement() {
    watched(|| {
        for processes in [1, 3] {
            let mark = Mark::new();
            let log = mark.file("log");
            let note = shell("echo $PPID >> \"$1\"", &[&log]);
            let builder = pool(processes).max_tasks_per_child(3).initializer("exec", note);
            let pool = builder.build().unwrap();
            let served: Vec<u32> = pool.map_chunked("pid", 0..20, 2).unwrap();
            pool.close();
            pool.join().unwrap();
            let served: BTreeSet<String> = served.iter().map(u32::to_string).collect();
            let initialized = counts(mark.lines("log"));
            assert!(initialized.values().all(|&times| times == 1), "{initialized:?}");
            assert!(served.iter().all(|pid| initialized.contains_key(pid)), "{initialized:?}");
            // Some may have been started for tasks that another was faster at.
            assert!(initialized.len() <= served.len() + processes, "{initialized:?}");
        }
    });
}

/// Each task enters a directory, and counts who is there.
#[test]
fn never_more_serve_than_there_are_processes() {
    watched(|| {
        for processes in [1, 2, 3] {
            let mark = Mark::new();
            let directory = mark.file("inside");
            std::fs::create_dir(&directory).unwrap();
            let script = "cd \"$1\" && touch $$ && ls | wc -l && sleep 0.01 && rm $$";
            let pool = pool(processes).max_tasks_per_child(2).build().unwrap();
            let visit = || ("sh", ["-c", script, "sh", &directory]);
            let visits: Vec<Executed> = pool
                .starmap_async("exec", (0..24).map(|_| visit()), Some(1))
                .unwrap()
                .get()
                .unwrap();
            let most = visits.into_iter().map(|visit| visit.printed().parse::<usize>().unwrap());
            let most = most.max().unwrap();
            assert!(most <= processes, "{most} of {processes}");
        }
    });
}

/// Watches from outside how many processes live while `work` is done with a pool.
fn most_alive(builder: PoolBuilder, work: impl FnOnce(&Pool)) -> usize {
    let mark = Mark::new();
    let pool = mark.on(builder).build().unwrap();
    let done = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            let limit = Deadline::after(WATCHDOG);
            while !done.load(Ordering::Relaxed) && !limit.left().is_zero() {
                most = most.max(mark.alive());
                limit.pause(LOOK_AGAIN);
            }
            most
        });
        work(&pool);
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    drop(pool);
    assert_eq!(mark.alive(), 0, "a pool that is gone leaves no process");
    most
}

#[test]
fn at_most_one_more_than_the_processes_lives() {
    watched(|| {
        for processes in [1, 2, 4] {
            let most = most_alive(pool(processes).max_tasks_per_child(1), |pool| {
                let items = vec![(0.005, 1); 60];
                let results = pool.starmap_async::<_, u8>("sleep", items, Some(1)).unwrap();
                assert_eq!(results.get().unwrap(), [1; 60]);
            });
            assert!((processes..=processes + 1).contains(&most), "{most} of {processes}");
        }
    });
}

#[test]
fn an_initializer_that_fails_is_told_to_everyone() {
    watched(|| {
        let mark = Mark::new();
        let builder = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(3);
        let builder = builder.initializer("fail", Arguments::new(("no model there",)).unwrap());
        let pool = mark.on(builder).build().unwrap();
        let deadline = Deadline::after(Duration::from_secs(10));
        thread::scope(|scope| {
            for _ in 0..4 {
                // Whoever comes after the failure hears of it at the call.
                scope.spawn(|| match pool.map_async::<_, Encoded>("echo", 0..50, Some(1)) {
                    Ok(result) => result.outcomes().into_iter().for_each(told_why),
                    Err(error) => told_why(Err(error)),
                });
            }
        });
        for _ in 0..3 {
            told_why(pool.apply("echo", (1,)));
        }
        pool.join().unwrap();
        assert!(!deadline.left().is_zero(), "it took too long");
        assert_eq!(mark.alive(), 0);
        assert!(mark.starts() <= 4, "{} starts", mark.starts());
    });
}

fn told_why(outcome: Result<Encoded, Error>) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::PoolFailed(_)), "{error}");
    assert!(error.to_string().contains("no model there"), "{error}");
}

/// It works for the first workers, and no more for those that are to replace them.
#[test]
fn an_initializer_that_fails_in_a_replacement_is_told_to_everyone() {
    watched(|| {
        let mark = Mark::new();
        let model = mark.file("model");
        std::fs::write(&model, "words").unwrap();
        let log = mark.file("log");
        let script = format!("echo $$ >> {log}\nexec {} \"$@\"", executables().worker.display());
        write_script(mark.file("noting").as_ref(), &script);
        let pool = Pool::builder()
            .worker(command(&[&mark.file("noting")]))
            .processes(2)
            .max_tasks_per_child(2)
            .initializer("count_words", Arguments::new((&model,)).unwrap())
            .build()
            .unwrap();
        // The one worker takes the file away, after both have read it.
        assert_eq!(pool.map_chunked::<_, u64>("square", [2], 1).unwrap(), [4]);
        wait_until("both were started", || mark.lines("log").len() >= 2);
        std::fs::remove_file(&model).unwrap();
        let deadline = Deadline::after(Duration::from_secs(20));
        let outcomes = pool.map_async::<_, u64>("square", 0..100, Some(1)).unwrap().outcomes();
        let check = |error: &Error| {
            assert!(matches!(error, Error::PoolFailed(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains("initializer") && text.contains(&model), "{text}");
        };
        let errors: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert!(errors.len() >= 97, "what the first workers had left: {} errors", errors.len());
        errors.into_iter().for_each(check);
        check(&pool.apply::<u64>("square", (1,)).unwrap_err());
        pool.join().unwrap();
        assert!(!deadline.left().is_zero(), "it took too long");
        let starts = mark.lines("log").len();
        // Two that served, three that may fail, and those for both seats that were tried at once.
        assert!(starts <= 7, "{starts} starts");
    });
}

/// A task that is a run of `master` itself, with a pool of its own.
#[test]
fn pools_in_pools() {
    watched(|| {
        let master = executables().master.to_str().unwrap();
        let worker = executables().worker.to_str().unwrap();
        let options = ["--processes", "2", "--worker", worker];
        let map = |inputs: [&str; 3]| {
            let words = ["map", "square"].into_iter().chain(options).chain(inputs);
            (master.to_owned(), words.map(String::from).collect::<Vec<_>>())
        };
        let pool = pool(2).max_tasks_per_child(1).build().unwrap();
        let tasks = [map(["1", "2", "3"]), map(["4", "5", "6"]), map(["7", "8", "9"])];
        let results: Vec<Executed> = pool.starmap("exec", tasks).unwrap();
        let printed: Vec<_> = results.into_iter().map(Executed::printed).collect();
        assert_eq!(printed, ["1\n4\n9", "16\n25\n36", "49\n64\n81"]);

        // And one deeper: this one's result is told in the JSON of the one between.
        let (_, inner) = map(["10", "11", "12"]);
        let inner = serde_json::json!([master, inner]).to_string();
        let words = ["starmap", "exec"].into_iter().chain(options).chain([inner.as_str()]);
        let words: Vec<_> = words.collect();
        let outer: Executed = pool.apply("exec", (master, words)).unwrap();
        assert!(outer.printed().contains(r"100\n121\n144\n"));
    });
}

#[test]
fn many_threads_submit_while_workers_are_replaced() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 10;
    watched(|| {
        let pool = pool(2).max_tasks_per_child(3).build().unwrap();
        let served: Vec<BTreeMap<u32, usize>> = thread::scope(|scope| {
            let submit = |thread: u64| {
                let pool = &pool;
                move || {
                    let mut pids = Vec::new();
                    for round in 0..ROUNDS {
                        let n = thread * 1000 + round;
                        assert_eq!(pool.apply::<u64>("square", (n,)).unwrap(), n * n);
                        let squares: Vec<u64> = pool.map("square", n..n + 3).unwrap();
                        assert_eq!(squares, [n * n, (n + 1) * (n + 1), (n + 2) * (n + 2)]);
                        pids.push(pool.apply::<u32>("pid", ()).unwrap());
                    }
                    counts(pids)
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(submit(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let all = served.into_iter().flatten();
        let mut totals = BTreeMap::new();
        all.for_each(|(pid, count)| *totals.entry(pid).or_insert(0) += count);
        assert!(totals.values().all(|&count| count <= 3), "{totals:?}");
    });
}
