//! The encoded arguments of items, in memory of the program's own or, if they are large, where
//! workers can see them too.

use std::{
    fmt,
    io::{self, Write},
    ops::Deref,
    sync::Arc,
};

use crate::arena::{self, Arena, Region};

/// Arguments of more than this many bytes go into shared memory if there is any: 16 KiB. Below that
/// the socket is as fast.
pub(crate) const SHARED_FROM: usize = 16 << 10;

/// Bytes that grow at the end.
pub(crate) enum Payload {
    Own(Vec<u8>),
    Shared(Region),
}

impl Payload {
    /// Moves what there is into shared memory, if it is large enough for that.
    pub(crate) fn share(&mut self) {
        let length = self.len();
        if length > SHARED_FROM
            && matches!(self, Self::Own(_))
            && let Some(mut region) = arena::take(length)
            && region.extend_from_slice(self)
        {
            *self = Self::Shared(region);
        }
    }

    /// Where in the file of this arena it begins, if it lies there. What was made before a fork lies
    /// in another.
    pub(crate) fn offset_in(&self, arena: Option<&Arc<Arena>>) -> Option<usize> {
        match self {
            Self::Shared(region) if arena.is_some_and(|arena| region.is_of(arena)) => {
                Some(region.offset())
            }
            Self::Own(_) | Self::Shared(_) => None,
        }
    }

    /// Appends bytes, in shared memory from a certain size on.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        let total = self.len() + bytes.len();
        match self {
            // What has grown beyond that elsewhere stays there.
            Self::Own(own) if total <= SHARED_FROM || own.len() > SHARED_FROM => {
                own.extend_from_slice(bytes);
            }
            Self::Shared(region) if region.room() >= bytes.len() => {
                region.extend_from_slice(bytes);
            }
            Self::Own(_) | Self::Shared(_) => self.move_on(bytes, total),
        }
    }

    /// Moves to where there is more room, and appends bytes there.
    fn move_on(&mut self, bytes: &[u8], total: usize) {
        if let Some(mut region) = arena::take(total)
            && region.extend_from_slice(self)
            && region.extend_from_slice(bytes)
        {
            *self = Self::Shared(region);
            return;
        }
        let mut own = Vec::with_capacity(total);
        own.extend_from_slice(self);
        own.extend_from_slice(bytes);
        *self = Self::Own(own);
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        match self {
            Self::Own(own) => own.truncate(length),
            Self::Shared(region) => region.truncate(length),
        }
    }

    /// For what only knows how to append to a vector.
    pub(crate) fn own(&mut self) -> &mut Vec<u8> {
        if let Self::Shared(region) = self {
            *self = Self::Own(region.as_slice().to_vec());
        }
        match self {
            Self::Own(own) => own,
            Self::Shared(_) => unreachable!("it was just made its own"),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Own(own) => own,
            Self::Shared(region) => region.as_slice().to_vec(),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(own: Vec<u8>) -> Self {
        Self::Own(own)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(own) => own,
            Self::Shared(region) => region.as_slice(),
        }
    }
}

/// A copy is the program's own.
impl Clone for Payload {
    fn clone(&self) -> Self {
        Self::Own(self.to_vec())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Write for Payload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What arguments are encoded into.
pub(crate) trait Encoding: Write {
    fn encoded(&self) -> &[u8];
    fn cut(&mut self, length: usize);
    fn push_byte(&mut self, byte: u8);
}

impl Encoding for Vec<u8> {
    fn encoded(&self) -> &[u8] {
        self
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }

    fn push_byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

impl Encoding for Payload {
    fn encoded(&self) -> &[u8] {
        self
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }

    fn push_byte(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_appended_wherever_it_lies() {
        let arena = arena::open();
        assert!(arena.is_some(), "the system has shared memory");
        let mut expected = Vec::new();
        let mut payload = Payload::default();
        for size in [1, SHARED_FROM - 1, 1, 100_000, 0, 17 << 20, 3] {
            let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            payload.extend_from_slice(&bytes);
            expected.extend_from_slice(&bytes);
            assert!(*payload == *expected, "{size}");
            let offset = payload.offset_in(arena.as_ref());
            assert_eq!(offset.is_some(), expected.len() > SHARED_FROM, "{size}");
        }
        payload.truncate(SHARED_FROM);
        assert!(*payload == expected[..SHARED_FROM]);
        assert_eq!(payload.clone().offset_in(arena.as_ref()), None);
    }

    #[test]
    fn what_is_small_is_not_shared() {
        let arena = arena::open();
        assert!(arena.is_some(), "the system has shared memory");
        let mut payload = Payload::from(vec![1; SHARED_FROM]);
        payload.share();
        assert_eq!(payload.offset_in(arena.as_ref()), None);
        let mut payload = Payload::from(vec![1; SHARED_FROM + 1]);
        payload.share();
        assert!(payload.offset_in(arena.as_ref()).is_some());
        assert_eq!(payload.into_vec(), vec![1; SHARED_FROM + 1]);
    }
}
