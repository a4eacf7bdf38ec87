//! What the exit status of the program says.

use std::process::ExitCode;

/// How a run of the program ended.
///
/// ```
/// use master::program::status::ExitStatus;
///
/// let status = ExitStatus::Success.combine(ExitStatus::TaskFailed).combine(ExitStatus::Usage);
/// assert_eq!(status.code(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: every task completed, or standard output was closed early.
    Success,
    /// 1: at least one task ended otherwise than completed: failed, lost, timed out or cancelled.
    TaskFailed,
    /// 2: the command line or the input cannot be read.
    Usage,
    /// 3: the pool cannot work: no worker, workers that do not start, a failing initializer, or
    /// a function that no worker has.
    PoolFailed,
    /// 130: ended by SIGINT.
    Interrupted,
    /// 143: ended by SIGTERM.
    Terminated,
    /// The status of a process of `master run`, as a shell counts: 128 and the signal for one
    /// that a signal ended.
    Process(u8),
}

impl ExitStatus {
    /// The number that the program exits with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::TaskFailed => 1,
            Self::Usage => 2,
            Self::PoolFailed => 3,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Process(code) => code,
        }
    }

    /// The status for a process that ended with this exit code, as [`crate::Process`] counts;
    /// one that could not be started has none, and speaks by its error.
    pub(crate) fn of_process(code: Option<i32>) -> Self {
        let status = match code {
            None | Some(0) => return Self::Success,
            Some(signal @ ..0) => signal.saturating_neg().saturating_add(128),
            Some(code) => code,
        };
        Self::Process(u8::try_from(status).unwrap_or(u8::MAX))
    }

    /// The status to exit with when both apply: a signal goes before 3, that before 2, that
    /// before 1. Of two signals the one of `self` stands, as the one that came first; of two
    /// processes, and of a process and a status up to 3, the numerically highest.
    #[must_use]
    pub const fn combine(self, later: Self) -> Self {
        if later.precedence() > self.precedence() { later } else { self }
    }

    const fn precedence(self) -> u16 {
        match self {
            Self::Success | Self::TaskFailed | Self::Usage | Self::PoolFailed => self.code() as u16,
            Self::Process(code) => code as u16,
            Self::Interrupted | Self::Terminated => 1 << 8,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus::{
        self, Interrupted, PoolFailed, Process, Success, TaskFailed, Terminated, Usage,
    };

    #[track_caller]
    fn check(statuses: &[ExitStatus], expected: u8) {
        let combined = statuses.iter().fold(Success, |all, &next| all.combine(next));
        assert_eq!(combined.code(), expected, "{statuses:?}");
    }

    #[test]
    fn the_gravest_status_stands() {
        check(&[], 0);
        check(&[Success, TaskFailed, Success], 1);
        check(&[TaskFailed, Usage], 2);
        check(&[Usage, TaskFailed], 2);
        check(&[PoolFailed, Usage, TaskFailed], 3);
        check(&[PoolFailed, Interrupted, Usage], 130);
        check(&[Terminated, PoolFailed], 143);
        check(&[Interrupted, Terminated], 130);
        check(&[Terminated, Interrupted], 143);
        check(&[Process(1), Process(7), Process(0)], 7);
        check(&[Process(137), PoolFailed], 137);
        check(&[Process(200), Interrupted], 130);
    }
}
