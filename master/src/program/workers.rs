//! `master workers`: the workers on PATH, each asked what it is.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use protocol::{limits::PROTOCOL_VERSION, message::Hello};

use super::{
    Refusal, arguments::WorkersArguments, output::Closed, processes::ProcessesEnding, search_path,
    signals, status::ExitStatus,
};
use crate::{
    command::{CommandLine, FoundWorker, SearchPath},
    driver::{Command, Handle, Plan, Surroundings},
    machine::{GroupId, Settings},
    process::Stopper,
};

/// How wide the column of functions is at the most.
const MAX_COLUMN: usize = 40;

pub(super) fn list(arguments: &WorkersArguments) -> Result<ExitStatus, Refusal> {
    let search = search_path()?;
    let found = search.find_workers();
    if found.is_empty() {
        return Err(Refusal::pool(
            "no workers: nothing on PATH is called `worker` or `worker-*`, and there is no \
             `worker` beside this program",
        ));
    }
    let signals = signals::catch(signals::Steered::Processes)?;
    // All are asked at once, so that silent ones do not add up.
    let asked: Vec<_> =
        found.iter().map(|worker| start(&search, &worker.path, arguments.start_timeout)).collect();
    let stoppers = asked.iter().flatten().map(|handle| Stopper(Arc::clone(handle))).collect();
    let ended = signals.handle(ProcessesEnding(stoppers))?;
    let mut status = ExitStatus::Success;
    for (worker, handle) in found.iter().zip(asked) {
        let text = describe(worker, handle.and_then(|handle| ask(&handle)));
        if let Err(error) = io::stdout().write_all(text.as_bytes()) {
            status = Closed::from(error).report();
            break;
        }
    }
    Ok(ended.status().combine(status))
}

fn start(search: &SearchPath, path: &Path, timeout: Duration) -> Result<Arc<Handle>, String> {
    let line = CommandLine::from_words([path.to_string_lossy()]).map_err(|e| e.to_string())?;
    let command = line.resolve(search).map_err(|error| error.to_string())?;
    let mut settings = Settings::new(vec![GroupId(0)]);
    settings.hello_timeout = timeout;
    settings.ready_timeout = timeout;
    settings.failed_start_intensity = 0;
    let plan = Plan {
        commands: vec![command],
        settings,
        initializer: None,
        surroundings: Surroundings::default(),
        name: "master workers".into(),
        events: crate::events::Publisher::default(),
        recorder: None,
    };
    Handle::start(plan).map(Arc::new).map_err(|error| error.to_string())
}

fn ask(handle: &Handle) -> Result<Arc<Hello>, String> {
    handle.wait(None, |status| status.ready || status.failure.is_some() || status.ended);
    handle.send(Command::Close);
    handle.join();
    let status = handle.status();
    match (status.hello, status.failure) {
        (Some(hello), _) => Ok(hello),
        (None, Some(report)) => Err(report.to_string()),
        (None, None) => Err("it ended without a word".into()),
    }
}

fn describe(worker: &FoundWorker, hello: Result<Arc<Hello>, String>) -> String {
    let path = worker.path.display();
    let shadowed = if worker.shadowed { ", reached by its path only" } else { "" };
    let mut text = String::new();
    let written = match hello {
        Ok(hello) => write_worker(&mut text, &format!("{path}{shadowed}"), &hello),
        Err(problem) => writeln!(text, "{path}{shadowed}\n    no worker: {problem}"),
    };
    // Writing to a string does not fail.
    debug_assert!(written.is_ok());
    text
}

fn write_worker(text: &mut String, path: &str, hello: &Hello) -> std::fmt::Result {
    let Hello { name, version, oldest, newest, functions, .. } = hello;
    let versions = match oldest == newest {
        true => format!("protocol {newest}"),
        false => format!("protocols {oldest} to {newest}"),
    };
    let known = match (*oldest..=*newest).contains(&PROTOCOL_VERSION) {
        true => String::new(),
        false => format!(", unusable: this master speaks protocol {PROTOCOL_VERSION}"),
    };
    writeln!(text, "{path}\n    {name} {version}, {versions}{known}")?;
    let left: Vec<_> = functions
        .iter()
        .map(|function| format!("{}{}", function.name, function.parameters))
        .collect();
    let width =
        left.iter().map(String::len).filter(|&width| width <= MAX_COLUMN).max().unwrap_or(0);
    for (left, function) in left.iter().zip(functions) {
        writeln!(text, "{}", format!("    {left:width$}  {}", function.help).trim_end())?;
    }
    Ok(())
}
