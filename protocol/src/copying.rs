//! Copies of many bytes, by two processors where there are two.
//!
//! A processor by itself takes about three times what two take together: 64 MiB in 10 ms, and in
//! 3.3 ms. Large values are copied at each end on their way in and out of shared memory.

use std::{
    mem::MaybeUninit,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

/// Bytes from which on a second thread copies too: 4 MiB. To start it takes some 50 us, in which
/// the first copies less than a tenth of that.
pub const LARGE: usize = 4 << 20;

/// What each of the two copies at a time: 1 MiB, so that neither waits long for the other.
const PIECE: usize = 1 << 20;

/// The second thread needs next to nothing.
const STACK: usize = 64 << 10;

/// Copies all of `source` to `target`.
///
/// ```
/// let mut target = [0; 3];
/// protocol::copying::copy(&[1, 2, 3], &mut target);
/// assert_eq!(target, [1, 2, 3]);
/// ```
///
/// # Panics
/// If they are not of the same size.
pub fn copy(source: &[u8], target: &mut [u8]) {
    assert_eq!(source.len(), target.len(), "the target has the size of the source");
    in_pieces(target, |offset, piece| {
        piece.copy_from_slice(source.get(offset..offset + piece.len()).unwrap_or_default());
    });
}

/// The bytes in memory of their own.
///
/// ```
/// assert_eq!(protocol::copying::to_vec(&[1, 2, 3]), [1, 2, 3]);
/// ```
#[must_use]
#[expect(unsafe_code, reason = "to fill memory with zeros first takes half as long again")]
pub fn to_vec(source: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(source.len());
    let room = bytes.spare_capacity_mut().get_mut(..source.len()).unwrap_or_default();
    in_pieces(room, |offset, piece: &mut [MaybeUninit<u8>]| {
        let source = source.get(offset..offset + piece.len()).unwrap_or_default();
        assert_eq!(source.len(), piece.len(), "a piece lies within the source");
        // SAFETY: both are of this length, and the new memory is apart from all other.
        unsafe {
            let target = piece.as_mut_ptr().cast::<u8>();
            target.copy_from_nonoverlapping(source.as_ptr(), source.len());
        }
    });
    // SAFETY: there is room for them, and all pieces of it were filled.
    unsafe { bytes.set_len(source.len()) };
    bytes
}

/// Has `target` filled, each piece once: `fill` is told where a piece begins. Of what is large two
/// threads fill pieces until none is left; in a panic some may not be filled.
///
/// ```
/// let mut target = [0; 5];
/// protocol::copying::in_pieces(&mut target, |offset, piece| piece.fill(offset + 7));
/// assert_eq!(target, [7; 5]);
/// ```
pub fn in_pieces<T: Send>(target: &mut [T], fill: impl Fn(usize, &mut [T]) + Sync) {
    if target.len() < LARGE || !has_two_processors() {
        return fill(0, target);
    }
    let pieces = Mutex::new((0..).step_by(PIECE).zip(target.chunks_mut(PIECE)));
    let work = || {
        loop {
            let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((offset, piece)) = piece else { return };
            fill(offset, piece);
        }
    };
    thread::scope(|scope| {
        let second = thread::Builder::new().name("copy".into()).stack_size(STACK);
        // Where there cannot be one, the first fills all of it.
        let _second = second.spawn_scoped(scope, work);
        work();
    });
}

/// Whether this process may use more than one; looked up once, as that takes a while.
fn has_two_processors() -> bool {
    static TWO: OnceLock<bool> = OnceLock::new();
    *TWO.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_copied_to_their_place() {
        for size in [0, 1, PIECE, LARGE - 1, LARGE, LARGE + 1, LARGE + PIECE, 3 * LARGE + 12_345] {
            let source: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let mut target = vec![0; size];
            copy(&source, &mut target);
            assert!(target == source, "{size} bytes");
            assert!(to_vec(&source) == source, "{size} bytes");
        }
    }

    #[test]
    #[should_panic(expected = "the target has the size of the source")]
    fn sizes_that_differ_are_refused() {
        copy(&[1, 2], &mut [0]);
    }
}
