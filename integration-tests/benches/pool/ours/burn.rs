//! Tasks that only the processor limits.

use std::time::Instant;

use master::Pool;

use super::{finish, pool};
use crate::figures::{Figures, Parameters, figures};

/// `tasks`, `rounds`: of one task, `call`: `map` or `imap_unordered`, `work`: the seconds that all
/// of it takes one process, and perhaps `long`: the one task in the middle has so many times the
/// rounds.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let tasks: usize = parameters.get("tasks");
    let mut rounds = vec![parameters.get::<u64>("rounds"); tasks];
    rounds[tasks / 2] *= parameters.find("long").unwrap_or(1);
    // This is what they will give; and all workers are there.
    let [usual, middle] = [rounds[0], rounds[tasks / 2]]
        .map(|rounds| pool.apply::<u64>("burn", (rounds,)).expect("the task is fine"));
    pool.map_chunked::<_, u64>("burn", [1; 64], 1).expect("the tasks are fine");
    let expected = usual.wrapping_mul(tasks as u64 - 1).wrapping_add(middle);
    let began = Instant::now();
    let results = call(&pool, parameters, rounds);
    let time = began.elapsed();
    assert_eq!(results.len(), tasks);
    assert_eq!(results.into_iter().fold(0, u64::wrapping_add), expected);
    finish(&pool);
    let seconds = time.as_secs_f64();
    figures([("seconds", seconds), ("speed_up", parameters.get::<f64>("work") / seconds)])
}

/// The same with the worker in Python: `tasks`, `rounds` and `call`, without `work`.
pub(crate) fn python(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let tasks: usize = parameters.get("tasks");
    let rounds: u64 = parameters.get("rounds");
    let expected: u64 = pool.apply("burn", (rounds,)).expect("the task is fine");
    pool.map_chunked::<_, u64>("burn", [1; 64], 1).expect("the tasks are fine");
    let began = Instant::now();
    let results = call(&pool, parameters, vec![rounds; tasks]);
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(results, vec![expected; tasks]);
    finish(&pool);
    figures([("seconds", seconds)])
}

fn call(pool: &Pool, parameters: &Parameters, rounds: Vec<u64>) -> Vec<u64> {
    match parameters.get::<String>("call").as_str() {
        "map" => pool.map("burn", rounds).expect("the tasks are fine"),
        "imap_unordered" => {
            let results = pool.imap_unordered("burn", rounds).expect("the pool works");
            results.collect::<Result<_, _>>().expect("the tasks are fine")
        }
        call => panic!("unknown call {call}"),
    }
}
