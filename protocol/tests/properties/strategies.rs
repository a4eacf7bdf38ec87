//! What the properties are tried with.

use std::borrow::Cow;

use proptest::{collection::vec, option, prelude::*};
use protocol::message::{
    Call, Failure, FromMaster, FromWorker, FunctionDescription, Hello, SharedArguments,
    SharedOutput, SharedRange, Welcome,
};

/// Bytes without meaning, and bytes that look like a message or a frame at first.
pub(crate) fn disorder() -> impl Strategy<Value = Vec<u8>> {
    let noise = || vec(any::<u8>(), 0..200);
    let start = prop_oneof![
        Just(&b""[..]),
        Just(&b"\x81\xa6result\x82\xa2id\x07\xa4item"[..]),
        Just(&b"\x81\xa7results\x82\xa2id\x07\xa4item\x00"[..]),
        Just(&b"\x81\xadshared_result\x84\xa2id\x07\xa4item\x00\xa6offset"[..]),
        Just(&b"\x81\xa5error\x83\xa2id\x07\xa4item\x00\xa7failure"[..]),
        Just(&b"\x81\xa8progress\x83\xa2id\x07\xa4item\x00\xa4note"[..]),
        Just(&b"\x81\xa6cancel\x82\xa2id\x07\xa4item"[..]),
        Just(&b"\x81\xa4call\x82\xa2id\x07\xa8function\xa1f"[..]),
        Just(&b"\x81\xa4call\x83\xa2id\x07\xa8function\xa1f\xa6shared\x82\xa6offset"[..]),
        Just(&b"\x81\xa7welcome\x81\xa7version\x01"[..]),
        Just(&b"\x81\xa7welcome\x82\xa7version\x01\xb0shared_arguments\x82\xa4path"[..]),
        Just(&b"\x81\xa5hello\x84\xa5token\xa1t"[..]),
        Just(&b"\x00\x00\x00"[..]),
    ];
    // Markers of everything that has a length or children, most of them with large ones.
    let markers =
        vec(prop::sample::select(&[0x91, 0x81, 0xdd, 0xdf, 0xdb, 0xc6, 0xc9, 0xff]), 0..600);
    (start, prop_oneof![3 => noise(), 1 => markers.prop_map(|bytes: Vec<u8>| bytes)])
        .prop_map(|(start, rest)| [start, &rest].concat())
}

pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(encoded_value(), 0..3).prop_map(|values| values.concat())
}

/// A key and a value, both encoded.
type Pair = (Vec<u8>, Vec<u8>);

/// One MessagePack value in any of its forms, not only the shortest.
pub(crate) fn encoded_value() -> impl Strategy<Value = Vec<u8>> {
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

pub(crate) fn from_worker() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        hello().prop_map(FromWorker::Hello),
        any::<bool>().prop_map(|shared_arguments| FromWorker::Ready { shared_arguments }),
        failure().prop_map(FromWorker::InitializerFailed),
        (integer(), any::<u32>()).prop_map(|(id, item)| FromWorker::Result { id, item }),
        (integer(), any::<u32>()).prop_map(|(id, item)| FromWorker::Results { id, item }),
        (integer(), any::<u32>(), range()).prop_map(
            |(id, item, SharedRange { offset, length })| {
                FromWorker::SharedResult { id, item, offset, length }
            }
        ),
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

pub(crate) fn from_master() -> impl Strategy<Value = FromMaster<'static>> {
    let output = (text(), any::<u64>(), option::of(integer()))
        .prop_map(|(path, key, results)| SharedOutput { path, key, results });
    let arguments = (text(), any::<u64>()).prop_map(|(path, key)| SharedArguments { path, key });
    let places = (option::of(output), option::of(arguments));
    let (features, initializer) = (vec(text(), 0..3), option::of(text()));
    let (version, slot) = (any::<u32>(), any::<u32>());
    let welcome = (version, features, slot, text(), initializer, any::<bool>(), places).prop_map(
        |(version, features, slot, pool, initializer, keywords, places)| {
            let (shared_output, shared_arguments) = places;
            FromMaster::Welcome(Welcome {
                version,
                features,
                slot,
                pool,
                initializer,
                keywords,
                shared_output,
                shared_arguments,
            })
        },
    );
    prop_oneof![
        welcome,
        text().prop_map(|reason| FromMaster::Reject { reason }),
        any_call().prop_map(FromMaster::Call),
        (any::<u64>(), any::<u32>()).prop_map(|(id, item)| FromMaster::Cancel { id, item }),
        Just(FromMaster::Drain {}),
    ]
}

pub(crate) fn any_call() -> impl Strategy<Value = Call<'static>> {
    let items = prop_oneof![Just(1), integer().prop_map(|number| number as u32)];
    let shared = option::weighted(0.3, range());
    (integer(), text(), items, any::<bool>(), any::<bool>(), shared).prop_map(
        |(id, function, items, keywords, last, shared)| {
            let function = Cow::Owned(function);
            Call { id, function, items, keywords, last, shared }
        },
    )
}

pub(crate) fn range() -> impl Strategy<Value = SharedRange> {
    (integer(), integer()).prop_map(|(offset, length)| SharedRange { offset, length })
}

/// Integers of all widths.
fn integer() -> impl Strategy<Value = u64> {
    let edges = [0x7f, 0xff, 0xffff, 0xffff_ffff].map(|edge| [edge, edge + 1]);
    prop_oneof![
        2 => (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift),
        1 => prop::sample::select(edges.concat()),
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
    let edges = prop::sample::select(vec![31, 32, 255, 256]).prop_map(|length| "x".repeat(length));
    prop_oneof![8 => any::<String>(), 1 => "[a-z]{0,3}".prop_map(|part| part.repeat(100)), 1 => edges]
}
