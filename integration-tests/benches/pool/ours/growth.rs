//! What a task costs with more workers, and with more tasks that wait.

use std::{fs, time::Instant};

use integration_tests::this_process::children;
use rustix::time::{ClockId, clock_gettime};

use super::{WARM_UP, finish, pool};
use crate::figures::{Figures, Parameters, argument};

/// A short queue is measured again and again until so many tasks have run.
const TASKS_AT_LEAST: u64 = 30_000;

/// `workers`, and `queues`: lengths with commas between. Each task is sent by itself, and all are
/// submitted at once. Gives the time on the clock, that of the CPUs in this process, and that in
/// the workers, for each length, in nanoseconds a task.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let mut all = Figures::new();
    cost(&pool, WARM_UP);
    for queue in parameters.get::<String>("queues").split(',') {
        let tasks: u64 = queue.parse().expect("a length");
        let costs: Vec<Cost> =
            (0..(TASKS_AT_LEAST / tasks).max(1)).map(|_| cost(&pool, tasks)).collect();
        let count = costs.len() as f64 * tasks as f64;
        let per_task = |part: fn(&Cost) -> f64| costs.iter().map(part).sum::<f64>() / count;
        all.insert(format!("wall_{tasks}"), per_task(|cost| cost.wall));
        all.insert(format!("master_{tasks}"), per_task(|cost| cost.master));
        all.insert(format!("workers_{tasks}"), per_task(|cost| cost.workers));
    }
    finish(&pool);
    all
}

/// Nanoseconds of all tasks.
struct Cost {
    wall: f64,
    master: f64,
    workers: f64,
}

fn cost(pool: &master::Pool, tasks: u64) -> Cost {
    let pids: Vec<u32> = children().into_iter().map(|(pid, _)| pid).collect();
    let master = processor_time();
    let workers = processor_time_of(&pids);
    let began = Instant::now();
    let results: Vec<u64> =
        pool.map_chunked("square", (0..tasks).map(argument), 1).expect("the tasks are fine");
    let wall = began.elapsed();
    let cost = Cost {
        wall: wall.as_secs_f64() * 1e9,
        master: processor_time() - master,
        workers: processor_time_of(&pids) - workers,
    };
    assert_eq!(results.len() as u64, tasks);
    assert!((0..tasks).zip(results).all(|(task, square)| square == argument(task).pow(2)));
    cost
}

/// Of this process, in nanoseconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Of others, all their threads together, in nanoseconds.
fn processor_time_of(pids: &[u32]) -> f64 {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let times = threads.flatten().flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    times.sum()
}
