//! A pool in the midst of chaos: several threads submit calls of all forms while workers are
//! killed and stopped at random. Every task has one outcome, and the right one; every error is
//! one that the chaos explains; and nothing is left in the end.
//!
//! The short form runs with all the other tests. The long one:
//!
//! ```text
//! CHAOS_SECONDS=60 cargo test --release -p integration-tests --test chaos -- --nocapture
//! ```
//!
//! `CHAOS_SEED` repeats the random choices; the seed is always printed. What becomes of them
//! depends on the machine too, so a failure may take several runs to come again.
//!
//! - [`random`]: the source of all that is random;
//! - [`tasks`]: what is called, and what has to come back;
//! - [`calls`]: in which form, and what holds for each;
//! - [`tally`]: what became of all tasks;
//! - [`killer`]: the chaos;
//! - [`changer`]: a pool that is resized, and whose workers are replaced, meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "a test reports by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod changer;
mod killer;
mod random;
mod tally;
mod tasks;

use std::{path::PathBuf, sync::mpsc::channel, thread, time::Duration};

use integration_tests::{
    Deadline, executables, leftovers,
    library::{command, watched_for},
    misbehaving::SHARED_OUTPUT_VARIABLE,
    this_process::{Things, memory, peak_memory},
};
use master::{Pool, command::WorkerCommand};
use protocol::launch::ADDRESS_VARIABLE;

use self::{calls::Caller, changer::Changes, killer::Killer, random::Random, tally::Tally};
use support::{Mark, wait_until};

/// How long the short form makes chaos.
const SHORT: Duration = Duration::from_secs(4);

const WORKERS: usize = 4;
const CALLERS: u64 = 6;

/// With a limit there is always somebody who leaves and somebody who starts, without one a worker
/// has more calls at a time. The seed decides.
const TASKS_PER_WORKER: [Option<u64>; 2] = [Some(5), None];

/// Rather long for the tasks, also on a machine that is busy: what takes longer was stopped.
const TASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a pool may take to end, whatever its workers are: one that is stopped with a task in
/// hand is ended after 2 s, and one that is asked to leave after 5 s. The rest is for a machine
/// that is busy.
const LONGEST_END: Duration = Duration::from_secs(20);

/// What a caller may have to wait for after its time is over: a map may have met with several
/// stopped workers, one after another.
const LAST_CALLS: Duration = Duration::from_secs(60);

/// How much memory may be in use at most, in KiB: six callers, each with inputs and results of up
/// to 8 MiB in several encodings, what waits for workers, and what the allocator keeps.
const MOST_MEMORY: u64 = 768 << 10;

#[test]
fn each_task_has_one_right_outcome_whatever_becomes_of_the_workers() {
    let seconds = number("CHAOS_SECONDS").map(Duration::from_secs);
    let seed = number("CHAOS_SEED").unwrap_or_else(random::fresh_seed);
    eprintln!("chaos: the seed is {seed}; CHAOS_SEED={seed} repeats its choices");
    let time = seconds.unwrap_or(SHORT);
    watched_for(time + LAST_CALLS + 3 * LONGEST_END, move || chaos(seed, time, seconds.is_some()));
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {value}")))
}

fn chaos(seed: u64, time: Duration, long: bool) {
    killer::leave_no_core_files();
    // Built before anything is counted.
    let worker = executables().worker.to_str().unwrap();
    let before = Things::settled();
    let mark = Mark::new();
    let tally = Tally::default();

    let mut random = Random::new(seed);
    let limit = *random.pick(&TASKS_PER_WORKER);
    let worker = noting(&mark, worker);
    let pool = build(&mark, &worker, limit);
    let directory = wait_for_directory(&mark);
    let mut killer = Killer::new(&mark, &tally, random, long);
    let (callers_ended, until) = channel::<()>();
    let (struck, changes) = thread::scope(|scope| {
        let killer = scope.spawn(move || {
            killer.strike_until(&until);
            killer
        });
        let end = Deadline::after(time);
        for number in 0..CALLERS {
            let random = Random::new(seed ^ (number + 1));
            // Dropped when the caller ends, in whatever way.
            let ended = callers_ended.clone();
            let (pool, tally) = (&pool, &tally);
            scope.spawn(move || {
                Caller::new(pool, tally, random).call_until(end);
                drop(ended);
            });
        }
        drop(callers_ended);
        let random = Random::new(seed ^ (CALLERS + 1));
        let changes = Changes::make_until(&pool, &worker, random, end);
        (killer.join().unwrap(), changes)
    });

    let ending = Deadline::after(LONGEST_END);
    let strikes = struck.finish();
    pool.close();
    assert!(pool.join_timeout(ending.left()).unwrap(), "the pool did not end: {strikes:?}");
    let took = LONGEST_END - ending.left();
    drop(pool);

    let limit = limit.map_or("no limit".into(), |tasks| format!("{tasks} tasks a worker"));
    eprintln!(
        "chaos: {limit}; {tally}; {strikes}; {changes}; {} starts; the pool took {took:.1?} to end; {} MiB at most",
        mark.lines("starts").len(),
        peak_memory() >> 10,
    );
    tally.check(&strikes);
    assert_eq!(mark.remaining(), [""; 0], "processes are left");
    assert!(!directory.exists(), "{} is left", directory.display());
    before.expect_again("chaos");
    assert!(peak_memory() < MOST_MEMORY, "{} KiB, now {} KiB", peak_memory(), memory());
}

/// A command that notes each start of a worker before it becomes one. About every second one keeps
/// no answers, but writes each by itself.
fn noting(mark: &Mark, worker: &str) -> WorkerCommand {
    let script = format!(
        "echo >> {}; [ $(($$ / 2 % 2)) = 0 ] || export {SHARED_OUTPUT_VARIABLE}=off; exec {worker}",
        mark.file("starts")
    );
    command(&["sh", "-c", &script])
}

/// The pool that is tested.
fn build(mark: &Mark, worker: &WorkerCommand, limit: Option<u64>) -> Pool {
    let builder =
        Pool::builder().worker(worker.clone()).processes(WORKERS).task_timeout(TASK_TIMEOUT);
    let builder = match limit {
        Some(limit) => builder.max_tasks_per_child(limit),
        None => builder,
    };
    mark.on(builder).build().unwrap()
}

/// The private directory in which the socket of the pool lies, as a worker was told it.
fn wait_for_directory(mark: &Mark) -> PathBuf {
    let mut address = None;
    wait_until("a worker was told the address", || {
        let mut workers = mark.processes().into_iter();
        address = workers.find_map(|pid| leftovers::started_with(pid, ADDRESS_VARIABLE));
        address.is_some()
    });
    PathBuf::from(address.unwrap()).parent().unwrap().to_owned()
}
