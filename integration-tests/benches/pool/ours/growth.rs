//! What a task costs with more workers, and with more tasks that wait.

use std::{fs, time::Instant};

use integration_tests::this_process::children;
use rustix::time::{ClockId, clock_gettime};

use super::{WARM_UP, finish, pool};
use crate::figures::{Figures, Parameters, argument, median};

/// A short queue is measured again and again until so many tasks have run.
const TASKS_AT_LEAST: u64 = 30_000;

/// `workers`, and `queues`: lengths with commas between. Each task is sent by itself, and all are
/// submitted at once. Gives the time on the clock, that of the CPUs in this process, and that in
/// the workers, for each length, in microseconds a task; and how much the first two grow at most
/// from a shorter queue to a longer one.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let pool = pool(parameters);
    let mut all = Figures::new();
    let mut costs_by_length = Vec::new();
    cost(&pool, WARM_UP);
    for queue in parameters.get::<String>("queues").split(',') {
        let tasks: u64 = queue.parse().expect("a length");
        let costs: Vec<Cost> =
            (0..(TASKS_AT_LEAST / tasks).max(1)).map(|_| cost(&pool, tasks)).collect();
        let per_task = |part: fn(&Cost) -> f64| {
            median(&costs.iter().map(part).collect::<Vec<_>>()) / 1e3 / tasks as f64
        };
        let [wall, master] = [per_task(|cost| cost.wall), per_task(|cost| cost.master)];
        all.insert(format!("wall_{tasks}"), wall);
        all.insert(format!("master_{tasks}"), master);
        all.insert(format!("workers_{tasks}"), per_task(|cost| cost.workers));
        costs_by_length.push([wall, master]);
    }
    finish(&pool);
    for (index, name) in ["growth_wall", "growth_master"].into_iter().enumerate() {
        let costs = costs_by_length.iter().map(|costs| costs[index]);
        all.insert(name.to_owned(), growth(costs));
    }
    all
}

/// The largest ratio of a cost to one before it.
fn growth(costs: impl Iterator<Item = f64>) -> f64 {
    let mut least = f64::INFINITY;
    costs.fold(0.0, |most, cost| {
        let most = f64::max(most, cost / least);
        least = least.min(cost);
        most
    })
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
