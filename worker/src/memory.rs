//! Giving memory back to the system.

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
pub(crate) const fn give_back() {}
