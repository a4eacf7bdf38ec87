//! What callers ask of the supervisor, to the machine.

use std::sync::Arc;

use super::{Command, supervisor::Supervisor};
use crate::{
    batch::Submission,
    error::{Cancelled, Error},
    events::EventKind,
    machine::{Event, Time},
};

impl Supervisor {
    /// False if there were no commands.
    pub(super) fn obey_all(&mut self, time: Time) -> bool {
        let commands = self.shared.take_commands();
        let any = !commands.is_empty();
        commands.into_iter().for_each(|command| self.obey(time, command));
        any
    }

    fn obey(&mut self, time: Time, command: Command) {
        let event = match command {
            Command::Submit { submission, chunk_size } => self.submitted(submission, chunk_size),
            Command::Feed { source } => match source.take() {
                Some((submission, chunk_size)) => self.submitted(submission, chunk_size),
                None => return,
            },
            Command::Cancel { batch } => Event::Cancelled { batch },
            Command::Withdraw { batch } => Event::Withdrawn { batch },
            Command::Resize { slots } => {
                self.publish(time, EventKind::Resized { processes: slots as u64 });
                Event::Resized { slots }
            }
            Command::Replace { group, command, reply } => {
                let (group, generation) = self.commands.add(group, command, reply);
                Event::Replaced { group, generation }
            }
            Command::Status { reply } => return drop(reply.send(self.status(time))),
            Command::Close => Event::Closed,
            Command::Interrupt => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Interrupted));
                self.machine.handle(time, Event::Interrupted);
                let running = Some(self.machine.items_in_flight());
                return self.shared.update(|status| status.running_at_interrupt = running);
            }
            Command::Terminate => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Terminated));
                Event::Terminated
            }
            Command::Kill => {
                self.shared.announce_over(&Error::Cancelled(Cancelled::Terminated));
                Event::Killed
            }
        };
        self.machine.handle(time, event);
    }

    fn submitted(
        &mut self,
        batch: Arc<Submission>,
        chunk_size: Option<u64>,
    ) -> Event<Arc<Submission>> {
        let function = self.functions.number(&batch.function);
        let items = batch.items.len();
        self.counters.submitted += items;
        Event::Submitted { batch, function, items, chunk_size }
    }
}
