//! What the workers of a pool find around them.

use std::{ffi::OsStr, path::PathBuf};

use super::PoolBuilder;
use crate::{
    driver::{Cpus, Surroundings},
    resource::Resource,
};

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
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
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
    pub fn remove_environment(mut self, name: impl AsRef<OsStr>) -> Self {
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

    /// How much of a resource each worker may have, in the unit of the [`Resource`]; called again
    /// for another resource it adds to that. The worker cannot raise it, and processes that it
    /// starts have the same limit. `u64::MAX` is no limit. What the operating system refuses is an
    /// error of the start, as [`Error::PoolFailed`](crate::Error::PoolFailed). Default: the limits
    /// of this process.
    ///
    /// ```
    /// use master::{Error, Pool, Resource};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker.clone()).processes(1);
    /// let limited = pool.clone().resource_limit(Resource::OpenFiles, 32).build()?;
    /// let run: serde_json::Value = limited.apply("exec", ("/bin/sh", ["-c", "ulimit -n"]))?;
    /// assert_eq!(run["stdout"], "32\n");
    ///
    /// let refused = pool.resource_limit(Resource::OpenFiles, u64::MAX - 1).build()?;
    /// match refused.apply::<i64>("square", (5,)) {
    ///     Err(Error::PoolFailed(report)) => {
    ///         assert!(report.to_string().contains("cannot set its limit of open-files"));
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn resource_limit(mut self, resource: Resource, most: u64) -> Self {
        self.surroundings.limit(resource, most);
        self
    }

    /// The niceness of the workers, from -20, which is served first, to 19, which is served last.
    /// Only privileged users may go below their own. Default: that of this process.
    ///
    /// ```
    /// use master::{Error, Pool};
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(1);
    /// assert!(matches!(pool.clone().niceness(20).build(), Err(Error::InvalidArgument(_))));
    /// let pool = pool.niceness(19).build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("nice",))?;
    /// assert_eq!(run["stdout"], "19\n");
    /// # Ok::<(), Error>(())
    /// ```
    pub const fn niceness(mut self, niceness: i32) -> Self {
        self.surroundings.niceness = Some(niceness);
        self
    }

    /// Pins each worker to these CPUs, numbered from 0 as the operating system does. If a worker
    /// may not use all of them it is an error of the start. Default: those of this process.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// # let first = integration_tests::library::first_cpu();
    /// let pool = Pool::builder().worker(worker).processes(1).cpus([first]).build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("nproc",))?;
    /// assert_eq!(run["stdout"], "1\n");
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.surroundings.pin(cpus);
        self
    }

    /// Pins each worker to one CPU of those that this process may use: the first worker to the
    /// first, the second to the second, and around again where there are more workers than CPUs.
    /// A worker that takes the seat of another has its CPU.
    ///
    /// ```
    /// use master::Pool;
    ///
    /// # let worker = integration_tests::library::worker();
    /// let pool = Pool::builder().worker(worker).processes(2).pin_to_cpus().build()?;
    /// let run: serde_json::Value = pool.apply("exec", ("nproc",))?;
    /// assert_eq!(run["stdout"], "1\n");
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
