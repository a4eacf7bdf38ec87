//! A session with a master: each frame that comes in is handled to its end, answers included,
//! before the next one is looked at.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    rc::Rc,
    sync::Arc,
};

use interprocess::local_socket::Stream;

use protocol::{
    envelope::{self, Item, SendError},
    launch::{EXIT_CALL_FAILED, EXIT_NORMAL},
    limits::{LENGTH_BYTES, MAX_FRAME, MAX_FRAME_BEFORE_WELCOME, PROTOCOL_VERSION},
    message::{Call, FromMaster, FromWorker, Hello, Welcome, feature},
};
use serde_bytes::Bytes;

use crate::{
    Worker,
    connection::{ServeError, is_gone},
    context,
    encode::too_large,
    error::Error,
    in_hand::{self, Line},
    inbox::Inbox,
    registry::{Function, Functions},
    watch::Watch,
};

/// A buffer larger than this, in bytes, is given back after its use: 1 MiB, so that one large
/// result does not stay with an idle worker for ever.
const KEPT_CAPACITY: usize = 1 << 20;

/// The features that the hello offers. Only Unix has a way to read ahead without blocking.
const FEATURES: &[&str] =
    if cfg!(unix) { &[feature::PROGRESS, feature::CANCEL] } else { &[feature::PROGRESS] };

/// Whether the session goes on, or the status to exit with.
type Flow = ControlFlow<u8>;

/// One connection's state. Answers go to the socket, each in one write.
pub(crate) struct Session<'a> {
    functions: &'a Functions,
    /// With the features that the welcome chose, none before it.
    line: Line,
    watch: Watch,
    welcomed: bool,
    /// Reused for every encoded result.
    result: Vec<u8>,
    /// Reused for every frame that is sent.
    frame: Vec<u8>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        functions: &'a Functions,
        socket: &Arc<Stream>,
        inbox: &Rc<Inbox>,
        watch: Watch,
    ) -> Self {
        let (socket, inbox) = (Arc::clone(socket), Rc::clone(inbox));
        let line = Line { socket, inbox, progress: false, cancel: false };
        Self { functions, line, watch, welcomed: false, result: Vec::new(), frame: Vec::new() }
    }

    /// Sends the hello.
    pub(crate) fn greet(&mut self, worker: &Worker, token: &str) -> Result<Flow, ServeError> {
        let hello = FromWorker::Hello(Hello {
            token: token.to_owned(),
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            features: FEATURES.iter().map(ToString::to_string).collect(),
            name: worker.name.to_owned(),
            version: worker.version.to_owned(),
            functions: self.functions.descriptions(),
        });
        self.frame.clear();
        envelope::append_frame(&mut self.frame, &hello, &[]).map_err(ServeError::Encode)?;
        let (size, limit) = (self.frame.len() - LENGTH_BYTES, MAX_FRAME_BEFORE_WELCOME);
        if size > limit {
            return Err(ServeError::HelloTooLarge { size, limit });
        }
        self.write_frame()
    }

    /// Handles the body of one frame from the master.
    pub(crate) fn receive(&mut self, body: &[u8]) -> Result<Flow, ServeError> {
        let (message, payload) = envelope::open::<FromMaster<'_>>(body)?;
        match (&message, self.welcomed) {
            (FromMaster::Welcome(welcome), false) => self.welcome(welcome, payload),
            (FromMaster::Call(call), true) => self.call(call, payload),
            (FromMaster::Reject { reason }, false) => {
                envelope::check_master_payload(&message, payload)?;
                Err(ServeError::Rejected(reason.clone()))
            }
            (FromMaster::Drain {}, true) => {
                envelope::check_master_payload(&message, payload)?;
                log::info!("the master asks to leave");
                Ok(Flow::Break(EXIT_NORMAL))
            }
            (FromMaster::Cancel { id, item }, true) if self.line.cancel => {
                envelope::check_master_payload(&message, payload)?;
                log::debug!("item {item} of call {id} was answered before it was cancelled");
                Ok(Flow::Continue(()))
            }
            (FromMaster::Welcome(_), true) => Err(self.unexpected("welcome")),
            (FromMaster::Reject { .. }, true) => Err(self.unexpected("reject")),
            (FromMaster::Call(_), false) => Err(self.unexpected("call")),
            (FromMaster::Cancel { .. }, _) => Err(self.unexpected("cancel")),
            (FromMaster::Drain {}, false) => Err(self.unexpected("drain")),
        }
    }

    fn welcome(&mut self, welcome: &Welcome, payload: &[u8]) -> Result<Flow, ServeError> {
        if welcome.version != PROTOCOL_VERSION {
            let version = welcome.version;
            return Err(ServeError::Terms(format!(
                "the welcome chose version {version}, this worker offered {PROTOCOL_VERSION}"
            )));
        }
        let unknown = welcome.features.iter().find(|feature| !FEATURES.contains(&feature.as_str()));
        if let Some(feature) = unknown {
            let offered = FEATURES.join("`, `");
            return Err(ServeError::Terms(format!(
                "the welcome chose the feature `{feature}`, this worker offered `{offered}`"
            )));
        }
        let item = envelope::initializer_item(welcome, payload)?;
        self.welcomed = true;
        let chosen = |name: &str| welcome.features.iter().any(|feature| feature == name);
        self.line.progress = chosen(feature::PROGRESS);
        self.line.cancel = chosen(feature::CANCEL);
        context::set(welcome.slot, welcome.pool.clone());
        log::info!("worker in slot {} of the pool `{}`", welcome.slot, welcome.pool);
        if let Some((name, item)) = welcome.initializer.as_ref().zip(item) {
            let functions = self.functions;
            match self.run(functions.find(name).as_ref().copied(), item) {
                None => return Ok(Flow::Break(EXIT_NORMAL)),
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let (failure, opaque) = error.into_parts();
                    let payload = encode_opaque(opaque)?;
                    let flow = self.send(&FromWorker::InitializerFailed(failure), &payload)?;
                    return Ok(match flow {
                        Flow::Continue(()) => Flow::Break(EXIT_CALL_FAILED),
                        leave @ Flow::Break(_) => leave,
                    });
                }
            }
        }
        self.send(&FromWorker::Ready {}, &[])
    }

    fn call(&mut self, call: &Call<'_>, payload: &[u8]) -> Result<Flow, ServeError> {
        let items = envelope::items(call, payload)?;
        let functions = self.functions;
        let function = functions.find(&call.function);
        let mut status = EXIT_NORMAL;
        for (number, item) in (0..).zip(items) {
            let in_hand = in_hand::hold(&self.line, call.id, number);
            let Some(outcome) = self.run(function.as_ref().copied(), item) else {
                return Ok(Flow::Break(EXIT_NORMAL));
            };
            drop(in_hand);
            let answered = self.answer(call.id, number, outcome, &mut status)?;
            if answered.is_break() {
                return Ok(answered);
            }
        }
        Ok(if call.last { Flow::Break(status) } else { Flow::Continue(()) })
    }

    /// Runs a function on one item, so that `result` holds what it gives; `None` if it did not
    /// begin, as the master is gone.
    fn run(
        &mut self,
        function: Result<&Function, &Error>,
        item: Item<'_>,
    ) -> Option<Result<(), Error>> {
        if !self.watch.begin_call() {
            return None;
        }
        self.result.clear();
        let outcome = match function {
            Ok(function) => function.run(item, &mut self.result),
            Err(unknown) => Err(unknown.clone()),
        };
        // What the function printed is on its way before its answer is.
        if let Err(error) = io::stdout().flush() {
            log::warn!("cannot write to standard output: {error}");
        }
        self.watch.end_call();
        Some(outcome)
    }

    /// Sends the outcome of one item. A result or an error too large to be sent becomes an error
    /// that says so.
    fn answer(
        &mut self,
        id: u64,
        item: u32,
        outcome: Result<(), Error>,
        status: &mut u8,
    ) -> Result<Flow, ServeError> {
        let error = match outcome {
            Ok(()) => {
                let result = std::mem::take(&mut self.result);
                let sent = self.frame_of(&FromWorker::Result { id, item }, &result)?;
                self.result = result;
                if sent {
                    return self.write_frame();
                }
                too_large(MAX_FRAME)
            }
            Err(error) => error,
        };
        *status = EXIT_CALL_FAILED;
        let (failure, opaque) = error.into_parts();
        let payload = encode_opaque(opaque)?;
        self.send(&FromWorker::Error { id, item, failure }, &payload)
    }

    /// Sends a message. An opaque payload too large for a frame is left out, and the log says so:
    /// the error itself matters more.
    fn send(&mut self, message: &FromWorker, payload: &[u8]) -> Result<Flow, ServeError> {
        if !self.frame_of(message, payload)? {
            log::warn!("{} bytes of an error do not fit a frame and are left out", payload.len());
            self.frame.clear();
            envelope::append_frame(&mut self.frame, message, &[]).map_err(ServeError::Encode)?;
        }
        self.write_frame()
    }

    /// Makes the frame to be sent next; `false` if it would be too large.
    fn frame_of(&mut self, message: &FromWorker, payload: &[u8]) -> Result<bool, ServeError> {
        self.frame.clear();
        match envelope::append_frame(&mut self.frame, message, payload) {
            Ok(()) => Ok(true),
            Err(SendError::TooLarge(_)) => Ok(false),
            Err(error) => Err(ServeError::Encode(error)),
        }
    }

    fn write_frame(&mut self) -> Result<Flow, ServeError> {
        let written = (&*self.line.socket).write_all(&self.frame);
        for buffer in [&mut self.frame, &mut self.result] {
            if buffer.capacity() > KEPT_CAPACITY {
                *buffer = Vec::new();
            }
        }
        match written {
            Ok(()) => Ok(Flow::Continue(())),
            Err(error) if is_gone(&error) => {
                log::info!("the master is gone: {error}");
                Ok(Flow::Break(EXIT_NORMAL))
            }
            Err(error) => Err(ServeError::Write(error)),
        }
    }

    const fn unexpected(&self, found: &'static str) -> ServeError {
        let expected = match (self.welcomed, self.line.cancel) {
            (false, _) => "`welcome` or `reject`",
            (true, false) => "`call` or `drain`",
            (true, true) => "`call`, `cancel` or `drain`",
        };
        ServeError::Unexpected { expected, found }
    }
}

fn encode_opaque(opaque: Option<Vec<u8>>) -> Result<Vec<u8>, ServeError> {
    match opaque {
        None => Ok(Vec::new()),
        Some(opaque) => rmp_serde::to_vec(Bytes::new(&opaque))
            .map_err(|error| ServeError::Encode(SendError::Encode(error))),
    }
}
