//! How items end that have no answer, as far as it is not their worker's doing.

use std::ops::Range;

use super::{
    super::{
        Action, Cancellation, Ending, FunctionId, Time,
        queue::Taken,
        worker::{InFlight, State, Worker},
    },
    Batch, Machine, Phase, Seat,
};

impl<B: Batch> Machine<B> {
    /// Cancels what is pending of one batch, wherever it is. Who has it in hand goes on with it
    /// until it is stopped for that, see [`Worker::deadline`]; so what else that worker holds is
    /// not disturbed by items that wait, nor by one that is as good as done.
    pub(super) fn cancel(&mut self, batch: u64) {
        let in_flight = self.workers.values_mut().filter_map(Worker::in_flight_mut);
        let sent = in_flight.flat_map(|in_flight| in_flight.cancel(batch));
        let cancelled: Vec<_> = sent.chain(self.queue.remove_batch(batch)).collect();
        self.conclude_all(cancelled, Ending::Cancelled(Cancellation::ByCaller));
    }

    /// Cancels what waits of a batch, and leaves alone what was sent.
    pub(super) fn withdraw(&mut self, batch: u64) {
        let withdrawn = self.queue.remove_batch(batch);
        self.conclude_all(withdrawn, Ending::Cancelled(Cancellation::ByCaller));
    }

    /// Cancels everything that is pending and stops every worker.
    pub(super) fn shut_down(&mut self, now: Time, phase: Phase, reason: Cancellation) {
        if matches!(self.phase, Phase::Stopping | Phase::Failed | Phase::Ended) {
            return;
        }
        self.phase = phase;
        self.cancel_queue(reason);
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.stop(now, id);
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            if let State::Stopping { in_flight, .. } = &mut worker.state {
                let sent = std::mem::replace(in_flight, InFlight::new(now));
                self.cancel_in_flight(sent, reason);
            }
        }
    }

    /// Once every group has announced its functions, cancels what nobody can run: no worker has it,
    /// and none is to come of a group that announced it.
    pub(super) fn cancel_unknown(&mut self) {
        if self.groups.iter().any(|group| group.functions.is_none()) {
            return;
        }
        let (groups, workers, seats) = (&self.groups, &self.workers, &self.seats);
        let is_to_come = |seat: &Seat| {
            let worker = seat.taken.and_then(|id| workers.get(&id));
            worker.is_none_or(|worker| matches!(worker.state, State::Greeting { .. }))
        };
        let coming: Vec<_> = seats.iter().filter(|seat| is_to_come(seat)).collect();
        let unknown = |function: FunctionId| {
            let coming = coming.iter().filter_map(|seat| groups.get(seat.group.0));
            let coming = coming.filter_map(|group| group.functions.as_ref());
            let workers = workers.values().filter_map(Worker::repertoire);
            let workers = workers.map(|repertoire| &repertoire.functions);
            !coming.chain(workers).any(|known| known.contains(&function))
        };
        let removed: Vec<_> = self.queue.remove_functions(unknown).collect();
        self.conclude_all(removed, Ending::Cancelled(Cancellation::UnknownFunction));
    }

    pub(super) fn cancel_queue(&mut self, reason: Cancellation) {
        let removed: Vec<_> = self.queue.remove_functions(|_| true).collect();
        self.conclude_all(removed, Ending::Cancelled(reason));
    }

    fn cancel_in_flight(&mut self, in_flight: InFlight<B>, reason: Cancellation) {
        for sent in in_flight.calls {
            let items = sent.open();
            self.conclude(sent.taken.chunk.batch, items, Ending::Cancelled(reason));
        }
    }

    pub(super) fn put_back(&mut self, taken: Taken<B>, items: Range<u64>) {
        match self.phase {
            Phase::Running | Phase::Closing => {
                self.queue.put_back(taken, items);
            }
            Phase::Interrupted => {
                let ending = Ending::Cancelled(Cancellation::Interrupted);
                self.conclude(taken.chunk.batch, items, ending);
            }
            Phase::Failed => {
                let ending = Ending::Cancelled(Cancellation::PoolFailed);
                self.conclude(taken.chunk.batch, items, ending);
            }
            Phase::Stopping | Phase::Ended => {
                let ending = Ending::Cancelled(Cancellation::Terminated);
                self.conclude(taken.chunk.batch, items, ending);
            }
        }
    }

    fn conclude_all(&mut self, all: Vec<(B, Range<u64>)>, ending: Ending) {
        for (batch, items) in all {
            self.conclude(batch, items, ending);
        }
    }

    pub(super) fn conclude(&mut self, batch: B, items: Range<u64>, ending: Ending) {
        if !items.is_empty() {
            self.forget_tries(batch.id(), &items);
            self.pending -= items.end - items.start;
            self.actions.push(Action::Conclude { batch, items, ending });
        }
    }
}
