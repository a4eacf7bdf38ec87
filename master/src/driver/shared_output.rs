//! The shared outputs of workers, from the side of the master: a file in memory that a worker maps,
//! and that is only read here, through the system. So nothing that a worker does to it can harm
//! the master.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    time::Duration,
};

use protocol::{
    binary,
    frame::Decoder,
    limits::{HOLD_TIME, MAX_FRAME},
    message::{self, SharedRange},
    shared_output::{DATA, Header, KEY, PATIENCE, TAKEN, file_size},
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{connection::Connection, process::Process, session::Breach, supervisor::Supervisor};
use crate::{
    batch::Value,
    machine::{Event, Time, WorkerId},
    memory,
    pages::{Pages, check_file_size},
};

/// Bytes of frames that the shared output of a worker has room for: 64 KiB, as much as one read
/// takes.
const ROOM: usize = 64 << 10;

/// Where in the file the room for large results begins, if there is one: behind that for frames, at
/// a page of any size that is in use.
const RESULTS: usize = 128 << 10;

/// The size of a file with room for large results: two of the largest that there can be. It takes
/// no memory before it is used.
const SIZE_WITH_RESULTS: u64 = RESULTS as u64 + (2 << 30);

/// A worker that is silent is looked at after ever longer breaks, twice as long each time up to
/// 128 ms. That does not end while it is busy: it may keep the answer of one long item while it is
/// at the next.
const MAX_DOUBLINGS: u32 = 7;

/// One shared output.
pub(super) struct SharedOutput {
    file: File,
    key: u64,
    /// There is room for large results.
    has_results: bool,
    /// So many of them were taken.
    results_taken: u64,
    /// The file in memory, once such a result came.
    pages: Option<Pages>,
    /// How many bytes the last answer had, if it was such a result.
    last_result: usize,
    /// What it was told of how long to look for input.
    patience: Duration,
    /// So many answers were taken from it that the stream has still to bring.
    ahead: u64,
    /// While it is looked at.
    look: Option<Look>,
    /// When to look at what it keeps, if it stays silent.
    look_at: Time,
    /// How often it was looked at since it was last heard.
    looks: u32,
}

/// A look at what a worker keeps.
#[derive(Clone, Copy)]
struct Look {
    /// So many answers are still to come that were taken before.
    known: u64,
    taken: u64,
}

impl SharedOutput {
    pub(super) fn new(now: Time, has_results: bool) -> io::Result<Self> {
        let size = if has_results { SIZE_WITH_RESULTS } else { file_size(ROOM) as u64 };
        check_file_size(size)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("shared-output", flags)?);
        file.set_len(size)?;
        // A worker that changes its size would only harm itself; but it has no reason to.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mut key = [0; 8];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        file.write_all_at(&key, KEY as u64)?;
        let key = u64::from_le_bytes(key);
        let patience = Duration::ZERO;
        Ok(Self {
            file,
            key,
            has_results,
            results_taken: 0,
            pages: None,
            last_result: 0,
            patience,
            ahead: 0,
            look: None,
            look_at: now,
            looks: 0,
        })
    }

    /// Tells the worker how long it pays to look for input before it sleeps.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        if self.patience == patience {
            return;
        }
        self.patience = patience;
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(0);
        if let Err(error) = self.file.write_all_at(&nanoseconds.to_le_bytes(), PATIENCE as u64) {
            log::warn!("cannot write to a shared output: {error}");
        }
    }

    /// Where the worker finds it.
    pub(super) fn place(&self) -> message::SharedOutput {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd());
        let results = self.has_results.then_some(RESULTS as u64);
        message::SharedOutput { path, key: self.key, results }
    }

    /// Bytes of frames that there is room for.
    const fn room(&self) -> usize {
        if self.has_results { RESULTS - DATA } else { ROOM }
    }

    /// Takes a large result out of the file, and tells the worker that its place is free.
    /// `prepared` may hold memory for it, which is used up then.
    pub(super) fn take_result(
        &mut self,
        range: SharedRange,
        prepared: &mut Vec<u8>,
    ) -> Result<Value, Breach> {
        let place = place_of(range)?;
        self.check_written(&place)?;
        self.expect_result_of(place.len());
        let value = self.read_value(place, prepared).map_err(Breach::Unreadable)?;
        self.free_result()?;
        Ok(value)
    }

    /// Tells the worker that the place of a large result is free, which is not looked at.
    pub(super) fn pass_over_result(&mut self, range: SharedRange) -> Result<(), Breach> {
        place_of(range)?;
        self.free_result()
    }

    fn free_result(&mut self) -> Result<(), Breach> {
        self.results_taken += 1;
        let taken = self.results_taken.to_le_bytes();
        self.file.write_all_at(&taken, TAKEN as u64).map_err(Breach::Unreadable)
    }

    /// A result has to be there in full: to read where nothing was written would make memory of what
    /// was only claimed. What is smaller is not worth the look.
    fn check_written(&self, place: &Range<usize>) -> Result<(), Breach> {
        if place.len() < memory::LARGE {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{SeekFrom, seek};

            let (start, end) = (place.start as u64, place.end as u64);
            let hole = seek(&self.file, SeekFrom::Hole(start));
            if hole.map_err(|error| Breach::Unreadable(error.into()))? < end {
                return Err(Breach::NotWritten(end - start));
            }
        }
        Ok(())
    }

    /// Memory for a result like the last one, if that was so large that it is worth to have it before
    /// it is needed.
    pub(super) fn prepare(&self, prepared: &mut Vec<u8>) {
        if self.last_result >= memory::LARGE && prepared.len() < self.last_result {
            *prepared = memory::touched(self.last_result);
        }
    }

    /// What comes next is most likely like what came last: a large result of so many bytes, or none.
    pub(super) const fn expect_result_of(&mut self, size: usize) {
        self.last_result = size;
    }

    /// Reads a value into memory of its own: if it is binary data, without its header.
    fn read_value(&mut self, place: Range<usize>, prepared: &mut Vec<u8>) -> io::Result<Value> {
        let length = place.len();
        let mut start = [0; binary::MAX_HEADER];
        let start = start.get_mut(..length.min(binary::MAX_HEADER)).unwrap_or_default();
        self.read(place.start, start)?;
        let header = binary::header_of(start, length);
        let skipped = header.unwrap_or(0);
        let size = length - skipped;
        let mut bytes = match prepared.len() >= size && prepared.len() / 2 <= size {
            true => std::mem::take(prepared),
            false => memory::zeroed(size),
        };
        bytes.truncate(size);
        self.read(place.start + skipped, &mut bytes)?;
        Ok(if header.is_some() { Value::Binary(bytes) } else { Value::Encoded(bytes) })
    }

    /// The frames that the stream has not brought, after so many bytes of it.
    pub(super) fn unsent(&self, received: u64) -> io::Result<Vec<u8>> {
        let before = self.header()?;
        if before.held == 0 || before.held > self.room() as u64 {
            return Ok(Vec::new());
        }
        let mut data = vec![0; usize::try_from(before.held).unwrap_or(0)];
        self.file.read_exact_at(&mut data, DATA as u64)?;
        let after = self.header()?;
        // If the worker has begun to empty it, the stream brings all of that. If it has begun another
        // frame, it is not silent, and the two numbers may not belong together.
        if (after.base, after.last) != (before.base, before.last) || after.held < before.held {
            return Ok(Vec::new());
        }
        Ok(before.unsent(&mut data, received).to_vec())
    }

    /// Reads bytes of a result, from memory, which takes two thirds of the time that it takes through
    /// the system.
    fn read(&mut self, start: usize, out: &mut [u8]) -> io::Result<()> {
        if self.pages.is_none() {
            let size = usize::try_from(SIZE_WITH_RESULTS).map_err(io::Error::other)?;
            match Pages::map(self.file.as_fd(), size) {
                Ok(pages) => self.pages = Some(pages),
                Err(error) => log::debug!("cannot map a shared output: {error}"),
            }
        }
        match &self.pages {
            Some(pages) => pages.copy(start, out),
            None => self.file.read_exact_at(out, start as u64)?,
        }
        Ok(())
    }

    fn header(&self) -> io::Result<Header> {
        let mut bytes = [0; DATA];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Header::read(&bytes))
    }

    /// Of so many answers that have come, how many were taken before.
    pub(super) fn known(&mut self, answers: u64) -> u64 {
        match &mut self.look {
            Some(look) => {
                let known = look.known.min(answers);
                look.known -= known;
                look.taken += answers - known;
                known
            }
            None => {
                let known = self.ahead.min(answers);
                self.ahead -= known;
                known
            }
        }
    }

    /// How many answers of those that the stream will bring were taken before.
    pub(super) fn answers_ahead(&self) -> u64 {
        self.look.as_ref().map_or(0, |look| look.known).saturating_add(self.ahead)
    }

    /// Whether what is said of an item that is not answered may be of one that is.
    pub(super) const fn is_ahead(&self) -> bool {
        self.ahead > 0 || self.look.is_some()
    }

    /// The worker was heard.
    const fn hear(&mut self, now: Time) {
        self.looks = 0;
        self.look_at = now.saturating_add(HOLD_TIME);
    }

    /// It is looked at, and again later.
    fn look_again(&mut self, now: Time) {
        self.looks = MAX_DOUBLINGS.min(self.looks + 1);
        self.look_at = now.saturating_add(HOLD_TIME * (1 << self.looks));
    }
}

/// Where in the file a large result lies.
fn place_of(range: SharedRange) -> Result<Range<usize>, Breach> {
    let size = usize::try_from(SIZE_WITH_RESULTS).unwrap_or(usize::MAX);
    let place = range.within(size).filter(|place| place.start >= RESULTS);
    place
        .filter(|place| place.len() <= MAX_FRAME)
        .ok_or(Breach::OutsideOfRoom(range.length, range.offset))
}

/// A worker was heard, or sent something: if it falls silent it is looked at.
pub(super) fn look_later(process: &mut Process, next_look: &mut Option<Time>, now: Time) {
    if let Some(shared) = &mut process.shared_output {
        shared.hear(now);
        let next = now.saturating_add(HOLD_TIME);
        *next_look = Some(next_look.map_or(next, |earlier| earlier.min(next)));
    }
}

impl Supervisor {
    /// Looks at what silent workers keep whose time has come.
    pub(super) fn look_at_silent(&mut self, time: Time) {
        if self.next_look.is_none_or(|next| next > time) {
            return;
        }
        self.next_look = None;
        let mut due = Vec::new();
        for (&id, process) in &mut self.processes {
            // Of one item the answer is not kept, as nothing is to be done behind it.
            let busy = |_: &&mut SharedOutput| self.machine.items_at(id) > 1;
            let Some(shared) = process.shared_output.as_mut().filter(busy) else { continue };
            if shared.look_at <= time {
                shared.look_again(time);
                due.push(id);
            }
            let next = shared.look_at;
            self.next_look = Some(self.next_look.map_or(next, |earlier| earlier.min(next)));
        }
        for worker in due {
            self.take_kept(time, worker);
        }
    }

    /// Looks at what all workers keep, before a decision that depends on how far they are.
    pub(super) fn look_at_all(&mut self, time: Time) {
        let shares = self.processes.iter().filter(|(_, process)| process.shared_output.is_some());
        let workers: Vec<_> = shares.map(|(&id, _)| id).collect();
        for worker in workers {
            if self.machine.items_at(worker) > 1 {
                self.take_kept(time, worker);
            }
        }
    }

    /// Takes answers that a worker keeps, ahead of the stream.
    fn take_kept(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(connection) = &process.connection else { return };
        let Some(shared) = &mut process.shared_output else { return };
        // In the middle of a frame the stream is about to bring the rest.
        if connection.decoder.buffered() > 0 {
            return;
        }
        let frames = match shared.unsent(connection.received) {
            Ok(frames) => frames,
            Err(error) => return log::warn!("cannot look at the answers of a worker: {error}"),
        };
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        decoder.push(&frames);
        shared.look = Some(Look { known: shared.ahead, taken: 0 });
        let breach = self.take_frames(time, worker, &mut decoder).err();
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let look = process.shared_output.as_mut().and_then(|shared| {
            let look = shared.look.take()?;
            shared.ahead += look.taken;
            Some(look)
        });
        // It goes on, and may soon keep more.
        if look.is_some_and(|look| look.taken > 0) {
            look_later(process, &mut self.next_look, time);
        }
        if let Some(breach) = breach {
            process.blame(|| breach.to_string());
            self.machine.handle(time, Event::Misbehaved { worker });
        }
    }

    /// A connection has ended: what its stream did not bring is read from where it was kept.
    pub(super) fn recover(&self, worker: WorkerId, connection: &mut Connection) {
        let Some(process) = self.processes.get(&worker) else { return };
        let Some(shared) = &process.shared_output else { return };
        match shared.unsent(connection.received) {
            Ok(frames) => {
                connection.received += frames.len() as u64;
                connection.decoder.push(&frames);
            }
            Err(error) => log::warn!("cannot read the last answers of a worker: {error}"),
        }
    }

    /// A process has ended whose connection has not: takes what it kept.
    pub(super) fn recover_open(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(mut connection) = process.connection.take() else { return };
        self.recover(worker, &mut connection);
        // It is dead already, so that a breach would say nothing more.
        if let Err(breach) = self.take_frames(time, worker, &mut connection.decoder) {
            log::warn!("the last words of a worker: {breach}");
        }
        if let Some(process) = self.processes.get_mut(&worker) {
            process.connection = Some(connection);
        }
    }
}
