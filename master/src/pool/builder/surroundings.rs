//! What the workers of a pool find around them.

use std::{ffi::OsString, path::PathBuf};

use super::PoolBuilder;

impl PoolBuilder {
    /// Sets an environment variable of the workers, which by default have those of this process.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.environment("COLOUR", "green").build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("/bin/sh", ["-c", "echo $COLOUR"]))?;
    /// assert_eq!(run["stdout"], "green\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.surroundings.set(name, value);
        self
    }

    /// Leaves out an environment variable that the workers would inherit.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.remove_environment("HOME").build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("/bin/sh", ["-c", "echo ${HOME-none}"]))?;
    /// assert_eq!(run["stdout"], "none\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn remove_environment(mut self, name: impl Into<OsString>) -> Self {
        self.surroundings.remove(name);
        self
    }

    /// The workers inherit no environment variable, and what was set before is forgotten; those
    /// that [`Self::environment`] sets from here on and the two of the protocol are all that
    /// they have.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.clear_environment().build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("/bin/sh", ["-c", "echo ${HOME-none}"]))?;
    /// assert_eq!(run["stdout"], "none\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn clear_environment(mut self) -> Self {
        self.surroundings.clear();
        self
    }

    /// The directory that workers start in. Default: that of this process.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// let pool = pool.directory("/").build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("/bin/sh", ["-c", "pwd"]))?;
    /// assert_eq!(run["stdout"], "/\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.surroundings.directory = Some(directory.into());
        self
    }
}
