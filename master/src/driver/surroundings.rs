//! What the process of a worker finds around it.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use rustix::{
    process::Rlimit,
    thread::{CpuSet, sched_getaffinity},
};

use super::before_exec::{Constraints, Step};
use crate::{error::Error, machine::SlotId, resource::Resource};

/// The kindest and the least kind niceness there is.
const NICENESS: std::ops::RangeInclusive<i32> = -20..=19;

/// What the process of a worker finds around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// The environment of the master is not passed on.
    pub(crate) clear: bool,
    /// Environment variables to set, or to remove, in this order.
    pub(crate) variables: Vec<(OsString, Option<OsString>)>,
    /// The directory to start in; that of the master if there is none.
    pub(crate) directory: Option<PathBuf>,
    /// How much it may have of what, each resource once.
    pub(crate) limits: Vec<(Resource, u64)>,
    /// Its niceness; that of the master if there is none.
    pub(crate) niceness: Option<i32>,
    /// The CPUs that it may use; those of the master if nothing is said.
    pub(crate) cpus: Option<Cpus>,
    /// The worker writes to the standard output and error of the master itself.
    pub(crate) inherit_output: bool,
    /// A failure of the worker's function is told on standard error, below the name of the pool,
    /// as a process of Python's does by itself.
    pub(crate) tell_failures: bool,
    /// It makes one call and leaves, so that nothing of it is to be seen before that call ends.
    pub(crate) single_call: bool,
}

/// On which CPUs workers run.
#[derive(Debug, Clone)]
pub(crate) enum Cpus {
    /// Each worker on any of these.
    These(BTreeSet<usize>),
    /// Each worker on one of those that the master may use, by its slot.
    OneEach,
}

impl Surroundings {
    /// Sets a variable.
    pub(crate) fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.variables.push((name.as_ref().into(), Some(value.as_ref().into())));
    }

    /// Leaves a variable out.
    pub(crate) fn remove(&mut self, name: impl AsRef<OsStr>) {
        self.variables.push((name.as_ref().into(), None));
    }

    /// Leaves all variables out, those of the master and those that were set so far.
    pub(crate) fn clear(&mut self) {
        self.clear = true;
        self.variables.clear();
    }

    /// Limits a resource; a limit that was set before is forgotten.
    pub(crate) fn limit(&mut self, resource: Resource, most: u64) {
        self.limits.retain(|&(other, _)| other != resource);
        self.limits.push((resource, most));
    }

    /// Pins workers to these CPUs.
    pub(crate) fn pin(&mut self, cpus: impl IntoIterator<Item = usize>) {
        let mut set = BTreeSet::new();
        for cpu in cpus {
            set.insert(cpu);
            // With more than can exist there is one that cannot, which is told later.
            if set.len() > CpuSet::MAX_CPU {
                break;
            }
        }
        self.cpus = Some(Cpus::These(set));
    }

    /// Whether the operating system can take what was set.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let holds = |text: &OsStr, byte: u8| text.as_bytes().contains(&byte);
        for (name, value) in &self.variables {
            let text = name.display();
            let problem = if name.is_empty() {
                "the name of an environment variable is empty".to_owned()
            } else if holds(name, b'=') || holds(name, 0) {
                format!(
                    "no environment variable can be called {text:?}: there is a `=` or NUL in it"
                )
            } else if value.as_ref().is_some_and(|value| holds(value, 0)) {
                format!("the environment variable {text:?} cannot hold a NUL")
            } else {
                continue;
            };
            return Err(Error::InvalidArgument(problem));
        }
        self.check_cpus()?;
        if let Some(niceness) = self.niceness.filter(|niceness| !NICENESS.contains(niceness)) {
            let (kind, unkind) = (NICENESS.end(), NICENESS.start());
            return Err(Error::InvalidArgument(format!(
                "a niceness of {niceness} does not exist: it is from {unkind} to {kind}"
            )));
        }
        match &self.directory {
            Some(directory) if directory.as_os_str().is_empty() => {
                Err(Error::InvalidArgument("the name of the directory is empty".into()))
            }
            Some(directory) if holds(directory.as_os_str(), 0) => {
                Err(Error::InvalidArgument("the name of a directory cannot hold a NUL".into()))
            }
            _ => Ok(()),
        }
    }

    fn check_cpus(&self) -> Result<(), Error> {
        let Some(Cpus::These(cpus)) = &self.cpus else { return Ok(()) };
        let most = CpuSet::MAX_CPU;
        let problem = match cpus.last() {
            None => "there is no CPU among those that workers are pinned to".to_owned(),
            Some(&last) if last >= most => {
                format!("the CPU {last} cannot exist: they are numbered from 0 to {}", most - 1)
            }
            Some(_) => return Ok(()),
        };
        Err(Error::InvalidArgument(problem))
    }

    /// What the worker of this slot has to take on before it begins.
    pub(super) fn constraints(&self, slot: SlotId) -> Constraints {
        let limits = self.limits.iter().map(|&(resource, most)| {
            // The largest number means that there is no limit.
            let most = Some(most).filter(|&most| most != u64::MAX);
            (resource.native(), Rlimit { current: most, maximum: most })
        });
        let cpus = match &self.cpus {
            None => None,
            Some(Cpus::These(cpus)) => Some(set_of(cpus.iter().copied())),
            Some(Cpus::OneEach) => one_of_ours(slot),
        };
        Constraints { cpus, niceness: self.niceness, limits: limits.collect() }
    }

    /// What could not be done, if this step was refused.
    pub(super) fn describe(&self, step: Step) -> String {
        match step {
            Step::Cpus => match &self.cpus {
                Some(Cpus::These(cpus)) => {
                    let cpus: Vec<_> = cpus.iter().map(ToString::to_string).collect();
                    format!("pin it to the CPUs {}, not all of which it may use", cpus.join(","))
                }
                _ => "pin it to a CPU".to_owned(),
            },
            Step::Niceness => {
                format!("set its niceness to {}", self.niceness.unwrap_or_default())
            }
            Step::Limit(index) => match self.limits.get(index) {
                Some((resource, most)) => format!("set its limit of {resource} to {most}"),
                None => "set a limit".to_owned(),
            },
        }
    }
}

fn set_of(cpus: impl IntoIterator<Item = usize>) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.into_iter().filter(|&cpu| cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    set
}

/// The CPU of a slot, of those that this process may use.
fn one_of_ours(slot: SlotId) -> Option<CpuSet> {
    let ours = match sched_getaffinity(None) {
        Ok(ours) => ours,
        Err(error) => {
            log::warn!("cannot tell which CPUs this process may use: {error}");
            return None;
        }
    };
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| ours.is_set(cpu)).collect();
    let index = slot.0 as usize % cpus.len().max(1);
    cpus.get(index).map(|&cpu| set_of([cpu]))
}
