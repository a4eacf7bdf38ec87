//! The decoder of frames against the simplest way to cut a whole stream, in whatever pieces the
//! stream arrives.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use protocol::{
    frame::{Decoder, FrameError},
    limits::{LENGTH_BYTES, MAX_FRAME},
};

/// The largest stream that is made up, in bytes; above all thresholds of the decoder.
const LARGEST: usize = 3 << 19;

/// Into how many pieces a stream is cut at the most, so that large ones do not take for ever.
const MANY_PIECES: usize = 1000;

/// Room that the decoder may offer beyond what has arrived, in bytes.
const ROOM: usize = 64 << 10;

#[derive(Debug, Arbitrary)]
struct Input {
    segments: Vec<Segment>,
    /// How many bytes come at once, over and over; 0 stands for all that are left.
    pieces: Vec<u16>,
    /// The limit at first, and after so many frames.
    limits: (u32, u32),
    raised_after: u8,
}

#[derive(Debug, Arbitrary)]
enum Segment {
    Raw(Vec<u8>),
    /// So many bits of the length count, so that most frames are small.
    Frame {
        length: u32,
        bits: u8,
        fill: u8,
    },
}

fuzz_target!(|input: Input| {
    let stream = stream(&input.segments);
    let limit = |frames: usize| {
        let raised = frames >= usize::from(input.raised_after);
        MAX_FRAME.min(if raised { input.limits.1 } else { input.limits.0 } as usize)
    };
    assert!(decoded(&stream, &input.pieces, limit) == cut(&stream, limit));
});

fn stream(segments: &[Segment]) -> Vec<u8> {
    let mut stream = Vec::new();
    for segment in segments {
        match segment {
            Segment::Raw(bytes) => stream.extend(bytes),
            Segment::Frame { length, bits, fill } => {
                let length = length & ((1 << (bits % 21)) - 1);
                stream.extend(length.to_be_bytes());
                stream.extend(std::iter::repeat_n(fill, length as usize));
            }
        }
        if stream.len() > LARGEST {
            break;
        }
    }
    stream
}

type Outcome = (Vec<Vec<u8>>, Result<(), FrameError>);

/// What the decoder makes of it.
fn decoded(stream: &[u8], pieces: &[u16], limit: impl Fn(usize) -> usize) -> Outcome {
    let mut decoder = Decoder::new();
    decoder.set_limit(limit(0));
    let mut frames = Vec::new();
    let mut sizes = pieces.iter().cycle();
    let mut arrived = 0;
    while arrived < stream.len() {
        let left = stream.len() - arrived;
        let size = match sizes.next() {
            None | Some(0) => left,
            Some(&size) => left.min(usize::from(size).max(stream.len() / MANY_PIECES)),
        };
        let spare = decoder.spare();
        assert!(!spare.is_empty() && spare.len() <= ROOM.max(2 * arrived));
        // Now as one reads from a socket, now as one who has the bytes already.
        if size % 2 == 0 && size <= spare.len() {
            spare[..size].copy_from_slice(&stream[arrived..arrived + size]);
            decoder.commit(size);
        } else {
            decoder.push(&stream[arrived..arrived + size]);
        }
        arrived += size;
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error.clone()), "it stays so");
                    assert_eq!(decoder.finish(), Err(error.clone()));
                    return (frames, Err(error));
                }
            }
            decoder.set_limit(limit(frames.len()));
        }
    }
    let taken: usize = frames.iter().map(|frame| LENGTH_BYTES + frame.len()).sum();
    assert_eq!(decoder.buffered(), stream.len() - taken);
    (frames, decoder.finish())
}

/// What a reader makes of it that has everything before it.
fn cut(mut stream: &[u8], limit: impl Fn(usize) -> usize) -> Outcome {
    let mut frames = Vec::new();
    let end = loop {
        let Some((length, rest)) = stream.split_first_chunk::<LENGTH_BYTES>() else {
            break match stream.len() {
                0 => Ok(()),
                arrived => Err(FrameError::EndInsideFrame { arrived, expected: LENGTH_BYTES }),
            };
        };
        let (claimed, limit) = (u32::from_be_bytes(*length) as usize, limit(frames.len()));
        if claimed == 0 {
            break Err(FrameError::Empty);
        }
        if claimed > limit {
            break Err(FrameError::TooLarge { claimed, limit });
        }
        let Some((body, rest)) = rest.split_at_checked(claimed) else {
            let (arrived, expected) = (stream.len(), LENGTH_BYTES + claimed);
            break Err(FrameError::EndInsideFrame { arrived, expected });
        };
        frames.push(body.to_vec());
        stream = rest;
    };
    (frames, end)
}
