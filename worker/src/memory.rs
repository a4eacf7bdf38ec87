//! What the C library does with memory that was freed.

use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes from which on it gets a piece of memory from the system each time, and gives it back at
/// once: 32 MiB, as far as it adapts by itself. New memory costs several times what it takes to fill
/// it again.
pub(crate) const LARGE: usize = 32 << 20;

/// Whether the C library was told to keep what is large.
static KEEPS: AtomicBool = AtomicBool::new(false);

/// Whether more may be kept than is of use: then [`give_back`] is to be called when there is time.
pub(crate) fn is_kept() -> bool {
    KEEPS.load(Ordering::Relaxed)
}

/// Has the C library keep large pieces that are freed, for the next ones, until
/// [`give_back`] is called.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library, which nothing else reaches")]
pub(crate) fn keep_large() {
    /// Beyond this it is given back at once: 256 MiB, as for other buffers.
    const KEPT_AT_MOST: libc::c_int = 256 << 20;
    // SAFETY: it may be called at any time, and only says what is done from now on.
    let kept = unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0) != 0
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_AT_MOST) != 0
    };
    KEEPS.store(kept, Ordering::Relaxed);
    if !kept {
        log::debug!("the C library does not keep memory");
    }
}

/// Has the C library give back what was freed, and from now on what is large at once. It keeps a good
/// deal of it for itself, the more the larger the pieces were.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library, which nothing else reaches")]
pub(crate) fn give_back() {
    /// What it takes from the system piece by piece at the most, as it is set from the start.
    const PIECES: libc::c_int = 65_536;
    // SAFETY: they may be called at any time, and touch only what is free. What is set here is what
    // the C library comes to by itself where large pieces are freed; it does so no more once anything
    // was set.
    unsafe {
        if KEEPS.swap(false, Ordering::Relaxed) {
            libc::mallopt(libc::M_MMAP_MAX, PIECES);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as libc::c_int);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE as libc::c_int);
        }
        libc::malloc_trim(0);
    }
}

/// Elsewhere that is left to the C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn keep_large() {}

/// Elsewhere that is left to the C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn give_back() {}
