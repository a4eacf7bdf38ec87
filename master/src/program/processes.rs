//! `master run`: a process for each call, all at once.

use std::{sync::mpsc, time::Duration};

use super::{
    Refusal,
    arguments::{ProcessCall, RunArguments},
    initializer,
    input::encode_call,
    output::{Printed, Results, complain, complain_aside, describe, status_of},
    signals::{self, Ended, Steered, Wish},
    status::ExitStatus,
    worker_commands,
};
use crate::{
    Arguments, Encoded, Process,
    command::WorkerCommand,
    deadline::Deadline,
    error::Error,
    process::{Prepared, ProcessBuilder, Stopper},
};

/// What `run` is told at its end: the status of a shell for what was run.
pub(super) fn run(arguments: RunArguments) -> Result<ExitStatus, Refusal> {
    let commands = worker_commands(&arguments.workers)?;
    let [(command, None)] = &commands[..] else {
        return Err(Refusal::usage(
            "master run takes one --worker, without a number: each call has a process of its own",
        ));
    };
    let mut builders = Vec::new();
    for call in &arguments.calls {
        builders.push(builder(command, call, &arguments)?);
    }
    let signals = signals::catch(Steered::Processes)?;
    let prepared = prepare(builders)?;
    let stoppers = prepared.iter().map(Prepared::stopper).collect();
    let ended = signals.handle(ProcessesEnding(stoppers));
    let ended = ended.inspect_err(|_| Prepared::abandon(&prepared))?;
    let prepared = refuse_unknown(prepared, &command.to_string())?;
    let processes: Vec<_> = prepared.into_iter().map(Prepared::release).collect();
    Ok(wait(processes, &ended))
}

/// Starts a worker for each call.
fn prepare(builders: Vec<ProcessBuilder>) -> Result<Vec<Prepared>, Refusal> {
    let mut prepared = Vec::new();
    for builder in builders {
        match builder.prepare() {
            Ok(call) => prepared.push(call),
            Err(error) => {
                // Nothing else would ever tell them to leave.
                Prepared::abandon(&prepared);
                return Err(error.into());
            }
        }
    }
    Ok(prepared)
}

/// A function that the worker does not have is a mistake in the command line: no call begins.
fn refuse_unknown(prepared: Vec<Prepared>, command: &str) -> Result<Vec<Prepared>, Refusal> {
    // All are of the same command. One that cannot be used has an error of its own later.
    let Some(mut available) = prepared.first().and_then(Prepared::announced) else {
        return Ok(prepared);
    };
    let unknown =
        prepared.iter().find(|call| !available.iter().any(|name| name == call.function()));
    let Some(function) = unknown.map(|call| call.function().to_owned()) else {
        return Ok(prepared);
    };
    available.sort_unstable();
    let workers = vec![command.to_owned()];
    Prepared::abandon(&prepared);
    Err(Error::UnknownFunction { function, available, workers }.into())
}

fn builder(
    command: &WorkerCommand,
    call: &ProcessCall,
    arguments: &RunArguments,
) -> Result<ProcessBuilder, Refusal> {
    let options = &arguments.options;
    let named = |problem: &dyn std::fmt::Display| {
        Refusal::usage(format!("call of `{}`, {problem}", call.function))
    };
    let item = encode_call(&call.arguments, options.mode(), options.kwargs.as_ref())
        .map_err(|error| named(&error))?;
    let keywords = options.kwargs.as_ref().map(|keywords| keywords.encoded().to_vec());
    let positional = item[..item.len() - keywords.as_ref().map_or(0, Vec::len)].to_vec();
    let call_arguments = Arguments::from_encoded(positional, keywords)?;
    let mut builder = Process::builder(command.clone())
        .function(&call.function)
        .arguments(call_arguments)
        .name(call.name.as_ref().unwrap_or(&call.function))
        .start_timeout(arguments.workers.start_timeout)
        .surrounded(|surroundings| arguments.surroundings.tell(surroundings))
        .without_traceback();
    if let Some(timeout) = options.timeout {
        builder = builder.task_timeout(timeout);
    }
    if let Some((initializer, initargs)) = initializer(&arguments.workers)? {
        builder = builder.initializer(initializer, initargs);
    }
    Ok(builder)
}

/// Prints each result when its call ends.
fn wait(processes: Vec<Process>, ended: &Ended) -> ExitStatus {
    let (sender, receiver) = mpsc::channel();
    let mut status = ExitStatus::Success;
    for process in processes {
        let sender = sender.clone();
        let name = process.name().to_owned();
        let waiter = move || {
            let result = process.result::<Encoded>();
            // A process whose call ended speaks by its own status, any other by its error.
            let speaks = matches!(result, Ok(_) | Err(Error::Failed(_) | Error::Lost(_)));
            // The result is printed while the process may still be leaving.
            let _ = sender.send(Ending::Result(name, result));
            // It was started, so neither is an error.
            let exit_code = process.join().and_then(|()| process.exit_code());
            if speaks && let Ok(exit_code) = exit_code {
                let _ = sender.send(Ending::Exit(exit_code));
            }
        };
        let thread = std::thread::Builder::new().name("master-waiter".into()).spawn(waiter);
        if let Err(error) = thread {
            complain(&format!("cannot start a thread: {error}"));
            status = ExitStatus::PoolFailed;
        }
    }
    drop(sender);
    let mut results = Results::new();
    let mut open = true;
    for ending in receiver {
        match ending {
            Ending::Result(_, Ok(Encoded(value))) if value == NIL || !open => {}
            Ending::Result(name, Ok(Encoded(value))) => {
                match results.print(&value).and_then(|printed| results.flush().map(|()| printed)) {
                    Ok(Printed::Yes) => {}
                    Ok(Printed::No(problem)) => {
                        complain(&format!("{name}: {problem}"));
                        status = status.combine(ExitStatus::TaskFailed);
                    }
                    Err(closed) => {
                        open = false;
                        status = status.combine(closed.report());
                    }
                }
            }
            Ending::Result(name, Err(error)) => {
                // After a signal it goes without saying that what it ended was cancelled.
                if !matches!(error, Error::Cancelled(_)) {
                    complain(&format!("{name}: {}", describe(&error)));
                }
                // One that failed speaks by the status of its process, unless that is 0.
                status = status.combine(status_of(&error));
            }
            Ending::Exit(code) => {
                status = status.combine(ExitStatus::of_process(code));
            }
        }
    }
    ended.status().combine(status)
}

/// The encoded null, which is not printed.
const NIL: [u8; 1] = [0xc0];

enum Ending {
    Result(String, Result<Encoded, Error>),
    Exit(Option<i32>),
}

/// Signals for processes.
pub(super) struct ProcessesEnding(pub(super) Vec<Stopper>);

impl signals::Ending for ProcessesEnding {
    fn drain(&self) {
        let running = self.0.iter().filter(|process| process.is_alive()).count() as u64;
        let running = match running {
            1 => "1 running process".to_owned(),
            _ => format!("{running} running processes"),
        };
        complain_aside(format!("interrupted: waiting for {running}; interrupt again to stop"));
    }

    fn terminate(&self) {
        self.0.iter().for_each(Stopper::terminate);
    }

    fn kill(&self) {
        self.0.iter().for_each(Stopper::kill);
    }

    fn wait_for_end(&self, timeout: Duration) {
        let deadline = Deadline::after(timeout);
        for process in &self.0 {
            process.wait_for_end(deadline.left().unwrap_or(timeout));
        }
    }

    /// Nobody asks that of processes.
    fn steer(&self, _: Wish) {}
}
