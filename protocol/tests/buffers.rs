//! How long a decoder holds on to a large buffer.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test reports by panicking")]

use protocol::{frame::Decoder, limits::MAX_FRAME};

const MIB: usize = 1 << 20;

fn decoder() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder
}

/// Brings a frame, as a socket would, and looks at what comes out.
fn pass(decoder: &mut Decoder, size: usize) {
    let mut frame = u32::try_from(size).unwrap().to_be_bytes().to_vec();
    frame.resize(4 + size, 7);
    decoder.push(&frame);
    assert_eq!(decoder.next_frame().unwrap(), Some(&frame[4..]));
    assert_eq!(decoder.next_frame().unwrap(), None);
}

#[test]
fn a_large_buffer_goes_with_its_frame() {
    let mut decoder = decoder();
    pass(&mut decoder, 2 * MIB);
    assert!(decoder.is_large(), "it was handed out");
    pass(&mut decoder, 1);
    assert!(!decoder.is_large());
}

#[test]
fn a_large_buffer_is_kept_while_it_is_used() {
    let mut decoder = decoder();
    decoder.keep_large();
    for _ in 0..3 {
        pass(&mut decoder, 2 * MIB);
        for _ in 0..250 {
            pass(&mut decoder, 1);
            assert!(decoder.is_large());
        }
    }
    for _ in 0..10 {
        pass(&mut decoder, 1);
    }
    assert!(!decoder.is_large());
}

#[test]
fn a_large_buffer_is_given_back_once_it_is_empty() {
    let mut decoder = decoder();
    decoder.keep_large();
    pass(&mut decoder, 2 * MIB);
    decoder.push(&[0]);
    decoder.give_back();
    assert!(decoder.is_large());
    assert_eq!(decoder.rest(), [0]);
    decoder.push(&[0, 0, 1, 9]);
    assert_eq!(decoder.next_frame().unwrap(), Some(&[9][..]));
    decoder.give_back();
    assert!(!decoder.is_large());
    assert!(decoder.last_frame().is_empty());
    pass(&mut decoder, MIB);
}

#[test]
fn a_buffer_beyond_all_measure_is_not_kept() {
    let mut decoder = decoder();
    decoder.keep_large();
    pass(&mut decoder, 257 * MIB);
    pass(&mut decoder, 1);
    assert!(!decoder.is_large());
}
