//! How a process is to be.

mod surroundings;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Prepared, Process, State, Task};
use crate::{
    arguments::{Arguments, IntoArguments},
    command::WorkerCommand,
    driver::Surroundings,
    error::Error,
    machine::{GroupId, Settings},
    pool::{INITIALIZER_TIMEOUT, positive},
};

/// How a process is to be; made by [`Process::builder`] and [`Process::default_builder`].
///
/// Nothing is an error before [`Self::build`].
///
/// ```
/// # use master::Process;
/// # let worker = integration_tests::library::worker();
/// let builder = Process::builder(worker).function("square");
/// let five = builder.clone().arguments((5,)).start()?;
/// let six = builder.arguments((6,)).start()?;
/// assert_eq!(five.result::<i64>()?, 25);
/// assert_eq!(six.result::<i64>()?, 36);
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` or `start`"]
pub struct ProcessBuilder {
    worker: WorkerCommand,
    function: Option<String>,
    arguments: Result<Arguments, Error>,
    name: Option<String>,
    daemon: bool,
    surroundings: Surroundings,
    initializer: Option<(String, Result<Arguments, Error>)>,
    start_timeout: Option<Duration>,
    task_timeout: Option<Duration>,
}

impl ProcessBuilder {
    pub(super) fn new(worker: WorkerCommand) -> Self {
        let surroundings = Surroundings {
            inherit_output: true,
            tell_failures: true,
            single_call: true,
            ..Surroundings::default()
        };
        Self {
            worker,
            function: None,
            arguments: Arguments::new(()),
            name: None,
            daemon: false,
            surroundings,
            initializer: None,
            start_timeout: None,
            task_timeout: None,
        }
    }

    /// The function to call, by the name that the worker announces. There is no default.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("square").arguments((5,)).start()?;
    /// assert_eq!(process.result::<i64>()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn function(mut self, name: &str) -> Self {
        self.function = Some(name.to_owned());
        self
    }

    /// The arguments of the call: a tuple or another sequence, or [`Arguments`] with keyword
    /// arguments. Default: none.
    ///
    /// ```
    /// # use master::{Arguments, Process};
    /// # let worker = integration_tests::library::worker();
    /// # use std::collections::BTreeMap;
    /// let arguments = Arguments::new((5,))?.keywords(BTreeMap::from([("seconds", 0.01)]))?;
    /// let process = Process::builder(worker).function("square").arguments(arguments).start()?;
    /// assert_eq!(process.result::<i64>()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn arguments(mut self, arguments: impl IntoArguments) -> Self {
        self.arguments = arguments.into_arguments();
        self
    }

    /// Its name, for people: it stands before its traceback, and the worker is told it as that
    /// of its pool. Default: `Process-1`, `Process-2` and so on, counted over all processes that
    /// this program builds.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("pid");
    /// assert!(builder.clone().build()?.name().starts_with("Process-"));
    /// assert_eq!(builder.name("first").build()?.name(), "first");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Whether it is a daemon: dropping its handle does not wait for it, and it runs on until its
    /// function or this program ends. Default: no.
    ///
    /// Like any other process it ends with this program. Without a handle it can still be found
    /// with [`crate::active_children`].
    ///
    /// ```
    /// # use master::{Process, active_children};
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("sleep").arguments((60,));
    /// drop(builder.daemon(true).start()?);
    /// assert_eq!(active_children().len(), 1, "it runs on");
    /// for daemon in active_children() {
    ///     daemon.kill();
    ///     daemon.join();
    /// }
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// A function of the worker to run before the call, which has 10 minutes for it. If it fails
    /// the call does not begin: the result is [`Error::ProcessFailed`] with the reason, and the
    /// exit code that which the worker gives, 1 for those of the crate `worker`. Default: none.
    ///
    /// ```
    /// # use master::{Error, Process};
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("square").arguments((5,));
    /// let process = builder.clone().initializer("sleep", (0.01,)).start()?;
    /// assert_eq!(process.result::<i64>()?, 25);
    /// let process = builder.initializer("fail", ("no licence",)).start()?;
    /// assert!(matches!(process.result::<i64>(), Err(Error::ProcessFailed(_))));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn initializer(mut self, function: &str, arguments: impl IntoArguments) -> Self {
        self.initializer = Some((function.to_owned(), arguments.into_arguments()));
        self
    }

    /// How long the worker may take from its start until it is ready, or until its hello if there
    /// is an initializer. Then it is killed, and the result is [`Error::ProcessFailed`]. Default:
    /// 10 seconds.
    ///
    /// ```
    /// # use master::{Error, Process, command::{CommandLine, SearchPath}};
    /// # use std::time::Duration;
    /// // A program that is no worker, and never says hello.
    /// let worker = CommandLine::parse("sleep 60")?.resolve(&SearchPath::from_environment()?)?;
    /// let builder = Process::builder(worker).function("square").arguments((5,));
    /// let process = builder.start_timeout(Duration::from_millis(50)).start()?;
    /// assert!(matches!(process.result::<i64>(), Err(Error::ProcessFailed(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// How long the function may run. Then it is ended as by [`Process::terminate`], and the
    /// result is [`Error::TimedOut`]. Default: no limit.
    ///
    /// ```
    /// # use master::{Error, Process};
    /// # let worker = integration_tests::library::worker();
    /// # use std::time::Duration;
    /// let builder = Process::builder(worker).function("sleep").arguments((60,));
    /// let process = builder.task_timeout(Duration::from_millis(50)).start()?;
    /// assert!(matches!(process.result::<()>(), Err(Error::TimedOut(_))));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn task_timeout(mut self, timeout: Duration) -> Self {
        self.task_timeout = Some(timeout);
        self
    }

    /// The process, not started yet.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if no function was named, if a time limit is 0, and if a
    /// variable or the directory is none that an operating system can take; [`Error::Encode`] if
    /// arguments cannot be encoded.
    ///
    /// ```
    /// use master::{
    ///     Error, Process,
    ///     command::{CommandLine, SearchPath},
    /// };
    ///
    /// let worker = CommandLine::parse("sh")?.resolve(&SearchPath::from_environment()?)?;
    /// let builder = Process::builder(worker).name("first").environment("LANG", "C");
    /// assert!(matches!(builder.clone().build(), Err(Error::InvalidArgument(_))));
    /// assert!(matches!(builder.clone().function("f").arguments(5).build(), Err(Error::Encode(_))));
    /// assert_eq!(builder.function("f").arguments((5,)).build()?.name(), "first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(self) -> Result<Process, Error> {
        let daemon = self.daemon;
        let (name, task) = self.task()?;
        Ok(Process { name, daemon, state: State::New(task) })
    }

    /// The process, started: [`Self::build`] and [`Process::start`].
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).function("square").arguments((5,)).start()?;
    /// assert!(process.pid()?.is_some());
    /// assert_eq!(process.result::<i64>()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of both.
    pub fn start(self) -> Result<Process, Error> {
        let mut process = self.build()?;
        process.start()?;
        Ok(process)
    }

    /// Leaves it to others to tell of its failure.
    pub(crate) const fn without_traceback(mut self) -> Self {
        self.surroundings.tell_failures = false;
        self
    }

    /// Starts the worker, and keeps its call back.
    pub(crate) fn prepare(self) -> Result<Prepared, Error> {
        let (name, task) = self.task()?;
        let handle = task.spawn(&name)?;
        Ok(Prepared { name, task, handle })
    }

    /// Its name, and what it is to do.
    fn task(self) -> Result<(String, Box<Task>), Error> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let no_function = || "a process needs a function: name one with `function`".to_owned();
        let function = self.function.ok_or_else(|| Error::InvalidArgument(no_function()))?;
        self.surroundings.check()?;
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
        let initializer = match self.initializer {
            Some((function, arguments)) => Some((function, arguments?)),
            None => None,
        };
        let items = self.arguments?.into_items()?;
        let (command, surroundings) = (self.worker, self.surroundings);
        // Counted with a name as well, as in Python.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = self.name.unwrap_or_else(|| format!("Process-{number}"));
        let task = Task { command, settings, surroundings, initializer, function, items };
        Ok((name, Box::new(task)))
    }
}
