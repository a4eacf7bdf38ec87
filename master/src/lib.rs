//! Runs functions on a supervised pool of worker processes: `multiprocessing` for executables.
//!
//! A worker is any executable that speaks the protocol of the crate `protocol`, in any language.
//! This crate starts workers, watches them, gives them work and replaces them; it never loads or
//! interprets what they run. The program `master` is this library with a command line.
//!
//! ```
//! use master::{Error, Pool, Process};
//!
//! fn main() -> Result<(), Error> {
//!     # // The worker is looked for on PATH, and then beside the running program.
//!     # let beside = std::env::current_exe().unwrap().with_file_name("worker");
//!     # let _ = std::os::unix::fs::symlink(integration_tests::library::worker().program(), beside);
//!     // Two processes at once: the cube is there before the square, which takes a second.
//!     let square = Process::default_builder()?.function("square").arguments((10, 1)).start()?;
//!     let cube = Process::default_builder()?.function("cube").arguments((15,)).start()?;
//!     println!("{}", cube.result::<i64>()?);
//!     println!("{}", square.result::<i64>()?);
//!
//!     // A pool of five.
//!     let pool = Pool::builder().processes(5).build()?;
//!     let squares: Vec<i64> = pool.map("square", 2..=8)?;
//!     assert_eq!(squares, [4, 9, 16, 25, 36, 49, 64]);
//!     Ok(())
//! }
//! ```
//!
//! Every task ends in exactly one of these ways: it completes, or it is [`Error::Failed`]
//! because its function said so, [`Error::Lost`] because its worker died, [`Error::TimedOut`],
//! or cancelled. The death of a worker costs the one task that it may have been running.
//!
//! In reading order:
//! - [`Pool`] and [`PoolBuilder`]; [`MapResult`], [`ApplyResult`] and [`Callbacks`] for what is
//!   not there yet; [`Imap`] for results that come one by one;
//! - [`Process`] and [`ProcessBuilder`]; [`active_children`];
//! - [`Arguments`], [`Encoded`] and the traits [`IntoArguments`] and [`FromResult`]: what goes in
//!   and comes out;
//! - [`Resource`]: what workers can be kept from taking too much of;
//! - [`Error`], and [`WorkerReport`], the evidence behind it;
//! - [`PoolStatus`] and [`Events`]: what a pool is doing, and what happens in it;
//! - [`recording`]: what goes over the sockets, in a file;
//! - [`replay`]: a recording played to another worker;
//! - [`compare`]: two implementations of a worker side by side;
//! - [`command`]: which executable a worker command names;
//! - [`check`]: whether a worker keeps to the protocol;
//! - [`coming_from_python`]: `multiprocessing`, method by method;
//! - [`program`]: the program `master`.

mod arena;
mod arguments;
mod batch;
mod callbacks;
pub mod check;
mod collector;
pub mod coming_from_python;
pub mod command;
pub mod compare;
mod deadline;
mod driver;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod imap;
mod machine;
mod memory;
mod pages;
mod payload;
mod pool;
mod process;
pub mod program;
pub mod recording;
pub mod replay;
mod report;
mod resource;
mod result;
mod status;
mod stream;

pub use self::{
    arguments::{Arguments, Encoded, FromResult, IntoArguments, MAX_ARGUMENTS},
    callbacks::Callbacks,
    error::{Cancelled, Error, Failure},
    events::{EventKind, Events, MAX_WAITING_EVENTS, PoolEvent},
    imap::{Imap, ImapOptions},
    pool::{MAX_PROCESSES, Pool, PoolBuilder, Replacement},
    process::{ChildProcess, Process, ProcessBuilder, active_children},
    report::{Attempt, Exit, Stage, WorkerReport},
    resource::{ParseResourceError, Resource},
    result::{ApplyResult, MapResult},
    status::{Counters, PoolStatus, RunningTask, WorkerState, WorkerStatus},
};
