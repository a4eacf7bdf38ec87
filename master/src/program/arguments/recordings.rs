//! The arguments of the verbs about recordings.

use std::path::PathBuf;

use clap::Args;

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
