//! What is judged of each message: whether it may come here, and what it says.

use std::{collections::BTreeSet, time::Duration};

use protocol::{
    limits::{MAX_PAYLOAD_DEPTH, PROGRESS_INTERVAL, PROTOCOL_VERSION},
    message::feature,
};

use super::{Answer, Phase, Session, SharedOutput, broken_here, item_of, last_line};
use crate::{
    check::finding::{Finding, Stop},
    driver::now,
};
use protocol::strict::{Function, Message, Value, read};

impl Session<'_> {
    /// What is no message at all, where a message was due that has a requirement of its own.
    pub(super) fn in_its_place(&self, finding: Finding) -> Finding {
        match self.phase {
            Phase::Hello if finding.requirement == 12 && self.hello.is_none() => {
                Finding { requirement: 16, ..finding }
            }
            _ => finding,
        }
    }

    pub(super) fn judge(&mut self, message: &Message) -> Result<(), Stop> {
        let out_of_place = |requirement, text: String| {
            Err(Finding::new(requirement, text).came(&message.body).into())
        };
        let name = message.name;
        match (self.phase, name) {
            (Phase::Hello, "hello") => self.judge_hello(message),
            (Phase::Hello, _) => out_of_place(16, format!("`{name}` came before the hello")),
            (_, "hello") => out_of_place(16, "a second hello came".into()),
            (Phase::Greeted, _) => out_of_place(19, format!("`{name}` came before the welcome")),
            (Phase::Welcomed, "ready") => {
                self.phase = Phase::Ready;
                self.trial.confirm(19);
                Ok(())
            }
            (Phase::Welcomed, "initializer_failed") => {
                self.phase = Phase::InitializerFailed;
                self.trial.confirm(19);
                Ok(())
            }
            (Phase::Welcomed, _) => out_of_place(19, format!("`{name}` came before `ready`")),
            (_, "ready" | "initializer_failed") => {
                out_of_place(19, format!("`{name}` came when the worker was ready or had failed"))
            }
            (Phase::InitializerFailed, _) => {
                out_of_place(20, format!("`{name}` came behind `initializer_failed`"))
            }
            (Phase::Ready, "progress") => self.judge_progress(message),
            (Phase::Ready, _) => self.judge_answer(message),
        }
    }

    fn judge_hello(&mut self, message: &Message) -> Result<(), Stop> {
        let broken = |requirement, text: String| {
            Err(Finding::new(requirement, text).came(&message.body).into())
        };
        if message.text("token") != self.subject.token {
            return broken(18, "the token of the hello is not that of WORKER_TOKEN".into());
        }
        let (oldest, newest) = (message.number("oldest"), message.number("newest"));
        if oldest > newest {
            return broken(18, format!("`oldest` is {oldest}, and `newest` {newest}"));
        }
        if !(oldest..=newest).contains(&PROTOCOL_VERSION.into()) {
            let text = format!(
                "it speaks the versions {oldest} to {newest} of the protocol; this checker speaks \
                 {PROTOCOL_VERSION}"
            );
            return broken(18, text);
        }
        self.functions = message.functions();
        let mut names = BTreeSet::new();
        for Function { name, .. } in &self.functions {
            if name.is_empty() {
                return broken(17, "a function has an empty name".into());
            }
            if !names.insert(name) {
                return broken(17, format!("two functions are called `{name}`"));
            }
        }
        self.hello = Some(message.clone());
        self.phase = Phase::Greeted;
        [16, 17, 18].into_iter().for_each(|number| self.trial.confirm(number));
        Ok(())
    }

    fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    fn judge_progress(&mut self, message: &Message) -> Result<(), Stop> {
        let broken = |text: &str| Err(Finding::new(38, text).came(&message.body).into());
        if !self.has_feature(feature::PROGRESS) {
            return broken("`progress` came, and the welcome does not have that feature");
        }
        if self.due.front() != Some(&item_of(message)) {
            return broken("`progress` is not about the item in hand");
        }
        self.progress += 1;
        let item = item_of(message);
        let (_, since, count) = match self.reports.take() {
            Some((other, since, count)) if other == item => (item, since, count + 1),
            _ => (item, now(), 1),
        };
        self.reports = Some((item, since, count));
        // One that was late, and one that was not, may come at once.
        let due = since.elapsed().as_millis() / PROGRESS_INTERVAL.as_millis() + 2;
        if u128::from(count) > due {
            let text =
                format!("{count} reports of progress about one item within {:?}", since.elapsed());
            let most = format!("{due} at the most");
            self.trial.note(Finding::new(39, text).expected_text(most).came(&message.body));
        }
        Ok(())
    }

    fn judge_answer(&mut self, message: &Message) -> Result<(), Stop> {
        let broken = |requirement, text: &str| {
            Err::<(), Stop>(Finding::new(requirement, text).came(&message.body).into())
        };
        let keeps = self.has_feature(feature::SHARED_OUTPUT);
        let values = match message.name {
            "results" if !keeps => {
                return broken(42, "`results` came, and the welcome does not have that feature");
            }
            "shared_result" if !keeps || !self.has_feature(feature::SHARED_RESULTS) => {
                return broken(52, "`shared_result` came, and was not agreed on");
            }
            "shared_result" => vec![Answer::Value(self.take_shared(message)?)],
            "error" => {
                let (kind, message) = message.failure();
                vec![Answer::Error { kind, message }]
            }
            _ => message.payload.iter().cloned().map(Answer::Value).collect(),
        };
        let (id, first) = item_of(message);
        for (number, answer) in (first..).zip(values) {
            let item = (id, number);
            if self.due.front() != Some(&item) {
                return match (self.answered.contains(&item), self.due.contains(&item)) {
                    (true, _) => broken(27, "an item was answered twice"),
                    (false, true) => broken(26, "an item was answered before the one before it"),
                    (false, false) => broken(27, "an answer came to what was never asked"),
                };
            }
            self.due.pop_front();
            self.answered.insert(item);
            self.came.push_back(answer);
        }
        [15, 21, 26, 27].into_iter().for_each(|number| self.trial.confirm(number));
        Ok(())
    }

    /// Reads the value that a `shared_result` tells of.
    fn take_shared(&mut self, message: &Message) -> Result<Value, Stop> {
        let (offset, length) = (message.number("offset"), message.number("length"));
        let broken = |text: String| Stop::from(Finding::new(52, text).came(&message.body));
        let Some(SharedOutput { file, results: Some(results) }) = &self.shared_output else {
            return Err(broken("there is no room for large results".into()));
        };
        let end = offset.checked_add(length).filter(|&end| length > 0 && end <= file.size());
        if end.is_none() || offset < *results {
            return Err(broken(format!(
                "the range of {length} bytes at {offset} is not within the room from {results} to {}",
                file.size()
            )));
        }
        let bytes = file.read(offset, length).map_err(broken_here)?;
        let value = match read(&bytes, 0, MAX_PAYLOAD_DEPTH) {
            Ok((value, end)) if end == bytes.len() => value,
            Ok((_, end)) => {
                return Err(broken(format!("{} bytes are behind the value", bytes.len() - end)));
            }
            Err(error) => {
                return Err(broken(format!("at byte {}: {}", error.offset, error.problem)));
            }
        };
        self.shared_results.push((offset, length));
        if self.takes_results {
            file.set_taken(self.shared_results.len() as u64).map_err(broken_here)?;
        }
        self.trial.confirm(52);
        Ok(value)
    }

    /// The stream has ended, and that was not to be.
    pub(super) fn ended(&mut self, rest: &[u8]) -> Finding {
        let status = self.subject.exit(Duration::from_millis(500));
        let how = match status {
            Some(status) => format!("the worker ended ({status})"),
            None => "the worker closed its socket and lives on".to_owned(),
        };
        let (requirement, when) = match self.phase {
            Phase::Hello => (16, "before its hello"),
            Phase::Greeted => (35, "before the welcome, without having been asked to"),
            Phase::Welcomed => (19, "before it said `ready` or `initializer_failed`"),
            Phase::InitializerFailed => (20, "behind `initializer_failed`"),
            Phase::Ready if self.due.is_empty() => (35, "without having been asked to"),
            Phase::Ready => (self.at_stake, "and still owes answers"),
        };
        let inside = if rest.is_empty() { "" } else { ", inside of a frame" };
        let text = format!("{how} {when}{inside}{}", last_line(&self.subject));
        let finding = Finding::new(requirement, text);
        if rest.is_empty() { finding } else { finding.came(rest) }
    }
}
