//! A worker that plays a script and checks what its master says: for those who write a master.
//!
//! The program `scripted-worker` is this. A script is a file with a step a line, each a JSON object;
//! blank lines, and those that begin with `#`, are left out:
//!
//! | Step | What it does |
//! |---|---|
//! | `{"send": {"ready": {}}, "payload": [1]}` | sends a message, with these payload values |
//! | `{"send_bytes": "00 00 00 01 c1"}` | sends bytes as they are |
//! | `{"expect": {"call": {"id": "$id"}}, "payload": [[2]]}` | waits for a message with at least these fields, and exactly these payload values if any are given |
//! | `{"expect": "end"}` | waits for the end of the stream |
//! | `{"silence": 0.5}` | for so many seconds nothing may come |
//! | `{"sleep": 0.5}` | waits so many seconds, whatever comes |
//! | `{"serve": 3}` | answers so many calls, each item with its first argument; `null` until a drain, the end, or a last call |
//! | `{"close": true}` | closes the socket and goes on |
//! | `{"exit": 7}` | exits with this status |
//! | `{"die": 9}` | dies of this signal (on Unix) |
//!
//! A string that begins with `$` is a variable: in what is expected it takes whatever comes, unless it
//! has a value already; in what is sent it stands for that. `$token` is the token of the worker. Values
//! that JSON lacks are written as in the golden vectors: `{"$bin": "00ff"}`, `{"$ext": [7, "00ff"]}`,
//! `{"$float": "nan"}`, `{"$map": [[1, 2]]}`.
//!
//! Whatever the script says, each frame of the master is held to the requirements for masters that one
//! worker can see. The program says on standard error what was wrong, with the number of the
//! requirement, and with `--report FILE` appends a line of JSON there at its end.
//!
//! Exit statuses: 0 the script came to its end; 1 the master did something else than the script
//! expects; 2 the script cannot be read, or there is no master; 76 the master broke the protocol.

mod play;
mod rules;
mod steps;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use protocol::launch::{EXIT_CALL_FAILED, EXIT_NORMAL, EXIT_PROTOCOL, EXIT_USAGE};
use serde_json::json;

use self::play::{Ending, Player};
use crate::environment;

/// A worker that plays a script and checks what its master says
#[derive(Debug, Parser)]
#[command(name = "scripted-worker", version, max_term_width = 80)]
struct Arguments {
    /// The script: a step a line, each a JSON object
    script: PathBuf,
    /// Append to FILE, at the end, a line of JSON that says how it went
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many seconds to wait for what is expected
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    patience: f64,
    /// Only read the script, and say whether it can be played
    #[arg(long)]
    check: bool,
}

/// How a script went.
#[derive(Debug, PartialEq)]
struct Problem {
    /// The line of the script, counted from 1.
    line: usize,
    /// The requirement for masters that was broken, if one was: M-16 is 16.
    requirement: Option<u32>,
    problem: String,
    expected: Option<String>,
    came: Option<String>,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let launch = environment::take();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let steps = match steps::read(&arguments.script) {
        Ok(steps) => steps,
        Err(error) => {
            complain(&format!("{}: {error}", arguments.script.display()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    let launch = match launch {
        Ok(Some(launch)) => launch,
        Ok(None) => {
            complain(
                "a worker, to be started by a master; see `scripted-worker --help`, and `--check` \
                 to try whether a script can be read",
            );
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let ended =
        Player::connect(&launch, arguments.patience).and_then(|mut player| player.play(&steps));
    let (status, problem) = match &ended {
        Ok(Ending::Done) => (EXIT_NORMAL, None),
        Ok(Ending::Exit(status)) => (*status, None),
        Err(problem) => {
            let status =
                if problem.requirement.is_some() { EXIT_PROTOCOL } else { EXIT_CALL_FAILED };
            (status, Some(problem))
        }
    };
    if let Some(problem) = problem {
        complain(&format!("{}, {problem}", arguments.script.display()));
    }
    if let Some(path) = &arguments.report
        && let Err(error) = report(path, &arguments.script, problem)
    {
        complain(&format!("cannot write to {}: {error}", path.display()));
        return ExitCode::from(EXIT_USAGE);
    }
    ExitCode::from(status)
}

/// Appends a line in one write, as several workers may do so at once.
fn report(path: &Path, script: &Path, problem: Option<&Problem>) -> io::Result<()> {
    let mut line = match problem {
        None => json!({ "script": script.display().to_string(), "verdict": "pass" }),
        Some(problem) => json!({
            "script": script.display().to_string(),
            "verdict": "fail",
            "line": problem.line,
            "requirement": problem.requirement.map(|number| format!("M-{number}")),
            "problem": problem.problem,
            "expected": problem.expected,
            "came": problem.came,
        }),
    }
    .to_string();
    line.push('\n');
    let mut file: File = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(line.as_bytes())
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}: ", self.line)?;
        if let Some(number) = self.requirement {
            write!(formatter, "the master broke M-{number}: ")?;
        }
        formatter.write_str(&self.problem)?;
        if let Some(expected) = &self.expected {
            write!(formatter, "\n  expected: {expected}")?;
        }
        match &self.came {
            Some(came) => write!(formatter, "\n  came:     {came}"),
            None => Ok(()),
        }
    }
}

fn complain(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "scripted-worker: {text}");
}
