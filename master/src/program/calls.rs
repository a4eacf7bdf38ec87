//! `master map`, `master starmap` and `master apply`: calls on a pool.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Refusal,
    arguments::{ApplyArguments, CallOptions, MapArguments, PoolOptions, WorkerOptions},
    input::{InputError, Inputs, Spread, encode_call},
    output::{Closed, Printed, Results, complain, describe, status_of},
    signals,
    status::ExitStatus,
    worker_commands,
};
use crate::{
    Arguments, Pool, PoolBuilder,
    batch::Items,
    error::{Cancelled, Error},
    pool::available_cpus,
    stream::{Feeder, InputStop, Outcome, Stream},
};

/// How many inputs are taken together at the most, where they have arrived together. They are
/// still sent one by one, unless `--chunksize` says otherwise.
const INPUTS_AT_ONCE: usize = 256;

/// `master map` and `master starmap`.
pub(super) fn map(arguments: MapArguments, spread: Spread) -> Result<ExitStatus, Refusal> {
    let format = arguments.format(spread);
    let keywords = format.keywords.is_some();
    let known = arguments.inputs.len();
    let chunk_size = arguments.chunksize.map_or(1, NonZeroUsize::get);
    let (inputs, place) = if known > 0 {
        (Inputs::from_arguments(format, arguments.inputs), String::new())
    } else {
        let (stream, place) = open(arguments.input.as_ref())?;
        (Inputs::from_stream(format, stream), place)
    };
    // A worker that would find nothing to do is not started.
    let useful = if known > 0 { known.div_ceil(chunk_size) } else { usize::MAX };
    let pool = pool(&arguments.pool, &arguments.workers, &arguments.calls, useful)?.build()?;
    let run = Run::new(pool, &arguments.function, !arguments.unordered, chunk_size)?;
    let input = Input { inputs, place, keywords, chunk_size: arguments.chunksize };
    Ok(run.all(input))
}

/// `master apply`.
pub(super) fn apply(arguments: ApplyArguments) -> Result<ExitStatus, Refusal> {
    let keywords = arguments.calls.kwargs.as_ref();
    let item = encode_call(&arguments.arguments, arguments.calls.mode(), keywords)
        .map_err(Refusal::usage)?;
    let pool = pool(&arguments.pool, &arguments.workers, &arguments.calls, 1)?.build()?;
    let run = Run::new(pool, &arguments.function, true, 1)?;
    Ok(run.one(Items { ends: vec![item.len()], bytes: item, keywords: keywords.is_some() }))
}

/// What to read, and what to call it in messages.
fn open(file: Option<&std::path::PathBuf>) -> Result<(Box<dyn Read + Send>, String), Refusal> {
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
    if let Some(initializer) = &workers.initializer {
        let positional = workers.initargs.as_ref().map(|arguments| arguments.encoded().to_vec());
        let arguments = match positional {
            Some(positional) => Arguments::from_encoded(positional, None)?,
            None => Arguments::new(())?,
        };
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

/// One run of a function over inputs.
struct Run {
    pool: Arc<Pool>,
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
    fn new(pool: Pool, function: &str, ordered: bool, chunk_size: usize) -> Result<Self, Refusal> {
        let pool = Arc::new(pool);
        let (feeder, stream) = pool.stream(function, ordered, chunk_size as u64);
        let stop = stream.input_stop();
        let ending = PoolEnding { pool: Arc::clone(&pool), input: stop.clone() };
        let ended = signals::handle(ending)
            .map_err(|error| Refusal::pool(format!("cannot handle signals: {error}")))?;
        Ok(Self { pool, feeder, stream, stop, ended })
    }

    /// A single call; its errors need no number.
    fn one(mut self, item: Items) -> ExitStatus {
        self.feeder.feed(item, 1);
        let Self { pool, feeder, stream, stop, ended } = self;
        drop(feeder);
        let tally = print_all(stream, &stop, |_| String::new());
        finish(&pool, tally, &ended)
    }

    /// A call for each input, while the inputs are read.
    fn all(self, input: Input) -> ExitStatus {
        let Self { pool, mut feeder, stream, stop, ended } = self;
        let failure: Arc<Mutex<Option<String>>> = Arc::default();
        let noted = Arc::clone(&failure);
        let started = spawn("master-input", move || {
            if let Err(error) = read(input, &mut feeder) {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        let (watched, unwanted) = (Arc::clone(&pool), stop.clone());
        let started = started.and_then(|()| {
            // The input may stay open for ever, though nothing can be done with it.
            spawn("master-watch", move || {
                watched.wait_for_failure();
                unwanted.stop();
            })
        });
        if let Err(error) = started {
            complain(&format!("cannot start a thread: {error}"));
            return ExitStatus::PoolFailed;
        }
        let mut tally = print_all(stream, &stop, |input| format!("input {}: ", input + 1));
        let error = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(tally), Some(error)) = (&mut tally, error) {
            complain(&error);
            tally.status = tally.status.combine(ExitStatus::Usage);
        }
        finish(&pool, tally, &ended)
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Reads the inputs and submits them, until their end or until nobody wants more.
fn read(input: Input, feeder: &mut Feeder) -> Result<(), String> {
    let Input { mut inputs, place, keywords, chunk_size } = input;
    let at_once = chunk_size.map_or(INPUTS_AT_ONCE, NonZeroUsize::get);
    let chunk_size = chunk_size.map_or(1, NonZeroUsize::get) as u64;
    while let Some(chunk) = inputs.next_chunk(at_once) {
        let chunk = chunk.map_err(|error: InputError| format!("{place}{error}"))?;
        let items = Items { bytes: chunk.bytes, ends: chunk.ends, keywords };
        if !feeder.feed(items, chunk_size) {
            break;
        }
    }
    Ok(())
}

/// Prints outcomes as they come, until there are no more or standard output is closed.
fn print_all(mut stream: Stream, stop: &InputStop, place: impl Fn(u64) -> String) -> Option<Tally> {
    let mut tally = Tally { status: ExitStatus::Success, not_begun: 0, over: false };
    let mut results = Results::new();
    let closed = loop {
        // What is printed goes out before there is a wait for more.
        if !stream.has_more()
            && let Err(Closed) = results.flush()
        {
            break true;
        }
        let Some((input, outcome)) = stream.next() else { break false };
        match take(&mut results, outcome) {
            Ok(None) => {}
            Ok(Some(error)) => {
                tally.note(&error, || place(input));
                if tally.over {
                    stop.stop();
                }
            }
            Err(Closed) => break true,
        }
    };
    if closed || results.flush().is_err() { None } else { Some(tally) }
}

/// Prints a result; gives the error of a task that has none.
fn take(results: &mut Results, outcome: Outcome) -> Result<Option<Error>, Closed> {
    match outcome {
        Ok(value) => match results.print(&value)? {
            Printed::Yes => Ok(None),
            Printed::No(problem) => Ok(Some(Error::Decode(problem))),
        },
        Err(error) => Ok(Some(error)),
    }
}

impl Tally {
    fn note(&mut self, error: &Error, place: impl FnOnce() -> String) {
        match error {
            Error::Cancelled(Cancelled::Interrupted | Cancelled::Terminated) => {
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
fn finish(pool: &Pool, tally: Option<Tally>, ended: &signals::Ended) -> ExitStatus {
    let Some(mut tally) = tally else {
        // Nobody reads the results, so nobody wants the rest of them.
        pool.terminate();
        pool.wait_for_end();
        return ended.status();
    };
    if let Some(error) = pool.failure()
        && !tally.over
    {
        complain(&describe(&error));
        tally.status = tally.status.combine(ExitStatus::PoolFailed);
    }
    pool.close();
    pool.wait_for_end();
    if tally.not_begun > 0 {
        complain(&format!("{} tasks were not begun, or not finished", tally.not_begun));
    }
    ended.status().combine(tally.status)
}

/// Signals for a pool.
struct PoolEnding {
    pool: Arc<Pool>,
    input: InputStop,
}

impl signals::Ending for PoolEnding {
    fn drain(&self) {
        self.input.stop();
        self.pool.interrupt();
        let running = self.pool.running_at_interrupt();
        complain(&format!(
            "interrupted: waiting for {running} running tasks; interrupt again to stop them"
        ));
    }

    fn terminate(&self) {
        self.input.stop();
        self.pool.terminate();
    }

    fn kill(&self) {
        self.pool.kill();
    }
}
