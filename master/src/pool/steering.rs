//! Looking at a pool, and changing it while it runs.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use super::{MAX_PROCESSES, Pool};
use crate::{
    command::WorkerCommand,
    deadline::Deadline,
    driver::{Command, Handle, Status},
    error::Error,
    events::Events,
    status::{PoolStatus, WorkerState, WorkerStatus},
};

/// How long to wait before another look at whether workers are ready, which nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Pool {
    /// How things stand: every worker, what waits and runs, and what has happened so far. After
    /// the end of the pool there are only the counters.
    ///
    /// ```
    /// use master::WorkerState;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// # assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// let nap = pool.apply_async::<()>("sleep", (3600,))?;
    /// while pool.status()?.workers[0].task.is_none() {}
    /// let status = pool.status()?;
    /// assert_eq!(status.workers[0].state, WorkerState::Busy);
    /// assert_eq!(status.workers[0].task.as_ref().map(|task| &task.function[..]), Some("sleep"));
    /// # nap.cancel();
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongState`] within the waker of an asynchronous task, which may run where the
    /// answer would have to come from.
    pub fn status(&self) -> Result<PoolStatus, Error> {
        if self.life.handle.is_supervisor_here() {
            let text = "the status of a pool cannot be asked for within a waker that it calls";
            return Err(Error::WrongState(text.into()));
        }
        let (reply, answer) = sync_channel(1);
        self.life.handle.send(Command::Status { reply });
        Ok(answer.recv().unwrap_or_else(|_| {
            self.life.handle.wait(None, |status| status.ended);
            let counters = self.life.handle.status().counters;
            PoolStatus { workers: Vec::new(), waiting: 0, running: 0, counters }
        }))
    }

    /// Waits until no worker is starting any more, or the pool cannot work, for so long at most.
    pub(crate) fn wait_until_ready(&self, timeout: Duration) {
        let deadline = Deadline::after(timeout);
        let is_over = |status: &Status| status.failure.is_some() || status.ended;
        while !deadline.is_over() {
            let is_ready = self.status().is_ok_and(|status| {
                let starts = |worker: &WorkerStatus| worker.state == WorkerState::Starting;
                !status.workers.is_empty() && !status.workers.iter().any(starts)
            });
            if is_ready || self.life.handle.wait(Some(LOOK_AGAIN), is_over) {
                return;
            }
        }
    }

    /// What happens in the pool from now on. [`PoolBuilder::events`](crate::PoolBuilder::events)
    /// also tells of the first workers.
    ///
    /// ```
    /// use master::EventKind;
    ///
    /// # use master::Encoded;
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// # assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// let mut events = pool.events();
    /// // The command ends its parent, the worker.
    /// let lost = pool.apply::<Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
    /// assert!(lost.is_err());
    /// assert!(events.any(|event| matches!(event.kind, EventKind::Died { .. })));
    /// # Ok::<(), master::Error>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        let events = self.life.events.subscribe();
        if self.life.handle.status().ended {
            // Whoever comes too late does not wait for ever.
            self.life.events.end();
        }
        events
    }

    /// Has so many workers from now on, from 1 to [`MAX_PROCESSES`]. Of fewer, those that go
    /// finish what they have. Does not wait.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.processes(), 3);
    /// assert_eq!(pool.map::<_, i64>("square", [2, 3])?, [4, 9]);
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a number out of range, and for a pool of several kinds of
    /// workers, of which it could not be told which one is meant; otherwise as
    /// [`Self::apply_async`].
    pub fn resize(&self, processes: usize) -> Result<(), Error> {
        if !(1..=MAX_PROCESSES).contains(&processes) {
            return Err(Error::InvalidArgument(format!(
                "a pool has 1 to {MAX_PROCESSES} processes, not {processes}"
            )));
        }
        self.check_one_kind("resized")?;
        let now = self.life.now();
        self.check_running(&now)?;
        self.processes.store(processes as u64, Ordering::Relaxed);
        self.life.handle.send(Command::Resize { slots: processes });
        drop(now);
        self.life.handle.announce_change();
        Ok(())
    }

    /// Replaces the workers by those of another command, while the pool goes on: no task is lost,
    /// and none waits for it. Waits until every worker is one of the new command, or until it is
    /// known that they cannot be.
    ///
    /// One new worker is started beside the others. It has to have all functions that are in use,
    /// and to prove itself: on 3 tasks, or by being idle for 100 ms if there are none. Then the
    /// others are replaced, one after another, each when it has finished what it has. If a new one
    /// cannot be started, or dies or times out on trial, or fails in every task of the trial where
    /// the old ones did not, the pool goes back to the old command. A task in which a new worker dies is lost
    /// like any other.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// # let newer = integration_tests::library::worker();
    /// let before: Vec<u32> = pool.map("pid", 0..10)?;
    /// pool.replace(newer)?;
    /// let after: Vec<u32> = pool.map("pid", 0..10)?;
    /// assert!(after.iter().all(|pid| !before.contains(pid)));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReplaced`] with the reason, if the old workers go on; also if the pool is
    /// closed meanwhile, or its workers are to be replaced by yet others.
    /// [`Error::InvalidArgument`] for a pool of several kinds of workers, otherwise as
    /// [`Self::apply_async`].
    pub fn replace(&self, command: WorkerCommand) -> Result<(), Error> {
        self.replace_async(command)?.wait()
    }

    /// As [`Self::replace`], without waiting.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// # let newer = integration_tests::library::worker();
    /// let replacement = pool.replace_async(newer)?;
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// assert!(replacement.wait_timeout(Duration::from_secs(60))?);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Self::replace`] that can be told at once.
    pub fn replace_async(&self, command: WorkerCommand) -> Result<Replacement, Error> {
        self.check_one_kind("given another worker")?;
        self.replace_kind(0, command)
    }

    /// As [`Self::replace_async`], for one of several kinds of workers.
    pub(crate) fn replace_kind(
        &self,
        group: usize,
        command: WorkerCommand,
    ) -> Result<Replacement, Error> {
        Handle::read_ahead(&command);
        let now = self.life.now();
        self.check_running(&now)?;
        let (reply, outcome) = sync_channel(1);
        self.life.handle.send(Command::Replace { group, command, reply });
        Ok(Replacement { outcome })
    }

    fn check_one_kind(&self, what: &str) -> Result<(), Error> {
        if self.kinds == 1 {
            return Ok(());
        }
        let kinds = self.kinds;
        let text = format!("a pool of {kinds} kinds of workers cannot be {what} as a whole");
        Err(Error::InvalidArgument(text))
    }
}

/// A replacement of workers that is under way; from [`Pool::replace_async`]. It goes on if this is
/// dropped.
///
/// ```
/// # let pool = integration_tests::library::pool(2).build()?;
/// # let newer = integration_tests::library::worker();
/// let replacement = pool.replace_async(newer)?;
/// assert_eq!(pool.map::<_, i64>("square", 0..100)?.len(), 100);
/// replacement.wait()?;
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "whether it succeeds is told here"]
pub struct Replacement {
    outcome: Receiver<Result<(), Error>>,
}

impl Replacement {
    /// Waits for its end.
    ///
    /// ```
    /// use master::{
    ///     Error,
    ///     command::{CommandLine, SearchPath},
    /// };
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// // A shell is no worker.
    /// let shell = CommandLine::parse("sh")?.resolve(&SearchPath::from_environment()?)?;
    /// let replaced = pool.replace_async(shell)?.wait();
    /// assert!(matches!(replaced, Err(Error::NotReplaced(_))));
    /// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Pool::replace`].
    pub fn wait(self) -> Result<(), Error> {
        self.outcome.recv().unwrap_or(Err(Error::NotRunning))
    }

    /// Waits for its end, for so long at most; tells whether it has come.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// # let newer = integration_tests::library::worker();
    /// let replacement = pool.replace_async(newer)?;
    /// while !replacement.wait_timeout(Duration::from_millis(10))? {
    ///     println!("{} tasks done", pool.status()?.counters.completed);
    /// }
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Pool::replace`]. After it has told of the end it has nothing more to tell, and
    /// gives [`Error::NotRunning`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        match self.outcome.recv_timeout(timeout) {
            Ok(outcome) => outcome.map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(Error::NotRunning),
        }
    }
}
