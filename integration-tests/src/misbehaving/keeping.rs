//! A shared output, written by hand: one frame for each answer, and numbers that may be wrong.

use std::{error::Error, fs::File, io, os::unix::fs::FileExt as _};

use protocol::{
    message,
    shared_output::{BASE, DATA, HELD, LAST},
};

/// The file in which answers are kept until they are written.
pub(super) struct Kept {
    file: File,
    /// Where the room for large results begins.
    results: Option<u64>,
    /// The frames that are held.
    frames: Vec<u8>,
}

impl Kept {
    pub(super) fn open(
        place: &message::SharedOutput,
        written: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let file = File::options().read(true).write(true).open(&place.path)?;
        let mut kept = Self { file, results: place.results, frames: Vec::new() };
        kept.empty(written)?;
        Ok(kept)
    }

    /// Holds one more frame.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let last = self.frames.len();
        self.file.write_all_at(frame, (DATA + last) as u64)?;
        self.frames.extend_from_slice(frame);
        self.set(LAST, last as u64)?;
        self.set(HELD, self.frames.len() as u64)
    }

    /// What is held.
    pub(super) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// Everything was written.
    pub(super) fn empty(&mut self, written: u64) -> io::Result<()> {
        self.frames.clear();
        self.set(HELD, 0)?;
        self.set(BASE, written)?;
        self.set(LAST, 0)
    }

    /// Sets one of the numbers, to whatever that may be.
    pub(super) fn set(&self, offset: usize, number: u64) -> io::Result<()> {
        self.file.write_all_at(&number.to_le_bytes(), offset as u64)
    }

    /// Puts a value into the room for large results, and gives the place.
    pub(super) fn put(&self, value: &[u8]) -> Result<u64, Box<dyn Error>> {
        let offset = self.results.ok_or("there is no room for large results")?;
        self.file.write_all_at(value, offset)?;
        Ok(offset)
    }

    /// Changes the size of the file, if that is possible.
    pub(super) fn resize(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }
}
