//! How many workers there are to be, and for how long each: seats that come, go and rest, and
//! workers that have become too old or too large.

use super::{
    super::{FunctionId, GroupId, Time, WorkerId, worker::State},
    Batch, Machine, Phase, Seat, Worker,
};

impl<B: Batch> Machine<B> {
    /// Seats that are taken away are the last ones; whoever sits there finishes what it has.
    pub(super) fn resize(&mut self, now: Time, size: usize) {
        let first = self.seats.first().map_or(GroupId(0), |seat| seat.group);
        let removed = self.seats.split_off(size.min(self.seats.len()));
        self.seats.resize(size, Seat::new(first));
        for id in removed.into_iter().filter_map(|seat| seat.taken) {
            self.dismiss(now, id);
        }
        self.forsake_candidate_beyond(now, size);
        // All seats that are left may rest, as it was one of the others that was needed.
        let awake = self.seats.iter().filter(|seat| !seat.resting).count();
        let missing = self.settings.minimum.saturating_sub(awake);
        for seat in self.seats.iter_mut().filter(|seat| seat.resting).take(missing) {
            seat.resting = false;
        }
    }

    /// Lets a worker go that is not needed: one that serves when it has finished what it has.
    pub(super) fn dismiss(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.state {
            State::Serving(_) => worker.retiring = true,
            State::Greeting { .. } | State::Preparing { .. } => self.stop(now, id),
            State::Leaving { .. } | State::Stopping { .. } => {}
        }
    }

    /// A worker that is too large for one task after another leaves after the one in hand, and one
    /// that is far too large is killed in the middle of it.
    pub(super) fn measured(&mut self, now: Time, id: WorkerId, memory: u64) {
        let over = |limit: Option<u64>| limit.is_some_and(|limit| memory > limit);
        let (soft, hard) = (over(self.settings.soft_memory), over(self.settings.hard_memory));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.state {
            // One that is too large before its first task would be replaced without end.
            State::Serving(_) if soft && worker.given > 0 => worker.retiring = true,
            State::Serving(_) | State::Preparing { .. } => {}
            State::Greeting { .. } | State::Leaving { .. } | State::Stopping { .. } => return,
        }
        if hard {
            self.stop_at_once(now, id);
        }
    }

    /// The worker that is next to be replaced for its age, and when. One after another: as long as
    /// one leaves, the others stay.
    pub(super) fn next_aged(&self) -> Option<(Time, WorkerId)> {
        let age = self.settings.max_age?;
        let running = matches!(self.phase, Phase::Running | Phase::Closing);
        let leaves = |worker: &Worker<B>| {
            worker.retiring || worker.is_starting() || matches!(worker.state, State::Leaving { .. })
        };
        if !running || self.rollout.is_some() || self.workers.values().any(leaves) {
            return None;
        }
        // From when it is ready, as one that takes longer to be would never serve.
        let since = |worker: &Worker<B>| match &worker.state {
            State::Serving(serving) => Some(serving.since),
            _ => None,
        };
        let serving = self.workers.iter().filter_map(|(&id, worker)| Some((since(worker)?, id)));
        serving.map(|(since, id)| (since.saturating_add(age), id)).min()
    }

    /// The worker that is next to leave for being idle, and when.
    pub(super) fn next_idle(&self) -> Option<(Time, WorkerId)> {
        let patience = self.settings.idle_timeout?;
        let seated = self.seats.iter().filter_map(|seat| seat.taken);
        let spare = self.phase == Phase::Running
            && self.rollout.is_none()
            && seated.clone().count() > self.settings.minimum;
        let idle = seated.filter_map(|id| match &self.workers.get(&id)?.state {
            State::Serving(serving) if serving.in_flight.is_empty() => {
                Some((serving.idle_since.saturating_add(patience), id))
            }
            _ => None,
        });
        idle.filter(|_| spare).min()
    }

    /// Notes whose time has come.
    pub(super) fn note_aged_and_idle(&mut self, now: Time) {
        while let Some((_, id)) = self.next_aged().filter(|&(time, _)| time <= now) {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.retiring = true;
            }
        }
        while let Some((_, id)) = self.next_idle().filter(|&(time, _)| time <= now) {
            if let Some(seat) = self.seats.iter_mut().find(|seat| seat.taken == Some(id)) {
                seat.resting = true;
            }
            self.leave(now, id);
        }
    }

    /// Seats that rest are filled again as far as something waits that nobody else takes.
    pub(super) fn wake_seats(&mut self) {
        if !self.queue.has_ready() || !self.seats.iter().any(|seat| seat.resting) {
            return;
        }
        for index in 0..self.groups.len() {
            if !self.seats.iter().any(|seat| seat.group.0 == index && seat.resting) {
                continue;
            }
            let Some(functions) = self.groups.get(index).and_then(|group| group.functions.as_ref())
            else {
                continue;
            };
            let can_run = |function: FunctionId| functions.contains(&function);
            let group = GroupId(index);
            let coming = self
                .workers
                .values()
                .filter(|worker| worker.group == group && worker.is_starting());
            let vacant = self.seats.iter().filter(|seat| seat.group == group && seat.is_vacant());
            let on_its_way = (coming.count() + vacant.count()) as u64;
            let wanted = self.queue.ready_items(can_run).saturating_sub(on_its_way);
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let resting = |seat: &&mut Seat| seat.group == group && seat.resting;
            for seat in self.seats.iter_mut().filter(resting).take(wanted) {
                seat.resting = false;
            }
        }
    }
}
