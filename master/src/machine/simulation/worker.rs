//! One simulated worker process. It keeps to the protocol until it does not.

use std::{collections::VecDeque, time::Duration};

use super::{
    super::*,
    Load,
    random::Random,
    scenario::{Faults, Workers},
};

/// What a worker does before it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    Ready,
    Unfit,
    Dies,
    Misbehaves,
    /// Nothing more is ever heard of it.
    Silent,
}

/// How an item ends at its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    AnsweredThenLeaves,
    AnsweredTwice,
    AnsweredWithUnknownCall,
    AnsweredWithOldCall,
    AnsweredOutOfOrder,
    Garbage,
    Crashes,
    /// It closes its connection, and lives on.
    Disconnects,
    Hangs,
}

/// An item in a worker's hands.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) call: CallId,
    /// Its place in the call.
    pub(super) index: u32,
    pub(super) batch: usize,
    pub(super) item: u64,
    /// Nothing follows it.
    pub(super) last: bool,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) repertoire: Repertoire,
    pub(super) faults: Faults,
    pub(super) alive: bool,
    /// The master still listens to it.
    pub(super) heard: bool,
    /// It still has its own end of the connection.
    pub(super) connected: bool,
    /// It broke the protocol; what it does now follows no rule.
    pub(super) broke_protocol: bool,
    pub(super) ignores_terminate: bool,
    pub(super) ignores_drain: bool,
    pub(super) heeds_cancel: bool,
    /// It was told to end an item behind so many calls, and reads that before what follows.
    cancel_behind: Option<u64>,
    /// It reads what comes at once, rather than a call at a time.
    reads_ahead: bool,
    /// What it was sent has all been said by then.
    pub(super) quiet_from: Time,
    /// When the last thing that it was sent arrives.
    pub(super) arrived_from: Time,
    sent: u64,
    read: u64,
    arrived: VecDeque<(CallId, Chunk<Load>, bool)>,
    to_do: VecDeque<Item>,
    pub(super) in_hand: Option<(Item, Fate)>,
    /// It keeps results for a moment.
    pub(super) keeps: bool,
    pub(super) kept: Vec<(CallId, u32)>,
}

impl Process {
    pub(super) fn random(random: &mut Random, workers: &Workers, faults: &Faults) -> Self {
        let mut repertoire = workers.repertoire.clone();
        let functions = &mut repertoire.functions;
        if workers.change {
            let mut sorted: Vec<_> = functions.iter().copied().collect();
            sorted.sort();
            if !sorted.is_empty() {
                functions.remove(random.pick(&sorted));
            }
        }
        Self {
            repertoire,
            faults: faults.clone(),
            alive: true,
            heard: true,
            connected: true,
            broke_protocol: false,
            ignores_terminate: random.chance(faults.ignores_terminate),
            ignores_drain: random.chance(faults.ignores_drain),
            heeds_cancel: random.chance(500),
            cancel_behind: None,
            reads_ahead: random.chance(500),
            quiet_from: Duration::ZERO,
            arrived_from: Duration::ZERO,
            sent: 0,
            read: 0,
            arrived: VecDeque::new(),
            to_do: VecDeque::new(),
            in_hand: None,
            keeps: random.chance(500),
            kept: Vec::new(),
        }
    }

    pub(super) const fn count_sent(&mut self) {
        self.sent += 1;
    }

    /// It has been told to end an item, and does not look at that yet.
    pub(super) const fn leave_cancel_unread(&mut self) {
        self.cancel_behind = Some(self.sent);
    }

    /// Whether something that it was sent is unread.
    pub(super) fn has_unread(&self) -> bool {
        self.read < self.sent || self.cancel_behind.is_some_and(|calls| self.read <= calls)
    }

    pub(super) fn arrive(&mut self, call: CallId, chunk: Chunk<Load>, last: bool) {
        self.arrived.push_back((call, chunk, last));
        if self.reads_ahead {
            self.read_call();
        }
    }

    /// The next item to begin, if it can begin one.
    pub(super) fn take_next(&mut self) -> Option<Item> {
        if !self.alive || !self.connected || self.in_hand.is_some() {
            return None;
        }
        if self.to_do.is_empty() {
            self.read_call();
        }
        self.to_do.pop_front()
    }

    fn read_call(&mut self) {
        let Some((call, chunk, last)) = self.arrived.pop_front() else { return };
        self.read += 1;
        let items = chunk.items.clone().zip(0..).map(|(item, index)| Item {
            call,
            index,
            batch: chunk.batch.id,
            item,
            last: last && item + 1 == chunk.items.end,
        });
        self.to_do.extend(items);
    }
}

impl Beginning {
    pub(super) fn random(random: &mut Random, faults: &Faults) -> Self {
        let cases = [
            (faults.silent, Self::Silent),
            (faults.dies_early, Self::Dies),
            (faults.misbehaves_early, Self::Misbehaves),
        ];
        first_that_happens(random, &cases).unwrap_or(Self::Ready)
    }
}

impl Fate {
    pub(super) fn random(random: &mut Random, faults: &Faults) -> Self {
        let breaches = [
            Self::AnsweredTwice,
            Self::AnsweredWithUnknownCall,
            Self::AnsweredWithOldCall,
            Self::AnsweredOutOfOrder,
            Self::Garbage,
        ];
        let breach = *random.pick(&breaches);
        let cases = [
            (faults.crash, Self::Crashes),
            (faults.disconnect, Self::Disconnects),
            (faults.hang, Self::Hangs),
            (faults.leave_after_answer, Self::AnsweredThenLeaves),
            (faults.misbehave, breach),
        ];
        first_that_happens(random, &cases).unwrap_or(Self::Answered)
    }
}

fn first_that_happens<T: Copy>(random: &mut Random, cases: &[(u64, T)]) -> Option<T> {
    cases.iter().find(|&&(per_mille, _)| random.chance(per_mille)).map(|&(_, case)| case)
}
