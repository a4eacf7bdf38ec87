//! Running other programs.

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde::Serialize;

use crate::{
    Error,
    reference::parameters::{SystemText, Text},
};

/// How a command ended and what it wrote.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Its exit status; null if a signal ended it.
    status: Option<i32>,
    /// The signal that ended it, if one did.
    signal: Option<i32>,
    stdout: Text,
    stderr: Text,
}

/// Runs a command, with a list of arguments and a standard input; without one that is empty.
pub(super) fn exec(
    command: SystemText,
    arguments: Option<Vec<SystemText>>,
    stdin: Option<Text>,
) -> Result<Outcome, Error> {
    let command = command.into_os_string();
    let arguments = arguments.unwrap_or_default().into_iter().map(SystemText::into_os_string);
    let stdin = stdin.map(Text::into_bytes);
    let mut prepared = prepare(&command);
    prepared
        .args(arguments)
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |what: &str, error: &io::Error| {
        let kind = format!("{:?}", error.kind());
        Error::new(kind, format!("cannot {what} {}: {error}", command.display()))
    };
    let child = prepared.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("cannot run {}: there is no such command", command.display());
            Error::new("NotFound", message)
        }
        _ => failed("run", &error),
    })?;
    let output = communicate(child, stdin).map_err(|error| failed("talk to", &error))?;
    Ok(Outcome {
        status: output.status.code(),
        signal: signal(output.status),
        stdout: Text::new(output.stdout),
        stderr: Text::new(output.stderr),
    })
}

#[expect(clippy::disallowed_methods, reason = "to run a command is what was asked for")]
fn prepare(command: &OsStr) -> Command {
    Command::new(command)
}

/// Writes the standard input from a thread of its own, while both outputs are read: whichever
/// the command does first, nothing blocks.
fn communicate(mut child: Child, input: Option<Vec<u8>>) -> io::Result<std::process::Output> {
    let stdin = child.stdin.take();
    let (output, written) = std::thread::scope(|scope| {
        let writer = stdin.zip(input).map(|(mut stdin, input)| {
            scope.spawn(move || match stdin.write_all(&input) {
                // A command need not read all of its input.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            })
        });
        let output = child.wait_with_output();
        let written = writer.map_or(Ok(()), |writer| {
            writer.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
        });
        (output, written)
    });
    let output = output?;
    written?;
    Ok(output)
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
const fn signal(_: ExitStatus) -> Option<i32> {
    None
}
