//! Memory for what is large.

/// Bytes from which on large pages are asked for: 4 MiB. A large page takes a tenth of the time that
/// the small ones in its place do, and may be wasted in part at either end.
pub(crate) const LARGE: usize = 4 << 20;

/// So many bytes that are 0, which take no memory before they are written to.
pub(crate) fn zeroed(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    if size >= LARGE {
        use_large_pages(&mut bytes);
    }
    bytes
}

/// The same, with memory in its place, where there is time for it.
pub(crate) fn touched(size: usize) -> Vec<u8> {
    let mut bytes = zeroed(size);
    // To write a 0 where one is changes nothing that the compiler knows of.
    for byte in std::hint::black_box(&mut bytes).iter_mut().step_by(rustix::param::page_size()) {
        *byte = std::hint::black_box(0);
    }
    bytes
}

/// Prefers large pages for memory that was not written to yet.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "advice on memory is about addresses")]
fn use_large_pages(bytes: &mut [u8]) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let start = bytes.as_mut_ptr().align_offset(page);
    let Some(length) = bytes.len().checked_sub(start).map(|length| length / page * page) else {
        return;
    };
    // SAFETY: these are whole pages of memory that is borrowed here, and the advice changes nothing
    // that can be seen.
    let advised =
        unsafe { madvise(bytes.as_mut_ptr().add(start).cast(), length, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        log::debug!("there are no large pages: {error}");
    }
}

/// Elsewhere that is left to the system.
#[cfg(not(target_os = "linux"))]
const fn use_large_pages(_: &mut [u8]) {}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_can_be_written_to_whatever_its_size() {
        for size in [0, 1, super::LARGE - 1, super::LARGE, super::LARGE + 4097] {
            let mut bytes = super::zeroed(size);
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(7);
            assert_eq!((bytes.len(), bytes.iter().all(|&byte| byte == 7)), (size, true));
        }
    }
}
