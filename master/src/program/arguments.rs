//! The command line.
//!
//! Everything that can be told from the command line alone is checked here, so that a mistake in
//! it is reported before anything starts. What the arguments mean to a pool is decided elsewhere.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser, ValueParser},
    error::ErrorKind,
};

use crate::{
    command::{Checksum, WorkerGroup},
    program::{
        duration,
        input::{InputMode, ItemFormat, Keywords, Positional, Spread},
    },
};

mod check;
mod deferred;
mod help;
mod recordings;
mod supervision;
mod surroundings;

pub use self::{
    check::CheckArguments,
    deferred::Deferred,
    recordings::{CompareArguments, FramesArguments, ReplayArguments},
    supervision::SupervisionOptions,
    surroundings::{Cpus, Limit, SurroundingsOptions, Variable},
};

/// What stands between the calls of `master run`.
const CALL_SEPARATOR: &str = ":::";

/// The command line of `master`.
///
/// ```
/// use master::program::arguments::{Arguments, Verb};
///
/// let arguments = Arguments::parse(["master", "map", "square", "2", "-3", "--processes", "4"])?;
/// let Verb::Map(map) = arguments.verb else { return Err("another verb".into()) };
/// assert_eq!(map.function, "square");
/// assert_eq!(map.inputs, ["2", "-3"]);
/// assert_eq!(map.pool.processes.map(|count| count.get()), Some(4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Parser)]
#[command(
    name = "master",
    version,
    about = help::ABOUT,
    long_about = None,
    after_help = help::AFTER,
    after_long_help = help::AFTER_LONG,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 80
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Call FUNCTION once for each input and print the results in order
    #[command(after_help = help::MAP)]
    Map(Deferred<MapArguments>),
    /// Like map, but each input is a JSON array that holds the arguments of its call
    #[command(after_help = help::STARMAP)]
    Starmap(Deferred<MapArguments>),
    /// Call FUNCTION once and print its result
    #[command(after_help = help::APPLY)]
    Apply(Deferred<ApplyArguments>),
    /// Make several calls at once, each in a process of its own
    #[command(after_help = help::RUN, override_usage = help::RUN_USAGE)]
    Run(Deferred<RunArguments>),
    /// List the workers on PATH and what they can do
    #[command(after_help = help::WORKERS)]
    Workers(Deferred<WorkersArguments>),
    /// Try whether a worker keeps to the protocol
    #[command(after_help = help::CHECK)]
    Check(Deferred<CheckArguments>),
    /// Print a recording of `--record`, a line for each frame
    #[command(after_help = help::FRAMES)]
    Frames(Deferred<FramesArguments>),
    /// Play a recording to another worker and print where its answers differ
    #[command(after_help = help::REPLAY)]
    Replay(Deferred<ReplayArguments>),
    /// Make the same calls on two workers and print where they differ
    #[command(after_help = help::COMPARE)]
    Compare(Deferred<CompareArguments>),
}

/// The arguments of `master map` and `master starmap`.
#[derive(Debug, Args)]
pub struct MapArguments {
    /// The function to call
    pub function: String,
    /// The inputs, JSON or strings; without any, they are read from --input or standard input,
    /// one JSON value a line
    #[arg(value_name = "INPUT", allow_negative_numbers = true, value_parser = argument())]
    pub inputs: Vec<OsString>,
    /// Read the inputs from FILE, one JSON value a line
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    pub input: Option<PathBuf>,
    /// Send N inputs to a worker at a time [default: what takes about 2 ms, by measure]
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub chunksize: Option<NonZeroUsize>,
    /// Print results as they come, not in the order of the inputs
    #[arg(long)]
    pub unordered: bool,
    /// How the calls are made.
    #[command(flatten)]
    pub calls: CallOptions,
    /// The pool that makes them.
    #[command(flatten)]
    pub pool: PoolOptions,
    /// How it watches over them.
    #[command(flatten)]
    pub supervision: SupervisionOptions,
    /// Its workers.
    #[command(flatten)]
    pub workers: WorkerOptions,
    /// What they find around them.
    #[command(flatten)]
    pub surroundings: SurroundingsOptions,
}

impl MapArguments {
    /// How inputs become items; `spread` is told by the verb.
    pub fn format(&self, spread: Spread) -> ItemFormat {
        ItemFormat { mode: self.calls.mode(), spread, keywords: self.calls.kwargs.clone() }
    }
}

/// The arguments of `master apply`.
#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// The function to call
    pub function: String,
    /// Its arguments, JSON or strings
    #[arg(value_name = "ARG", allow_negative_numbers = true, value_parser = argument())]
    pub arguments: Vec<OsString>,
    /// How the call is made.
    #[command(flatten)]
    pub calls: CallOptions,
    /// The pool that makes it.
    #[command(flatten)]
    pub pool: PoolOptions,
    /// How it watches over it.
    #[command(flatten)]
    pub supervision: SupervisionOptions,
    /// Its workers.
    #[command(flatten)]
    pub workers: WorkerOptions,
    /// What they find around them.
    #[command(flatten)]
    pub surroundings: SurroundingsOptions,
}

/// The arguments of `master run`.
#[derive(Debug, Args)]
#[command(mut_arg("worker", |worker| worker.help(help::RUN_WORKER)))]
pub struct RunArguments {
    /// The calls, with `:::` between them; each is a function and its arguments, JSON or strings
    #[arg(
        value_name = "CALL",
        required = true,
        allow_negative_numbers = true,
        value_parser = argument()
    )]
    words: Vec<OsString>,
    /// The calls, in order, at least one.
    #[arg(skip)]
    pub calls: Vec<ProcessCall>,
    /// The name of a process, for messages; once for each call, in order
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// How the calls are made.
    #[command(flatten)]
    pub options: CallOptions,
    /// The workers that make them.
    #[command(flatten)]
    pub workers: WorkerOptions,
    /// What they find around them.
    #[command(flatten)]
    pub surroundings: SurroundingsOptions,
}

/// One call of `master run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCall {
    /// The name of the process, if one was given.
    pub name: Option<String>,
    /// The function to call.
    pub function: String,
    /// Its arguments, not yet encoded.
    pub arguments: Vec<OsString>,
}

/// The arguments of `master workers`.
#[derive(Debug, Args)]
pub struct WorkersArguments {
    /// How long a worker may take from its start to its first message
    #[arg(
        long,
        value_name = "DURATION",
        default_value = START_TIMEOUT,
        value_parser = duration::parse
    )]
    pub start_timeout: Duration,
}

/// How calls are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Calls")]
pub struct CallOptions {
    /// Take every input or argument for a string, even where it is JSON
    #[arg(long)]
    pub text: bool,
    /// Keyword arguments for every call
    #[arg(long, value_name = "JSON-OBJECT", value_parser = Keywords::parse)]
    pub kwargs: Option<Keywords>,
    /// End a call that takes longer, such as 500ms, 10s, 5m or 2h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

impl CallOptions {
    /// What inputs and arguments are written in.
    pub const fn mode(&self) -> InputMode {
        if self.text { InputMode::Text } else { InputMode::Json }
    }
}

/// The size of a pool, and how long its workers stay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Workers")]
pub struct PoolOptions {
    /// How many workers [default: the CPUs that this process may use]
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub processes: Option<NonZeroUsize>,
    /// Replace a worker after N calls [default: never]
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub max_tasks_per_child: Option<NonZeroUsize>,
}

const START_TIMEOUT: &str = "10s";

/// What workers are, and how they start.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workers")]
pub struct WorkerOptions {
    /// The worker: a command in quotes, whose first word is a path or the name of an executable
    /// on PATH, with or without `worker-` before it. Once for each kind of worker; N*COMMAND
    /// asks for N of a kind [default: worker]
    #[arg(long, value_name = "COMMAND")]
    pub worker: Vec<WorkerGroup>,
    /// The SHA-256 that the executable of the worker must have at each start; with several
    /// --worker once for each, in order
    #[arg(long, value_name = "HEX")]
    pub worker_sha256: Vec<Checksum>,
    /// A function to call in each worker before anything else
    #[arg(long, value_name = "FUNCTION")]
    pub initializer: Option<String>,
    /// The arguments of the initializer
    #[arg(
        long,
        value_name = "JSON-ARRAY",
        value_parser = Positional::parse,
        requires = "initializer"
    )]
    pub initargs: Option<Positional>,
    /// How long a worker may take from its start until it is ready; the initializer has its own
    /// time, 10 minutes
    #[arg(
        long,
        value_name = "DURATION",
        default_value = START_TIMEOUT,
        value_parser = duration::parse,
        allow_negative_numbers = true
    )]
    pub start_timeout: Duration,
}

impl Arguments {
    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    /// What clap calls an error: a mistake, which exits with status 2, but also a demand for help
    /// or the version, which exits with 0. [`clap::Error::exit`] prints and exits accordingly.
    pub fn parse(
        command_line: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, clap::Error> {
        let words = command_line.into_iter().map(|word| hide_exponent_sign(word.into()));
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        let checked = match &mut arguments.verb {
            Verb::Map(map) => map.workers.check_checksums(),
            Verb::Starmap(map) => map.check_starmap().and_then(|()| map.workers.check_checksums()),
            Verb::Apply(apply) => apply.workers.check_checksums(),
            Verb::Run(run) => run.0.split_calls().and_then(|()| run.workers.check_checksums()),
            Verb::Compare(compare) => compare.workers.check_checksums(),
            Verb::Workers(_) | Verb::Frames(_) | Verb::Replay(_) | Verb::Check(_) => Ok(()),
        };
        let Err((kind, message)) = checked else { return Ok(arguments) };
        // The verb knows its own usage, which belongs to the message.
        let verb = matches.subcommand_name().unwrap_or_default();
        Err(match command.find_subcommand_mut(verb) {
            Some(verb) => verb.error(kind, message),
            None => command.error(kind, message),
        })
    }
}

type Mistake = (ErrorKind, String);

impl MapArguments {
    fn check_starmap(&self) -> Result<(), Mistake> {
        if !self.calls.text {
            return Ok(());
        }
        let message = "starmap takes JSON arrays apart and --text makes strings; use `master map \
                       --text`, or leave --text out";
        Err((ErrorKind::ArgumentConflict, message.to_owned()))
    }
}

impl WorkerOptions {
    /// Each worker has a checksum, or none has.
    fn check_checksums(&self) -> Result<(), Mistake> {
        let (checksums, workers) = (self.worker_sha256.len(), self.worker.len().max(1));
        if checksums == 0 || checksums == workers {
            return Ok(());
        }
        let message = format!(
            "--worker-sha256 stands once for each --worker, in order: there are {workers} of the \
             one and {checksums} of the other"
        );
        Err((ErrorKind::WrongNumberOfValues, message))
    }
}

impl RunArguments {
    /// Splits the words into calls and gives them their names.
    fn split_calls(&mut self) -> Result<(), Mistake> {
        let mut names = std::mem::take(&mut self.names).into_iter();
        let groups = self.words.split(|word| word == CALL_SEPARATOR);
        self.calls =
            groups.map(|group| process_call(group, names.next())).collect::<Result<_, _>>()?;
        match names.next() {
            None => Ok(()),
            Some(name) => {
                let calls = self.calls.len();
                let message = format!("--name {name} has no call: there are only {calls} calls");
                Err((ErrorKind::TooManyValues, message))
            }
        }
    }
}

fn process_call(group: &[OsString], name: Option<String>) -> Result<ProcessCall, Mistake> {
    let Some((function, arguments)) = group.split_first() else {
        let message = "a function is missing before or after `:::`";
        return Err((ErrorKind::MissingRequiredArgument, message.to_owned()));
    };
    match function.to_str() {
        Some(function) => {
            Ok(ProcessCall { name, function: function.to_owned(), arguments: arguments.to_vec() })
        }
        None => {
            let message = format!("the function {function:?} is not UTF-8");
            Err((ErrorKind::InvalidUtf8, message))
        }
    }
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let too_small = || "must be at least 1".to_owned();
    match text.parse::<usize>() {
        Ok(number) => NonZeroUsize::new(number).ok_or_else(too_small),
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow => Err("is too large".to_owned()),
            _ if text.parse::<i64>().is_ok() => Err(too_small()),
            _ => Err("expected a whole number, at least 1".to_owned()),
        },
    }
}

/// Stands before a word that must not be taken for options. No real argument holds a NUL.
const HIDDEN: &str = "\0";

/// Hides negative numbers such as `-1e-5`, which clap does not know for numbers because of the
/// sign in the exponent, behind [`HIDDEN`].
fn hide_exponent_sign(word: OsString) -> OsString {
    let is_number = |text: &str| {
        text.starts_with('-') && text.parse::<f64>().is_ok() && text.contains(['e', 'E'])
    };
    match word.to_str() {
        Some(text) if is_number(text) => format!("{HIDDEN}{text}").into(),
        _ => word,
    }
}

/// Reads an INPUT or ARG and takes [`HIDDEN`] away.
fn argument() -> ValueParser {
    let reveal = |word: OsString| match word.to_str().and_then(|text| text.strip_prefix(HIDDEN)) {
        Some(text) => text.into(),
        None => word,
    };
    OsStringValueParser::new().map(reveal).into()
}

#[cfg(test)]
mod tests;
