//! A session with a master: each frame that comes in is handled to its end, answers included,
//! before the next one is looked at.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use interprocess::local_socket::Stream;

use protocol::{
    envelope::{self, Item, SendError},
    launch::{EXIT_CALL_FAILED, EXIT_NORMAL},
    limits::{LENGTH_BYTES, MAX_FRAME, MAX_FRAME_BEFORE_WELCOME, PROTOCOL_VERSION},
    message::{Call, FromMaster, FromWorker, Hello, SharedOutput, SharedRange, Welcome, feature},
};
use serde_bytes::Bytes;

use crate::{
    Worker,
    connection::ServeError,
    context,
    encode::too_large,
    error::Error,
    in_hand::{self, Line},
    inbox::Inbox,
    mapping::ArgumentsMapping,
    memory,
    output::{Flow, Output},
    registry::Function,
    result::ResultBuffer,
    watch::Watch,
};

/// Environment variable that makes a worker keep to the base rule if it is `off`: it writes each
/// answer by itself, and does without a shared output. For comparisons.
const SHARED_OUTPUT_VARIABLE: &str = "WORKER_SHARED_OUTPUT";

/// What two processes on one machine can do.
const SHARED: [&str; 3] =
    [feature::SHARED_OUTPUT, feature::SHARED_RESULTS, feature::SHARED_ARGUMENTS];

/// The features that the hello offers. Only Unix has a way to read ahead without blocking, and
/// to map a file.
fn features() -> Vec<&'static str> {
    let mut features = vec![feature::PROGRESS];
    if cfg!(unix) {
        features.push(feature::CANCEL);
        if std::env::var_os(SHARED_OUTPUT_VARIABLE).is_none_or(|value| value != "off") {
            features.extend(SHARED);
        }
    }
    features
}

/// One connection's state.
pub(crate) struct Session<'a> {
    worker: &'a Worker,
    /// What the hello offered.
    features: Vec<&'static str>,
    /// With the features that the welcome chose, none before it.
    line: Rc<Line>,
    output: Rc<RefCell<Output>>,
    watch: Watch,
    welcomed: bool,
    /// Reused for every encoded result.
    result: ResultBuffer,
    /// Where large arguments lie, if that was agreed on.
    arguments: Option<Rc<ArgumentsMapping>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        socket: &Arc<Stream>,
        inbox: &Rc<Inbox>,
        watch: Watch,
    ) -> Self {
        let output = Rc::new(RefCell::new(Output::new(socket)));
        let line = Line::new(Rc::clone(&output), Rc::clone(inbox));
        let (line, features) = (Rc::new(line), features());
        let result = ResultBuffer::default();
        let (welcomed, arguments) = (false, None);
        Self { worker, features, line, output, watch, welcomed, result, arguments }
    }

    /// The way to the master.
    pub(crate) fn output(&self) -> &RefCell<Output> {
        &self.output
    }

    /// Sends the hello.
    pub(crate) fn greet(&self, token: &str) -> Result<Flow, ServeError> {
        let hello = FromWorker::Hello(Hello {
            token: token.to_owned(),
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            features: self.features.iter().map(ToString::to_string).collect(),
            name: self.worker.name.to_owned(),
            version: self.worker.version.to_owned(),
            functions: self.worker.functions.descriptions(),
        });
        let mut frame = Vec::new();
        envelope::append_frame(&mut frame, &hello, &[]).map_err(ServeError::Encode)?;
        let (size, limit) = (frame.len() - LENGTH_BYTES, MAX_FRAME_BEFORE_WELCOME);
        if size > limit {
            return Err(ServeError::HelloTooLarge { size, limit });
        }
        self.send(&hello, &[])
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
            (FromMaster::Cancel { id, item }, true) if self.line.cancel.get() => {
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
        let offered = |feature: &&String| self.features.contains(&feature.as_str());
        let unknown = welcome.features.iter().find(|feature| !offered(feature));
        if let Some(feature) = unknown {
            let offered = self.features.join("`, `");
            return Err(ServeError::Terms(format!(
                "the welcome chose the feature `{feature}`, this worker offered `{offered}`"
            )));
        }
        let item = envelope::initializer_item(welcome, payload)?;
        self.welcomed = true;
        let chosen = |name: &str| welcome.features.iter().any(|feature| feature == name);
        self.line.progress.set(chosen(feature::PROGRESS));
        self.line.cancel.set(chosen(feature::CANCEL));
        if let Some(place) = welcome.shared_output.as_ref()
            && chosen(feature::SHARED_OUTPUT)
        {
            let results = place.results.filter(|_| chosen(feature::SHARED_RESULTS));
            self.output.borrow_mut().share(&SharedOutput { results, ..place.clone() });
        }
        if let Some(place) = welcome.shared_arguments.as_ref()
            && chosen(feature::SHARED_ARGUMENTS)
        {
            match ArgumentsMapping::open(place) {
                Ok(mapping) => self.arguments = Some(Rc::new(mapping)),
                Err(error) => log::info!("large arguments cannot be shared: {error}"),
            }
        }
        context::set(welcome.slot, welcome.pool.clone());
        log::info!("worker in slot {} of the pool `{}`", welcome.slot, welcome.pool);
        if !self.watch.begin_call() {
            return Ok(Flow::Break(EXIT_NORMAL));
        }
        let prepared = self.prepare(welcome.initializer.as_deref().zip(item));
        self.watch.end_call();
        match prepared {
            Ok(()) => {
                self.send(&FromWorker::Ready { shared_arguments: self.arguments.is_some() }, &[])
            }
            Err(error) => {
                let (failure, opaque) = error.into_parts();
                let payload = encode_opaque(opaque)?;
                let flow = self.send(&FromWorker::InitializerFailed(failure), &payload)?;
                Ok(match flow {
                    Flow::Continue(()) => Flow::Break(EXIT_CALL_FAILED),
                    leave @ Flow::Break(_) => leave,
                })
            }
        }
    }

    /// Runs what the worker wants to be run before it is ready, and then the initializer.
    fn prepare(&mut self, initializer: Option<(&str, Item<'_>)>) -> Result<(), Error> {
        let worker = self.worker;
        worker.prepare()?;
        let Some((name, item)) = initializer else { return Ok(()) };
        let outcome = self.run(worker.functions.find(name).as_ref().copied(), item);
        self.output.borrow_mut().put_away(&mut self.result);
        outcome
    }

    fn call(&mut self, call: &Call<'_>, payload: &[u8]) -> Result<Flow, ServeError> {
        let arguments = self.arguments.clone();
        let payload = match call.shared {
            None => payload,
            Some(range) => {
                envelope::check_master_payload(&FromMaster::Call(call.clone()), payload)?;
                let shared = arguments.as_ref().and_then(|arguments| arguments.get(range));
                shared.ok_or_else(|| {
                    let SharedRange { offset, length } = range;
                    ServeError::Terms(match arguments {
                        None => "a call refers to shared arguments, and there are none".to_owned(),
                        Some(_) => format!(
                            "a call refers to {length} bytes at {offset} of the shared arguments, \
                             which are not in the file"
                        ),
                    })
                })?
            }
        };
        if call.shared.is_some() {
            self.output.borrow_mut().note_arguments(payload.len());
        }
        if payload.len() > memory::LARGE {
            memory::keep_large();
        }
        let items = envelope::items(call, payload)?;
        let functions = &self.worker.functions;
        let function = functions.find(&call.function);
        let mut status = EXIT_NORMAL;
        let in_hand = in_hand::hold(&self.line, call.id);
        if !self.watch.begin_call() {
            return Ok(Flow::Break(EXIT_NORMAL));
        }
        for (number, item) in (0..).zip(items) {
            if self.watch.is_gone() {
                return Ok(Flow::Break(EXIT_NORMAL));
            }
            in_hand.begin(number);
            let outcome = self.run(function.as_ref().copied(), item);
            if number + 1 == call.items {
                // The master may close as soon as it has the last answer.
                self.watch.end_call();
            }
            let answered = self.answer(call.id, number, outcome, &mut status)?;
            if answered.is_break() {
                return Ok(answered);
            }
        }
        if let (Some(arguments), Some(range)) = (&arguments, call.shared) {
            arguments.done_with(range);
        }
        Ok(if call.last { Flow::Break(status) } else { Flow::Continue(()) })
    }

    /// Runs a function on one item, so that `result` holds what it gives.
    fn run(&mut self, function: Result<&Function, &Error>, item: Item<'_>) -> Result<(), Error> {
        self.output.borrow_mut().lend(&mut self.result);
        match function {
            Ok(function) => function.run(item, &mut self.result),
            Err(unknown) => Err(unknown.clone()),
        }
    }

    /// Gives the outcome of one item. A result or an error too large to be sent becomes an error
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
                let mut output = self.output.borrow_mut();
                let answered = match self.result.share() {
                    Some(place) => Some(output.answer_there(id, item, place)?),
                    None => output.answer(id, item, self.result.as_slice())?,
                };
                output.put_away(&mut self.result);
                drop(output);
                match answered {
                    Some(flow) => return Ok(flow),
                    None => too_large(MAX_FRAME),
                }
            }
            Err(error) => {
                self.output.borrow_mut().put_away(&mut self.result);
                error
            }
        };
        *status = EXIT_CALL_FAILED;
        let (failure, opaque) = error.into_parts();
        let payload = encode_opaque(opaque)?;
        self.send(&FromWorker::Error { id, item, failure }, &payload)
    }

    fn send(&self, message: &FromWorker, payload: &[u8]) -> Result<Flow, ServeError> {
        self.output.borrow_mut().send(message, payload)
    }

    fn unexpected(&self, found: &'static str) -> ServeError {
        let expected = match (self.welcomed, self.line.cancel.get()) {
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
