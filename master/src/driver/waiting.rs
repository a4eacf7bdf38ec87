//! How the loop waits while a caller drives it: at first without going to sleep.

use std::{io, time::Duration};

use super::{spin, supervisor::Supervisor};
use crate::machine::WorkerId;

impl Supervisor {
    /// Has a worker that looks for calls before it sleeps go to sleep at once, unless it is this one.
    pub(super) fn let_sleep(&mut self, but: Option<WorkerId>) {
        if self.looking.is_some()
            && self.looking != but
            && let Some(worker) = self.looking.take()
            && let Some(process) = self.processes.get_mut(&worker)
            && let Some(shared) = &mut process.shared_output
        {
            shared.set_patience(Duration::ZERO);
        }
    }

    /// Waits for events, at first without going to sleep if that pays.
    pub(super) fn look_and_wait(
        &mut self,
        happened: &mut mio::Events,
        patience: Option<Duration>,
    ) -> io::Result<()> {
        if patience == Some(Duration::ZERO) {
            // Something is waiting already.
            return self.poll.poll(happened, patience);
        }
        let began = self.time();
        let only_call = self.machine.only_worker_at_work();
        let looks = only_call.is_some() && self.spinning.begin(began);
        self.let_sleep(only_call);
        if let Some(worker) = only_call
            && let Some(process) = self.processes.get_mut(&worker)
            && let Some(shared) = &mut process.shared_output
        {
            shared.set_patience(if looks { spin::SPIN } else { Duration::ZERO });
            self.looking = looks.then_some(worker);
        }
        if looks {
            while self.time().saturating_sub(began) < spin::SPIN {
                self.poll.poll(happened, Some(Duration::ZERO))?;
                if !happened.is_empty() {
                    return Ok(());
                }
            }
            self.spinning.looked_in_vain(self.time());
        }
        if let Some(shared) = only_call
            .and_then(|worker| self.processes.get(&worker))
            .and_then(|process| process.shared_output.as_ref())
        {
            shared.prepare(&mut self.prepared);
        }
        self.poll.poll(happened, patience)
    }
}
