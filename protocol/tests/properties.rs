//! What holds for every message, and for every sequence of bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{borrow::Cow, io::Cursor};

use proptest::{collection::vec, option, prelude::*};
use protocol::{
    envelope::{self, EnvelopeError, Message, PayloadProblem},
    frame::Decoder,
    limits::{LENGTH_BYTES, MAX_FRAME},
    message::{Call, Failure, FromMaster, FromWorker, FunctionDescription, Hello, Welcome},
    value::{self, ValueError},
};
use serde::{Deserialize, de::IgnoredAny};

/// Bytes that the decoder may hold beyond twice those that have arrived.
const SLACK: usize = 128 << 10;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

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

fn stream<M: Message>(messages: &[(M, Vec<u8>)]) -> Vec<u8> {
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
    Call { id: 1, function: Cow::Borrowed("f"), items, keywords, last: false }
}

/// Bytes without meaning, and bytes that look like a message or a frame at first.
fn disorder() -> impl Strategy<Value = Vec<u8>> {
    let noise = || vec(any::<u8>(), 0..200);
    let start = prop_oneof![
        Just(&b""[..]),
        Just(&b"\x81\xa6result\x82\xa2id\x07\xa4item"[..]),
        Just(&b"\x81\xa5error\x83\xa2id\x07\xa4item\x00\xa7failure"[..]),
        Just(&b"\x81\xa8progress\x83\xa2id\x07\xa4item\x00\xa4note"[..]),
        Just(&b"\x81\xa6cancel\x82\xa2id\x07\xa4item"[..]),
        Just(&b"\x81\xa4call\x82\xa2id\x07\xa8function\xa1f"[..]),
        Just(&b"\x81\xa7welcome\x81\xa7version\x01"[..]),
        Just(&b"\x81\xa5hello\x84\xa5token\xa1t"[..]),
        Just(&b"\x00\x00\x00"[..]),
    ];
    // Markers of everything that has a length or children, most of them with large ones.
    let markers =
        vec(prop::sample::select(&[0x91, 0x81, 0xdd, 0xdf, 0xdb, 0xc6, 0xc9, 0xff]), 0..600);
    (start, prop_oneof![3 => noise(), 1 => markers.prop_map(|bytes: Vec<u8>| bytes)])
        .prop_map(|(start, rest)| [start, &rest].concat())
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(encoded_value(), 0..3).prop_map(|values| values.concat())
}

/// A key and a value, both encoded.
type Pair = (Vec<u8>, Vec<u8>);

/// One MessagePack value in any of its forms, not only the shortest.
fn encoded_value() -> impl Strategy<Value = Vec<u8>> {
    let sized = |markers: [u8; 3], behind: usize| {
        (prop::sample::select(vec![0, 1, 2]), vec(any::<u8>(), 0..80)).prop_map(
            move |(width, bytes): (usize, Vec<u8>)| {
                let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
                let kind = vec![7; behind];
                [&[markers[width]], &length[4 - (1 << width)..], &kind, &bytes].concat()
            },
        )
    };
    let fixed = |marker: u8, length: usize| {
        vec(any::<u8>(), length).prop_map(move |bytes| [&[marker][..], &bytes].concat())
    };
    let leaf = prop_oneof![
        prop::sample::select(vec![0x00, 0x7f, 0xc0, 0xc2, 0xc3, 0xe0, 0xff])
            .prop_map(|byte| vec![byte]),
        "[a-zäß]{0,7}".prop_map(|text| {
            [&[0xa0 | u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
        }),
        (prop::sample::select(vec![0xcc, 0xd0]), 0..4_u8, any::<[u8; 8]>())
            .prop_map(|(first, width, bytes)| [&[first + width], &bytes[..1 << width]].concat()),
        fixed(0xca, 4),
        fixed(0xcb, 8),
        fixed(0xd4, 2),
        fixed(0xd5, 3),
        fixed(0xd6, 5),
        fixed(0xd7, 9),
        fixed(0xd8, 17),
        sized([0xd9, 0xda, 0xdb], 0),
        sized([0xc4, 0xc5, 0xc6], 0),
        sized([0xc7, 0xc8, 0xc9], 1),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let form = prop::sample::select(vec![0, 1, 2]);
        (form, any::<bool>(), vec((inner.clone(), inner), 0..6)).prop_map(
            |(form, map, pairs): (usize, bool, Vec<Pair>)| {
                let count = u32::try_from(pairs.len()).unwrap();
                let [.., byte] = count.to_be_bytes();
                let mut bytes = match (map, form) {
                    (false, 0) => vec![0x90 | byte],
                    (false, 1) => vec![0xdc, 0, byte],
                    (false, _) => vec![0xdd, 0, 0, 0, byte],
                    (true, 0) => vec![0x80 | byte],
                    (true, 1) => vec![0xde, 0, byte],
                    (true, _) => vec![0xdf, 0, 0, 0, byte],
                };
                for (key, value) in pairs {
                    if map {
                        bytes.extend(key);
                    }
                    bytes.extend(value);
                }
                bytes
            },
        )
    })
}

fn from_worker() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        hello().prop_map(FromWorker::Hello),
        Just(FromWorker::Ready {}),
        failure().prop_map(FromWorker::InitializerFailed),
        (any::<u64>(), any::<u32>()).prop_map(|(id, item)| FromWorker::Result { id, item }),
        (any::<u64>(), any::<u32>(), failure()).prop_map(|(id, item, failure)| FromWorker::Error {
            id,
            item,
            failure
        }),
        (any::<u64>(), any::<u32>(), text()).prop_map(|(id, item, note)| FromWorker::Progress {
            id,
            item,
            note
        }),
    ]
}

fn from_master() -> impl Strategy<Value = FromMaster<'static>> {
    let welcome =
        (any::<u32>(), vec(text(), 0..3), any::<u32>(), text(), option::of(text()), any::<bool>())
            .prop_map(|(version, features, slot, pool, initializer, keywords)| {
                FromMaster::Welcome(Welcome {
                    version,
                    features,
                    slot,
                    pool,
                    initializer,
                    keywords,
                })
            });
    let call = (any::<u64>(), text(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(id, function, items, keywords, last)| {
            FromMaster::Call(Call { id, function: Cow::Owned(function), items, keywords, last })
        },
    );
    prop_oneof![
        welcome,
        text().prop_map(|reason| FromMaster::Reject { reason }),
        call,
        (any::<u64>(), any::<u32>()).prop_map(|(id, item)| FromMaster::Cancel { id, item }),
        Just(FromMaster::Drain {}),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let function = (text(), text(), text(), any::<bool>(), any::<bool>()).prop_map(
        |(name, parameters, help, progress, cancel)| FunctionDescription {
            name,
            parameters,
            help,
            progress,
            cancel,
        },
    );
    (text(), any::<u32>(), any::<u32>(), vec(text(), 0..3), text(), text(), vec(function, 0..4))
        .prop_map(|(token, oldest, newest, features, name, version, functions)| Hello {
            token,
            oldest,
            newest,
            features,
            name,
            version,
            functions,
        })
}

fn failure() -> impl Strategy<Value = Failure> {
    (text(), text(), text()).prop_map(|(kind, message, traceback)| Failure {
        kind,
        message,
        traceback,
    })
}

/// Short text and, now and then, text that is long enough for another form of its length.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => any::<String>(), 1 => "[a-z]{0,3}".prop_map(|part| part.repeat(100))]
}
