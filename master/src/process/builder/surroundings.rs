//! What a process finds around it.

use std::{ffi::OsStr, path::PathBuf};

use super::ProcessBuilder;

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
        self.surroundings.set(name.as_ref(), value.as_ref());
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
        self.surroundings.remove(name.as_ref());
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
}
