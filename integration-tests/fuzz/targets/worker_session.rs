//! The session of a worker under a master that says whatever it likes.
//!
//! Beside it runs a model that knows the rules and nothing of how they are kept: which answers
//! there have to be, in which order, and where the session ends.

#![no_main]

use arbitrary::Arbitrary;
use fuzz::wire::{Damage, Item, Value};
use libfuzzer_sys::fuzz_target;
use protocol::{
    envelope,
    frame::Decoder,
    launch::{EXIT_CALL_FAILED, EXIT_NORMAL, EXIT_PROTOCOL},
    limits::{LENGTH_BYTES, MAX_FRAME, PROTOCOL_VERSION},
    message::{Call, FromMaster, FromWorker, Welcome, feature, kind::UNKNOWN_FUNCTION},
    value,
};
use worker::{Error, Worker, fuzzing};

/// The functions there are, and one that is none.
const NAMES: [&str; 6] = ["echo", "add", "fail", "raw", "ask", "nothing"];

/// Items of one call that are made up at most; more show nothing new.
const MANY_ITEMS: usize = 16;

#[derive(Debug, Arbitrary)]
struct Body {
    said: Said,
    damage: Option<Damage>,
}

#[derive(Debug, Arbitrary)]
enum Said {
    Welcome(Terms),
    Reject(String),
    Call { id: u64, function: u8, items: Vec<Item>, surplus: i8, keywords: bool, last: bool },
    Cancel { id: u64, item: u8 },
    Drain,
    Raw { envelope: Value, payload: Value },
}

#[derive(Debug, Arbitrary)]
struct Terms {
    other_version: Option<u32>,
    progress: bool,
    cancel: bool,
    other_feature: Option<String>,
    slot: u32,
    pool: String,
    initializer: Option<(u8, Item)>,
    keywords: bool,
}

fuzz_target!(|bodies: Vec<Body>| {
    // Without a welcome everything ends at once, so it is there unless it was damaged.
    let welcome = Welcome { version: PROTOCOL_VERSION, ..Welcome::default() };
    let welcome = body_of(&FromMaster::Welcome(welcome), &[]);
    let bodies: Vec<Vec<u8>> = match bodies.first() {
        Some(Body { said: Said::Welcome(_) | Said::Reject(_), .. }) => Vec::new(),
        _ => vec![welcome],
    }
    .into_iter()
    .chain(bodies.iter().map(Body::encode))
    .collect();
    check(&bodies);
});

fn check(bodies: &[Vec<u8>]) {
    let record = fuzzing::session(&worker(), bodies.iter().map(Vec::as_slice));
    let answers = answers(&record.written);
    let mut expected = Expected::default();
    while expected.exit.is_none() && expected.handled < bodies.len() {
        expected.take(&bodies[expected.handled], &answers);
    }
    assert_eq!(answers.len(), expected.answers.len(), "{answers:?} for {:?}", expected.answers);
    for (answer, expected) in answers.iter().zip(&expected.answers) {
        assert!(expected.allows(answer), "{answer:?} for {expected:?}");
    }
    assert_eq!(record.handled, expected.handled);
    assert_eq!(record.exit.is_some(), expected.exit.is_some());
    let statuses = expected.exit.unwrap_or_default();
    assert!(record.exit.is_none_or(|status| statuses.contains(&status)), "{record:?}");
}

/// What was written, as a master reads it: a hello, and then what this gives.
fn answers(written: &[u8]) -> Vec<FromWorker> {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder.push(written);
    let mut answers = Vec::new();
    while let Some(body) = decoder.next_frame().unwrap() {
        let (message, payload) = envelope::open::<FromWorker>(body).unwrap();
        envelope::check_worker_payload(&message, payload).unwrap();
        if let FromWorker::Result { .. } = message {
            assert_eq!(value::skip(payload), Ok(payload.len()), "a result is one value");
        }
        // How far an item is may be told at any time.
        if !matches!(message, FromWorker::Progress { .. }) {
            answers.push(message);
        }
    }
    assert_eq!(decoder.finish(), Ok(()), "all frames are whole");
    assert!(matches!(answers.remove(0), FromWorker::Hello(_)));
    answers
}

/// What has to be answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// That it is ready, or that its initializer failed.
    Readiness { initializer: Option<String> },
    /// The outcome of an item.
    Outcome { id: u64, item: u32, function: String },
}

impl Answer {
    fn allows(&self, answer: &FromWorker) -> bool {
        match (self, answer) {
            (Self::Readiness { initializer }, FromWorker::Ready { shared_arguments: false }) => {
                initializer.as_deref().is_none_or(may_succeed)
            }
            (Self::Readiness { initializer }, FromWorker::InitializerFailed(_)) => {
                initializer.is_some()
            }
            (Self::Outcome { id, item, function }, FromWorker::Result { id: of, item: number }) => {
                (id, item) == (of, number) && may_succeed(function)
            }
            (
                Self::Outcome { id, item, function },
                FromWorker::Error { id: of, item: number, failure },
            ) => {
                let unknown = !NAMES[..5].contains(&function.as_str());
                (id, item) == (of, number) && (failure.kind == UNKNOWN_FUNCTION) == unknown
            }
            _ => false,
        }
    }
}

fn may_succeed(function: &str) -> bool {
    ["echo", "add", "raw", "ask"].contains(&function)
}

/// Where a session has come to by the rules.
#[derive(Debug, Default)]
struct Expected {
    welcomed: bool,
    /// It was agreed that items may be cancelled.
    cancel: bool,
    answers: Vec<Answer>,
    handled: usize,
    /// The statuses one of which it has to end with, once it has to.
    exit: Option<&'static [u8]>,
}

impl Expected {
    /// Whether an initializer failed is for the worker to say, so it is looked up in the answers.
    fn take(&mut self, body: &[u8], answers: &[FromWorker]) {
        const BREACH: Option<&[u8]> = Some(&[EXIT_PROTOCOL]);
        self.handled += 1;
        let Ok((message, payload)) = envelope::open::<FromMaster<'_>>(body) else {
            self.exit = BREACH;
            return;
        };
        if envelope::check_master_payload(&message, payload).is_err() {
            self.exit = BREACH;
            return;
        }
        match message {
            FromMaster::Welcome(welcome) if !self.welcomed => {
                let known = [feature::PROGRESS, feature::CANCEL];
                let offered = |name: &String| known.contains(&name.as_str());
                if welcome.version != PROTOCOL_VERSION || !welcome.features.iter().all(offered) {
                    self.exit = BREACH;
                    return;
                }
                self.welcomed = true;
                self.cancel = welcome.features.iter().any(|name| name == feature::CANCEL);
                if let Some(FromWorker::InitializerFailed(_)) = answers.get(self.answers.len()) {
                    self.exit = Some(&[EXIT_CALL_FAILED]);
                }
                self.answers.push(Answer::Readiness { initializer: welcome.initializer });
            }
            FromMaster::Call(call) if self.welcomed => {
                let outcome = |item| {
                    let function = call.function.clone().into_owned();
                    Answer::Outcome { id: call.id, item, function }
                };
                self.answers.extend((0..call.items).map(outcome));
                if call.last {
                    self.exit = Some(&[EXIT_NORMAL, EXIT_CALL_FAILED]);
                }
            }
            // What it is about has been answered, or is asked for by a function that may end early.
            FromMaster::Cancel { .. } if self.cancel => {}
            FromMaster::Drain {} if self.welcomed => self.exit = Some(&[EXIT_NORMAL]),
            _ => self.exit = BREACH,
        }
    }
}

impl Body {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.said.encode();
        if let Some(damage) = &self.damage {
            damage.strike(&mut body);
        }
        body
    }
}

impl Said {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        match self {
            Self::Welcome(terms) => terms.encode(),
            Self::Reject(reason) => {
                body_of(&FromMaster::Reject { reason: reason.clone() }, &payload)
            }
            Self::Cancel { id, item } => {
                body_of(&FromMaster::Cancel { id: *id, item: (*item).into() }, &payload)
            }
            Self::Drain => body_of(&FromMaster::Drain {}, &payload),
            Self::Call { id, function, items, surplus, keywords, last } => {
                let items = &items[..items.len().min(MANY_ITEMS)];
                items.iter().for_each(|item| item.write(&mut payload, *keywords));
                // Seldom wrong, so that most calls come to be run.
                let surplus = if *surplus > 100 { 1 } else { 0 };
                let call = Call {
                    id: *id,
                    function: name(*function).into(),
                    items: u32::try_from(items.len()).unwrap() + surplus,
                    keywords: *keywords,
                    last: *last,
                    shared: None,
                };
                body_of(&FromMaster::Call(call), &payload)
            }
            Self::Raw { envelope, payload: value } => {
                envelope.write(&mut payload);
                value.write(&mut payload);
                payload
            }
        }
    }
}

impl Terms {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        if let Some((_, item)) = &self.initializer {
            item.write(&mut payload, self.keywords);
        }
        let welcome = Welcome {
            version: self.other_version.unwrap_or(PROTOCOL_VERSION),
            features: [(self.progress, feature::PROGRESS), (self.cancel, feature::CANCEL)]
                .into_iter()
                .filter(|(chosen, _)| *chosen)
                .map(|(_, name)| name.to_owned())
                .chain(self.other_feature.clone())
                .collect(),
            slot: self.slot,
            pool: self.pool.clone(),
            initializer: self.initializer.as_ref().map(|(name, _)| self::name(*name).to_owned()),
            keywords: self.keywords,
            ..Welcome::default()
        };
        body_of(&FromMaster::Welcome(welcome), &payload)
    }
}

fn name(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

fn body_of(message: &FromMaster<'_>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    envelope::append_frame(&mut frame, message, payload).unwrap();
    frame.split_off(LENGTH_BYTES)
}

/// A function for each way to take arguments and to give results. None panics: to catch it is
/// tested elsewhere, and a fuzzer takes any panic for a finding.
fn worker() -> Worker {
    Worker::new("fuzz", "0")
        .raw_function("echo(value)", "The value as it came", |arguments, result| {
            result.extend(arguments.bind()?.encoded(0).unwrap_or_default());
            Ok(())
        })
        .function("add(a, b?)", "The sum", |a: i64, b: Option<i64>| {
            let sum = a.checked_add(b.unwrap_or(0));
            sum.ok_or_else(|| Error::new("Overflow", "it does not fit"))
        })
        .function("fail(message, kind?)", "Fails", |message: String, kind: Option<String>| {
            Err::<(), _>(Error::new(kind.unwrap_or_default(), message))
        })
        .raw_function(
            "raw(...)",
            "The arguments as a result, whatever they are",
            |arguments, result| {
                let bound = arguments.bind()?;
                (0..3)
                    .filter_map(|number| bound.encoded(number))
                    .for_each(|value| result.extend(value));
                Ok(())
            },
        )
        .raw_function("ask(...)", "Whether it was cancelled", |_, result| {
            worker::progress("asking");
            if worker::is_cancelled() {
                return Err(Error::cancelled());
            }
            result.push(0xc3);
            Ok(())
        })
        .cancellable("ask")
        .reports_progress("ask")
}
