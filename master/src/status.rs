//! What a pool is doing at a moment, for people and for programs that watch it.

use std::time::Duration;

/// What a pool is doing; from [`Pool::status`](crate::Pool::status).
///
/// ```
/// # let pool = integration_tests::library::pool(2).build()?;
/// assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
/// let status = pool.status()?;
/// assert_eq!((status.waiting, status.running), (0, 0));
/// assert_eq!((status.counters.submitted, status.counters.completed), (1, 1));
/// for worker in &status.workers {
///     println!("worker {}, pid {}: {:?}, {} tasks", worker.slot, worker.pid, worker.state, worker.tasks_done);
/// }
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Every worker process there is, also those that start and those that leave, by seat.
    pub workers: Vec<WorkerStatus>,
    /// How many tasks wait to be sent to a worker, those that are to be tried again among them.
    pub waiting: u64,
    /// How many tasks were sent to workers and have no outcome yet.
    pub running: u64,
    /// What has happened since the pool began.
    pub counters: Counters,
}

/// One worker process.
///
/// ```
/// # let pool = integration_tests::library::pool(1).build()?;
/// # assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
/// let status = pool.status()?;
/// let worker = &status.workers[0];
/// assert_eq!((worker.slot, worker.tasks_done), (0, 1));
/// assert!(worker.memory.is_some_and(|bytes| bytes > 100 << 10));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its seat in the pool, counted from 0. While a worker leaves, another may have its seat.
    pub slot: u32,
    /// Its process id.
    pub pid: u32,
    /// The command that started it.
    pub command: String,
    /// What it is doing.
    pub state: WorkerState,
    /// The task that it may be running, if it is sent any.
    pub task: Option<RunningTask>,
    /// How many tasks it has answered.
    pub tasks_done: u64,
    /// The time since its start.
    pub age: Duration,
    /// Its resident memory in bytes, where the system tells.
    pub memory: Option<u64>,
}

/// What a worker is doing.
///
/// ```
/// use master::WorkerState;
///
/// # let pool = integration_tests::library::pool(1).build()?;
/// # assert_eq!(pool.apply::<i64>("square", (5,))?, 25);
/// assert_eq!(pool.status()?.workers[0].state, WorkerState::Idle);
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is not ready yet.
    Starting,
    /// It is ready, and has nothing to do.
    Idle,
    /// It has tasks.
    Busy,
    /// It is given no more, and leaves when it has finished what it has.
    Retiring,
    /// It was asked to leave.
    Leaving,
    /// It is being stopped.
    Stopping,
}

/// The task that a worker may be running.
///
/// ```
/// # let pool = integration_tests::library::pool(1).build()?;
/// // It waits 1000 times for 10 ms, and tells how far it is.
/// let ticks = pool.apply_async::<u64>("tick", (1000, 0.01))?;
/// let task = loop {
///     let task = pool.status()?.workers.into_iter().find_map(|worker| worker.task);
///     match task {
///         Some(task) if task.note.is_some() => break task,
///         _ => std::thread::yield_now(),
///     }
/// };
/// assert_eq!(task.function, "tick");
/// assert!(task.note.is_some_and(|note| note.ends_with(" of 1000")));
/// # ticks.cancel();
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningTask {
    /// Its function.
    pub function: String,
    /// For how long.
    pub running_for: Duration,
    /// What it last said of its progress, if it did.
    pub note: Option<String>,
}

/// What has happened in a pool since it began. Tasks are counted one by one, also those of a map.
///
/// ```
/// # let pool = integration_tests::library::pool(1).retries(1).build()?;
/// # use master::Encoded;
/// // It kills its worker, and is tried once more.
/// let result = pool.apply::<Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
/// assert!(result.is_err());
/// let counters = pool.status()?.counters;
/// assert_eq!((counters.retried, counters.lost, counters.died), (1, 1, 2));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Worker processes that were started, or could not be.
    pub started: u64,
    /// Worker processes that ended otherwise than by leaving with status 0.
    pub died: u64,
    /// Tasks that were submitted.
    pub submitted: u64,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks whose function said that it failed, for good.
    pub failed: u64,
    /// Tasks that were lost for good.
    pub lost: u64,
    /// Tasks that timed out for good.
    pub timed_out: u64,
    /// Tasks that were cancelled, or not begun as the pool ended.
    pub cancelled: u64,
    /// Times that a task was tried again.
    pub retried: u64,
    /// Answers of workers that were refused, or came too late, and were dropped.
    pub refused: u64,
}
