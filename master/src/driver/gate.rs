//! The way in: a socket in a private directory, and the check of who connects.
//!
//! A stranger is let in for a short time and 64 KiB. It becomes a worker by a hello with a token
//! that is awaited; every token is good for one use.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, RawFd},
    path::PathBuf,
};

use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerNonblockingMode, ListenerOptions, Stream, ToFsName,
    traits::{Listener as _, StreamCommon as _},
};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use subtle::ConstantTimeEq as _;
use tempfile::TempDir;

use crate::machine::WorkerId;

/// The longest path that fits into the address of a Unix socket on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 16;

/// The name of the socket in its directory.
const SOCKET_NAME: &str = "s";

/// The socket that the workers of one pool connect to, and the tokens they are to bring.
pub(super) struct Gate {
    // Fields are dropped in order: the listener removes its socket, then the directory goes.
    listener: Listener,
    /// Until it is hidden.
    directory: Option<TempDir>,
    address: String,
    awaited: HashMap<WorkerId, String>,
}

impl Gate {
    pub(super) fn open() -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.path().join(SOCKET_NAME);
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
            let path = directory.path().to_owned();
            if let Err(error) = directory.close() {
                log::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// Someone who has connected and said nothing yet.
pub(super) struct Stranger {
    pub(super) stream: Stream,
    /// The process at the other end when it connected, for diagnosis only.
    pub(super) pid: Option<u32>,
}

/// A fresh directory that only our user can enter, in the first place where that is possible
/// and where the path of a socket is short enough.
fn private_directory() -> io::Result<TempDir> {
    let mut failures = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
    for place in places {
        let prefix = format!("master-{}-", std::process::id());
        let room = MAX_SOCKET_PATH.saturating_sub(prefix.len() + 6 + 2 + SOCKET_NAME.len());
        if place.as_os_str().len() > room || !place.is_absolute() {
            let why = if place.is_absolute() { "too long for a socket" } else { "not absolute" };
            failures.push(format!("{}: {why}", place.display()));
            continue;
        }
        // tempfile makes directories with mode 0700.
        match tempfile::Builder::new().prefix(&prefix).rand_bytes(6).tempdir_in(&place) {
            Ok(directory) => return Ok(directory),
            Err(error) => failures.push(format!("{}: {error}", place.display())),
        }
    }
    let tried = failures.join("; ");
    Err(io::Error::other(format!(
        "no place for the directory of the socket ({tried}); set TMPDIR to a short, writable path"
    )))
}
