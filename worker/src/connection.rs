//! The connection to the master: bytes in, frames to the session.

use std::{
    io::{self, Read},
    ops::ControlFlow,
    sync::Arc,
};

use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use protocol::{
    envelope::{EnvelopeError, SendError},
    frame::{Decoder, FrameError},
    launch::{EXIT_NORMAL, EXIT_PROTOCOL, EXIT_USAGE},
    limits::MAX_FRAME,
};

use crate::{Worker, environment::Launch, session::Session, watch::Watch};

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
    let watch = Watch::start(&socket).map_err(ServeError::Watch)?;
    let mut session = Session::new(&worker.functions, &*socket, watch);
    if let ControlFlow::Break(status) = session.greet(worker, &launch.token)? {
        return Ok(status);
    }
    let mut decoder = Decoder::new();
    // The limit for strangers is not for the master, whose address came with the launch: the
    // arguments of an initializer may well be larger.
    decoder.set_limit(MAX_FRAME);
    loop {
        while let Some(frame) = decoder.next_frame()? {
            if let ControlFlow::Break(status) = session.receive(frame)? {
                return Ok(status);
            }
        }
        match (&*socket).read(decoder.spare()) {
            Ok(0) => {
                decoder.finish()?;
                log::info!("the master closed the connection");
                return Ok(EXIT_NORMAL);
            }
            Ok(count) => decoder.commit(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) => {
                log::info!("the master is gone: {error}");
                return Ok(EXIT_NORMAL);
            }
            Err(error) => return Err(ServeError::Read(error)),
        }
    }
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
