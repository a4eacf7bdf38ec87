//! One recorded worker, played to another.

use std::{
    collections::{HashSet, VecDeque},
    io::Read,
    time::Duration,
};

use protocol::{
    envelope,
    limits::PROTOCOL_VERSION,
    message::{Call, FromMaster, Hello, Welcome, feature},
};

use super::{
    Difference, Different, Play, ReplayError, ReplaySummary,
    answer::{Answer, Likeness, Said, liken},
    call::{FirstItems, body, first_items, welcome},
};
use crate::{
    deadline::Deadline,
    driver::lone::{Heard, LoneWorker},
    pool::INITIALIZER_TIMEOUT,
    recording::{Direction, Reader, Record},
    report::{Exit, count},
};

/// How far the two are.
pub(super) struct Session<'a> {
    play: &'a Play<'a>,
    summary: &'a mut ReplaySummary,
    tell: &'a mut dyn FnMut(&Difference),
    peer: LoneWorker,
    hello: Hello,
    /// Features that were agreed on.
    features: HashSet<String>,
    /// Answers that are recorded and not yet used.
    recorded_left: u64,
    /// Items that the recorded worker is still to answer, in order.
    due: VecDeque<Due>,
    left: &'a mut LeftOut,
    /// How long it may take until it is ready.
    begins_within: Duration,
    /// It was asked to leave.
    asked_to_leave: bool,
}

/// An item that an answer is due for.
struct Due {
    call: u64,
    item: u32,
    function: String,
    arguments: Vec<u8>,
    cancelled: bool,
    /// It was not sent, as the other worker lacks its function.
    skipped: bool,
}

/// Answers that were not compared, in all sessions.
#[derive(Default)]
pub(super) struct LeftOut {
    missing: u64,
    cancelled: u64,
}

impl LeftOut {
    pub(super) fn tell(&self, summary: &mut ReplaySummary) {
        note_left_out(summary, self.missing, "of functions that the worker does not have");
        note_left_out(summary, self.cancelled, "to items that were cancelled");
    }
}

fn none_within(timeout: Duration) -> String {
    format!("no answer came within {timeout:?}")
}

fn note_left_out(summary: &mut ReplaySummary, left: u64, why: &str) {
    if left > 0 {
        summary.note(format!("left out: {} {why}", count(left, "answer")));
    }
}

/// Whether the other worker is still to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl<'a> Session<'a> {
    /// Plays what was said to one worker, as far as it was recorded.
    pub(super) fn play(
        play: &'a Play<'a>,
        mut reader: Reader<impl Read>,
        summary: &'a mut ReplaySummary,
        left: &'a mut LeftOut,
        tell: &'a mut dyn FnMut(&Difference),
    ) -> Result<(), ReplayError> {
        let Play { command, surroundings, options, worker } = *play;
        let cannot = |problem| ReplayError::Start {
            worker: worker.number,
            command: command.to_string(),
            problem,
        };
        let (peer, hello) =
            LoneWorker::start(command, surroundings, options.start_timeout).map_err(cannot)?;
        log::info!("worker {} is played to process {}", worker.number, peer.id());
        summary.workers += 1;
        let mut session = Self {
            play,
            summary,
            tell,
            peer,
            hello,
            features: HashSet::new(),
            recorded_left: worker.answers,
            due: VecDeque::new(),
            left,
            begins_within: options.timeout,
            asked_to_leave: false,
        };
        session.check_version().map_err(cannot)?;
        session.compare_functions();
        let mut next = Next::GoOn;
        while next == Next::GoOn && reader.next_offset() <= worker.last {
            // It was read through before: where it is cut, its workers end.
            let Ok(Some(entry)) = reader.next() else { break };
            if let Record::Frame { worker: number, direction, body } = entry.record
                && number == worker.number
            {
                next = match direction {
                    Direction::ToWorker => session.say(body).map_err(cannot)?,
                    Direction::FromWorker => session.expect(body),
                };
            }
        }
        session.end(next);
        Ok(())
    }

    fn check_version(&self) -> Result<(), String> {
        let Hello { oldest, newest, .. } = self.hello;
        if (oldest..=newest).contains(&PROTOCOL_VERSION) {
            return Ok(());
        }
        Err(format!(
            "it speaks versions {oldest} to {newest} of the protocol, and the recording is of \
             version {PROTOCOL_VERSION}"
        ))
    }

    fn compare_functions(&mut self) {
        let worker = self.play.worker;
        let missing = worker.functions.iter().filter(|name| !self.has(name));
        let (called, others): (Vec<_>, Vec<_>) =
            missing.cloned().partition(|name| worker.called.contains(name));
        for function in called {
            self.differ(Different::MissingFunction(function));
        }
        if !others.is_empty() {
            let (functions, names) = (count(others.len() as u64, "function"), others.join(", "));
            self.summary.note(format!(
                "the worker lacks {functions} that the recorded one had and that nobody called: \
                 {names}"
            ));
        }
    }

    fn has(&self, function: &str) -> bool {
        self.hello.functions.iter().any(|one| one.name == function)
    }

    fn differ(&mut self, what: Different) {
        self.summary.different += 1;
        let (worker, slot) = (self.play.worker.number, self.play.worker.slot);
        (self.tell)(&Difference { worker, slot, what });
    }

    /// Says what was recorded of the master.
    fn say(&mut self, recorded: &[u8]) -> Result<Next, String> {
        let Ok((message, payload)) = envelope::open::<FromMaster<'_>>(recorded) else {
            self.summary.note("left out: frames of the master that make no sense".into());
            return Ok(Next::GoOn);
        };
        match message {
            FromMaster::Welcome(recorded) => self.welcome(recorded, payload)?,
            FromMaster::Call(call) => self.call(call, payload)?,
            FromMaster::Cancel { id, item } => self.cancel(id, item, recorded),
            FromMaster::Drain {} => {
                self.peer.send(recorded);
                self.asked_to_leave = true;
            }
            FromMaster::Reject { .. } => return Ok(Next::Stop),
        }
        Ok(Next::GoOn)
    }

    fn welcome(&mut self, recorded: Welcome, payload: &[u8]) -> Result<(), String> {
        let (welcome, lacking) = welcome(recorded, &self.hello);
        for feature in lacking {
            self.summary.note(format!("the worker does not know the feature `{feature}`"));
        }
        self.features = welcome.features.iter().cloned().collect();
        if welcome.initializer.is_some() {
            // As in a pool.
            self.begins_within = self.begins_within.max(INITIALIZER_TIMEOUT);
        }
        let welcome = FromMaster::Welcome(welcome);
        self.peer.send(&body(&welcome, payload).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn call(&mut self, call: Call<'_>, payload: &[u8]) -> Result<(), String> {
        let is_last = call.last;
        let Some(first) = first_items(call, payload, self.recorded_left) else { return Ok(()) };
        let FirstItems { call, payload, arguments } = first;
        self.recorded_left -= u64::from(call.items);
        let skipped = !self.has(&call.function);
        for (item, arguments) in (0..).zip(arguments) {
            let (function, arguments) = (call.function.to_string(), arguments.to_vec());
            let cancelled = false;
            self.due.push_back(Due {
                call: call.id,
                item,
                function,
                arguments,
                cancelled,
                skipped,
            });
        }
        if !skipped {
            self.asked_to_leave |= is_last && call.last;
            let call = FromMaster::Call(call);
            self.peer.send(&body(&call, payload).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn cancel(&mut self, id: u64, item: u32, recorded: &[u8]) {
        let is_it = |due: &&mut Due| due.call == id && due.item == item;
        // Otherwise it came too late, or its item has no answer.
        let Some(due) = self.due.iter_mut().find(is_it) else { return };
        due.cancelled = true;
        if !due.skipped && self.features.contains(feature::CANCEL) {
            self.peer.send(recorded);
        }
    }

    /// Compares what the recorded worker said with what comes.
    fn expect(&mut self, recorded: &[u8]) -> Next {
        let said = match Said::read(recorded) {
            Ok(said) => said,
            // From here on the survey counts no answers.
            Err(_) => return Next::GoOn,
        };
        match said {
            Said::Ready => self.expect_beginning(None),
            Said::Unfit(failure) => self.expect_beginning(Some(failure)),
            Said::Answer { id, item, answer } => self.expect_answer(id, item, answer),
            Said::Progress | Said::Other(_) => Next::GoOn,
        }
    }

    fn expect_beginning(&mut self, recorded: Option<Answer>) -> Next {
        let came = match (self.next_word(self.begins_within), &recorded) {
            (Ok(Said::Ready), None) => return Next::GoOn,
            (
                Ok(Said::Unfit(Answer::Failure { kind, .. })),
                Some(Answer::Failure { kind: other, .. }),
            ) if kind == *other => {
                return Next::Stop;
            }
            (Ok(Said::Ready), Some(_)) => "it was ready".to_owned(),
            (Ok(Said::Unfit(Answer::Failure { kind, message })), _) => {
                format!("its initializer failed: {kind}: {message}")
            }
            (Ok(_), _) => "it said something else".to_owned(),
            (Err(why), _) => why,
        };
        self.differ(Different::Initializer { recorded, came });
        Next::Stop
    }

    fn expect_answer(&mut self, id: u64, item: u32, recorded: Answer) -> Next {
        let is_it = |due: &&Due| due.call == id && due.item == item;
        // Otherwise the recorded worker broke the protocol here.
        if self.due.front().filter(is_it).is_none() {
            return Next::GoOn;
        }
        let Some(due) = self.due.pop_front() else { return Next::GoOn };
        if due.skipped {
            self.left.missing += 1;
            return Next::GoOn;
        }
        let came = match self.next_word(self.play.options.timeout) {
            Ok(Said::Answer { id: came_id, item: came_item, answer }) => {
                if (came_id, came_item) == (id, item) {
                    Ok(answer)
                } else {
                    Err(format!("it answered item {came_item} of call {came_id} instead"))
                }
            }
            Ok(_) => Err("it said something that is no answer".to_owned()),
            Err(why) => Err(why),
        };
        let next = if came.is_ok() { Next::GoOn } else { Next::Stop };
        if due.cancelled && came.is_ok() {
            self.left.cancelled += 1;
            return next;
        }
        self.summary.answers += 1;
        let tolerance = self.play.options.tolerance;
        let likeness = came.as_ref().map(|came| liken(&recorded, came, tolerance));
        let place = match likeness {
            Ok(Likeness::Same) => return next,
            Ok(Likeness::OtherWords) => {
                self.summary.other_words += 1;
                return next;
            }
            Ok(Likeness::Values(place)) => Some(place),
            Ok(Likeness::Different) | Err(_) => None,
        };
        let Due { call, item, function, arguments, .. } = due;
        self.differ(Different::Answer { call, item, function, arguments, recorded, came, place });
        next
    }

    /// The next thing that the other worker says, but for its progress; or why there is none.
    fn next_word(&mut self, timeout: Duration) -> Result<Said, String> {
        let deadline = Deadline::after(timeout);
        loop {
            let frame = match self.peer.hear(deadline) {
                Heard::Frame(frame) => frame,
                Heard::Silence => return Err(none_within(timeout)),
                Heard::End => return Err(self.how_it_ended()),
                Heard::Nonsense(why) => return Err(format!("it sent no frame: {why}")),
            };
            match Said::read(&frame) {
                // Frames that are there already do not wait.
                Ok(Said::Progress) if deadline.is_over() => return Err(none_within(timeout)),
                Ok(Said::Progress) => {}
                Ok(said) => return Ok(said),
                Err(why) => return Err(format!("it broke the protocol: {why}")),
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        match self.peer.end() {
            Some(exit) => format!("the worker {exit}"),
            None => "the worker closed its connection and lived on".to_owned(),
        }
    }

    /// Lets the other worker go.
    fn end(mut self, next: Next) {
        let worker = self.play.worker;
        if next == Next::GoOn && self.asked_to_leave {
            self.compare_ends(worker.exit);
        }
        match next {
            // How it ended was compared, if there was anything to compare.
            Next::GoOn => _ = self.peer.end(),
            Next::Stop => self.peer.kill(),
        }
        let unheard = self.due.len() as u64 + self.recorded_left;
        let why = format!("of worker {}, behind what ended its replay", worker.number);
        note_left_out(self.summary, unheard, &why);
    }

    /// Both were asked to leave.
    fn compare_ends(&mut self, recorded: Option<Exit>) {
        let timeout = self.play.options.timeout;
        let came = match self.peer.hear(Deadline::after(timeout)) {
            Heard::Frame(_) | Heard::Nonsense(_) => {
                self.summary.note("the worker says more than it was asked".into());
                self.peer.end()
            }
            Heard::Silence => None,
            Heard::End => self.peer.wait_for_exit(timeout),
        };
        // How one ended that was killed in the end says nothing.
        if let Some(recorded @ Exit::Code(_)) = recorded
            && came != Some(recorded)
        {
            self.differ(Different::End { recorded, came });
        }
    }
}
