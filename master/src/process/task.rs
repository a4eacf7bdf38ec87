//! What a process is to do, and what is held for it while it does.

use std::{sync::Arc, time::Duration};

use super::{
    Process, State,
    children::{self, ChildProcess},
};
use crate::{
    arguments::{Arguments, FromResult},
    batch::{Items, Submission},
    collector::{Collector, CollectorSink},
    command::WorkerCommand,
    driver::{Command, Handle, Initializer, Plan, Surroundings},
    error::Error,
    events::Publisher,
    machine::Settings,
};

/// What a process is to do, before it is started.
pub(super) struct Task {
    pub(super) command: WorkerCommand,
    pub(super) settings: Settings,
    pub(super) surroundings: Surroundings,
    pub(super) initializer: Option<(String, Arguments)>,
    pub(super) function: String,
    pub(super) items: Items,
}

/// A process that was started.
pub(super) struct Started {
    pub(super) handle: Arc<Handle>,
    collector: Arc<Collector>,
}

impl Task {
    /// Starts the worker, and waits until it is a process. Its call does not begin yet.
    pub(super) fn spawn(&self, name: &str) -> Result<Arc<Handle>, Error> {
        let handle = Arc::new(Handle::start(Plan {
            commands: vec![self.command.clone()],
            settings: self.settings.clone(),
            initializer: self.initializer.clone().map(Initializer::new).transpose()?,
            surroundings: self.surroundings.clone(),
            name: name.to_owned(),
            recorder: None,
            events: Publisher::default(),
        })?);
        handle
            .wait(None, |status| status.pid.is_some() || status.failure.is_some() || status.ended);
        let status = handle.status();
        match (status.pid, status.failure) {
            (Some(_), _) => Ok(handle),
            (None, Some(report)) => {
                handle.join();
                Err(Error::ProcessFailed(report))
            }
            (None, None) => Err(Error::Setup("its supervisor ended before it started".into())),
        }
    }

    /// Begins the call in the worker that was spawned.
    pub(super) fn begin(&mut self, name: &str, handle: Arc<Handle>) -> Started {
        let (function, items) =
            (std::mem::take(&mut self.function), std::mem::take(&mut self.items));
        let collector = Collector::new(1);
        let sink = Arc::new(CollectorSink(Arc::clone(&collector)));
        let submission = Arc::new(Submission::new(function, items, sink));
        handle.send(Command::Submit { submission, chunk_size: Some(1) });
        handle.send(Command::Close);
        children::add(ChildProcess::new(name, &handle));
        Started { handle, collector }
    }
}

impl Started {
    pub(super) fn is_alive(&self) -> bool {
        !self.handle.status().ended
    }

    pub(super) fn join(&self) {
        self.handle.join();
        children::forget(&self.handle);
    }

    pub(super) fn result<R: FromResult>(&self) -> Result<R, Error> {
        let result = match self.collector.wait(None) {
            Some(outcome) => outcome.result(),
            None => Err(Error::NotRunning),
        };
        match (result, self.handle.status().failure) {
            // Also for a call that came too late for a worker that cannot be used.
            (Err(Error::PoolFailed(report)), _) | (Err(Error::NotRunning), Some(report)) => {
                Err(Error::ProcessFailed(report))
            }
            (result, _) => result,
        }
    }
}

/// A process whose worker has been started, and whose call has not begun.
pub(crate) struct Prepared {
    pub(super) name: String,
    pub(super) task: Box<Task>,
    pub(super) handle: Arc<Handle>,
}

impl Prepared {
    /// Waits for what the worker announces; `None` if it cannot be used.
    pub(crate) fn announced(&self) -> Option<Vec<String>> {
        self.handle.wait(None, |status| {
            status.hello.is_some() || status.failure.is_some() || status.ended
        });
        let hello = self.handle.status().hello?;
        Some(hello.functions.iter().map(|function| function.name.clone()).collect())
    }

    pub(crate) fn function(&self) -> &str {
        &self.task.function
    }

    /// What can end it from elsewhere, now and later.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.handle))
    }

    /// Lets the workers go without their calls, all at once, so that none waits for another.
    pub(crate) fn abandon(all: &[Self]) {
        all.iter().for_each(|prepared| prepared.handle.send(Command::Close));
        all.iter().for_each(|prepared| prepared.handle.join());
    }

    /// Begins the call.
    pub(crate) fn release(self) -> Process {
        let Self { name, mut task, handle } = self;
        let state = State::Started(task.begin(&name, handle));
        Process { name, daemon: false, state }
    }
}

/// Ends a process while another thread waits for it.
pub(crate) struct Stopper(pub(crate) Arc<Handle>);

impl Stopper {
    pub(crate) fn wait_for_end(&self, timeout: Duration) {
        self.0.wait(Some(timeout), |status| status.ended);
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.0.status().ended
    }

    pub(crate) fn terminate(&self) {
        self.0.send(Command::Terminate);
    }

    pub(crate) fn kill(&self) {
        self.0.send(Command::Kill);
    }
}
