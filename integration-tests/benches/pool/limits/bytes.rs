//! Bytes there and back over a Unix socket, one message in flight.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::OtherEnd;
use crate::figures::{Figures, Parameters, figures, rate};

/// How long it is measured at least.
const TIME: Duration = Duration::from_millis(800);

/// `size`: bytes of a message.
pub(crate) fn run(parameters: &Parameters, _: &[String]) -> Figures {
    let size: usize = parameters.get("size");
    let (end, mut stream) = OtherEnd::start("end-bytes", &format!("size={size}"));
    let sent: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
    let mut back = vec![0; size];
    // The first one brings the buffers in.
    let figures = per_second(size, || {
        stream.write_all(&sent).expect("the other end reads");
        stream.read_exact(&mut back).expect("the other end writes");
        assert_eq!((back[0], back[size - 1]), (sent[0], sent[size - 1]));
    });
    assert!(back == sent, "other bytes came back");
    drop(stream);
    end.join();
    figures
}

/// Sends all back until the socket is closed.
pub(crate) fn other_end(parameters: &Parameters) {
    let mut stream = super::socket();
    let mut message = vec![0; parameters.get("size")];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message).expect("the other end reads");
    }
}

/// Repeats a message of so many bytes there and back; bytes are counted one way.
pub(crate) fn per_second(size: usize, mut message: impl FnMut()) -> Figures {
    for _ in 0..3 {
        message();
    }
    let began = Instant::now();
    let mut count = 0;
    while count < 5 || began.elapsed() < TIME {
        message();
        count += 1;
    }
    figures([("mb_per_second", rate(count * size as u64, began.elapsed()) / 1e6)])
}
