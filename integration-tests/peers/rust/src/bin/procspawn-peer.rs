//! procspawn: functions of this program in processes of a pool.

use std::{collections::VecDeque, time::Instant};

use peers::{Parameters, argument, burn, bytes, print, round_trips, throughput, wait_for_all};
use procspawn::{JoinHandle, Pool};
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

/// Each task that waits holds descriptors, so not all can wait at once.
const SUBMITTED: usize = 64;

/// How many items a chunk made by hand has.
const CHUNK: u64 = 1000;

fn main() {
    procspawn::init();
    let parameters = Parameters::read();
    let number = |name: &str| parameters.number(name);
    let pool = || Pool::new(number("workers") as usize).expect("a pool");
    match parameters.workload.as_str() {
        "one-by-one" => {
            let pool = pool();
            throughput(number("tasks"), |tasks| one_by_one(&pool, tasks));
        }
        "map" => {
            let pool = pool();
            throughput(number("tasks"), |tasks| chunks(&pool, tasks));
        }
        "round-trip" => {
            let pool = pool();
            round_trips(number("tasks"), |n| {
                procspawn::spawn!(in pool, (n) || n * n).join().expect("a result")
            });
        }
        "bytes" => {
            let pool = pool();
            bytes(number("size"), |sent| {
                let sent = ByteBuf::from(sent);
                let back = procspawn::spawn!(in pool, (sent) || sent).join().expect("a result");
                back.into_vec()
            });
        }
        "start" => {
            let began = Instant::now();
            let pool = pool();
            let path = parameters.text("socket").to_owned();
            let tasks = (0..number("workers")).map(|_| pool.spawn(path.clone(), wait_for_all));
            let tasks: Vec<_> = tasks.collect();
            let mut pids: Vec<_> =
                tasks.into_iter().map(|task| task.join().expect("a result")).collect();
            let ms = began.elapsed().as_secs_f64() * 1e3;
            pids.sort_unstable();
            pids.dedup();
            assert_eq!(pids.len() as u64, number("workers"));
            print(&[("ms", ms)]);
        }
        "burning" => {
            let seconds = burning(&pool(), number("tasks"), number("rounds"));
            let work: f64 = parameters.text("work").parse().expect("seconds");
            print(&[("seconds", seconds), ("speed_up", work / seconds)]);
        }
        "cold" => println!("{}", pool().spawn(5, |n: u64| n * n).join().expect("a result")),
        "cold-alone" => {
            println!("{}", procspawn::spawn(5, |n: u64| n * n).join().expect("a result"));
        }
        workload => panic!("no workload {workload}"),
    }
}

fn one_by_one(pool: &Pool, tasks: u64) {
    let mut sum = 0;
    in_order((0..tasks).map(|task| pool.spawn(argument(task), |n: u64| n * n)), |n| sum += n);
    assert_eq!(sum, (0..tasks).map(|task| argument(task).pow(2)).sum::<u64>());
}

fn chunks(pool: &Pool, tasks: u64) {
    let chunks = (0..tasks).step_by(CHUNK as usize).map(|start| {
        let end = tasks.min(start + CHUNK);
        let arguments: Vec<u64> = (start..end).map(argument).collect();
        pool.spawn(arguments, |all: Vec<u64>| all.into_iter().map(|n| n * n).collect::<Vec<_>>())
    });
    let mut results = Vec::new();
    in_order(chunks, |chunk: Vec<u64>| results.extend(chunk));
    assert_eq!(results.len() as u64, tasks);
    assert!((0..tasks).zip(results).all(|(task, square)| square == argument(task).pow(2)));
}

fn burning(pool: &Pool, tasks: u64, rounds: u64) -> f64 {
    let expected = burn(rounds);
    for _ in 0..2 {
        pool.spawn(rounds, burn).join().expect("a result");
    }
    let began = Instant::now();
    let mut count = 0;
    in_order((0..tasks).map(|_| pool.spawn(rounds, burn)), |result| {
        assert_eq!(result, expected);
        count += 1;
    });
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(count, tasks);
    seconds
}

/// Keeps a few tasks submitted, and takes their results in order.
fn in_order<T: Serialize + DeserializeOwned>(
    tasks: impl Iterator<Item = JoinHandle<T>>,
    mut take: impl FnMut(T),
) {
    let mut waiting = VecDeque::new();
    for task in tasks {
        waiting.push_back(task);
        if waiting.len() >= SUBMITTED {
            take(waiting.pop_front().expect("some wait").join().expect("a result"));
        }
    }
    for task in waiting {
        take(task.join().expect("a result"));
    }
}
