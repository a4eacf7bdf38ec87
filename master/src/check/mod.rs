//! A checker of workers: plays the master against one, by the letter of the specification.
//!
//! It starts the worker again and again, each time for a short conversation that tries some of the
//! requirements of `SPEC.md`, and judges every byte that comes. It reads and writes with
//! [`protocol::strict`], which shares nothing with the codec of the pool: so the two can differ only
//! where one of them is wrong.
//!
//! In reading order:
//! - [`Checker`] and [`Report`];
//! - `subject` and `session`: a process that is tried, and a conversation with it;
//! - `cases`: what is tried.

mod cases;
mod finding;
mod report;
mod running;
mod session;
mod shared;
mod subject;
mod trial;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

pub use self::report::{Judgement, Report, Verdict, Violation};
pub(crate) use self::running::Running;
use self::{
    finding::{Finding, Stop},
    trial::{Case, Trial},
};
use crate::command::WorkerCommand;

/// How many conversations are held at once, at the most.
const MOST_AT_ONCE: usize = 4;

/// Tries a worker.
///
/// ```no_run
/// use master::{
///     check::{Checker, Verdict},
///     command::{CommandLine, SearchPath},
/// };
///
/// let search = SearchPath::from_environment()?;
/// let command = CommandLine::parse("worker --conformance")?.resolve(&search)?;
/// let report = Checker::new(command).pick("W-26").run();
/// for judgement in report.judgements() {
///     println!("{} {}", judgement.requirement, judgement.verdict.name());
/// }
/// assert!(report.passed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checker {
    command: WorkerCommand,
    patience: Duration,
    large: bool,
    pick: Option<String>,
}

/// What one case came to.
pub(crate) struct Outcome {
    case: &'static str,
    tries: &'static [u32],
    findings: Vec<Finding>,
    confirmed: Vec<u32>,
    remarks: Vec<(u32, String)>,
    /// Why it did not come to its end, if that is not among the findings.
    stop: Option<Stop>,
}

impl Outcome {
    fn untried(case: &Case, stop: &Stop) -> Self {
        Self {
            case: case.name,
            tries: case.tries,
            findings: Vec::new(),
            confirmed: Vec::new(),
            remarks: Vec::new(),
            stop: Some(stop.clone()),
        }
    }
}

impl Checker {
    /// The default of [`Self::patience`]: 5 seconds.
    pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);

    /// Tries the worker of this command in everything.
    pub const fn new(command: WorkerCommand) -> Self {
        Self { command, patience: Self::DEFAULT_PATIENCE, large: true, pick: None }
    }

    /// How long the worker may take for what it is to do at once, such as to answer a call that takes
    /// no time. For its hello it has 10 seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Leaves out bodies of about 1 GiB, which take several GiB of memory and some seconds. What they
    /// try is then not tested.
    #[must_use]
    pub fn without_large_bodies(self) -> Self {
        Self { large: false, ..self }
    }

    /// Tries only what this names: a requirement, such as `W-26`, or a part of what a case is called.
    /// Several may be given, with commas between.
    #[must_use]
    pub fn pick(self, names: impl Into<String>) -> Self {
        Self { pick: Some(names.into()), ..self }
    }

    /// The cases that try a requirement for workers, by its number: W-26 is 26.
    pub fn cases(requirement: u32) -> impl Iterator<Item = &'static str> {
        let tries = move |case: &&Case| case.tries.contains(&requirement);
        cases::all().filter(tries).map(|case| case.name)
    }

    /// Holds all conversations, which takes some seconds.
    #[must_use]
    pub fn run(&self) -> Report {
        self.run_stoppable(&Running::default(), &|_, _| {})
    }

    /// The same, to be ended from elsewhere. `tell` hears how many of how many cases are done.
    pub(crate) fn run_stoppable(
        &self,
        running: &Running,
        tell: &(dyn Fn(usize, usize) + Sync),
    ) -> Report {
        let mut picked: Vec<&Case> = cases::all().filter(|case| self.is_picked(case)).collect();
        let (all, done) = (picked.len(), AtomicUsize::new(0));
        let hold = |case: &Case| {
            let outcome = self.hold(case, running);
            tell(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            outcome
        };
        let mut outcomes = Vec::new();
        if self.pick.is_none() && !picked.is_empty() {
            let first = hold(picked.remove(0));
            let stop = first.stop.clone();
            outcomes.push(first);
            // Who does not get ready once is not to be waited for in all the others.
            if let Some(stop) = stop {
                outcomes.extend(picked.into_iter().map(|case| Outcome::untried(case, &stop)));
                return Report::of(outcomes, None);
            }
        }
        let (alone, together): (Vec<_>, Vec<_>) = picked.into_iter().partition(|case| case.alone);
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
        let next = AtomicUsize::new(0);
        let hold_some = || {
            let mut outcomes = Vec::new();
            while let Some(case) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                outcomes.push(hold(case));
            }
            outcomes
        };
        outcomes.extend(std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(hold_some)).collect();
            let joined = threads.into_iter().filter_map(|thread| thread.join().ok());
            joined.flatten().collect::<Vec<_>>()
        }));
        outcomes.extend(alone.into_iter().map(hold));
        Report::of(outcomes, self.named())
    }

    /// The requirements that the pick names by their numbers, or none if it names no number.
    fn named(&self) -> Option<Vec<u32>> {
        let names = self.pick.as_ref()?.split(',');
        let numbers: Vec<_> = names.filter_map(number_of).collect();
        (!numbers.is_empty()).then_some(numbers)
    }

    fn is_picked(&self, case: &Case) -> bool {
        let Some(pick) = &self.pick else { return true };
        pick.split(',').map(str::trim).any(|name| match number_of(name) {
            Some(number) => case.tries.contains(&number),
            None => case.name.contains(name),
        })
    }

    fn hold(&self, case: &Case, running: &Running) -> Outcome {
        let trial = Trial::new(self, running);
        // A defect of the checker should not take the rest with it.
        let ended = catch_unwind(AssertUnwindSafe(|| (case.run)(&trial)));
        let ended = ended.unwrap_or_else(|_| {
            Err(Stop::Impossible("the checker itself has failed: please report it".into()))
        });
        let Trial { findings, confirmed, remarks, .. } = trial;
        let (mut findings, mut confirmed) = (findings.into_inner(), confirmed.into_inner());
        let stop = match ended {
            Ok(()) => {
                confirmed.extend(case.tries);
                None
            }
            Err(Stop::Broken(finding)) => {
                // What is wrong stands where the requirement is that was broken.
                let text = format!("`{}` stopped at W-{}", case.name, finding.requirement);
                findings.push(*finding);
                Some(Stop::Impossible(text))
            }
            Err(stop) => Some(stop),
        };
        confirmed.retain(|number| findings.iter().all(|finding| finding.requirement != *number));
        Outcome {
            case: case.name,
            tries: case.tries,
            findings,
            confirmed: confirmed.into_iter().collect(),
            remarks: remarks.into_inner().into_iter().collect(),
            stop,
        }
    }
}

/// The number of a name such as `W-26`.
fn number_of(name: &str) -> Option<u32> {
    let name = name.trim();
    name.strip_prefix("W-").or_else(|| name.strip_prefix("w-"))?.parse().ok()
}
