//! What the C library does with memory that was freed.

/// Bytes from which on it gets a piece of memory from the system each time, and gives it back at
/// once: 32 MiB, as far as it adapts by itself. New memory costs several times what it takes to fill
/// it again.
pub(crate) const LARGE: usize = 32 << 20;

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
    if !kept {
        log::debug!("the C library does not keep memory");
    }
}

/// Has the C library give back what was freed. It keeps a good deal of it for itself, the more the
/// larger the pieces were.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function of the C library, which nothing else reaches")]
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Elsewhere that is left to the C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn keep_large() {}

/// Elsewhere that is left to the C library.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn give_back() {}
