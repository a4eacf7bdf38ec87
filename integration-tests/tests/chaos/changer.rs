//! A pool that is made larger and smaller, and whose workers are replaced, while all the rest goes
//! on.

use std::{fmt, time::Duration};

use integration_tests::Deadline;
use master::{Error, Pool, WorkerStatus, command::WorkerCommand};

use crate::random::Random;

/// The time from one change to the next, in milliseconds.
const PAUSE: std::ops::RangeInclusive<u64> = 200..=1_000;

/// How many workers there may be.
const SIZES: std::ops::RangeInclusive<u64> = 2..=6;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    sizes: u64,
    replacements: u64,
    /// Those that were given up, as a new worker was struck.
    given_up: u64,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, replacements, given_up } = self;
        write!(f, "{sizes} changes of size, {replacements} replacements ({given_up} given up)")
    }
}

impl Changes {
    /// Changes a pool until the time is over.
    pub(crate) fn make_until(
        pool: &Pool,
        worker: &WorkerCommand,
        mut random: Random,
        end: Deadline,
    ) -> Self {
        let mut changes = Self::default();
        while !end.left().is_zero() {
            end.pause(Duration::from_millis(random.within(PAUSE)));
            if random.percent(50) {
                let size = usize::try_from(random.within(SIZES)).unwrap();
                pool.resize(size).unwrap();
                changes.sizes += 1;
            } else {
                changes.replace(pool, worker);
            }
        }
        changes
    }

    fn replace(&mut self, pool: &Pool, worker: &WorkerCommand) {
        let pid = |worker: &WorkerStatus| worker.pid;
        let before: Vec<_> = pool.status().unwrap().workers.iter().map(pid).collect();
        self.replacements += 1;
        match pool.replace(worker.clone()) {
            Ok(()) => {
                // Who is still there has something to finish, or is stopped.
                let after = pool.status().unwrap().workers;
                let old = after.iter().filter(|worker| before.contains(&worker.pid));
                let stays: Vec<_> = old.filter(|worker| worker.state == IDLE).collect();
                assert!(stays.is_empty(), "{stays:?} of {before:?}");
            }
            Err(Error::NotReplaced(_)) => self.given_up += 1,
            Err(other) => panic!("the chaos does not explain: {other}"),
        }
    }
}

/// A worker that could be given something.
const IDLE: master::WorkerState = master::WorkerState::Idle;
