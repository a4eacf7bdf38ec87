//! What the supervisor waits for, as the operating system names it.

use mio::Token;

use crate::machine::WorkerId;

/// What an event of the operating system is about. Exits come last: what a worker still has to
/// say is heard first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Listener,
    Stranger(u64),
    Socket(WorkerId),
    Stdout(WorkerId),
    Stderr(WorkerId),
    Exit(WorkerId),
    /// The end of the guardian.
    Guardian,
    Waker,
}

impl Source {
    const KIND_BITS: u32 = 3;

    pub(super) const fn token(self) -> Token {
        let (kind, id) = match self {
            Self::Listener => (0, 0),
            Self::Stranger(id) => (1, id),
            Self::Socket(WorkerId(id)) => (2, id),
            Self::Stdout(WorkerId(id)) => (3, id),
            Self::Stderr(WorkerId(id)) => (4, id),
            Self::Exit(WorkerId(id)) => (5, id),
            Self::Guardian => (6, 0),
            Self::Waker => (7, 0),
        };
        #[expect(clippy::cast_possible_truncation, reason = "an id counts starts of processes")]
        Token((id << Self::KIND_BITS | kind) as usize)
    }

    pub(super) const fn of(token: Token) -> Self {
        let id = (token.0 >> Self::KIND_BITS) as u64;
        match token.0 & ((1 << Self::KIND_BITS) - 1) {
            0 => Self::Listener,
            1 => Self::Stranger(id),
            2 => Self::Socket(WorkerId(id)),
            3 => Self::Stdout(WorkerId(id)),
            4 => Self::Stderr(WorkerId(id)),
            5 => Self::Exit(WorkerId(id)),
            6 => Self::Guardian,
            _ => Self::Waker,
        }
    }
}
