//! The same calls on two pools: where do their results differ, and which is faster?
//!
//! It is the safe way to another implementation of a worker: first the two are compared on
//! inputs that matter, then one takes the place of the other
//! ([`Pool::replace`]). On the command line it is `master compare`.
//!
//! ```
//! use master::{
//!     Arguments,
//!     compare::{CompareOptions, Comparison},
//! };
//!
//! # let (one, other) = (integration_tests::library::pool(1).build()?, integration_tests::library::pool(1).build()?);
//! let mut comparison = Comparison::new(&one, &other, "square", CompareOptions::default())?;
//! let inputs = (0..100).map(|n| Arguments::new((n,))).collect::<Result<Vec<_>, _>>()?;
//! comparison.compare(inputs, |difference| println!("{difference:?}"))?;
//! let summary = comparison.summary();
//! assert_eq!((summary.inputs, summary.equal), (100, 100));
//! println!("{:?} and {:?}", summary.times[0], summary.times[1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The two work in turns, a round of inputs each, so that neither takes the CPUs from the other,
//! and take turns in who begins. A round is as long as it takes about half a second, and what is
//! in it is all that lies in memory: inputs may have no end.

mod judge;

use std::time::Duration;

pub(crate) use self::judge::difference_of_values;
pub use self::judge::{Outcome, Verdict, judge};
use crate::{
    Arguments, Pool,
    batch::Items,
    driver::now,
    error::{Cancelled, Error},
    stream::{Feeder, Stream},
};

/// A round is made longer while it takes less than that: a quarter of a second. Beside that what
/// it costs to begin one is nothing.
const SHORT_ROUND: Duration = Duration::from_millis(250);

/// A round is made shorter that takes longer than that, so that differences are told soon.
const LONG_ROUND: Duration = Duration::from_secs(1);

/// Inputs of a round at the most: what a lazy map looks ahead.
const MAX_ROUND: usize = 4096;

/// Bytes of results of one side beyond which a round is made shorter: 16 MiB.
const LARGE_ROUND: usize = 16 << 20;

/// How long to wait for all workers of a pool before its time is taken. Those that take longer
/// start while it works.
const GET_READY: Duration = Duration::from_secs(10);

/// What counts as different.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CompareOptions {
    /// Floats that differ by no more than this are the same: relative to the larger one if that
    /// is beyond 1, absolute otherwise. Default: 0.
    pub tolerance: f64,
}

/// An input on which the two differ.
#[derive(Debug)]
pub struct Difference<'a> {
    /// Which input, counted from 1.
    pub input: u64,
    /// The encoded arguments: an array, and a map behind it if there are keywords.
    pub arguments: &'a [u8],
    /// What came of it on either side.
    pub outcomes: [&'a Outcome; 2],
    /// How they differ.
    pub verdict: Verdict,
}

/// What a comparison came to so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many inputs there were.
    pub inputs: u64,
    /// On how many of them both sides gave the same value, or failed in the same way.
    pub equal: u64,
    /// On how many the first side alone failed, and on how many the second.
    pub failed_alone: [u64; 2],
    /// How long each side took for all of them.
    pub times: [Duration; 2],
}

impl Summary {
    /// On how many inputs the two differ.
    pub const fn different(&self) -> u64 {
        self.inputs - self.equal
    }
}

/// One side cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct CompareError {
    /// Which side, 0 or 1.
    pub side: usize,
    /// Why.
    #[source]
    pub error: Error,
}

/// A comparison that is under way.
pub struct Comparison<'a> {
    sides: [Side<'a>; 2],
    options: CompareOptions,
    summary: Summary,
    /// How many inputs the next round has.
    round: usize,
    /// How many it has at least.
    least: usize,
    /// Who begins.
    begins: usize,
}

/// One of the two.
struct Side<'a> {
    pool: &'a Pool,
    feeder: Feeder,
    stream: Stream,
}

/// The arguments of some calls, encoded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
    pub(crate) keywords: bool,
}

impl Round {
    fn items(&self) -> Items {
        let Self { bytes, ends, keywords } = self;
        Items { bytes: bytes.clone().into(), ends: ends.clone(), keywords: *keywords }
    }

    fn arguments(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(index).copied().unwrap_or(self.bytes.len());
        self.bytes.get(start.unwrap_or(0)..end).unwrap_or_default()
    }
}

impl<'a> Comparison<'a> {
    /// Two pools and the function that is to be called on both.
    ///
    /// # Errors
    /// If one of the pools has ended already.
    pub fn new(
        one: &'a Pool,
        other: &'a Pool,
        function: &str,
        options: CompareOptions,
    ) -> Result<Self, CompareError> {
        let least = usize::try_from(one.processes().max(other.processes())).unwrap_or(MAX_ROUND);
        let least = least.clamp(1, MAX_ROUND);
        let side = |side: usize, pool: &'a Pool| {
            let ends = pool.stream(function, true, None);
            let (feeder, stream) = ends.map_err(|error| CompareError { side, error })?;
            Ok(Side { pool, feeder, stream })
        };
        let sides = [side(0, one)?, side(1, other)?];
        let summary = Summary::default();
        Ok(Self { sides, options, summary, round: least, least, begins: 0 })
    }

    /// Makes these calls on both sides, and tells of each difference as it is found. It may be
    /// called again with more. Calls that are cancelled, as by the end of a pool, end it.
    ///
    /// # Errors
    /// [`CompareError`] if one side cannot go on: it has no such function, or its workers cannot
    /// be started.
    pub fn compare(
        &mut self,
        inputs: impl IntoIterator<Item = Arguments>,
        mut tell: impl FnMut(&Difference<'_>),
    ) -> Result<(), CompareError> {
        let mut inputs = inputs.into_iter().map(Arguments::into_item).peekable();
        while let Some(&(_, keywords)) = inputs.peek() {
            let mut round = Round { keywords, ..Round::default() };
            while round.ends.len() < self.round_size()
                && let Some((item, _)) = inputs.next_if(|(_, other)| *other == keywords)
            {
                round.bytes.extend_from_slice(&item);
                round.ends.push(round.bytes.len());
            }
            if !self.run(&round, &mut tell)? {
                break;
            }
        }
        Ok(())
    }

    /// What it has come to so far.
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// How many inputs the next round should have.
    pub(crate) const fn round_size(&self) -> usize {
        self.round
    }

    /// Makes the calls of a round. Tells whether to go on.
    pub(crate) fn run(
        &mut self,
        round: &Round,
        tell: &mut impl FnMut(&Difference<'_>),
    ) -> Result<bool, CompareError> {
        if self.summary.inputs == 0 {
            for side in &self.sides {
                side.pool.wait_until_ready(GET_READY);
            }
        }
        let mut outcomes = [Vec::new(), Vec::new()];
        let mut times = [Duration::ZERO; 2];
        self.begins = 1 - self.begins;
        for side in [self.begins, 1 - self.begins] {
            let (Some(here), Some(outcomes)) = (self.sides.get_mut(side), outcomes.get_mut(side))
            else {
                return Ok(false);
            };
            let began = now();
            let complete =
                here.run(round, outcomes).map_err(|error| CompareError { side, error })?;
            if !complete {
                return Ok(false);
            }
            if let Some(time) = times.get_mut(side) {
                *time = now().saturating_duration_since(began);
            }
        }
        // Only now, as a round that one side does not complete says nothing about the other.
        self.summary.times.iter_mut().zip(times).for_each(|(total, time)| *total += time);
        let longest = times.into_iter().max().unwrap_or_default();
        let size = outcomes.iter().map(|side| side.iter().map(Outcome::size).sum()).max();
        self.adapt(longest, size.unwrap_or(0));
        let [one, other] = &outcomes;
        for (index, pair) in one.iter().zip(other).enumerate() {
            self.judge(round, index, pair, tell);
        }
        Ok(true)
    }

    fn judge(
        &mut self,
        round: &Round,
        index: usize,
        (one, other): (&Outcome, &Outcome),
        tell: &mut impl FnMut(&Difference<'_>),
    ) {
        self.summary.inputs += 1;
        let verdict = judge(one, other, self.options.tolerance);
        match verdict {
            Verdict::Same => {
                self.summary.equal += 1;
                return;
            }
            Verdict::FailedAlone(side) => {
                if let Some(count) = self.summary.failed_alone.get_mut(side) {
                    *count += 1;
                }
            }
            Verdict::Values(_) | Verdict::Errors => {}
        }
        let (input, arguments) = (self.summary.inputs, round.arguments(index));
        tell(&Difference { input, arguments, outcomes: [one, other], verdict });
    }

    /// Makes the next round shorter or longer.
    fn adapt(&mut self, time: Duration, size: usize) {
        self.round = match () {
            () if time > LONG_ROUND || size > LARGE_ROUND => self.round / 2,
            () if time < SHORT_ROUND => self.round * 2,
            () => self.round,
        };
        // Of large results even one for each worker may be much.
        let least = if size > LARGE_ROUND { 1 } else { self.least };
        self.round = self.round.clamp(least, MAX_ROUND);
    }
}

impl std::fmt::Debug for Comparison<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl Side<'_> {
    /// Makes the calls of a round and waits for all outcomes. Tells whether all have come: where
    /// calls are cancelled nobody wants to know any more.
    fn run(&mut self, round: &Round, outcomes: &mut Vec<Outcome>) -> Result<bool, Error> {
        let over = |pool: &Pool| pool.failure().unwrap_or(Error::NotRunning);
        if !self.feeder.feed(round.items(), None) {
            return match over(self.pool) {
                Error::NotRunning => Ok(false),
                error => Err(error),
            };
        }
        for _ in &round.ends {
            outcomes.push(match self.stream.next() {
                Some((_, Ok(value))) => Outcome::Value(value.to_vec()),
                Some((_, Err(error))) => match error {
                    Error::Failed(_) | Error::Lost(_) | Error::TimedOut(_) => {
                        Outcome::Error(Box::new(error))
                    }
                    Error::Cancelled(
                        Cancelled::ByCaller | Cancelled::Interrupted | Cancelled::Terminated,
                    )
                    | Error::NotRunning => return Ok(false),
                    error => return Err(error),
                },
                None => return Err(over(self.pool)),
            });
        }
        Ok(true)
    }
}
