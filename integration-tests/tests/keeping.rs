//! Answers that a worker only keeps: they are there whatever becomes of it, and soon.

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
    Deadline,
    library::{pool, watched},
    master,
    misbehaving::SHARED_OUTPUT_VARIABLE,
};
use master::{Cancelled, Encoded, Error, ImapOptions, Pool};
use rustix::process::{Pid, Signal, kill_process};
use support::{Executed, Mark, counts, kill, wait_until, wait_until_idle};

/// Longer than any test may take.
const ENDLESS: f64 = 600.0;

/// Soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// Whether workers keep answers.
const WAYS: [&str; 2] = ["on", "off"];

/// A worker that dies in an item has done those before it, the last of which it has only kept. How
/// many are kept depends on how many there are.
#[test]
fn a_death_costs_the_item_in_hand_and_nothing_runs_twice() {
    // Tells that it runs, and kills its worker if it is told to.
    const SCRIPT: &str = "echo $1 >> \"$2\"; [ $1 != $3 ] || { kill -9 $PPID; sleep 60; }; echo $1";
    const ITEMS: usize = 12;
    watched(|| {
        for keeps in WAYS {
            for deadly in [0, 1, 2, 5, 6, 11] {
                let mark = Mark::new();
                let builder = pool(2).environment(SHARED_OUTPUT_VARIABLE, keeps);
                let pool = builder.build().unwrap();
                let runs = mark.file("runs");
                let (runs, deadly_item) = (runs.as_str(), deadly.to_string());
                let items: Vec<String> = (0..ITEMS).map(|item| item.to_string()).collect();
                let words = |item| ("sh", ["-c", SCRIPT, "sh", item, runs, deadly_item.as_str()]);
                let tasks = items.iter().map(|item| words(item.as_str()));
                let result = pool.starmap_async::<_, Executed>("exec", tasks, Some(ITEMS));
                for (item, outcome) in result.unwrap().outcomes().into_iter().enumerate() {
                    match outcome {
                        Ok(done) => assert_eq!(done.printed(), item.to_string()),
                        Err(Error::Lost(report)) if item == deadly => {
                            assert!(report.to_string().contains("SIGKILL"), "{report}");
                        }
                        Err(other) => panic!("{keeps}: {item} of {deadly}: {other}"),
                    }
                }
                let runs = counts(mark.lines("runs"));
                assert_eq!(runs.len(), ITEMS, "{keeps}: {deadly}: {runs:?}");
                assert!(runs.values().all(|&runs| runs == 1), "{keeps}: {deadly}: {runs:?}");
                let counters = pool.status().unwrap().counters;
                assert_eq!((counters.lost, counters.died), (1, 1), "{counters:?}");
            }
        }
    });
}

/// Somebody else kills it, at whatever moment, while it sits in a long item behind quick ones.
#[test]
fn a_worker_that_is_killed_behind_quick_items_costs_one() {
    const QUICK: u64 = 50;
    watched(|| {
        for round in 0..20 {
            let keeps = WAYS[round % 2];
            let pool = pool(2).environment(SHARED_OUTPUT_VARIABLE, keeps).build().unwrap();
            wait_until_idle(&pool, 2);
            let task = |n: u64| (if n == QUICK { ENDLESS } else { 0.0 }, n);
            let tasks = (0..QUICK + 10).map(task);
            let result = pool.starmap_async::<_, u64>("sleep", tasks, Some(100)).unwrap();
            let busy = || {
                let workers = pool.status().unwrap().workers;
                workers.iter().find(|worker| worker.task.is_some()).map(|worker| worker.pid)
            };
            wait_until("it is sent", || busy().is_some());
            Deadline::after(SOON).pause(Duration::from_micros(300 * round as u64));
            kill(busy().unwrap());
            // Unless it was in the long one, that is still to come.
            let long = || pool.status().unwrap().counters.lost == 1 && busy().is_some();
            wait_until("one is lost, and the rest is done", || {
                result.ready() || long() && pool.status().unwrap().counters.completed == QUICK + 8
            });
            if let Some(pid) = busy() {
                kill(pid);
            }
            let outcomes = result.outcomes();
            let mut lost = Vec::new();
            for (n, outcome) in (0..).zip(outcomes) {
                match outcome {
                    Ok(value) => assert_eq!(value, n),
                    Err(Error::Lost(_)) => lost.push(n),
                    Err(other) => panic!("{n}: {other}"),
                }
            }
            assert!((1..=2).contains(&lost.len()) && lost.contains(&QUICK), "{lost:?}");
            let counters = pool.status().unwrap().counters;
            assert_eq!(counters.died, lost.len() as u64, "{counters:?}");
        }
    });
}

/// Takes the results of these items of `sleep`, which go to one worker together, as they come; the
/// last of them does not end.
fn take_before_the_end(seconds: &[f64]) {
    let pool = pool(1).build().unwrap();
    wait_until_idle(&pool, 1);
    let tasks: Vec<_> = seconds.iter().copied().chain([ENDLESS]).zip(0_u64..).collect();
    let options = ImapOptions { chunk_size: tasks.len(), spread: true, ..Default::default() };
    let mut results = pool.imap_with::<_, u64>("sleep", tasks, options).unwrap();
    for n in 0..seconds.len() as u64 {
        assert_eq!(results.next_timeout(SOON).unwrap().unwrap(), n, "{seconds:?}");
    }
    pool.terminate();
}

#[test]
fn what_is_kept_comes_out_while_a_long_item_runs() {
    watched(|| {
        take_before_the_end(&[0.0]);
        take_before_the_end(&[0.0; 9]);
        take_before_the_end(&[0.0, 0.05, 0.0, 0.1, 0.0]);
    });
}

/// Nobody hears when it goes on.
#[test]
fn what_is_kept_comes_out_also_behind_one_that_was_long_before() {
    watched(|| {
        take_before_the_end(&[1.5, 0.0]);
        take_before_the_end(&[1.5, 0.0, 0.0]);
    });
}

#[test]
fn a_time_limit_is_that_of_the_item_in_hand() {
    watched(|| {
        let limit = Duration::from_millis(500);
        let pool = pool(1).task_timeout(limit).build().unwrap();
        // Together longer than the limit, with quick ones in between.
        let seconds = [0.0, 0.3, 0.0, 0.3, 0.0, 0.3, 0.0, ENDLESS, 0.0, 0.3];
        let tasks = seconds.into_iter().zip(0_u64..);
        let result = pool.starmap_async::<_, u64>("sleep", tasks, Some(seconds.len())).unwrap();
        for (n, outcome) in result.outcomes().into_iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(value, n as u64),
                Err(Error::TimedOut(report)) if n == 7 => {
                    let (_, ran) = report.running.as_ref().unwrap();
                    assert!(*ran >= limit, "{report}");
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.timed_out, counters.lost), (1, 0), "{counters:?}");
    });
}

/// The first of two calls is answered, and kept, as there is another one to do; and that is not
/// wanted any more.
#[test]
fn what_is_kept_does_not_wait_for_what_nobody_waits_for() {
    watched(|| {
        let pool = pool(1).task_timeout(Duration::from_secs(30)).build().unwrap();
        let pid = Pid::from_raw(i32::try_from(wait_until_idle(&pool, 1)[0]).unwrap()).unwrap();
        // Both are sent together to whoever is quick.
        pool.map::<_, u64>("square", 0..100).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let first = pool.apply_async::<u64>("square", (5,)).unwrap();
        let second = pool.apply_async::<Encoded>("sleep", (ENDLESS,)).unwrap();
        wait_until("both are sent, or one waits", || {
            let status = pool.status().unwrap();
            status.running + status.waiting == 2
        });
        second.cancel();
        assert!(matches!(second.get(), Err(Error::Cancelled(Cancelled::ByCaller))));
        kill_process(pid, Signal::CONT).unwrap();
        assert_eq!(first.get_timeout(SOON).unwrap(), 25);
        assert_eq!(pool.apply::<u64>("square", (6,)).unwrap(), 36);
    });
}

#[test]
fn a_worker_that_cannot_open_the_file_writes_each_answer() {
    // Standard streams and the socket, and no more.
    let limit = ["--limit", "open-files=4", "--processes", "1", "--chunksize", "10"];
    let finished = master(["map"]).args(limit).args(["square", "1", "2", "3"]);
    let finished = finished.env("RUST_LOG", "worker=info").run();
    finished.ended(0).printed("1\n4\n9\n").said("the shared output cannot be used");
}

/// Quick items of many calls, from several threads, through whatever their worker keeps.
#[test]
fn no_answer_is_lost_or_swapped_between_calls() {
    watched(|| {
        for keeps in WAYS {
            let pool: Pool = pool(2).environment(SHARED_OUTPUT_VARIABLE, keeps).build().unwrap();
            std::thread::scope(|scope| {
                for thread in 0..3_u64 {
                    let pool = &pool;
                    scope.spawn(move || {
                        for round in 0..20 {
                            let first = thread * 1_000_000 + round * 1_000;
                            let squares: Vec<u64> = pool.map("square", first..first + 200).unwrap();
                            let expected: Vec<_> = (first..first + 200).map(|n| n * n).collect();
                            assert_eq!(squares, expected);
                            assert_eq!(
                                pool.apply::<u64>("square", (first,)).unwrap(),
                                first * first
                            );
                        }
                    });
                }
            });
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.refused, counters.completed), (0, 3 * 20 * 201), "{counters:?}");
        }
    });
}
