//! The library as a Rust program embeds it: `Pool` over the real executables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    collections::{BTreeMap, HashSet},
    thread,
    time::Duration,
};

use integration_tests::executables;
use integration_tests::library::{command, pool, watched, worker};
use integration_tests::misbehaving::SHARED_OUTPUT_VARIABLE;
use master::{
    Arguments, Cancelled, Encoded, Error, Pool, PoolBuilder, WorkerState, command::WorkerCommand,
};
use rustix::process::{Pid, Signal, kill_process};
use support::wait_until;

fn misbehaving(mode: &str) -> WorkerCommand {
    command(&[executables().misbehaving_worker.to_str().unwrap(), mode])
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn the_tutorial_with_a_pool() {
    watched(|| {
        let pool = pool(5).build().unwrap();
        let squares: Vec<i64> = pool.map("square", 2..=8).unwrap();
        assert_eq!(squares, [4, 9, 16, 25, 36, 49, 64]);
        let pids: Vec<u32> = pool.map_chunked("pid", 0..200, 1).unwrap();
        let pids: HashSet<_> = pids.into_iter().collect();
        assert!((2..=5).contains(&pids.len()), "{pids:?}");
    });
}

#[test]
fn arguments_and_results_are_any_types() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        assert_eq!(pool.apply::<i64>("square", (-3,)).unwrap(), 9);
        assert_eq!(pool.apply::<u64>("square", [4_u8]).unwrap(), 16);
        assert_eq!(pool.apply::<Option<u8>>("sleep", (0,)).unwrap(), None);
        let map = BTreeMap::from([("a".to_owned(), vec![1.5, 2.0]), ("ä".to_owned(), vec![])]);
        assert_eq!(pool.apply::<BTreeMap<String, Vec<f64>>>("echo", (&map,)).unwrap(), map);
        let keywords = Arguments::new((5,)).unwrap().keywords(BTreeMap::from([("seconds", 0)]));
        assert_eq!(pool.apply::<i64>("square", keywords.unwrap()).unwrap(), 25);
        let raw = Arguments::from_encoded(vec![0x91, 0xc4, 1, 7], None).unwrap();
        assert_eq!(pool.apply::<Encoded>("echo", raw).unwrap(), Encoded(vec![0xc4, 1, 7]));
        assert_eq!(pool.starmap::<_, i64>("square", [(2, Some(0.0)), (3, None)]).unwrap(), [4, 9]);
    });
}

#[test]
fn what_cannot_be_encoded_or_decoded_is_an_error_of_that_call() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let error = pool.apply::<Encoded>("echo", 5).unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error}");
        let error = pool.starmap::<_, Encoded>("echo", [5]).unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error}");
        let error = pool.apply::<String>("square", (5,)).unwrap_err();
        assert!(matches!(error, Error::Decode(_)), "{error}");
        let error = Arguments::from_encoded(vec![0x91], None).unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error}");
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
    });
}

#[test]
fn wrong_numbers_are_errors_before_anything_starts() {
    let check = |builder: PoolBuilder, needle: &str| {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert!(error.to_string().contains(needle), "{error}");
    };
    check(pool(0), "processes");
    check(pool(1).max_tasks_per_child(0), "max_tasks_per_child");
    check(pool(1).task_timeout(Duration::ZERO), "timeout");
    check(pool(1).start_timeout(Duration::ZERO), "timeout");
    watched(|| {
        let pool = pool(1).build().unwrap();
        let error = pool.map_async::<_, i64>("square", 0..3, Some(0)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        let nothing: [i64; 0] = [];
        let error = pool.map_async::<_, i64>("square", nothing, Some(0)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        let none: [(i64,); 0] = [];
        let error = pool.starmap_async::<_, i64>("square", none, Some(0)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    });
}

#[test]
fn results_that_are_not_there_yet() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let slow = pool.apply_async::<i64>("square", (3, 0.5)).unwrap();
        assert!(!slow.ready());
        assert!(matches!(slow.successful(), Err(Error::NotReady(_))));
        assert!(!slow.wait_timeout(Duration::from_millis(10)));
        let error = slow.get_timeout(Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, Error::NotReady(_)), "{error}");
        assert_eq!(slow.get().unwrap(), 9);
        assert_eq!(slow.get().unwrap(), 9, "asked for again");
        assert!(slow.ready() && slow.successful().unwrap());

        let empty = pool.map_async::<i64, i64>("no_such_function", [], None).unwrap();
        assert!(empty.ready());
        assert!(empty.get().unwrap().is_empty());
    });
}

#[test]
fn a_failing_item_fails_the_map_after_all_have_ended() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let values = ["1", "x", "2", "y"].map(|text| match text.parse::<i64>() {
            Ok(number) => serde_json::json!(number),
            Err(_) => serde_json::json!(text),
        });
        for chunk_size in [Some(1), Some(4), None] {
            let result = pool.map_async::<_, i64>("square", &values, chunk_size).unwrap();
            let error = result.get().unwrap_err();
            assert!(error.to_string().contains("\"x\""), "the first error counts: {error}");
            assert!(!result.successful().unwrap());
            let outcomes = result.outcomes();
            let good: Vec<_> =
                outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
            assert_eq!(good, [&1, &4]);
            assert_eq!(outcomes.len(), 4);
        }
    });
}

#[test]
fn an_unknown_function_is_named_with_those_there_are() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let error = pool.map::<_, i64>("no_such_function", 0..10).unwrap_err();
        let Error::UnknownFunction { function, available, .. } = &error else { panic!("{error}") };
        assert_eq!(function, "no_such_function");
        assert!(available.contains(&"square".to_owned()), "{available:?}");
        assert_eq!(pool.apply::<i64>("square", (2,)).unwrap(), 4);
    });
}

#[test]
fn a_closed_pool_finishes_and_takes_no_more() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let error = pool.join().unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        let pending = pool.map_async::<_, i64>("square", 0..100, Some(1)).unwrap();
        pool.close();
        pool.close();
        let error = pool.apply::<i64>("square", (1,)).unwrap_err();
        assert!(matches!(error, Error::NotRunning), "{error}");
        pool.join().unwrap();
        pool.join().unwrap();
        assert_eq!(pending.get().unwrap().len(), 100);
    });
}

#[test]
fn terminating_answers_everyone_at_once() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let pending = pool.map_async::<_, Encoded>("sleep", vec![60; 10_000], Some(1)).unwrap();
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| pending.get())).collect();
            pool.terminate();
            pool.terminate();
            for waiter in waiters {
                let error = waiter.join().unwrap().unwrap_err();
                assert!(matches!(error, Error::Cancelled(Cancelled::Terminated)), "{error}");
            }
        });
        pool.join().unwrap();
        let error = pool.apply::<i64>("square", (1,)).unwrap_err();
        assert!(matches!(error, Error::NotRunning), "{error}");
    });
}

#[test]
fn a_dropped_pool_leaves_no_process_and_no_one_waiting() {
    watched(|| {
        let (pids, pending) = {
            let pool = pool(2).build().unwrap();
            let pids: HashSet<u32> =
                pool.map_chunked("pid", 0..100, 1).unwrap().into_iter().collect();
            (pids, pool.apply_async::<Encoded>("sleep", (60,)).unwrap())
        };
        assert!(matches!(pending.get(), Err(Error::Cancelled(Cancelled::Terminated))));
        assert!(pids.iter().all(|&pid| !is_alive(pid)), "{pids:?}");

        let panicked = thread::spawn(|| {
            let pool = pool(1).build().unwrap();
            let _pending = pool.apply_async::<Encoded>("sleep", (60,)).unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
    });
}

#[test]
fn many_threads_share_a_pool() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..8_i64 {
                let pool = &pool;
                scope.spawn(move || {
                    for number in 0..50 {
                        let value = thread * 1000 + number;
                        assert_eq!(pool.apply::<i64>("square", (value,)).unwrap(), value * value);
                    }
                    let squares: Vec<i64> = pool.map("square", 0..thread).unwrap();
                    assert_eq!(squares.len() as i64, thread);
                });
            }
        });
    });
}

#[test]
fn workers_killed_while_idle_are_replaced() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        for _ in 0..10 {
            let pids: HashSet<u32> =
                pool.map_chunked("pid", 0..50, 1).unwrap().into_iter().collect();
            for &pid in &pids {
                kill(pid);
            }
            // Without a pause: the pool may not have seen the deaths yet.
            assert_eq!(pool.apply::<i64>("square", (7,)).unwrap(), 49);
        }
    });
}

/// More than may fail to start: that they were ready is held in their favour.
#[test]
fn workers_killed_before_their_first_task_are_replaced() {
    watched(|| {
        let pool = pool(6).build().unwrap();
        for _ in 0..3 {
            let idle = |pids: &mut Vec<u32>| {
                let workers = pool.status().unwrap().workers;
                let idle = workers.iter().filter(|worker| worker.state == WorkerState::Idle);
                *pids = idle.map(|worker| worker.pid).collect();
                pids.len() == 6
            };
            let mut pids = Vec::new();
            wait_until("all workers are ready", || idle(&mut pids));
            pids.into_iter().for_each(kill);
            assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
        }
    });
}

#[test]
fn a_death_costs_one_task() {
    watched(|| {
        let cases = [(Some(1), "off"), (Some(7), "off"), (Some(7), "on"), (None, "on")];
        for (chunk_size, keeps) in cases {
            let builder = Pool::builder().worker(misbehaving("well-behaved")).processes(2);
            let pool = builder.environment(SHARED_OUTPUT_VARIABLE, keeps).build().unwrap();
            let result = pool.map_async::<_, Encoded>("crash_if_odd", 0..40, chunk_size).unwrap();
            let outcomes = result.outcomes();
            for (number, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(_) => assert_eq!(number % 2, 0, "{number}"),
                    Err(Error::Lost(report)) => {
                        assert_eq!(number % 2, 1, "{number}: {report}");
                        assert!(report.pid.is_some() && report.exit.is_some(), "{report:?}");
                        assert_eq!(report.running.as_ref().unwrap().0, "crash_if_odd");
                    }
                    Err(error) => panic!("{number}: {error}"),
                }
            }
        }
    });
}

#[test]
fn two_hundred_deaths_and_twenty_good_tasks() {
    let check = |chunk_size: Option<usize>| {
        let starts = tempfile::NamedTempFile::new().unwrap();
        let builder = Pool::builder().worker(misbehaving("well-behaved")).processes(2);
        let builder = builder.environment("STARTS_FILE", starts.path().to_str().unwrap());
        let pool = builder.build().unwrap();
        let numbers = (0..200).map(|number| 2 * number + 1).chain((0..20).map(|number| number * 2));
        let result = pool.map_async::<_, Encoded>("crash_if_odd", numbers, chunk_size).unwrap();
        let outcomes = result.outcomes();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Lost(_)))).count();
        let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!((lost, good), (200, 20));
        pool.close();
        pool.join().unwrap();
        let starts = std::fs::read_to_string(starts.path()).unwrap().lines().count();
        assert!(starts <= 202, "{starts} starts");
    };
    watched(move || {
        check(Some(1));
        check(None);
    });
}

#[test]
fn a_limit_of_tasks_is_exact() {
    watched(|| {
        for chunk_size in [Some(1), Some(10), None] {
            let pool = pool(1).max_tasks_per_child(3).build().unwrap();
            let pids = pool.map_async::<_, u32>("pid", 0..10, chunk_size).unwrap().get().unwrap();
            let mut counts = BTreeMap::new();
            for pid in pids {
                *counts.entry(pid).or_insert(0) += 1;
            }
            let mut counts: Vec<_> = counts.into_values().collect();
            counts.sort_unstable();
            assert_eq!(counts, [1, 3, 3, 3], "{chunk_size:?}");
        }
    });
}

#[test]
fn a_task_over_its_time_is_stopped_and_the_others_go_on() {
    watched(|| {
        let pool = pool(1).task_timeout(Duration::from_millis(300)).build().unwrap();
        let seconds = [0.0, 60.0, 0.0, 60.0, 0.0];
        for chunk_size in [Some(1), Some(5)] {
            let result = pool.map_async::<_, Encoded>("sleep", seconds, chunk_size).unwrap();
            for (time, outcome) in seconds.iter().zip(result.outcomes()) {
                match outcome {
                    Ok(_) => assert!(*time < 1.0),
                    Err(Error::TimedOut(report)) => {
                        assert!(*time > 1.0);
                        let (function, after) = report.running.as_ref().unwrap();
                        assert_eq!(function, "sleep");
                        assert!(*after >= Duration::from_millis(300), "{after:?}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
}

#[test]
fn large_payloads_go_both_ways_at_once() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let payload = vec![7_u64; 2 << 20];
        let results: Vec<Vec<u64>> = pool.map_chunked("echo", [&payload; 4], 1).unwrap();
        assert!(results.iter().all(|result| *result == payload));
    });
}

#[test]
fn a_pool_that_cannot_work_says_so_to_everyone() {
    let check = |mode: &str, needle: &str| {
        let builder = Pool::builder()
            .worker(misbehaving(mode))
            .processes(2)
            .start_timeout(Duration::from_millis(500));
        let pool = builder.build().unwrap();
        let error = pool.apply::<Encoded>("echo", (1,)).unwrap_err();
        assert!(matches!(error, Error::PoolFailed(_)), "{mode}: {error}");
        assert!(error.to_string().contains(needle), "{mode}: {error}");
        let error = pool.apply::<Encoded>("echo", (1,)).unwrap_err();
        assert!(matches!(error, Error::PoolFailed(_)), "{mode}, later: {error}");
        pool.join().unwrap();
    };
    watched(move || {
        check("never-connects", "did not connect");
        check("connects-and-stays-silent", "no hello");
        check("wrong-token", "token");
        check("future-version", "version");
        check("garbage-hello", "broke the protocol");
        check("initializer-fails", "initializer");
    });
}

/// A pool that is over before it has heard of the call, which has the same reason all the same.
#[test]
fn a_command_that_cannot_be_executed_is_told_to_the_first_call() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&executables().worker, &link).unwrap();
        let gone = command(&[link.to_str().unwrap()]);
        std::fs::remove_file(&link).unwrap();
        for _ in 0..100 {
            let pool = Pool::builder().worker(gone.clone()).processes(2).build().unwrap();
            let error = pool.apply::<i64>("square", (3,)).unwrap_err();
            assert!(matches!(error, Error::PoolFailed(_)), "{error}");
            assert!(error.to_string().contains("could not be started (No such file"), "{error}");
        }
    });
}

#[test]
fn an_initializer_runs_in_each_worker() {
    watched(|| {
        let fine = pool(1).initializer("square", Arguments::new((3,)).unwrap()).build().unwrap();
        assert_eq!(fine.apply::<i64>("square", (2,)).unwrap(), 4);
        let broken =
            pool(2).initializer("fail", Arguments::new(("no model",)).unwrap()).build().unwrap();
        let error = broken.apply::<i64>("square", (2,)).unwrap_err();
        assert!(matches!(error, Error::PoolFailed(_)), "{error}");
        assert!(error.to_string().contains("no model"), "{error}");
    });
}

#[test]
fn fifty_pools_leave_no_descriptor_and_no_thread() {
    watched(|| {
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let round = || {
            let pool = pool(2).build().unwrap();
            assert_eq!(pool.map::<_, i64>("square", 0..10).unwrap().len(), 10);
        };
        round();
        // Other tests of this process come and go meanwhile, so only growth by the number of
        // pools would be a leak.
        let before = (count("fd"), count("task"));
        for _ in 0..50 {
            round();
        }
        let after = (count("fd"), count("task"));
        assert!(after.0 < before.0 + 50, "descriptors: {before:?} to {after:?}");
        assert!(after.1 < before.1 + 50, "threads: {before:?} to {after:?}");
    });
}

#[test]
fn workers_find_what_the_builder_puts_around_them() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let shell = |pool: &Pool, script: &str| -> String {
            let output: BTreeMap<String, serde_json::Value> =
                pool.apply("exec", ("/bin/sh", ["-c", script])).unwrap();
            output["stdout"].as_str().unwrap().trim().to_owned()
        };
        let changed = pool(1)
            .environment("GREETING", "good day")
            .remove_environment("HOME")
            .directory(directory.path())
            .build()
            .unwrap();
        assert_eq!(shell(&changed, "echo $GREETING-$HOME-"), "good day--");
        assert_eq!(
            shell(&changed, "pwd -P"),
            directory.path().canonicalize().unwrap().display().to_string()
        );
        let cleared = pool(1).clear_environment().environment("ONE", "1").build().unwrap();
        assert_eq!(shell(&cleared, "env | grep -v -e ^PWD= -e ^SHLVL= -e ^_="), "ONE=1");
    });
}

#[test]
fn empty_input_needs_no_worker() {
    watched(|| {
        let pool = Pool::builder().worker(misbehaving("never-connects")).processes(1);
        let pool = pool.build().unwrap();
        let nothing: [i64; 0] = [];
        assert!(pool.map::<_, i64>("square", nothing).unwrap().is_empty());
        assert!(pool.starmap::<_, i64>("square", [(0, 0); 0]).unwrap().is_empty());
        assert_eq!(pool.imap::<_, i64>("square", nothing).unwrap().count(), 0);
    });
}

#[test]
fn a_kind_that_cannot_be_executed_fails_the_first_use_and_leaves_none() {
    watched(|| {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("worker-gone");
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let one = std::num::NonZeroUsize::MIN;
        let pool = Pool::builder()
            .workers(one, worker())
            .workers(one, command(&[script.to_str().unwrap()]))
            .build()
            .unwrap();
        let error = pool.apply::<i64>("square", (2,)).unwrap_err();
        assert!(matches!(error, Error::PoolFailed(_)), "{error}");
        assert!(error.to_string().contains("worker-gone"), "{error}");
        pool.join().unwrap();
    });
}

#[test]
fn everyone_who_waits_is_answered_when_the_pool_is_terminated() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let map = pool.map_async::<_, Encoded>("sleep", vec![600; 10_000], Some(1)).unwrap();
        let apply = pool.apply_async::<Encoded>("sleep", (600,)).unwrap();
        let mut lazy = pool.imap::<_, Encoded>("sleep", vec![600; 10]).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| map.wait());
            scope.spawn(|| apply.wait());
            scope.spawn(|| assert!(map.get().is_err()));
            scope.spawn(|| assert!(lazy.next().unwrap().is_err()));
            let joiners: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        pool.terminate();
                        pool.join().unwrap();
                    })
                })
                .collect();
            joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
        });
    });
}
