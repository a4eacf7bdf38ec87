//! A first look at a recording: which workers there are, and what they answered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{Read, Seek, SeekFrom},
};

use protocol::{
    envelope,
    message::{FromMaster, FromWorker},
};

use super::{ReplayError, ReplaySummary, answer::Said};
use crate::{
    recording::{Direction, Reader, Record},
    report::{Exit, count},
};

/// What is known of a recorded worker.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    pub(super) number: u64,
    pub(super) slot: u32,
    /// Where in the recording its first frame begins, and where its last one.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The functions that it announced.
    pub(super) functions: Vec<String>,
    /// Those that it was called with.
    pub(super) called: BTreeSet<String>,
    /// It was accepted.
    pub(super) is_welcome: bool,
    /// So many items it answered as it should.
    pub(super) answers: u64,
    /// So many items it was sent.
    items: u64,
    /// The items that it has not answered, by calls: the id, the next item, and how many there are.
    open: VecDeque<(u64, u32, u32)>,
    /// It broke the protocol: what it says from there on is not to be trusted.
    pub(super) broke: bool,
    pub(super) exit: Option<Exit>,
}

impl Surveyed {
    fn note(&mut self, direction: Direction, body: &[u8], offset: u64) {
        if self.first == 0 {
            self.first = offset;
        }
        self.last = offset;
        match direction {
            Direction::ToWorker => match envelope::open::<FromMaster<'_>>(body) {
                Ok((FromMaster::Welcome(_), _)) => self.is_welcome = true,
                Ok((FromMaster::Call(call), _)) => {
                    self.open.push_back((call.id, 0, call.items));
                    self.items += u64::from(call.items);
                    if !self.called.contains(call.function.as_ref()) {
                        self.called.insert(call.function.into());
                    }
                }
                _ => {}
            },
            Direction::FromWorker if self.broke => {}
            Direction::FromWorker => match Said::read(body) {
                Ok(Said::Answer { id, item, .. }) => self.note_answer(id, item),
                Ok(Said::Other("hello")) => self.note_hello(body),
                Ok(Said::Ready | Said::Unfit(_) | Said::Progress) => {}
                Ok(Said::Other(_)) | Err(_) => self.broke = true,
            },
        }
    }

    fn note_hello(&mut self, body: &[u8]) {
        if let Ok((FromWorker::Hello(hello), _)) = envelope::open::<FromWorker>(body) {
            self.functions = hello.functions.into_iter().map(|function| function.name).collect();
        }
    }

    fn note_answer(&mut self, id: u64, item: u32) {
        match self.open.front_mut() {
            Some((due, next, items)) if *due == id && *next == item => {
                *next += 1;
                if next == items {
                    self.open.pop_front();
                }
                self.answers += 1;
            }
            _ => self.broke = true,
        }
    }
}

/// All workers of a recording.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) workers: BTreeMap<u64, Surveyed>,
    /// How it ends, if not as it should.
    cut: Option<String>,
}

impl Survey {
    /// Reads the recording from its start.
    pub(super) fn of(mut recording: impl Read + Seek) -> Result<Self, ReplayError> {
        recording.seek(SeekFrom::Start(0))?;
        let mut reader = Reader::new(recording)?;
        let mut survey = Self::default();
        loop {
            let offset = reader.next_offset();
            let entry = match reader.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(damage) if damage.cut_short => {
                    survey.cut = Some(damage.to_string());
                    return Ok(survey);
                }
                Err(damage) => return Err(damage.into()),
            };
            match entry.record {
                Record::Started { worker, slot, .. } => survey.worker(worker).slot = slot,
                Record::Frame { worker, direction, body } => {
                    survey.worker(worker).note(direction, body, offset);
                }
                Record::Ended { worker, exit } => survey.worker(worker).exit = exit,
                _ => {}
            }
        }
        if !reader.is_complete() {
            survey.cut = Some("it has no end".into());
        }
        Ok(survey)
    }

    fn worker(&mut self, number: u64) -> &mut Surveyed {
        let fresh = || Surveyed { number, ..Surveyed::default() };
        self.workers.entry(number).or_insert_with(fresh)
    }

    /// Notes what will be left out.
    pub(super) fn tell(&self, summary: &mut ReplaySummary) {
        if let Some(cut) = &self.cut {
            summary.note(format!("the recording is played as far as it goes: {cut}"));
        }
        let unwelcome = self.workers.values().filter(|worker| !worker.is_welcome).count() as u64;
        if unwelcome > 0 {
            let workers = count(unwelcome, "recorded worker");
            summary.note(format!("left out: {workers} that never came to be used"));
        }
        let unanswered = self.workers.values().map(|worker| worker.items - worker.answers);
        let unanswered: u64 = unanswered.sum();
        if unanswered > 0 {
            let items = count(unanswered, "item");
            summary.note(format!("left out: {items} without an answer in the recording"));
        }
        for worker in self.workers.values().filter(|worker| worker.broke) {
            let number = worker.number;
            summary.note(format!(
                "left out: what the recorded worker {number} said after it broke the protocol"
            ));
        }
    }
}
