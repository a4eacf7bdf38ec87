//! What a child does between fork and exec: it closes what is not its own, and takes on its
//! limits.
//!
//! In the child of a program with threads nothing may be called that takes a lock or allocates.
//! Everything here is a bare system call on values that were made before the fork; this is the
//! one module in which that has to be checked by reading.

#![expect(unsafe_code, reason = "a closure for the child is unsafe to give, as said above")]

use std::{
    io,
    os::{fd::BorrowedFd, unix::process::CommandExt as _},
    process::Command,
};

use rustix::{
    io::{Errno, FdFlags},
    process::{Rlimit, getrlimit, setpriority_process, setrlimit, setsid},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The first descriptor that is none of the three standard ones.
const FIRST: u32 = 3;

/// The highest number of a descriptor, where no limit says less: the usual limit of the kernel.
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// What a child is to take on.
#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    pub(super) cpus: Option<CpuSet>,
    pub(super) niceness: Option<i32>,
    pub(super) limits: Vec<(rustix::process::Resource, Rlimit)>,
}

impl Constraints {
    pub(super) const fn is_empty(&self) -> bool {
        self.cpus.is_none() && self.niceness.is_none() && self.limits.is_empty()
    }
}

/// The step at which a child could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Cpus,
    Niceness,
    /// The limit with this index.
    Limit(usize),
}

/// Has the child take on its constraints, and nothing of ours but what it is given.
pub(super) fn prepare_worker(command: &mut Command, constraints: Constraints) {
    // SAFETY: `take_on` and `keep_standard_streams_only` are bare system calls.
    unsafe {
        command.pre_exec(move || {
            // First, since a limit of descriptors hides those above it.
            keep_standard_streams_only();
            take_on(&constraints).map_err(|(step, error)| step.encode(error))
        })
    };
}

/// Puts the child into a session of its own, with nothing of ours but what it is given.
pub(super) fn prepare_guardian(command: &mut Command) {
    // SAFETY: as above.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            keep_standard_streams_only();
            Ok(())
        })
    };
}

fn take_on(constraints: &Constraints) -> Result<(), (Step, Errno)> {
    if let Some(cpus) = &constraints.cpus {
        let pinned = sched_setaffinity(None, cpus).and_then(|()| sched_getaffinity(None));
        // The kernel leaves out what it does not have, as long as something is left.
        match pinned {
            Ok(pinned) if pinned == *cpus => {}
            Ok(_) => return Err((Step::Cpus, Errno::INVAL)),
            Err(error) => return Err((Step::Cpus, error)),
        }
    }
    if let Some(niceness) = constraints.niceness {
        setpriority_process(None, niceness).map_err(|error| (Step::Niceness, error))?;
    }
    for (index, (resource, limit)) in constraints.limits.iter().enumerate() {
        setrlimit(*resource, *limit).map_err(|error| (Step::Limit(index), error))?;
    }
    Ok(())
}

/// Marks all descriptors but the first three to be closed by exec, also those that somebody
/// opened without saying so.
fn keep_standard_streams_only() {
    let [first, last, flags] =
        [FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC].map(libc::c_ulong::from);
    // SAFETY: the call changes flags of descriptors, and no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    // Before Linux 5.11 there is no such call or no such flag, and a filter may forbid it.
    if result != 0 {
        mark_one_by_one();
    }
}

/// Does the same one by one, up to the limit of descriptors.
fn mark_one_by_one() {
    let limit = getrlimit(rustix::process::Resource::Nofile).current;
    let end = limit.unwrap_or(MOST_DESCRIPTORS).min(MOST_DESCRIPTORS);
    let end = i32::try_from(end).unwrap_or(i32::MAX);
    for descriptor in FIRST.cast_signed()..end {
        // SAFETY: it is used for one call, which fails if it is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}

impl Step {
    /// Of an error in the child only its number reaches the parent. Those of the system are below
    /// 4096, so there is room for the step above.
    const SHIFT: u32 = 12;

    fn encode(self, error: Errno) -> io::Error {
        let step = match self {
            Self::Cpus => 1,
            Self::Niceness => 2,
            Self::Limit(index) => 3_i32.saturating_add(i32::try_from(index).unwrap_or(i32::MAX)),
        };
        io::Error::from_raw_os_error((step << Self::SHIFT) | error.raw_os_error())
    }

    /// The step at which a child failed, if it was one of these, and why.
    pub(super) fn decode(error: &io::Error) -> Option<(Self, io::Error)> {
        let number = error.raw_os_error()?;
        let step = match number >> Self::SHIFT {
            ..=0 => return None,
            1 => Self::Cpus,
            2 => Self::Niceness,
            index => Self::Limit(usize::try_from(index - 3).ok()?),
        };
        Some((step, io::Error::from_raw_os_error(number & ((1 << Self::SHIFT) - 1))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_step_survives_the_way_to_the_parent() {
        for step in [Step::Cpus, Step::Niceness, Step::Limit(0), Step::Limit(7)] {
            let error = step.encode(Errno::ACCESS);
            let (decoded, reason) = Step::decode(&error).unwrap();
            assert_eq!((decoded, reason.kind()), (step, io::ErrorKind::PermissionDenied));
        }
        assert!(Step::decode(&Errno::NOENT.into()).is_none());
        assert!(Step::decode(&io::Error::other("no number")).is_none());
    }

    #[test]
    fn descriptors_are_marked_one_by_one_where_there_is_no_other_way() {
        let (reader, _writer) = std::io::pipe().unwrap();
        rustix::io::fcntl_setfd(&reader, FdFlags::empty()).unwrap();
        mark_one_by_one();
        let flags = rustix::io::fcntl_getfd(&reader).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC), "{}", reader.as_raw_fd());
    }
}
