//! Pools of unlike workers: a task goes to a worker that has announced its function.
//!
//! The reference worker alone has `sum_primes`, the misbehaving worker alone has `count`, and
//! both have `square`, `sleep` and `pid`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use integration_tests::{
    Deadline, check_all, executables,
    executables::Executables,
    library::{watched, worker},
    master,
};
use master::{Encoded, Error, Pool, PoolBuilder, command::WorkerCommand};
use support::{Mark, counts, misbehaving, shell, wait_until};

fn well_behaved() -> WorkerCommand {
    misbehaving(&["well-behaved"])
}

fn some(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Two of the reference worker, and one that counts.
fn unlike() -> PoolBuilder {
    Pool::builder().workers(some(2), worker()).workers(some(1), well_behaved())
}

/// The executable that a process runs.
fn executable_of(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

#[test]
fn a_task_goes_to_a_worker_that_has_its_function() {
    watched(|| {
        for chunk_size in [Some(1), Some(7), None] {
            let pool = unlike().build().unwrap();
            assert_eq!(pool.processes(), 3);
            // All at once, so that each kind of worker passes by what is not for it.
            let counted = pool.map_async::<_, u64>("count", 0..60, chunk_size).unwrap();
            let sums = pool.map_async::<_, u64>("sum_primes", [10; 60], chunk_size).unwrap();
            let squares = pool.map_async::<_, u64>("square", 0..60, chunk_size).unwrap();
            let expected: Vec<u64> = (1..=60).collect();
            assert_eq!(counted.get().unwrap(), expected, "one worker counts, in order");
            assert_eq!(sums.get().unwrap(), [17; 60]);
            let expected: Vec<u64> = (0..60).map(|n| n * n).collect();
            assert_eq!(squares.get().unwrap(), expected);
        }
    });
}

#[test]
fn results_come_in_order_from_unlike_workers() {
    watched(|| {
        let pool = unlike().build().unwrap();
        // The first to be sent are the last to be done.
        let items: Vec<_> = (0..12).map(|n| (0.2 / f64::from(1 + n), n)).collect();
        let results: Vec<i32> = pool.starmap_async("sleep", items, Some(1)).unwrap().get().unwrap();
        assert_eq!(results, (0..12).collect::<Vec<_>>());
    });
}

/// What waits for one kind is no reason for the other to wait.
#[test]
fn a_busy_kind_does_not_hold_up_another() {
    watched(|| {
        let mark = Mark::new();
        let pool = Pool::builder().workers(some(1), worker()).workers(some(1), well_behaved());
        let pool = pool.build().unwrap();
        let go = mark.file("go");
        let wait = "until [ -e \"$1\" ]; do sleep 0.01; done";
        let blocked: Vec<_> = (0..50)
            .map(|_| pool.apply_async::<Encoded>("exec", shell(wait, &[&go])).unwrap())
            .collect();
        let counted: Vec<u64> = pool.map_chunked("count", 0..50, 1).unwrap();
        assert_eq!(counted.len(), 50);
        assert!(blocked.iter().all(|result| !result.ready()));
        std::fs::write(&go, "").unwrap();
        for result in blocked {
            result.get().unwrap();
        }
    });
}

#[test]
fn a_function_that_no_worker_has() {
    watched(|| {
        let pool = unlike().build().unwrap();
        for _ in 0..2 {
            let error = pool.map::<_, u64>("no_such_function", 0..10).unwrap_err();
            let Error::UnknownFunction { function, available, workers } = &error else {
                panic!("{error}")
            };
            assert_eq!(function, "no_such_function");
            assert!(available.is_sorted(), "{available:?}");
            for name in ["sum_primes", "count", "square"] {
                let times = available.iter().filter(|available| *available == name).count();
                assert_eq!(times, 1, "{name} in {available:?}");
            }
            let commands = [worker(), well_behaved()].map(|command| command.to_string());
            assert_eq!(*workers, commands);
        }
        assert_eq!(pool.apply::<u64>("count", ()).unwrap(), 1, "the pool goes on");
        assert_eq!(pool.apply::<u64>("sum_primes", (10,)).unwrap(), 17);
    });
}

/// The kinds with a count or without, the processes, and how many of each kind there are then.
type Sharing = (&'static [Option<usize>], Option<usize>, [usize; 2]);

#[test]
fn workers_are_counted_and_shared_out() {
    let cases: &[Sharing] = &[
        (&[Some(2), Some(1)], None, [2, 1]),
        (&[Some(1), Some(3)], Some(4), [1, 3]),
        (&[None, Some(2)], Some(5), [3, 2]),
        (&[Some(1), None], Some(2), [1, 1]),
        (&[None, None], Some(5), [3, 2]),
        (&[None, None], Some(2), [1, 1]),
    ];
    watched(|| {
        check_all(cases, |&(kinds, processes, expected)| {
            let mark = Mark::new();
            let pool = mark.on(builder(kinds, processes)).build().unwrap();
            assert_eq!(pool.processes(), (expected[0] + expected[1]) as u64);
            let all = expected[0] + expected[1];
            // With a process each that waits for the others, each worker has one.
            let meet = "touch \"$1/met-$PPID\"; until [ $(ls \"$1\" | grep -c met-) -ge $2 ]; do \
                        sleep 0.01; done; echo $PPID";
            wait_until("all workers live", || mark.alive() == all);
            let directory = mark.file("");
            let meet = shell(meet, &[&directory, &expected[0].to_string()]);
            let met: Vec<_> = (0..expected[0])
                .map(|_| pool.apply_async::<Encoded>("exec", meet.clone()).unwrap())
                .collect();
            for result in met {
                result.get().unwrap();
            }
            assert_eq!(mark.starts(), expected[1]);
            pool.close();
            pool.join().unwrap();
            assert_eq!(mark.alive(), 0);
        });
    });
}

#[test]
fn numbers_that_cannot_be_shared_out_start_nothing() {
    let cases: &[(&[Option<usize>], usize)] = &[
        (&[Some(2), Some(1)], 2),
        (&[Some(2), Some(1)], 4),
        (&[Some(2), None], 2),
        (&[None, None], 1),
        (&[None, Some(1)], 0),
        (&[Some(usize::MAX), Some(usize::MAX)], 2),
    ];
    check_all(cases, |&(kinds, processes)| {
        let mark = Mark::new();
        let error = mark.on(builder(kinds, Some(processes))).build().unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert_eq!((mark.starts(), mark.alive()), (0, 0));
    });
}

/// The reference worker first, then the misbehaving one.
fn builder(kinds: &[Option<usize>], processes: Option<usize>) -> PoolBuilder {
    let mut builder = Pool::builder();
    for (count, command) in kinds.iter().zip([worker(), well_behaved()]) {
        builder = match count {
            Some(count) => builder.workers(some(*count), command),
            None => builder.worker(command),
        };
    }
    match processes {
        Some(processes) => builder.processes(processes),
        None => builder,
    }
}

/// However well the other kind does: half a pool is none.
#[test]
fn a_kind_that_cannot_be_started_fails_the_pool() {
    let cases: &[(&[&str], &str)] = &[
        (&["exits-at-once", "7"], "exited with status 7"),
        (&["future-version"], "version"),
        (&["garbage-hello"], "broke the protocol"),
        (&["initializer-fails"], "initializer"),
        (&["never-connects"], "did not connect"),
    ];
    watched(|| {
        check_all(cases, |&(mode, reason)| {
            let mark = Mark::new();
            let bad = misbehaving(mode);
            let pool = Pool::builder().workers(some(2), worker()).workers(some(1), bad);
            let pool = mark.on(pool).start_timeout(Duration::from_secs(1)).build().unwrap();
            let check = |error: &Error| {
                assert!(matches!(error, Error::PoolFailed(_)), "{error}");
                assert!(error.to_string().contains(reason), "{error}");
            };
            check(&pool.apply::<Encoded>("sleep", (60,)).unwrap_err());
            // Whatever is asked for from then on.
            for function in ["sleep", "square", "count", "no_such_function"] {
                check(&pool.apply::<Encoded>(function, (0,)).unwrap_err());
            }
            pool.join().unwrap();
            assert_eq!(mark.alive(), 0);
            assert!(mark.starts() <= 4, "{} starts", mark.starts());
        });
    });
}

/// The first use fails, though a worker of the other kind could serve it.
#[test]
fn a_kind_that_cannot_be_started_fails_the_first_use() {
    watched(|| {
        let bad = misbehaving(&["exits-at-once", "7"]);
        let pool = Pool::builder().workers(some(2), worker()).workers(some(1), bad);
        let error = pool.build().unwrap().apply::<u64>("square", (2,)).unwrap_err();
        assert!(matches!(error, Error::PoolFailed(_)), "{error}");
    });
}

/// Also one that is at work, and all that wait.
#[test]
fn a_kind_that_cannot_be_started_fails_what_is_under_way() {
    watched(|| {
        let mark = Mark::new();
        let bad = misbehaving(&["exits-at-once", "7"]);
        let pool = mark.on(Pool::builder().workers(some(2), worker()).workers(some(1), bad));
        let pool = pool.build().unwrap();
        let deadline = Deadline::after(Duration::from_secs(20));
        let result = pool.map_async::<_, Encoded>("sleep", [60; 100], Some(1)).unwrap();
        for outcome in result.outcomes() {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::PoolFailed(_)), "{error}");
            assert!(error.to_string().contains("exited with status 7"), "{error}");
        }
        assert!(!deadline.left().is_zero(), "it took too long");
        pool.join().unwrap();
        assert_eq!(mark.alive(), 0);
    });
}

/// A worker is replaced by one of its kind, and a chunk of either kind is split at its limit.
#[test]
fn unlike_workers_are_replaced_by_their_like() {
    watched(|| {
        for chunk_size in [Some(1), Some(5), None] {
            let pool = unlike().max_tasks_per_child(2).build().unwrap();
            let pids = pool.map_async::<_, u32>("pid", 0..20, chunk_size).unwrap();
            let counted = pool.map_async::<_, usize>("count", 0..9, chunk_size).unwrap();
            let sums = pool.map_async::<_, u64>("sum_primes", [10; 9], chunk_size).unwrap();
            assert!(counts(pids.get().unwrap()).values().all(|&count| count <= 2));
            assert_eq!(sums.get().unwrap(), [17; 9]);
            // Of each two tasks of such a worker the first is its first, unless that was `pid`.
            let counted = counted.get().unwrap();
            assert!(counted.iter().all(|count| (1..=2).contains(count)), "{counted:?}");
            let firsts = counted.iter().filter(|&&count| count == 1).count();
            assert!(firsts >= 5, "{counted:?}");
        }
    });
}

#[test]
fn each_worker_of_each_kind_serves() {
    watched(|| {
        let pool = unlike().build().unwrap();
        // Each takes a while, so that nobody takes two before all have one.
        let sleeps = pool.map_async::<_, Encoded>("sleep", [0.2; 3], Some(1)).unwrap();
        sleeps.get().unwrap();
        let mut pids = Vec::new();
        wait_until("all three have served", || {
            pids.extend(pool.map_chunked::<_, u32>("pid", 0..30, 1).unwrap());
            counts(&pids).len() == 3
        });
        let kinds = counts(counts(&pids).into_keys().map(|&pid| executable_of(pid)));
        let Executables { worker, misbehaving_worker, .. } = executables();
        assert_eq!(kinds.get(worker), Some(&2), "{kinds:?}");
        assert_eq!(kinds.get(misbehaving_worker), Some(&1), "{kinds:?}");
    });
}

const KINDS: [&str; 4] = ["--worker", "2*worker", "--worker", "1*misbehaving-worker well-behaved"];

#[test]
fn unlike_workers_on_the_command_line() {
    let cases: &[(&[&str], &str)] = &[
        (&["map", "count", "0", "0", "0", "0"], "1\n2\n3\n4\n"),
        (&["map", "--chunksize", "3", "count", "0", "0", "0", "0"], "1\n2\n3\n4\n"),
        (&["map", "sum_primes", "10", "3"], "17\n2\n"),
        (&["map", "square", "1", "2", "3", "4", "5", "6"], "1\n4\n9\n16\n25\n36\n"),
        (&["starmap", "sleep", "[0.3,1]", "[0.2,2]", "[0,3]", "[0,4]"], "1\n2\n3\n4\n"),
        (&["apply", "sum_primes", "10"], "17\n"),
        (&["apply", "count"], "1\n"),
        (&["apply", "count", "--processes", "3"], "1\n"),
    ];
    check_all(cases, |&(arguments, output)| {
        let finished = master(arguments).args(KINDS).count_starts().run();
        finished.ended(0).printed(output).was_quiet();
        assert_eq!(finished.starts.len(), 1, "of the kind that counts its starts");
    });
}

#[test]
fn what_unlike_workers_cannot_do_on_the_command_line() {
    let missing = master(["map", "no_such_function", "1"]).args(KINDS).run();
    missing.ended(3).printed("");
    for text in ["no_such_function", "sum_primes", "count", "well-behaved"] {
        missing.said(text);
    }
    for processes in ["2", "4"] {
        let uneven = master(["map", "square", "1", "--processes", processes]).args(KINDS);
        uneven.count_starts().run().printed("").said("processes");
    }
    let broken = ["--worker", "worker", "--worker", "misbehaving-worker exits-at-once 7"];
    let failed = master(["map", "sleep", "60", "60", "60"]).args(broken).count_starts().run();
    failed.ended(3).printed("").said("exited with status 7");
    assert!(failed.starts.len() <= 4, "{:?}", failed.starts);
}
