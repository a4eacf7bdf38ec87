//! The reference worker: functions of use in a shell, and those to try a master with.

mod commands;
pub(crate) mod conformance;
mod files;
mod numbers;
mod parameters;

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{
    Arguments, Error, Worker, encode, is_cancelled, progress, reference::parameters::Seconds,
};

/// The reference worker with all its functions.
#[must_use]
pub fn worker() -> Worker {
    Worker::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .example("square 5")
        .function("square(n, seconds?)", "The square of n, after so many seconds", numbers::square)
        .function("cube(n, seconds?)", "The cube of n, after so many seconds", numbers::cube)
        .function("sum_primes(n)", "The sum of all primes below n", numbers::sum_primes)
        .raw_function("pid(...)", "The process id of the worker, whatever the arguments", pid)
        .function("introduce(name)", "Prints the name and the process id; gives null", introduce)
        .raw_function("echo(value)", "The value as it came", echo)
        .raw_function("sleep(seconds, value?)", "The value, or null, after so many seconds", sleep)
        .function(
            "tick(times, seconds)",
            "Waits so many times so many seconds and tells how far it is; gives times",
            tick,
        )
        .reports_progress("tick")
        .cancellable("tick")
        .function("sha256(path)", "The SHA-256 of a file, as sha256sum prints it", files::sha256)
        .function("count_words(path)", "The words of a file, as wc -w counts", files::count_words)
        .function(
            "exec(command, arguments?, stdin?)",
            "Runs a command; gives its status, signal, stdout and stderr",
            commands::exec,
        )
        .function("fail(message, kind?, times?)", "Fails, with that message so many times", fail)
}

fn pid(_: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    encode(&std::process::id(), result)
}

fn introduce(name: String) -> io::Result<()> {
    writeln!(io::stdout(), "I am {name}, process {}", std::process::id())
}

fn echo(arguments: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    let bound = arguments.bind()?;
    result.extend_from_slice(bound.encoded(0).unwrap_or_default());
    Ok(())
}

fn sleep(arguments: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    let bound = arguments.bind()?;
    wait(bound.decode::<Seconds>(0)?.duration());
    match bound.encoded(1) {
        Some(value) => result.extend_from_slice(value),
        None => encode(&(), result)?,
    }
    Ok(())
}

fn tick(times: u64, seconds: Seconds) -> Result<u64, Error> {
    for time in 1..=times {
        progress(&format!("{time} of {times}"));
        if !wait_unless_cancelled(seconds.duration()) {
            return Err(Error::cancelled());
        }
    }
    Ok(times)
}

fn fail(message: String, kind: Option<String>, times: Option<usize>) -> Result<(), Error> {
    let message = conformance::repeat(message, times.unwrap_or(1))?;
    Err(Error::new(kind.unwrap_or_else(|| "Error".to_owned()), message))
}

/// How long [`tick`] waits until it asks again whether it was cancelled.
const ATTENTION: Duration = Duration::from_millis(10);

/// `false` as soon as the item is cancelled.
fn wait_unless_cancelled(duration: Duration) -> bool {
    #[expect(clippy::disallowed_methods, reason = "to wait is what was asked for")]
    let start = Instant::now();
    loop {
        if is_cancelled() {
            return false;
        }
        let left = duration.saturating_sub(start.elapsed());
        if left.is_zero() {
            return true;
        }
        wait(left.min(ATTENTION));
    }
}

#[expect(clippy::disallowed_methods, reason = "to wait is what was asked for")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}
