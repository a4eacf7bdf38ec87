//! What a pool tells of itself: how things stand, and what happens.

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
    fs, thread,
    time::Duration,
};

use integration_tests::{
    Deadline, check_all,
    library::{pool, watched, worker},
    master, master_with,
};
use master::{
    Counters, Encoded, Error, EventKind, Events, MAX_WAITING_EVENTS, Pool, PoolBuilder, PoolEvent,
    WorkerState, WorkerStatus,
};
use serde_json::{Value, json};
use support::{Mark, Until, misbehaving, shell, wait_until, wait_until_idle};

fn misbehaving_pool(mode: &str) -> PoolBuilder {
    Pool::builder().worker(misbehaving(&[mode])).processes(1)
}

/// Waits until a worker is in this state, and tells what is known of it.
#[track_caller]
fn wait_for_state(pool: &Pool, state: WorkerState) -> WorkerStatus {
    let find = || {
        let workers = pool.status().unwrap().workers;
        workers.into_iter().find(|worker| worker.state == state)
    };
    wait_until(&format!("one is {state:?}"), || find().is_some());
    find().unwrap_or_else(|| panic!("it was {state:?} for a moment only"))
}

#[test]
fn a_worker_starts_is_idle_and_is_busy() {
    watched(|| {
        let starting = misbehaving_pool("silent-after-welcome").build().unwrap();
        let worker = wait_for_state(&starting, WorkerState::Starting);
        assert_eq!((worker.slot, worker.tasks_done, worker.task), (0, 0, None));
        assert!(worker.command.ends_with("misbehaving-worker silent-after-welcome"));
        starting.kill();
        starting.join().unwrap();

        let pool = pool(1).build().unwrap();
        let [pid] = wait_until_idle(&pool, 1)[..] else { panic!("there is one") };
        assert_eq!(pool.map_chunked::<_, u64>("square", 0..10, 5).unwrap().len(), 10);
        let idle = wait_for_state(&pool, WorkerState::Idle);
        assert_eq!((idle.pid, idle.tasks_done, idle.task), (pid, 10, None));
        assert!(idle.memory.is_some_and(|memory| (100 << 10..1 << 30).contains(&memory)));

        let ticking = pool.apply_async::<u64>("tick", (600, 0.05)).unwrap();
        let waiting = pool.map_async::<_, u64>("square", 0..7, Some(1)).unwrap();
        let busy = wait_for_state(&pool, WorkerState::Busy);
        assert_eq!((busy.pid, busy.tasks_done), (pid, 10));
        let task = || pool.status().unwrap().workers.remove(0).task.unwrap();
        assert_eq!(task().function, "tick");
        // What it told last, so that it counts up.
        let told = || -> Option<u32> { task().note?.strip_suffix(" of 600")?.parse().ok() };
        wait_until("it tells", || told().is_some_and(|number| number >= 5));
        let number = told();
        wait_until("it tells more", || told() > number);
        let status = pool.status().unwrap();
        let before = task().running_for;
        // Some may have been sent already, as all before were short.
        assert_eq!(status.running + status.waiting, 8, "{status:?}");
        assert!(status.running >= 1, "{status:?}");
        assert!(before >= Duration::from_millis(200), "{before:?}");
        wait_until("time passes", || task().running_for > before);
        ticking.cancel();
        assert_eq!(waiting.get().unwrap().len(), 7);
        let status = pool.status().unwrap();
        assert_eq!((status.running, status.waiting), (0, 0), "{status:?}");
        assert_eq!(status.workers[0].task, None);
    });
}

#[test]
fn a_worker_retires_leaves_and_is_stopped() {
    watched(|| {
        // It finishes what it has, while the pool has one worker less.
        let retiring = pool(2).build().unwrap();
        wait_until_idle(&retiring, 2);
        let naps =
            retiring.starmap_async::<_, u64>("sleep", [(0.7, 1), (0.7, 2)], Some(1)).unwrap();
        wait_until("both sleep", || retiring.status().unwrap().running == 2);
        retiring.resize(1).unwrap();
        let worker = wait_for_state(&retiring, WorkerState::Retiring);
        assert_eq!(worker.slot, 1);
        assert_eq!(worker.task.unwrap().function, "sleep");
        assert_eq!(naps.get().unwrap(), [1, 2]);
        wait_until_idle(&retiring, 1);

        // It was asked to leave, and does not.
        let leaving = misbehaving_pool("ignores-drain").processes(2);
        let leaving = leaving.shutdown_timeout(Duration::from_secs(1)).build().unwrap();
        let before = wait_until_idle(&leaving, 2);
        leaving.resize(1).unwrap();
        let worker = wait_for_state(&leaving, WorkerState::Leaving);
        assert_eq!((worker.pid, worker.task), (before[1], None));
        assert_eq!(wait_until_idle(&leaving, 1), before[..1]);

        // It is to end, and does not mind SIGTERM.
        let stopping = misbehaving_pool("hang-in-call-ignoring-sigterm");
        let stopping = stopping.task_timeout(Duration::from_millis(200));
        let stopping = stopping.grace(Duration::from_secs(1)).build().unwrap();
        let [pid] = wait_until_idle(&stopping, 1)[..] else { panic!("there is one") };
        let lost = stopping.apply::<Encoded>("echo", ("bad",));
        assert!(matches!(lost, Err(Error::TimedOut(_))), "{lost:?}");
        assert_eq!(wait_for_state(&stopping, WorkerState::Stopping).pid, pid);
        assert_ne!(wait_until_idle(&stopping, 1), [pid]);
    });
}

/// Every task has one outcome, and each is counted once.
fn assert_balanced(counters: &Counters) {
    let Counters { submitted, completed, failed, lost, timed_out, cancelled, .. } = *counters;
    assert_eq!(submitted, completed + failed + lost + timed_out + cancelled, "{counters:?}");
}

#[test]
fn counters_are_exact() {
    watched(|| {
        let builder = misbehaving_pool("crash-in-call").processes(2).quarantine_after(2);
        let builder = builder.retries(1).retry_backoff(Duration::ZERO);
        let pool = builder.task_timeout(Duration::from_millis(500)).build().unwrap();
        let echoes: Vec<Value> =
            (0..20).map(|n| if n == 3 || n == 17 { json!("bad") } else { json!(n) }).collect();
        let echoes = pool.map_async::<_, Encoded>("echo", echoes, Some(4)).unwrap().outcomes();
        assert_eq!(echoes.iter().filter(|outcome| outcome.is_ok()).count(), 18);
        let fails = pool.map_async::<_, ()>("fail", ["a", "b", "c"], None).unwrap().outcomes();
        assert!(fails.iter().all(Result::is_err));
        assert!(matches!(pool.apply::<()>("hang", ()), Err(Error::TimedOut(_))));
        wait_until_idle(&pool, 2);
        let naps = pool.map_async::<_, ()>("sleep", [0.3; 5], Some(1)).unwrap();
        wait_until("two sleep", || pool.status().unwrap().running == 2);
        naps.cancel();
        assert!(matches!(pool.apply::<()>("nothing", ()), Err(Error::UnknownFunction { .. })));
        let status = pool.status().unwrap();
        assert_eq!((status.waiting, status.running), (0, 0), "{status:?}");
        wait_until_idle(&pool, 2);
        pool.close();
        pool.join().unwrap();
        let counters = pool.status().unwrap().counters;
        assert_balanced(&counters);
        let Counters { submitted, completed, failed, lost, timed_out, cancelled, .. } = counters;
        assert_eq!((submitted, completed, failed), (30, 18, 3), "{counters:?}");
        // The one whose function nobody has is among the cancelled.
        assert_eq!((lost, timed_out, cancelled), (2, 1, 6), "{counters:?}");
        // Two died twice, one was stopped twice, and two for what was cancelled.
        assert_eq!((counters.retried, counters.died, counters.refused), (3, 8, 0), "{counters:?}");
        assert_eq!(counters.started, 10, "{counters:?}");
    });
}

#[test]
fn there_is_a_status_after_the_end() {
    watched(|| {
        for end in [Pool::close as fn(&Pool), Pool::terminate, Pool::kill, Pool::interrupt] {
            let pool = pool(2).build().unwrap();
            assert_eq!(pool.map::<_, u64>("square", 0..10).unwrap().len(), 10);
            let naps = pool.starmap_async::<_, u64>("sleep", [(0.1, 7); 10], Some(1)).unwrap();
            end(&pool);
            pool.join().unwrap();
            naps.outcomes().into_iter().for_each(drop);
            let status = pool.status().unwrap();
            assert!(status.workers.is_empty() && status.waiting + status.running == 0);
            assert_balanced(&status.counters);
            assert_eq!(status.counters.submitted, 20);
        }
    });
}

/// Many look all the time, while a pool works and ends in one way or the other.
#[test]
fn a_look_never_blocks() {
    type End = fn(&Pool);
    let ends: [(&str, PoolBuilder, End); 4] = [
        ("close", pool(2), |pool| pool.close()),
        ("kill", pool(2), |pool| pool.kill()),
        ("never ready", misbehaving_pool("never-connects"), |pool| pool.kill()),
        // It fails by itself.
        ("failed", misbehaving_pool("initializer-fails"), |pool| {
            drop(pool.apply::<()>("echo", ()))
        }),
    ];
    watched(move || {
        for (name, builder, end) in ends {
            let pool = builder.build().unwrap();
            let done = Until::default();
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let patience = Deadline::after(Duration::from_secs(30));
                        let mut looks = 0;
                        while !done.is_set() || looks < 100 {
                            let status = pool.status().unwrap();
                            assert!(status.workers.len() <= 3, "{name}: {status:?}");
                            looks += 1;
                        }
                        assert!(!patience.left().is_zero(), "{name}");
                    });
                }
                let guard = done.set_at_end();
                if builder_works(name) {
                    assert_eq!(pool.map::<_, u64>("square", 0..1000).unwrap().len(), 1000);
                }
                end(&pool);
                pool.join().unwrap();
                drop(guard);
            });
        }
    });
}

fn builder_works(name: &str) -> bool {
    ["close", "kill"].contains(&name)
}

/// Everything that has happened in a pool that has ended, checked for what always holds.
fn story(events: Events, counters: &Counters) -> Vec<PoolEvent> {
    let events: Vec<_> = events.collect();
    assert!(events.is_sorted_by_key(|event| event.at), "{events:#?}");
    let mut workers: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for event in &events {
        let name = event.kind.name();
        if ["started", "ready", "left", "died"].contains(&name) {
            assert!(event.slot.is_some());
            workers.entry(event.pid.unwrap()).or_default().push(name);
        }
    }
    for (pid, life) in &workers {
        let fine = matches!(
            life[..],
            ["started", "ready", "left" | "died"] | ["started", "left" | "died"]
        );
        assert!(fine, "{pid}: {life:?}");
    }
    let count = |name| events.iter().filter(|event| event.kind.name() == name).count() as u64;
    assert_eq!(count("started") + count("not_started"), counters.started, "{events:#?}");
    assert_eq!(count("died") + count("not_started"), counters.died, "{events:#?}");
    assert_eq!(count("retried"), counters.retried, "{events:#?}");
    events
}

fn end(pool: &Pool) -> Counters {
    pool.close();
    pool.join().unwrap();
    pool.status().unwrap().counters
}

fn names(events: &[PoolEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

#[test]
fn the_events_of_a_task_that_is_poison() {
    watched(|| {
        let mark = Mark::new();
        let (builder, events) = pool(1).retries(9).quarantine_after(2).events();
        let pool = builder.retry_backoff(Duration::from_millis(1)).build().unwrap();
        let script = "echo $PPID >> \"$1\"; kill -9 $PPID; sleep 60";
        let outcome = pool.apply::<Encoded>("exec", shell(script, &[&mark.file("pids")]));
        assert!(matches!(outcome, Err(Error::Lost(_))));
        wait_until_idle(&pool, 1);
        let events = story(events, &end(&pool));
        let of = |name: &'static str| events.iter().filter(move |event| event.kind.name() == name);
        let died: Vec<_> = of("died").collect();
        let pids: Vec<String> = died.iter().map(|event| event.pid.unwrap().to_string()).collect();
        assert_eq!(pids, mark.lines("pids"));
        assert!(died.iter().all(|event| event.to_string().contains("SIGKILL")), "{died:?}");
        let retried = of("retried").next().unwrap();
        let EventKind::Retried { function, attempt } = &retried.kind else { panic!() };
        assert_eq!((function.as_str(), attempt.number, attempt.pid), ("exec", 1, died[0].pid));
        assert_eq!(retried.pid, died[0].pid);
        let quarantined = of("quarantined").next().unwrap();
        let EventKind::Quarantined { function, report } = &quarantined.kind else { panic!() };
        assert_eq!((function.as_str(), report.poison), ("exec", true));
        assert_eq!((quarantined.pid, report.attempts.len()), (died[1].pid, 1));
        let order = |name: &str| names(&events).iter().position(|other| *other == name).unwrap();
        assert!(order("started") < order("ready") && order("ready") < order("died"));
        assert!(order("died") < order("quarantined") && order("retried") < order("quarantined"));
        assert_eq!(names(&events).last(), Some(&"left"));
    });
}

#[test]
fn the_events_of_a_pool_that_is_changed() {
    watched(|| {
        let (builder, events) = pool(1).events();
        let pool = builder.build().unwrap();
        assert_eq!(pool.apply::<u64>("sum_primes", (3,)).unwrap(), 2);
        pool.resize(2).unwrap();
        wait_until_idle(&pool, 2);
        pool.replace(misbehaving(&["well-behaved"])).unwrap_err();
        wait_until_idle(&pool, 2);
        pool.replace(worker()).unwrap();
        wait_until_idle(&pool, 2);
        pool.resize(1).unwrap();
        wait_until_idle(&pool, 1);
        let events = story(events, &end(&pool));
        let about_pool: Vec<_> = events.iter().filter(|event| event.slot.is_none()).collect();
        let told: Vec<String> = about_pool.iter().map(|event| event.kind.to_string()).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "there are to be 2 workers");
        assert!(told[1].contains("not replaced") && told[1].contains("sum_primes"), "{told:?}");
        assert_eq!(told[2], format!("all workers are now `{}`", worker()));
        assert_eq!(told[3], "there are to be 1 workers");
        let started = events.iter().filter(|event| event.kind.name() == "started");
        assert_eq!(started.count(), 5);
    });
}

#[test]
fn the_events_of_a_pool_that_cannot_work() {
    for mode in ["exits-at-once 3", "initializer-fails", "never-connects", "future-version"] {
        watched(move || {
            let words: Vec<_> = mode.split(' ').collect();
            let builder = Pool::builder().worker(misbehaving(&words)).processes(2);
            let (builder, events) = builder.start_timeout(Duration::from_secs(1)).events();
            let pool = builder.build().unwrap();
            let late = pool.events();
            let error = pool.apply::<()>("echo", (1,)).unwrap_err();
            assert!(matches!(error, Error::PoolFailed(_)), "{mode}: {error}");
            pool.join().unwrap();
            let events = story(events, &pool.status().unwrap().counters);
            let failed: Vec<_> = names(&events).into_iter().filter(|it| *it == "failed").collect();
            assert_eq!(failed.len(), 1, "{mode}: {events:#?}");
            let told = events.iter().find(|event| event.kind.name() == "failed").unwrap();
            // The same as whoever waited was told.
            assert_eq!(told.kind.to_string(), error.to_string(), "{mode}");
            // It may have come when all was over.
            assert!(late.count() <= events.len(), "{mode}");
            assert_eq!(pool.events().count(), 0, "{mode}: whoever comes after the end");
        });
    }
}

#[test]
fn a_pool_in_turmoil_tells_a_story_that_holds() {
    watched(|| {
        let builder = misbehaving_pool("crash-in-call").processes(3).max_tasks_per_child(7);
        let builder = builder.retries(1).retry_failed(true).retry_backoff(Duration::from_millis(1));
        let (builder, events) = builder.idle_timeout(Duration::from_millis(20)).events();
        let pool = builder.build().unwrap();
        for round in 0..5_usize {
            let items: Vec<Value> =
                (0..20).map(|n| if n % 9 == 8 { json!("bad") } else { json!(n) }).collect();
            let outcomes = pool.map_async::<_, Encoded>("echo", items, Some(3)).unwrap();
            let fails = pool.map_async::<_, ()>("fail", ["no"; 5], None).unwrap();
            pool.resize(2 + round % 3).unwrap();
            let replacement = pool.replace_async(misbehaving(&["crash-in-call"])).unwrap();
            assert_eq!(outcomes.outcomes().iter().filter(|it| it.is_ok()).count(), 18);
            assert!(fails.outcomes().iter().all(Result::is_err));
            // Its first worker may have met a task that kills it.
            let _ = replacement.wait();
        }
        let counters = end(&pool);
        assert_balanced(&counters);
        let events = story(events, &counters);
        let pids: BTreeSet<_> = events.iter().filter_map(|event| event.pid).collect();
        assert!(pids.len() as u64 <= counters.started, "{counters:?}");
        assert_eq!(counters.lost, 10, "{counters:?}");
        assert_eq!(counters.failed, 25, "{counters:?}");
    });
}

/// Each failure is an event, and there are more than anybody keeps.
#[test]
fn who_takes_no_events_holds_up_nothing_and_is_told_what_it_missed() {
    const RETRIES: u32 = 3000;
    watched(|| {
        let (builder, mut idle) = pool(1).retries(RETRIES).retry_failed(true).events();
        let pool = builder.retry_backoff(Duration::ZERO).build().unwrap();
        let busy = pool.events();
        let busy = thread::spawn(move || busy.map(|event| event.kind.name()).collect::<Vec<_>>());
        assert!(matches!(pool.apply::<()>("fail", ("no",)), Err(Error::Failed(_))));
        let counters = pool.status().unwrap().counters;
        assert_eq!((counters.retried, counters.failed), (RETRIES.into(), 1), "{counters:?}");
        for _ in 0..10 {
            idle.next().unwrap();
        }
        pool.resize(2).unwrap();
        wait_until_idle(&pool, 2);
        end(&pool);
        let rest: Vec<_> = idle.collect();
        let missed = rest.iter().filter_map(|event| match event.kind {
            EventKind::Missed { events } => Some(events),
            _ => None,
        });
        // Started, ready and all the retries have happened before.
        assert_eq!(missed.sum::<u64>(), u64::from(RETRIES) + 2 - MAX_WAITING_EVENTS as u64);
        assert_eq!(rest.iter().filter(|event| event.kind.name() == "left").count(), 2);
        let busy = busy.join().unwrap();
        let told = busy.iter().filter(|name| **name == "retried").count();
        assert!(told > 0 && busy.last() == Some(&"left"), "{told} of {}", busy.len());
    });
}

#[test]
fn the_command_line_writes_events_to_a_file() {
    let mark = Mark::new();
    let file = mark.file("events");
    fs::write(&file, "what was there before\n").unwrap();
    let options = ["--processes", "1", "--retries", "1", "--retry-backoff", "1ms"];
    let finished = master_with("crash-in-call", "map", options)
        .args(["--quarantine-after", "2", "--events", &file, "echo", "1", "bad", "2"])
        .count_starts()
        .run();
    finished.ended(1).printed("1\n2\n").said("poison");
    let events: Vec<Value> = fs::read_to_string(&file)
        .unwrap()
        .split_inclusive('\n')
        .map(|line| serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap())
        .collect();
    let times: Vec<_> = events.iter().map(|event| event["at"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{events:#?}");
    let of = |name: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["event"] == name).collect()
    };
    let pids = |name: &str| -> Vec<String> {
        of(name).iter().map(|event| event["pid"].as_u64().unwrap().to_string()).collect()
    };
    // The third is for what is left to do; if that is over before it is ready, it is stopped.
    assert!(matches!(pids("started").len(), 2..=3), "{events:#?}");
    assert_eq!(pids("died")[..2], finished.starts[..2]);
    assert_eq!(pids("ready")[..2], finished.starts[..2]);
    assert_eq!(pids("started")[..2], finished.starts[..2]);
    for died in &of("died")[..2] {
        assert_eq!((&died["worker"], &died["signal"]), (&json!(0), &json!(11)));
        assert!(died["command"].as_str().unwrap().ends_with("misbehaving-worker crash-in-call"));
        assert!(died["text"].as_str().unwrap().contains("SIGSEGV"), "{died}");
    }
    let [retried] = of("retried")[..] else { panic!("{events:#?}") };
    assert_eq!((&retried["function"], &retried["attempt"]), (&json!("echo"), &json!(1)));
    assert!(retried["error"].as_str().unwrap().contains("SIGSEGV"), "{retried}");
    let [quarantined] = of("quarantined")[..] else { panic!("{events:#?}") };
    assert!(quarantined["text"].as_str().unwrap().contains("poison"), "{quarantined}");
    // A pool that cannot work says so there too.
    let options = ["--events", &file, "echo", "1"];
    let finished = master_with("exits-at-once 5", "map", options).run();
    finished.ended(3);
    let text = fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["status"]), (&json!("failed"), &json!(5)), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_begins() {
    check_all(&["/", "no/such/directory/events", "/proc/version/events"], |file| {
        let finished = master_with("well-behaved", "map", ["--events", file, "echo", "1"])
            .count_starts()
            .run();
        finished.ended(2).printed("").said("cannot write events to").said(file);
        assert!(finished.starts.is_empty());
    });
    // One that takes nothing does not hold up the calls.
    let finished = master(["map", "--events", "/dev/full", "square", "2", "3"]).run();
    finished.ended(1).printed("4\n9\n").said("cannot write events to /dev/full");
}
