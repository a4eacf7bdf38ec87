//! Simulation of a whole pool in one thread: the machine, a clock that jumps, and workers that
//! crash, hang, lie, answer late or twice, and leave unasked.
//!
//! A run is made from a seed and nothing else, so the seed in the message of a failure repeats
//! it: `SIMULATION_SEED=17 cargo test -p master simulation -- --nocapture` runs that one and
//! tells what happens in it. `SIMULATION_SEEDS=100000` runs as many, beginning with a fresh one.
//!
//! - [`random`]: the source of all that is random;
//! - [`scenario`]: what a run is about: settings, workers, faults, and what is asked of the pool;
//! - [`worker`]: one simulated worker process;
//! - [`world`]: the clock and the driver;
//! - [`ledger`]: the books that are kept beside the machine, from what went in and came out, and
//!   the rules that are checked against them after every step;
//! - [`starts`]: the rules on starting workers;
//! - [`directed`]: runs that are written out, for one rule each.

mod directed;
mod ledger;
mod random;
mod scenario;
mod starts;
mod worker;
mod world;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use self::{random::Random, scenario::Scenario, world::World};
use super::Batch;

/// The seeds that every run of the tests takes.
const SEEDS: Range<u64> = 0..600;

/// A batch, as the simulation submits it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Load {
    id: usize,
    /// Where each item ends in the bytes of the batch.
    ends: Rc<[u64]>,
}

impl Load {
    fn new(id: usize, sizes: impl IntoIterator<Item = u64>) -> Self {
        let ends = sizes.into_iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        Self { id, ends: ends.collect() }
    }

    fn items(&self) -> u64 {
        self.ends.len() as u64
    }
}

impl Batch for Load {
    fn id(&self) -> u64 {
        self.id as u64
    }

    fn job(&self) -> Option<u64> {
        (self.ends.len() > 1).then_some(self.id as u64)
    }

    fn bytes(&self, items: Range<u64>) -> u64 {
        let end = |item: u64| {
            let before = usize::try_from(item).unwrap().checked_sub(1);
            before.map_or(0, |before| self.ends[before])
        };
        end(items.end) - end(items.start)
    }
}

#[test]
fn random_pools_keep_the_rules() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return run(seed, true);
    }
    let seeds = match number("SIMULATION_SEEDS") {
        Some(count) => {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            let first = u64::try_from(since.as_micros()).unwrap();
            eprintln!("simulating the seeds from {first} on");
            first..first + count
        }
        None => SEEDS,
    };
    for seed in seeds {
        run(seed, false);
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {value}")))
}

fn run(seed: u64, trace: bool) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut random = Random::new(seed);
        let scenario = Scenario::random(&mut random);
        World::new(scenario, random, trace).run();
    }));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let text = text.unwrap_or_default();
        panic!("{text}\nThe seed was {seed}: repeat it with SIMULATION_SEED={seed}");
    }
}
