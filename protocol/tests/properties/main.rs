//! What holds for every message, and for every sequence of bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod shared_output;
mod short_cuts;
mod strategies;
mod values;

use std::{borrow::Cow, io::Cursor};

use proptest::{collection::vec, prelude::*};
use protocol::{
    envelope::{self, EnvelopeError, Message, PayloadProblem},
    frame::Decoder,
    limits::{LENGTH_BYTES, MAX_FRAME},
    message::{Call, FromMaster, FromWorker},
    value::{self, ValueError},
};
use serde::{Deserialize, de::IgnoredAny};

use strategies::{disorder, encoded_value, from_master, from_worker, payload, range};

/// Bytes that the decoder may hold beyond twice those that have arrived.
const SLACK: usize = 128 << 10;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_a_worker_says_arrives(
        messages in vec((from_worker(), payload()), 0..4),
        cuts in vec(1..40_usize, 1..20),
    ) {
        let sent = stream(&messages);
        let arrived = receive(&sent, &cuts);
        prop_assert_eq!(arrived.len(), messages.len());
        for (body, (message, payload)) in arrived.iter().zip(&messages) {
            let (found, rest) = envelope::open::<FromWorker>(body).unwrap();
            prop_assert_eq!(&found, message);
            prop_assert_eq!(rest, payload);
        }
    }

    #[test]
    fn what_a_master_says_arrives(
        messages in vec((from_master(), payload()), 0..4),
        cuts in vec(1..40_usize, 1..20),
    ) {
        let sent = stream(&messages);
        let arrived = receive(&sent, &cuts);
        prop_assert_eq!(arrived.len(), messages.len());
        for (body, (message, payload)) in arrived.iter().zip(&messages) {
            let (found, rest) = envelope::open::<FromMaster<'_>>(body).unwrap();
            prop_assert_eq!(&found, message);
            prop_assert_eq!(rest, payload);
        }
    }

    #[test]
    fn the_items_of_a_call_are_cut_where_they_were_joined(
        arguments in vec((vec(encoded_value(), 0..4), vec(encoded_value(), 0..3)), 1..6),
        keywords: bool,
    ) {
        let mut payload = Vec::new();
        let mut ends = Vec::new();
        for (positional, named) in &arguments {
            payload.push(0x90 | u8::try_from(positional.len()).unwrap());
            payload.extend(positional.concat());
            ends.push(payload.len());
            if keywords {
                payload.push(0x80 | u8::try_from(named.len()).unwrap());
                named.iter().for_each(|value| {
                    payload.push(0xa0);
                    payload.extend(value);
                });
                ends.push(payload.len());
            }
        }
        let call = call(u32::try_from(arguments.len()).unwrap(), keywords);
        let mut end = 0;
        let mut found = Vec::new();
        for item in envelope::items(&call, &payload).unwrap() {
            for value in [Some(item.positional), item.keywords].into_iter().flatten() {
                end += value.len();
                found.push(end);
            }
        }
        prop_assert_eq!(found, ends);
    }

    #[test]
    fn skip_ends_where_rmp_serde_ends(value in encoded_value(), behind in vec(any::<u8>(), 0..20)) {
        let bytes = [&value[..], &behind[..]].concat();
        let mut reader = rmp_serde::Deserializer::new(Cursor::new(&bytes));
        IgnoredAny::deserialize(&mut reader).unwrap();
        prop_assert_eq!(reader.position(), value.len() as u64);
        prop_assert_eq!(value::skip(&bytes), Ok(value.len()));
    }

    #[test]
    fn skip_finds_every_cut(value in encoded_value(), index: prop::sample::Index) {
        let cut = index.index(value.len());
        match value::skip(&value[..cut]) {
            Err(ValueError::Truncated { offset, .. }) => prop_assert_eq!(offset, cut),
            other => prop_assert!(false, "{other:?} of {cut} of {} bytes", value.len()),
        }
    }

    #[test]
    fn no_bytes_upset_the_readers_of_values(bytes in disorder()) {
        check_reader_of_values(&bytes, value::skip(&bytes))?;
        check_reader_of_values(&bytes, value::skip_envelope(&bytes))?;
    }

    #[test]
    fn no_bytes_upset_the_readers_of_messages(body in disorder()) {
        if let Err(error) = read_as_master(&body) {
            check_offset(&body, &error)?;
        }
        if let Err(error) = read_as_worker(&body) {
            check_offset(&body, &error)?;
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        message in from_master(),
        payload in payload(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = stream(&[(message, payload)]).split_off(LENGTH_BYTES);
        for (index, byte) in damage {
            let place = index.index(body.len());
            body[place] = byte;
        }
        if let Err(error) = read_as_worker(&body) {
            check_offset(&body, &error)?;
        }
    }

    #[test]
    fn a_range_is_within_a_file_that_has_all_of_its_bytes(
        range in range(),
        size in 0..0x3_0000_usize,
    ) {
        let (offset, length) = (u128::from(range.offset), u128::from(range.length));
        let expected = length > 0 && offset + length <= size as u128;
        let found = range.within(size);
        prop_assert_eq!(found.is_some(), expected);
        if let Some(found) = found {
            prop_assert_eq!((found.start as u128, found.len() as u128), (offset, length));
        }
    }

    #[test]
    fn no_stream_upsets_the_decoder(
        bytes in disorder(),
        limit in 0..300_usize,
        cuts in vec(1..40_usize, 1..20),
    ) {
        let mut decoder = Decoder::new();
        decoder.set_limit(limit);
        let mut rest = &bytes[..];
        let mut handed_out = 0;
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*cut));
            decoder.push(piece);
            rest = behind;
            while let Ok(Some(body)) = decoder.next_frame() {
                prop_assert!((1..=limit).contains(&body.len()));
                let start = handed_out + LENGTH_BYTES;
                handed_out = start + body.len();
                prop_assert_eq!(decoder.last_frame(), &bytes[start..handed_out]);
                prop_assert!(bytes[handed_out..].starts_with(decoder.rest()));
            }
            prop_assert_eq!(handed_out + decoder.buffered() + rest.len(), bytes.len());
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoder.finish().is_ok(), decoder.buffered() == 0);
    }

    #[test]
    fn memory_grows_with_what_arrived(
        claimed in 1..=u32::try_from(MAX_FRAME).unwrap(),
        reads in vec(1..200_000_usize, 1..12),
    ) {
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        decoder.push(&claimed.to_be_bytes());
        let mut arrived = LENGTH_BYTES;
        for read in reads {
            let room = decoder.spare().len();
            prop_assert!(room > 0);
            prop_assert!(arrived + room <= 2 * arrived + SLACK, "{room} bytes after {arrived}");
            let read = read.min(room).min(LENGTH_BYTES + claimed as usize - arrived);
            decoder.commit(read);
            arrived += read;
            let complete = decoder.next_frame().unwrap().is_some();
            prop_assert_eq!(complete, arrived == LENGTH_BYTES + claimed as usize);
            if complete {
                break;
            }
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) }
}

fn stream<'a, M: Message<'a>>(messages: &[(M, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (message, payload) in messages {
        envelope::append_frame(&mut out, message, payload).unwrap();
    }
    out
}

/// The bodies in a stream that arrives in pieces of these lengths, over and over.
fn receive(mut bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new();
    let mut bodies = Vec::new();
    for cut in cuts.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*cut));
        decoder.push(piece);
        bytes = rest;
        while let Some(body) = decoder.next_frame().unwrap() {
            bodies.push(body.to_vec());
        }
    }
    decoder.finish().unwrap();
    bodies
}

fn read_as_master(body: &[u8]) -> Result<(), EnvelopeError> {
    let (message, payload) = envelope::open::<FromWorker>(body)?;
    envelope::check_worker_payload(&message, payload)
}

/// Reads a message as a worker does, and any body as the payload of a call besides.
fn read_as_worker(body: &[u8]) -> Result<(), EnvelopeError> {
    for items in [0, 1, 2, u32::MAX] {
        for keywords in [false, true] {
            if let Ok(found) = envelope::items(&call(items, keywords), body) {
                assert_eq!(found.len(), items as usize);
            }
        }
    }
    let (message, payload) = envelope::open::<FromMaster<'_>>(body)?;
    envelope::check_master_payload(&message, payload)
}

fn check_reader_of_values(
    bytes: &[u8],
    read: Result<usize, ValueError>,
) -> Result<(), TestCaseError> {
    match read {
        Ok(length) => prop_assert!((1..=bytes.len()).contains(&length)),
        Err(error) => prop_assert!(offset(&error) <= bytes.len(), "{error}"),
    }
    Ok(())
}

fn check_offset(body: &[u8], error: &EnvelopeError) -> Result<(), TestCaseError> {
    if let EnvelopeError::Value(problem)
    | EnvelopeError::Payload { problem: PayloadProblem::Value(problem), .. } = error
    {
        prop_assert!(offset(problem) <= body.len(), "{error}");
    }
    Ok(())
}

fn offset(error: &ValueError) -> usize {
    match error {
        ValueError::Truncated { offset, .. }
        | ValueError::TooDeep { offset, .. }
        | ValueError::Unexpected { offset, .. } => *offset,
        other => panic!("{other} has no offset"),
    }
}

fn call(items: u32, keywords: bool) -> Call<'static> {
    Call { id: 1, function: Cow::Borrowed("f"), items, keywords, last: false, shared: None }
}
