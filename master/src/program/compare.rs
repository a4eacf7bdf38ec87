//! `master compare`: the same inputs on two workers.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use serde_json::json;

use super::{
    Refusal,
    arguments::CompareArguments,
    calls::open_input,
    initializer,
    input::{EncodedChunk, InputError, Inputs, ItemFormat, Spread},
    output::{Closed, complain, complain_aside, status_of},
    signals::{self, Steered, Wish},
    status::ExitStatus,
    worker_commands,
};
use crate::{
    Pool,
    command::WorkerCommand,
    compare::{
        CompareError, CompareOptions, Comparison, Difference, Outcome, Round, Summary, Verdict,
    },
    recording::{Notation, Value},
};

/// What the two are called in messages.
const NAMES: [&str; 2] = ["A", "B"];

/// Bytes of a call and of each value that are printed for people.
const WIDTH: usize = 200;

/// One side is faster if it takes so much less time: a twentieth, which chance may make.
const FASTER: f64 = 1.05;

pub(super) fn compare(mut arguments: CompareArguments) -> Result<ExitStatus, Refusal> {
    let commands = worker_commands(&arguments.workers)?;
    let [(one, None), (other, None)] = &commands[..] else {
        return Err(Refusal::usage(
            "master compare takes --worker twice, each time without a number: the two workers \
             that are to be compared",
        ));
    };
    let commands = [one.clone(), other.clone()];
    let spread = if arguments.spread { Spread::Arguments } else { Spread::Whole };
    let format = ItemFormat {
        mode: arguments.calls.mode(),
        spread,
        keywords: arguments.calls.kwargs.clone(),
    };
    let keywords = format.keywords.is_some();
    let (inputs, place) = if arguments.inputs.is_empty() {
        let (stream, place) = open_input(arguments.input.as_ref())?;
        (Inputs::from_stream(format, stream), place)
    } else {
        let inputs = std::mem::take(&mut arguments.inputs);
        (Inputs::from_arguments(format, inputs), String::new())
    };
    let signals = signals::catch(Steered::Processes)?;
    let pools = [pool(&arguments, one)?, pool(&arguments, other)?].map(Arc::new);
    let (messages, inputs) = Questions::new(inputs, place)?;
    let ended = signals.handle(Both { pools: pools.clone(), messages })?;
    let run = Run { arguments: &arguments, keywords, lines: Vec::new() };
    let status = run.run(&pools, &commands, &inputs);
    for pool in &pools {
        pool.close();
        pool.wait_for_end(None);
    }
    Ok(ended.status().combine(status))
}

fn pool(arguments: &CompareArguments, command: &WorkerCommand) -> Result<Pool, Refusal> {
    let mut builder =
        Pool::builder().worker(command.clone()).start_timeout(arguments.workers.start_timeout);
    if let Some(processes) = arguments.processes {
        builder = builder.processes(processes.get());
    }
    if let Some(timeout) = arguments.calls.timeout {
        builder = builder.task_timeout(timeout);
    }
    if let Some((initializer, arguments)) = initializer(&arguments.workers)? {
        builder = builder.initializer(initializer, arguments);
    }
    Ok(builder.surrounded(|surroundings| arguments.surroundings.tell(surroundings)).build()?)
}

/// What comes to whoever waits for inputs.
enum Message {
    Inputs(Result<EncodedChunk, String>),
    /// There are no more, or no more are wanted.
    End,
}

/// Inputs, read by a thread of its own: a read may wait for ever, and a signal is to end that.
struct Questions {
    ask: SyncSender<usize>,
    messages: Receiver<Message>,
}

impl Questions {
    fn new(mut inputs: Inputs, place: String) -> Result<(Sender<Message>, Self), Refusal> {
        // One question at a time, so that nothing is read before it is wanted.
        let (ask, asked) = sync_channel::<usize>(1);
        let (sender, messages) = channel();
        let answer = sender.clone();
        let read = move || {
            for most in asked {
                let message = match inputs.next_chunk(most) {
                    Some(chunk) => {
                        let named = |error: InputError| format!("{place}{error}");
                        Message::Inputs(chunk.map_err(named))
                    }
                    None => Message::End,
                };
                if answer.send(message).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("master-input".into()).spawn(read);
        thread.map_err(|error| Refusal::pool(format!("cannot start a thread: {error}")))?;
        Ok((sender, Self { ask, messages }))
    }

    /// Up to so many inputs; `None` at their end.
    fn next(&self, most: usize) -> Option<Result<EncodedChunk, String>> {
        self.ask.send(most).ok()?;
        match self.messages.recv() {
            Ok(Message::Inputs(chunk)) => Some(chunk),
            Ok(Message::End) | Err(_) => None,
        }
    }
}

struct Run<'a> {
    arguments: &'a CompareArguments,
    keywords: bool,
    /// Differences that are not printed yet.
    lines: Vec<u8>,
}

impl Run<'_> {
    fn run(
        mut self,
        pools: &[Arc<Pool>; 2],
        commands: &[WorkerCommand; 2],
        inputs: &Questions,
    ) -> ExitStatus {
        let [one, other] = pools;
        let options = CompareOptions { tolerance: self.arguments.tolerance };
        let comparison = Comparison::new(one, other, &self.arguments.function, options);
        let mut status = ExitStatus::Success;
        let mut comparison = match comparison {
            Ok(comparison) => comparison,
            Err(error) => return complain_of(&error, commands),
        };
        let mut closed = None;
        while let Some(chunk) = inputs.next(comparison.round_size()) {
            let round = match chunk {
                Ok(EncodedChunk { bytes, ends, .. }) => {
                    Round { bytes, ends, keywords: self.keywords }
                }
                Err(problem) => {
                    complain(&problem);
                    status = ExitStatus::Usage;
                    break;
                }
            };
            let went_on = comparison.run(&round, &mut |difference| self.note(difference));
            // Who reads no more still wants the status.
            closed = self.flush().err();
            match went_on {
                Ok(true) if closed.is_none() => {}
                Ok(_) => break,
                Err(error) => {
                    status = complain_of(&error, commands);
                    break;
                }
            }
        }
        let summary = comparison.summary();
        if summary.different() > 0 {
            status = ExitStatus::TaskFailed.combine(status);
        }
        if self.arguments.json {
            self.lines.extend(format!("{}\n", summary_json(&summary)).into_bytes());
            closed = closed.or_else(|| self.flush().err());
        }
        // Where one side never worked there is nothing to tell.
        if summary.inputs > 0 || status == ExitStatus::Success {
            tell_summary(&summary, commands);
        }
        closed.map_or(status, |closed| status.combine(closed.report()))
    }

    fn note(&mut self, difference: &Difference<'_>) {
        let function = &self.arguments.function;
        let line = match self.arguments.json {
            true => to_json(difference, function),
            false => to_text(difference, function),
        };
        self.lines.extend(line.into_bytes());
        self.lines.push(b'\n');
    }

    fn flush(&mut self) -> Result<(), Closed> {
        let mut output = io::stdout();
        let written = output.write_all(&self.lines).and_then(|()| output.flush());
        self.lines.clear();
        Ok(written?)
    }
}

fn to_text(difference: &Difference<'_>, function: &str) -> String {
    let notation = Notation::SHORT.up_to(WIDTH);
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Value(bytes) => match Value::read(bytes) {
            Ok((value, _)) => format!("gives {}", notation.text(&value)),
            Err(error) => format!("gives what is malformed ({error})"),
        },
        Outcome::Error(error) => format!("fails: {}", first_line(&error.to_string())),
    };
    let [one, other] = difference.outcomes.map(outcome);
    let [a, b] = NAMES;
    let call = match Value::read_all(difference.arguments) {
        Ok(arguments) => notation.call(function, &arguments),
        Err(_) => function.to_owned(),
    };
    let place = match &difference.verdict {
        Verdict::Values(place) if place != "$" => format!(", at {place}"),
        _ => String::new(),
    };
    format!("input {}, {call}: {a} {one}, {b} {other}{place}", difference.input)
}

fn to_json(difference: &Difference<'_>, function: &str) -> String {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Value(bytes) => format!("{{{}}}", Notation::EXACT.value_field(bytes)),
        Outcome::Error(error) => {
            let error = json!({ "kind": outcome.kind(), "message": error.to_string() });
            format!("{{\"error\":{error}}}")
        }
    };
    let [one, other] = difference.outcomes.map(outcome);
    let call = Notation::EXACT.call_fields(function, difference.arguments);
    let place = match &difference.verdict {
        Verdict::Values(place) => format!(",\"at\":{}", json!(place)),
        _ => String::new(),
    };
    format!("{{\"input\":{},{call},\"a\":{one},\"b\":{other}{place}}}", difference.input)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn summary_json(summary: &Summary) -> serde_json::Value {
    let [one, other] = summary.times.map(|time| time.as_secs_f64());
    let [failed_a, failed_b] = summary.failed_alone;
    json!({ "summary": {
        "inputs": summary.inputs,
        "equal": summary.equal,
        "different": summary.different(),
        "failed_in_a_only": failed_a,
        "failed_in_b_only": failed_b,
        "seconds_a": one,
        "seconds_b": other,
    }})
}

fn tell_summary(summary: &Summary, commands: &[WorkerCommand; 2]) {
    let Summary { inputs, equal, failed_alone: [failed_a, failed_b], .. } = *summary;
    let inputs_in_words = super::output::count(inputs, "input");
    let alone = match (failed_a, failed_b) {
        (0, 0) => String::new(),
        _ => format!(" ({failed_a} failed in A only, {failed_b} in B only)"),
    };
    let different = summary.different();
    complain(&format!("{inputs_in_words}: {equal} equal, {different} different{alone}"));
    if inputs == 0 {
        return;
    }
    let [time_a, time_b] = summary.times;
    let side = |command: &WorkerCommand, time: Duration| {
        #[expect(clippy::cast_precision_loss, reason = "it is a mean for people")]
        let each = Duration::from_secs_f64(time.as_secs_f64() / inputs as f64);
        format!("{command}: {}, {} an input", in_words(time), in_words(each))
    };
    let [command_a, command_b] = commands;
    complain(&format!("A, {}", side(command_a, time_a)));
    complain(&format!("B, {}; {}", side(command_b, time_b), faster(time_a, time_b)));
}

/// A time with three digits or so.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match () {
        () if seconds < 1e-3 => format!("{:.2} us", seconds * 1e6),
        () if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        () => format!("{seconds:.2} s"),
    }
}

/// Who is faster, and by how much.
fn faster(one: Duration, other: Duration) -> String {
    let ratio = one.as_secs_f64() / other.as_secs_f64();
    match ratio {
        _ if ratio >= FASTER => format!("B is {ratio:.2} times as fast as A"),
        _ if 1.0 / ratio >= FASTER => format!("A is {:.2} times as fast as B", 1.0 / ratio),
        _ => "both are as fast".to_owned(),
    }
}

fn complain_of(error: &CompareError, commands: &[WorkerCommand; 2]) -> ExitStatus {
    let name = NAMES.get(error.side).copied().unwrap_or("?");
    let command = commands.get(error.side).map(ToString::to_string).unwrap_or_default();
    complain(&format!("{name}, {command}: {}", error.error));
    status_of(&error.error)
}

/// Signals for both pools.
struct Both {
    pools: [Arc<Pool>; 2],
    messages: Sender<Message>,
}

impl Both {
    fn stop_reading(&self) {
        // Nobody may be there any more.
        let _ = self.messages.send(Message::End);
    }
}

impl signals::Ending for Both {
    fn drain(&self) {
        self.stop_reading();
        self.pools.iter().for_each(|pool| pool.interrupt());
        complain_aside("interrupted: waiting for what runs; interrupt again to stop".into());
    }

    fn terminate(&self) {
        self.stop_reading();
        self.pools.iter().for_each(|pool| pool.terminate());
    }

    fn kill(&self) {
        self.stop_reading();
        self.pools.iter().for_each(|pool| pool.kill());
    }

    fn wait_for_end(&self, timeout: Duration) {
        for pool in &self.pools {
            pool.wait_for_end(Some(timeout));
        }
    }

    /// Nobody asks that of two pools.
    fn steer(&self, _: Wish) {}
}
