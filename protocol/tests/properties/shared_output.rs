//! A shared output, whenever its worker dies and whenever its master looks.

use proptest::{collection::vec, prelude::*};
use protocol::{
    envelope,
    frame::Decoder,
    limits::LENGTH_BYTES,
    message::FromWorker,
    shared_output::{BASE, DATA, HELD, Header, LAST},
};

use crate::strategies::encoded_value;

proptest! {
    #![proptest_config(crate::config())]

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
        worker.write_alone(&FromWorker::Ready { shared_arguments: false }, &[]);
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
            FromWorker::Ready { shared_arguments: false } => continue,
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

/// Numbers that lie close to one another, now and then the largest ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..60_u64, 1 => (0..3_u64).prop_map(|below| u64::MAX - below)]
}
