//! What workers say, to the machine and to those who wait for results.

use std::{ops::Range, sync::Arc};

use protocol::{
    envelope,
    frame::Decoder,
    message::{Failure as WireFailure, Hello, SharedRange, feature},
};

use super::{
    connection::Connection,
    process::Process,
    session::{Agreed, Breach, Said},
    shared_output::SharedOutput,
    source::Source,
    supervisor::Supervisor,
};
use crate::{
    arena,
    batch::{Submission, Values},
    error::{Error, Failure},
    events::EventKind,
    machine::{Answer, CallId, Event, Repertoire, Time, Verdict, WorkerId},
};

impl Supervisor {
    /// A worker has introduced itself.
    pub(super) fn greet(
        &mut self,
        time: Time,
        worker: WorkerId,
        hello: &Hello,
        connection: Connection,
    ) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let knows = |name: &str| hello.features.iter().any(|feature| feature == name);
        process.features =
            [feature::PROGRESS, feature::CANCEL].into_iter().filter(|name| knows(name)).collect();
        let (progress, cancel) = (knows(feature::PROGRESS), knows(feature::CANCEL));
        // A single answer has none to be kept with, and is written at once anyway; and what passes
        // through shared memory would pass by a recording.
        let one_answer = self.plan.settings.one_call || self.plan.surroundings.single_call;
        let shares = !one_answer && self.tape.is_none();
        if knows(feature::SHARED_OUTPUT) && shares {
            let has_results = knows(feature::SHARED_RESULTS);
            match SharedOutput::new(time, has_results) {
                Ok(shared_output) => {
                    process.shared_output = Some(shared_output);
                    process.features.push(feature::SHARED_OUTPUT);
                    process.features.extend(has_results.then_some(feature::SHARED_RESULTS));
                }
                Err(error) => log::warn!("cannot make a shared output: {error}"),
            }
        }
        if knows(feature::SHARED_ARGUMENTS) && shares {
            self.arena = self.arena.take().or_else(arena::open);
            process.features.extend(self.arena.is_some().then_some(feature::SHARED_ARGUMENTS));
        }
        process.session.welcome(Agreed {
            progress,
            shared_output: process.features.contains(&feature::SHARED_OUTPUT),
            shared_results: process.features.contains(&feature::SHARED_RESULTS),
            shared_arguments: process.features.contains(&feature::SHARED_ARGUMENTS),
        });
        process.connection = Some(connection);
        if self.plan.settings.one_call {
            // Nobody else is awaited, and whatever happens to the master nothing is left.
            self.gate.hide();
        }
        let command = (process.group, process.generation);
        let mut repertoire = Repertoire::default();
        for function in &hello.functions {
            let number = self.functions.number(&function.name);
            repertoire.functions.insert(number);
            if progress && function.progress {
                repertoire.reporting.insert(number);
            }
            if cancel && function.cancel {
                repertoire.cancellable.insert(number);
            }
        }
        let names = hello.functions.iter().map(|function| function.name.clone()).collect();
        self.functions.announced.insert(command, names);
        self.machine.handle(time, Event::Greeted { worker, repertoire });
        self.unfinished.insert(Source::Socket(worker));
    }

    /// Takes in every frame that is complete.
    pub(super) fn take_frames(
        &mut self,
        time: Time,
        worker: WorkerId,
        decoder: &mut Decoder,
    ) -> Result<(), Breach> {
        while let Some(frame) = decoder.next_frame()? {
            if let Some(tape) = &self.tape {
                tape.heard(worker.0, frame);
            }
            let Some(process) = self.processes.get_mut(&worker) else { return Ok(()) };
            let said = process.session.hear(frame)?;
            self.take(time, worker, said)?;
        }
        Ok(())
    }

    fn take(&mut self, time: Time, worker: WorkerId, said: Said<'_>) -> Result<(), Breach> {
        match said {
            Said::Result { id, item, value } => {
                self.take_results(time, worker, (CallId(id), item), value, &[value.len()]);
            }
            Said::Results { id, item, values } => {
                let mut ends = std::mem::take(&mut self.ends);
                ends.clear();
                // Fewer bytes cannot hold so many that it matters.
                let may_be_many = values.len() > MAX_ENDS_KEPT;
                let most = if may_be_many { self.most_answers(worker) } else { usize::MAX };
                let well_formed = envelope::values(values, |end| {
                    if ends.len() < most {
                        ends.push(end);
                    }
                });
                if well_formed.is_ok() {
                    self.take_results(time, worker, (CallId(id), item), values, &ends);
                }
                if ends.capacity() <= MAX_ENDS_KEPT {
                    self.ends = ends;
                }
                well_formed?;
            }
            Said::SharedResult { id, item, range } => {
                self.take_shared_result(time, worker, (CallId(id), item), range)?;
            }
            Said::Error { id, item, failure, payload } => {
                if self.known(worker, (CallId(id), item), 1) > 0 {
                    return Ok(());
                }
                let items = item..item.saturating_add(1);
                match self.machine.answer(time, worker, CallId(id), items, Verdict::Failed) {
                    Answer::Accepted { batch, items } => {
                        let item = items.start;
                        self.counters.failed += 1;
                        let mut failure = failure_of(failure, payload);
                        failure.attempts = self.attempts.take(batch.id, item);
                        self.end_item(time, worker);
                        self.tell(&failure);
                        let error = Error::Failed(Box::new(failure));
                        batch.sink.ended(item..item + 1, &error);
                    }
                    Answer::Retried { batch, item } => {
                        self.end_item(time, worker);
                        let text = failure_of(failure, payload).to_string();
                        self.note_retry(time, worker, &batch, item, text);
                    }
                    Answer::Late { .. } => self.count_late(time, worker),
                    Answer::Refused => self.refuse(time, worker, &Breach::Unasked { id, item }),
                }
            }
            Said::Progress { id, item, note } => {
                let is_ahead = |process: &Process| {
                    process.shared_output.as_ref().is_some_and(SharedOutput::is_ahead)
                };
                if self.processes.get(&worker).is_some_and(is_ahead) {
                    return Ok(());
                }
                if self.machine.progress(time, worker, CallId(id), item) {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.note = Some(note.chars().take(MAX_NOTE).collect());
                    }
                } else {
                    self.refuse(time, worker, &Breach::NotInHand { id, item });
                }
            }
            Said::Ready { shared_arguments } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.shared_arguments = shared_arguments;
                }
                // One that is too large already would be killed in its first task, and so would
                // the next one: task after task would be lost.
                if self.measuring.has_hard_limit() && self.measure_worker(time, worker) {
                    return Ok(());
                }
                let Some(process) = self.processes.get(&worker) else { return Ok(()) };
                let slot = process.slot.0;
                log::info!("worker {slot} is ready");
                self.shared.update(|status| status.ready = true);
                self.publish_about(time, worker, EventKind::Ready);
                self.machine.handle(time, Event::Ready { worker });
            }
            Said::Unfit(failure, payload) => {
                let failure = failure_of(failure, payload);
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.leaves = true;
                    process.blame(|| with_traceback("failed in its initializer: ", &failure));
                }
                self.tell(&failure);
                self.machine.handle(time, Event::Unfit { worker });
            }
            Said::Hello(_) => return Err(Breach::OutOfPlace("hello")),
        }
        Ok(())
    }

    /// Takes in the results of items of a call, from `item` on. `ends` tells where in `values`
    /// each of them ends.
    fn take_results(
        &mut self,
        time: Time,
        worker: WorkerId,
        (call, first): (CallId, u32),
        values: &[u8],
        ends: &[usize],
    ) {
        let all = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        let end = first.saturating_add(all);
        let known = self.known(worker, (call, first), all);
        let mut next = first.saturating_add(u32::try_from(known).unwrap_or(u32::MAX));
        while next < end {
            let answer = self.machine.answer(time, worker, call, next..end, Verdict::Completed);
            match answer {
                Answer::Accepted { batch, items } => {
                    let count = items.end - items.start;
                    let values = Values::new(values, ends).part((next - first) as usize, count);
                    batch.sink.completed(items.start, values);
                    self.note_completed(batch, &items);
                    next = next.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                }
                // A result is never tried again.
                Answer::Retried { .. } => next = next.saturating_add(1),
                Answer::Late { items } => {
                    self.counters.refused += u64::from(items);
                    next = next.saturating_add(items);
                }
                Answer::Refused => {
                    let breach = Breach::Unasked { id: call.0, item: next };
                    return self.refuse(time, worker, &breach);
                }
            }
        }
        self.end_item(time, worker);
    }

    /// Takes in a result that lies in the shared output of its worker.
    fn take_shared_result(
        &mut self,
        time: Time,
        worker: WorkerId,
        (call, item): (CallId, u32),
        range: SharedRange,
    ) -> Result<(), Breach> {
        if self.known(worker, (call, item), 1) > 0 {
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(&worker) else { return Ok(()) };
        let Some(shared) = &mut process.shared_output else { return Ok(()) };
        // What nobody wants, any more or at all, is not read: it is as large as the worker says.
        let value = match self.machine.wants(worker, call, item) {
            true => Some(shared.take_result(range, &mut self.prepared)?),
            false => shared.pass_over_result(range).map(|()| None)?,
        };
        let items = item..item.saturating_add(1);
        match (self.machine.answer(time, worker, call, items, Verdict::Completed), value) {
            (Answer::Accepted { batch, items }, Some(value)) => {
                batch.sink.completed_alone(items.start, value);
                self.note_completed(batch, &items);
                self.end_item(time, worker);
            }
            (Answer::Late { .. }, _) => self.count_late(time, worker),
            // A result is never tried again, and one that is accepted was wanted.
            (Answer::Retried { .. } | Answer::Refused | Answer::Accepted { .. }, _) => {
                self.refuse(time, worker, &Breach::Unasked { id: call.0, item });
            }
        }
        Ok(())
    }

    /// How many answers that come together are looked at: those that the worker owes, those that were
    /// taken before, and one more, by which a worker is known that answers what it was not asked.
    fn most_answers(&self, worker: WorkerId) -> usize {
        let shared = self.processes.get(&worker).and_then(|process| process.shared_output.as_ref());
        let ahead = shared.map_or(0, SharedOutput::answers_ahead);
        let owed = self.machine.items_at(worker).saturating_add(ahead);
        usize::try_from(owed).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Items have their results, which were passed on.
    fn note_completed(&mut self, batch: Arc<Submission>, items: &Range<u64>) {
        self.counters.completed += items.end - items.start;
        self.attempts.forget(batch.id, items);
        if self.touched.last().is_none_or(|last| last.id != batch.id) {
            self.touched.push(batch);
        }
    }

    /// Answers have come, to so many items of a call from one on. Tells how many of them were taken
    /// before, from where they were kept.
    fn known(&mut self, worker: WorkerId, (call, first): (CallId, u32), answers: u32) -> u64 {
        let Some(process) = self.processes.get_mut(&worker) else { return 0 };
        process.note = None;
        process.has_answered(call, first.saturating_add(answers));
        let Some(shared) = &mut process.shared_output else { return 0 };
        // Whoever takes a large result says so again.
        shared.expect_result_of(0);
        shared.known(u64::from(answers))
    }

    /// A worker has answered an item.
    fn end_item(&mut self, time: Time, worker: WorkerId) {
        if self.measuring.is_due_after_item(time) {
            self.measure_worker(time, worker);
        }
    }

    fn count_late(&mut self, time: Time, worker: WorkerId) {
        self.counters.refused += 1;
        self.end_item(time, worker);
    }

    /// Tells of a failure on standard error, if the worker is to look as if it did so itself.
    fn tell(&mut self, failure: &Failure) {
        if self.plan.surroundings.tell_failures {
            let text = with_traceback(&format!("Process {}: ", self.plan.name), failure);
            let lines: Vec<_> = text.lines().collect();
            // Such a worker prints nothing through the sink, so that there is room.
            let _ = self.sink.offer(format!("{}\n", lines.join("\n    ")).into_bytes());
        }
    }

    /// An answer to nothing that was asked: its worker is not to be trusted and is killed. What
    /// it says until then can still be told apart, so it is heard: an item that it answered
    /// properly must not run again.
    fn refuse(&mut self, time: Time, worker: WorkerId, breach: &Breach) {
        self.counters.refused += 1;
        if let Some(process) = self.processes.get_mut(&worker) {
            process.blame(|| breach.to_string());
        }
        self.machine.handle(time, Event::Misbehaved { worker });
    }
}

/// The places of so many answers that came together are kept room for: 64 Ki.
const MAX_ENDS_KEPT: usize = 64 << 10;

/// Characters kept of what a worker says of its progress.
const MAX_NOTE: usize = 500;

fn failure_of(failure: WireFailure, payload: &[u8]) -> Failure {
    let WireFailure { kind, message, traceback } = failure;
    let opaque = match payload.is_empty() {
        true => None,
        // What cannot be read as binary data was refused before.
        false => rmp_serde::from_slice::<serde_bytes::ByteBuf>(payload)
            .ok()
            .map(serde_bytes::ByteBuf::into_vec),
    };
    Failure { kind, message, traceback, opaque, attempts: Vec::new() }
}

fn with_traceback(start: &str, failure: &Failure) -> String {
    match failure.traceback.as_str() {
        "" => format!("{start}{failure}"),
        traceback => format!("{start}{failure}\n{traceback}"),
    }
}
