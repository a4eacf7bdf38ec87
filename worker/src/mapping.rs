//! Files mapped into memory, shared with the master. Only Unix has that; elsewhere the features are
//! not offered.

use std::{cell::RefCell, io, ops::Range};

use protocol::{
    message::{SharedArguments, SharedOutput, SharedRange},
    shared_output::DATA,
};

#[cfg(not(unix))]
use elsewhere::Pages;
#[cfg(unix)]
use unix::Pages;

/// The largest number of bytes that the key of a file takes.
const KEY_SIZE: usize = size_of::<u64>();

/// Where the room for large results begins is a multiple of this.
const RESULTS_ALIGNMENT: usize = 4096;

/// Where the frames of a shared output are kept. The master only reads it.
pub(crate) struct Mapping(Pages);

impl Mapping {
    /// Maps the file that the master tells, as far as it is for frames.
    pub(crate) fn open(place: &SharedOutput) -> io::Result<Self> {
        let results = place.results.map(|results| usize::try_from(results).unwrap_or(usize::MAX));
        if results.is_some_and(|results| !results.is_multiple_of(RESULTS_ALIGNMENT)) {
            return Err(io::Error::other("the room for results does not begin at a page"));
        }
        let pages = Pages::open(&place.path, place.key, true, results)?;
        if pages.size() <= DATA {
            return Err(io::Error::other("the file has no room"));
        }
        Ok(Self(pages))
    }

    /// How many bytes of frames it has room for.
    pub(crate) const fn room(&self) -> usize {
        self.0.size() - DATA
    }

    /// Writes bytes of frames. They mean nothing before [`protocol::shared_output::HELD`] covers
    /// them.
    ///
    /// # Panics
    /// If there is no room for them.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0.put(DATA + offset, bytes);
    }

    /// The first `length` bytes of frames.
    pub(crate) fn frames(&self, length: usize) -> &[u8] {
        self.0.bytes(DATA, length.min(self.room()))
    }

    /// One of the numbers of the header.
    pub(crate) fn get(&self, offset: usize) -> u64 {
        self.0.get(offset)
    }

    /// Sets one of the numbers of the header, behind everything that was written before.
    pub(crate) fn set(&mut self, offset: usize, value: u64) {
        self.0.set(offset, value);
    }
}

/// A shared output as a whole, for the large results that lie behind the frames.
pub(crate) struct ResultsMapping {
    pages: Pages,
    /// Where the room for results begins.
    start: usize,
}

impl ResultsMapping {
    /// Maps the file that the master tells.
    pub(crate) fn open(place: &SharedOutput) -> io::Result<Self> {
        let pages = Pages::open(&place.path, place.key, true, None)?;
        let start = place.results.and_then(|results| usize::try_from(results).ok());
        let start = start.filter(|&start| DATA < start && start < pages.size());
        let Some(start) = start else {
            return Err(io::Error::other("the file has no room for results"));
        };
        pages.use_large_pages(start);
        pages.leave_out_of_dumps();
        Ok(Self { pages, start })
    }

    /// How many bytes of results it has room for.
    pub(crate) const fn room(&self) -> usize {
        self.pages.size() - self.start
    }

    /// Writes bytes of a result, at an offset into the room.
    ///
    /// # Panics
    /// If there is no room for them.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.pages.put(self.start + offset, bytes);
    }

    /// Bytes that were written before, or nothing beyond the room.
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        self.pages.bytes(self.start + offset, length)
    }

    /// Gives the memory of bytes back, whose content is lost.
    pub(crate) fn discard(&mut self, offset: usize, length: usize) {
        self.pages.discard(self.start + offset, length);
    }

    /// What to tell the master of bytes.
    pub(crate) const fn range(&self, offset: usize, length: usize) -> SharedRange {
        SharedRange { offset: (self.start + offset) as u64, length: length as u64 }
    }

    /// One of the numbers of the header.
    pub(crate) fn get(&self, offset: usize) -> u64 {
        self.pages.get(offset)
    }
}

/// So many bytes of the arguments may count as memory of this worker: 64 MiB, and what goes around
/// them in a call. It looks at ever more of the file, all of which would count for as long as it
/// lives, and be held against it by who limits its memory.
const LOOKED_AT_MOST: usize = (64 << 20) + (1 << 20);

/// Where the master puts large arguments. It is only read.
pub(crate) struct ArgumentsMapping {
    pages: Pages,
    /// What was looked at since it last counted as nothing.
    looked_at: RefCell<LookedAt>,
}

#[derive(Default)]
struct LookedAt {
    /// It all lies in there.
    range: Range<usize>,
    /// Bytes that were looked at, the same ones each time again.
    bytes: usize,
}

impl ArgumentsMapping {
    /// Maps the file that the master tells.
    pub(crate) fn open(place: &SharedArguments) -> io::Result<Self> {
        let pages = Pages::open(&place.path, place.key, false, None)?;
        pages.leave_out_of_dumps();
        Ok(Self { pages, looked_at: RefCell::default() })
    }

    /// The bytes that a call refers to, which the master leaves alone until that is answered;
    /// `None` if they are not in the file.
    pub(crate) fn get(&self, range: SharedRange) -> Option<&[u8]> {
        let range = range.within(self.pages.size())?;
        Some(self.pages.bytes(range.start, range.len()))
    }

    /// These bytes are not looked at any more.
    pub(crate) fn done_with(&self, range: SharedRange) {
        let Some(range) = range.within(self.pages.size()) else { return };
        let mut looked_at = self.looked_at.borrow_mut();
        looked_at.bytes = looked_at.bytes.saturating_add(range.len());
        looked_at.range = match looked_at.range.is_empty() {
            true => range,
            false => looked_at.range.start.min(range.start)..looked_at.range.end.max(range.end),
        };
        if looked_at.bytes > LOOKED_AT_MOST && looked_at.range.len() > LOOKED_AT_MOST {
            let LookedAt { range, .. } = std::mem::take(&mut *looked_at);
            self.pages.let_go(range.start, range.len());
        }
    }
}

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

    use protocol::{copying, shared_output::DATA};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

    use super::KEY_SIZE;

    /// The first bytes of a file in memory.
    pub(super) struct Pages {
        start: NonNull<u8>,
        size: usize,
    }

    impl Pages {
        /// Maps a file that begins with a key; if `end` is given up to there, and there has to be more.
        pub(super) fn open(
            path: &str,
            key: u64,
            writable: bool,
            end: Option<usize>,
        ) -> io::Result<Self> {
            let mut file = File::options().read(true).write(writable).open(path)?;
            let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            let mut found = [0; KEY_SIZE];
            file.read_exact(&mut found)?;
            let has_more = end.is_none_or(|end| end < size);
            let end = end.unwrap_or(size);
            if u64::from_le_bytes(found) != key || !has_more || size > isize::MAX as usize {
                return Err(io::Error::other("it is another file than the one that was meant"));
            }
            let protection = match writable {
                true => ProtFlags::READ | ProtFlags::WRITE,
                false => ProtFlags::READ,
            };
            // SAFETY: a new mapping, at an address that the system chooses, changes no other memory.
            // The file is the master's, which keeps it at its size for as long as this worker lives.
            let start = unsafe {
                mmap(std::ptr::null_mut(), end, protection, MapFlags::SHARED, file.as_fd(), 0)
            }?;
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
            Ok(Self { start, size: end })
        }

        pub(super) const fn size(&self) -> usize {
            self.size
        }

        /// Writes bytes, if the file was opened for that.
        ///
        /// # Panics
        /// If they do not fit.
        pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
            let end = offset.checked_add(bytes.len());
            assert!(end.is_some_and(|end| end <= self.size), "the caller has looked for room");
            // SAFETY: the range lies in the mapping, as was just checked, and nothing else in this
            // process refers to it: `bytes` borrows all of it.
            let place = unsafe {
                std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), bytes.len())
            };
            copying::copy(bytes, place);
        }

        /// Bytes that nobody changes for as long as they are looked at. Empty if they are not
        /// there.
        pub(super) fn bytes(&self, offset: usize, length: usize) -> &[u8] {
            if offset.checked_add(length).is_none_or(|end| end > self.size) {
                return &[];
            }
            // SAFETY: the range lies in the mapping. What this process writes nobody else does, and
            // `put` borrows all of it; what the master writes it does not touch before it knows
            // that nobody looks at it here.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
        }

        /// Gives the memory of these bytes back, in whole pages; their content is lost.
        pub(super) fn discard(&mut self, offset: usize, length: usize) {
            self.advise(offset, length, Advice::LinuxRemove);
        }

        /// Has these bytes not count as memory of this process, until they are looked at again.
        pub(super) fn let_go(&self, offset: usize, length: usize) {
            self.advise(offset, length, Advice::LinuxDontNeed);
        }

        /// Prefers large pages from an offset on.
        pub(super) fn use_large_pages(&self, offset: usize) {
            self.advise(offset, self.size - offset, Advice::LinuxHugepage);
        }

        /// Has core dumps do without: most of it is not there, and would still be written.
        pub(super) fn leave_out_of_dumps(&self) {
            self.advise(0, self.size, Advice::LinuxDontDump);
        }

        fn advise(&self, offset: usize, length: usize, advice: Advice) {
            let page = rustix::param::page_size();
            let start = offset.next_multiple_of(page);
            let end = offset.saturating_add(length).min(self.size).next_multiple_of(page);
            let Some(length) = end.checked_sub(start).filter(|&length| length > 0) else { return };
            // SAFETY: the range lies in the mapping, whose last page is there in full. To lose what
            // is in it is what the one caller with `&mut self` asks for; no other advice changes
            // what is in a file.
            let advised = unsafe { madvise(self.start.as_ptr().add(start).cast(), length, advice) };
            if let Err(error) = advised {
                log::debug!("cannot advise on shared memory: {error}");
            }
        }

        /// One of the numbers of a header.
        pub(super) fn get(&self, offset: usize) -> u64 {
            u64::from_le(self.number(offset).load(Ordering::Acquire))
        }

        /// Sets one of them, behind everything that was written before.
        pub(super) fn set(&mut self, offset: usize, value: u64) {
            self.number(offset).store(value.to_le(), Ordering::Release);
        }

        fn number(&self, offset: usize) -> &AtomicU64 {
            let is_there = offset < DATA && DATA <= self.size && offset.is_multiple_of(8);
            assert!(is_there, "it is one of those of the header");
            // SAFETY: the number lies in the mapping, which begins at a page, so it is aligned. Whoever
            // else uses it does so through the system, or as a whole.
            unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: it was mapped with this size, and nothing refers to it any more.
            let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
            if let Err(error) = unmapped {
                log::warn!("cannot unmap shared memory: {error}");
            }
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    /// There are none.
    pub(super) enum Pages {}

    impl Pages {
        pub(super) fn open(_: &str, _: u64, _: bool, _: Option<usize>) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) const fn size(&self) -> usize {
            match *self {}
        }

        pub(super) fn put(&mut self, _: usize, _: &[u8]) {
            match *self {}
        }

        pub(super) fn bytes(&self, _: usize, _: usize) -> &[u8] {
            match *self {}
        }

        pub(super) fn discard(&mut self, _: usize, _: usize) {
            match *self {}
        }

        pub(super) fn let_go(&self, _: usize, _: usize) {
            match *self {}
        }

        pub(super) fn use_large_pages(&self, _: usize) {
            match *self {}
        }

        pub(super) fn leave_out_of_dumps(&self) {
            match *self {}
        }

        pub(super) fn get(&self, _: usize) -> u64 {
            match *self {}
        }

        pub(super) fn set(&mut self, _: usize, _: u64) {
            match *self {}
        }
    }
}
