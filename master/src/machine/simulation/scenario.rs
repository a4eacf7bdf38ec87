//! What a run is about, drawn from the seed.

use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{super::*, Load, random::Random};

/// Functions are numbered below this.
const FUNCTIONS: u64 = 5;

/// What a run is about.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) settings: Settings,
    pub(super) groups: Vec<Workers>,
    pub(super) faults: Faults,
    /// Other commands of the first group, with faults of their own.
    pub(super) others: HashMap<Generation, (Workers, Faults)>,
    /// No item takes longer.
    pub(super) longest_item: Duration,
    /// How late the driver may be.
    pub(super) lateness: Duration,
    /// What is asked of the pool, and when.
    pub(super) requests: Vec<(Time, Request)>,
}

/// What the workers of one group announce.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    pub(super) repertoire: Repertoire,
    /// Each worker leaves out some function of the group, as if the executable were swapped.
    pub(super) change: bool,
}

/// How many of a thousand starts, items or workers go wrong, and in which way.
#[derive(Debug, Default, Clone)]
pub(super) struct Faults {
    pub(super) not_started: u64,
    pub(super) permanent: u64,
    pub(super) silent: u64,
    pub(super) unfit: u64,
    pub(super) dies_early: u64,
    pub(super) misbehaves_early: u64,
    pub(super) dies_any_time: u64,
    pub(super) ignores_terminate: u64,
    pub(super) ignores_drain: u64,
    pub(super) crash: u64,
    pub(super) disconnect: u64,
    pub(super) hang: u64,
    pub(super) misbehave: u64,
    pub(super) leave_after_answer: u64,
    /// The function says that it failed.
    pub(super) fail: u64,
}

/// What the pool is asked for.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Submit {
        load: Load,
        function: FunctionId,
        chunk_size: Option<u64>,
    },
    /// May come before the submission, and more than once.
    Cancel {
        batch: usize,
    },
    /// So may this.
    Withdraw {
        batch: usize,
    },
    Resize {
        slots: usize,
    },
    Replace {
        generation: Generation,
        by: Box<(Workers, Faults)>,
    },
    Close,
    Interrupt,
    Terminate,
    Kill,
}

impl Scenario {
    pub(super) fn random(random: &mut Random) -> Self {
        let group_count = random.between(1, 3);
        let groups: Vec<_> = (0..group_count).map(|_| workers(random)).collect();
        let mut settings = settings(random, groups.len());
        settings.one_call = random.chance(60);
        let longest = *random.pick(&[30, 1_000, 50_000, 3_000_000]);
        let mut scenario = Self {
            faults: faults(random, may_hang(&settings)),
            settings,
            groups,
            others: HashMap::new(),
            longest_item: Duration::from_micros(longest),
            lateness: *random.pick(&[Duration::ZERO, Duration::from_millis(2)]),
            requests: Vec::new(),
        };
        if scenario.settings.one_call {
            scenario.settings.max_tasks_per_child = None;
            let load = Load::new(0, [10]);
            let function = FunctionId(0);
            let submit = Request::Submit { load, function, chunk_size: Some(1) };
            scenario.settings.slots.truncate(1);
            scenario.groups.truncate(1);
            scenario.settings.slots[0] = GroupId(0);
            scenario.requests = vec![(Duration::ZERO, submit), (Duration::ZERO, Request::Close)];
        } else {
            scenario.requests = batches(random);
            let changes = changes(random, &scenario);
            scenario.requests.extend(changes);
        }
        let cancels = cancels(random, scenario.requests.len());
        scenario.requests.extend(cancels);
        // What is replaced takes its time.
        let patient = scenario.has_replacements() && random.chance(700);
        scenario.requests.extend(endings(random, patient));
        scenario
    }

    fn has_replacements(&self) -> bool {
        let replaces = |request: &Request| matches!(request, Request::Replace { .. });
        self.requests.iter().any(|(_, request)| replaces(request))
    }

    pub(super) fn workers(&self, group: GroupId, generation: Generation) -> (Workers, Faults) {
        match self.others.get(&generation).filter(|_| group == GroupId(0)) {
            Some(other) => other.clone(),
            None => (self.groups[group.0].clone(), self.faults.clone()),
        }
    }
}

/// Whether a worker that hangs will be ended.
const fn may_hang(settings: &Settings) -> bool {
    settings.task_timeout.is_some()
}

/// The pool is made larger or smaller, and its workers are replaced.
fn changes(random: &mut Random, scenario: &Scenario) -> Vec<(Time, Request)> {
    let mut changes = Vec::new();
    if scenario.groups.len() == 1 && random.chance(300) {
        for _ in 0..random.between(1, 4) {
            let slots = usize::try_from(random.between(1, 6)).unwrap();
            changes.push((seconds_below(random, 5), Request::Resize { slots }));
        }
    }
    if random.chance(400) {
        for number in 0..random.between(1, 3) {
            let generation = 1 + u32::try_from(number).unwrap();
            // Most can do what the others can.
            let workers = match random.chance(800) {
                true => scenario.groups[0].clone(),
                false => workers(random),
            };
            let mut faults = match random.chance(500) {
                true => scenario.faults.clone(),
                false => faults(random, may_hang(&scenario.settings)),
            };
            if random.chance(200) {
                faults.fail = 1000;
            }
            let by = Box::new((workers, faults));
            let replace = Request::Replace { generation, by };
            changes.push((seconds_below(random, 5), replace));
        }
    }
    changes
}

fn workers(random: &mut Random) -> Workers {
    let mut some = |per_mille| {
        let some = (0..FUNCTIONS).filter(|_| random.chance(per_mille));
        some.map(|number| FunctionId(u32::try_from(number).unwrap())).collect()
    };
    let repertoire =
        Repertoire { functions: some(700), reporting: some(300), cancellable: some(300) };
    Workers { repertoire, change: random.chance(200) }
}

fn settings(random: &mut Random, groups: usize) -> Settings {
    // Each group has a slot: others are never started, and nothing is known of them.
    let extra = usize::try_from(random.below(4)).unwrap();
    let mut settings =
        Settings::new((0..groups + extra).map(|slot| GroupId(slot % groups)).collect());
    let seconds =
        |random: &mut Random, most: u64| Duration::from_millis(random.between(1, most * 1000));
    if random.chance(300) {
        settings.cpus = usize::try_from(random.between(1, 3)).unwrap();
    }
    if random.chance(300) {
        settings.max_tasks_per_child = NonZeroU64::new(random.between(1, 20));
    }
    if random.chance(500) {
        settings.task_timeout = Some(random.duration(Duration::from_secs(2)));
    }
    if random.chance(300) {
        settings.max_tasks_jitter = random.below(10);
    }
    if random.chance(400) {
        settings.retries = u32::try_from(random.below(5)).unwrap();
        settings.retry_failed = random.chance(500);
        settings.retry_backoff = random.duration(Duration::from_secs(1));
        let limit = u32::try_from(random.between(1, 4)).unwrap();
        settings.poison_limit = NonZeroU32::new(limit).unwrap();
    }
    if random.chance(200) {
        settings.max_age = Some(seconds(random, 3));
    }
    if random.chance(250) {
        settings.idle_timeout = Some(random.duration(Duration::from_secs(2)));
        settings.minimum = usize::try_from(random.below(3)).unwrap();
    }
    if random.chance(200) {
        settings.soft_memory = Some(random.between(500, 1_000));
    }
    if random.chance(150) {
        settings.hard_memory = Some(random.between(900, 1_000));
    }
    if random.chance(300) {
        settings.silence_timeout = Some(random.duration(Duration::from_secs(1)));
    }
    settings.cancel_grace = seconds(random, 2);
    settings.seed = random.next();
    settings.hello_timeout = seconds(random, 10);
    settings.ready_timeout = settings.hello_timeout + seconds(random, 60);
    settings.drain_timeout = seconds(random, 5);
    settings.grace = seconds(random, 5);
    settings.failed_start_intensity = usize::try_from(random.below(20)).unwrap();
    settings.failed_start_period = seconds(random, 60);
    settings
}

fn faults(random: &mut Random, has_timeout: bool) -> Faults {
    let severity = *random.pick(&[0, 0, 1, 1, 5]);
    if severity == 0 {
        return Faults::default();
    }
    let mut some = |most: u64| if random.chance(500) { random.below(most * severity) } else { 0 };
    Faults {
        not_started: some(20),
        permanent: some(300),
        silent: some(20),
        unfit: some(10),
        dies_early: some(50),
        misbehaves_early: some(20),
        dies_any_time: some(150),
        ignores_terminate: some(200),
        ignores_drain: some(100),
        crash: some(50),
        disconnect: some(20),
        // Without a limit of time a worker that hangs would never be ended.
        hang: if has_timeout { some(20) } else { 0 },
        misbehave: some(10),
        leave_after_answer: some(20),
        fail: some(100),
    }
}

fn batches(random: &mut Random) -> Vec<(Time, Request)> {
    let count = random.between(1, 8);
    let most = *random.pick(&[3, 30, 150]);
    let largest = *random.pick(&[10, 10_000, 3 << 20]);
    let batch = |id| {
        let sizes: Vec<_> = (0..random.between(0, most)).map(|_| random.below(largest)).collect();
        let function = FunctionId(u32::try_from(random.below(FUNCTIONS)).unwrap());
        let chunks = [Some(1), Some(1), Some(2), Some(7), Some(50), Some(1000), None, None];
        let chunk_size = *random.pick(&chunks);
        let load = Load::new(usize::try_from(id).unwrap(), sizes);
        let request = Request::Submit { load, function, chunk_size };
        let time = if random.chance(500) { Duration::ZERO } else { seconds_below(random, 5) };
        (time, request)
    };
    (0..count).map(batch).collect()
}

/// Cancels or withdraws some of the batches, or all, or none.
fn cancels(random: &mut Random, requests: usize) -> Vec<(Time, Request)> {
    let per_mille = *random.pick(&[0, 100, 500, 2_000]);
    let count = requests as u64 * per_mille / 1000;
    let cancel = |_| {
        let batch = usize::try_from(random.below(requests as u64)).unwrap();
        let request = match random.chance(800) {
            true => Request::Cancel { batch },
            false => Request::Withdraw { batch },
        };
        (seconds_below(random, 5), request)
    };
    (0..count).map(cancel).collect()
}

/// When and how the run is ended. The last request always lets the pool come to its end.
fn endings(random: &mut Random, patient: bool) -> Vec<(Time, Request)> {
    let mut endings = Vec::new();
    if patient {
        return vec![(Duration::from_secs(30), Request::Close)];
    }
    for (request, per_mille) in
        [(Request::Interrupt, 150), (Request::Terminate, 100), (Request::Kill, 50)]
    {
        if random.chance(per_mille) {
            endings.push((seconds_below(random, 5), request));
        }
    }
    endings.push((seconds_below(random, 8), Request::Close));
    endings
}

/// Most of the work is done in the beginning, and what comes later meets an idle pool.
fn seconds_below(random: &mut Random, limit: u64) -> Duration {
    match random.chance(500) {
        true => random.duration(Duration::from_secs(limit)),
        false => Duration::from_millis(random.below(limit * 1000)),
    }
}
