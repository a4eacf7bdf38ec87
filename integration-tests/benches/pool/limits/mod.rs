//! What the machine allows: raw programs on the same kind of socket, without a pool.

pub(crate) mod bare_pool;
pub(crate) mod burn;
pub(crate) mod bytes;
pub(crate) mod encoding;
pub(crate) mod round_trip;

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
};

use crate::{figures::Parameters, measure};

/// The run that is the other end of a limit.
pub(crate) fn other_end(name: &str) -> Option<fn(&Parameters)> {
    match name {
        "end-round-trip" => Some(round_trip::other_end),
        "end-bare-pool" => Some(bare_pool::other_end),
        "end-bytes" => Some(bytes::other_end),
        _ => None,
    }
}

/// A process at the other end of a socket. It ends when the socket is closed.
struct OtherEnd(Child);

impl OtherEnd {
    /// Starts it, with the socket as its standard input.
    fn start(name: &str, parameters: &str) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let words = measure::words(name, parameters);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        (Self(command.spawn().expect("this executable starts")), ours)
    }

    /// Waits for its end. The socket has to be closed before.
    fn join(mut self) {
        let status = self.0.wait().expect("it is ours");
        assert!(status.success(), "the other end failed: {status}");
    }
}

/// The socket in a process that is the other end.
fn socket() -> UnixStream {
    let input = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    UnixStream::from(input)
}
