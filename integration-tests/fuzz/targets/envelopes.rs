//! The readers of messages, for both directions: what they take can be written again, and means
//! the same then.
//!
//! The input is a stream of frames, so that the golden vectors are a corpus as they are.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use protocol::{
    envelope::{self, EnvelopeError, Message},
    frame::Decoder,
    limits::{LENGTH_BYTES, MAX_FRAME},
    message::{FromMaster, FromWorker},
    value,
};

fuzz_target!(|stream: &[u8]| {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder.push(stream);
    while let Ok(Some(body)) = decoder.next_frame() {
        from_worker(body);
        from_master(body);
    }
});

fn from_worker(body: &[u8]) {
    let Ok((message, payload)) = envelope::open::<FromWorker>(body) else { return };
    let check = envelope::check_worker_payload(&message, payload);
    let again = framed(&message, payload);
    let (same, rest) = envelope::open::<FromWorker>(&again[LENGTH_BYTES..]).unwrap();
    assert_eq!((&same, rest), (&message, payload));
    assert_eq!(envelope::check_worker_payload(&same, rest), check);
    assert_eq!(framed(&same, rest), again);
}

fn from_master(body: &[u8]) {
    let Ok((message, payload)) = envelope::open::<FromMaster<'_>>(body) else { return };
    let check = envelope::check_master_payload(&message, payload);
    let again = framed(&message, payload);
    let (same, rest) = envelope::open::<FromMaster<'_>>(&again[LENGTH_BYTES..]).unwrap();
    assert_eq!((&same, rest), (&message, payload));
    assert_eq!(envelope::check_master_payload(&same, rest), check);
    assert_eq!(framed(&same, rest), again);
    items(&message, payload, &check);
}

/// A payload is cut into items without a gap, as many as were announced, each of them whole.
fn items(message: &FromMaster<'_>, payload: &[u8], check: &Result<(), EnvelopeError>) {
    let (items, count, keywords) = match message {
        FromMaster::Call(call) => {
            let items = envelope::items(call, payload).map(|items| items.collect::<Vec<_>>());
            (items, call.items as usize, call.keywords)
        }
        FromMaster::Welcome(welcome) => {
            let item = envelope::initializer_item(welcome, payload);
            let items = item.map(|item| item.into_iter().collect());
            (items, usize::from(welcome.initializer.is_some()), welcome.keywords)
        }
        FromMaster::Reject { .. } | FromMaster::Cancel { .. } | FromMaster::Drain {} => return,
    };
    let items = match (items, check) {
        (Ok(items), Ok(())) => items,
        (items, check) => return assert_eq!(items.err().as_ref(), check.as_ref().err()),
    };
    assert_eq!(items.len(), count);
    let mut parts: Vec<u8> = Vec::new();
    for item in items {
        assert_eq!(item.keywords.is_some(), keywords);
        for part in [Some(item.positional), item.keywords].into_iter().flatten() {
            assert_eq!(value::skip(part), Ok(part.len()));
            parts.extend(part);
        }
    }
    assert_eq!(parts, payload);
}

fn framed<'a>(message: &(impl Message<'a> + Debug), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    envelope::append_frame(&mut frame, message, payload).unwrap();
    frame
}
