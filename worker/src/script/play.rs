//! Playing a script to a master.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use protocol::{
    limits::{LENGTH_BYTES, MAX_FRAME},
    spec::Side,
    strict::{Message, Value, envelope, frame},
};
use serde_json::Value as Json;

use super::{
    Problem,
    rules::Rules,
    steps::{Deed, Step, Variables, all_fit, fields_fit, value},
};
use crate::environment::Launch;

/// How a script came to its end.
pub(super) enum Ending {
    Done,
    Exit(u8),
}

/// What the thread that reads has to say.
enum Heard {
    Frame(Vec<u8>),
    /// A length that no frame may have.
    BadLength(u32),
    /// The end of the stream, and whether it came inside of a frame.
    End {
        inside: bool,
    },
}

pub(super) struct Player {
    socket: std::sync::Arc<Stream>,
    heard: Receiver<Heard>,
    /// What was heard and is still to be looked at.
    waiting: VecDeque<Heard>,
    rules: Rules,
    variables: Variables,
    patience: Duration,
    line: usize,
}

impl Player {
    pub(super) fn connect(launch: &Launch, patience: f64) -> Result<Self, Problem> {
        let connect = || {
            let name = launch.address.as_os_str().to_fs_name::<GenericFilePath>()?;
            Stream::connect(name)
        };
        let socket = connect().map_err(|error| failed(0, format!("cannot connect: {error}")))?;
        let socket = std::sync::Arc::new(socket);
        let (sender, heard) = channel();
        let reading = std::sync::Arc::clone(&socket);
        std::thread::spawn(move || {
            // Whoever plays may have ended.
            let _ = read(&reading, |heard| sender.send(heard).is_ok());
        });
        let token = ("token".to_owned(), Value::text(&launch.token));
        let patience = Duration::try_from_secs_f64(patience)
            .map_err(|error| failed(0, format!("--patience: {error}")))?;
        Ok(Self {
            socket,
            heard,
            waiting: VecDeque::new(),
            rules: Rules::default(),
            variables: Variables::from([token]),
            patience,
            line: 0,
        })
    }

    pub(super) fn play(&mut self, steps: &[Step]) -> Result<Ending, Problem> {
        for Step { line, deed } in steps {
            self.line = *line;
            match deed {
                Deed::Send { name, fields, payload } => self.send(name, fields, payload)?,
                Deed::SendBytes(bytes) => self.write(bytes)?,
                Deed::Expect { name, fields, payload } => {
                    self.expect(name, fields, payload.as_deref())?;
                }
                Deed::ExpectEnd => self.expect_end()?,
                Deed::Silence(seconds) => {
                    if let Some(message) = self.next(duration(*seconds))? {
                        return Err(self.other("nothing", &show(&message)));
                    }
                }
                Deed::Sleep(seconds) => wait(duration(*seconds)),
                Deed::Serve(calls) => {
                    if self.serve(*calls)? {
                        return Ok(Ending::Done);
                    }
                }
                Deed::Close => self.close(),
                Deed::Exit(status) => return Ok(Ending::Exit(*status)),
                Deed::Die(signal) => die(*signal),
            }
        }
        Ok(Ending::Done)
    }

    fn problem(&self, requirement: Option<u32>, problem: String) -> Problem {
        Problem { line: self.line, requirement, problem, expected: None, came: None }
    }

    fn other(&self, expected: &str, came: &str) -> Problem {
        Problem {
            expected: Some(expected.to_owned()),
            came: Some(came.to_owned()),
            ..self.problem(None, "something else came than was expected".to_owned())
        }
    }

    fn value(&self, json: &Json) -> Result<Value, Problem> {
        value(json, &self.variables).map_err(|problem| self.problem(None, problem))
    }

    fn send(&mut self, name: &str, fields: &Json, payload: &[Json]) -> Result<(), Problem> {
        let entries = match self.value(fields)? {
            Value::Map(entries) => entries,
            _ => Vec::new(),
        };
        let envelope = Value::Map(vec![(Value::text(name), Value::Map(entries))]);
        let payload: Vec<Value> =
            payload.iter().map(|json| self.value(json)).collect::<Result<_, _>>()?;
        self.write(&frame(&envelope, &payload))
    }

    /// Writes bytes, and takes whole frames among them for what was said.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let body = bytes.get(LENGTH_BYTES..).unwrap_or_default().to_vec();
        if let Ok(message) = Message::read(Side::Worker, body) {
            self.rules.said(&message);
        }
        let written = (&*self.socket).write_all(bytes);
        written.map_err(|error| self.problem(None, format!("cannot write: {error}")))
    }

    /// What comes next within this time, held to the rules.
    fn hear(&mut self, patience: Duration) -> Option<Heard> {
        if let Some(heard) = self.waiting.pop_front() {
            return Some(heard);
        }
        match self.heard.recv_timeout(patience) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Heard::End { inside: false }),
        }
    }

    fn next(&mut self, patience: Duration) -> Result<Option<Message>, Problem> {
        let body = match self.hear(patience) {
            None => return Ok(None),
            Some(Heard::Frame(body)) => body,
            Some(Heard::BadLength(length)) => {
                let problem = format!("a frame claims {length} bytes");
                return Err(self.problem(Some(6), problem));
            }
            Some(Heard::End { inside: true }) => {
                return Err(self.problem(Some(6), "the stream ended inside a frame".to_owned()));
            }
            Some(Heard::End { inside: false }) => {
                self.waiting.push_front(Heard::End { inside: false });
                return Err(self.other("a message", "the end of the stream"));
            }
        };
        let message = Message::read(Side::Master, body).map_err(|defect| Problem {
            came: Some(hexadecimal(&defect.body)),
            ..self.problem(Some(defect.requirement), defect.problem)
        })?;
        self.rules.heard(&message).map_err(|(requirement, problem)| Problem {
            came: Some(show(&message)),
            ..self.problem(Some(requirement), problem)
        })?;
        Ok(Some(message))
    }

    fn expect(
        &mut self,
        name: &str,
        fields: &Json,
        payload: Option<&[Json]>,
    ) -> Result<(), Problem> {
        let shown = format!("{name}: {fields}");
        let Some(message) = self.next(self.patience)? else {
            let seconds = self.patience.as_secs_f64();
            return Err(self.other(&shown, &format!("nothing within {seconds} s")));
        };
        let mut variables = std::mem::take(&mut self.variables);
        let fits = fields_fit(fields, message.fields(), &mut variables).and_then(|fit| {
            let payload = payload
                .map(|payload| all_fit(payload, &message.payload, &mut variables))
                .transpose()?;
            Ok(fit && payload.unwrap_or(true))
        });
        self.variables = variables;
        match fits.map_err(|problem| self.problem(None, problem))? && message.name == name {
            true => Ok(()),
            false => {
                let payload = payload.map_or(String::new(), |payload| {
                    format!(", payload {}", Json::Array(payload.to_vec()))
                });
                Err(self.other(&(shown + &payload), &show(&message)))
            }
        }
    }

    fn expect_end(&mut self) -> Result<(), Problem> {
        match self.hear(self.patience) {
            Some(Heard::End { inside: false }) => {
                self.waiting.push_front(Heard::End { inside: false });
                Ok(())
            }
            None => {
                let seconds = self.patience.as_secs_f64();
                Err(self.other("the end of the stream", &format!("nothing within {seconds} s")))
            }
            Some(heard) => {
                self.waiting.push_front(heard);
                let message = self.next(Duration::ZERO)?;
                let came = message.map_or_else(String::new, |message| show(&message));
                Err(self.other("the end of the stream", &came))
            }
        }
    }

    /// Answers calls, each item with its first argument. True if the worker is to leave.
    fn serve(&mut self, calls: Option<u64>) -> Result<bool, Problem> {
        let mut left = calls;
        while left != Some(0) {
            match self.hear(Duration::MAX) {
                Some(Heard::End { inside: false }) | None => return Ok(true),
                Some(heard) => self.waiting.push_front(heard),
            }
            let Some(message) = self.next(Duration::ZERO)? else { return Ok(true) };
            match message.name {
                "drain" => return Ok(true),
                "call" => {}
                _ => continue,
            }
            let width = if message.flag("keywords") { 2 } else { 1 };
            for (item, arguments) in (0..).zip(message.payload.iter().step_by(width)) {
                let first = match arguments {
                    Value::Array(arguments) => arguments.first().cloned().unwrap_or(Value::Nil),
                    _ => Value::Nil,
                };
                let id = i128::from(message.number("id"));
                let fields = [("id", Value::Integer(id)), ("item", Value::Integer(item))];
                self.write(&frame(&envelope("result", fields), &[first]))?;
            }
            if message.flag("last") {
                return Ok(true);
            }
            left = left.map(|left| left - 1);
        }
        Ok(false)
    }

    fn close(&mut self) {
        close(&self.socket);
    }
}

/// Reads frames until somebody has had enough.
fn read(mut socket: &Stream, mut pass_on: impl FnMut(Heard) -> bool) -> io::Result<()> {
    let mut length = [0; LENGTH_BYTES];
    loop {
        let mut have = 0;
        while have < LENGTH_BYTES {
            match socket.read(length.get_mut(have..).unwrap_or_default()) {
                Ok(0) => {
                    pass_on(Heard::End { inside: have > 0 });
                    return Ok(());
                }
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    pass_on(Heard::End { inside: false });
                    return Ok(());
                }
            }
        }
        let size = u32::from_be_bytes(length);
        let count = usize::try_from(size).unwrap_or(usize::MAX);
        if count == 0 || count > MAX_FRAME {
            pass_on(Heard::BadLength(size));
            return Ok(());
        }
        let mut body = Vec::new();
        let read = (&mut socket).take(size.into()).read_to_end(&mut body);
        if read.is_err() || body.len() < count {
            pass_on(Heard::End { inside: true });
            return Ok(());
        }
        if !pass_on(Heard::Frame(body)) {
            return Ok(());
        }
    }
}

fn failed(line: usize, problem: String) -> Problem {
    Problem { line, requirement: None, problem, expected: None, came: None }
}

fn show(message: &Message) -> String {
    let mut text = format!("{}: {}", message.name, message.fields());
    if !message.payload.is_empty() {
        let payload: Vec<String> = message.payload.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", payload [{}]", payload.join(", ")));
    }
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(96).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[expect(clippy::disallowed_methods, reason = "to wait is what the script asks for")]
fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(unix)]
fn close(socket: &Stream) {
    // It may be closed already.
    let Stream::UdSocket(socket) = socket;
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

#[cfg(not(unix))]
fn close(_: &Stream) {}

#[cfg(unix)]
fn die(signal: i32) {
    let signal = rustix::process::Signal::from_named_raw(signal);
    let signal = signal.unwrap_or(rustix::process::Signal::KILL);
    let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    wait(Duration::from_secs(1));
}

#[cfg(not(unix))]
fn die(_: i32) {
    std::process::abort();
}
