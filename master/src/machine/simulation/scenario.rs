//! What a run is about, drawn from the seed.

use std::{collections::HashSet, num::NonZeroU64, time::Duration};

use super::{super::*, Load, random::Random};

/// Functions are numbered below this.
const FUNCTIONS: u64 = 5;

/// What a run is about.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) settings: Settings,
    pub(super) groups: Vec<Workers>,
    pub(super) faults: Faults,
    /// No item takes longer.
    pub(super) longest_item: Duration,
    /// How late the driver may be.
    pub(super) lateness: Duration,
    /// What is asked of the pool, and when.
    pub(super) requests: Vec<(Time, Request)>,
}

/// What the workers of one group announce.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) functions: HashSet<FunctionId>,
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
}

/// What the pool is asked for.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Submit {
        load: Load,
        function: FunctionId,
        chunk_size: u64,
    },
    /// May come before the submission, and more than once.
    Cancel {
        batch: usize,
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
            faults: faults(random, settings.task_timeout.is_some()),
            settings,
            groups,
            longest_item: Duration::from_micros(longest),
            lateness: *random.pick(&[Duration::ZERO, Duration::from_millis(2)]),
            requests: Vec::new(),
        };
        if scenario.settings.one_call {
            scenario.settings.max_tasks_per_child = None;
            let load = Load::new(0, [10]);
            let function = FunctionId(0);
            let submit = Request::Submit { load, function, chunk_size: 1 };
            scenario.settings.slots.truncate(1);
            scenario.groups.truncate(1);
            scenario.settings.slots[0] = GroupId(0);
            scenario.requests = vec![(Duration::ZERO, submit), (Duration::ZERO, Request::Close)];
        } else {
            scenario.requests = batches(random);
        }
        let cancels = cancels(random, scenario.requests.len());
        scenario.requests.extend(cancels);
        scenario.requests.extend(endings(random));
        scenario
    }
}

fn workers(random: &mut Random) -> Workers {
    let functions = (0..FUNCTIONS).filter(|_| random.chance(700));
    let functions = functions.map(|number| FunctionId(u32::try_from(number).unwrap())).collect();
    Workers { functions, change: random.chance(150) }
}

fn settings(random: &mut Random, groups: usize) -> Settings {
    // Each group has a slot: others are never started, and nothing is known of them.
    let extra = usize::try_from(random.below(4)).unwrap();
    let mut settings =
        Settings::new((0..groups + extra).map(|slot| GroupId(slot % groups)).collect());
    let seconds =
        |random: &mut Random, most: u64| Duration::from_millis(random.between(1, most * 1000));
    if random.chance(300) {
        settings.max_tasks_per_child = NonZeroU64::new(random.between(1, 20));
    }
    if random.chance(500) {
        settings.task_timeout = Some(random.duration(Duration::from_secs(2)));
    }
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
    }
}

fn batches(random: &mut Random) -> Vec<(Time, Request)> {
    let count = random.between(1, 8);
    let most = *random.pick(&[3, 30, 150]);
    let largest = *random.pick(&[10, 10_000, 3 << 20]);
    let batch = |id| {
        let sizes: Vec<_> = (0..random.between(0, most)).map(|_| random.below(largest)).collect();
        let function = FunctionId(u32::try_from(random.below(FUNCTIONS)).unwrap());
        let chunk_size = *random.pick(&[1, 1, 2, 7, 50, 1000]);
        let load = Load::new(usize::try_from(id).unwrap(), sizes);
        let request = Request::Submit { load, function, chunk_size };
        let time = if random.chance(500) { Duration::ZERO } else { seconds_below(random, 5) };
        (time, request)
    };
    (0..count).map(batch).collect()
}

/// Cancels some of the batches, or all, or none.
fn cancels(random: &mut Random, requests: usize) -> Vec<(Time, Request)> {
    let per_mille = *random.pick(&[0, 100, 500, 2_000]);
    let count = requests as u64 * per_mille / 1000;
    let cancel = |_| {
        let batch = usize::try_from(random.below(requests as u64)).unwrap();
        (seconds_below(random, 5), Request::Cancel { batch })
    };
    (0..count).map(cancel).collect()
}

/// When and how the run is ended. The last request always lets the pool come to its end.
fn endings(random: &mut Random) -> Vec<(Time, Request)> {
    let mut endings = Vec::new();
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

fn seconds_below(random: &mut Random, limit: u64) -> Duration {
    random.duration(Duration::from_secs(limit))
}
