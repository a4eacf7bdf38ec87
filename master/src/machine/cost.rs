//! What the decisions cost, apart from all that is done: to be run by hand, in a release build.

use std::{collections::HashSet, ops::Range, time::Duration};

use super::*;

const TASKS: u64 = 1_000_000;

#[derive(Debug, Clone)]
struct Load;

impl Batch for Load {
    fn id(&self) -> u64 {
        0
    }

    fn job(&self) -> Option<u64> {
        Some(0)
    }

    fn bytes(&self, items: Range<u64>) -> u64 {
        (items.end - items.start) * 3
    }
}

/// A machine with workers that are ready.
fn ready(workers: usize) -> Machine<Load> {
    let mut machine = Machine::new(Settings::new(vec![GroupId(0); workers]));
    let mut now = Duration::ZERO;
    machine.advance(now);
    let repertoire =
        || Repertoire { functions: HashSet::from([FunctionId(0)]), ..Repertoire::default() };
    loop {
        let actions = machine.actions();
        if actions.is_empty() {
            return machine;
        }
        for action in actions {
            match action {
                Action::Start { worker, .. } => {
                    machine.handle(now, Event::Greeted { worker, repertoire: repertoire() });
                }
                Action::Welcome { worker } => machine.handle(now, Event::Ready { worker }),
                other => panic!("{other:?} is not expected"),
            }
        }
        now += Duration::from_micros(10);
        machine.advance(now);
    }
}

/// Lets workers answer whatever they are sent, for a microsecond an item, and gives how long the
/// machine took for each.
fn cost(workers: usize, chunk_size: Option<u64>) -> f64 {
    let mut machine = ready(workers);
    let mut now = Duration::from_secs(1);
    let began = crate::driver::now();
    let submitted =
        Event::Submitted { batch: Load, function: FunctionId(0), items: TASKS, chunk_size };
    machine.handle(now, submitted);
    let mut answered = 0;
    while answered < TASKS {
        machine.advance(now);
        for action in machine.actions() {
            let Action::Send { worker, call, chunk, .. } = action else { continue };
            let count = chunk.items.end - chunk.items.start;
            let items = 0..u32::try_from(count).unwrap();
            now += Duration::from_micros(count);
            let answer = machine.answer(now, worker, call, items, Verdict::Completed);
            assert_eq!(answer, Answer::Accepted { batch: Load, items: chunk.items });
            answered += count;
        }
    }
    assert!(machine.is_at_rest());
    began.elapsed().as_nanos() as f64 / TASKS as f64
}

impl PartialEq for Load {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[test]
#[ignore = "it prints a figure, which means something in a release build"]
fn machine_cost() {
    println!("machine: {:.1} ns a task", cost(2, Some(1)));
    for (workers, chunk_size) in [(64, Some(1)), (2, None), (64, None)] {
        let chunks = if chunk_size.is_some() { "chunks of one" } else { "chunks left to the pool" };
        println!("{workers} workers, {chunks}: {:.2} ns a task", cost(workers, chunk_size));
    }
}
