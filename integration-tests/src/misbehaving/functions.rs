//! The functions that the worker has in every mode.

use std::{
    error::Error,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    envelope::Item,
    message::{Failure, FunctionDescription, feature, kind},
    value,
};
use rustix::process::Signal;
use serde::Deserialize;

use super::Connection;

/// Longer than any watchdog, and yet not for ever.
const LONG: Duration = Duration::from_secs(600);

/// How many calls of `count` this process has served.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What `grow` keeps.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Name, parameters, help.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("square", "(n, seconds?)", "the square of an integer, after a pause"),
    ("cube", "(n, seconds?)", "the cube of an integer, after a pause"),
    ("echo", "(value)", "the value itself"),
    ("pid", "(...)", "the pid of the worker"),
    ("count", "(...)", "how often this process was asked so far"),
    ("sleep", "(seconds, value?)", "the value or null, after a pause"),
    ("grow", "(mebibytes, seconds?)", "how much it keeps for good, after so much more and a pause"),
    ("fail", "(message?)", "an error, always"),
    ("panic", "(message)", "an error, as if by a panic"),
    ("spawn", "(seconds)", "starts a process that lasts so long; gives its pid"),
    ("print", "(stream, text)", "prints a line on `stdout` or `stderr`"),
    ("raw", "(hexadecimal)", "these bytes as an encoded result"),
    ("crash_if_odd", "(n)", "the number itself, or a death by SIGSEGV if it is odd"),
    ("exit", "(status)", "ends the process with this status, in the middle of the call"),
    ("kill", "(signal)", "ends the process with a signal of this number"),
    ("hang", "()", "does not return"),
    ("close", "()", "closes the socket and does not return"),
];

/// The functions as a hello announces them, each with these features.
pub(super) fn descriptions(features: &[&str]) -> Vec<FunctionDescription> {
    let describe = |&(name, parameters, help): &(&str, &str, &str)| FunctionDescription {
        name: name.into(),
        parameters: parameters.into(),
        help: help.into(),
        progress: features.contains(&feature::PROGRESS),
        cancel: features.contains(&feature::CANCEL),
    };
    FUNCTIONS.iter().map(describe).collect()
}

/// Runs a function; the value comes back encoded.
///
/// # Errors
/// The outer error ends the worker, the inner one is an answer.
pub(super) fn call(
    connection: &Connection,
    function: &str,
    item: Item<'_>,
) -> Result<Result<Vec<u8>, Failure>, Box<dyn Error>> {
    use Argument::{Integer, Number, Text};
    let arguments: Vec<Argument> = rmp_serde::from_slice(item.positional)?;
    Ok(match (function, arguments.as_slice()) {
        ("square", &[Integer(n), ref pause @ ..]) => after(pause, || encode(&n.checked_pow(2))),
        ("cube", &[Integer(n), ref pause @ ..]) => after(pause, || encode(&n.checked_pow(3))),
        ("echo", [_]) => Ok(first_argument(item)?.unwrap_or_default().to_vec()),
        ("pid", _) => encode(&std::process::id()),
        ("count", _) => encode(&(COUNT.fetch_add(1, Ordering::Relaxed) + 1)),
        ("sleep", [pause @ (Integer(_) | Number(_)), rest @ ..]) => {
            after(std::slice::from_ref(pause), || match rest {
                [Integer(value)] => encode(value),
                [Text(value)] => encode(value),
                _ => encode(&()),
            })
        }
        ("grow", &[Integer(more), ref pause @ ..]) => {
            let kept = grow(usize::try_from(more)?);
            after(pause, || encode(&kept))
        }
        ("fail", arguments) => Err(Failure {
            kind: "Refused".into(),
            message: match arguments {
                [Text(message)] => message.clone(),
                _ => "as asked".into(),
            },
            traceback: "in fail, where else".into(),
        }),
        ("panic", [Text(message)]) => Err(failure("Panic", message.clone())),
        ("spawn", &[Integer(seconds)]) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "to start a process is what is asked for"
            )]
            let mut command = Command::new("sleep");
            encode(&command.arg(seconds.to_string()).stdin(Stdio::null()).spawn()?.id())
        }
        ("print", [Text(stream), Text(text)]) => {
            match stream.as_str() {
                "stdout" => println!("{text}"),
                _ => eprintln!("{text}"),
            }
            encode(&())
        }
        ("raw", [Text(digits)]) => Ok(bytes_of(digits)?),
        ("crash_if_odd", &[Integer(n)]) if n % 2 != 0 => die_of(Signal::SEGV)?,
        ("crash_if_odd", &[Integer(n)]) => encode(&n),
        ("exit", &[Integer(status)]) => std::process::exit(i32::try_from(status)?),
        ("kill", &[Integer(signal)]) => {
            die_of(Signal::from_named_raw(i32::try_from(signal)?).ok_or("no such signal")?)?
        }
        ("hang", _) => hang(),
        ("close", _) => {
            connection.shut_down()?;
            hang()
        }
        _ if FUNCTIONS.iter().any(|(name, ..)| *name == function) => {
            Err(failure(kind::INVALID_ARGUMENTS, format!("{function} cannot take {arguments:?}")))
        }
        _ => Err(failure(kind::UNKNOWN_FUNCTION, format!("no function {function}"))),
    })
}

/// The first positional argument of an item, still encoded.
pub(super) fn first_argument(item: Item<'_>) -> Result<Option<&[u8]>, Box<dyn Error>> {
    let header = match item.positional {
        [0x90, ..] => return Ok(None),
        [0xdc, ..] => 3,
        [0xdd, ..] => 5,
        _ => 1,
    };
    let elements = item.positional.get(header..).ok_or("an array without elements")?;
    Ok(elements.get(..value::skip(elements)?))
}

/// Never comes back, as far as a test is concerned.
pub(super) fn hang() -> ! {
    // So that a test can tell that it has come so far.
    eprintln!("this worker hangs from now on");
    pause(LONG);
    std::process::exit(99);
}

/// Keeps so many mebibytes more, and tells how many there are in all. They are written to, so that
/// they are resident.
fn grow(mebibytes: usize) -> usize {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(vec![1; mebibytes << 20]);
    kept.iter().map(Vec::len).sum::<usize>() >> 20
}

/// Ends this process by a signal. It is sent twice because the first SIGSEGV only makes the
/// standard library take its own handler away.
pub(super) fn die_of(signal: Signal) -> Result<Result<Vec<u8>, Failure>, Box<dyn Error>> {
    for _ in 0..2 {
        rustix::process::kill_process(rustix::process::getpid(), signal)?;
    }
    hang()
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Argument {
    Integer(i64),
    Number(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

fn after(
    seconds: &[Argument],
    value: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    match seconds {
        [] => {}
        &[Argument::Integer(seconds)] => pause(Duration::from_secs(seconds.unsigned_abs())),
        &[Argument::Number(seconds)] => pause(Duration::from_secs_f64(seconds.abs().min(1e6))),
        other => return Err(failure(kind::INVALID_ARGUMENTS, format!("no seconds: {other:?}"))),
    }
    value()
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    rmp_serde::to_vec(value).map_err(|error| failure(kind::INVALID_RESULT, error.to_string()))
}

fn bytes_of(digits: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?)).collect()
}

fn failure(kind: &str, message: String) -> Failure {
    Failure { kind: kind.into(), message, traceback: String::new() }
}

#[expect(clippy::disallowed_methods, reason = "to sleep is what these functions are for")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
