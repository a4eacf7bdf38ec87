//! What holds for every message, and for every sequence of bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{borrow::Cow, io::Cursor, ops::Range};

use proptest::{collection::vec, option, prelude::*};
use protocol::{
    envelope::{self, EnvelopeError, Message, PayloadProblem},
    frame::Decoder,
    limits::{LENGTH_BYTES, MAX_FRAME, MAX_PAYLOAD_DEPTH},
    message::{
        Call, Failure, FromMaster, FromWorker, FunctionDescription, Hello, SharedOutput, Welcome,
    },
    shared_output::{BASE, DATA, HELD, Header, LAST},
    value::{self, ValueError},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};

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
    fn skip_does_as_a_plain_reader_does(
        value in encoded_value(),
        behind in vec(any::<u8>(), 0..20),
        cut: prop::sample::Index,
        disorder in disorder(),
    ) {
        let bytes = [&value[..], &behind[..]].concat();
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)], &disorder[..]] {
            prop_assert_eq!(outline(value::skip(bytes)), plain_skip(bytes, 0, 0));
        }
    }

    #[test]
    fn skip_does_as_a_plain_reader_does_near_the_deepest_level(
        value in encoded_value(),
        levels in MAX_PAYLOAD_DEPTH - 8..MAX_PAYLOAD_DEPTH + 3,
        maps in vec(any::<bool>(), 8),
    ) {
        let mut bytes = Vec::new();
        for level in 0..levels {
            let is_map = maps[level % maps.len()];
            bytes.extend_from_slice(if is_map { &[0x81, 0xa0] } else { &[0x91] });
        }
        bytes.extend(value);
        prop_assert_eq!(outline(value::skip(&bytes)), plain_skip(&bytes, 0, 0));
    }

    #[test]
    fn the_values_of_results_are_told_apart_where_they_were_joined(
        values in vec(encoded_value(), 1..20),
        cut: prop::sample::Index,
    ) {
        let payload = values.concat();
        let mut expected = Vec::new();
        for value in &values {
            expected.push(expected.last().copied().unwrap_or(0) + value.len());
        }
        let mut found = Vec::new();
        envelope::values(&payload, |end| found.push(end)).unwrap();
        prop_assert_eq!(&found, &expected);

        found.clear();
        let cut = cut.index(payload.len());
        let read = envelope::values(&payload[..cut], |end| found.push(end));
        let whole = expected.iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&found[..], &expected[..whole]);
        prop_assert_eq!(read.is_ok(), cut > 0 && expected.contains(&cut));
    }

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
        start in prop::sample::select(STARTS),
        pieces in vec(prop::sample::select(PIECES), 0..9),
        behind in vec(any::<u8>(), 0..4),
    ) {
        let body = [start, &pieces.concat()[..], &behind].concat();
        check_reading::<FromWorker>(&body)?;
        check_reading::<FromMaster<'_>>(&body)?;
    }

    #[test]
    fn a_shared_output_and_the_stream_hold_what_was_answered(
        acts in vec(act(), 1..30),
        death: prop::sample::Index,
        within: prop::sample::Index,
        heard: prop::sample::Index,
    ) {
        let worker = Sharing::after(&acts);
        let steps = &worker.steps[..death.index(worker.steps.len() + 1)];
        let last = worker.steps.get(steps.len());
        let (memory, stream, answered) = play(steps, last, within);

        // Once it is dead, everything that came is known.
        let (bodies, rest) = read_both(&memory, &stream);
        let found = answers_in(&bodies)?;
        prop_assert_eq!(&found[..], &worker.answers[..answered]);
        // Only a frame that is written by itself can be cut off.
        let alone = matches!(last, Some(Step::Write(_, Written::Alone { .. })));
        prop_assert!(alone || rest == 0, "{rest} bytes are left");

        // Before, the master may be behind with the stream: what it finds is the start of it.
        let heard = &stream[..heard.index(stream.len() + 1)];
        let found = answers_in(&read_both(&memory, heard).0)?;
        prop_assert!(worker.answers[..answered].starts_with(&found));
    }

    #[test]
    fn no_numbers_upset_the_reader_of_a_shared_output(
        (base, held, last, received) in (number(), number(), number(), number()),
        data in vec(any::<u8>(), 0..40),
    ) {
        for held in [held, data.len() as u64] {
            let header = Header { key: 1, base, held, last };
            let mut written = data.clone();
            let unsent = header.unsent(&mut written, received).len() as u64;
            let expected = held.saturating_sub(received.wrapping_sub(base));
            let makes_sense = held == data.len() as u64 && received >= base;
            prop_assert_eq!(unsent, if makes_sense { expected } else { 0 });
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

/// The outcome of [`value::skip`], without its words.
#[derive(Debug, PartialEq, Eq)]
enum Outline {
    /// Where the value ends.
    End(usize),
    Truncated,
    TooDeep(usize),
    Reserved(usize),
}

fn outline(read: Result<usize, ValueError>) -> Outline {
    match read {
        Ok(end) => Outline::End(end),
        Err(ValueError::Truncated { .. }) => Outline::Truncated,
        Err(ValueError::TooDeep { offset, .. }) => Outline::TooDeep(offset),
        Err(ValueError::Unexpected { offset, .. }) => Outline::Reserved(offset),
        Err(other) => panic!("{other} is new"),
    }
}

/// Walks over the value at `start` by the letter of the format, with `depth` levels around it.
fn plain_skip(bytes: &[u8], start: usize, depth: usize) -> Outline {
    let number = |offset: usize, width: usize| {
        let bytes = bytes.get(offset..offset + width)?;
        Some(bytes.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)))
    };
    let behind = start + 1;
    let Some(first) = number(start, 1) else { return Outline::Truncated };
    // How wide the length field is, how many more bytes, and how many values follow for each that
    // is counted.
    let (width, more, values) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0, 0),
        0x80..=0x8f => (0, first & 0x0f, 2),
        0x90..=0x9f => (0, first & 0x0f, 1),
        0xa0..=0xbf => (0, first & 0x1f, 0),
        0xc1 => return Outline::Reserved(start),
        0xc4..=0xc6 => (1 << (first - 0xc4), 0, 0),
        0xc7..=0xc9 => (1 << (first - 0xc7), 1, 0),
        0xca => (0, 4, 0),
        0xcb => (0, 8, 0),
        0xcc..=0xcf => (0, 1 << (first - 0xcc), 0),
        0xd0..=0xd3 => (0, 1 << (first - 0xd0), 0),
        0xd4..=0xd8 => (0, 1 + (1 << (first - 0xd4)), 0),
        0xd9..=0xdb => (1 << (first - 0xd9), 0, 0),
        0xdc | 0xdd => (2 << (first - 0xdc), 0, 1),
        0xde | 0xdf => (2 << (first - 0xde), 0, 2),
        _ => unreachable!("a byte"),
    };
    let Some(length) = number(behind, width) else { return Outline::Truncated };
    let length = length + more;
    let mut end = behind + width;
    if values == 0 {
        end += length;
        return if end <= bytes.len() { Outline::End(end) } else { Outline::Truncated };
    }
    if depth == MAX_PAYLOAD_DEPTH {
        return Outline::TooDeep(start);
    }
    for _ in 0..length * values {
        match plain_skip(bytes, end, depth + 1) {
            Outline::End(next) => end = next,
            other => return other,
        }
    }
    Outline::End(end)
}

/// The starts of the messages that have a short cut.
const STARTS: &[&[u8]] = &[
    b"\x81\xa6result\x82\xa2id",
    b"\x81\xa7results\x82\xa2id",
    b"\x81\xa7results\x83\xa2id",
    b"\x81\xa6results\x82\xa2id",
    b"\x81\xa4call\x82\xa2id",
    b"\x81\xa4call\x83\xa2id",
    b"\x81\xa4call\x84\xa2id",
    b"\x81\xa4call\x85\xa2id",
    b"\x81\xa4call\x86\xa2id",
    b"\x81\xa4call\x80",
    b"\x81\xa4call\x81",
    b"\x82\xa4call\x82\xa2id",
];

/// What may stand behind them, in the right order or not.
const PIECES: &[&[u8]] = &[
    b"\x07",
    b"\xff",
    b"\xc3",
    b"\xcc\x07",
    b"\xcd\x01\x00",
    b"\xce\xff\xff\xff\xff",
    b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
    b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\xd0\x07",
    b"\xd3\x00\x00\x00\x00\x00\x00\x00\x07",
    b"\xa4item",
    b"\xa4item\x00",
    b"\xd9\x04item\x00",
    b"\xa2id\x07",
    b"\xa8function\xa1f",
    b"\xa8function\xd9\x01f",
    b"\xa8function\xda\x00\x01f",
    b"\xa8function\xa2\xc3\x28",
    b"\xa8function",
    b"\xa5items\x01",
    b"\xa5items\x02",
    b"\xa5items\xc3",
    b"\xa8keywords\xc3",
    b"\xa8keywords\xc2",
    b"\xa4last\xc3",
    b"\xa4last\xc2",
    b"\xa4note\xa0",
    b"\x91",
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

/// What a worker with a shared output does next.
#[derive(Debug, Clone)]
enum Act {
    /// It keeps the value of the next item.
    Keep(Vec<u8>),
    /// It goes on with another call, so that the last frame ends.
    NextCall,
    /// It writes what it keeps.
    Flush,
    /// It writes what it keeps, and behind it an answer by itself.
    Alone(Vec<u8>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => encoded_value().prop_map(Act::Keep),
        2 => Just(Act::NextCall),
        2 => Just(Act::Flush),
        1 => encoded_value().prop_map(Act::Alone),
    ]
}

/// The least thing that happens to the file or the socket of a worker. Those that are made of
/// bytes may happen in part.
#[derive(Debug, Clone)]
enum Step {
    /// Bytes of frames are stored at this offset behind the header.
    Store(usize, Vec<u8>),
    /// One number is stored; with it so many answers are there in all.
    Set(usize, u64, usize),
    /// Bytes are written to the socket.
    Write(Vec<u8>, Written),
}

#[derive(Debug, Clone, Copy)]
enum Written {
    /// They are what was kept.
    Kept,
    /// They are a frame by itself; with it so many answers are there in all.
    Alone { answered: usize },
}

/// An answer as it was given: the call, the item, the value.
type Given = (u64, u32, Vec<u8>);

/// A worker that keeps answers by the order of the specification, and every step that it takes.
struct Sharing {
    steps: Vec<Step>,
    answers: Vec<Given>,
    frames: Vec<u8>,
    last: usize,
    open: bool,
    written: u64,
    id: u64,
    item: u32,
}

impl Sharing {
    /// A worker that says hello and then does all this.
    fn after(acts: &[Act]) -> Self {
        let (steps, answers, frames) = (Vec::new(), Vec::new(), Vec::new());
        let mut worker =
            Self { steps, answers, frames, last: 0, open: false, written: 0, id: 1, item: 0 };
        worker.write_alone(&FromWorker::Ready {}, &[]);
        for act in acts {
            match act {
                Act::Keep(value) => worker.keep(value),
                Act::NextCall => (worker.id, worker.item, worker.open) = (worker.id + 1, 0, false),
                Act::Flush => worker.flush(),
                Act::Alone(value) => {
                    worker.flush();
                    let (id, item) = (worker.id, worker.item);
                    worker.answers.push((id, item, value.clone()));
                    worker.item += 1;
                    worker.write_alone(&FromWorker::Result { id, item }, value);
                }
            }
        }
        worker
    }

    fn keep(&mut self, value: &[u8]) {
        let (id, item) = (self.id, self.item);
        if !self.open {
            self.close();
            let (last, mut head) = (self.frames.len(), Vec::new());
            // Its length is not known before it is closed.
            envelope::append_frame(&mut head, &FromWorker::Results { id, item }, &[]).unwrap();
            self.store(last, &head);
            self.set(LAST, last as u64);
            (self.last, self.open) = (last, true);
        }
        self.store(self.frames.len(), value);
        self.answers.push((id, item, value.to_vec()));
        self.item += 1;
        self.set(HELD, self.frames.len() as u64);
    }

    fn close(&mut self) {
        if !self.frames.is_empty() {
            let length = u32::try_from(self.frames.len() - self.last - LENGTH_BYTES).unwrap();
            self.store(self.last, &length.to_be_bytes());
        }
        self.open = false;
    }

    fn flush(&mut self) {
        self.close();
        if self.frames.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.frames);
        self.written += frames.len() as u64;
        self.last = 0;
        self.steps.push(Step::Write(frames, Written::Kept));
        self.empty();
    }

    fn write_alone(&mut self, message: &FromWorker, payload: &[u8]) {
        let mut frame = Vec::new();
        envelope::append_frame(&mut frame, message, payload).unwrap();
        self.written += frame.len() as u64;
        let answered = self.answers.len();
        self.steps.push(Step::Write(frame, Written::Alone { answered }));
        self.empty();
    }

    fn empty(&mut self) {
        self.set(HELD, 0);
        self.set(BASE, self.written);
        self.set(LAST, 0);
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.frames.resize(self.frames.len().max(offset + bytes.len()), 0);
        self.frames[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.steps.push(Step::Store(offset, bytes.to_vec()));
    }

    fn set(&mut self, number: usize, value: u64) {
        self.steps.push(Step::Set(number, value, self.answers.len()));
    }
}

/// The file, the stream, and how many answers are there once these steps were taken, and a part
/// of the last one.
fn play(
    steps: &[Step],
    last: Option<&Step>,
    within: prop::sample::Index,
) -> (Vec<u8>, Vec<u8>, usize) {
    let mut memory = vec![0; DATA];
    let (mut stream, mut answered) = (Vec::new(), 0);
    let store = |memory: &mut Vec<u8>, offset: usize, bytes: &[u8]| {
        let start = DATA + offset;
        memory.resize(memory.len().max(start + bytes.len()), 0);
        memory[start..start + bytes.len()].copy_from_slice(bytes);
    };
    for step in steps {
        match step {
            Step::Store(offset, bytes) => store(&mut memory, *offset, bytes),
            Step::Set(number, value, all) => {
                memory[*number..*number + 8].copy_from_slice(&value.to_le_bytes());
                answered = *all;
            }
            Step::Write(bytes, written) => {
                stream.extend(bytes);
                if let Written::Alone { answered: all } = written {
                    answered = *all;
                }
            }
        }
    }
    match last {
        Some(Step::Store(offset, bytes)) => {
            store(&mut memory, *offset, &bytes[..within.index(bytes.len())]);
        }
        Some(Step::Write(bytes, _)) => stream.extend(&bytes[..within.index(bytes.len())]),
        Some(Step::Set(..)) | None => {}
    }
    (memory, stream, answered)
}

/// The bodies in a stream and behind it in a shared output, and how many bytes are left of one
/// that is not complete.
fn read_both(memory: &[u8], stream: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let header = Header::read(memory.first_chunk().unwrap());
    let held = usize::try_from(header.held).unwrap();
    let mut data = memory[DATA..DATA + held].to_vec();
    let mut decoder = Decoder::new();
    decoder.push(stream);
    decoder.push(header.unsent(&mut data, stream.len() as u64));
    let mut bodies = Vec::new();
    while let Some(body) = decoder.next_frame().unwrap() {
        bodies.push(body.to_vec());
    }
    (bodies, decoder.buffered())
}

fn answers_in(bodies: &[Vec<u8>]) -> Result<Vec<Given>, TestCaseError> {
    let mut answers = Vec::new();
    for body in bodies {
        let (message, payload) = envelope::open::<FromWorker>(body).unwrap();
        envelope::check_worker_payload(&message, payload).unwrap();
        let (id, mut item) = match message {
            FromWorker::Ready {} => continue,
            FromWorker::Result { id, item } | FromWorker::Results { id, item } => (id, item),
            other => panic!("it never said {other:?}"),
        };
        let mut start = 0;
        envelope::values(payload, |end| {
            answers.push((id, item, payload[start..end].to_vec()));
            (start, item) = (end, item + 1);
        })
        .unwrap();
    }
    Ok(answers)
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
        Just(&b"\x81\xa7results\x82\xa2id\x07\xa4item\x00"[..]),
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
        (integer(), any::<u32>()).prop_map(|(id, item)| FromWorker::Result { id, item }),
        (integer(), any::<u32>()).prop_map(|(id, item)| FromWorker::Results { id, item }),
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
    let place = (text(), any::<u64>()).prop_map(|(path, key)| SharedOutput { path, key });
    let (features, initializer) = (vec(text(), 0..3), option::of(text()));
    let (version, slot) = (any::<u32>(), any::<u32>());
    let welcome = (version, features, slot, text(), initializer, any::<bool>(), option::of(place))
        .prop_map(|(version, features, slot, pool, initializer, keywords, shared_output)| {
            FromMaster::Welcome(Welcome {
                version,
                features,
                slot,
                pool,
                initializer,
                keywords,
                shared_output,
            })
        });
    prop_oneof![
        welcome,
        text().prop_map(|reason| FromMaster::Reject { reason }),
        any_call().prop_map(FromMaster::Call),
        (any::<u64>(), any::<u32>()).prop_map(|(id, item)| FromMaster::Cancel { id, item }),
        Just(FromMaster::Drain {}),
    ]
}

fn any_call() -> impl Strategy<Value = Call<'static>> {
    let items = prop_oneof![Just(1), integer().prop_map(|number| number as u32)];
    (integer(), text(), items, any::<bool>(), any::<bool>()).prop_map(
        |(id, function, items, keywords, last)| {
            let function = Cow::Owned(function);
            Call { id, function, items, keywords, last }
        },
    )
}

/// Integers of all widths.
fn integer() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

/// Numbers that lie close to one another, now and then the largest ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..60_u64, 1 => (0..3_u64).prop_map(|below| u64::MAX - below)]
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
