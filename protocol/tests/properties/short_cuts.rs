//! The short cuts for some messages against what serde alone does.

use std::ops::Range;

use proptest::{collection::vec, option, prelude::*};
use protocol::{
    envelope::{self, EnvelopeError, Message},
    message::{FromMaster, FromWorker},
    value,
};
use serde::{Deserialize, Serialize};

use crate::strategies::{any_call, from_master, from_worker, payload};

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_short_cut_writes_what_serde_writes(
        from_worker in from_worker(),
        from_master in prop_oneof![any_call().prop_map(FromMaster::Call), from_master()],
        payload in payload(),
    ) {
        check_writing(&from_worker, &payload)?;
        check_writing(&from_master, &payload)?;
    }

    #[test]
    fn a_short_cut_reads_what_serde_reads(
        from_worker in from_worker(),
        from_master in prop_oneof![any_call().prop_map(FromMaster::Call), from_master()],
        payload in payload(),
        damage in vec(damage(), 0..3),
        wide: bool,
    ) {
        let bodies = [encode(&from_worker, &payload, wide), encode(&from_master, &payload, wide)];
        for mut body in bodies {
            for harm in &damage {
                harm.apply(&mut body);
            }
            check_reading::<FromWorker>(&body)?;
            check_reading::<FromMaster<'_>>(&body)?;
        }
    }

    #[test]
    fn a_short_cut_reads_what_serde_reads_of_bytes_near_the_canonical_ones(
        bodies in vec((near_canonical(), vec(any::<u8>(), 0..4)), 30),
    ) {
        for (body, behind) in bodies {
            let body = [body, behind].concat();
            check_reading::<FromWorker>(&body)?;
            check_reading::<FromMaster<'_>>(&body)?;
        }
    }
}

/// The fields of a message that has a short cut, in their order or nearly so, each in one of many
/// forms.
fn near_canonical() -> impl Strategy<Value = Vec<u8>> {
    fn one_of(choices: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        prop::sample::select(choices).prop_map(<[u8]>::to_vec)
    }
    let number = || one_of(NUMBERS);
    let named = |name: &'static [u8]| number().prop_map(move |value| [name, &value].concat());
    let rarely = |field| option::weighted(0.9, field);
    let answer = (
        one_of(&[b"\x81\xa6result", b"\x81\xa7results", b"\x81\xa7result", b"\x82\xa6result"]),
        prop::sample::select(vec![0x82, 0x82, 0x82, 0x81, 0x83]),
        [rarely(named(b"\xa2id").boxed()), rarely(named(b"\xa4item").boxed())],
        any::<bool>(),
    )
        .prop_map(|(start, size, [first, second], swapped)| {
            let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
            let fields = if swapped { [second, first] } else { [first, second] };
            [start, vec![size], fields.concat()].concat()
        });
    let often = |field| option::weighted(0.5, field);
    let call = (
        -1..=1_i8,
        rarely(named(b"\xa2id").boxed()),
        rarely(one_of(FUNCTIONS).boxed()),
        often(named(b"\xa5items").boxed()),
        often(one_of(&[b"\xa8keywords\xc3", b"\xa8keywords\xc2", b"\xa8keywords\x01"]).boxed()),
        often(one_of(&[b"\xa4last\xc3", b"\xa4last\xc2", b"\xa4last\xc0"]).boxed()),
        option::weighted(0.2, one_of(SHARED)),
        option::weighted(0.2, (0..6_usize, 0..6_usize)),
        any::<bool>(),
    )
        .prop_map(|(off, id, function, items, keywords, last, shared, swap, right)| {
            let mut fields: Vec<_> =
                [id, function, items, keywords, last, shared].into_iter().flatten().collect();
            let size = 0x80 + u8::try_from(fields.len()).unwrap();
            let size = if right { size } else { size.saturating_add_signed(off) };
            if let Some((one, other)) = swap
                && one.max(other) < fields.len()
            {
                fields.swap(one, other);
            }
            [b"\x81\xa4call", &[size][..], &fields.concat()].concat()
        });
    prop_oneof![answer, call]
}

/// Integers at the edges of what fields hold, in all their forms, and what is none.
const NUMBERS: &[&[u8]] = &[
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\xcc\x01",
    b"\xcc\xff",
    b"\xcd\x00\x01",
    b"\xcd\x01\x00",
    b"\xce\xff\xff\xff\xff",
    b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
    b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd0\x07",
    b"\xd3\x00\x00\x00\x00\x00\x00\x00\x07",
    b"\xff",
    b"\xd0\xff",
    b"\xc0",
    b"\xc3",
    b"\xa17",
    b"\xca\x00\x00\x00\x00",
];

const FUNCTIONS: &[&[u8]] = &[
    b"\xa8function\xa1f",
    b"\xa8function\xa0",
    b"\xa8function\xd9\x01f",
    b"\xa8function\xda\x00\x01f",
    b"\xa8function\xdb\x00\x00\x00\x01f",
    b"\xd9\x08function\xa1f",
    b"\xa8function\xa2\xc3\xa4",
    b"\xa8function\xa2\xc3\x28",
    b"\xa8function\xc4\x01f",
    b"\xa8function\x07",
    b"\xa8functio_\xa1f",
];

const SHARED: &[&[u8]] = &[
    b"\xa6shared\x82\xa6offset\x08\xa6length\x02",
    b"\xa6shared\x82\xa6length\x02\xa6offset\xcc\x08",
    b"\xa6shared\x81\xa6offset\x08",
    b"\xa6shared\x92\x08\x02",
    b"\xa6shared\x80",
    b"\xa6shared\xc0",
    b"\xa6shared\xc3",
];

/// A body as serde alone writes it; `wide` puts the outer map of the fields in another form.
fn encode(message: &impl Serialize, payload: &[u8], wide: bool) -> Vec<u8> {
    let mut body = rmp_serde::to_vec_named(message).unwrap();
    let name = usize::from(body[1] & 0x1f);
    let fields = 2 + name;
    if wide && let 0x80..=0x8f = body[fields] {
        let count = body[fields] & 0x0f;
        body.splice(fields..=fields, [0xde, 0, count]);
    }
    body.extend(payload);
    body
}

fn check_writing<'a>(message: &impl Message<'a>, payload: &[u8]) -> Result<(), TestCaseError> {
    let mut frame = b"before".to_vec();
    envelope::append_frame(&mut frame, message, payload).unwrap();
    let body = encode(message, payload, false);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    prop_assert_eq!(frame, [b"before", &length[..], &body].concat());
    Ok(())
}

/// Compares the reading of a body with that of serde alone.
fn check_reading<'a, M>(body: &'a [u8]) -> Result<(), TestCaseError>
where
    M: Message<'a> + Deserialize<'a> + PartialEq + std::fmt::Debug,
{
    let found = envelope::open::<M>(body);
    let end = match value::skip_envelope(body) {
        Ok(end) => end,
        Err(error) => {
            prop_assert_eq!(found, Err(EnvelopeError::Value(error)));
            return Ok(());
        }
    };
    match (rmp_serde::from_slice::<M>(&body[..end]), found) {
        (Ok(expected), Ok(found)) => prop_assert_eq!(found, (expected, &body[end..])),
        (Err(_), Err(EnvelopeError::Message(_))) => {}
        (expected, found) => prop_assert!(false, "{found:?} instead of {expected:?}"),
    }
    Ok(())
}

/// Something that happens to the bytes of a body, most of it near the start.
#[derive(Debug, Clone)]
enum Damage {
    Replace(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Repeat(Range<usize>),
    Cut(usize),
}

impl Damage {
    fn apply(&self, body: &mut Vec<u8>) {
        match self.clone() {
            Self::Replace(at, byte) if at < body.len() => body[at] = byte,
            Self::Insert(at, byte) if at <= body.len() => body.insert(at, byte),
            Self::Remove(at) if at < body.len() => {
                body.remove(at);
            }
            Self::Repeat(range) if range.end <= body.len() => {
                let piece = body[range.clone()].to_vec();
                body.splice(range.start..range.start, piece);
            }
            Self::Cut(at) => body.truncate(at),
            _ => {}
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || {
        let telling = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0xa0, 0xa5, 0xa6];
        let wide = [0xa7, 0xc0, 0xc1, 0xc2, 0xc3, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd9, 0xda, 0xff];
        prop_oneof![prop::sample::select([&telling[..], &wide].concat()), any::<u8>()]
    };
    prop_oneof![
        4 => (0..60_usize, byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        2 => (0..60_usize, byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => (0..60_usize).prop_map(Damage::Remove),
        1 => (0..60_usize, 1..12_usize).prop_map(|(at, size)| Damage::Repeat(at..at + size)),
        1 => (0..60_usize).prop_map(Damage::Cut),
    ]
}
