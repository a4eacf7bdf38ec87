//! The command that answers: started, asked, and started anew once it has ended.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::pipes::{Broken, Idle, Pipes};
use crate::Error;

/// How long a command may take to end once it has closed its output, or its input was closed: long
/// for a program that ends, short for whoever waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a command may take to end when the worker leaves: what it does at the end of its input
/// may take a while, and a master waits for 5 seconds.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// For how long a command that has spoken unasked before is listened to after its start. What it
/// says at each start would otherwise be taken for the first answer.
const SUSPICION: Duration = Duration::from_millis(200);

/// How much of an output an error shows.
const SHOWN: usize = 200;

/// A command, and its process while it runs.
pub(super) struct Command {
    words: Vec<OsString>,
    running: Option<Running>,
    /// It has spoken unasked before.
    suspicious: bool,
}

struct Running {
    child: Child,
    pipes: Pipes,
    /// It has answered a line.
    answered: bool,
}

impl Command {
    pub(super) const fn new(words: Vec<OsString>) -> Self {
        Self { words, running: None, suspicious: false }
    }

    /// Starts the command, so that it is warm when the first line comes.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        self.running = Some(self.spawn()?);
        Ok(())
    }

    /// Writes a line, and gives the line that comes back, both without their line feed.
    pub(super) fn ask(&mut self, mut line: Vec<u8>) -> Result<Vec<u8>, Error> {
        line.push(b'\n');
        let mut running = self.ready()?;
        loop {
            match running.pipes.ask(&line) {
                Ok(answer) => {
                    running.answered = true;
                    self.running = Some(running);
                    return Ok(answer);
                }
                // One that ends after so many lines has no part in those that it never took.
                Err(Broken::Closed) if running.answered && running.pipes.has_all_of(&line) => {
                    let ended = running.end(PATIENCE);
                    log::info!("{} {}, and is started anew", self.name(), ended.describe());
                    running = self.spawn()?;
                }
                Err(broken) => return Err(self.broken(running, broken)),
            }
        }
    }

    /// Closes the input of the command, waits for its end, and kills it if that takes too long. Tells
    /// if it does not end well.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let name = self.name();
        match running.end(LAST_WORDS) {
            Ended::Itself(status) if status.success() => Ok(()),
            Ended::Killed => Err(format!(
                "{name} was killed, as it had not ended {} s after its input",
                LAST_WORDS.as_secs()
            )),
            ended => Err(format!("{name} {} at the end of its input", ended.describe())),
        }
    }

    /// The command, running and silent.
    fn ready(&mut self) -> Result<Running, Error> {
        if let Some(mut running) = self.running.take() {
            match running.pipes.look(Duration::ZERO) {
                Ok(Idle::Silent) => return Ok(running),
                Ok(Idle::Closed) => {
                    let ended = running.end(PATIENCE);
                    log::info!("{} {}, and is started anew", self.name(), ended.describe());
                }
                Ok(Idle::Spoke(output)) => {
                    return Err(self.broken(running, Broken::Unasked(output)));
                }
                Err(error) => return Err(self.broken(running, Broken::Pipe(error))),
            }
        }
        let mut running = self.spawn()?;
        if self.suspicious
            && let Ok(Idle::Spoke(output)) = running.pipes.look(SUSPICION)
        {
            return Err(self.broken(running, Broken::Unasked(output)));
        }
        Ok(running)
    }

    fn spawn(&self) -> Result<Running, Error> {
        let Some((program, arguments)) = self.words.split_first() else {
            let message = "there is no command to run; it is given behind `worker-exec`, as in: \
                           master map --worker 'worker-exec bc' line 1+1";
            return Err(Error::new("NoCommand", message));
        };
        #[expect(clippy::disallowed_methods, reason = "to run a command is what this is for")]
        let mut prepared = std::process::Command::new(program);
        // In the process group of the worker, so that whoever kills one kills both.
        prepared.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |error: &io::Error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "there is no such command".to_owned(),
                _ => error.to_string(),
            };
            let message = format!("cannot run `{}`: {problem}", program.display());
            Error::new(format!("{:?}", error.kind()), message)
        };
        let mut child = prepared.spawn().map_err(|error| failed(&error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                let pipes = Pipes::new(stdin, stdout).map_err(|error| failed(&error))?;
                Ok(Running { child, pipes, answered: false })
            }
            _ => Err(failed(&io::Error::other("it has no pipes"))),
        }
    }

    /// What a call fails with. The process is ended; the next call starts another.
    fn broken(&mut self, running: Running, broken: Broken) -> Error {
        let name = self.name();
        match broken {
            Broken::Closed => {
                let ended = running.end(PATIENCE);
                let message = format!("{name} {} before it gave an answer", ended.describe());
                Error::new("CommandEnded", message)
            }
            Broken::Unasked(output) => {
                self.suspicious = true;
                running.kill();
                let message = format!(
                    "{name} wrote {}, which was not asked for: it has to answer each line with \
                     exactly one, and say nothing else; it is started anew",
                    beginning(&output)
                );
                Error::new("UnaskedOutput", message)
            }
            Broken::TooLong(limit) => {
                running.kill();
                let message = format!("{name} answered with a line of more than {limit} bytes");
                Error::new("TooLong", message)
            }
            Broken::Pipe(error) => {
                running.kill();
                Error::new(format!("{:?}", error.kind()), format!("cannot talk to {name}: {error}"))
            }
        }
    }

    fn name(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        format!("`{}`", words.join(" "))
    }
}

/// How a command ended.
enum Ended {
    Itself(ExitStatus),
    /// It went on although it could not be asked any more.
    Killed,
    Unknown(io::Error),
}

impl Ended {
    fn describe(&self) -> String {
        match self {
            Self::Itself(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit status {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => format!("ended ({status})"),
            },
            Self::Killed => "closed its input or output without ending, and was killed".to_owned(),
            Self::Unknown(error) => format!("ended, nobody knows how ({error})"),
        }
    }
}

impl Running {
    /// Closes the pipes and waits for the end, but not for longer than this.
    fn end(mut self, patience: Duration) -> Ended {
        drop(self.pipes);
        if !exits(&self.child, patience) {
            // A command that has ended meanwhile needs no killing.
            let _ = self.child.kill();
            return match self.child.wait() {
                Ok(_) => Ended::Killed,
                Err(error) => Ended::Unknown(error),
            };
        }
        self.child.wait().map_or_else(Ended::Unknown, Ended::Itself)
    }

    fn kill(mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            log::warn!("cannot end the command: {error}");
        }
    }
}

/// Whether a child exits within that time. It is not reaped, so that its process id stays its own.
fn exits(child: &Child, time: Duration) -> bool {
    let (sender, receiver) = mpsc::channel();
    let id = Pid::from_child(child);
    let waiting = std::thread::Builder::new().name("wait".to_owned()).spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
        // The time may be over.
        let _ = sender.send(());
    });
    waiting.is_ok() && receiver.recv_timeout(time).is_ok()
}

/// How an output begins, for people.
pub(super) fn beginning(output: &[u8]) -> String {
    let shown = output.get(..SHOWN).unwrap_or(output);
    let more = if shown.len() < output.len() { " and more" } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}
