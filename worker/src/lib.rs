//! Workers in Rust: register functions, and a master can call them from a pool of processes.
//!
//! This crate is the worker's end of the protocol and nothing else: it connects to the master
//! that started the process, announces its functions, and runs calls one after another on the
//! main thread. It blocks, needs no asynchronous runtime, and never sees another worker.
//!
//! A whole worker:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn repeat(text: String, times: Option<usize>) -> Result<String, worker::Error> {
//!     let times = times.unwrap_or(2);
//!     if times > 1000 {
//!         return Err(worker::Error::new("TooMany", format!("{times} times is more than 1000")));
//!     }
//!     Ok(text.repeat(times))
//! }
//!
//! fn main() -> ExitCode {
//!     worker::Worker::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
//!         .function("repeat(text, times?)", "A text, so many times over; twice by default.", repeat)
//!         .main()
//! }
//! ```
//!
//! The same executable answers by hand: `NAME call repeat ab 3` prints `"ababab"`. Started as `NAME
//! --conformance` it offers the functions that `master check` needs to try it, besides its own.
//!
//! In reading order:
//! - [`Worker`]: registers functions and is the program;
//! - [`Handler`]: which Rust functions can be registered, and how arguments become parameters;
//! - [`Arguments`], [`Bound`] and [`encode`]: for functions that work on encoded values;
//! - [`Error`]: what a function fails with, and what becomes of panics;
//! - [`progress`] and [`is_cancelled`]: what a function says to the master, and hears from it,
//!   while it runs;
//! - [`slot`] and [`pool_name`]: what the master said about this worker's place;
//! - [`mod@reference`]: the functions of the reference worker;
//! - [`script`]: a worker that plays a script, to try a master with;
//! - `exec`: the program `worker-exec`, which makes a command a worker; on Unix.

mod program;
mod signature;

mod arguments;
mod decode;
mod encode;
mod handler;
mod registry;

mod error;
mod panics;
mod result;

mod connection;
mod context;
mod environment;
mod in_hand;
mod inbox;
mod kept;
mod mapping;
mod memory;
mod output;
mod session;
mod watch;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

mod command_line;
mod json;

#[cfg(unix)]
pub mod exec;
pub mod reference;
pub mod script;

pub use arguments::{Arguments, Bound};
pub use context::{pool_name, slot};
pub use encode::encode;
pub use error::Error;
pub use handler::Handler;
pub use in_hand::{is_cancelled, progress};
pub use program::Worker;
