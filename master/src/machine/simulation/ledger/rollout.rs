//! The replacement of workers by those of another command.

use super::{super::super::*, Ledger, Worker};

/// The simulation replaces the workers of the first group.
const GROUP: GroupId = GroupId(0);

/// The replacements so far.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    /// The generation that counts where none is under way.
    current: Generation,
    under_way: Option<Rollout>,
    /// It begins as soon as the one before is given up.
    next: Option<Generation>,
    /// What the new workers announced.
    announced: HashSet<FunctionId>,
    /// Workers of no other generation are to be sent anything.
    only: Option<Generation>,
    /// There was one, so that there may be workers of any generation.
    pub(super) ever: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rollout {
    target: Generation,
    /// The new command has to be given up.
    must_fail: bool,
    /// It may be given up, for what became of one of its workers.
    may_fail: bool,
    failed: bool,
    given_up: bool,
}

impl Rollouts {
    pub(super) fn begin(&mut self, target: Generation) {
        self.ever = true;
        if self.under_way.is_some() {
            self.next = Some(target);
            return;
        }
        self.only = None;
        self.under_way = Some(Rollout {
            target,
            must_fail: false,
            may_fail: false,
            failed: false,
            given_up: false,
        });
    }

    fn trial(&mut self, worker: &Worker) -> Option<&mut Rollout> {
        let trial = self.under_way.as_mut().filter(|rollout| !rollout.failed);
        trial.filter(|it| worker.group == GROUP && it.target == worker.generation)
    }

    /// Whether this worker is one of the new command.
    pub(super) fn tries(&mut self, worker: &Worker) -> bool {
        self.trial(worker).is_some()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes in what a worker of the new command announced; false if it is not one.
    pub(super) fn greeted(&mut self, worker: &Worker, functions: &HashSet<FunctionId>) -> bool {
        let tries = self.tries(worker);
        if tries {
            self.announced.clone_from(functions);
        }
        tries
    }

    /// Whether the failed start was one of a command that has to be given up for it.
    pub(super) fn start_failed(&mut self, worker: &Worker) -> bool {
        let trial = self.trial(worker).filter(|rollout| !rollout.must_fail);
        trial.map(|rollout| rollout.must_fail = true).is_some()
    }

    /// A worker has died in an item.
    pub(super) fn died(&mut self, worker: &Worker) {
        if let Some(rollout) = self.trial(worker) {
            rollout.may_fail = true;
        }
    }

    pub(super) fn check_start(&self, group: GroupId, generation: Generation) {
        let target = self.under_way.filter(|rollout| !rollout.failed).map(|it| it.target);
        let known = generation == self.current || Some(generation) == target;
        assert!(known || group != GROUP, "started by a command that is not used");
    }

    pub(super) fn check_send(&self, worker: &Worker) {
        let allowed = self.only.is_none_or(|only| only == worker.generation);
        assert!(allowed || worker.group != GROUP, "sent to a worker that was replaced");
    }

    pub(super) fn check_rest(&self, over: bool) {
        if let Some(rollout) = self.under_way {
            assert!(!rollout.must_fail, "a command that cannot be used is not given up");
            assert!(!over, "a replacement goes on after the pool");
        }
    }

    fn roll_back(&mut self, flaw: Flaw, over: bool) {
        let next = self.next.is_some();
        let rollout = self.under_way.as_mut().expect("nothing is under way");
        assert!(!std::mem::replace(&mut rollout.failed, true), "given up twice");
        let must_fail = std::mem::take(&mut rollout.must_fail);
        match flaw {
            Flaw::Died => assert!(must_fail || rollout.may_fail, "given up without a cause"),
            Flaw::Lacks(_) | Flaw::Fails => {}
            Flaw::GivenUp => {
                assert!(over || next, "given up for nothing");
                rollout.given_up = true;
            }
        }
    }

    /// Gives what the workers of the group announce from now on, if that has changed.
    fn rolled_out(&mut self, generation: Generation) -> Option<HashSet<FunctionId>> {
        let rollout = self.under_way.take().expect("nothing is under way");
        let expected = if rollout.failed { self.current } else { rollout.target };
        assert_eq!(generation, expected, "the end of another replacement");
        self.current = generation;
        self.only = Some(generation).filter(|_| !rollout.given_up);
        if let Some(next) = self.next.take() {
            self.begin(next);
        }
        (!rollout.failed).then(|| self.announced.clone())
    }
}

impl Ledger {
    pub(super) fn rolled_back(&mut self, group: GroupId, flaw: Flaw) {
        assert_eq!(group, GROUP);
        if let Flaw::Lacks(function) = flaw {
            assert!(!self.rollouts.announced.contains(&function), "it has {function:?}");
        }
        let over = self.closed || self.is_shut_down() || self.starts.must_fail;
        self.rollouts.roll_back(flaw, over);
    }

    pub(super) fn rolled_out(&mut self, group: GroupId, generation: Generation) {
        assert_eq!(group, GROUP);
        if let Some(functions) = self.rollouts.rolled_out(generation) {
            self.announced[GROUP.0] = Some(functions);
        }
    }
}
