//! The way in: a socket in a private directory, and the check of who connects.
//!
//! A stranger is let in for a short time and 64 KiB. It becomes a worker by a hello with a token
//! that is awaited; every token is good for one use.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, RawFd},
    sync::Arc,
};

use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerNonblockingMode, ListenerOptions, Stream, ToFsName,
    traits::{Listener as _, StreamCommon as _},
};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use subtle::ConstantTimeEq as _;

use super::{directory::PrivateDirectory, guardian::Guardian};
use crate::machine::WorkerId;

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 16;

/// The socket that the workers of one pool connect to, and the tokens they are to bring.
pub(super) struct Gate {
    // Fields are dropped in order: the listener removes its socket, then the directory goes.
    listener: Listener,
    /// Until it is hidden.
    directory: Option<PrivateDirectory>,
    address: String,
    awaited: HashMap<WorkerId, String>,
}

impl Gate {
    pub(super) fn open(guardian: &Arc<Guardian>) -> io::Result<Self> {
        let directory = PrivateDirectory::make(guardian)?;
        let path = directory.socket();
        let address = path
            .to_str()
            .ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?
            .to_owned();
        let listener = ListenerOptions::new()
            .name(path.as_path().to_fs_name::<GenericFilePath>()?)
            .mode(0o600)
            .nonblocking(ListenerNonblockingMode::Both)
            .create_sync()?;
        let directory = Some(directory);
        Ok(Self { listener, directory, address, awaited: HashMap::new() })
    }

    /// What a worker needs to know to connect.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn listener_fd(&self) -> RawFd {
        match &self.listener {
            Listener::UdSocket(listener) => listener.inner().as_raw_fd(),
        }
    }

    /// Makes a token for a worker that is about to start.
    pub(super) fn expect(&mut self, worker: WorkerId) -> io::Result<String> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.awaited.insert(worker, token.clone());
        Ok(token)
    }

    /// The worker that `token` was made for, which can be redeemed once. Every comparison takes
    /// the same time, whatever the token.
    pub(super) fn redeem(&mut self, token: &str) -> Option<WorkerId> {
        let mut found = None;
        for (&worker, awaited) in &self.awaited {
            if bool::from(awaited.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(worker);
            }
        }
        found.inspect(|worker| {
            self.awaited.remove(worker);
        })
    }

    /// The token of a worker that is gone is no longer good.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.awaited.remove(&worker);
    }

    /// Whether there is anybody who may still come.
    pub(super) fn awaits_any(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// The next stranger of our own user, if there is one. Others are turned away unheard.
    pub(super) fn accept(&self) -> io::Result<Option<Stranger>> {
        loop {
            let stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let credentials = stream.peer_creds()?;
            let ours = rustix::process::geteuid().as_raw();
            if credentials.euid() == Some(ours) {
                let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
                return Ok(Some(Stranger { stream, pid }));
            }
            log::warn!("refused a connection from user {:?}", credentials.euid());
        }
    }

    /// Removes the socket and its directory. Who has connected is not disturbed.
    pub(super) fn hide(&mut self) {
        if let Some(directory) = self.directory.take() {
            directory.remove();
        }
    }
}

/// Someone who has connected and said nothing yet.
pub(super) struct Stranger {
    pub(super) stream: Stream,
    /// The process at the other end when it connected, for diagnosis only.
    pub(super) pid: Option<u32>,
}
