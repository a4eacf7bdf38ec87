//! What happens in a pool, as it happens, for programs that watch it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crate::{
    deadline::Deadline,
    report::{Attempt, Seconds, WorkerReport},
};

/// How many events wait for a subscriber at the most. Further ones are dropped, and
/// [`EventKind::Missed`] tells how many.
///
/// ```
/// assert_eq!(master::MAX_WAITING_EVENTS, 1024);
/// ```
pub const MAX_WAITING_EVENTS: usize = 1024;

/// Something that happened in a pool.
///
/// ```
/// use master::EventKind;
///
/// # let builder = integration_tests::library::pool(1);
/// let (builder, events) = builder.events();
/// let pool = builder.build()?;
/// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
/// pool.close();
/// pool.join()?;
/// let kinds: Vec<_> = events.map(|event| event.kind).collect();
/// assert!(matches!(kinds[..], [EventKind::Started { .. }, EventKind::Ready, EventKind::Left]));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolEvent {
    /// When it happened, as the time since the pool began.
    pub at: Duration,
    /// The seat of the worker that it is about, if it is about one.
    pub slot: Option<u32>,
    /// The process id of that worker.
    pub pid: Option<u32>,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen in a pool.
///
/// ```
/// use master::EventKind;
///
/// let kind = EventKind::Resized { processes: 3 };
/// assert_eq!((kind.name(), kind.to_string()), ("resized", "there are to be 3 workers".to_owned()));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// A worker was started.
    Started {
        /// The command that started it.
        command: String,
    },
    /// A worker could not be started.
    NotStarted {
        /// Why.
        report: Box<WorkerReport>,
    },
    /// A worker is ready for tasks.
    Ready,
    /// A worker left with status 0.
    Left,
    /// A worker ended in any other way; also one that was stopped.
    Died {
        /// How, and what is known about it.
        report: Box<WorkerReport>,
    },
    /// A task came to no result, and is tried again.
    Retried {
        /// Its function.
        function: String,
        /// What came of it this time.
        attempt: Attempt,
    },
    /// A task has killed so many workers that it is not tried again.
    Quarantined {
        /// Its function.
        function: String,
        /// The last worker that died of it.
        report: Box<WorkerReport>,
    },
    /// The pool is to have another number of workers.
    Resized {
        /// How many.
        processes: u64,
    },
    /// All workers of a kind have been replaced by those of another command; the last of the old
    /// ones may still have something to finish.
    Replaced {
        /// The new command.
        command: String,
    },
    /// The workers of a kind are not replaced: the new command cannot be used.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// The pool cannot work.
    Failed {
        /// Why.
        report: Box<WorkerReport>,
    },
    /// Events were dropped, as nobody took them in time.
    Missed {
        /// How many.
        events: u64,
    },
}

impl EventKind {
    /// A word for it.
    ///
    /// ```
    /// assert_eq!(master::EventKind::Ready.name(), "ready");
    /// ```
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::NotStarted { .. } => "not_started",
            Self::Ready => "ready",
            Self::Left => "left",
            Self::Died { .. } => "died",
            Self::Retried { .. } => "retried",
            Self::Quarantined { .. } => "quarantined",
            Self::Resized { .. } => "resized",
            Self::Replaced { .. } => "replaced",
            Self::RolledBack { .. } => "rolled_back",
            Self::Failed { .. } => "failed",
            Self::Missed { .. } => "missed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { command } => write!(f, "started: {command}"),
            Self::NotStarted { report } | Self::Died { report } => write!(f, "{report}"),
            Self::Ready => f.write_str("ready"),
            Self::Left => f.write_str("left"),
            Self::Retried { function, attempt } => {
                write!(f, "a task of `{function}` is tried again: {attempt}")
            }
            Self::Quarantined { function, report } => {
                write!(f, "a task of `{function}` is poison, and not tried again: {report}")
            }
            Self::Resized { processes } => write!(f, "there are to be {processes} workers"),
            Self::Replaced { command } => write!(f, "all workers are now `{command}`"),
            Self::RolledBack { reason } => write!(f, "the workers are not replaced: {reason}"),
            Self::Failed { report } => write!(f, "the pool cannot work: {report}"),
            Self::Missed { events } => write!(f, "{events} events were dropped"),
        }
    }
}

impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Seconds(self.at))?;
        match (self.slot, self.pid) {
            (Some(slot), Some(pid)) => write!(f, "worker {slot}, pid {pid}: ")?,
            (Some(slot), None) => write!(f, "worker {slot}: ")?,
            (None, _) => {}
        }
        self.kind.fmt(f)
    }
}

/// The events of a pool, from the time on when they were asked for. An iterator that waits for
/// the next one, and ends with the pool. What is not taken in time is dropped and counted, so a
/// subscriber never holds up a pool.
///
/// ```
/// # let builder = integration_tests::library::pool(1);
/// let (builder, events) = builder.events();
/// let told = std::thread::spawn(move || events.map(|event| event.to_string()).collect::<Vec<_>>());
/// let pool = builder.build()?;
/// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
/// drop(pool);
/// let told = told.join().expect("it does not panic");
/// assert!(told[0].contains("started: "), "{told:?}");
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug)]
pub struct Events(Arc<Channel>);

#[derive(Debug, Default)]
struct Channel {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PoolEvent>,
    missed: u64,
    /// When the last event happened, be it missed or not.
    last_at: Duration,
    ended: bool,
}

impl State {
    /// What tells of those that were missed so far, if there are any.
    fn take_missed(&mut self) -> Option<PoolEvent> {
        let events = std::mem::take(&mut self.missed);
        let kind = EventKind::Missed { events };
        (events > 0).then_some(PoolEvent { at: self.last_at, slot: None, pid: None, kind })
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// The next event, if there is one by then; `None` if there is not, or there will be none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// # assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
    /// let mut events = pool.events();
    /// assert!(events.next_timeout(Duration::from_millis(1)).is_none());
    /// pool.resize(2)?;
    /// let event = events.next_timeout(Duration::from_secs(60)).expect("it was resized");
    /// assert_eq!(event.kind.to_string(), "there are to be 2 workers");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<PoolEvent> {
        self.next_until(Some(timeout))
    }

    fn next_until(&mut self, timeout: Option<Duration>) -> Option<PoolEvent> {
        let deadline = Deadline::after(timeout);
        let mut state = self.0.lock();
        loop {
            if let Some(event) = state.waiting.pop_front() {
                return Some(event);
            }
            if let Some(missed) = state.take_missed() {
                return Some(missed);
            }
            if state.ended {
                return None;
            }
            if deadline.is_over() {
                return None;
            }
            state = deadline.wait(&self.0.changed, state);
        }
    }
}

impl Iterator for Events {
    type Item = PoolEvent;

    fn next(&mut self) -> Option<PoolEvent> {
        self.next_until(None)
    }
}

/// Where a pool tells what happens. Nobody need listen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publisher(Arc<Channels>);

#[derive(Debug, Default)]
struct Channels(Mutex<Vec<Weak<Channel>>>);

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        for channel in self.lock().drain(..).filter_map(|channel| channel.upgrade()) {
            channel.lock().ended = true;
            channel.changed.notify_all();
        }
    }
}

/// Also where no pool was ever made, nobody waits for ever.
impl Drop for Channels {
    fn drop(&mut self) {
        self.end();
    }
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Events {
        let channel = Arc::new(Channel::default());
        self.0.lock().push(Arc::downgrade(&channel));
        Events(channel)
    }

    pub(crate) fn publish(
        &self,
        at: Duration,
        slot: Option<u32>,
        pid: Option<u32>,
        kind: EventKind,
    ) {
        let mut channels = self.0.lock();
        if channels.is_empty() {
            return;
        }
        channels.retain(|channel| channel.strong_count() > 0);
        let event = PoolEvent { at, slot, pid, kind };
        for channel in channels.iter().filter_map(Weak::upgrade) {
            let mut state = channel.lock();
            state.last_at = at;
            if state.waiting.len() >= MAX_WAITING_EVENTS {
                state.missed += 1;
                continue;
            }
            if let Some(missed) = state.take_missed() {
                state.waiting.push_back(missed);
            }
            state.waiting.push_back(event.clone());
            drop(state);
            channel.changed.notify_all();
        }
    }

    /// Nothing more will happen.
    pub(crate) fn end(&self) {
        self.0.end();
    }
}

/// The subscribers of a pool that is still to be made. A copy of its builder makes another pool,
/// which they did not subscribe to.
#[derive(Debug, Default)]
pub(crate) struct Subscribed(pub(crate) Publisher);

impl Clone for Subscribed {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_takes_nothing_costs_a_bounded_number() {
        let publisher = Publisher::default();
        let mut events = publisher.subscribe();
        let ready =
            |at| publisher.publish(Duration::from_secs(at), Some(0), None, EventKind::Ready);
        (0..MAX_WAITING_EVENTS as u64 + 10).for_each(ready);
        for _ in 0..10 {
            assert!(events.next().is_some());
        }
        ready(5_000);
        publisher.end();
        let rest: Vec<_> = events.collect();
        let missed = &rest[rest.len() - 2];
        assert!(matches!(missed.kind, EventKind::Missed { events: 10 }), "{missed:?}");
        assert_eq!(rest.last().map(|event| event.at), Some(Duration::from_secs(5_000)));
    }

    #[test]
    fn who_subscribes_after_the_end_waits_for_nothing() {
        let publisher = Publisher::default();
        drop(publisher.subscribe());
        publisher.publish(Duration::ZERO, None, None, EventKind::Ready);
        assert!(publisher.0.lock().is_empty(), "who has gone is forgotten");
        assert_eq!(EventKind::Missed { events: 3 }.to_string(), "3 events were dropped");
        let mut events = publisher.subscribe();
        drop(publisher);
        assert!(events.next().is_none(), "there is no pool, and will be none");
    }

    #[test]
    fn what_was_missed_at_the_end_is_told() {
        let publisher = Publisher::default();
        let events = publisher.subscribe();
        for at in 0..MAX_WAITING_EVENTS as u64 + 7 {
            publisher.publish(Duration::from_secs(at), None, None, EventKind::Ready);
        }
        publisher.end();
        let last = events.last().map(|event| event.kind.to_string());
        assert_eq!(last.as_deref(), Some("7 events were dropped"));
    }

    #[test]
    fn a_copy_has_subscribers_of_its_own() {
        let subscribed = Subscribed::default();
        let mut events = subscribed.0.subscribe();
        let copy = subscribed.clone();
        copy.0.publish(Duration::ZERO, None, None, EventKind::Ready);
        copy.0.end();
        subscribed.0.publish(Duration::ZERO, None, None, EventKind::Left);
        assert!(matches!(events.next().map(|event| event.kind), Some(EventKind::Left)));
    }
}
