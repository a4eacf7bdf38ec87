//! One conversation with a worker, in which every frame that it sends is judged.

mod judging;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use protocol::{
    limits::{MAX_FRAME, MAX_FRAME_BEFORE_WELCOME, PROTOCOL_VERSION},
    message::feature,
    spec::Side,
};

use super::{
    finding::{Finding, Stop},
    shared::SharedFile,
    subject::{Came, Subject, Wire},
    trial::Trial,
};
use crate::deadline::Deadline;
use protocol::strict::{Function, Message, Value, envelope, frame};

/// How long a worker may take to its hello; it may have to load a lot.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// W-27: each item is answered once.
const ANSWERED_ONCE: u32 = 27;

/// W-61 says what an answer is to be, and not that there is one.
const CONFORMANCE: u32 = 61;

/// How far a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Hello,
    Greeted,
    Welcomed,
    Ready,
    InitializerFailed,
}

/// What a worker says of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Value(Value),
    Error { kind: String, message: String },
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(formatter, "the value {value}"),
            Self::Error { kind, message } => {
                let message: String = message.chars().take(200).collect();
                write!(formatter, "an error of kind `{kind}`: {message}")
            }
        }
    }
}

/// A shared output, as this master has made it.
pub(super) struct SharedOutput {
    pub(super) file: SharedFile,
    /// Where the room for large results begins.
    pub(super) results: Option<u64>,
}

pub(super) struct Session<'a> {
    trial: &'a Trial<'a>,
    pub(super) subject: Subject,
    pub(super) wire: Wire,
    pub(super) hello: Option<Message>,
    functions: Vec<Function>,
    phase: Phase,
    /// The features of the welcome.
    features: Vec<String>,
    /// Items that were sent and are not answered, in order.
    due: VecDeque<(u64, u32)>,
    /// Those that are.
    answered: BTreeSet<(u64, u32)>,
    /// Answers that came together with one that was given out.
    came: VecDeque<Answer>,
    /// What is not kept if the answer that is waited for does not come.
    at_stake: u32,
    next_id: u64,
    pub(super) shared_output: Option<SharedOutput>,
    /// The places of all shared results that came.
    pub(super) shared_results: Vec<(u64, u64)>,
    /// Whether large results are said to be taken as they come.
    pub(super) takes_results: bool,
    /// How many reports of progress came.
    pub(super) progress: usize,
    /// Those about the item in hand, and when the first of them came.
    reports: Option<((u64, u32), Instant, u32)>,
}

impl<'a> Session<'a> {
    /// Starts the worker and takes its hello.
    pub(super) fn greeted(trial: &'a Trial<'a>) -> Result<Self, Stop> {
        let mut subject = Subject::start(trial)?;
        let Some(stream) = subject.accept(HELLO_PATIENCE).map_err(broken_here)? else {
            let mut text = format!("it did not connect within {} s", HELLO_PATIENCE.as_secs());
            if let Some(status) = subject.exit(Duration::ZERO) {
                text = format!("it did not connect, and ended: {status}");
            }
            return Err(Finding::new(4, text + &last_line(&subject)).into());
        };
        let mut session = Self {
            trial,
            wire: Wire::new(stream).map_err(broken_here)?,
            subject,
            hello: None,
            functions: Vec::new(),
            phase: Phase::Hello,
            features: Vec::new(),
            due: VecDeque::new(),
            answered: BTreeSet::new(),
            came: VecDeque::new(),
            at_stake: ANSWERED_ONCE,
            next_id: 1,
            shared_output: None,
            shared_results: Vec::new(),
            takes_results: true,
            progress: 0,
            reports: None,
        };
        if session.receive(HELLO_PATIENCE)?.is_none() {
            let text = format!("no hello came within {} s", HELLO_PATIENCE.as_secs());
            return Err(Finding::new(16, text).into());
        }
        Ok(session)
    }

    /// The same, welcomed without features and ready.
    pub(super) fn ready(trial: &'a Trial<'a>) -> Result<Self, Stop> {
        Self::ready_with(trial, &[])
    }

    /// The same, with these of the features that carry nothing in the welcome.
    pub(super) fn ready_with(trial: &'a Trial<'a>, features: &[&str]) -> Result<Self, Stop> {
        let mut session = Self::greeted(trial)?;
        session.needs_features(features)?;
        session.welcome(features, [], &[])?;
        session.get_ready()?;
        Ok(session)
    }

    /// The same, with a shared output of this size and perhaps room for large results in it.
    pub(super) fn ready_keeping(
        trial: &'a Trial<'a>,
        size: u64,
        results: Option<u64>,
    ) -> Result<Self, Stop> {
        let mut session = Self::greeted(trial)?;
        let features: &[&str] = match results {
            Some(_) => &[feature::SHARED_OUTPUT, feature::SHARED_RESULTS],
            None => &[feature::SHARED_OUTPUT],
        };
        session.needs_features(features)?;
        let file = SharedFile::new(size).map_err(broken_here)?;
        let place = file.place(results);
        session.shared_output = Some(SharedOutput { file, results });
        session.welcome(features, [("shared_output", place)], &[])?;
        session.get_ready()?;
        Ok(session)
    }

    /// Stops the case if the worker does not offer a function.
    pub(super) fn needs(&self, functions: &[&'static str]) -> Result<(), Stop> {
        let is_missing = |name: &&str| self.function(name).is_none();
        let missing: Vec<_> = functions.iter().copied().filter(is_missing).collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Lacking(missing)) }
    }

    /// Stops the case if the worker does not have a feature, as it need not.
    pub(super) fn needs_features(&self, features: &[&str]) -> Result<(), Stop> {
        let announced = self.hello.as_ref().map(|hello| hello.texts("features"));
        let announced = announced.unwrap_or_default();
        match features.iter().find(|name| !announced.iter().any(|known| known == *name)) {
            Some(name) => Err(Stop::Without(format!("it does not have the feature `{name}`"))),
            None => Ok(()),
        }
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// Sends a welcome with these features and further fields.
    pub(super) fn welcome<'b>(
        &mut self,
        features: &[&str],
        fields: impl IntoIterator<Item = (&'b str, Value)>,
        payload: &[Value],
    ) -> Result<(), Stop> {
        let mut all = vec![("version", Value::Integer(PROTOCOL_VERSION.into()))];
        if !features.is_empty() {
            let list = features.iter().map(|name| Value::text(name)).collect();
            all.push(("features", Value::Array(list)));
        }
        all.push(("slot", Value::Integer(0)));
        all.extend(fields);
        self.features = features.iter().map(ToString::to_string).collect();
        self.say_welcome(&frame(&envelope("welcome", all), payload))
    }

    /// Sends bytes that are a welcome.
    pub(super) fn say_welcome(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.phase = Phase::Welcomed;
        self.send(bytes)
    }

    /// Waits for `ready`.
    pub(super) fn get_ready(&mut self) -> Result<Message, Stop> {
        match self.receive(HELLO_PATIENCE)? {
            Some(message) if message.name == "ready" => Ok(message),
            Some(message) => {
                let (kind, text) = message.failure();
                let text = format!("it was not ready, but said `{}`: {kind}: {text}", message.name);
                Err(Finding::new(19, text).came(&message.body).into())
            }
            None => {
                let text = format!("it was not ready within {} s", HELLO_PATIENCE.as_secs());
                Err(Finding::new(19, text + &last_line(&self.subject)).into())
            }
        }
    }

    /// Writes bytes. Where the worker does not take them, that shows in what comes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.wire.send(bytes, self.patience_for(bytes.len())).map_err(broken_here)?;
        Ok(())
    }

    /// How long a worker may take for what it is to do at once.
    pub(super) const fn patience(&self) -> Duration {
        self.trial.patience
    }

    /// What a worker is to do at once may take so long, and longer with much data.
    pub(super) fn patience_for(&self, bytes: usize) -> Duration {
        /// Bytes a second that are the least to be expected of anybody.
        const SLOW: u64 = 10 << 20;
        self.trial.patience + Duration::from_secs(bytes as u64 / SLOW)
    }

    /// Sends a call of one or more items, and gives its id.
    pub(super) fn call(&mut self, function: &str, items: &[Vec<Value>]) -> Result<u64, Stop> {
        self.call_with(function, [], items)
    }

    /// The same with further fields.
    pub(super) fn call_with<'b>(
        &mut self,
        function: &str,
        fields: impl IntoIterator<Item = (&'b str, Value)>,
        items: &[Vec<Value>],
    ) -> Result<u64, Stop> {
        let (id, frame) = self.prepare(function, fields, items);
        self.send(&frame)?;
        Ok(id)
    }

    /// Makes a call whose bytes are to be sent by the case.
    pub(super) fn prepare<'b>(
        &mut self,
        function: &str,
        fields: impl IntoIterator<Item = (&'b str, Value)>,
        items: &[Vec<Value>],
    ) -> (u64, Vec<u8>) {
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let id = self.awaits(count);
        let mut all = vec![("id", Value::Integer(id.into())), ("function", Value::text(function))];
        if count != 1 {
            all.push(("items", Value::Integer(count.into())));
        }
        all.extend(fields);
        let items: Vec<_> = items.iter().map(|item| Value::Array(item.clone())).collect();
        (id, frame(&envelope("call", all), &items))
    }

    /// So many items are answered from here on, of a call with the id that is given.
    pub(super) fn awaits(&mut self, items: u32) -> u64 {
        let id = self.next_id;
        // Ids have no meaning, and need not grow.
        self.next_id = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.due.extend((0..items).map(|item| (id, item)));
        id
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Result<Answer, Stop> {
        self.answer_within(self.trial.patience)
    }

    pub(super) fn answer_within(&mut self, patience: Duration) -> Result<Answer, Stop> {
        let deadline = Deadline::after(patience);
        loop {
            if let Some(answer) = self.came.pop_front() {
                return Ok(answer);
            }
            // Something else may come all the time.
            let is_over = deadline.is_over();
            let left = deadline.left().unwrap_or(Duration::MAX);
            if self.receive(left)?.is_none() || is_over && self.came.is_empty() {
                let text = format!("no answer came within {:.1} s", patience.as_secs_f64());
                return Err(Finding::new(self.at_stake, text + &last_line(&self.subject)).into());
            }
        }
    }

    /// The same, where a worker that does not keep this requirement might give no answer at all.
    pub(super) fn answer_for(
        &mut self,
        requirement: u32,
        patience: Duration,
    ) -> Result<Answer, Stop> {
        if requirement != CONFORMANCE {
            self.at_stake = requirement;
        }
        let answer = self.answer_within(patience);
        self.at_stake = ANSWERED_ONCE;
        answer
    }

    /// Whether an answer comes within this time.
    pub(super) fn has_answer(&mut self, patience: Duration) -> Result<bool, Stop> {
        if self.came.is_empty() {
            self.receive(patience)?;
        }
        Ok(!self.came.is_empty())
    }

    /// The next answer is to be this value.
    pub(super) fn gives(&mut self, requirement: u32, value: &Value) -> Result<(), Stop> {
        let patience = self.trial.patience;
        self.gives_within(patience, requirement, value)
    }

    /// The next answer is to be this value, as `echo` gives it; where it is another, the case goes on.
    pub(super) fn echoes(&mut self, value: &Value) -> Result<(), Stop> {
        let answer = self.answer()?;
        if !matches!(&answer, Answer::Value(given) if value.is_same(given)) {
            let finding = Finding::new(61, "`echo` gave another value than the one that came");
            let value = Answer::Value(value.clone()).to_string();
            self.trial.note(finding.expected_text(value).came_text(answer.to_string()));
        }
        Ok(())
    }

    pub(super) fn gives_within(
        &mut self,
        patience: Duration,
        requirement: u32,
        value: &Value,
    ) -> Result<(), Stop> {
        let answer = self.answer_for(requirement, patience)?;
        match &answer {
            Answer::Value(given) if value.is_same(given) => Ok(()),
            _ => Err(Finding::new(requirement, "an item had another answer than it should have")
                .expected_text(Answer::Value(value.clone()).to_string())
                .came_text(answer.to_string())
                .into()),
        }
    }

    /// The next answer is to be an error, of this kind if one is named.
    pub(super) fn fails(&mut self, requirement: u32, kind: Option<&str>) -> Result<String, Stop> {
        let patience = self.trial.patience;
        self.fails_within(patience, requirement, kind)
    }

    pub(super) fn fails_within(
        &mut self,
        patience: Duration,
        requirement: u32,
        wanted: Option<&str>,
    ) -> Result<String, Stop> {
        let answer = self.answer_for(requirement, patience)?;
        match answer {
            Answer::Error { kind, message } if wanted.is_none_or(|wanted| wanted == kind) => {
                Ok(message)
            }
            answer => {
                let kind = wanted.map_or(String::new(), |kind| format!(" of kind `{kind}`"));
                Err(Finding::new(requirement, "an item had another answer than it should have")
                    .expected_text(format!("an error{kind}"))
                    .came_text(answer.to_string())
                    .into())
            }
        }
    }

    /// Nothing is to come for a while.
    pub(super) fn is_silent(&mut self, duration: Duration) -> Result<(), Stop> {
        match self.receive(duration)? {
            None => Ok(()),
            Some(message) => {
                let text = format!("`{}` came when nothing was to come", message.name);
                Err(Finding::new(27, text).came(&message.body).into())
            }
        }
    }

    /// The next message, judged. `None` if none comes in time.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<Option<Message>, Stop> {
        let limit = match self.phase {
            Phase::Hello => MAX_FRAME_BEFORE_WELCOME,
            _ => MAX_FRAME,
        };
        let body = match self.wire.receive(limit, patience).map_err(broken_here)? {
            Came::Frame(body) => body,
            Came::Nothing => return Ok(None),
            Came::BadLength(length) => {
                let text = match length {
                    0 => "a frame has a body of 0 bytes".to_owned(),
                    _ => format!("a frame claims {length} bytes, more than {limit}"),
                };
                let finding = Finding::new(9, text).came(&length.to_be_bytes());
                if self.at_stake == ANSWERED_ONCE {
                    return Err(finding.into());
                }
                // This is also what was not kept.
                self.trial.note(finding.clone());
                return Err(Finding { requirement: self.at_stake, ..finding }.into());
            }
            Came::End(rest) => return Err(self.ended(&rest).into()),
        };
        let message = Message::read(Side::Worker, body);
        let message = message.map_err(|defect| self.in_its_place(defect.into()))?;
        if let Some(defect) = message.canonical_defect() {
            self.trial.note(defect.into());
        }
        self.judge(&message)?;
        [9, 12, 14].into_iter().for_each(|number| self.trial.confirm(number));
        Ok(Some(message))
    }

    /// The items that are not answered, in order.
    pub(super) fn due(&self) -> impl Iterator<Item = (u64, u32)> {
        self.due.iter().copied()
    }

    /// The worker is to close its socket and to exit, and to say nothing more before.
    pub(super) fn leaves(&mut self, requirement: u32) -> Result<ExitStatus, Stop> {
        match self.wire.receive(MAX_FRAME, self.trial.patience).map_err(broken_here)? {
            Came::End(rest) if rest.is_empty() => {}
            Came::End(rest) => {
                let text = "it left inside of a frame";
                return Err(Finding::new(35, text).came(&rest).into());
            }
            Came::Frame(body) => {
                // What it says may be wrong in another way.
                let message = Message::read(Side::Worker, body.clone())?;
                self.judge(&message)?;
                let text = "it said something when it was to leave";
                return Err(Finding::new(requirement, text).came(&body).into());
            }
            Came::BadLength(length) => {
                let text = format!("it left with a frame that claims {length} bytes");
                return Err(Finding::new(9, text).into());
            }
            // Somebody else may hold the socket open.
            Came::Nothing if self.subject.exit(Duration::ZERO).is_none() => {
                return Err(self.stays(requirement));
            }
            Came::Nothing => {}
        }
        self.exits(requirement)
    }

    /// The process is to end.
    pub(super) fn exits(&mut self, requirement: u32) -> Result<ExitStatus, Stop> {
        let status = self.subject.exit(self.trial.patience);
        status.ok_or_else(|| self.stays(requirement))
    }

    fn stays(&self, requirement: u32) -> Stop {
        let patience = self.trial.patience.as_secs_f64();
        Finding::new(requirement, format!("it was still there after {patience:.1} s")).into()
    }

    /// Asks the worker to leave, and looks at what is to hold at the end of every conversation.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        self.send(&frame(&envelope("drain", []), &[]))?;
        let status = self.leaves(23)?;
        if !status.success() {
            let text = format!("it ended with another status than 0 after a drain: {status}");
            return Err(Finding::new(23, text + &last_line(&self.subject)).into());
        }
        self.trial.confirm(23);
        self.look_back()
    }

    /// Looks at what is to hold at the end of a conversation, however it ended.
    pub(super) fn look_back(self) -> Result<(), Stop> {
        if self.subject.is_somebody_waiting() {
            return Err(Finding::new(4, "it has connected more than once").into());
        }
        self.trial.confirm(4);
        let shown =
            self.subject.output().into_iter().any(|text| text.contains(&self.subject.token));
        match shown {
            true => self.trial.note(Finding::new(37, "it has printed its token")),
            false => self.trial.confirm(37),
        }
        Ok(())
    }
}

pub(super) fn item_of(message: &Message) -> (u64, u32) {
    (message.number("id"), u32::try_from(message.number("item")).unwrap_or(u32::MAX))
}

/// The last line that a worker has written to its standard error, as evidence.
pub(super) fn last_line(subject: &Subject) -> String {
    let [_, stderr] = subject.output();
    match stderr.trim_end().lines().last() {
        Some(line) => format!("; its standard error ends with: {line}"),
        None => String::new(),
    }
}

/// The system of this machine did not do what the checker needs.
pub(super) fn broken_here(error: io::Error) -> Stop {
    Stop::Impossible(format!("the system refused: {error}"))
}
