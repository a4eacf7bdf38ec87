//! The process: what `multiprocessing.Process` is in Python.

use std::{sync::Arc, time::Duration};

use crate::{
    arguments::{FromResult, IntoArguments},
    batch::{Items, Submission},
    command::WorkerCommand,
    driver::{Command, Handle, Initializer, Plan, Surroundings},
    error::Error,
    machine::{GroupId, Settings},
    pool::{INITIALIZER_TIMEOUT, default_worker, positive},
    result::{ApplyResult, Collector},
};

/// One function, run once, in a process of its own.
///
/// ```no_run
/// use master::Process;
///
/// let mut square = Process::builder("square", (10, 1))?.start()?;
/// let mut cube = Process::builder("cube", (15,))?.start()?;
/// square.join();
/// cube.join();
/// assert_eq!(square.exit_code(), Some(0));
/// assert_eq!(cube.result::<i64>()?, 3375);
/// # Ok::<(), master::Error>(())
/// ```
pub struct Process {
    handle: Arc<Handle>,
    collector: Arc<Collector>,
    name: String,
}

/// How a process is to be; made by [`Process::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct ProcessBuilder {
    function: String,
    arguments: crate::Arguments,
    worker: Option<WorkerCommand>,
    name: String,
    start_timeout: Option<Duration>,
    task_timeout: Option<Duration>,
    initializer: Option<(String, crate::Arguments)>,
}

impl Process {
    /// A process that will call a function with these arguments.
    ///
    /// # Errors
    /// [`Error::Encode`] if the arguments cannot be encoded.
    pub fn builder(function: &str, arguments: impl IntoArguments) -> Result<ProcessBuilder, Error> {
        Ok(ProcessBuilder {
            function: function.to_owned(),
            arguments: arguments.into_arguments()?,
            worker: None,
            name: String::new(),
            start_timeout: None,
            task_timeout: None,
            initializer: None,
        })
    }

    /// Its name; by default that of its function.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; `None` if it could not be started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let known = |status: &crate::driver::Status| status.pid.is_some() || status.ended;
        self.handle.wait(None, known);
        self.handle.status().pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.handle.status().ended
    }

    /// Waits until it has ended.
    pub fn join(&mut self) {
        self.handle.join();
    }

    /// Waits until it has ended, for so long at most, and tells whether it has.
    #[must_use]
    pub fn join_timeout(&mut self, timeout: Duration) -> bool {
        self.handle.wait(Some(timeout), |status| status.ended)
    }

    /// `None` while it runs, or if it could not be started; then its exit status, or minus the
    /// number of the signal that ended it. A function that failed gives 1.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let status = self.handle.status();
        status.exit.filter(|_| status.ended).map(crate::Exit::code)
    }

    /// Waits for what the function gives.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn result<R: FromResult>(&self) -> Result<R, Error> {
        let result = ApplyResult::new(Arc::clone(&self.collector)).get();
        // A call that came too late for a worker that cannot be used has that for its reason.
        match (result, self.handle.status().failure) {
            (Err(Error::NotRunning), Some(report)) => Err(Error::PoolFailed(report)),
            (result, _) => result,
        }
    }

    /// Ends it: the polite signal, and after 5 seconds the one that cannot be ignored.
    pub fn terminate(&self) {
        self.handle.send(Command::Terminate);
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

impl Drop for Process {
    /// Waits until it has ended.
    fn drop(&mut self) {
        self.handle.join();
    }
}

impl ProcessBuilder {
    /// What to start. Default: `worker`, as [`crate::command::CommandLine::resolve`] finds it.
    pub fn worker(mut self, command: WorkerCommand) -> Self {
        self.worker = Some(command);
        self
    }

    /// Its name, for people. Default: the name of the function.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// How long it may take from its start to its hello. Default: 10 seconds.
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long the function may run. Default: no limit.
    pub const fn task_timeout(mut self, timeout: Duration) -> Self {
        self.task_timeout = Some(timeout);
        self
    }

    /// A function to run in it first. If it fails, so does the process.
    pub fn initializer(mut self, function: &str, arguments: crate::Arguments) -> Self {
        self.initializer = Some((function.to_owned(), arguments));
        self
    }

    /// Starts it. Its standard output and error are those of this process.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time limit of 0, and if no worker command was given and
    /// the default one is not found; [`Error::Setup`] if the operating system refuses. A command that cannot be run
    /// shows in [`Process::result`].
    pub fn start(self) -> Result<Process, Error> {
        Ok(self.prepare()?.release())
    }

    /// Starts the worker, and keeps its call back.
    pub(crate) fn prepare(self) -> Result<Prepared, Error> {
        let command = match self.worker {
            Some(command) => command,
            None => default_worker()?,
        };
        let mut settings = Settings::new(vec![GroupId(0)]);
        settings.one_call = true;
        settings.task_timeout = positive("the task timeout", self.task_timeout)?;
        if let Some(timeout) = positive("the start timeout", self.start_timeout)? {
            settings.hello_timeout = timeout;
        }
        settings.ready_timeout = match self.initializer {
            Some(_) => settings.hello_timeout + INITIALIZER_TIMEOUT,
            None => settings.hello_timeout,
        };
        let name = if self.name.is_empty() { self.function.clone() } else { self.name };
        let surroundings = Surroundings { inherit_output: true, ..Surroundings::default() };
        let commands = vec![command];
        let initializer = self.initializer.map(Initializer::from);
        let plan = Plan { commands, settings, initializer, surroundings, name: name.clone() };
        let items = self.arguments.into_items()?;
        let handle = Arc::new(Handle::start(plan)?);
        let collector = Arc::new(Collector::new(1));
        let process = Process { handle, collector, name };
        Ok(Prepared { process, function: self.function, items })
    }
}

/// A process whose worker has been started, and whose call has not begun.
pub(crate) struct Prepared {
    process: Process,
    function: String,
    items: Items,
}

impl Prepared {
    /// Waits for what the worker announces; `None` if it cannot be used.
    pub(crate) fn announced(&self) -> Option<Vec<String>> {
        let handle = &self.process.handle;
        handle.wait(None, |status| {
            status.hello.is_some() || status.failure.is_some() || status.ended
        });
        let hello = handle.status().hello?;
        Some(hello.functions.iter().map(|function| function.name.clone()).collect())
    }

    pub(crate) fn function(&self) -> &str {
        &self.function
    }

    /// What can end it from elsewhere, now and later.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.process.handle))
    }

    /// Lets the worker go without its call.
    pub(crate) fn abandon(&self) {
        self.process.handle.send(Command::Close);
    }

    /// Begins the call.
    pub(crate) fn release(self) -> Process {
        let Self { process, function, items } = self;
        let sink = Arc::clone(&process.collector);
        let submission = Arc::new(Submission::new(function, items, sink));
        process.handle.send(Command::Submit { submission, chunk_size: 1 });
        process.handle.send(Command::Close);
        process
    }
}
