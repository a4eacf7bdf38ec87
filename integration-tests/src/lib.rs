//! The harness of the integration tests, and the worker that misbehaves.
//!
//! It starts the real executables as a user would, and holds them to what is promised; it knows
//! nothing of their insides. It needs a Linux system with `/proc` and a POSIX shell.
//!
//! In reading order:
//! - [`mod@executables`]: builds `master`, `worker` and `misbehaving-worker` and knows where they are;
//! - [`mod@program`]: describes one run of an executable;
//! - [`running`]: a run that is under way, and one that has finished;
//! - [`leftovers`]: finds what a run left behind;
//! - [`this_process`]: counts what the process of a test itself has;
//! - [`installing`]: builds workers in other languages;
//! - [`library`]: what tests of the library `master` share;
//! - [`misbehaving`]: the worker that misbehaves.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a harness reports by panicking, and a misbehaving worker prints"
)]

pub mod executables;
pub mod installing;
pub mod leftovers;
pub mod library;
pub mod misbehaving;
pub mod program;
pub mod running;
pub mod this_process;

use std::{fmt::Debug, thread};

pub use executables::{Executables, executables, workspace};
pub use program::{Program, master, master_with, write_script};
pub use running::{Deadline, Finished, Running};

/// Checks many cases at once, in threads, because most of their time is spent waiting. Each thread
/// bears the name of its case, so that a failure tells which it was.
///
/// # Panics
/// When any case does, once all have ended.
pub fn check_all<C: Debug + Sync>(cases: &[C], check: impl Fn(&C) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for case in cases {
            let name: String = format!("{case:?}").chars().take(100).collect();
            let thread = thread::Builder::new().name(name);
            thread.spawn_scoped(scope, || check(case)).expect("a thread starts");
        }
    });
}
