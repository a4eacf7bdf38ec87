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
//! - more workers serve than there are slots, or live than slots and one;
//! - more starts fail in a row of time than the budget allows;
//! - anything is started after the shutdown has begun;
//! - items are pending with neither a worker that holds them, nor a start under way, nor a timer.

mod budget;
mod core;
mod queue;
#[cfg(test)]
mod simulation;
mod worker;

use std::{collections::HashSet, num::NonZeroU64, ops::Range, time::Duration};

pub(crate) use self::core::Machine;

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

/// One sending of one chunk to one worker. Never used again, so that an answer with an old id
/// can be told from one that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// What was submitted together. The machine passes it on and never looks inside.
pub(crate) trait Batch: Clone {
    /// A number that no other submission has.
    fn id(&self) -> u64;

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
        }
    }
}

/// What has happened.
#[derive(Debug)]
#[must_use]
pub(crate) enum Event<B> {
    /// Items `0..items` of a batch are to be run, `chunk_size` together.
    Submitted { batch: B, function: FunctionId, items: u64, chunk_size: u64 },
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
    /// A worker has introduced itself with a valid token and version.
    Greeted { worker: WorkerId, functions: HashSet<FunctionId> },
    /// A worker is ready for calls.
    Ready { worker: WorkerId },
    /// A worker cannot be used: its initializer failed, or it was rejected.
    Unfit { worker: WorkerId },
    /// A worker sent what it may not send, or an answer that was refused.
    Misbehaved { worker: WorkerId },
    /// The connection of a worker has ended, and all that it held has been read.
    Disconnected { worker: WorkerId },
    /// The process of a worker has ended, and all that its connection held has been read.
    Exited { worker: WorkerId, unread: Unread },
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
    Start { worker: WorkerId, slot: SlotId, group: GroupId },
    /// Accept a worker.
    Welcome { worker: WorkerId },
    /// Send a call.
    Send { worker: WorkerId, call: CallId, chunk: Chunk<B>, last: bool },
    /// Ask a worker to leave.
    Drain { worker: WorkerId },
    /// Send the polite signal to the process group of a worker.
    Terminate { worker: WorkerId },
    /// Kill the process group of a worker.
    Kill { worker: WorkerId },
    /// These items end without an answer.
    Conclude { batch: B, items: Range<u64>, ending: Ending },
    /// The pool cannot work, for what became of this worker.
    Fail { worker: WorkerId },
    /// Everything is finished and no process is left.
    End,
}

/// How an item ends that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The worker died, and the item may have been running for this long.
    Lost { worker: WorkerId, after: Duration },
    /// The item ran for this long, which is longer than it may.
    TimedOut { worker: WorkerId, after: Duration },
    /// It never began, or its end was not waited for.
    Cancelled(Cancellation),
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

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Answer<B> {
    /// It concludes this item.
    Accepted { batch: B, item: u64 },
    /// The item was already concluded, because its time was over or it was cancelled. To be
    /// dropped and counted.
    Late,
    /// It answers nothing that was asked. To be dropped and counted; the worker is at fault.
    Refused,
}
