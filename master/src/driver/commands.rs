//! The commands that workers are started by, and their replacement by others.

use std::{collections::VecDeque, sync::mpsc::SyncSender};

use super::supervisor::Supervisor;
use crate::{
    command::WorkerCommand,
    error::Error,
    events::EventKind,
    machine::{Flaw, Generation, GroupId, Time, WorkerId},
};

/// Where the end of a replacement is told.
pub(crate) type Reply = SyncSender<Result<(), Error>>;

/// All commands of all groups, and the replacements that are under way.
pub(super) struct Commands {
    groups: Vec<Group>,
    pending: VecDeque<Pending>,
}

struct Group {
    /// By generation. Those that are not used any more may still have workers.
    commands: Vec<WorkerCommand>,
    /// What most workers are started by.
    current: usize,
}

struct Pending {
    reply: Reply,
    /// Why the old command is used again.
    flaw: Option<String>,
}

impl Commands {
    pub(super) fn new(commands: &[WorkerCommand]) -> Self {
        let group = |command: &WorkerCommand| Group { commands: vec![command.clone()], current: 0 };
        Self { groups: commands.iter().map(group).collect(), pending: VecDeque::new() }
    }

    pub(super) fn get(&self, group: GroupId, generation: Generation) -> Option<&WorkerCommand> {
        self.groups.get(group.0)?.commands.get(generation as usize)
    }

    /// What most workers of each group are started by.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (GroupId, Generation)> {
        let groups = self.groups.iter().enumerate();
        groups.map(|(group, it)| (GroupId(group), Generation::try_from(it.current).unwrap_or(0)))
    }

    /// The command of each group.
    pub(super) fn current(&self) -> impl Iterator<Item = &WorkerCommand> {
        self.groups.iter().filter_map(|group| group.commands.get(group.current))
    }

    /// Takes in another command for a group.
    pub(super) fn add(
        &mut self,
        group: usize,
        command: WorkerCommand,
        reply: Reply,
    ) -> (GroupId, Generation) {
        self.pending.push_back(Pending { reply, flaw: None });
        let generation = self.groups.get_mut(group).map_or(0, |group| {
            group.commands.push(command);
            group.commands.len() - 1
        });
        (GroupId(group), Generation::try_from(generation).unwrap_or(Generation::MAX))
    }
}

impl Supervisor {
    /// The new command of a group cannot be used.
    pub(super) fn roll_back(
        &mut self,
        time: Time,
        group: GroupId,
        worker: Option<WorkerId>,
        flaw: Flaw,
    ) {
        let report = worker.map(|worker| self.report(worker));
        let reason = match (flaw, report) {
            (Flaw::Died, Some(report)) => report.to_string(),
            (Flaw::Lacks(function), Some(report)) => {
                let function = self.functions.name(function).unwrap_or("?");
                format!("`{}` has no function `{function}`, which is in use", report.command)
            }
            (Flaw::Fails, Some(report)) => format!(
                "`{}` failed in every task that it was tried on, of functions that the workers \
                 before it completed",
                report.command
            ),
            (Flaw::Hangs, Some(report)) => format!(
                "`{}` was over the time limit of a task that it was tried on",
                report.command
            ),
            (Flaw::GivenUp, _) | (_, None) => {
                "it was given up, as the pool ends or is to have yet other workers".to_owned()
            }
        };
        log::warn!("the workers of kind {} are not replaced: {reason}", group.0);
        self.publish(time, EventKind::RolledBack { reason: reason.clone() });
        if let Some(pending) = self.commands.pending.front_mut() {
            pending.flaw = Some(reason);
        }
    }

    /// A replacement has come to its end, in one way or the other.
    pub(super) fn rolled_out(&mut self, time: Time, group: GroupId, generation: Generation) {
        if let Some(group) = self.commands.groups.get_mut(group.0) {
            group.current = generation as usize;
        }
        let Some(Pending { reply, flaw }) = self.commands.pending.pop_front() else { return };
        let outcome = match flaw {
            Some(reason) => Err(Error::NotReplaced(reason)),
            None => {
                let command = self.command_of(group, generation);
                log::info!("all workers of kind {} are now `{command}`", group.0);
                self.publish(time, EventKind::Replaced { command });
                Ok(())
            }
        };
        // Nobody need wait for it.
        let _ = reply.try_send(outcome);
    }
}
