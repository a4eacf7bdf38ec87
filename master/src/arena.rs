//! Memory in which large arguments are encoded, and in which workers read them where they lie.
//!
//! It is one file in memory for all pools of the program, since arguments are encoded before it is
//! known who gets them. The file is as large as its addresses are cheap: nothing of it takes memory
//! before it is written to. It is cut into regions of two sizes, each for one buffer; who takes one
//! gets the first that is free, which was most likely used before, so that its memory is there.
//! Memory of free regions is given back when none was used for a while.
//!
//! Workers map it for reading. A region is not used again before all are done with it: whoever
//! sends it to a worker holds on to it until that has answered.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::message::SharedArguments;
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};

use crate::{
    driver::now,
    pages::{Pages, check_file_size},
};

/// Where the first region begins: behind the key, at a large page.
const START: usize = 2 << 20;

/// Regions of 16 MiB: as many as one number has bits.
const SMALL: usize = 16 << 20;
const SMALL_COUNT: usize = 64;

/// Regions of 1 GiB, the most that one item can have.
const LARGE: usize = 1 << 30;
const LARGE_COUNT: usize = 4;

const SIZE: usize = START + SMALL * SMALL_COUNT + LARGE * LARGE_COUNT;

/// Free regions keep no more memory than this together, in bytes: 256 MiB.
const KEPT_AT_MOST: usize = 256 << 20;

/// How long no region has to be taken before all memory of free ones is given back: 100 ms, in which
/// dozens of them could have been filled anew.
const IDLE: Duration = Duration::from_millis(100);

/// The arena of this program, for as long as a pool has it or something lies in it.
static ARENA: Mutex<Weak<Arena>> = Mutex::new(Weak::new());

pub(crate) struct Arena {
    file: File,
    pages: Pages,
    key: u64,
    /// The process that made it. One that was forked off has the same memory, and must not use it.
    process: u32,
    regions: Mutex<Regions>,
    /// How much memory free regions keep, in bytes.
    kept: AtomicUsize,
}

struct Regions {
    free_small: u64,
    free_large: u8,
    /// How much of each free region was used, in bytes.
    used: [usize; SMALL_COUNT + LARGE_COUNT],
    /// When one was last taken or given back.
    last: Instant,
}

/// The arena, for a pool whose workers can see it. `None` if the system has none.
pub(crate) fn open() -> Option<Arc<Arena>> {
    let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(opened) = upgrade(&arena) {
        return Some(opened);
    }
    match Arena::new() {
        Ok(opened) => {
            let opened = Arc::new(opened);
            *arena = Arc::downgrade(&opened);
            Some(opened)
        }
        Err(error) => {
            log::info!("large arguments go through the socket, there is no shared memory: {error}");
            None
        }
    }
}

/// The arena, unless it is that of the process that this one was forked off from.
fn upgrade(arena: &Weak<Arena>) -> Option<Arc<Arena>> {
    arena.upgrade().filter(|arena| arena.process == std::process::id())
}

/// An empty region with room for so many bytes. `None` if no pool has the arena, or none is free.
pub(crate) fn take(room: usize) -> Option<Region> {
    let arena = upgrade(&ARENA.lock().unwrap_or_else(PoisonError::into_inner))?;
    let mut regions = arena.regions();
    let slot = regions.take(room)?;
    regions.last = now();
    let used = std::mem::take(regions.used.get_mut(slot)?);
    drop(regions);
    arena.kept.fetch_sub(used, Ordering::Relaxed);
    Some(Region { arena, slot, length: 0, used })
}

impl Arena {
    fn new() -> io::Result<Self> {
        let size = u64::try_from(SIZE).map_err(io::Error::other)?;
        check_file_size(size)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("shared-arguments", flags)?);
        file.set_len(size)?;
        // Workers read it, and have no reason to do more. One that means harm, and is of the same
        // user, could all the same.
        fchmod(&file, Mode::RUSR)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mut key = [0; 8];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        file.write_all_at(&key, 0)?;
        let pages = Pages::map(file.as_fd(), SIZE)?;
        pages.use_large_pages(START + SMALL * SMALL_COUNT..SIZE);
        let regions = Regions {
            free_small: u64::MAX,
            free_large: (1 << LARGE_COUNT) - 1,
            used: [0; SMALL_COUNT + LARGE_COUNT],
            last: now(),
        };
        Ok(Self {
            file,
            pages,
            key: u64::from_le_bytes(key),
            process: std::process::id(),
            regions: Mutex::new(regions),
            kept: AtomicUsize::new(0),
        })
    }

    /// Where a worker finds it.
    pub(crate) fn place(&self) -> SharedArguments {
        let path = format!("/proc/{}/fd/{}", self.process, self.file.as_raw_fd());
        SharedArguments { path, key: self.key }
    }

    /// When [`Self::give_back_if_idle`] has something to do, if it has.
    pub(crate) fn idle_from(&self) -> Option<Instant> {
        if self.kept.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.regions().last + IDLE)
    }

    /// Gives memory of free regions back, if none was used for a while.
    pub(crate) fn give_back_if_idle(&self) {
        if self.idle_from().is_some_and(|idle| idle <= now()) {
            self.give_back();
        }
    }

    /// Gives memory of free regions back.
    pub(crate) fn give_back(&self) {
        let mut regions = self.regions();
        for slot in 0..SMALL_COUNT + LARGE_COUNT {
            if regions.is_free(slot) {
                self.discard(&mut regions, slot);
            }
        }
    }

    fn regions(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the memory of a free region back.
    fn discard(&self, regions: &mut Regions, slot: usize) {
        let used = regions.used.get_mut(slot).map_or(0, std::mem::take);
        if used > 0 {
            let start = offset_of(slot);
            self.pages.discard(start..start + used);
            self.kept.fetch_sub(used, Ordering::Relaxed);
        }
    }
}

impl Regions {
    /// Takes the first free region that is large enough.
    fn take(&mut self, room: usize) -> Option<usize> {
        if room <= SMALL && self.free_small != 0 {
            let slot = self.free_small.trailing_zeros();
            self.free_small &= !(1 << slot);
            return Some(slot as usize);
        }
        if room <= LARGE && self.free_large != 0 {
            let slot = self.free_large.trailing_zeros();
            self.free_large &= !(1 << slot);
            return Some(SMALL_COUNT + slot as usize);
        }
        None
    }

    const fn set_free(&mut self, slot: usize) {
        match slot.checked_sub(SMALL_COUNT) {
            None => self.free_small |= 1 << slot,
            Some(large) => self.free_large |= 1 << large,
        }
    }

    const fn is_free(&self, slot: usize) -> bool {
        match slot.checked_sub(SMALL_COUNT) {
            None => self.free_small >> slot & 1 == 1,
            Some(large) => self.free_large >> large & 1 == 1,
        }
    }
}

/// Where in the file a region begins.
const fn offset_of(slot: usize) -> usize {
    match slot.checked_sub(SMALL_COUNT) {
        None => START + slot * SMALL,
        Some(large) => START + SMALL_COUNT * SMALL + large * LARGE,
    }
}

const fn size_of_slot(slot: usize) -> usize {
    if slot < SMALL_COUNT { SMALL } else { LARGE }
}

/// A buffer in the arena. The region is free again when it is dropped.
pub(crate) struct Region {
    arena: Arc<Arena>,
    slot: usize,
    length: usize,
    /// How many of its bytes have memory.
    used: usize,
}

impl Region {
    /// How many bytes more it has room for. What was forked off leaves it to its parent.
    pub(crate) fn room(&self) -> usize {
        match self.arena.process == std::process::id() {
            true => size_of_slot(self.slot) - self.length,
            false => 0,
        }
    }

    pub(crate) fn is_of(&self, arena: &Arc<Arena>) -> bool {
        Arc::ptr_eq(&self.arena, arena)
    }

    /// Where in the file it begins.
    pub(crate) const fn offset(&self) -> usize {
        offset_of(self.slot)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.arena.pages.bytes(self.offset()..self.offset() + self.length)
    }

    /// Appends bytes. False if there is no room for them; then nothing is changed.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        self.arena.pages.put(self.offset() + self.length, bytes);
        self.length += bytes.len();
        self.used = self.used.max(self.length);
        true
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Self { arena, slot, used, .. } = &*self;
        let (slot, used) = (*slot, *used);
        // What was forked off leaves it to its parent.
        if arena.process != std::process::id() {
            return;
        }
        let mut regions = arena.regions();
        regions.set_free(slot);
        regions.last = now();
        if let Some(kept) = regions.used.get_mut(slot) {
            *kept = used;
        }
        let kept = arena.kept.fetch_add(used, Ordering::Relaxed) + used;
        if kept > KEPT_AT_MOST {
            arena.discard(&mut regions, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_apart_and_used_again() {
        let arena = open().expect("the system has shared memory");
        let mut first = take(5).unwrap();
        let mut second = take(SMALL + 1).unwrap();
        assert!(first.extend_from_slice(b"first"));
        assert!(second.extend_from_slice(b"second"));
        assert_eq!((first.as_slice(), second.as_slice()), (&b"first"[..], &b"second"[..]));
        let mut found = [0; 5];
        arena.file.read_exact_at(&mut found, first.offset() as u64).unwrap();
        assert_eq!(&found, b"first", "who reads the file finds it there");
        first.truncate(2);
        assert_eq!(first.as_slice(), b"fi");
        assert!(!first.extend_from_slice(&vec![0; SMALL]), "there is no room");
        assert_eq!(first.as_slice().len(), 2);
    }

    #[test]
    fn there_is_nothing_for_what_is_larger_than_all() {
        let _arena = open().expect("the system has shared memory");
        assert!(take(LARGE + 1).is_none());
    }

    #[test]
    fn what_was_used_is_given_back() {
        let arena = open().expect("the system has shared memory");
        let mut region = take(1 << 20).unwrap();
        region.extend_from_slice(&vec![7; 1 << 20]);
        let offset = region.offset() as u64;
        let slot = region.slot;
        drop(region);
        arena.discard(&mut arena.regions(), slot);
        let mut found = [1; 4];
        arena.file.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(found, [0; 4]);
    }
}
