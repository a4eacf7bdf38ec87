//! Tasks that do nothing: one by one, in chunks, and one at a time.

use std::time::Instant;

use super::{WARM_UP, finish, pool};
use crate::figures::{Figures, Parameters, argument, figures, latencies, rate, sum_of_squares};

/// `tasks`: so many, of which each is sent by itself.
pub(crate) fn one_by_one(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let run = |tasks: u64| {
        let began = Instant::now();
        let results = pool.imap_unordered::<_, u64>("square", (0..tasks).map(argument));
        let mut count = 0;
        let mut sum = 0;
        for result in results.expect("the pool works") {
            sum += result.expect("the task is fine");
            count += 1;
        }
        let time = began.elapsed();
        assert_eq!((count, sum), (tasks, sum_of_squares(tasks)));
        time
    };
    run(WARM_UP);
    let tasks = parameters.get("tasks");
    let per_second = rate(tasks, run(tasks));
    finish(&pool);
    figures([("per_second", per_second), ("us", 1e6 / per_second)])
}

/// `tasks`: so many, in the default chunks.
pub(crate) fn map(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let run = |tasks: u64| {
        let began = Instant::now();
        let results = pool.map::<_, u64>("square", (0..tasks).map(argument));
        let time = began.elapsed();
        let results = results.expect("all tasks are fine");
        assert_eq!(results.len() as u64, tasks);
        assert!((0..tasks).zip(results).all(|(task, square)| square == argument(task).pow(2)));
        time
    };
    run(WARM_UP);
    let tasks = parameters.get("tasks");
    let per_second = rate(tasks, run(tasks));
    finish(&pool);
    figures([("per_second", per_second), ("ns", 1e9 / per_second)])
}

/// `tasks`: so many, of which each is waited for before the next.
pub(crate) fn apply(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let mut times = Vec::new();
    for task in 0..WARM_UP + parameters.get::<u64>("tasks") {
        let sent = Instant::now();
        let square: u64 = pool.apply("square", (argument(task),)).expect("the task is fine");
        times.push(sent.elapsed());
        assert_eq!(square, argument(task).pow(2));
    }
    finish(&pool);
    let warm_up = usize::try_from(WARM_UP).expect("a few");
    latencies(&times[warm_up..])
}
