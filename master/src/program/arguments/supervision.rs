//! How a pool watches over its workers and its calls.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Args;

use super::at_least_one;
use crate::{
    PoolBuilder,
    program::{duration, size},
};

/// What becomes of calls that come to nothing, and of workers that are worn out.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub struct SupervisionOptions {
    /// Try a call again that was lost or timed out, up to N times [default: 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Try a call again too whose function failed
    #[arg(long, requires = "retries")]
    pub retry_failed: bool,
    /// Wait before a call is tried again; doubles each time [default: 100ms]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub retry_backoff: Option<Duration>,
    /// Give up a call that has killed N workers, whatever retries are left [default: 3]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub quarantine_after: Option<NonZeroUsize>,
    /// End a call of a function that reports progress and is silent for longer [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub silence_timeout: Option<Duration>,
    /// How long a worker that is stopped has after SIGTERM, before SIGKILL [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub grace: Option<Duration>,
    /// Let each worker make up to N more calls than --max-tasks-per-child, by chance
    #[arg(long, value_name = "N", requires = "max_tasks_per_child")]
    pub max_tasks_jitter: Option<u64>,
    /// Replace a worker that is older, after the call in hand [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub max_age: Option<Duration>,
    /// Let a worker go that has been idle for longer, until it is needed again [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle_timeout: Option<Duration>,
    /// Keep N workers, however idle [default: 1]
    #[arg(long, value_name = "N", requires = "idle_timeout")]
    pub minimum_processes: Option<usize>,
    /// Replace a worker with more memory, such as 500M or 2G, after the call in hand
    /// [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub soft_memory: Option<u64>,
    /// Kill a worker with more memory; its call is lost [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub hard_memory: Option<u64>,
    /// How many starts of workers may fail within --restart-period [default: 3]
    #[arg(long, value_name = "N")]
    pub restart_intensity: Option<usize>,
    /// The period of --restart-intensity [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub restart_period: Option<Duration>,
    /// Write what happens to workers and calls to FILE, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Record all that `master` and its workers say to each other in FILE, for `master frames`
    /// and `master replay`. Meanwhile nothing passes through shared memory, which is slower for
    /// large values
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

impl SupervisionOptions {
    /// The same, for a pool.
    pub(in crate::program) fn apply(&self, mut builder: PoolBuilder) -> PoolBuilder {
        if let Some(retries) = self.retries {
            builder = builder.retries(retries).retry_failed(self.retry_failed);
        }
        if let Some(backoff) = self.retry_backoff {
            builder = builder.retry_backoff(backoff);
        }
        if let Some(deaths) = self.quarantine_after {
            builder = builder.quarantine_after(u32::try_from(deaths.get()).unwrap_or(u32::MAX));
        }
        if let Some(timeout) = self.silence_timeout {
            builder = builder.silence_timeout(timeout);
        }
        if let Some(grace) = self.grace {
            builder = builder.grace(grace);
        }
        if let Some(tasks) = self.max_tasks_jitter {
            builder = builder.max_tasks_jitter(tasks);
        }
        if let Some(age) = self.max_age {
            builder = builder.max_age(age);
        }
        if let Some(timeout) = self.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(processes) = self.minimum_processes {
            builder = builder.minimum_processes(processes);
        }
        if let Some(bytes) = self.soft_memory {
            builder = builder.soft_memory_limit(bytes);
        }
        if let Some(bytes) = self.hard_memory {
            builder = builder.hard_memory_limit(bytes);
        }
        if let Some(starts) = self.restart_intensity {
            builder = builder.restart_intensity(starts);
        }
        if let Some(period) = self.restart_period {
            builder = builder.restart_period(period);
        }
        builder
    }
}
