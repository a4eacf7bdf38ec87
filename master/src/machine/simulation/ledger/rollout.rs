//! The replacement of workers by those of another command.

use super::{
    super::super::{core::*, *},
    Ledger, Worker,
};

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
    /// The functions that the workers of the group were asked for, and those that gave results.
    used: HashSet<FunctionId>,
    results: HashSet<FunctionId>,
    /// Workers of no other generation are to be sent anything.
    only: Option<Generation>,
    /// When the last one ended: whoever was started before may have been replaced.
    ended_at: Option<Time>,
    /// There was one, so that there may be workers of any generation.
    pub(super) ever: bool,
    /// The limit of tasks of a worker is up to chance, and so it cannot be told from outside when
    /// it is proven for having reached it: it may be proven, rather than is.
    vague: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rollout {
    target: Generation,
    /// The new command has to be given up.
    must_fail: bool,
    /// It may be given up, for what became of one of its workers.
    may_fail: bool,
    /// Who is on trial was over a limit of time.
    hangs: bool,
    failed: bool,
    given_up: bool,
    /// Who has to prove itself.
    trial: Option<WorkerId>,
    /// One has proven itself.
    proven: bool,
    /// How many items those on trial completed, and how many they failed in of functions that
    /// had given results before.
    completed: u64,
    failures: u64,
    /// How many of the new workers have been ready, and how many have left for them.
    arrived: u64,
    replaced: u64,
}

impl Rollouts {
    pub(super) fn new(settings: &Settings) -> Self {
        let vague = settings.max_tasks_per_child.is_some() && settings.max_tasks_jitter > 0;
        Self { vague, ..Self::default() }
    }

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
            hangs: false,
            failed: false,
            given_up: false,
            trial: None,
            proven: false,
            completed: 0,
            failures: 0,
            arrived: 0,
            replaced: 0,
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

    /// Whether this worker is of the command that counts so far.
    pub(super) fn is_current(&self, worker: &Worker) -> bool {
        worker.group != GROUP || worker.generation == self.current
    }

    /// One of the new command is ready.
    pub(super) fn arrived(&mut self, worker: &Worker) {
        if let Some(rollout) = self.trial(worker) {
            rollout.arrived += 1;
        }
    }

    /// Whoever is on trial has lost its seat before it had it.
    pub(super) fn forsake(&mut self, id: WorkerId) {
        if let Some(rollout) = &mut self.under_way {
            rollout.trial = rollout.trial.filter(|&trial| trial != id);
        }
    }

    /// Takes in how an item went.
    pub(super) fn answered(
        &mut self,
        id: WorkerId,
        group: GroupId,
        function: FunctionId,
        verdict: Verdict,
    ) {
        let on_trial = |rollout: &&mut Rollout| {
            !rollout.proven && !rollout.failed && rollout.trial == Some(id)
        };
        match (self.under_way.as_mut().filter(on_trial), verdict) {
            (Some(rollout), Verdict::Completed) => rollout.completed += 1,
            (Some(rollout), Verdict::Failed) => {
                rollout.failures += u64::from(self.results.contains(&function));
            }
            (None, Verdict::Completed) if group == GROUP => {
                self.results.insert(function);
            }
            (None, _) => {}
        }
    }

    /// Whether the failed start was one of a command that has to be given up for it.
    pub(super) fn start_failed(&mut self, worker: &Worker) -> bool {
        let trial = self.trial(worker).filter(|rollout| !rollout.must_fail);
        trial.map(|rollout| rollout.must_fail = true).is_some()
    }

    /// A worker has died that had been given something.
    pub(super) fn died(&mut self, id: WorkerId, worker: &Worker) {
        if let Some(rollout) = self.trial(worker) {
            let on_trial = !rollout.proven && rollout.trial == Some(id);
            rollout.must_fail |= on_trial && !worker.accounted;
            rollout.may_fail = true;
        }
    }

    /// Gives who is on trial before this one.
    pub(super) fn check_start(&self, group: GroupId, generation: Generation) -> Option<WorkerId> {
        if group != GROUP {
            return None;
        }
        let rollout = self.under_way.filter(|rollout| !rollout.failed);
        let tries = rollout.filter(|rollout| rollout.target == generation);
        assert!(generation == self.current || tries.is_some(), "a command that is not used");
        tries.filter(|rollout| !rollout.proven)?.trial
    }

    pub(super) fn started(&mut self, id: WorkerId, worker: &Worker) {
        if let Some(rollout) = self.trial(worker).filter(|rollout| !rollout.proven) {
            rollout.trial = Some(id);
        }
    }

    pub(super) fn check_send(&mut self, id: WorkerId, worker: &Worker, function: FunctionId) {
        let allowed = self.only.is_none_or(|only| only == worker.generation);
        assert!(allowed || worker.group != GROUP, "sent to a worker that was replaced");
        // What is asked of a command on trial need not be had by another.
        let on_trial = self.under_way.is_some_and(|rollout| {
            !rollout.failed && rollout.trial == Some(id) && (!rollout.proven || self.vague)
        });
        if worker.group == GROUP && !on_trial {
            self.used.insert(function);
        }
    }

    /// Whether a worker may be asked to leave as another has come, or is to come, in its stead.
    pub(super) fn may_replace(&self, worker: &Worker) -> bool {
        let is_replaced = match self.under_way {
            Some(rollout) => rollout.failed || rollout.proven,
            None => false,
        };
        worker.group == GROUP && (self.is_left_over(worker) || is_replaced)
    }

    /// It may have been replaced before, and be through only now.
    fn is_left_over(&self, worker: &Worker) -> bool {
        self.ended_at.is_some_and(|ended| worker.started <= ended)
    }

    /// A worker leaves for nothing but that.
    pub(super) fn replaced(&mut self, worker: &Worker) {
        let left_over = self.is_left_over(worker);
        if let Some(rollout) = self.under_way.as_mut().filter(|rollout| !rollout.failed)
            && worker.generation == self.current
            && !left_over
        {
            rollout.replaced += 1;
            assert!(rollout.replaced <= rollout.arrived, "more leave than have come");
        }
    }

    fn roll_back(&mut self, flaw: Flaw, over: bool) {
        let next = self.next.is_some();
        let rollout = self.under_way.as_mut().expect("nothing is under way");
        assert!(!std::mem::replace(&mut rollout.failed, true), "given up twice");
        let must_fail = std::mem::take(&mut rollout.must_fail);
        match flaw {
            Flaw::Died => assert!(must_fail || rollout.may_fail, "given up without a cause"),
            Flaw::Lacks(_) => {}
            Flaw::Hangs => assert!(rollout.hangs, "given up for what does not hang"),
            Flaw::Fails => {
                let fails = rollout.completed == 0 && rollout.failures > 0;
                let fails = fails && !rollout.proven || self.vague;
                assert!(fails, "given up for what did not fail");
            }
            Flaw::GivenUp => {
                assert!(over || next, "given up for nothing");
                rollout.given_up = true;
            }
        }
    }

    /// Gives what the workers of the group announce from now on, if that has changed.
    fn rolled_out(
        &mut self,
        now: Time,
        generation: Generation,
        over: bool,
    ) -> Option<HashSet<FunctionId>> {
        let rollout = self.under_way.take().expect("nothing is under way");
        assert!(rollout.failed || rollout.proven, "all are replaced by what is not proven");
        self.ended_at = Some(now);
        let expected = if rollout.failed { self.current } else { rollout.target };
        assert_eq!(generation, expected, "the end of another replacement");
        self.current = generation;
        // The way back may be given up too, and nothing is said of that.
        let given_up = rollout.given_up || rollout.failed && (over || self.next.is_some());
        self.only = Some(generation).filter(|_| !given_up);
        if let Some(next) = self.next.take() {
            self.begin(next);
        }
        (!rollout.failed).then(|| self.announced.clone())
    }
}

impl Ledger {
    pub(super) fn rollout_greeted(&mut self, id: WorkerId) {
        let functions = &self.workers[&id].repertoire.functions;
        self.rollouts.announced.clone_from(functions);
        let lacks = self.lacks(id);
        let over = self.is_shut_down() || self.starts.must_fail;
        if lacks
            && !over
            && let Some(rollout) = &mut self.rollouts.under_way
        {
            rollout.must_fail = true;
            // That it is stopped is said later, and it may have ended by then.
            self.workers.get_mut(&id).unwrap().accounted = true;
        }
    }

    /// Whether a worker of a new command does not have what is in use.
    fn lacks(&self, id: WorkerId) -> bool {
        let functions = &self.workers[&id].repertoire.functions;
        let lacks = |function: &&FunctionId| !functions.contains(function);
        let known = |function: &&FunctionId| {
            self.announced[GROUP.0].as_ref().is_some_and(|known| known.contains(function))
        };
        let proven = self.rollouts.under_way.is_none_or(|rollout| rollout.proven);
        let waited_for = self.waiting.iter().filter(|(_, places)| !places.is_empty());
        let apart = |function: &FunctionId| {
            self.apart.keys().any(|place| {
                self.batches.values().any(|it| it.order == place.0 && it.function == *function)
            })
        };
        let waited_for = waited_for.map(|(function, _)| function);
        let waited_for = waited_for.chain(self.waiting.keys().filter(|&it| apart(it)));
        let waited_for = waited_for.filter(known).any(|function| lacks(&function));
        self.rollouts.used.iter().any(|function| lacks(&function)) || !proven && waited_for
    }

    /// Looks at who is on trial, as it is when the machine moves on.
    pub(in super::super) fn look_at_trial(&mut self, now: Time) {
        let over = self.closed || self.is_shut_down() || self.starts.must_fail;
        if let Some(id) = self.on_trial(now)
            && !over
            // Nor can it be told then which results were those of one on trial.
            && (self.rollouts.vague || !self.fails_trial(id))
            && let Some(rollout) = &mut self.rollouts.under_way
        {
            rollout.proven = true;
        }
    }

    /// Who has been on trial for long enough.
    fn on_trial(&self, now: Time) -> Option<WorkerId> {
        let rollout = self.rollouts.under_way.filter(|rollout| !rollout.failed)?;
        let id = rollout.trial.filter(|_| !rollout.proven)?;
        let worker = self.workers.get(&id).filter(|worker| worker.is_serving())?;
        let limit = self.settings.max_tasks_per_child;
        let spent = worker.over_soft || limit.is_some_and(|limit| worker.given >= limit.get());
        let idle = worker.outstanding.is_empty();
        let tried = worker.answered >= PROOF_ITEMS
            || idle && (spent || now - worker.idle_since >= PROOF_PATIENCE);
        (tried && worker.is_heard()).then_some(id)
    }

    fn fails_trial(&self, id: WorkerId) -> bool {
        let fails = |rollout: Rollout| rollout.completed == 0 && rollout.failures > 0;
        self.rollouts.under_way.is_some_and(fails) || self.lacks(id)
    }

    /// A worker is over a limit of time.
    pub(super) fn rollout_timed_out(&mut self, now: Time, id: WorkerId) {
        let tried = self.on_trial(now).is_some();
        if let Some(rollout) = &mut self.rollouts.under_way
            && rollout.trial == Some(id)
        {
            rollout.hangs = true;
            // It may have passed in the same moment.
            rollout.must_fail |= !rollout.proven && !rollout.failed && !tried;
        }
    }

    /// What holds of a replacement whenever the machine rests.
    pub(super) fn check_rollout(&self, now: Time) {
        let Some(rollout) = self.rollouts.under_way else { return };
        assert!(!rollout.must_fail, "a command that cannot be used is not given up");
        let over = self.closed || self.is_shut_down();
        assert!(!over, "a replacement goes on after the pool");
        let vague = self.rollouts.vague;
        assert!(vague || self.on_trial(now).is_none(), "who is on trial fails, and is kept");
        let goal = if rollout.failed { self.rollouts.current } else { rollout.target };
        let first = !rollout.failed && !rollout.proven;
        let comes = |worker: &Worker| {
            let arrived = worker.is_serving() && !first && !vague;
            worker.group == GROUP && worker.generation == goal && !arrived
        };
        let has_room = self.workers.len() <= self.size && self.starts.may_start(now);
        assert!(!has_room || self.workers.values().any(comes), "a replacement stands still");
    }

    pub(super) fn rolled_back(
        &mut self,
        now: Time,
        group: GroupId,
        worker: Option<WorkerId>,
        flaw: Flaw,
    ) {
        assert_eq!(group, GROUP);
        match flaw {
            Flaw::Lacks(function) => {
                // It may be gone in the same round.
                let worker = self.workers.get(&worker.unwrap());
                let has = |it: &Worker| it.repertoire.functions.contains(&function);
                assert!(!worker.is_some_and(has), "it has {function:?}");
            }
            Flaw::Fails => {
                let tried = self.on_trial(now).is_some() || self.rollouts.vague;
                assert!(tried, "given up before its time");
            }
            Flaw::Died | Flaw::Hangs | Flaw::GivenUp => {}
        }
        let over = self.closed || self.is_shut_down() || self.starts.must_fail;
        self.rollouts.roll_back(flaw, over);
    }

    pub(super) fn rolled_out(&mut self, now: Time, group: GroupId, generation: Generation) {
        assert_eq!(group, GROUP);
        let over = self.closed || self.is_shut_down() || self.starts.must_fail;
        if let Some(functions) = self.rollouts.rolled_out(now, generation, over) {
            self.announced[GROUP.0] = Some(functions);
        }
    }
}
