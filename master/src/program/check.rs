//! `master check`: whether a worker keeps to the protocol.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use protocol::spec::{Side, requirements};
use serde_json::json;

use super::{
    Refusal,
    arguments::CheckArguments,
    output::Closed,
    search_path,
    signals::{self, Steered, Wish},
    status::ExitStatus,
};
use crate::check::{Checker, Report, Running};

pub(super) fn check(arguments: &CheckArguments) -> Result<ExitStatus, Refusal> {
    let Some(command) = &arguments.command else {
        return Ok(print(&list(arguments.json)));
    };
    let command = command.resolve(&search_path()?).map_err(Refusal::pool)?;
    let checker = arguments.checker(command);
    let running = Running::default();
    let signals = signals::catch(Steered::Processes)?;
    let ended = signals.handle(CheckEnding(running.clone()))?;
    let is_watched = io::stderr().is_terminal();
    let tell = |done: usize, all: usize| {
        if is_watched {
            // It is for whoever looks on; nothing is lost without it.
            let _ = write!(io::stderr(), "\r{done} of {all} conversations held");
        }
    };
    let report = checker.run_stoppable(&running, &tell);
    if is_watched {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    if ended.status() != ExitStatus::Success {
        return Ok(ended.status());
    }
    if report.judgements().is_empty() {
        let pick = arguments.pick.as_deref().unwrap_or_default();
        return Err(Refusal::usage(format!(
            "-k {pick} names nothing: give the number of a requirement for workers, as `--list` \
             shows them, or a part of what a case is called"
        )));
    }
    let text = match arguments.json {
        true => report.to_json().to_string(),
        false => report.to_string(),
    };
    Ok(status_of(&report).combine(print(&text)))
}

fn status_of(report: &Report) -> ExitStatus {
    match (report.passed(), report.failed()) {
        (true, _) => ExitStatus::Success,
        (false, true) => ExitStatus::TaskFailed,
        (false, false) => ExitStatus::PoolFailed,
    }
}

/// All requirements for workers, with the cases that try them.
fn list(as_json: bool) -> String {
    let mut all: Vec<_> = requirements().filter(|one| one.side == Side::Worker).collect();
    all.sort_by_key(|requirement| requirement.number);
    if as_json {
        let objects = all.iter().map(|requirement| {
            json!({
                "id": requirement.to_string(),
                "level": requirement.level.name(),
                "text": requirement.text,
                "cases": Checker::cases(requirement.number).collect::<Vec<_>>(),
            })
        });
        return serde_json::Value::Array(objects.collect()).to_string();
    }
    let lines = all.iter().map(|requirement| {
        let (id, level) = (requirement.to_string(), requirement.level.name());
        let cases = Checker::cases(requirement.number).map(|case| format!("\n      case: {case}"));
        format!("{id:<5} {level:<12} {}{}", requirement.text, cases.collect::<String>())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn print(text: &str) -> ExitStatus {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitStatus::Success,
        Err(error) => Closed::from(error).report(),
    }
}

/// Signals for workers that are being tried: there is nothing to wait for.
struct CheckEnding(Running);

impl signals::Ending for CheckEnding {
    fn drain(&self) {
        self.0.stop();
    }

    fn terminate(&self) {
        self.0.stop();
    }

    fn kill(&self) {
        self.0.stop();
    }

    fn wait_for_end(&self, timeout: Duration) {
        self.0.wait_for_end(timeout);
    }

    /// Nobody asks that of a checker.
    fn steer(&self, _: Wish) {}
}
