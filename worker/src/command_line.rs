//! The worker started by hand: help, and calling one function in place.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use protocol::{
    envelope::Item,
    launch::{EXIT_CALL_FAILED, EXIT_NORMAL, EXIT_USAGE},
};

use crate::{Worker, error::Error, json, reference::conformance, result::ResultBuffer};

/// The id of the argument that holds a function and its arguments.
const WORDS: &str = "words";

/// Handles the arguments of the command line, and gives the status to exit with.
pub(crate) fn run(worker: &Worker, arguments: &[OsString]) -> u8 {
    let name = OsString::from(worker.name);
    let matches = match command(worker).try_get_matches_from([&name].into_iter().chain(arguments)) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are errors to clap, with a status of 0 and standard output.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE);
        }
    };
    match matches.subcommand() {
        Some(("call", matches)) => call(worker, matches),
        _ => {
            explain(worker);
            EXIT_USAGE
        }
    }
}

/// Says on standard error what the worker is and how it is used.
pub(crate) fn explain(worker: &Worker) {
    let name = worker.name;
    let example = worker
        .example
        .as_ref()
        .map_or_else(String::new, |example| format!(", such as: {name} call {example}"));
    complain(&format!(
        "{name} {}: a worker, to be started by a master that then calls its functions\n\
         \n\
         Usage:\n  \
         master map --worker {name} FUNCTION [INPUT]...\n      \
         start workers, and call a function on every input\n  \
         {name} call FUNCTION [ARG]...\n      \
         run one function in place{example}\n  \
         {name} --help\n\
         \n\
         {}",
        worker.version,
        list(worker)
    ));
}

fn command(worker: &Worker) -> Command {
    // One argument with all the words, so that whatever follows the name of the function is the
    // function's own, even if it looks like an option.
    let words = Arg::new(WORDS)
        .value_names(["FUNCTION", "ARG"])
        .num_args(1..)
        .required(true)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString))
        .help(
            "The name of a function, and its arguments: JSON if it parses as JSON, else a string",
        );
    let call = Command::new("call")
        .about("Run one function in place and print its result as JSON")
        .override_usage(format!("{} call FUNCTION [ARG]...", worker.name))
        .after_help(list(worker))
        .arg(words);
    // Looked at before all others: whoever gives it has those functions by now.
    let conformance = Arg::new("conformance")
        .long(conformance::FLAG.trim_start_matches('-'))
        .action(ArgAction::SetTrue)
        .help("Offer the conformance functions as well, for `master check`");
    Command::new(worker.name)
        .version(worker.version)
        .about("A worker, to be started by a master that then calls its functions")
        .after_help(list(worker))
        .arg(conformance)
        .subcommand(call)
}

/// The functions with their help, a line each.
fn list(worker: &Worker) -> String {
    let functions = worker.functions.descriptions();
    let signature = |index: usize| {
        functions.get(index).map(|function| format!("{}{}", function.name, function.parameters))
    };
    let signatures: Vec<String> = (0..functions.len()).filter_map(signature).collect();
    let width = signatures.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let mut text = "Functions:".to_owned();
    for (signature, function) in signatures.iter().zip(&functions) {
        text.push_str(format!("\n  {signature:width$}  {}", function.help).trim_end());
    }
    text
}

fn call(worker: &Worker, matches: &ArgMatches) -> u8 {
    let mut words = matches.get_many::<OsString>(WORDS).into_iter().flatten();
    let name = words.next().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Ok(function) = worker.functions.find(&name) else {
        let list = list(worker);
        complain(&format!("{}: no function is named `{name}`\n\n{list}", worker.name));
        return EXIT_USAGE;
    };
    let positional = match pack(words) {
        Ok(positional) => positional,
        Err(problem) => {
            complain(&format!("{}: {problem}", worker.name));
            return EXIT_USAGE;
        }
    };
    let mut result = ResultBuffer::default();
    let outcome = function.run(Item { positional: &positional, keywords: None }, &mut result);
    let printed = outcome.and_then(|()| {
        let text = json::from_message_pack(result.as_slice()).map_err(|problem| {
            Error::new("NotJson", format!("the result cannot be printed as JSON: {problem}"))
        })?;
        Ok(print(&text)?)
    });
    match printed {
        Ok(()) => EXIT_NORMAL,
        Err(error) => {
            let traceback = error.traceback().trim_end();
            let separator = if traceback.is_empty() { "" } else { "\n" };
            complain(&format!("{error}{separator}{traceback}"));
            EXIT_CALL_FAILED
        }
    }
}

/// Arguments of the command line to an array of arguments.
fn pack<'a>(arguments: impl Iterator<Item = &'a OsString>) -> Result<Vec<u8>, String> {
    let mut values = Vec::new();
    for (number, argument) in (1..).zip(arguments) {
        let value = pack_argument(argument)
            .map_err(|problem| format!("argument {number} cannot be sent: {problem}"))?;
        values.push(value);
    }
    json::array(&values)
}

/// JSON if it parses as JSON, else a string; binary data if it is no text at all.
fn pack_argument(argument: &OsStr) -> Result<Vec<u8>, String> {
    match argument.to_str() {
        Some(text) if json::is_json(text) => json::to_message_pack(text),
        Some(text) => rmp_serde::to_vec(text).map_err(|error| error.to_string()),
        None => rmp_serde::to_vec(serde_bytes::Bytes::new(argument.as_encoded_bytes()))
            .map_err(|error| error.to_string()),
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn complain(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
