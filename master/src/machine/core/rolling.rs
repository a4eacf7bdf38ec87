//! Another command for the workers of a group, while the pool runs.
//!
//! One new worker is started beside the others and has to prove itself; then it takes a seat, whose
//! worker finishes what it has and leaves, and so on with the next, one at a time. So the pool is
//! never without workers, and no item is touched. If a new worker cannot be started or used, the
//! group goes back to its command in the same way.

use std::time::Duration;

use super::{
    super::{
        Action, Flaw, FunctionId, Generation, GroupId, Repertoire, Time, Verdict, WorkerId,
        worker::State,
    },
    Batch, Machine, Phase, SURGE, Worker,
};

/// How many items the first worker of a new command answers before it counts as proven.
pub(in super::super) const PROOF_ITEMS: u64 = 3;

/// How long it may be idle, with nothing to prove itself on, before it counts as proven: 100 ms.
pub(in super::super) const PROOF_PATIENCE: Duration = Duration::from_millis(100);

/// A replacement that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rollout {
    group: GroupId,
    /// What all workers of the group are to be.
    target: Generation,
    /// What they were before.
    from: Generation,
    /// No worker of the new command has proven itself yet.
    proving: bool,
    /// The new command was given up, and the target is the old one.
    failed: bool,
    /// Who is to take the seat of another, which still sits there.
    candidate: Option<WorkerId>,
    /// How many items it has completed while it was on trial.
    completed: u64,
    /// How many it failed in, of functions that had given results before.
    failures: u64,
}

impl<B: Batch> Machine<B> {
    /// Begins a replacement. One that is under way is given up for it: it counts as not having been.
    pub(super) fn replace(&mut self, now: Time, group: GroupId, generation: Generation) {
        self.abandon_rollout(now);
        let Some(from) = self.groups.get(group.0).map(|group| group.generation) else { return };
        self.rollout = Some(Rollout {
            group,
            target: generation,
            from,
            proving: true,
            failed: false,
            candidate: None,
            completed: 0,
            failures: 0,
        });
    }

    /// Goes on with the replacement, as far as that is possible now.
    pub(super) fn roll(&mut self, now: Time) {
        if self.phase != Phase::Running {
            return self.abandon_rollout(now);
        }
        self.seat_candidate(now);
        let Some(rollout) = self.rollout else { return };
        if rollout.candidate.is_some() {
            return;
        }
        match self.next_seat(rollout) {
            None => {
                self.rollout = None;
                let Rollout { group, target: generation, .. } = rollout;
                self.actions.push(Action::RolledOut { group, generation });
            }
            Some(index) if self.may_start_candidate(now) => {
                let candidate = self.start(now, index, rollout.group, rollout.target);
                self.rollout = Some(Rollout { candidate: Some(candidate), ..rollout });
            }
            Some(_) => {}
        }
    }

    /// When the replacement goes on by itself.
    pub(super) fn rollout_deadline(&self) -> Option<Time> {
        let rollout = self.rollout?;
        let Some(candidate) = rollout.candidate else {
            // Without room for another worker it waits for the end of one.
            let has_room = self.workers.len() < self.seats.len() + SURGE;
            return (self.phase == Phase::Running && has_room).then(|| self.budget.not_before());
        };
        match &self.workers.get(&candidate)?.state {
            State::Serving(serving) if serving.in_flight.is_empty() => {
                Some(serving.idle_since.saturating_add(PROOF_PATIENCE))
            }
            _ => None,
        }
    }

    /// The command of a new worker is on trial, or has been proven in this replacement.
    pub(super) fn is_of_new_command(&self, group: GroupId, generation: Generation) -> bool {
        self.rollout.is_some_and(|rollout| {
            !rollout.failed && rollout.group == group && rollout.target == generation
        })
    }

    /// The command of a new worker is the one to which this replacement may go back.
    pub(super) fn is_of_command_before(&self, group: GroupId, generation: Generation) -> bool {
        self.rollout.is_some_and(|rollout| rollout.group == group && rollout.from == generation)
    }

    /// Whether a worker has still to prove its command.
    pub(super) fn is_on_trial(&self, id: WorkerId) -> bool {
        self.rollout.is_some_and(|rollout| rollout.proving && rollout.candidate == Some(id))
    }

    /// The candidate that is gone, if it was that, need not be waited for.
    pub(super) fn candidate_gone(&mut self, id: WorkerId) -> bool {
        match &mut self.rollout {
            Some(rollout) if rollout.candidate == Some(id) => {
                rollout.candidate = None;
                true
            }
            _ => false,
        }
    }

    /// A function that is in use, and that this worker of the group does not have.
    pub(super) fn missing_function(
        &self,
        id: WorkerId,
        repertoire: &Repertoire,
    ) -> Option<FunctionId> {
        let group = self.groups.get(self.workers.get(&id)?.group.0)?;
        let known = |function: &FunctionId| {
            group.functions.as_ref().is_some_and(|functions| functions.contains(function))
        };
        let waited_for = self.queue.functions().filter(known);
        let mut in_use = group.used.iter().chain(waited_for);
        in_use.find(|function| !repertoire.functions.contains(function))
    }

    /// Takes in how items went at the candidate, or what has gone well at others.
    pub(super) fn note_verdict(
        &mut self,
        (id, group): (WorkerId, GroupId),
        function: FunctionId,
        verdict: Verdict,
        items: u64,
    ) {
        let Some(group) = self.groups.get_mut(group.0) else { return };
        match &mut self.rollout {
            Some(rollout) if rollout.candidate == Some(id) => match verdict {
                Verdict::Completed => rollout.completed += items,
                Verdict::Failed => {
                    rollout.failures += u64::from(group.completed.contains(function));
                }
            },
            _ if verdict == Verdict::Completed => {
                group.completed.insert(function);
            }
            _ => {}
        }
    }

    /// The new command cannot be used: the group goes back to the old one.
    pub(super) fn roll_back(&mut self, now: Time, worker: Option<WorkerId>, flaw: Flaw) {
        let Some(rollout) = self.rollout.filter(|rollout| !rollout.failed) else { return };
        let Rollout { group, from, candidate, .. } = rollout;
        self.rollout = Some(Rollout {
            target: from,
            proving: false,
            failed: true,
            candidate: None,
            ..rollout
        });
        self.actions.push(Action::RollBack { group, worker, flaw });
        if let Some(group) = self.groups.get_mut(group.0) {
            group.generation = from;
            if !rollout.proving {
                group.functions = group.functions_before.take();
            }
        }
        if let Some(candidate) = candidate {
            self.dismiss(now, candidate);
        }
    }

    /// Seats from this number on are gone, and with them whoever was to sit there.
    pub(super) fn forsake_candidate_beyond(&mut self, now: Time, size: usize) {
        let Some(id) = self.rollout.and_then(|rollout| rollout.candidate) else { return };
        let beyond = |worker: &Worker<B>| worker.slot.0 as usize >= size;
        if self.workers.get(&id).is_some_and(beyond) {
            self.candidate_gone(id);
            self.dismiss(now, id);
        }
    }

    fn abandon_rollout(&mut self, now: Time) {
        self.roll_back(now, None, Flaw::GivenUp);
        if let Some(Rollout { group, target: generation, candidate, .. }) = self.rollout.take() {
            // One that was to bring the old command back, and would be left without a seat.
            if let Some(candidate) = candidate {
                self.dismiss(now, candidate);
            }
            self.actions.push(Action::RolledOut { group, generation });
        }
    }

    /// Gives the candidate its seat, if it is ready and need not prove itself any more.
    fn seat_candidate(&mut self, now: Time) {
        let Some(rollout) = self.rollout else { return };
        let Some(id) = rollout.candidate else { return };
        let Some(worker) = self.workers.get(&id) else { return };
        let State::Serving(serving) = &worker.state else { return };
        let idle = serving.in_flight.is_empty();
        let waited = now.saturating_sub(serving.idle_since) >= PROOF_PATIENCE;
        let tried =
            worker.answered >= PROOF_ITEMS || idle && (waited || Self::items_left(worker) == 0);
        if rollout.proving && !tried {
            return;
        }
        if rollout.proving && rollout.completed == 0 && rollout.failures > 0 {
            return self.roll_back(now, Some(id), Flaw::Fails);
        }
        let slot = worker.slot.0 as usize;
        let repertoire = serving.repertoire.clone();
        // What was not in use when it introduced itself may be now.
        if rollout.proving
            && let Some(missing) = self.missing_function(id, &repertoire)
        {
            return self.roll_back(now, Some(id), Flaw::Lacks(missing));
        }
        self.rollout = Some(Rollout { proving: false, candidate: None, ..rollout });
        if let Some(group) = self.groups.get_mut(rollout.group.0) {
            group.generation = rollout.target;
            if rollout.proving {
                group.functions_before = group.functions.replace(repertoire.functions);
            }
        }
        let Some(seat) = self.seats.get_mut(slot) else { return };
        seat.resting = false;
        if let Some(before) = seat.taken.replace(id) {
            self.dismiss(now, before);
        }
    }

    /// The next seat whose worker is to be replaced. The first worker of a new command is tried
    /// also where nobody sits just now.
    fn next_seat(&self, rollout: Rollout) -> Option<usize> {
        let outdated = |id: WorkerId| {
            self.workers.get(&id).is_some_and(|worker| worker.generation != rollout.target)
        };
        let mut seats = self.seats.iter().map(|seat| (seat.group == rollout.group, seat.taken));
        let taken = seats.position(|(ours, taken)| ours && taken.is_some_and(outdated));
        let any = || self.seats.iter().position(|seat| seat.group == rollout.group);
        taken.or_else(|| if rollout.proving { any() } else { None })
    }

    fn may_start_candidate(&self, now: Time) -> bool {
        self.workers.len() < self.seats.len() + SURGE && self.budget.not_before() <= now
    }
}
