//! Everything that can go wrong with a pool, a task or a process.

use std::{fmt, sync::Arc, time::Duration};

use crate::report::{Attempt, Seconds, WorkerReport, write_attempts};

/// Why a task has no result, or a pool did not do what it was asked.
///
/// The first group are outcomes of a task; each task has exactly one outcome. The texts are
/// fragments in lower case, for people; a worker's part of them may have several lines.
///
/// ```
/// use std::time::Duration;
///
/// use master::{Cancelled, Error};
///
/// let cancelled = Error::Cancelled(Cancelled::ByCaller);
/// assert_eq!(cancelled.to_string(), "cancelled: the caller cancelled it");
/// let not_ready = Error::NotReady(Duration::from_millis(1500));
/// assert_eq!(not_ready.to_string(), "not ready within 1.5 s");
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The function said that it failed. The worker lives on.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// The worker died while it could have been running the task. Whether the task had an effect
    /// is not known.
    #[error("lost: {0}")]
    Lost(Box<WorkerReport>),
    /// The task ran for longer than it may, and its worker was stopped; [`WorkerReport::running`]
    /// tells for how long.
    #[error("timed out: {0}")]
    TimedOut(Box<WorkerReport>),
    /// The task was cancelled; it was not begun, or its end was not waited for.
    #[error("cancelled: {0}")]
    Cancelled(Cancelled),

    /// No worker of the pool has the function. No task of the call was begun.
    #[error(
        "no worker has a function `{function}` ({workers}); there are: {available}",
        workers = Names(.workers),
        available = Names(.available)
    )]
    UnknownFunction {
        /// The function that was asked for.
        function: String,
        /// The functions that there are, in alphabetical order.
        available: Vec<String>,
        /// The worker commands of the pool.
        workers: Vec<String>,
    },
    /// The pool cannot work: its workers cannot be started, or cannot be used.
    #[error("the pool cannot work: {0}")]
    PoolFailed(Arc<WorkerReport>),
    /// The process cannot work: it could not be started, or its worker cannot be used.
    #[error("the process cannot work: {0}")]
    ProcessFailed(Arc<WorkerReport>),
    /// The process was not started yet, or was started already, or is still alive; nothing was
    /// done.
    #[error("{0}")]
    WrongState(String),
    /// The process was closed: nothing but its name is left.
    #[error("the process `{0}` was closed")]
    Closed(String),
    /// The workers were not replaced by those of another command, and go on as they were.
    #[error("the workers were not replaced: {0}")]
    NotReplaced(String),
    /// The pool cannot be set up at all, for a reason of the operating system.
    #[error("cannot be set up: {0}")]
    Setup(String),
    /// The pool was closed or terminated, and takes no more calls.
    #[error("the pool is not running: it was closed or terminated")]
    NotRunning,
    /// An argument of the call is not valid; nothing was done.
    #[error("{0}")]
    InvalidArgument(String),
    /// Arguments cannot be encoded as MessagePack.
    #[error("cannot encode the arguments: {0}")]
    Encode(String),
    /// The iterator that gave the inputs of a lazy map failed, or panicked. It is the last
    /// outcome of that map.
    #[error("the input ended with an error: {0}")]
    Input(String),
    /// A result is not of the type that was asked for.
    #[error("cannot decode the result as the type asked for: {0}")]
    Decode(String),
    /// A wait ended before what it waited for.
    #[error("not ready within {}", Seconds(*.0))]
    NotReady(Duration),
}

/// Why a task was cancelled.
///
/// ```
/// # use master::{Cancelled, Error};
/// # let pool = integration_tests::library::pool(1).build()?;
/// let result = pool.apply_async::<()>("sleep", (60,))?;
/// pool.terminate();
/// assert!(matches!(result.get(), Err(Error::Cancelled(Cancelled::Terminated))));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// The caller cancelled it.
    ByCaller,
    /// The pool was terminated.
    Terminated,
    /// The pool was told to begin nothing more.
    Interrupted,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByCaller => "the caller cancelled it",
            Self::Terminated => "it was terminated",
            Self::Interrupted => "it had not begun when the run was interrupted",
        })
    }
}

/// What a function said of its failure.
///
/// ```
/// # use master::Error;
/// # let pool = integration_tests::library::pool(1).build()?;
/// let result = pool.apply::<()>("fail", ("no such row", "KeyError"));
/// let Err(Error::Failed(failure)) = result else { panic!("it always fails") };
/// assert_eq!(failure.kind, "KeyError");
/// assert_eq!(failure.to_string(), "KeyError: no such row");
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// A short name of the kind of error, such as `ValueError`.
    pub kind: String,
    /// What happened.
    pub message: String,
    /// Where it happened, in whatever form the language of the worker has; may be empty.
    pub traceback: String,
    /// Bytes that another party of the same language may understand; the master does not.
    pub opaque: Option<Vec<u8>>,
    /// What came of the task when it was tried before, the last 10 times at the most.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (kind, "") => f.write_str(kind),
            (kind, message) => write!(f, "{kind}: {message}"),
        }?;
        write_attempts(f, &self.attempts)
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(", ")),
        }
    }
}
