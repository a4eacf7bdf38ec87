//! The program `worker-exec`: makes a command that takes a line and gives a line a warm worker.
//!
//! The command is started once, before the worker is ready, and answers one line after another:
//! `master map --worker 'worker-exec bc' line 1+1 2*3`. It is started anew when it has ended.

mod command;
mod pipes;

use std::{cell::RefCell, ffi::OsString, io::Write, process::ExitCode, rc::Rc};

use clap::{Arg, ArgAction, value_parser};
use protocol::{launch::EXIT_USAGE, message::kind::INVALID_ARGUMENTS, value::Kind};

use self::command::Command;
use crate::{Arguments, Error, Worker, arguments::text, json, reference::conformance};

const NAME: &str = "worker-exec";

/// What whoever uses it has to know about the command.
const DETAILS: &str = "\
Functions:
  line(text)   writes the text as a line to COMMAND, and gives the line that comes back
  json(value)  writes the value as a line of JSON, and gives the value of the line that comes back

COMMAND has to answer each line with exactly one line, at once. Many programs keep their answers
until there are more, unless told: jq --unbuffered, sed -u, grep --line-buffered, gawk with
fflush(), mawk -W interactive, python3 -u, and stdbuf -oL for others. One that does not answer
keeps its call waiting, until the --timeout of `master` ends it.

At the end of the run its input is closed, and it has 4 seconds to end. One that ends before, after
so many lines, is started anew for the next.

Output that was not asked for fails a call as soon as it is seen, rather than become the answer to
the next line; the command is then started anew, as after its end.

Examples:
  seq 5 | master map --worker 'worker-exec bc' line
  master map --worker 'worker-exec jq -c --unbuffered .name' json '{\"name\": \"Ada\"}'";

/// Runs the program, and gives the status for the process to exit with. Call it first thing in
/// `main`.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match arguments().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are errors to clap, with a status of 0 and standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    let words: Vec<OsString> = matches.get_many("command").into_iter().flatten().cloned().collect();
    let command = Rc::new(RefCell::new(Command::new(words)));
    let worker = match matches.get_flag("conformance") {
        true => worker(&command).with_conformance_functions(),
        false => worker(&command),
    };
    let status = worker.serve();
    if let Err(problem) = command.borrow_mut().leave() {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{NAME}: {problem}");
    }
    status.unwrap_or_else(|| {
        // With standard error gone there is nobody left to tell.
        let _ = write!(
            std::io::stderr(),
            "{NAME}: started by hand, and it is for a master to start\n\n{}",
            arguments().render_help()
        );
        ExitCode::from(EXIT_USAGE)
    })
}

fn arguments() -> clap::Command {
    // All words behind the first are the command's own, even if they look like options.
    let words = Arg::new("command")
        .value_names(["COMMAND", "ARGUMENT"])
        .num_args(1..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString))
        .help("A program that answers each line with a line, and its arguments");
    let conformance = Arg::new("conformance")
        .long(conformance::FLAG.trim_start_matches('-'))
        .action(ArgAction::SetTrue)
        .help("Offer the conformance functions as well, for `master check`");
    clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Makes a command that takes a line and gives a line a warm worker")
        .override_usage(format!(
            "master VERB --worker '{NAME} [OPTIONS] COMMAND [ARGUMENT]...' FUNCTION [INPUT]..."
        ))
        .after_help(DETAILS)
        .args([conformance, words])
}

fn worker(command: &Rc<RefCell<Command>>) -> Worker {
    let [start, line_command, json_command] = std::array::from_fn(|_| Rc::clone(command));
    Worker::new(NAME, env!("CARGO_PKG_VERSION"))
        .before_ready(move || start.borrow_mut().start())
        .raw_function(
            "line(text)",
            "Writes a line to the command; gives the line that comes back",
            move |arguments, result| {
                let request = line(arguments)?;
                let answer = line_command.borrow_mut().ask(request)?;
                append_text(answer, result)
            },
        )
        .raw_function(
            "json(value)",
            "Writes a line of JSON to the command; gives the value that comes back",
            move |arguments, result| {
                let request = json_line(arguments)?;
                let answer = json_command.borrow_mut().ask(request)?;
                append_json(&answer, result)
            },
        )
}

/// The line for a text: itself, and for a number or a boolean what JSON has for it.
fn line(arguments: &Arguments<'_>) -> Result<Vec<u8>, Error> {
    let bound = arguments.bind()?;
    let encoded = bound.encoded(0).unwrap_or_default();
    let kind = encoded.first().map_or(Kind::Reserved, |&first| Kind::of(first));
    let line = match kind {
        Kind::String => text(encoded).ok_or_else(|| unfit("it is not UTF-8"))?.into(),
        Kind::Binary => bound.decode::<serde_bytes::ByteBuf>(0)?.into_vec(),
        Kind::Integer | Kind::Float | Kind::Boolean => {
            json::from_message_pack(encoded).map_err(|problem| unfit(&problem))?.into_bytes()
        }
        Kind::Nil | Kind::Array | Kind::Map | Kind::Extension | Kind::Reserved => {
            return Err(unfit(&format!(
                "expected a string, a number or a boolean, found {}; `json` takes any value",
                kind.name()
            )));
        }
    };
    match line.contains(&b'\n') {
        true => Err(unfit("it has a line feed in it, and the command takes one line at a time")),
        false => Ok(line),
    }
}

fn unfit(problem: &str) -> Error {
    Error::new(INVALID_ARGUMENTS, format!("argument 1 (`text`) of `line(text)`: {problem}"))
}

fn json_line(arguments: &Arguments<'_>) -> Result<Vec<u8>, Error> {
    let bound = arguments.bind()?;
    let json = json::from_message_pack(bound.encoded(0).unwrap_or_default());
    json.map(String::into_bytes).map_err(|problem| {
        let message = format!("argument 1 (`value`) of `json(value)`: {problem}");
        Error::new(INVALID_ARGUMENTS, message)
    })
}

/// A string, or binary data if it is not UTF-8.
fn append_text(answer: Vec<u8>, result: &mut Vec<u8>) -> Result<(), Error> {
    match String::from_utf8(answer) {
        Ok(text) => crate::encode(&text, result),
        Err(error) => crate::encode(serde_bytes::Bytes::new(error.as_bytes()), result),
    }
}

fn append_json(answer: &[u8], result: &mut Vec<u8>) -> Result<(), Error> {
    let not_json = |problem: &str| {
        let start = command::beginning(answer);
        Error::new("NotJson", format!("the command answered {start}, which is no JSON: {problem}"))
    };
    let text = std::str::from_utf8(answer).map_err(|_| not_json("it is not UTF-8"))?;
    let encoded = json::to_message_pack(text).map_err(|problem| not_json(&problem))?;
    result.extend_from_slice(&encoded);
    Ok(())
}
