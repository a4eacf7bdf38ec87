//! The details of row 9, which are a table of another shape and a graph.

use std::fmt::Write;

use super::{
    graph::{Graph, Panel, Series},
    written::{count, number},
};
use crate::{
    results::Run,
    row::Row,
    rows::growth::{QUEUE_OF_WORKERS, QUEUES, WORKERS, name},
};

/// The file with the graph, beside the report.
pub(crate) const GRAPH: &str = "BENCHMARKS-growth.svg";

/// The parts of a cost: the names of their figures, and what they are.
const PARTS: [(&str, &str); 3] =
    [("wall", "clock"), ("master", "CPU of the master"), ("workers", "CPU of the workers")];

/// The costs by length of the queue, and the graph.
pub(crate) fn details(run: &Run, row: &Row) -> String {
    let mut text = format!(
        "![Microseconds a task against the number of workers and the length of the queue]({GRAPH})\
         \n\n| queue |"
    );
    for (_, part) in PARTS {
        for workers in WORKERS {
            let _ = write!(text, " {part}, {workers} workers |");
        }
    }
    text += "\n|---:|";
    text += &"---:|".repeat(PARTS.len() * WORKERS.len());
    text += "\n";
    for queue in QUEUES {
        let _ = write!(text, "| {} |", count(queue));
        for (part, _) in PARTS {
            for workers in WORKERS {
                let cell = cost(run, row, workers, part, queue).map_or("-".to_owned(), number);
                let _ = write!(text, " {cell} |");
            }
        }
        text += "\n";
    }
    text += "\nMicroseconds a task, medians of the rounds.\n";
    text
}

/// The graph.
pub(crate) fn graph(run: &Run, row: &Row) -> String {
    let against_queue = WORKERS.map(|workers| {
        let points = QUEUES
            .iter()
            .filter_map(|&queue| Some((queue as f64, cost(run, row, workers, "wall", queue)?)));
        Series { name: format!("{workers} workers"), points: points.collect() }
    });
    let against_workers = PARTS.map(|(part, name)| {
        let points = WORKERS.iter().filter_map(|&workers| {
            Some((workers as f64, cost(run, row, workers, part, QUEUE_OF_WORKERS)?))
        });
        Series { name: name.to_owned(), points: points.collect() }
    });
    let panels = [
        Panel {
            title: "us a task, by tasks in the queue".to_owned(),
            ticks: QUEUES.iter().map(|&queue| (queue as f64, short(queue))).collect(),
            series: against_queue.into(),
        },
        Panel {
            title: format!("us a task, by workers ({} in the queue)", short(QUEUE_OF_WORKERS)),
            ticks: WORKERS.iter().map(|&workers| (workers as f64, workers.to_string())).collect(),
            series: against_workers.into(),
        },
    ];
    Graph { title: "Microseconds a task", panels: &panels }.svg()
}

fn short(count: u64) -> String {
    match count {
        1_000_000.. => format!("{} M", count / 1_000_000),
        _ => format!("{} k", count / 1_000),
    }
}

fn cost(run: &Run, row: &Row, workers: u64, part: &str, queue: u64) -> Option<f64> {
    let figure = format!("{part}_{queue}");
    Some(run.spread(row.number, &name(workers), &figure)?.median)
}
