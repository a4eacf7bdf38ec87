//! What a process finds around it.

use std::{ffi::OsStr, path::PathBuf};

use super::ProcessBuilder;
use crate::{
    driver::{Cpus, Surroundings},
    resource::Resource,
};

impl ProcessBuilder {
    /// Sets a variable in its environment, which by default is that of this program.
    ///
    /// PATH is not special: the worker command was resolved before, with the PATH of this
    /// program, and what is set here is for the worker itself. But if the worker is a script that
    /// begins with `#!/usr/bin/env`, it is this PATH in which its interpreter is looked for.
    /// `WORKER_ADDRESS` and `WORKER_TOKEN`, by which a worker finds its master, are always set
    /// to what is needed, whatever is said here.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let echo = ("sh", ["-c", "echo $GREETING"]);
    /// let process = Process::builder(worker)
    ///     .environment("GREETING", "hello")
    ///     .function("exec")
    ///     .arguments(echo)
    ///     .start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "hello\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.surroundings.set(name, value);
        self
    }

    /// Leaves a variable out of its environment.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let echo = ("sh", ["-c", "echo ${GREETING-none}"]);
    /// let process = Process::builder(worker)
    ///     .environment("GREETING", "hello")
    ///     .remove_environment("GREETING")
    ///     .function("exec")
    ///     .arguments(echo)
    ///     .start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "none\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn remove_environment(mut self, name: impl AsRef<OsStr>) -> Self {
        self.surroundings.remove(name);
        self
    }

    /// Leaves all variables out of its environment, those of this program and those that were
    /// set so far; what is set afterwards stands.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let echo = ("sh", ["-c", "echo $GREETING ${HOME-homeless}"]);
    /// let process = Process::builder(worker)
    ///     .clear_environment()
    ///     .environment("GREETING", "hello")
    ///     .function("exec")
    ///     .arguments(echo)
    ///     .start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "hello homeless\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn clear_environment(mut self) -> Self {
        self.surroundings.clear();
        self
    }

    /// The directory that it starts in. Default: that of this program, from which a relative path
    /// counts when the process starts. The worker command is found without it.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("exec").arguments(("pwd",));
    /// let process = builder.directory("/").start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "/\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.surroundings.directory = Some(path.into());
        self
    }

    /// How much of a resource it may have, in the unit of the [`Resource`]; called again for
    /// another resource it adds to that. It cannot raise it, and processes that it starts have
    /// the same limit. `u64::MAX` is no limit. What the operating system refuses is
    /// [`Error::ProcessFailed`](crate::Error::ProcessFailed). Default: the limits of this program.
    ///
    /// ```
    /// # use master::{Process, Resource};
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("exec").arguments(("sh", ["-c", "ulimit -n"]));
    /// let process = builder.resource_limit(Resource::OpenFiles, 32).start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "32\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn resource_limit(mut self, resource: Resource, most: u64) -> Self {
        self.surroundings.limit(resource, most);
        self
    }

    /// Its niceness, from -20, which is served first, to 19, which is served last. Only privileged
    /// users may go below their own. Default: that of this program.
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let process = Process::builder(worker).niceness(19).function("exec").arguments(("nice",));
    /// assert_eq!(process.start()?.result::<serde_json::Value>()?["stdout"], "19\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub const fn niceness(mut self, niceness: i32) -> Self {
        self.surroundings.niceness = Some(niceness);
        self
    }

    /// Pins it to these CPUs, numbered from 0 as the operating system does. If it may not use all
    /// of them it does not start. Default: those of this program.
    ///
    /// ```
    /// # use master::{Error, Process};
    /// # let worker = integration_tests::library::worker();
    /// # let first = integration_tests::library::first_cpu();
    /// let builder = Process::builder(worker).function("exec").arguments(("nproc",));
    /// let process = builder.clone().cpus([first]).start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "1\n");
    /// assert!(matches!(builder.cpus([]).start(), Err(Error::InvalidArgument(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.surroundings.pin(cpus);
        self
    }

    /// Pins it to the first CPU of those that this program may use: it is a pool of one worker,
    /// see [`PoolBuilder::pin_to_cpus`](crate::PoolBuilder::pin_to_cpus).
    ///
    /// ```
    /// # use master::Process;
    /// # let worker = integration_tests::library::worker();
    /// let builder = Process::builder(worker).function("exec").arguments(("nproc",));
    /// let process = builder.pin_to_cpus().start()?;
    /// assert_eq!(process.result::<serde_json::Value>()?["stdout"], "1\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn pin_to_cpus(mut self) -> Self {
        self.surroundings.cpus = Some(Cpus::OneEach);
        self
    }

    /// The same, with surroundings that `tell` has changed.
    pub(crate) fn surrounded(mut self, tell: impl FnOnce(&mut Surroundings)) -> Self {
        tell(&mut self.surroundings);
        self
    }
}
