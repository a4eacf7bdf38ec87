//! Where functions put their results: into memory of the worker's own, and from a certain size on
//! into the room that the master has made for large results, where it finds them without a copy
//! through the socket.

use protocol::{
    message::{SharedOutput, SharedRange},
    shared_output::TAKEN,
};

use crate::mapping::ResultsMapping;

/// Results of more than this many bytes are placed in shared memory: 16 KiB. Below that the socket
/// is as fast.
const LEAST: usize = 16 << 10;

/// Memory that was used for large results, in bytes, and is given back when the worker is idle:
/// beyond 1 MiB, as for other buffers.
const KEPT: usize = 1 << 20;

/// The encoded result of one item, as it grows.
#[derive(Default)]
#[doc(hidden)]
pub struct ResultBuffer {
    /// All of it, unless it lies in the room.
    bytes: Vec<u8>,
    /// Lent by the output while a function runs.
    room: Option<Box<Room>>,
    /// It lies there.
    placed: Option<Placed>,
    /// It did not fit there.
    outgrown: bool,
}

/// A place in the room.
#[derive(Clone, Copy)]
struct Placed {
    half: usize,
    length: usize,
}

impl ResultBuffer {
    /// Makes it empty.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.placed = None;
        self.outgrown = false;
    }

    /// All that was written.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match (&self.room, self.placed) {
            (Some(room), Some(placed)) => room.bytes(placed),
            _ => &self.bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.placed.map_or(self.bytes.len(), |placed| placed.length)
    }

    /// Appends to it.
    #[inline]
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        if self.placed.is_none() && self.bytes.len() + bytes.len() <= LEAST {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.extend_large(bytes);
        }
    }

    /// As above, where it is or becomes large.
    #[cold]
    fn extend_large(&mut self, bytes: &[u8]) {
        let length = self.len().saturating_add(bytes.len());
        if self.placed.is_none() {
            self.place();
        }
        match (&mut self.room, &mut self.placed) {
            (Some(room), Some(placed)) if length <= room.half() => {
                room.put(*placed, bytes);
                placed.length = length;
            }
            (_, None) => self.bytes.extend_from_slice(bytes),
            _ => {
                let so_far = self.as_slice().to_vec();
                self.placed = None;
                self.bytes = so_far;
                self.outgrown = true;
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    /// For what only knows how to append to a vector, while nothing lies elsewhere.
    pub(crate) const fn vector(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where in the room it lies, if it is large and there is room: to be told to the master, which
    /// then has to take it.
    pub(crate) fn share(&mut self) -> Option<SharedRange> {
        if self.placed.is_none() && self.bytes.len() > LEAST {
            self.place();
        }
        let (room, placed) = (self.room.as_mut()?, self.placed?);
        room.tell(placed)
    }

    /// Moves what there is into the room, if there is any.
    fn place(&mut self) {
        let Some(room) = self.room.as_mut().filter(|_| !self.outgrown) else { return };
        let Some(half) = room.free_half() else { return };
        if self.bytes.len() > room.half() {
            return;
        }
        let placed = Placed { half, length: 0 };
        room.put(placed, &self.bytes);
        self.placed = Some(Placed { half, length: self.bytes.len() });
        self.bytes.clear();
    }

    pub(crate) fn lend(&mut self, room: Option<Box<Room>>) {
        self.room = room;
    }

    pub(crate) fn take_back(&mut self) -> Option<Box<Room>> {
        self.placed = None;
        self.room.take()
    }
}

/// The room for large results: two halves, so that the next result can be made while the master
/// takes the last one. Each result begins where its half does, in memory that was used before.
pub(crate) struct Room {
    place: SharedOutput,
    /// There once it was needed.
    mapping: Option<ResultsMapping>,
    /// It cannot be mapped.
    broken: bool,
    /// So many results were told of.
    told: u64,
    halves: [Half; 2],
}

#[derive(Default, Clone, Copy)]
struct Half {
    /// It is free once the master has taken so many results.
    until: u64,
    /// So many bytes of it were used since memory was last given back.
    used: usize,
}

impl Room {
    pub(crate) fn new(place: &SharedOutput) -> Self {
        let place = place.clone();
        Self { place, mapping: None, broken: false, told: 0, halves: [Half::default(); 2] }
    }

    /// A half that the master is done with.
    fn free_half(&mut self) -> Option<usize> {
        if self.mapping.is_none() && !self.broken {
            match ResultsMapping::open(&self.place) {
                Ok(mapping) => self.mapping = Some(mapping),
                Err(error) => {
                    log::info!("large results cannot be shared: {error}");
                    self.broken = true;
                }
            }
        }
        let taken = self.mapping.as_ref()?.get(TAKEN);
        self.halves.iter().position(|half| half.until <= taken)
    }

    /// How many bytes a half has.
    fn half(&self) -> usize {
        self.mapping.as_ref().map_or(0, |mapping| mapping.room() / 2)
    }

    fn put(&mut self, placed: Placed, bytes: &[u8]) {
        let start = placed.half * self.half() + placed.length;
        if let Some(mapping) = &mut self.mapping {
            mapping.put(start, bytes);
        }
        if let Some(half) = self.halves.get_mut(placed.half) {
            half.used = half.used.max(placed.length + bytes.len());
        }
    }

    fn bytes(&self, placed: Placed) -> &[u8] {
        let start = placed.half * self.half();
        self.mapping.as_ref().map_or(&[], |mapping| mapping.bytes(start, placed.length))
    }

    /// A result is told to the master, so its half is not free for now.
    fn tell(&mut self, placed: Placed) -> Option<SharedRange> {
        let start = placed.half * self.half();
        let range = self.mapping.as_ref()?.range(start, placed.length);
        self.told += 1;
        self.halves.get_mut(placed.half)?.until = self.told;
        Some(range)
    }

    /// Whether it holds more memory than an idle worker should.
    pub(crate) fn is_large(&self) -> bool {
        self.halves.iter().any(|half| half.used > KEPT)
    }

    /// Gives memory back that the master is done with.
    pub(crate) fn give_back(&mut self) {
        let size = self.half();
        let Some(mapping) = &mut self.mapping else { return };
        let taken = mapping.get(TAKEN);
        for (number, half) in self.halves.iter_mut().enumerate() {
            if half.until <= taken && half.used > 0 {
                mapping.discard(number * size, half.used);
                half.used = 0;
            }
        }
    }
}
