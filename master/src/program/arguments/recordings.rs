//! The arguments of the verbs about recordings, and about two workers side by side.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    CallOptions, START_TIMEOUT, SurroundingsOptions, WorkerOptions, argument, at_least_one, help,
};
use crate::{command::CommandLine, program::duration};

/// The arguments of `master frames`.
#[derive(Debug, Args)]
pub struct FramesArguments {
    /// The recording
    pub file: PathBuf,
    /// Only what concerns this seat of the pool; several times for several
    #[arg(long, value_name = "N")]
    pub slot: Vec<u32>,
    /// Only what concerns the worker of this number; several times for several
    #[arg(long, value_name = "N")]
    pub worker: Vec<u64>,
    /// Only failures, frames that are malformed or cut short, and workers that ended badly
    #[arg(long)]
    pub errors: bool,
    /// Print values in full, however long
    #[arg(long)]
    pub all: bool,
    /// Print a JSON object a line, with all values in full
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `master replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The recording
    pub file: PathBuf,
    /// The worker to play it to: a command in quotes, whose first word is a path or the name of
    /// an executable on PATH, with or without `worker-` before it
    #[arg(long, value_name = "COMMAND")]
    pub worker: CommandLine,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Take floats for the same that differ by no more, relative to those beyond 1 [default: 0]
    #[arg(long, value_name = "X", default_value_t = 0.0, hide_default_value = true, value_parser = tolerance)]
    pub tolerance: f64,
    /// Print a JSON object for each difference, and one for the summary
    #[arg(long)]
    pub json: bool,
    /// How long a worker may take from its start to its first message
    #[arg(long, value_name = "DURATION", default_value = START_TIMEOUT, value_parser = duration::parse)]
    pub start_timeout: Duration,
    /// What workers find around them.
    #[command(flatten)]
    pub surroundings: SurroundingsOptions,
}

/// The arguments of `master compare`.
#[derive(Debug, Args)]
#[command(mut_arg("worker", |worker| worker.help(help::COMPARE_WORKER)))]
pub struct CompareArguments {
    /// The function to call
    pub function: String,
    /// The inputs, JSON or strings; without any, they are read from --input or standard input,
    /// one JSON value a line
    #[arg(value_name = "INPUT", allow_negative_numbers = true, value_parser = argument())]
    pub inputs: Vec<OsString>,
    /// Read the inputs from FILE, one JSON value a line
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    pub input: Option<PathBuf>,
    /// Take each input for an array of the arguments of its call, as starmap does
    #[arg(long, conflicts_with = "text")]
    pub spread: bool,
    /// Take floats for the same that differ by no more, relative to those beyond 1 [default: 0]
    #[arg(long, value_name = "X", default_value_t = 0.0, hide_default_value = true, value_parser = tolerance)]
    pub tolerance: f64,
    /// Print a JSON object for each difference, and one for the summary
    #[arg(long)]
    pub json: bool,
    /// How the calls are made.
    #[command(flatten)]
    pub calls: CallOptions,
    /// How many workers of each [default: the CPUs that this process may use]
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    #[arg(help_heading = "Workers")]
    pub processes: Option<NonZeroUsize>,
    /// The two.
    #[command(flatten)]
    pub workers: WorkerOptions,
    /// What they find around them.
    #[command(flatten)]
    pub surroundings: SurroundingsOptions,
}

/// Reads a difference of floats.
fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number, at least 0, such as 1e-9".to_owned()),
    }
}
