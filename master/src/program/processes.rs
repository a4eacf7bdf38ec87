//! `master run`: a process for each call, all at once.

use std::sync::mpsc;

use super::{
    Refusal,
    arguments::{ProcessCall, RunArguments},
    input::encode_call,
    output::{Printed, Results, complain, describe, status_of},
    signals::{self, Ended},
    status::ExitStatus,
    worker_commands,
};
use crate::{
    Arguments, Encoded, Process,
    error::Error,
    process::{ProcessBuilder, Stopper},
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
        builders.push(builder(call, &arguments)?.worker(command.clone()));
    }
    let processes: Vec<_> =
        builders.into_iter().map(ProcessBuilder::start).collect::<Result<_, _>>()?;
    let stoppers = processes.iter().map(Process::stopper).collect();
    let ended = signals::handle(ProcessesEnding(stoppers))
        .map_err(|error| Refusal::pool(format!("cannot handle signals: {error}")))?;
    Ok(wait(processes, &ended))
}

fn builder(call: &ProcessCall, arguments: &RunArguments) -> Result<ProcessBuilder, Refusal> {
    let options = &arguments.options;
    let named = |problem: &dyn std::fmt::Display| {
        Refusal::usage(format!("call of `{}`, {problem}", call.function))
    };
    let item = encode_call(&call.arguments, options.mode(), options.kwargs.as_ref())
        .map_err(|error| named(&error))?;
    let keywords = options.kwargs.as_ref().map(|keywords| keywords.encoded().to_vec());
    let positional = item[..item.len() - keywords.as_ref().map_or(0, Vec::len)].to_vec();
    let call_arguments = Arguments::from_encoded(positional, keywords)?;
    let mut builder = Process::builder(&call.function, call_arguments)?
        .start_timeout(arguments.workers.start_timeout);
    if let Some(name) = &call.name {
        builder = builder.name(name);
    }
    if let Some(timeout) = options.timeout {
        builder = builder.task_timeout(timeout);
    }
    if let Some(initializer) = &arguments.workers.initializer {
        let encoded = arguments.workers.initargs.as_ref().map(|list| list.encoded().to_vec());
        let initargs = match encoded {
            Some(encoded) => Arguments::from_encoded(encoded, None)?,
            None => Arguments::new(())?,
        };
        builder = builder.initializer(initializer, initargs);
    }
    Ok(builder)
}

/// Prints each result when its call ends.
fn wait(processes: Vec<Process>, ended: &Ended) -> ExitStatus {
    let (sender, receiver) = mpsc::channel();
    let mut status = ExitStatus::Success;
    for mut process in processes {
        let sender = sender.clone();
        let name = process.name().to_owned();
        let waiter = move || {
            let result = process.result::<Encoded>();
            // Its result may be printed while the process is still leaving.
            let _ = sender.send(Ending::Result(name.clone(), result));
            process.join();
            let _ = sender.send(Ending::Exit(process.exit_code()));
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
                    Err(_) => open = false,
                }
            }
            Ending::Result(name, Err(error)) => {
                complain(&format!("{name}: {}", describe(&error)));
                // A process that ended in its task speaks by its own status.
                if !matches!(error, Error::Failed(_) | Error::Lost(_)) {
                    status = status.combine(status_of(&error));
                }
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
struct ProcessesEnding(Vec<Stopper>);

impl signals::Ending for ProcessesEnding {
    fn drain(&self) {
        let running = self.0.iter().filter(|process| process.is_alive()).count();
        complain(&format!(
            "interrupted: waiting for {running} running processes; interrupt again to stop them"
        ));
    }

    fn terminate(&self) {
        self.0.iter().for_each(Stopper::terminate);
    }

    fn kill(&self) {
        self.0.iter().for_each(Stopper::kill);
    }
}
