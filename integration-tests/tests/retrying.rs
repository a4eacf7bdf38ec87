//! Tasks that are tried again, and those that are not.

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
    Deadline, Program, check_all, executables,
    library::{command, pool, watched},
    master, master_with,
    misbehaving::SHARED_OUTPUT_VARIABLE,
    write_script,
};
use master::{
    ApplyResult, Arguments, Cancelled, Encoded, Error, EventKind, ImapOptions, Pool, PoolBuilder,
    WorkerReport,
};
use serde_json::{Value, json};
use support::{Executed, Mark, misbehaving, shell, wait_until, wait_until_idle};

/// Notes the worker in the file `$1`, and ends it; the task ends with it.
const KILL: &str = "echo $PPID >> \"$1\"; kill -9 $PPID; sleep 60";

/// As [`KILL`], for the first `$2` times.
const KILL_AT_FIRST: &str = "echo $PPID >> \"$1\"
    [ $(wc -l < \"$1\") -gt $2 ] || { kill -9 $PPID; sleep 60; }
    echo done";

fn lost<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Box<WorkerReport> {
    match outcome {
        Err(Error::Lost(report)) => report,
        other => panic!("it is not lost: {other:?}"),
    }
}

#[test]
fn a_task_that_kills_its_worker_is_tried_again_and_succeeds() {
    watched(|| {
        for kills in [1, 2] {
            let mark = Mark::new();
            let pool = mark.on(pool(1).retries(2)).build().unwrap();
            let task = shell(KILL_AT_FIRST, &[&mark.file("pids"), &kills.to_string()]);
            let done: Executed = pool.apply("exec", task).unwrap();
            assert_eq!(done.printed(), "done");
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.retried, counters.died), (kills, kills), "{counters:?}");
            assert_eq!((counters.completed, counters.lost), (1, 0), "{counters:?}");
            assert_eq!(mark.lines("pids").len() as u64, kills + 1);
        }
    });
}

#[test]
fn every_attempt_is_in_the_error() {
    watched(|| {
        let mark = Mark::new();
        let pool = pool(1).retries(3).quarantine_after(10).retry_backoff(Duration::ZERO);
        let pool = pool.build().unwrap();
        let outcome = pool.apply::<Encoded>("exec", shell(KILL, &[&mark.file("pids")]));
        let text = outcome.as_ref().unwrap_err().to_string();
        let report = lost(outcome);
        assert!(!report.poison);
        let numbers: Vec<_> = report.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let tried = report.attempts.iter().map(|attempt| attempt.pid).chain([report.pid]);
        let tried: Vec<_> = tried.map(|pid| pid.unwrap().to_string()).collect();
        assert_eq!(tried, mark.lines("pids"));
        for attempt in &report.attempts {
            assert_eq!(attempt.slot, 0);
            let said = ["lost: worker 0", "SIGKILL", "while it ran `exec`"];
            assert!(said.iter().all(|said| attempt.error.contains(said)), "{attempt:?}");
            assert!(text.contains(&attempt.to_string()), "{text}");
        }
        assert_eq!(pool.apply::<i64>("square", (5,)).unwrap(), 25);
    });
}

/// A run in which a task kills its worker so many times.
fn run_killing(kills: usize, options: &[&str]) -> Program {
    let item = json!(["sh", ["-c", KILL_AT_FIRST, "sh", "pids", kills.to_string()]]).to_string();
    let program = master(["starmap", "--processes", "1", "--retry-backoff", "1ms"]).args(options);
    program.args(["exec", &item])
}

#[test]
fn the_command_line_tries_again_as_told() {
    let result = "{\"status\":0,\"signal\":null,\"stdout\":\"done\\n\",\"stderr\":\"\"}\n";
    run_killing(1, &["--retries", "1"]).run().ended(0).printed(result).was_quiet();
    run_killing(2, &["--retries", "2"]).run().ended(0).printed(result).was_quiet();
    let finished = run_killing(2, &["--retries", "1"]).run();
    finished.ended(1).printed("").said("input 1: lost: worker 0").said("\n    attempt 1: lost: ");
    assert!(!finished.stderr.contains("attempt 2"), "{}", finished.describe());
    let finished = run_killing(9, &["--retries", "9", "--quarantine-after", "2"]).run();
    finished.ended(1).printed("").said("poison").said("attempt 1: lost");
    assert!(!finished.stderr.contains("attempt 2"), "{}", finished.describe());
    // Nothing is tried again unless that was asked for.
    let finished = run_killing(1, &[]).run();
    finished.ended(1).printed("").said("lost");
    assert!(!finished.stderr.contains("attempt"), "{}", finished.describe());
}

#[test]
fn results_stay_in_order_while_tasks_are_tried_again() {
    let killing = |number: usize| {
        let script = "mkdir $1 2> /dev/null && kill -9 $PPID && sleep 60; echo $1";
        json!(["sh", ["-c", script, "sh", number.to_string()]]).to_string()
    };
    check_all(&[("1", "on"), ("5", "on"), ("5", "off")], |&(chunksize, keeps)| {
        let finished = master(["starmap", "--processes", "2", "--chunksize", chunksize])
            .args(["--retries", "1", "--retry-backoff", "50ms", "exec"])
            .env(SHARED_OUTPUT_VARIABLE, keeps)
            .args((1..=12).map(killing))
            .run();
        let line = |number| {
            format!("{{\"status\":0,\"signal\":null,\"stdout\":\"{number}\\n\",\"stderr\":\"\"}}\n")
        };
        let expected: String = (1..=12).map(line).collect();
        finished.ended(0).printed(&expected).was_quiet();
    });
}

#[test]
fn a_call_that_times_out_is_tried_again() {
    let arguments = ["--processes", "1", "--timeout", "300ms", "--grace", "300ms"];
    let finished = master_with("hang-in-call-ignoring-sigterm", "map", arguments)
        .args(["--retries", "2", "--retry-backoff", "1ms", "echo", "1", "bad", "3"])
        .count_starts()
        .run();
    finished.ended(1).printed("1\n3\n").said("input 2: timed out");
    finished.said("attempt 1: timed out").said("attempt 2: timed out");
    assert!((3..=4).contains(&finished.starts.len()), "{:?}", finished.starts);
}

/// The task holds a lock for as long as it lives, and neither it nor its worker minds SIGTERM.
#[test]
fn a_task_that_timed_out_is_not_tried_again_before_it_is_over() {
    const ATTEMPTS: usize = 3;
    watched(|| {
        let mark = Mark::new();
        let deaf = mark.file("deaf");
        let worker = executables().worker.display();
        write_script(deaf.as_ref(), &format!("trap '' TERM; exec {worker} \"$@\""));
        // At the time limit it would begin again well before the first one is killed.
        let pool = Pool::builder().worker(command(&[&deaf])).processes(2).retries(2);
        let pool = pool.retry_backoff(Duration::from_millis(100)).grace(Duration::from_secs(1));
        let pool = mark.on(pool.task_timeout(Duration::from_millis(400))).build().unwrap();
        let script = "exec 9> \"$1/lock\"
            flock -n 9 && echo alone >> \"$1/attempts\" || echo together >> \"$1/attempts\"
            sleep 60";
        let outcome = pool.apply::<Encoded>("exec", shell(script, &[mark.path()]));
        let Err(Error::TimedOut(report)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(report.attempts.len(), ATTEMPTS - 1, "{report}");
        assert_eq!(mark.lines("attempts"), ["alone"; ATTEMPTS]);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.timed_out, counters.retried), (1, 2), "{counters:?}");
        drop(pool);
        assert!(mark.remaining().is_empty());
    });
}

#[test]
fn a_task_that_fails_is_tried_again_only_if_told_to() {
    watched(|| {
        let missing = |mark: &Mark| Arguments::new((mark.file("words"),)).unwrap();
        let quickly = |builder: PoolBuilder| builder.retry_backoff(Duration::from_millis(10));
        let mark = Mark::new();
        let reluctant = quickly(pool(1).retries(5)).build().unwrap();
        let outcome = reluctant.apply::<u64>("count_words", missing(&mark));
        let Err(Error::Failed(failure)) = outcome else { panic!("{outcome:?}") };
        assert!(failure.attempts.is_empty(), "{failure:?}");
        assert_eq!(reluctant.status().unwrap().counters.retried, 0);

        let pool = quickly(pool(1).retries(2).retry_failed(true)).build().unwrap();
        let outcome = pool.apply::<u64>("count_words", missing(&mark));
        let Err(Error::Failed(failure)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.attempts.len(), 2, "{failure:?}");
        assert!(failure.attempts[1].error.contains("NotFound"), "{failure:?}");
        // It is no death: the worker goes on, and nothing is poison.
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.started, counters.failed, counters.retried), (1, 1, 2));
    });
}

#[test]
fn a_task_that_fails_at_first_succeeds_when_it_is_tried_again() {
    watched(|| {
        let mark = Mark::new();
        let (builder, mut events) = pool(1).retries(10).retry_failed(true).events();
        let pool = builder.retry_backoff(Duration::from_millis(50)).build().unwrap();
        let words = pool.apply_async::<u64>("count_words", (mark.file("words"),)).unwrap();
        let retried = |event: &master::PoolEvent| matches!(event.kind, EventKind::Retried { .. });
        assert!(events.any(|event| retried(&event)));
        std::fs::write(mark.file("new"), "two words").unwrap();
        std::fs::rename(mark.file("new"), mark.file("words")).unwrap();
        assert_eq!(words.get().unwrap(), 2);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.failed, counters.completed), (0, 1), "{counters:?}");
    });
}

#[test]
fn poison_is_not_tried_again_whatever_retries_are_left_and_harms_nobody_else() {
    let cases = [None, Some(1), Some(2), Some(5)].into_iter().flat_map(|limit| {
        let ways = [(Some(1), "off"), (Some(5), "off"), (Some(5), "on"), (None, "on")];
        ways.map(|(chunk_size, keeps)| (limit, chunk_size, keeps))
    });
    let cases: Vec<(Option<u32>, Option<usize>, &str)> = cases.collect();
    watched(move || {
        check_all(&cases, |&(limit, chunk_size, keeps)| {
            let mark = Mark::new();
            let builder = Pool::builder().worker(misbehaving(&["crash-in-call"])).processes(2);
            let builder = builder.retries(100).retry_backoff(Duration::from_millis(1));
            let builder = builder.environment(SHARED_OUTPUT_VARIABLE, keeps);
            let builder = match limit {
                Some(limit) => builder.quarantine_after(limit),
                None => builder,
            };
            let pool = mark.on(builder).build().unwrap();
            let item = |n| if n == 7 { json!("bad") } else { json!(n) };
            let items: Vec<Value> = (0..20).map(item).collect();
            let outcomes = pool.map_async::<_, u64>("echo", items, chunk_size).unwrap().outcomes();
            let limit = limit.unwrap_or(3);
            for (n, outcome) in outcomes.into_iter().enumerate() {
                if n == 7 {
                    let report = lost(outcome);
                    assert!(report.poison, "{report}");
                    assert_eq!(report.attempts.len() + 1, limit as usize, "{report}");
                } else {
                    assert_eq!(outcome.unwrap(), n as u64);
                }
            }
            let idle = wait_until_idle(&pool, 2);
            let counters = pool.status().unwrap().counters;
            let limit = u64::from(limit);
            assert_eq!((counters.died, counters.retried), (limit, limit - 1), "{counters:?}");
            assert_eq!((counters.completed, counters.lost), (19, 1), "{counters:?}");
            assert_eq!(mark.starts() as u64, limit + 2);
            assert_eq!(pool.apply::<u64>("echo", (8,)).unwrap(), 8);
            assert_eq!(support::pids(&pool), idle);
        });
    });
}

/// With no budget at all a single failed start would be the end.
#[test]
fn fifty_poison_tasks_cost_nothing_of_the_budget_of_starts() {
    watched(|| {
        let mark = Mark::new();
        let builder = Pool::builder().worker(misbehaving(&["crash-in-call"])).processes(2);
        let builder = builder.retries(9).retry_backoff(Duration::ZERO).restart_intensity(0);
        let pool = mark.on(builder).build().unwrap();
        assert_eq!(pool.apply::<u64>("echo", (1,)).unwrap(), 1);
        let outcomes = pool.map_async::<_, Encoded>("echo", ["bad"; 50], Some(1)).unwrap();
        for outcome in outcomes.outcomes() {
            assert!(lost(outcome).poison);
        }
        assert_eq!(pool.map::<_, u64>("square", 0..10).unwrap().len(), 10);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.died, counters.lost, counters.retried), (150, 50, 100));
        assert!(mark.starts() <= 152, "{} starts", mark.starts());
    });
}

#[test]
fn each_wait_is_twice_as_long_as_the_one_before() {
    const BACKOFF: Duration = Duration::from_millis(100);
    watched(|| {
        let (builder, events) = pool(1).retries(3).retry_failed(true).events();
        let pool = builder.retry_backoff(BACKOFF).build().unwrap();
        let deadline = Deadline::after(BACKOFF * 7);
        assert!(matches!(pool.apply::<()>("fail", ("again",)), Err(Error::Failed(_))));
        assert!(deadline.left().is_zero(), "it was tried again too soon");
        pool.close();
        pool.join().unwrap();
        let retried = events.filter(|event| event.kind.name() == "retried");
        let times: Vec<_> = retried.map(|event| event.at).collect();
        assert_eq!(times.len(), 3);
        assert!(times[1] - times[0] >= BACKOFF, "{times:?}");
        assert!(times[2] - times[1] >= BACKOFF * 2, "{times:?}");
    });
}

/// A pool with a task that waits to be tried again, which succeeds then.
fn waiting_to_be_tried_again(mark: &Mark, backoff: Duration) -> (Pool, ApplyResult<Executed>) {
    let pool = mark.on(pool(1).retries(1).retry_backoff(backoff)).build().unwrap();
    let task = shell(KILL_AT_FIRST, &[&mark.file("pids"), "1"]);
    let result = pool.apply_async::<Executed>("exec", task).unwrap();
    wait_until("it waits", || pool.status().unwrap().counters.retried == 1);
    let status = pool.status().unwrap();
    assert_eq!((status.waiting, status.running), (1, 0), "{status:?}");
    (pool, result)
}

const FOR_EVER: Duration = Duration::from_secs(600);

#[test]
fn a_task_that_waits_to_be_tried_again_can_be_cancelled() {
    watched(|| {
        let mark = Mark::new();
        let (pool, result) = waiting_to_be_tried_again(&mark, FOR_EVER);
        result.cancel();
        assert!(matches!(result.get(), Err(Error::Cancelled(Cancelled::ByCaller))));
        let status = pool.status().unwrap();
        assert_eq!((status.waiting, status.counters.cancelled), (0, 1), "{status:?}");
        // Others do not wait for it, nor does the end.
        assert_eq!(pool.apply::<u64>("square", (3,)).unwrap(), 9);
        pool.close();
        pool.join().unwrap();
        assert_eq!(mark.lines("pids").len(), 1);
    });
}

#[test]
fn a_pool_that_is_ended_does_not_wait_to_try_again() {
    type End = fn(&Pool);
    let ends: [(&str, End, Cancelled); 3] = [
        ("terminate", Pool::terminate, Cancelled::Terminated),
        ("kill", Pool::kill, Cancelled::Terminated),
        ("interrupt", Pool::interrupt, Cancelled::Interrupted),
    ];
    watched(move || {
        for (name, end, expected) in ends {
            let mark = Mark::new();
            let (pool, result) = waiting_to_be_tried_again(&mark, FOR_EVER);
            end(&pool);
            pool.join().unwrap();
            let outcome = result.get();
            let Err(Error::Cancelled(reason)) = outcome else { panic!("{name}: {outcome:?}") };
            assert_eq!(reason, expected, "{name}");
        }
    });
}

#[test]
fn a_pool_that_is_closed_finishes_what_waits_to_be_tried_again() {
    watched(|| {
        let mark = Mark::new();
        let (pool, result) = waiting_to_be_tried_again(&mark, Duration::from_millis(300));
        pool.close();
        pool.join().unwrap();
        assert!(result.ready());
        assert_eq!(result.get().unwrap().printed(), "done");
        assert_eq!(mark.lines("pids").len(), 2);
    });
}

#[test]
fn a_task_is_never_tried_more_often_than_it_may() {
    watched(|| {
        for processes in [1, 3] {
            let mark = Mark::new();
            let pool = pool(processes).retries(12).quarantine_after(100);
            let pool = pool.retry_backoff(Duration::ZERO).build().unwrap();
            let report = lost(pool.apply::<Encoded>("exec", shell(KILL, &[&mark.file("pids")])));
            assert_eq!(mark.lines("pids").len(), 13);
            // The last ten are kept.
            let numbers = report.attempts.iter().map(|attempt| attempt.number);
            assert!(numbers.eq(3..=12), "{report}");
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.retried, counters.died), (12, 13), "{counters:?}");
            assert!(counters.started <= 13 + processes as u64, "{counters:?}");
        }
    });
}

#[test]
fn a_lazy_map_tries_again_too() {
    watched(|| {
        let mark = Mark::new();
        let pool = pool(2).retries(1).retry_backoff(Duration::from_millis(20)).build().unwrap();
        let path = mark.path().to_owned();
        let script = "mkdir $1/$2 2> /dev/null && kill -9 $PPID && sleep 60; echo $2";
        let task = move |n: u32| {
            let number = n.to_string();
            ("sh", ["-c", script, "sh", &path, &number].map(String::from))
        };
        let options = ImapOptions { spread: true, chunk_size: 3, ..ImapOptions::default() };
        let results = pool.imap_with::<_, Executed>("exec", (0..10).map(task), options).unwrap();
        let printed = results.map(|result| result.unwrap().printed());
        assert!(printed.eq((0..10).map(|n| n.to_string())));
        assert_eq!(pool.status().unwrap().counters.retried, 10);
    });
}
