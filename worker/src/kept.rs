//! Answers in the shared output: there as soon as they are complete, and written later.

use std::{io, time::Duration};

use protocol::{
    envelope,
    limits::{LENGTH_BYTES, MAX_PATIENCE},
    message::{FromWorker, SharedOutput},
    shared_output::{BASE, HELD, LAST, PATIENCE},
};

use crate::mapping::Mapping;

/// The answers that are kept.
///
/// Whenever this process ends, between any two steps, the numbers in the header tell the master
/// exactly which answers are complete: an answer counts with the one store to `HELD`.
pub(crate) struct Kept {
    memory: Mapping,
    held: usize,
    /// Where the last frame begins.
    last: usize,
    /// What the next value in the last frame would be of, if more may follow.
    open: Option<(u64, u32)>,
    /// Reused for the start of every frame.
    head: Vec<u8>,
}

impl Kept {
    /// `written` tells how many bytes were written to the socket so far.
    pub(crate) fn open(place: &SharedOutput, written: u64) -> io::Result<Self> {
        let memory = Mapping::open(place)?;
        let mut kept = Self { memory, held: 0, last: 0, open: None, head: Vec::new() };
        kept.empty(written);
        Ok(kept)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How long the master says it pays to look for input.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_nanos(self.memory.get(PATIENCE)).min(MAX_PATIENCE)
    }

    /// Keeps the value of an item; `false` if there is no room.
    pub(crate) fn append(&mut self, id: u64, item: u32, value: &[u8]) -> bool {
        if self.open == Some((id, item)) {
            if self.memory.room() - self.held < value.len() {
                return false;
            }
        } else {
            self.head.clear();
            let begun = FromWorker::Results { id, item };
            // Its length follows when it is closed.
            let made = envelope::append_head(&mut self.head, &begun, 0);
            if made.is_err() || self.memory.room() - self.held < self.head.len() + value.len() {
                return false;
            }
            self.finish_frame();
            self.last = self.held;
            self.memory.put(self.held, &self.head);
            // Nothing of it counts yet, as it begins where everything ends.
            self.memory.set(LAST, self.last as u64);
            self.held += self.head.len();
        }
        self.memory.put(self.held, value);
        self.held += value.len();
        self.memory.set(HELD, self.held as u64);
        self.open = item.checked_add(1).map(|next| (id, next));
        true
    }

    /// Completes the last frame, and gives all of them.
    pub(crate) fn close(&mut self) -> &[u8] {
        self.finish_frame();
        self.memory.frames(self.held)
    }

    /// Everything was written, and as much as `written` since the connection began.
    pub(crate) fn empty(&mut self, written: u64) {
        (self.held, self.last, self.open) = (0, 0, None);
        self.memory.set(HELD, 0);
        self.memory.set(BASE, written);
        self.memory.set(LAST, 0);
    }

    fn finish_frame(&mut self) {
        if let Some(body) = (self.held - self.last).checked_sub(LENGTH_BYTES)
            && let Ok(length) = u32::try_from(body)
        {
            self.memory.put(self.last, &length.to_be_bytes());
        }
        self.open = None;
    }
}
