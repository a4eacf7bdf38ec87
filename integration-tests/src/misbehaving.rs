//! A worker that breaks the rules on purpose, one way for each mode.
//!
//! It speaks the protocol by hand, so that it can say what a library would never let it say. In
//! every mode it can run the functions of the module `functions`. A mode strikes at one of four points:
//! before it connects, in the handshake, as soon as it is ready, or in a call. A mode of the last
//! sort strikes only at items whose first argument is the string `bad`, so that good and bad
//! tasks can be mixed. Some modes of that sort announce features, for the worker and for every
//! function; all others announce none.
//!
//! With `WORKER_SHARED_OUTPUT=on` in its environment it keeps the results of good items in a shared
//! output, until it reads or sends something else: what it dies of then is up to the mode.
//!
//! With `STARTS_FILE` in its environment it appends a line with its pid to that file at its
//! start: so a test can count the starts.

use std::{env, error::Error, fs::OpenOptions, io::Write, process::ExitCode};

mod connection;
mod featured;
mod functions;
mod in_call;
mod in_handshake;
mod keeping;
mod serve;

use connection::Connection;
use serve::Task;

/// Environment variable that names the file in which each start is noted.
pub const STARTS_VARIABLE: &str = "STARTS_FILE";

/// Environment variable that says whether a worker keeps answers in a shared output: `off` or `on`.
/// The reference worker does unless it is `off`, a misbehaving one if it is `on`.
pub const SHARED_OUTPUT_VARIABLE: &str = "WORKER_SHARED_OUTPUT";

/// What a mode does ends well, or in an error that ends the worker with status 1.
type Outcome = Result<(), Box<dyn Error>>;

/// A way to misbehave.
struct Mode {
    name: &'static str,
    /// What may follow the name on the command line.
    argument: &'static str,
    help: &'static str,
    misdeed: Misdeed,
}

/// When a mode strikes, and what it does then. The last parameter is the argument of the mode.
enum Misdeed {
    /// Before it connects.
    Alone(fn(Option<&str>) -> Outcome),
    /// Connected, with nothing said.
    InHandshake(fn(Connection, Option<&str>) -> Outcome),
    /// Ready, with no call received.
    Ready(fn(Connection, Option<&str>) -> Outcome),
    /// In a call, at an item whose first argument is `bad`.
    InCall(InCall),
    /// As `InCall`, of a worker that announces these features.
    Featured(&'static [&'static str], InCall),
}

type InCall = fn(&mut Connection, &Task<'_>, Option<&str>) -> Outcome;

/// The program: finds the mode that the command line names and runs it.
pub fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let name = arguments.next();
    let argument = arguments.next();
    if name.as_deref() == Some("--list") {
        let lines: Vec<String> = modes().map(|mode| mode.to_string()).collect();
        println!("{}", lines.join("\n"));
        return ExitCode::SUCCESS;
    }
    let Some(mode) = modes().find(|mode| Some(mode.name) == name.as_deref()) else {
        eprintln!("misbehaving-worker: no mode {name:?}; --list shows those there are");
        return ExitCode::from(protocol::launch::EXIT_USAGE);
    };
    match note_start().and_then(|()| mode.run(argument.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("misbehaving-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Mode {
    fn run(&self, argument: Option<&str>) -> Outcome {
        // A crash on purpose leaves no core file behind.
        let no_core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, no_core)?;
        match self.misdeed {
            Misdeed::Alone(misdeed) => misdeed(argument),
            Misdeed::InHandshake(misdeed) => misdeed(Connection::open()?, argument),
            Misdeed::Ready(misdeed) => match serve::shake_hands(Connection::open()?)? {
                Some(connection) => misdeed(connection, argument),
                None => Ok(()),
            },
            Misdeed::InCall(misdeed) => strike_in_call(&[], misdeed, argument),
            Misdeed::Featured(features, misdeed) => strike_in_call(features, misdeed, argument),
        }
    }
}

fn strike_in_call(
    features: &'static [&'static str],
    misdeed: InCall,
    argument: Option<&str>,
) -> Outcome {
    let connection = Connection::open()?.announcing(features);
    match serve::shake_hands(connection)? {
        Some(mut connection) => {
            serve::serve(&mut connection, |connection, task| misdeed(connection, task, argument))
        }
        None => Ok(()),
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let usage = format!("{} {}", self.name, self.argument);
        write!(formatter, "{usage:<42} {}", self.help)
    }
}

fn modes() -> impl Iterator<Item = &'static Mode> {
    in_handshake::MODES.iter().chain(in_call::MODES).chain(featured::MODES)
}

/// The names of all modes.
pub fn names() -> impl Iterator<Item = &'static str> {
    modes().map(|mode| mode.name)
}

fn note_start() -> Outcome {
    if let Some(file) = env::var_os(STARTS_VARIABLE) {
        let mut file = OpenOptions::new().append(true).create(true).open(file)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    }
    Ok(())
}
