//! What a map has to do in any case: its arguments and results are encoded and decoded.

use std::time::Instant;

use serde::Deserialize;

use crate::figures::{Figures, Parameters, argument, figures, rate};

/// `tasks`: how many items. Each step runs over all of them, on one CPU.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let tasks: u64 = parameters.get("tasks");
    let began = Instant::now();
    let mut bytes = Vec::new();
    for task in 0..tasks {
        rmp_serde::encode::write(&mut bytes, &(argument(task),)).expect("a vector takes all");
    }
    let arguments: Vec<(u64,)> = decoded(&bytes, tasks);
    bytes.clear();
    for (n,) in &arguments {
        rmp_serde::encode::write(&mut bytes, &(n * n)).expect("a vector takes all");
    }
    let results: Vec<u64> = decoded(&bytes, tasks);
    let time = began.elapsed();
    for (task, square) in (0..tasks).zip(&results) {
        assert_eq!(*square, argument(task).pow(2));
    }
    figures([("per_second", rate(tasks, time)), ("ns", 1e9 / rate(tasks, time))])
}

fn decoded<'a, T: Deserialize<'a>>(bytes: &'a [u8], count: u64) -> Vec<T> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    let all = (0..count).map(|_| T::deserialize(&mut deserializer).expect("what was encoded"));
    all.collect()
}
