//! A pool that is changed while it runs: more workers, fewer workers, other workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    collections::BTreeMap, num::NonZeroUsize, os::unix::fs::PermissionsExt as _, thread,
    time::Duration,
};

use integration_tests::{
    check_all,
    library::{command, pool, watched, worker},
    write_script,
};
use master::{
    Arguments, Encoded, Error, MAX_PROCESSES, Pool, PoolBuilder, PoolStatus, command::WorkerCommand,
};
use support::{Mark, Until, misbehaving, pids, serving, under_load, wait_until, wait_until_idle};

/// Somebody serves, and no more live than may.
fn somebody_serves(processes: usize) -> impl Fn(&PoolStatus) + Sync {
    move |status| {
        assert!(serving(status) >= 1, "{status:?}");
        assert!(status.workers.len() <= processes + 1, "{status:?}");
    }
}

#[test]
fn all_workers_are_replaced_under_load_and_no_call_waits_or_is_lost() {
    watched(|| {
        for processes in [1, 2, 4] {
            let pool = pool(processes).build().unwrap();
            let mut before = wait_until_idle(&pool, processes);
            under_load(&pool, somebody_serves(processes), || {
                for command in [worker(), misbehaving(&["well-behaved"]), worker()] {
                    pool.replace(command).unwrap();
                    let now = pool.status().unwrap();
                    let kept = |worker: &&master::WorkerStatus| before.contains(&worker.pid);
                    // The last one may still have something to finish.
                    let kept: Vec<_> = now.workers.iter().filter(kept).collect();
                    let served = now.workers.iter().filter(|worker| !before.contains(&worker.pid));
                    assert!(kept.len() <= 1, "{now:?}");
                    before = served.map(|worker| worker.pid).collect();
                    assert_eq!(before.len(), processes, "{now:?}");
                }
            });
            wait_until_idle(&pool, processes);
            let counters = pool.status().unwrap().counters;
            assert_eq!(counters.started, 4 * processes as u64, "{counters:?}");
            assert_eq!((counters.died, counters.failed, counters.lost), (0, 0, 0), "{counters:?}");
        }
    });
}

#[test]
fn workers_that_come_and_go_are_replaced_too() {
    watched(|| {
        for processes in [1, 3] {
            let pool = pool(processes).max_tasks_per_child(1).build().unwrap();
            let few = |status: &PoolStatus| {
                assert!(status.workers.len() <= processes + 1, "{status:?}");
            };
            under_load(&pool, few, || {
                let command = misbehaving(&["well-behaved"]);
                let name = command.to_string();
                pool.replace(command).unwrap();
                wait_until("all are new ones", || {
                    let status = pool.status().unwrap();
                    status.workers.iter().all(|worker| worker.command == name)
                });
            });
            let counted: Vec<u64> = pool.map_chunked("count", 0..20, 1).unwrap();
            assert_eq!(counted, [1; 20]);
        }
    });
}

#[test]
fn an_idle_pool_is_replaced_and_has_the_functions_of_its_new_workers() {
    watched(|| {
        for processes in [1, 3] {
            let pool = pool(processes).build().unwrap();
            let before = wait_until_idle(&pool, processes);
            let unknown = pool.apply::<u64>("count", ());
            assert!(matches!(unknown, Err(Error::UnknownFunction { .. })));
            pool.replace(misbehaving(&["well-behaved"])).unwrap();
            let after = wait_until_idle(&pool, processes);
            assert!(after.iter().all(|pid| !before.contains(pid)));
            assert_eq!(pool.apply::<u64>("count", ()).unwrap(), 1);
            let unknown = pool.apply::<u64>("sum_primes", (10,)).unwrap_err();
            assert!(matches!(unknown, Error::UnknownFunction { .. }), "{unknown}");
            assert!(unknown.to_string().contains("misbehaving-worker"), "{unknown}");
            let counters = pool.status().unwrap().counters;
            assert_eq!(counters.started, 2 * processes as u64, "{counters:?}");
        }
    });
}

#[test]
fn a_pool_that_has_just_been_made_can_be_replaced() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let result = pool.map_async::<_, u64>("square", 0..100, Some(1)).unwrap();
        pool.replace(misbehaving(&["well-behaved"])).unwrap();
        assert_eq!(result.get().unwrap(), (0..100).map(|n| n * n).collect::<Vec<u64>>());
        assert_eq!(pool.apply::<u64>("count", ()).unwrap(), 1);
    });
}

/// A command that was there when it was looked up, and is not any more.
fn vanished(mark: &Mark, name: &str) -> WorkerCommand {
    let path = mark.file(name);
    write_script(path.as_ref(), "exit 1");
    let command = command(&[&path]);
    std::fs::remove_file(path).unwrap();
    command
}

/// A command that could be executed when it was looked up, and cannot any more.
fn not_executable(mark: &Mark, name: &str) -> WorkerCommand {
    let path = mark.file(name);
    write_script(path.as_ref(), "exit 1");
    let command = command(&[&path]);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    command
}

/// Tries to replace the workers of a pool, which has no budget for failed starts. Everything
/// stays as it was.
fn check_not_replaced(processes: usize, new: WorkerCommand, text: &str, idle: bool) {
    // Those that can be used apart from that lack the one function.
    let lacking = text.contains("sum_primes");
    let (function, argument, result) =
        if lacking { ("sum_primes", 10, 17) } else { ("square", 10, 100) };
    let name = new.to_string();
    let pool = pool(processes).restart_intensity(0).start_timeout(Duration::from_secs(2));
    let pool = pool.build().unwrap();
    assert_eq!(pool.apply::<u64>(function, (argument,)).unwrap(), result);
    let before = wait_until_idle(&pool, processes);
    let attempt = || match pool.replace(new.clone()) {
        Err(Error::NotReplaced(reason)) => assert!(reason.contains(text), "{name}: {reason}"),
        other => panic!("{name}: {other:?}"),
    };
    if idle {
        attempt();
    } else {
        under_load(&pool, somebody_serves(processes), attempt);
    }
    assert_eq!(wait_until_idle(&pool, processes), before, "{name}");
    assert_eq!(pool.apply::<u64>(function, (argument,)).unwrap(), result);
    let counters = pool.status().unwrap().counters;
    assert_eq!(counters.started, processes as u64 + 1, "{name}: {counters:?}");
    assert_eq!(counters.lost, 0, "{name}: {counters:?}");
    // And by one that works they are replaced all the same.
    pool.replace(worker()).unwrap();
    let after = wait_until_idle(&pool, processes);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{name}");
}

/// Modes of workers that cannot be used, and what is said about them.
const UNUSABLE: &[(&str, &str)] = &[
    ("never-connects", "did not connect within 2.0 s"),
    ("connects-and-stays-silent", "sent no hello"),
    ("silent-after-welcome", "was not ready within 2.0 s"),
    ("exits-at-once", "no wish to work"),
    ("exits-at-once 42", "status 42"),
    ("exits-after-welcome", "not in the mood"),
    ("future-version", "999"),
    ("prints-text", "I am a program like any other"),
    ("wrong-token", "token"),
    ("initializer-fails", "the licence has run out"),
    ("well-behaved", "has no function `sum_primes`, which is in use"),
];

#[test]
fn workers_that_cannot_be_used_replace_nobody() {
    watched(|| {
        for idle in [true, false] {
            check_all(UNUSABLE, |&(mode, text)| {
                let words: Vec<_> = mode.split(' ').collect();
                check_not_replaced(2, misbehaving(&words), text, idle);
            });
        }
        let mark = Mark::new();
        for (processes, idle) in [(1, true), (1, false), (2, false)] {
            let case = format!("{processes}-{idle}");
            check_not_replaced(processes, vanished(&mark, &case), "could not be started", idle);
            let locked = not_executable(&mark, &format!("locked-{case}"));
            check_not_replaced(processes, locked, "could not be started", idle);
        }
    });
}

/// Makes calls from two threads until a replacement has failed, and counts what came of them.
fn outcomes_of_a_failed_replacement(
    builder: PoolBuilder,
    new: WorkerCommand,
    call: impl Fn(&Pool) -> Result<Encoded, Error> + Sync,
) -> (String, BTreeMap<&'static str, usize>) {
    let pool = builder.restart_intensity(0).build().unwrap();
    call(&pool).unwrap();
    let before = wait_until_idle(&pool, 2);
    let done = Until::default();
    let (reason, outcomes) = thread::scope(|scope| {
        let submit = || {
            let mut outcomes = Vec::new();
            while !done.is_set() {
                outcomes.push(match call(&pool) {
                    Ok(_) => "completed",
                    Err(Error::Lost(_)) => "lost",
                    Err(Error::Failed(_)) => "failed",
                    Err(_) => "other",
                });
            }
            outcomes
        };
        let threads = [scope.spawn(submit), scope.spawn(submit), scope.spawn(submit)];
        let guard = done.set_at_end();
        let replaced = pool.replace(new);
        drop(guard);
        let outcomes = threads.map(|thread| thread.join().unwrap());
        let Err(Error::NotReplaced(reason)) = replaced else { panic!("{replaced:?}") };
        (reason, outcomes)
    });
    assert_eq!(wait_until_idle(&pool, 2), before);
    call(&pool).unwrap();
    (reason, support::counts(outcomes.into_iter().flatten()))
}

#[test]
fn a_worker_that_dies_on_trial_costs_the_one_task_and_replaces_nobody() {
    watched(|| {
        let call = |pool: &Pool| pool.apply("echo", ("bad",));
        let new = misbehaving(&["crash-in-call"]);
        let (reason, outcomes) = outcomes_of_a_failed_replacement(pool(2), new, call);
        assert!(reason.contains("SIGSEGV") && reason.contains("crash-in-call"), "{reason}");
        assert_eq!(outcomes.get("lost"), Some(&1), "{outcomes:?}");
        assert!(outcomes.keys().all(|key| ["lost", "completed"].contains(key)), "{outcomes:?}");
        // If it may be tried again, not even that one.
        let new = misbehaving(&["crash-in-call"]);
        let (_, outcomes) = outcomes_of_a_failed_replacement(pool(2).retries(1), new, call);
        assert!(outcomes.keys().all(|&key| key == "completed"), "{outcomes:?}");
    });
}

/// Keyword arguments are beyond the misbehaving worker.
#[test]
fn a_worker_that_fails_where_the_others_did_not_replaces_nobody() {
    watched(|| {
        let arguments = Arguments::new(()).unwrap().keywords(BTreeMap::from([("n", 5)])).unwrap();
        let call = |pool: &Pool| pool.apply("square", arguments.clone());
        let new = misbehaving(&["well-behaved"]);
        let (reason, outcomes) = outcomes_of_a_failed_replacement(pool(2), new, call);
        assert!(reason.contains("failed in every task that it was tried on"), "{reason}");
        // What it was tried on, and what it was sent until that was seen.
        let failed = outcomes.get("failed").copied().unwrap_or_default();
        assert!((1..=10).contains(&failed), "{outcomes:?}");
        assert!(outcomes.keys().all(|key| ["failed", "completed"].contains(key)), "{outcomes:?}");
    });
}

/// Tasks that failed before are no reason against a worker in which they fail too.
#[test]
fn a_worker_that_fails_where_the_others_did_too_replaces_them() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        let before = wait_until_idle(&pool, 1);
        let done = Until::default();
        thread::scope(|scope| {
            let submit = || {
                while !done.is_set() {
                    assert!(matches!(pool.apply::<()>("fail", ("no",)), Err(Error::Failed(_))));
                }
            };
            let threads = [scope.spawn(submit), scope.spawn(submit)];
            let guard = done.set_at_end();
            pool.replace(worker()).unwrap();
            drop(guard);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_ne!(wait_until_idle(&pool, 1), before);
    });
}

#[test]
fn of_two_replacements_at_once_the_later_one_stands() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let before = wait_until_idle(&pool, 2);
        let [first, second] = ["well-behaved", "abort"].map(|mode| misbehaving(&[mode]));
        let name = second.to_string();
        let first = pool.replace_async(first).unwrap();
        let second = pool.replace_async(second).unwrap();
        let outcome = first.wait();
        let Err(Error::NotReplaced(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("given up"), "{reason}");
        second.wait().unwrap();
        wait_until_idle(&pool, 2);
        let status = pool.status().unwrap();
        assert!(status.workers.iter().all(|worker| worker.command == name), "{status:?}");
        assert!(pids(&pool).iter().all(|pid| !before.contains(pid)));

        // Whatever comes of each, somebody is the last.
        under_load(&pool, somebody_serves(2), || {
            thread::scope(|scope| {
                let replace = || pool.replace(worker());
                let threads = [scope.spawn(replace), scope.spawn(replace), scope.spawn(replace)];
                let outcomes = threads.map(|thread| thread.join().unwrap());
                let given_up = |it: &&Result<(), Error>| matches!(it, Err(Error::NotReplaced(_)));
                let replaced = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                let not = outcomes.iter().filter(given_up).count();
                assert!(replaced >= 1 && replaced + not == 3, "{outcomes:?}");
            });
        });
        wait_until_idle(&pool, 2);
    });
}

#[test]
fn a_pool_that_ends_gives_a_replacement_up() {
    watched(|| {
        for end in [Pool::close as fn(&Pool), Pool::terminate, Pool::kill, Pool::interrupt] {
            // The new worker is there in one case, and will never be in the other.
            for mode in ["well-behaved", "never-connects"] {
                let mark = Mark::new();
                let pool = mark.on(pool(2)).build().unwrap();
                let naps = pool.starmap_async::<_, u64>("sleep", [(0.3, 7); 4], Some(1)).unwrap();
                wait_until("they sleep", || pool.status().unwrap().running == 2);
                let replacement = pool.replace_async(misbehaving(&[mode])).unwrap();
                wait_until("a new one is there", || mark.starts() == 1);
                end(&pool);
                let outcome = replacement.wait();
                assert!(matches!(outcome, Err(Error::NotReplaced(_))), "{mode}: {outcome:?}");
                pool.join().unwrap();
                assert!(naps.ready());
                assert_eq!(mark.alive(), 0);
                let late = pool.replace(worker());
                assert!(matches!(late, Err(Error::NotRunning)), "{late:?}");
                assert!(matches!(pool.resize(3), Err(Error::NotRunning)));
            }
        }
    });
}

#[test]
fn a_pool_is_resized_under_load_and_no_call_is_lost() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        wait_until_idle(&pool, 2);
        let few = |status: &PoolStatus| {
            assert!(serving(status) >= 1, "{status:?}");
            assert!(status.workers.len() <= 9, "{status:?}");
        };
        under_load(&pool, few, || {
            for processes in [1, 4, 2, 8, 1, 3] {
                pool.resize(processes).unwrap();
                assert_eq!(pool.processes(), processes as u64);
                wait_until(&format!("there are {processes}"), || pids(&pool).len() == processes);
            }
        });
        // And without a wait for each.
        under_load(
            &pool,
            |_| (),
            || {
                for processes in (1..=6).cycle().take(100) {
                    pool.resize(processes).unwrap();
                }
                pool.resize(2).unwrap();
            },
        );
        wait_until_idle(&pool, 2);
        let counters = pool.status().unwrap().counters;
        assert_eq!(counters.lost, 0, "{counters:?}");
    });
}

#[test]
fn whoever_has_to_go_finishes_what_it_has() {
    watched(|| {
        let pool = pool(4).build().unwrap();
        wait_until_idle(&pool, 4);
        let naps = [(0.4, 1), (0.4, 2), (0.4, 3), (0.4, 4)];
        let naps = pool.starmap_async::<_, u64>("sleep", naps, Some(1)).unwrap();
        wait_until("all sleep", || pool.status().unwrap().running == 4);
        pool.resize(1).unwrap();
        assert_eq!(naps.get().unwrap(), [1, 2, 3, 4]);
        wait_until_idle(&pool, 1);
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.started, counters.died), (4, 0), "{counters:?}");
    });
}

#[test]
fn a_pool_can_be_resized_while_its_workers_are_replaced() {
    watched(|| {
        for sizes in [[4, 1], [1, 4]] {
            let pool = pool(2).build().unwrap();
            let before = wait_until_idle(&pool, 2);
            under_load(
                &pool,
                |status| assert!(serving(status) >= 1, "{status:?}"),
                || {
                    let replacement = pool.replace_async(worker()).unwrap();
                    for size in sizes {
                        pool.resize(size).unwrap();
                    }
                    replacement.wait().unwrap();
                },
            );
            let after = wait_until_idle(&pool, sizes[1]);
            assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?}, {after:?}");
        }
    });
}

/// Those that stay when a pool is idle may sit in the very seats that go.
#[test]
fn an_idle_pool_that_is_resized_keeps_as_many_as_it_is_to_keep() {
    watched(|| {
        for (minimum, processes) in [(1, 1), (1, 2), (2, 2), (2, 3)] {
            let builder = pool(4).idle_timeout(Duration::from_millis(50));
            let pool = builder.minimum_processes(minimum).build().unwrap();
            wait_until("the others have left", || {
                let status = pool.status().unwrap();
                status.counters.started == 4 && status.workers.len() == minimum
            });
            pool.resize(processes).unwrap();
            for _ in 0..3 {
                wait_until("as many stay", || pids(&pool).len() == minimum);
                // They are not about to go either.
                thread::park_timeout(Duration::from_millis(100));
            }
            assert_eq!(wait_until_idle(&pool, minimum).len(), minimum);
            assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
        }
    });
}

#[test]
fn a_pool_in_which_nobody_is_left_can_be_replaced() {
    watched(|| {
        let builder = pool(2).idle_timeout(Duration::from_millis(50)).minimum_processes(0);
        let pool = builder.restart_intensity(0).build().unwrap();
        assert_eq!(pool.apply::<u64>("sum_primes", (10,)).unwrap(), 17);
        let nobody = || wait_until("nobody is left", || pids(&pool).is_empty());
        for mode in ["exits-at-once", "well-behaved"] {
            nobody();
            let outcome = pool.replace(misbehaving(&[mode]));
            assert!(matches!(outcome, Err(Error::NotReplaced(_))), "{outcome:?}");
            nobody();
            assert_eq!(pool.apply::<u64>("sum_primes", (10,)).unwrap(), 17);
        }
        nobody();
        pool.replace(worker()).unwrap();
        nobody();
        assert_eq!(pool.apply::<u64>("sum_primes", (10,)).unwrap(), 17);
        assert_eq!(pool.status().unwrap().counters.lost, 0);
    });
}

#[test]
fn the_initializer_runs_in_those_that_replace_the_others() {
    watched(|| {
        let mark = Mark::new();
        let note = support::shell("echo $PPID >> \"$1\"", &[&mark.file("log")]);
        let pool = pool(2).initializer("exec", note).build().unwrap();
        let mut all: Vec<_> = wait_until_idle(&pool, 2);
        pool.replace(worker()).unwrap();
        all.extend(wait_until_idle(&pool, 2));
        let mut noted: Vec<u32> =
            mark.lines("log").iter().map(|line| line.parse().unwrap()).collect();
        noted.sort_unstable();
        all.sort_unstable();
        assert_eq!(noted, all);
        // One in which it fails replaces nobody.
        let outcome = pool.replace(misbehaving(&["well-behaved"]));
        let Err(Error::NotReplaced(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("initializer"), "{reason}");
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    watched(|| {
        let invalid = |outcome: Result<(), Error>, text: &str| {
            let Err(Error::InvalidArgument(said)) = outcome else { panic!("{outcome:?}") };
            assert!(said.contains(text), "{said}");
        };
        let alike = pool(1).build().unwrap();
        invalid(alike.resize(0), "not 0");
        invalid(alike.resize(MAX_PROCESSES + 1), "1 to");
        assert_eq!(alike.processes(), 1);
        let one = NonZeroUsize::MIN;
        let unlike = Pool::builder().workers(one, worker());
        let unlike = unlike.workers(one, misbehaving(&["well-behaved"])).build().unwrap();
        invalid(unlike.resize(3), "2 kinds of workers");
        invalid(unlike.replace(worker()), "2 kinds of workers");
        assert_eq!(unlike.apply::<u64>("count", ()).unwrap(), 1);
    });
}
