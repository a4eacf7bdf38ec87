//! What a worker may say at each point of its life, and what it says. Pure: frames come in, and
//! what they mean comes out, or how they break the protocol.

use protocol::{
    envelope::{self, EnvelopeError},
    frame::FrameError,
    message::{Failure, FromWorker, Hello, SharedRange},
};

use crate::report::Stage;

/// How far one worker has come.
#[derive(Debug)]
pub(crate) struct Session {
    stage: Stage,
    agreed: Agreed,
}

/// The features that were agreed on with a worker, of those that let it say more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agreed {
    pub(crate) progress: bool,
    pub(crate) shared_output: bool,
    pub(crate) shared_results: bool,
    pub(crate) shared_arguments: bool,
}

impl Agreed {
    pub(crate) const NOTHING: Self = Self {
        progress: false,
        shared_output: false,
        shared_results: false,
        shared_arguments: false,
    };
}

/// What a worker says.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// Who it is. It is to be welcomed, or turned away.
    Hello(Hello),
    /// It is ready for calls.
    Ready {
        /// It can see shared arguments.
        shared_arguments: bool,
    },
    /// Its initializer failed. The payload comes with it, as for every failure.
    Unfit(Failure, &'a [u8]),
    /// The result of an item.
    Result { id: u64, item: u32, value: &'a [u8] },
    /// The result of an item, in its shared output.
    SharedResult { id: u64, item: u32, range: SharedRange },
    /// The results of one or more items, from this one on: as many values, one after another,
    /// which are still to be told apart.
    Results { id: u64, item: u32, values: &'a [u8] },
    /// The failure of an item.
    Error { id: u64, item: u32, failure: Failure, payload: &'a [u8] },
    /// An item is alive.
    Progress { id: u64, item: u32, note: String },
}

impl Session {
    pub(crate) const fn new() -> Self {
        Self { stage: Stage::Hello, agreed: Agreed::NOTHING }
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The worker is accepted.
    pub(crate) const fn welcome(&mut self, agreed: Agreed) {
        self.stage = Stage::Initializer;
        self.agreed = agreed;
    }

    /// Takes in the body of one frame.
    pub(crate) fn hear<'a>(&mut self, frame: &'a [u8]) -> Result<Said<'a>, Breach> {
        let (message, payload) = envelope::open::<FromWorker>(frame)?;
        // Who takes results tells their values apart, and so checks them.
        if !matches!(message, FromWorker::Results { .. }) {
            envelope::check_worker_payload(&message, payload)?;
        }
        match (message, self.stage) {
            (FromWorker::Hello(hello), Stage::Start | Stage::Hello) => Ok(Said::Hello(hello)),
            (FromWorker::Ready { shared_arguments }, Stage::Initializer) => {
                self.stage = Stage::Service;
                let shared_arguments = shared_arguments && self.agreed.shared_arguments;
                Ok(Said::Ready { shared_arguments })
            }
            (FromWorker::InitializerFailed(failure), Stage::Initializer) => {
                Ok(Said::Unfit(failure, payload))
            }
            // An answer that was not asked for has a place among those that were.
            (FromWorker::Result { id, item }, Stage::Initializer | Stage::Service) => {
                Ok(Said::Result { id, item, value: payload })
            }
            (FromWorker::Results { id, item }, Stage::Service) if self.agreed.shared_output => {
                Ok(Said::Results { id, item, values: payload })
            }
            (FromWorker::SharedResult { id, item, offset, length }, Stage::Service)
                if self.agreed.shared_results =>
            {
                let range = SharedRange { offset, length };
                Ok(Said::SharedResult { id, item, range })
            }
            (FromWorker::Error { id, item, failure }, Stage::Initializer | Stage::Service) => {
                Ok(Said::Error { id, item, failure, payload })
            }
            (FromWorker::Progress { id, item, note }, Stage::Service) if self.agreed.progress => {
                Ok(Said::Progress { id, item, note })
            }
            (message, _) => Err(Breach::OutOfPlace(name_of(&message))),
        }
    }
}

/// How a worker broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Breach {
    #[error("broke the protocol ({0})")]
    Frame(#[from] FrameError),
    #[error("broke the protocol ({0})")]
    Envelope(#[from] EnvelopeError),
    #[error("broke the protocol (the message `{0}` out of its place)")]
    OutOfPlace(&'static str),
    #[error(
        "broke the protocol (an answer to item {item} of call {id}, which was not awaited: it is \
         unknown, out of order or already answered)"
    )]
    Unasked { id: u64, item: u32 },
    #[error("broke the protocol (progress of item {item} of call {id}, which is not in its hands)")]
    NotInHand { id: u64, item: u32 },
    #[error("broke the protocol (a shared result of {0} bytes at {1}, which is not in its room)")]
    OutsideOfRoom(u64, u64),
    #[error("broke the protocol (a shared result of {0} bytes, of which not all were written)")]
    NotWritten(u64),
    #[error("gave a shared result that cannot be read ({0})")]
    Unreadable(std::io::Error),
}

const fn name_of(message: &FromWorker) -> &'static str {
    match message {
        FromWorker::Hello(_) => "hello",
        FromWorker::Ready { .. } => "ready",
        FromWorker::InitializerFailed(_) => "initializer_failed",
        FromWorker::Result { .. } => "result",
        FromWorker::Results { .. } => "results",
        FromWorker::SharedResult { .. } => "shared_result",
        FromWorker::Error { .. } => "error",
        FromWorker::Progress { .. } => "progress",
    }
}
