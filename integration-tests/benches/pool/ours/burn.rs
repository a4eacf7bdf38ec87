//! Tasks that only the processor limits.

use std::time::Instant;

use super::{finish, pool};
use crate::figures::{Figures, Parameters, figures};

/// `tasks`, `rounds`: of one task, `call`: `map` or `imap_unordered`, and perhaps `long`: the one
/// task in the middle has so many times the rounds.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let tasks: usize = parameters.get("tasks");
    let mut rounds = vec![parameters.get::<u64>("rounds"); tasks];
    rounds[tasks / 2] *= parameters.find("long").unwrap_or(1);
    let expected = [1, rounds[0], rounds[tasks / 2]].map(|rounds| {
        // Both workers are there, and this is what their tasks will give.
        pool.apply::<u64>("burn", (rounds,)).expect("the task is fine")
    });
    let expected = expected[1].wrapping_mul(tasks as u64 - 1).wrapping_add(expected[2]);
    let began = Instant::now();
    let results: Vec<u64> = match parameters.get::<String>("call").as_str() {
        "map" => pool.map("burn", rounds).expect("the tasks are fine"),
        "imap_unordered" => {
            let results = pool.imap_unordered("burn", rounds).expect("the pool works");
            results.collect::<Result<_, _>>().expect("the tasks are fine")
        }
        call => panic!("unknown call {call}"),
    };
    let time = began.elapsed();
    assert_eq!(results.len(), tasks);
    assert_eq!(results.into_iter().fold(0, u64::wrapping_add), expected);
    finish(&pool);
    figures([("seconds", time.as_secs_f64())])
}
