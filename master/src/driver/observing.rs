//! What a pool tells of itself: its status when asked, and events as they come.

use super::{memory, supervisor::Supervisor};
use crate::{
    events::EventKind,
    machine::{StateView, Time, WorkerId, WorkerView},
    status::{PoolStatus, RunningTask, WorkerState, WorkerStatus},
};

impl Supervisor {
    pub(super) fn status(&self, time: Time) -> PoolStatus {
        let workers = self.machine.views().filter_map(|view| self.status_of(time, &view));
        let mut workers: Vec<_> = workers.collect();
        workers.sort_by_key(|worker| (worker.slot, std::cmp::Reverse(worker.age)));
        PoolStatus {
            workers,
            waiting: self.machine.items_waiting(),
            running: self.machine.items_in_flight(),
            counters: self.counters,
        }
    }

    fn status_of(&self, time: Time, view: &WorkerView) -> Option<WorkerStatus> {
        let process = self.processes.get(&view.id)?;
        let task = match view.state {
            StateView::Busy { function, since } => Some(RunningTask {
                function: self.functions.name(function).unwrap_or_default().to_owned(),
                running_for: time.saturating_sub(since),
                note: process.note.clone(),
            }),
            _ => None,
        };
        let state = match view.state {
            StateView::Starting => WorkerState::Starting,
            StateView::Idle | StateView::Busy { .. } if view.retiring => WorkerState::Retiring,
            StateView::Idle => WorkerState::Idle,
            StateView::Busy { .. } => WorkerState::Busy,
            StateView::Leaving => WorkerState::Leaving,
            StateView::Stopping => WorkerState::Stopping,
        };
        Some(WorkerStatus {
            slot: process.slot.0,
            pid: process.child.id(),
            command: self.command_of(process.group, process.generation),
            state,
            task,
            tasks_done: view.answered,
            age: time.saturating_sub(view.started),
            memory: memory::resident(process.child.id()).or(process.memory),
        })
    }

    /// Tells of something about the pool as a whole.
    pub(super) fn publish(&self, time: Time, kind: EventKind) {
        self.events.publish(time, None, None, kind);
    }

    /// Tells of something about a worker that lives.
    pub(super) fn publish_about(&self, time: Time, worker: WorkerId, kind: EventKind) {
        if let Some(process) = self.processes.get(&worker) {
            self.publish_of(time, process.slot.0, Some(process.child.id()), kind);
        }
    }

    /// Tells of something about the worker of a seat.
    pub(super) fn publish_of(&self, time: Time, slot: u32, pid: Option<u32>, kind: EventKind) {
        self.events.publish(time, Some(slot), pid, kind);
    }
}
