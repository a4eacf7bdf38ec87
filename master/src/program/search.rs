//! Finding a byte, many at a time.

/// Bytes that are looked at together: what one instruction can, on any of our processors.
const BLOCK: usize = 16;

/// Where in `bytes` the first one is that is `wanted`. The test should have no branches.
#[inline]
pub(super) fn find(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let without = blocks
        .iter()
        .take_while(|block| !block.iter().fold(false, |any, &byte| any | wanted(byte)));
    let start = without.count() * BLOCK;
    bytes[start..].iter().position(|&byte| wanted(byte)).map(|place| start + place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_one_is_found_wherever_it_stands() {
        for length in 0..3 * BLOCK {
            let mut bytes = vec![b'x'; length];
            assert_eq!(find(&bytes, |byte| byte == b'\n'), None);
            for place in (0..length).rev() {
                bytes[place] = b'\n';
                assert_eq!(find(&bytes, |byte| byte == b'\n'), Some(place), "of {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_the_same_as_byte_by_byte(bytes: Vec<u8>, limit: u8) {
            let expected = bytes.iter().position(|&byte| byte < limit);
            prop_assert_eq!(find(&bytes, |byte| byte < limit), expected);
        }
    }
}
