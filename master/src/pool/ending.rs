//! How a pool ends: by itself when it is closed, or because somebody ends it.

use std::time::Duration;

use super::{Pool, State};
use crate::{deadline::Deadline, driver::Command, error::Error};

impl Pool {
    /// No more calls are taken; those that were are finished, also those whose inputs are still
    /// being read, then the workers leave. Does not wait, and may be called again.
    ///
    /// ```
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let square = pool.apply_async::<i64>("square", (5,))?;
    /// pool.close();
    /// assert!(matches!(pool.apply::<i64>("square", (6,)), Err(Error::NotRunning)));
    /// assert_eq!(square.get()?, 25);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn close(&self) {
        let mut now = self.life.now();
        if now.state == State::Running {
            now.state = State::Closed;
            if now.open_inputs == 0 {
                self.life.handle.send(Command::Close);
            }
        }
    }

    /// No more calls are taken, and those that were end as [`Error::Cancelled`]; the workers are
    /// stopped by SIGTERM, and killed if they are there 5 seconds later. Does not wait, and may be
    /// called again.
    ///
    /// ```
    /// use master::{Cancelled, Error};
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let endless = pool.apply_async::<()>("sleep", (3600,))?;
    /// pool.terminate();
    /// assert!(matches!(endless.get(), Err(Error::Cancelled(Cancelled::Terminated))));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn terminate(&self) {
        self.end(State::Terminated, Command::Terminate);
    }

    /// Begins nothing more: calls that wait are cancelled, those that were sent to a worker are
    /// finished, then the workers leave.
    ///
    /// ```
    /// use master::{Cancelled, Error};
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let naps = pool.map_async::<_, ()>("sleep", vec![0.1; 100], Some(1))?;
    /// pool.interrupt();
    /// let last = naps.outcomes().pop();
    /// assert!(matches!(last, Some(Err(Error::Cancelled(Cancelled::Interrupted)))));
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn interrupt(&self) {
        self.end(State::Closed, Command::Interrupt);
    }

    /// As [`Self::terminate`], without any grace for the workers.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let endless = pool.apply_async::<()>("sleep", (3600,))?;
    /// pool.kill();
    /// pool.join()?;
    /// assert_eq!(endless.successful()?, false);
    /// # Ok::<(), master::Error>(())
    /// ```
    pub fn kill(&self) {
        self.life.now().state = State::Terminated;
        self.life.handle.send(Command::Kill);
    }

    /// Waits until every worker is gone and every callback has run, after [`Self::close`] or
    /// [`Self::terminate`]. Within a callback it does not wait for callbacks. May be called again.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// assert!(pool.join().is_err(), "it is neither closed nor terminated");
    /// let square = pool.apply_async::<i64>("square", (5,))?;
    /// pool.close();
    /// pool.join()?;
    /// assert!(square.ready());
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// A lazy map whose results nobody takes holds it up: its inputs are finished first. Read or
    /// drop it before.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the pool is still running.
    pub fn join(&self) -> Result<(), Error> {
        self.check_joinable()?;
        self.life.handle.join();
        self.life.callbacks.wait(None);
        Ok(())
    }

    /// As [`Self::join`], for so long at most; tells whether every worker is gone and every
    /// callback has run.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let _endless = pool.apply_async::<()>("sleep", (3600,))?;
    /// pool.close();
    /// assert_eq!(pool.join_timeout(Duration::from_millis(10))?, false);
    /// pool.terminate();
    /// assert_eq!(pool.join_timeout(Duration::from_secs(60))?, true);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        self.check_joinable()?;
        let deadline = Deadline::after(timeout);
        Ok(self.wait_for_end(deadline.left()) && self.life.callbacks.wait(deadline.left()))
    }

    /// Why the pool cannot work, if that is so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.life.handle.status().failure.map(Error::PoolFailed)
    }

    /// Waits until every worker is gone, for so long at most; the pool is closed, terminated or
    /// has failed.
    pub(crate) fn wait_for_end(&self, timeout: Option<Duration>) -> bool {
        self.life.handle.wait(timeout, |status| status.ended)
    }

    /// How many items were left running by [`Self::interrupt`].
    pub(crate) fn running_at_interrupt(&self) -> u64 {
        let handle = &self.life.handle;
        handle.wait(None, |status| status.running_at_interrupt.is_some() || status.ended);
        handle.status().running_at_interrupt.unwrap_or(0)
    }

    fn check_joinable(&self) -> Result<(), Error> {
        if self.life.now().state == State::Running && self.failure().is_none() {
            let text = "the pool is still running: close or terminate it before it is joined";
            return Err(Error::InvalidArgument(text.into()));
        }
        Ok(())
    }

    fn end(&self, state: State, command: Command) {
        let mut now = self.life.now();
        if now.state != State::Terminated {
            now.state = state;
            self.life.handle.send(command);
        }
    }
}
