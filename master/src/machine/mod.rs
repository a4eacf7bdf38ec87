//! The decisions of a pool, and nothing else.
//!
//! [`Machine`] decides which item goes to which worker, who is started and stopped, what a death
//! means, when a deadline has passed and when the pool is finished. It never touches a socket, a
//! process, a clock or a source of randomness: what happens comes in as an [`Event`] together
//! with the time, and what is to be done comes out as [`Action`]s. The driver next door does it.
//!
//! A round of the driver is: [`Machine::answer`] or [`Machine::handle`] for everything that has
//! happened, then [`Machine::advance`] and carry out [`Machine::actions`], until there are none.
//!
//! Never, at any step:
//! - an accepted item concludes twice, or not at all, or with a result after it was cancelled;
//! - a worker is sent a function it did not announce, or more items than its limit leaves;
//! - anything is sent before each kind of worker has been ready once;
//! - a worker is started while more live than there are slots;
//! - more starts fail in a row of time than the budget allows;
//! - an item is tried again that the settings do not allow to be, or while it may still be running;
//! - anything is started after the shutdown has begun;
//! - items are pending with neither a worker that holds them, nor a start under way, nor a timer.

mod budget;
mod core;
#[cfg(test)]
mod cost;
mod jitter;
mod marks;
mod pace;
mod queue;
#[cfg(test)]
mod simulation;
mod worker;

use std::{
    collections::HashSet,
    num::{NonZeroU32, NonZeroU64},
    ops::Range,
    time::Duration,
};

pub(crate) use self::{
    core::{Machine, WorkerView},
    worker::StateView,
};

/// A point in time, as the time since the pool began.
pub(crate) type Time = Duration;

/// One process in one seat. Never used again for another process, unlike a process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// A seat of the pool, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) u32);

/// A worker command, counted from 0; every slot belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) usize);

/// A name of a function, as the driver numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionId(pub(crate) u32);

/// Which of the commands that its group has had a worker was started by, counted from 0.
pub(crate) type Generation = u32;

/// One sending of one chunk to one worker. Never used again, so that an answer with an old id
/// can be told from one that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// What was submitted together. The machine passes it on and never looks inside.
pub(crate) trait Batch: Clone {
    /// A number that no other submission has.
    fn id(&self) -> u64;

    /// The job that its items are part of, and in which they are taken to be alike; `None` if it is
    /// taken for like any other of its function.
    fn job(&self) -> Option<u64>;

    /// The size of the encoded arguments of `items`, in bytes.
    fn bytes(&self, items: Range<u64>) -> u64;
}

/// Items of one batch that go to one worker together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk<B> {
    pub(crate) batch: B,
    pub(crate) function: FunctionId,
    pub(crate) items: Range<u64>,
}

/// How many workers an item may kill by default: one death may be an accident, and the second a
/// coincidence.
pub(crate) const DEFAULT_POISON_LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// What the machine is to keep to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The group of each slot; the pool has as many slots as this has entries.
    pub(crate) slots: Vec<GroupId>,
    /// How many items a worker may be given before it is replaced.
    pub(crate) max_tasks_per_child: Option<NonZeroU64>,
    /// How long an item may run.
    pub(crate) task_timeout: Option<Duration>,
    /// How long a worker may take from its start to its hello.
    pub(crate) hello_timeout: Duration,
    /// How long a worker may take from its start until it is ready.
    pub(crate) ready_timeout: Duration,
    /// How long a worker that was asked to leave may take.
    pub(crate) drain_timeout: Duration,
    /// How long a worker may take to die of a polite signal.
    pub(crate) grace: Duration,
    /// How many starts may fail within `failed_start_period`.
    pub(crate) failed_start_intensity: usize,
    /// The period of `failed_start_intensity`.
    pub(crate) failed_start_period: Duration,
    /// Each worker is given one call, told that it is the last, and is not replaced.
    pub(crate) one_call: bool,
    /// How often an item is tried again that was lost or timed out.
    pub(crate) retries: u32,
    /// An item whose function failed is tried again too.
    pub(crate) retry_failed: bool,
    /// The wait before an item is tried again for the first time; each further one doubles it.
    pub(crate) retry_backoff: Duration,
    /// An item that has killed so many workers is not tried again, whatever retries are left.
    pub(crate) poison_limit: NonZeroU32,
    /// Each worker may be given up to so many items more than `max_tasks_per_child`.
    pub(crate) max_tasks_jitter: u64,
    /// How long a worker may serve before it is replaced.
    pub(crate) max_age: Option<Duration>,
    /// How long a worker may be idle before it leaves, and its seat stays empty until it is needed.
    pub(crate) idle_timeout: Option<Duration>,
    /// So many seats stay taken, however idle the pool is.
    pub(crate) minimum: usize,
    /// A worker that has more memory is replaced after the item in hand, in bytes.
    pub(crate) soft_memory: Option<u64>,
    /// A worker that has more memory is killed, in bytes.
    pub(crate) hard_memory: Option<u64>,
    /// How long an item of a function that reports progress may be silent.
    pub(crate) silence_timeout: Option<Duration>,
    /// How long a worker may take to end an item that it was told to.
    pub(crate) cancel_grace: Duration,
    /// How many workers can run at a time.
    pub(crate) cpus: usize,
    /// A number that is another for each pool. All jitter comes from it.
    pub(crate) seed: u64,
}

impl Settings {
    /// Settings with the defaults of a pool; see `PoolBuilder` for their meaning.
    pub(crate) fn new(slots: Vec<GroupId>) -> Self {
        Self {
            slots,
            max_tasks_per_child: None,
            task_timeout: None,
            hello_timeout: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            grace: Duration::from_secs(5),
            failed_start_intensity: 3,
            failed_start_period: Duration::from_secs(30),
            one_call: false,
            retries: 0,
            retry_failed: false,
            retry_backoff: Duration::from_millis(100),
            poison_limit: DEFAULT_POISON_LIMIT,
            max_tasks_jitter: 0,
            max_age: None,
            idle_timeout: None,
            minimum: 1,
            soft_memory: None,
            hard_memory: None,
            silence_timeout: None,
            cancel_grace: Duration::from_secs(1),
            cpus: usize::MAX,
            seed: 0,
        }
    }
}

/// What has happened.
#[derive(Debug)]
#[must_use]
pub(crate) enum Event<B> {
    /// Items `0..items` of a batch are to be run, `chunk_size` together, or as many as is best.
    Submitted { batch: B, function: FunctionId, items: u64, chunk_size: Option<u64> },
    /// What is pending of this batch is not wanted any more.
    Cancelled { batch: u64 },
    /// What waits of the batch with this id is not wanted any more; what was sent may go on.
    Withdrawn { batch: u64 },
    /// No more will be submitted; what is pending is to be finished.
    Closed,
    /// Nothing more is wanted.
    Terminated,
    /// Nothing more is wanted, and nothing is waited for.
    Killed,
    /// No further item is to begin; those that were sent are to be finished.
    Interrupted,
    /// A process could not be started.
    NotStarted { worker: WorkerId, fault: StartFault },
    /// The pool is to have so many seats, all of the first group.
    Resized { slots: usize },
    /// The workers of a group are to be replaced by those of a new command, a generation that no
    /// worker of the group has had.
    Replaced { group: GroupId, generation: Generation },
    /// A worker has so much memory, in bytes.
    Measured { worker: WorkerId, memory: u64 },
    /// A worker has introduced itself with a valid token and version.
    Greeted { worker: WorkerId, repertoire: Repertoire },
    /// A worker is ready for calls.
    Ready { worker: WorkerId },
    /// A worker cannot be used: its initializer failed, or it was rejected.
    Unfit { worker: WorkerId },
    /// A worker sent what it may not send, or an answer that was refused.
    Misbehaved { worker: WorkerId },
    /// The connection of a worker has ended, and all that it held has been read.
    Disconnected { worker: WorkerId },
    /// The process of a worker has ended, and all that its connection held has been read. It is
    /// struck if somebody else has killed it.
    Exited { worker: WorkerId, unread: Unread, struck: bool },
}

/// What a worker can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repertoire {
    pub(crate) functions: HashSet<FunctionId>,
    /// Those that tell of their progress.
    pub(crate) reporting: HashSet<FunctionId>,
    /// Those that can be told to stop in the middle of an item.
    pub(crate) cancellable: HashSet<FunctionId>,
}

/// Whether a start that failed would fail again in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartFault {
    /// The command cannot be run as it is.
    Permanent,
    /// The machine is short of something just now.
    Passing,
}

/// Whether a worker that died had read all that was sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It had read everything, or it cannot be told.
    Nothing,
    /// Bytes were left; so its last call was not read in full, and cannot have begun.
    Something,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Action<B> {
    /// Start a process.
    Start { worker: WorkerId, slot: SlotId, group: GroupId, generation: Generation },
    /// Accept a worker.
    Welcome { worker: WorkerId },
    /// Send a call.
    Send { worker: WorkerId, call: CallId, chunk: Chunk<B>, last: bool },
    /// Tell a worker that the item in its hands is not wanted any more.
    Cancel { worker: WorkerId, call: CallId, item: u32 },
    /// Ask a worker to leave.
    Drain { worker: WorkerId },
    /// Send the polite signal to the process group of a worker.
    Terminate { worker: WorkerId },
    /// Kill the process group of a worker.
    Kill { worker: WorkerId },
    /// These items end without an answer.
    Conclude { batch: B, items: Range<u64>, ending: Ending },
    /// An item that came to this end is tried again, after a while.
    Retry { batch: B, item: u64, ending: Ending },
    /// The new command of a group cannot be used, for what became of this worker of it.
    RollBack { group: GroupId, worker: Option<WorkerId>, flaw: Flaw },
    /// The replacement of the workers of a group has come to its end: all of them, apart from
    /// those that have still to leave, are of this generation.
    RolledOut { group: GroupId, generation: Generation },
    /// The pool cannot work, for what became of this worker.
    Fail { worker: WorkerId },
    /// Everything is finished and no process is left.
    End,
}

/// How an item ends that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The worker died, and the item may have been running for this long. It is poison if it has
    /// killed as many workers as it may.
    Lost { worker: WorkerId, after: Duration, poison: bool },
    /// The item ran for this long, which is longer than it may. Its worker was told to end it, or
    /// is being stopped.
    TimedOut { worker: WorkerId, after: Duration, limit: TimeLimit, told: bool },
    /// It never began, or its end was not waited for.
    Cancelled(Cancellation),
}

/// Which limit of time was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// That of the item as a whole.
    Task,
    /// That between two signs of life.
    Silence,
}

/// Why the workers of a new command are not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// One could not be started, or was not ready, or died before it was proven.
    Died,
    /// One does not have this function, which is in use.
    Lacks(FunctionId),
    /// One failed in each of the first items, and those before it did not.
    Fails,
    /// One was over a limit of time with one of the first items.
    Hangs,
    /// The pool is not running any more, or the workers are to be replaced by yet others.
    GivenUp,
}

/// Why an item was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// The caller did not want it any more.
    ByCaller,
    /// The pool was terminated.
    Terminated,
    /// The pool was told to begin nothing more.
    Interrupted,
    /// The pool cannot work.
    PoolFailed,
    /// No worker of the pool has the function.
    UnknownFunction,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The function gave a result.
    Completed,
    /// The function failed.
    Failed,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Answer<B> {
    /// It concludes these items, the first ones of those that it is of.
    Accepted { batch: B, items: Range<u64> },
    /// The function failed at this item, which is tried again.
    Retried { batch: B, item: u64 },
    /// So many items, the first ones of those that it is of, were already concluded, because their
    /// time was over or they were cancelled. To be dropped and counted.
    Late { items: u32 },
    /// It answers nothing that was asked. To be dropped and counted; the worker is at fault.
    Refused,
}
