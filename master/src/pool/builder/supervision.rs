//! How a pool watches over its workers and its tasks.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{LONGEST, PoolBuilder, positive};
use crate::{error::Error, events::Events, machine::Settings};

/// What was asked for, where it differs from the defaults.
#[derive(Debug, Clone, Default)]
pub(super) struct Supervision {
    retries: u32,
    retry_failed: bool,
    retry_backoff: Option<Duration>,
    quarantine_after: Option<u32>,
    restart_intensity: Option<usize>,
    restart_period: Option<Duration>,
    max_tasks_per_child: Option<u64>,
    max_tasks_jitter: u64,
    max_age: Option<Duration>,
    idle_timeout: Option<Duration>,
    minimum_processes: Option<usize>,
    soft_memory_limit: Option<u64>,
    hard_memory_limit: Option<u64>,
    task_timeout: Option<Duration>,
    silence_timeout: Option<Duration>,
    cancel_grace: Option<Duration>,
    grace: Option<Duration>,
    shutdown_timeout: Option<Duration>,
}

impl Supervision {
    /// Puts it into the settings of a pool.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), Error> {
        settings.retries = self.retries;
        settings.retry_failed = self.retry_failed;
        if let Some(deaths) = self.quarantine_after {
            settings.poison_limit =
                NonZeroU32::new(deaths).ok_or_else(|| must_not_be_0("quarantine_after"))?;
        }
        settings.failed_start_intensity =
            self.restart_intensity.unwrap_or(settings.failed_start_intensity);
        let period = positive("the restart period", self.restart_period)?;
        settings.failed_start_period = period.unwrap_or(settings.failed_start_period);
        if let Some(limit) = self.max_tasks_per_child {
            let limit = NonZeroU64::new(limit);
            let limit = limit.ok_or_else(|| must_not_be_0("max_tasks_per_child"))?;
            settings.max_tasks_per_child = Some(limit);
        }
        settings.max_tasks_jitter = self.max_tasks_jitter;
        settings.max_age = positive("the age of a worker", self.max_age)?;
        settings.idle_timeout = positive("the idle timeout", self.idle_timeout)?;
        settings.minimum = self.minimum_processes.unwrap_or(settings.minimum);
        let (soft, hard) = (self.soft_memory_limit, self.hard_memory_limit);
        if soft == Some(0) || hard == Some(0) {
            return Err(must_not_be_0("a memory limit"));
        }
        (settings.soft_memory, settings.hard_memory) = (soft, hard);
        settings.task_timeout = positive("the task timeout", self.task_timeout)?;
        settings.silence_timeout = positive("the silence timeout", self.silence_timeout)?;
        // No time at all is a choice for these.
        let or = |given: Option<Duration>, default| given.map_or(default, |it| it.min(LONGEST));
        settings.retry_backoff = or(self.retry_backoff, settings.retry_backoff);
        settings.cancel_grace = or(self.cancel_grace, settings.cancel_grace);
        settings.grace = or(self.grace, settings.grace);
        settings.drain_timeout = or(self.shutdown_timeout, settings.drain_timeout);
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Error::Setup(error.to_string()))?;
        settings.seed = u64::from_ne_bytes(seed);
        Ok(())
    }
}

fn must_not_be_0(what: &str) -> Error {
    Error::InvalidArgument(format!("{what} must be at least 1, not 0"))
}

/// # Tasks that come to nothing
impl PoolBuilder {
    /// How often a task is tried again that was lost or timed out. Such a task may have had an
    /// effect, so only its author knows whether that is harmless. The worker that had it is gone, or
    /// has answered, before it begins again. Default: 0.
    ///
    /// ```
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1).retries(2).build()?;
    /// // The command ends its parent, the worker.
    /// let lost = pool.apply::<master::Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
    /// let Err(Error::Lost(report)) = lost else { panic!("the worker lives on") };
    /// assert_eq!(report.attempts.len(), 2);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn retries(mut self, retries: u32) -> Self {
        self.supervision.retries = retries;
        self
    }

    /// Tasks whose function failed are tried again too, as often as [`Self::retries`] says.
    /// Default: no.
    ///
    /// ```
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1).retries(1).retry_failed(true);
    /// let failed = pool.build()?.apply::<()>("fail", ("no luck",));
    /// let Err(Error::Failed(failure)) = failed else { panic!("it always fails") };
    /// assert_eq!(failure.attempts[0].error, "Error: no luck");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn retry_failed(mut self, retry_failed: bool) -> Self {
        self.supervision.retry_failed = retry_failed;
        self
    }

    /// How long to wait before a task is tried again for the first time. Each further time the
    /// wait is twice as long, up to a minute; chance adds up to a fourth. May be 0. Default:
    /// 100 ms.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).retries(3).retry_backoff(Duration::from_secs(1));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn retry_backoff(mut self, backoff: Duration) -> Self {
        self.supervision.retry_backoff = Some(backoff);
        self
    }

    /// How many workers a task may kill, at least 1: then it is [`Error::Lost`] for good, as
    /// [poison](crate::WorkerReport::poison), whatever retries are left. Default: 3.
    ///
    /// ```
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1).retries(100).quarantine_after(2);
    /// let lost = pool.build()?.apply::<master::Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
    /// let Err(Error::Lost(report)) = lost else { panic!("the worker lives on") };
    /// assert!(report.poison && report.attempts.len() == 1);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn quarantine_after(mut self, deaths: u32) -> Self {
        self.supervision.quarantine_after = Some(deaths);
        self
    }

    /// How long a task may run. It is then [`Error::TimedOut`]. Its worker is told to end it, if
    /// the function heeds that; otherwise, or if that does not help within [`Self::cancel_grace`],
    /// its process group gets SIGTERM, and SIGKILL after [`Self::grace`], and another worker takes
    /// the seat. Items of a map have a time of their own each, which begins when the one before is
    /// answered. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.task_timeout(Duration::from_millis(100)).build()?;
    /// assert!(matches!(pool.apply::<()>("sleep", (3600,)), Err(Error::TimedOut(_))));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn task_timeout(mut self, timeout: Duration) -> Self {
        self.supervision.task_timeout = Some(timeout);
        self
    }

    /// How long a task may be silent whose function tells of its progress. It is then ended as by
    /// [`Self::task_timeout`]. Functions that do not tell are not concerned. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).silence_timeout(Duration::from_secs(60));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.supervision.silence_timeout = Some(timeout);
        self
    }

    /// How long a function that can be told to stop may take to do so, before its worker is
    /// stopped. Default: 1 second.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).cancel_grace(Duration::from_secs(5));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn cancel_grace(mut self, grace: Duration) -> Self {
        self.supervision.cancel_grace = Some(grace);
        self
    }

    /// How long a worker may take to end after SIGTERM, before it gets SIGKILL. Default: 5
    /// seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).grace(Duration::from_millis(500));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.supervision.grace = Some(grace);
        self
    }
}

/// # Workers that come and go
impl PoolBuilder {
    /// How many starts of workers may fail within [`Self::restart_period`], or in a row however
    /// long each takes; the next one makes the pool fail. A start fails if its worker is not ready
    /// in time, or dies without ever having been given a task; a worker that has served is replaced
    /// at once and does not count, nor does one that somebody kills while it waits for its first
    /// task. Of workers that had been ready, or that somebody else killed, so many more may fail as
    /// there are seats. Failures are made good by a worker that is started after them
    /// and answers. Between failed starts there is a wait of 100 ms, which doubles up
    /// to 5 s, and to which chance adds up to a fourth. Default: 3.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).restart_intensity(10);
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn restart_intensity(mut self, starts: usize) -> Self {
        self.supervision.restart_intensity = Some(starts);
        self
    }

    /// The time within which [`Self::restart_intensity`] starts may fail. Default: 30 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).restart_period(Duration::from_secs(300));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn restart_period(mut self, period: Duration) -> Self {
        self.supervision.restart_period = Some(period);
        self
    }

    /// How many tasks a worker runs before another takes its seat, at least 1. Items of a map
    /// count one by one, whatever their chunks. Default: no limit.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1).max_tasks_per_child(1).build()?;
    /// let processes: Vec<u32> = pool.map("pid", 0..2)?;
    /// assert_ne!(processes[0], processes[1]);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.supervision.max_tasks_per_child = Some(tasks);
        self
    }

    /// Up to so many tasks more than [`Self::max_tasks_per_child`] are run by each worker, by
    /// chance, so that not all are replaced at the same time. Default: 0.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).max_tasks_per_child(100).max_tasks_jitter(20);
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn max_tasks_jitter(mut self, tasks: u64) -> Self {
        self.supervision.max_tasks_jitter = tasks;
        self
    }

    /// How long a worker may live before it is replaced, after the task in hand. Several that are
    /// of the same age are replaced one after another. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).max_age(Duration::from_secs(3600));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.supervision.max_age = Some(age);
        self
    }

    /// How long a worker may be idle before it leaves. Its seat stays empty until there is more to
    /// do than the others take. At least [`Self::minimum_processes`] stay. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).idle_timeout(Duration::from_secs(60));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.supervision.idle_timeout = Some(timeout);
        self
    }

    /// How many workers stay, however idle the pool is; 0 is a choice too. Default: 1.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).idle_timeout(Duration::from_secs(60)).minimum_processes(0);
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn minimum_processes(mut self, processes: usize) -> Self {
        self.supervision.minimum_processes = Some(processes);
        self
    }

    /// A worker with more resident memory than this, in bytes, is replaced after the task in hand,
    /// and what it was sent together with it: chunks of 1 keep closest to the limit. Not before its
    /// first task, as its successor would be no smaller. Default: no limit.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).soft_memory_limit(500 << 20);
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn soft_memory_limit(mut self, bytes: u64) -> Self {
        self.supervision.soft_memory_limit = Some(bytes);
        self
    }

    /// A worker with more resident memory than this, in bytes, is killed; the task in hand is
    /// [`Error::Lost`] with that reason. Memory is looked at every 50 ms, so a worker may exceed the
    /// limit by what it takes in that time. One that is over it before its first task counts as a
    /// failed start, as by [`Self::restart_intensity`]. Default: no limit.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).hard_memory_limit(1 << 30);
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn hard_memory_limit(mut self, bytes: u64) -> Self {
        self.supervision.hard_memory_limit = Some(bytes);
        self
    }

    /// How long a worker that is asked to leave may take, before it gets SIGTERM. Default: 5
    /// seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).shutdown_timeout(Duration::from_secs(60));
    /// assert_eq!(pool.build()?.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.supervision.shutdown_timeout = Some(timeout);
        self
    }

    /// What happens in the pool, from its beginning on.
    ///
    /// ```
    /// use master::EventKind;
    ///
    /// # let builder = integration_tests::library::pool(1);
    /// let (builder, mut events) = builder.events();
    /// let pool = builder.build()?;
    /// let first = events.next().expect("the pool runs");
    /// assert!(matches!(first.kind, EventKind::Started { .. }));
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn events(self) -> (Self, Events) {
        let events = self.events.0.subscribe();
        (self, events)
    }
}
