//! The connection to the master: frames out of the inbox, and into the session.

use std::{io, ops::ControlFlow, rc::Rc, sync::Arc};

use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use protocol::{
    envelope::{EnvelopeError, SendError},
    frame::FrameError,
    launch::{EXIT_NORMAL, EXIT_PROTOCOL, EXIT_USAGE},
};

use crate::{Worker, environment::Launch, inbox::Inbox, session::Session, watch::Watch};

/// Why a worker stops serving other than by leaving normally.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot connect to the master at {address}: {error}")]
    Connect { address: String, error: io::Error },
    #[error("cannot start the thread that watches the connection: {0}")]
    Watch(io::Error),
    #[error("cannot read from the master: {0}")]
    Read(io::Error),
    #[error("cannot write to the master: {0}")]
    Write(io::Error),
    #[error("the master broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the master broke the protocol: {0}")]
    Envelope(#[from] EnvelopeError),
    #[error("the master broke the protocol: expected {expected}, found the message `{found}`")]
    Unexpected { expected: &'static str, found: &'static str },
    #[error("the master broke the protocol: {0}")]
    Terms(String),
    #[error("the master refused this worker: {0}")]
    Rejected(String),
    #[error("cannot encode a message: {0}")]
    Encode(SendError),
    #[error(
        "the hello has {size} bytes, the protocol allows {limit}: \
         register fewer functions, or shorten their help"
    )]
    HelloTooLarge { size: usize, limit: usize },
}

impl ServeError {
    /// The status to exit with.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::HelloTooLarge { .. } => EXIT_USAGE,
            Self::Connect { .. }
            | Self::Watch(_)
            | Self::Read(_)
            | Self::Write(_)
            | Self::Frame(_)
            | Self::Envelope(_)
            | Self::Unexpected { .. }
            | Self::Terms(_)
            | Self::Rejected(_)
            | Self::Encode(_) => EXIT_PROTOCOL,
        }
    }
}

/// Serves a master until the worker is to leave, and gives the status to exit with.
pub(crate) fn serve(worker: &Worker, launch: &Launch) -> Result<u8, ServeError> {
    let socket = Arc::new(connect(launch)?);
    let watch = Watch::default();
    let inbox = Rc::new(Inbox::new(&socket));
    let mut session = Session::new(worker, &socket, &inbox, watch.clone());
    if let ControlFlow::Break(status) = session.greet(&launch.token)? {
        return Ok(status);
    }
    // The master reads the hello meanwhile.
    watch.start(&socket).map_err(ServeError::Watch)?;
    let status = handle_frames(&inbox, &mut session);
    // Whatever ended it, what was answered is told.
    let flushed = session.output().borrow_mut().flush();
    status.and_then(|status| flushed.map(|_| status))
}

fn handle_frames(inbox: &Inbox, session: &mut Session<'_>) -> Result<u8, ServeError> {
    while inbox.wait_for_frame(session.output())? {
        if let ControlFlow::Break(status) = session.receive(&inbox.frame())? {
            return Ok(status);
        }
    }
    Ok(EXIT_NORMAL)
}

/// Whether an error on the socket only says that the other end no longer exists.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

fn connect(launch: &Launch) -> Result<Stream, ServeError> {
    let name = launch.address.as_os_str().to_fs_name::<GenericFilePath>();
    name.and_then(Stream::connect).map_err(|error| ServeError::Connect {
        address: launch.address.to_string_lossy().into_owned(),
        error,
    })
}
