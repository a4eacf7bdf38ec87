//! The program: its command line, its input and its output.
//!
//! In reading order:
//! - [`arguments`]: the command line;
//! - [`duration`] and [`size`]: durations and sizes as people write them;
//! - [`input`]: inputs to encoded items;
//! - [`json`]: JSON to MessagePack and back, exactly;
//! - `calls`, `processes`, `workers` and `check`: what the verbs do;
//! - `frames`, `replay` and `compare`: what the verbs about recordings and swaps do;
//! - `output`, `events` and `signals`: results, complaints, what happens, and the end;
//! - `steering`: what signals ask of a pool other than to end;
//! - [`status`]: what the exit status says.

pub mod arguments;
mod calls;
mod check;
mod compare;
mod decimal;
pub mod duration;
mod events;
mod frames;
pub mod input;
pub mod json;
mod message_pack;
mod output;
mod processes;
mod replay;
mod search;
mod signals;
pub mod size;
pub mod status;
mod steering;
mod taping;
mod workers;

use std::{
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use self::{
    arguments::{Arguments, Verb, WorkerOptions},
    input::Spread,
    output::complain,
    status::ExitStatus,
};
use crate::{
    command::{SearchPath, WorkerCommand},
    error::Error,
};

/// The whole program: reads the command line, does it, and tells how it ended.
pub fn main() -> ExitCode {
    // Who asks for nothing gets nothing, and need not wait for it.
    if std::env::var_os(env_logger::DEFAULT_FILTER_ENV).is_some() {
        env_logger::init_from_env(env_logger::Env::default().default_filter_or("off"));
    }
    match Arguments::parse(std::env::args_os()) {
        Ok(arguments) => run(arguments).into(),
        Err(error) => error.exit(),
    }
}

fn run(arguments: Arguments) -> ExitStatus {
    // A file that may not grow is an error of whoever writes it, and not the end of the program.
    let too_large = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, too_large) {
        log::warn!("a file that grows too large will end this program: {error}");
    }
    let ended = match arguments.verb {
        Verb::Map(map) => calls::map(map.0, Spread::Whole),
        Verb::Starmap(map) => calls::map(map.0, Spread::Arguments),
        Verb::Apply(apply) => calls::apply(apply.0),
        Verb::Run(run) => processes::run(run.0),
        Verb::Workers(workers) => workers::list(&workers),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Frames(frames) => frames::print(&frames),
        Verb::Replay(replay) => replay::replay(replay.0),
        Verb::Compare(compare) => compare::compare(compare.0),
    };
    ended.unwrap_or_else(|Refusal { status, message }| {
        complain(&message);
        status
    })
}

/// Why nothing was done at all.
struct Refusal {
    status: ExitStatus,
    message: String,
}

impl Refusal {
    fn usage(message: impl ToString) -> Self {
        Self { status: ExitStatus::Usage, message: message.to_string() }
    }

    fn pool(message: impl ToString) -> Self {
        Self { status: ExitStatus::PoolFailed, message: message.to_string() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidArgument(_) | Error::Encode(_) => Self::usage(error),
            error => Self::pool(error),
        }
    }
}

fn search_path() -> Result<SearchPath, Refusal> {
    SearchPath::from_environment()
        .map_err(|error| Refusal::pool(format!("cannot tell the current directory: {error}")))
}

/// The initializer of a command line, with its arguments.
fn initializer(options: &WorkerOptions) -> Result<Option<(&String, crate::Arguments)>, Refusal> {
    let Some(initializer) = &options.initializer else { return Ok(None) };
    let arguments = match &options.initargs {
        Some(list) => crate::Arguments::from_encoded(list.encoded().to_vec(), None)?,
        None => crate::Arguments::new(())?,
    };
    Ok(Some((initializer, arguments)))
}

/// The worker commands of a command line, each with the number of workers if one was given.
fn worker_commands(
    options: &WorkerOptions,
) -> Result<Vec<(WorkerCommand, Option<std::num::NonZeroUsize>)>, Refusal> {
    let search = search_path()?;
    let default = [crate::command::WorkerGroup::default()];
    let groups = if options.worker.is_empty() { &default[..] } else { &options.worker };
    let mut commands = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut command = group.command.resolve(&search).map_err(Refusal::pool)?;
        if let Some(checksum) = options.worker_sha256.get(index) {
            command = command.pinned(*checksum);
        }
        log::info!("`{}` is {command}", group.command);
        commands.push((command, group.count));
    }
    Ok(commands)
}
