//! Files in memory, shared with workers, in the memory of this process.

#![expect(unsafe_code, reason = "memory that other processes see has to be reached by pointers")]

use std::{io, ops::Range, os::fd::BorrowedFd, ptr::NonNull};

use protocol::copying;
use rustix::{
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
    process::{Resource, getrlimit},
};

/// Whether a file of this size may be made at all: the system does not just refuse a larger one, but
/// ends the process by SIGXFSZ.
pub(crate) fn check_file_size(size: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(most) if most < size => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

/// A file in memory whose size is sealed.
pub(crate) struct Pages {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: it is only an address. Who uses which bytes is decided by those who have it.
unsafe impl Send for Pages {}

// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    pub(crate) fn map(file: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the system chooses, changes no other memory. The
        // size of the file is sealed.
        let start = unsafe { mmap(std::ptr::null_mut(), size, protection, flags, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let pages = Self { start, size };
        // Most of it is not there, and would still be counted.
        pages.advise(0..size, Advice::LinuxDontDump);
        Ok(pages)
    }

    /// Bytes that this process alone writes, and whose one owner does not change them meanwhile.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.size, "it lies in the file");
        // SAFETY: the range lies in the mapping. The one owner of the bytes borrows them for as long as
        // they are looked at, and nobody else writes to them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Copies bytes out that others may be changing: what is copied may be anything, but does not
    /// change any more.
    pub(crate) fn copy(&self, start: usize, out: &mut [u8]) {
        let end = start.checked_add(out.len());
        assert!(end.is_some_and(|end| end <= self.size), "it lies in the file");
        copying::in_pieces(out, |offset, piece| {
            // SAFETY: the range lies in the mapping, whose size is sealed, so that all of it is there.
            // No reference to it is made, and every content is one of bytes.
            unsafe {
                let place = self.start.as_ptr().add(start + offset);
                place.copy_to_nonoverlapping(piece.as_mut_ptr(), piece.len());
            }
        });
    }

    /// Writes bytes that the caller alone has.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.size), "it lies in the file");
        // SAFETY: the range lies in the mapping, and the one who has it for himself calls this.
        let place =
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), bytes.len()) };
        copying::copy(bytes, place);
    }

    /// Gives the memory of bytes back that nobody has, in whole pages.
    pub(crate) fn discard(&self, range: Range<usize>) {
        self.advise(range, Advice::LinuxRemove);
    }

    /// Prefers large pages there.
    pub(crate) fn use_large_pages(&self, range: Range<usize>) {
        self.advise(range, Advice::LinuxHugepage);
    }

    fn advise(&self, range: Range<usize>, advice: Advice) {
        let page = rustix::param::page_size();
        let start = range.start.next_multiple_of(page);
        let end = range.end.next_multiple_of(page).min(self.size);
        let Some(length) = end.checked_sub(start) else { return };
        // SAFETY: the range lies in the mapping. Nobody has what is discarded; the other advice changes
        // nothing that can be seen.
        let advised = unsafe { madvise(self.start.as_ptr().add(start).cast(), length, advice) };
        if let Err(error) = advised {
            log::debug!("cannot advise on shared memory: {error}");
        }
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
