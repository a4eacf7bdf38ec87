//! The sessions of a pool's workers, which say whatever they like, and the machine behind them.
//!
//! What has to hold is checked where the pool is run: each item has one outcome, and only an
//! answer to it can be one.

#![no_main]

use arbitrary::Arbitrary;
use fuzz::wire::{Damage, Value};
use libfuzzer_sys::fuzz_target;
use master::fuzzing::{self, Step};
use protocol::{
    envelope,
    limits::{LENGTH_BYTES, PROTOCOL_VERSION},
    message::{Failure, FromWorker, Hello},
};

/// Steps of one run at the most; more show nothing new.
const MANY_STEPS: usize = 200;

#[derive(Debug, Arbitrary)]
struct Run {
    processes: u8,
    retries: u8,
    happenings: Vec<Happening>,
}

#[derive(Debug, Arbitrary)]
enum Happening {
    Says {
        worker: u8,
        said: Said,
        damage: Option<Damage>,
    },
    /// A worker does all that it takes to be ready.
    GetsReady {
        worker: u8,
    },
    Exits {
        worker: u8,
        unread: bool,
    },
    Passes(u16),
    Submitted {
        items: u8,
        chunk_size: u8,
    },
    Cancelled(u8),
    Measured {
        worker: u8,
        memory: u32,
    },
    Resized(u8),
    Replaced,
}

#[derive(Debug, Arbitrary)]
enum Said {
    Hello,
    Ready,
    InitializerFailed(Option<Vec<u8>>),
    // Calls are numbered from 0, so small ids hit.
    Result { id: u8, item: u8, value: Value },
    WideResult { id: u64, item: u32 },
    Error { id: u8, item: u8, opaque: Option<Vec<u8>> },
    Progress { id: u8, item: u8, note: String },
    Raw { envelope: Value, payload: Value },
}

impl Said {
    fn body(&self) -> Vec<u8> {
        let failure = || Failure { kind: "Fuzz".into(), ..Failure::default() };
        let opaque = |bytes: &Option<Vec<u8>>| {
            let mut payload = Vec::new();
            if let Some(bytes) = bytes {
                Value::Binary(bytes.clone()).write(&mut payload);
            }
            payload
        };
        match self {
            Self::Hello => {
                let (oldest, newest) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
                let hello = Hello { oldest, newest, ..Hello::default() };
                body_of(&FromWorker::Hello(hello), &[])
            }
            Self::Ready => body_of(&FromWorker::Ready { shared_arguments: false }, &[]),
            Self::InitializerFailed(bytes) => {
                body_of(&FromWorker::InitializerFailed(failure()), &opaque(bytes))
            }
            Self::Result { id, item, value } => {
                let mut payload = Vec::new();
                value.write(&mut payload);
                body_of(&FromWorker::Result { id: (*id).into(), item: (*item).into() }, &payload)
            }
            Self::WideResult { id, item } => {
                body_of(&FromWorker::Result { id: *id, item: *item }, &[0xc0])
            }
            Self::Error { id, item, opaque: bytes } => {
                let (id, item) = ((*id).into(), (*item).into());
                body_of(&FromWorker::Error { id, item, failure: failure() }, &opaque(bytes))
            }
            Self::Progress { id, item, note } => {
                let (id, item, note) = ((*id).into(), (*item).into(), note.clone());
                body_of(&FromWorker::Progress { id, item, note }, &[])
            }
            Self::Raw { envelope, payload } => {
                let mut body = Vec::new();
                envelope.write(&mut body);
                payload.write(&mut body);
                body
            }
        }
    }
}

fn body_of(message: &FromWorker, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    envelope::append_frame(&mut frame, message, payload).expect("it is small");
    frame.split_off(LENGTH_BYTES)
}

fn steps(happening: Happening) -> Vec<Step> {
    let says = |worker: u8, body| Step::Says { worker: worker.into(), body };
    match happening {
        Happening::Says { worker, said, damage } => {
            let mut body = said.body();
            if let Some(damage) = damage {
                damage.strike(&mut body);
            }
            vec![says(worker, body)]
        }
        Happening::GetsReady { worker } => {
            vec![says(worker, Said::Hello.body()), says(worker, Said::Ready.body())]
        }
        Happening::Exits { worker, unread } => vec![Step::Exits { worker: worker.into(), unread }],
        Happening::Passes(time) => vec![Step::Pass(u32::from(time) * 10)],
        Happening::Submitted { items, chunk_size } => vec![Step::Submit { items, chunk_size }],
        Happening::Cancelled(batch) => vec![Step::Cancel(batch)],
        Happening::Measured { worker, memory } => {
            vec![Step::Measured { worker: worker.into(), memory: u64::from(memory) }]
        }
        Happening::Resized(slots) => vec![Step::Resize(slots)],
        Happening::Replaced => vec![Step::Replace],
    }
}

fuzz_target!(|run: Run| {
    let Run { processes, retries, happenings } = run;
    let steps = happenings.into_iter().take(MANY_STEPS).flat_map(steps);
    fuzzing::run(processes.into(), u32::from(retries % 4), steps);
});
