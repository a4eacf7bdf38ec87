//! `master map`, `master starmap` and `master apply`: calls on a pool.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Refusal,
    arguments::{
        ApplyArguments, CallOptions, MapArguments, PoolOptions, SupervisionOptions, WorkerOptions,
    },
    events::EventLog,
    initializer,
    input::{InputError, Inputs, Spread, encode_call},
    output::{Closed, Printed, Results, complain, complain_aside, count, describe, status_of},
    signals::{self, Steered, Wish},
    status::ExitStatus,
    steering::{self, Replacements},
    taping::Taping,
    worker_commands,
};
use crate::{
    Pool, PoolBuilder,
    batch::Items,
    error::{Cancelled, Error},
    pool::available_cpus,
    stream::{Feeder, InputStop, Outcome, Stream},
};

/// How many inputs are taken together at the most, where they have arrived together. How many of
/// them are sent together is left to the pool, unless `--chunksize` says it.
const INPUTS_AT_ONCE: usize = 256;

/// `master map` and `master starmap`.
pub(super) fn map(arguments: MapArguments, spread: Spread) -> Result<ExitStatus, Refusal> {
    let format = arguments.format(spread);
    let keywords = format.keywords.is_some();
    let known = arguments.inputs.len();
    let chunk_size = arguments.chunksize.map(NonZeroUsize::get);
    let (inputs, place) = if known > 0 {
        (Inputs::from_arguments(format, arguments.inputs), String::new())
    } else {
        let (stream, place) = open_input(arguments.input.as_ref())?;
        (Inputs::from_stream(format, stream), place)
    };
    // A worker that would find nothing to do is not started.
    let useful = if known > 0 { known.div_ceil(chunk_size.unwrap_or(1)) } else { usize::MAX };
    let pool = pool(&arguments.pool, &arguments.workers, &arguments.calls, useful)?
        .surrounded(|surroundings| arguments.surroundings.tell(surroundings));
    let plan = Plan { pool, supervision: &arguments.supervision, workers: arguments.workers };
    let run = Run::new(plan, &arguments.function, !arguments.unordered, chunk_size)?;
    let input = Input { inputs, place, keywords, chunk_size: arguments.chunksize };
    Ok(run.all(input))
}

/// `master apply`.
pub(super) fn apply(arguments: ApplyArguments) -> Result<ExitStatus, Refusal> {
    let keywords = arguments.calls.kwargs.as_ref();
    let item = encode_call(&arguments.arguments, arguments.calls.mode(), keywords)
        .map_err(Refusal::usage)?;
    let pool = pool(&arguments.pool, &arguments.workers, &arguments.calls, 1)?.surrounded(
        |surroundings| {
            arguments.surroundings.tell(surroundings);
            surroundings.single_call = true;
        },
    );
    let plan = Plan { pool, supervision: &arguments.supervision, workers: arguments.workers };
    let run = Run::new(plan, &arguments.function, true, Some(1))?;
    Ok(run.one(Items { ends: vec![item.len()], bytes: item.into(), keywords: keywords.is_some() }))
}

/// What to read, and what to call it in messages.
pub(super) fn open_input(
    file: Option<&std::path::PathBuf>,
) -> Result<(Box<dyn Read + Send>, String), Refusal> {
    let Some(path) = file else {
        return Ok((Box::new(io::stdin()), "standard input, ".to_owned()));
    };
    let name = path.display();
    match File::open(path) {
        Ok(file) => Ok((Box::new(file), format!("{name}, "))),
        Err(error) => Err(Refusal::usage(format!("cannot open the input {name}: {error}"))),
    }
}

/// The pool that the options ask for, with no more workers than are of use.
fn pool(
    options: &PoolOptions,
    workers: &WorkerOptions,
    calls: &CallOptions,
    useful: usize,
) -> Result<PoolBuilder, Refusal> {
    let commands = worker_commands(workers)?;
    let mut builder = Pool::builder().start_timeout(workers.start_timeout);
    // With unlike workers any of them may be the one that has the function.
    let alike = matches!(&commands[..], [(_, None)]);
    match options.processes.map(NonZeroUsize::get) {
        Some(processes) if alike => builder = builder.processes(processes.min(useful)),
        Some(processes) => builder = builder.processes(processes),
        // To count the CPUs takes a dozen system calls.
        None if alike && useful == 1 => builder = builder.processes(1),
        None if alike => builder = builder.processes(available_cpus().min(useful)),
        None => {}
    }
    for (command, count) in commands {
        builder = match count {
            Some(count) => builder.workers(count, command),
            None => builder.worker(command),
        };
    }
    if let Some(limit) = options.max_tasks_per_child {
        builder = builder.max_tasks_per_child(limit.get() as u64);
    }
    if let Some(timeout) = calls.timeout {
        builder = builder.task_timeout(timeout);
    }
    if let Some((initializer, arguments)) = initializer(workers)? {
        builder = builder.initializer(initializer, arguments);
    }
    Ok(builder)
}

/// What is read, and how.
struct Input {
    inputs: Inputs,
    place: String,
    keywords: bool,
    chunk_size: Option<NonZeroUsize>,
}

/// The pool that is to be made.
struct Plan<'a> {
    pool: PoolBuilder,
    supervision: &'a SupervisionOptions,
    /// What its workers are, to be looked up again when they are to be replaced.
    workers: WorkerOptions,
}

/// One run of a function over inputs.
struct Run {
    pool: Arc<Pool>,
    log: Option<EventLog>,
    tape: Option<Taping>,
    feeder: Feeder,
    stream: Stream,
    stop: InputStop,
    ended: signals::Ended,
}

/// What a run came to.
struct Tally {
    status: ExitStatus,
    not_begun: u64,
    /// An error that concerns the run as a whole has been reported.
    over: bool,
}

impl Run {
    fn new(
        plan: Plan<'_>,
        function: &str,
        ordered: bool,
        chunk_size: Option<usize>,
    ) -> Result<Self, Refusal> {
        let Plan { pool, supervision, workers } = plan;
        let pool = supervision.apply(pool);
        let (pool, log) = EventLog::start(pool, supervision.events.as_deref())?;
        let (pool, tape) = Taping::start(pool, supervision.record.as_deref())?;
        let signals = signals::catch(Steered::Pool)?;
        let pool = Arc::new(pool.build()?);
        let (feeder, stream) =
            pool.stream(function, ordered, chunk_size.map(|size| size as u64))?;
        let stop = stream.input_stop();
        let ending = PoolEnding {
            pool: Arc::clone(&pool),
            input: stop.clone(),
            workers,
            replacements: Replacements::default(),
        };
        let ended = signals.handle(ending)?;
        Ok(Self { pool, log, tape, feeder, stream, stop, ended })
    }

    /// A single call; its errors need no number.
    fn one(mut self, item: Items) -> ExitStatus {
        self.feeder.feed(item, Some(1));
        let Self { pool, log, tape, feeder, stream, stop, ended } = self;
        drop(feeder);
        let tally = print_all(stream, &stop, |_| String::new());
        finish(&pool, log, tape, tally, &ended)
    }

    /// A call for each input, while the inputs are read.
    fn all(self, input: Input) -> ExitStatus {
        let Self { pool, log, tape, mut feeder, stream, stop, ended } = self;
        // Empty while the input is being read: a reader that still waits at the end was stopped,
        // and nothing went wrong with it.
        let noted: Arc<Mutex<Result<(), String>>> = Arc::new(Mutex::new(Ok(())));
        let note = Arc::clone(&noted);
        let read = move || {
            let end = catch_unwind(AssertUnwindSafe(|| read(input, &mut feeder)));
            let end = end.unwrap_or_else(|_| Err("the input was not read to its end".into()));
            // Before the feeder goes, which ends the outcomes.
            *note.lock().unwrap_or_else(PoisonError::into_inner) = end;
        };
        let reader = std::thread::Builder::new().name("master-input".into()).spawn(read);
        let mut tally = print_all(stream, &stop, |input| format!("input {}: ", input + 1));
        let read = noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let started = reader.map(drop).map_err(|error| format!("cannot read the input: {error}"));
        if let (Ok(tally), Err(error)) = (&mut tally, started.and(read)) {
            complain(&error);
            tally.status = tally.status.combine(ExitStatus::Usage);
        }
        finish(&pool, log, tape, tally, &ended)
    }
}

/// Reads the inputs and submits them, until their end or until nobody wants more.
fn read(input: Input, feeder: &mut Feeder) -> Result<(), String> {
    let Input { mut inputs, place, keywords, chunk_size } = input;
    let at_once = chunk_size.map_or(INPUTS_AT_ONCE, NonZeroUsize::get);
    while let Some(room) = feeder.wait_for_room(at_once as u64) {
        // A chunk is sent as a whole, however little room there is.
        let room = if chunk_size.is_some() { at_once as u64 } else { room };
        let most = at_once.min(usize::try_from(room).unwrap_or(usize::MAX));
        let Some(chunk) = inputs.next_chunk(most) else { break };
        let chunk = chunk.map_err(|error: InputError| format!("{place}{error}"))?;
        let items = Items { bytes: chunk.bytes.into(), ends: chunk.ends, keywords };
        feeder.feed(items, chunk_size.map(|size| size.get() as u64));
    }
    Ok(())
}

/// Prints outcomes as they come, until there are no more or standard output is closed.
fn print_all(
    mut stream: Stream,
    stop: &InputStop,
    place: impl Fn(u64) -> String,
) -> Result<Tally, Closed> {
    let mut tally = Tally { status: ExitStatus::Success, not_begun: 0, over: false };
    let mut results = Results::new();
    loop {
        // What is printed goes out before there is a wait for more, and not sooner.
        if !stream.has_come() {
            results.flush()?;
        }
        let Some((input, outcome)) = stream.next() else { break };
        if let Some(error) = take(&mut results, outcome)? {
            // A complaint is not to come before the results that came before it.
            results.flush()?;
            tally.note(&error, || place(input));
            if tally.over {
                stop.stop();
            }
        }
    }
    results.flush()?;
    Ok(tally)
}

/// Prints a result; gives the error of a task that has none.
fn take(results: &mut Results, outcome: Outcome<'_>) -> Result<Option<Error>, Closed> {
    match outcome {
        Ok(value) => match results.print(value)? {
            Printed::Yes => Ok(None),
            Printed::No(problem) => Ok(Some(Error::Decode(problem))),
        },
        Err(error) => Ok(Some(error)),
    }
}

impl Tally {
    fn note(&mut self, error: &Error, place: impl FnOnce() -> String) {
        match error {
            Error::Cancelled(
                Cancelled::ByCaller | Cancelled::Interrupted | Cancelled::Terminated,
            ) => {
                self.not_begun += 1;
                self.status = self.status.combine(ExitStatus::TaskFailed);
            }
            // The end of the pool has its own message.
            Error::NotRunning => self.status = self.status.combine(ExitStatus::TaskFailed),
            Error::UnknownFunction { .. } | Error::PoolFailed(_) | Error::Setup(_) => {
                if !self.over {
                    complain(&describe(error));
                }
                self.over = true;
                self.status = self.status.combine(status_of(error));
            }
            _ => {
                complain(&format!("{}{}", place(), describe(error)));
                self.status = self.status.combine(status_of(error));
            }
        }
    }
}

/// Lets the workers go, and tells how it all ended.
fn finish(
    pool: &Pool,
    log: Option<EventLog>,
    tape: Option<Taping>,
    tally: Result<Tally, Closed>,
    ended: &signals::Ended,
) -> ExitStatus {
    let status = tell_end(pool, tally, ended);
    let status = log.map_or(status, |log| status.combine(log.finish()));
    tape.map_or(status, |tape| status.combine(tape.finish()))
}

fn tell_end(pool: &Pool, tally: Result<Tally, Closed>, ended: &signals::Ended) -> ExitStatus {
    let mut tally = match tally {
        Ok(tally) => tally,
        // Nobody gets the results, so nobody wants the rest of them.
        Err(closed) => {
            pool.terminate();
            pool.wait_for_end(None);
            return ended.status().combine(closed.report());
        }
    };
    if let Some(error) = pool.failure()
        && !tally.over
    {
        complain(&describe(&error));
        tally.status = tally.status.combine(ExitStatus::PoolFailed);
    }
    pool.close();
    pool.wait_for_end(None);
    if tally.not_begun > 0 {
        let verb = if tally.not_begun == 1 { "was" } else { "were" };
        complain(&format!("{} {verb} not begun, or not finished", count(tally.not_begun, "task")));
    }
    ended.status().combine(tally.status)
}

/// Signals for a pool.
struct PoolEnding {
    pool: Arc<Pool>,
    input: InputStop,
    workers: WorkerOptions,
    replacements: Replacements,
}

impl signals::Ending for PoolEnding {
    fn drain(&self) {
        self.input.stop();
        self.pool.interrupt();
        let running = self.pool.running_at_interrupt();
        complain_aside(format!(
            "interrupted: waiting for {}; interrupt again to stop",
            count(running, "running task")
        ));
    }

    fn terminate(&self) {
        self.input.stop();
        self.pool.terminate();
    }

    fn kill(&self) {
        self.input.stop();
        self.pool.kill();
    }

    fn wait_for_end(&self, timeout: Duration) {
        self.pool.wait_for_end(Some(timeout));
    }

    fn steer(&self, wish: Wish) {
        match wish {
            Wish::Replace => self.replacements.replace(&self.pool, &self.workers),
            Wish::More => steering::resize(&self.pool, true),
            Wish::Less => steering::resize(&self.pool, false),
            Wish::Status => steering::tell_status(&self.pool),
        }
    }
}
