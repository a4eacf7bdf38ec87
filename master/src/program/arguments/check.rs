//! The arguments of `master check`.

use std::time::Duration;

use clap::Args;

use crate::{check::Checker, command::CommandLine, program::duration};

/// The arguments of `master check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The worker: a command in quotes, whose first word is a path or the name of an executable on
    /// PATH, with or without `worker-` before it
    #[arg(value_name = "COMMAND", required_unless_present = "list")]
    pub command: Option<CommandLine>,
    /// Try only these requirements, such as W-26, or cases with this in their name; several with
    /// commas between
    #[arg(short = 'k', value_name = "NAMES")]
    pub pick: Option<String>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the requirements and the cases that try them, and try nothing
    #[arg(long, conflicts_with = "command")]
    pub list: bool,
    /// How long the worker may take for what it is to do at once
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration::parse
    )]
    pub patience: Duration,
    /// Leave out bodies of 1 GiB, which take some GiB of memory; what they try is then not tested
    #[arg(long)]
    pub no_large: bool,
}

impl CheckArguments {
    /// The checker that they ask for.
    pub(in crate::program) fn checker(&self, command: crate::command::WorkerCommand) -> Checker {
        let mut checker = Checker::new(command).patience(self.patience);
        if let Some(pick) = &self.pick {
            checker = checker.pick(pick);
        }
        if self.no_large { checker.without_large_bodies() } else { checker }
    }
}
