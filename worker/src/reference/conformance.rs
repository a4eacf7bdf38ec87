//! The conformance functions of `SPEC.md`, section 23: every worker of this crate offers them when it
//! is started with [`FLAG`], so that `master check` can try it.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use super::{echo, fail, sleep, tick};
use crate::{Arguments, Error, Worker, encode};

/// The argument that asks for the functions.
pub(crate) const FLAG: &str = "--conformance";

/// What `remember` was given last, as it came.
static REMEMBERED: Mutex<Option<Vec<u8>>> = Mutex::new(None);

impl Worker {
    /// The same worker with the conformance functions of the protocol, for `master check`. They take
    /// the place of functions of the same name.
    ///
    /// [`Worker::main`] calls it for the argument `--conformance`; it is here for programs that read
    /// their arguments by themselves, see [`Worker::serve`].
    #[must_use]
    pub fn with_conformance_functions(mut self) -> Self {
        let others = Worker::new(self.name, self.version)
            .raw_function("echo(value)", "The value as it came", echo)
            .function(
                "fail(message, kind?, times?)",
                "Fails, with that message so many times",
                fail,
            )
            .function("panic(message)", "Panics, with that message", panic)
            .raw_function(
                "sleep(seconds, value?)",
                "The value, or null, after so many seconds",
                sleep,
            )
            .function("spawn(seconds)", "Starts a process of so many seconds; gives its id", spawn)
            .function("print(text)", "Prints a line on both standard streams", print)
            .function("environment(name)", "An environment variable, or null", environment)
            .raw_function("remember(value)", "Keeps a value in this process", remember)
            .raw_function("recall()", "The value kept last in this process, or null", recall)
            .raw_function("nest(levels)", "Arrays inside of one another, so many", nest)
            .function("repeat(text, times)", "The text, so many times over", repeat)
            .function(
                "tick(times, seconds)",
                "Waits so many times so many seconds and tells how far it is; gives times",
                tick,
            )
            .reports_progress("tick")
            .cancellable("tick");
        self.functions.replace_by(others.functions);
        self
    }
}

#[expect(clippy::panic, reason = "that is what it is asked for")]
fn panic(message: String) -> Result<(), Error> {
    panic!("{message}")
}

/// It is never waited for: that is left to whoever inherits it.
#[expect(clippy::disallowed_methods, reason = "what was asked for")]
fn spawn(seconds: u32) -> io::Result<u32> {
    let mut command = Command::new("sleep");
    Ok(command.arg(seconds.to_string()).stdin(Stdio::null()).spawn()?.id())
}

fn print(text: String) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")?;
    writeln!(io::stderr(), "{text}")
}

fn environment(name: String) -> Result<Option<String>, Error> {
    let value = std::env::var_os(name).map(std::ffi::OsString::into_string).transpose();
    value.map_err(|_| Error::new("NotText", "it is not UTF-8"))
}

fn remember(arguments: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    let value = arguments.bind()?.encoded(0).unwrap_or_default().to_vec();
    *REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    encode(&(), result)
}

fn recall(arguments: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    arguments.bind()?;
    match &*REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(value) => result.extend_from_slice(value),
        None => encode(&(), result)?,
    }
    Ok(())
}

/// An encoded array of one value, to come, and one of none.
const ARRAY_OF_ONE: u8 = 0x91;
const EMPTY_ARRAY: u8 = 0x90;

fn nest(arguments: &Arguments<'_>, result: &mut Vec<u8>) -> Result<(), Error> {
    let levels: u16 = arguments.bind()?.decode(0)?;
    match levels.checked_sub(1) {
        Some(outer) => {
            result.extend(std::iter::repeat_n(ARRAY_OF_ONE, outer.into()));
            result.push(EMPTY_ARRAY);
            Ok(())
        }
        None => encode(&(), result),
    }
}

pub(super) fn repeat(text: String, times: usize) -> Result<String, Error> {
    /// Four times what a frame may hold.
    const MOST: usize = 4 << 30;
    match text.len().checked_mul(times) {
        Some(size) if size <= MOST => Ok(text.repeat(times)),
        _ => Err(Error::new("TooLarge", format!("{times} times is more than can be made"))),
    }
}
