//! A file mapped into memory, shared with the master. Only Unix has it; elsewhere the feature is not
//! offered.

#[cfg(not(unix))]
pub(crate) use elsewhere::Mapping;
#[cfg(unix)]
pub(crate) use unix::Mapping;

#[cfg(unix)]
mod unix {
    #![expect(
        unsafe_code,
        reason = "memory that another process sees has to be reached by pointers"
    )]

    use std::{
        fs::File,
        io::{self, Read as _},
        os::fd::AsFd as _,
        ptr::NonNull,
        sync::atomic::{AtomicU64, Ordering},
    };

    use protocol::{
        message::SharedOutput,
        shared_output::{self, DATA},
    };
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    /// Where the frames of a shared output are kept. The master only reads it.
    pub(crate) struct Mapping {
        start: NonNull<u8>,
        size: usize,
    }

    impl Mapping {
        /// Maps the file that the master tells.
        pub(crate) fn open(place: &SharedOutput) -> io::Result<Self> {
            let mut file = File::options().read(true).write(true).open(&place.path)?;
            let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            let mut header = [0; DATA];
            file.read_exact(&mut header)?;
            let key = shared_output::Header::read(&header).key;
            if key != place.key || size <= DATA || size > isize::MAX as usize {
                return Err(io::Error::other("it is another file than the one that was meant"));
            }
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping, at an address that the system chooses, changes no other memory.
            // The file is the master's, which keeps it at its size for as long as this worker lives.
            let start = unsafe {
                mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, file.as_fd(), 0)
            }?;
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
            Ok(Self { start, size })
        }

        /// How many bytes of frames it has room for.
        pub(crate) const fn room(&self) -> usize {
            self.size - DATA
        }

        /// Writes bytes of frames. They mean nothing before [`shared_output::HELD`] covers them.
        ///
        /// # Panics
        /// If there is no room for them.
        pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
            let end = offset.checked_add(bytes.len());
            assert!(end.is_some_and(|end| end <= self.room()), "the caller has looked for room");
            // SAFETY: the range lies in the mapping, as was just checked, and nothing else in this
            // process refers to it: `frames` borrows all of it.
            unsafe {
                let place = self.start.as_ptr().add(DATA + offset);
                place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }

        /// The first `length` bytes of frames.
        pub(crate) fn frames(&self, length: usize) -> &[u8] {
            let length = length.min(self.room());
            // SAFETY: the range lies in the mapping, which nobody else writes, and `put` borrows all
            // of it.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(DATA), length) }
        }

        /// One of the numbers of the header.
        pub(crate) fn get(&self, offset: usize) -> u64 {
            u64::from_le(self.number(offset).load(Ordering::Acquire))
        }

        /// Sets one of the numbers of the header, behind everything that was written before.
        pub(crate) fn set(&mut self, offset: usize, value: u64) {
            self.number(offset).store(value.to_le(), Ordering::Release);
        }

        fn number(&self, offset: usize) -> &AtomicU64 {
            assert!(offset < DATA && offset.is_multiple_of(8), "it is one of those of the header");
            // SAFETY: the number lies in the mapping, which begins at a page, so it is aligned. Whoever
            // else uses it does so through the system, or as a whole.
            unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: it was mapped with this size, and nothing refers to it any more.
            let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
            if let Err(error) = unmapped {
                log::warn!("cannot unmap the shared output: {error}");
            }
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use protocol::message::SharedOutput;

    /// There is none.
    pub(crate) enum Mapping {}

    impl Mapping {
        pub(crate) fn open(_: &SharedOutput) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) const fn room(&self) -> usize {
            match *self {}
        }

        pub(crate) fn put(&mut self, _: usize, _: &[u8]) {
            match *self {}
        }

        pub(crate) fn frames(&self, _: usize) -> &[u8] {
            match *self {}
        }

        pub(crate) fn get(&self, _: usize) -> u64 {
            match *self {}
        }

        pub(crate) fn set(&mut self, _: usize, _: u64) {
            match *self {}
        }
    }
}
