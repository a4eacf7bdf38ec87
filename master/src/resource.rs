//! What of the operating system a worker can be kept from taking too much of.

use std::{fmt, str::FromStr};

use rustix::process::Resource as Native;

/// Something that a worker may have only so much of; see
/// [`PoolBuilder::resource_limit`](crate::PoolBuilder::resource_limit).
///
/// What happens at a limit is up to the operating system: `man setrlimit` says it. The name in
/// text is that of the option `--limit` of the program `master`.
///
/// ```
/// use master::Resource;
///
/// assert_eq!(Resource::AddressSpace.to_string(), "address-space");
/// assert_eq!("cpu-time".parse(), Ok(Resource::CpuTime));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of virtual memory; beyond that an allocation fails.
    AddressSpace,
    /// Seconds of CPU time over the whole life of a worker; a signal ends one that uses more.
    CpuTime,
    /// Files, sockets and pipes that are open at a time.
    OpenFiles,
    /// Bytes of a file that is written.
    FileSize,
    /// Bytes of a core file; 0 for none.
    Core,
    /// Processes and threads of the user, all that there are and not only those of the worker.
    Processes,
    /// Bytes of data: the heap and what else can be written.
    Data,
    /// Bytes of the stack of the first thread.
    Stack,
}

/// Why a text is no [`Resource`].
///
/// ```
/// use master::{ParseResourceError, Resource};
///
/// let error: ParseResourceError = "memory".parse::<Resource>().unwrap_err();
/// assert!(error.to_string().contains("address-space"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "there is no such resource; there are address-space, cpu-time, open-files, file-size, core, \
     processes, data and stack"
)]
pub struct ParseResourceError;

impl Resource {
    const ALL: [Self; 8] = [
        Self::AddressSpace,
        Self::CpuTime,
        Self::OpenFiles,
        Self::FileSize,
        Self::Core,
        Self::Processes,
        Self::Data,
        Self::Stack,
    ];

    /// How the operating system calls it.
    pub(crate) const fn native(self) -> Native {
        match self {
            Self::AddressSpace => Native::As,
            Self::CpuTime => Native::Cpu,
            Self::OpenFiles => Native::Nofile,
            Self::FileSize => Native::Fsize,
            Self::Core => Native::Core,
            Self::Processes => Native::Nproc,
            Self::Data => Native::Data,
            Self::Stack => Native::Stack,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressSpace => "address-space",
            Self::CpuTime => "cpu-time",
            Self::OpenFiles => "open-files",
            Self::FileSize => "file-size",
            Self::Core => "core",
            Self::Processes => "processes",
            Self::Data => "data",
            Self::Stack => "stack",
        })
    }
}

impl FromStr for Resource {
    type Err = ParseResourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|resource| resource.to_string() == text);
        found.ok_or(ParseResourceError)
    }
}
