//! Strangers: connections that have not yet proven to be a worker.

use std::{collections::BTreeMap, os::fd::RawFd, sync::Arc, time::Duration};

use protocol::{
    limits::{MAX_FRAME, PROTOCOL_VERSION},
    message::{FromMaster, Hello},
};

use super::{
    connection::{Connection, Reading},
    session::{Breach, Said, Session},
    source::Source,
    supervisor::Supervisor,
};
use crate::{
    machine::{Event, Time, WorkerId},
    recording::Tap,
};

/// How many strangers may be connected at a time; beyond that the oldest is turned away, those
/// last that are workers about to introduce themselves. Far more than workers start at a time.
const MAX_STRANGERS: usize = 256;

/// How many are let in before everything else is attended to again: so that those who come in
/// numbers are heard before there are so many that some have to go.
const ADMITTED_AT_ONCE: usize = 64;

/// How often as many are let in when a worker has ended that may be among them. More cannot have
/// been waiting at the gate, by the usual limit of the system.
const LAST_ROUNDS: usize = 64;

/// How long a stranger may stay, unless workers may take longer to say hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who has connected and not yet said who it is.
#[derive(Default)]
pub(super) struct Strangers {
    connected: BTreeMap<u64, Stranger>,
    next: u64,
}

struct Stranger {
    connection: Connection,
    pid: Option<u32>,
    until: Time,
}

impl Strangers {
    /// Lets one in. Those whose process `starts` as a worker go last when there are too many.
    fn add(
        &mut self,
        until: Time,
        connection: Connection,
        pid: Option<u32>,
        starts: impl Fn(u32) -> bool,
    ) -> (u64, RawFd) {
        while self.connected.len() >= MAX_STRANGERS {
            let mut others =
                self.connected.iter().filter(|(_, stranger)| !stranger.pid.is_some_and(&starts));
            match others.next().map(|(&id, _)| id) {
                Some(id) => self.connected.remove(&id),
                None => self.connected.pop_first().map(|(_, stranger)| stranger),
            };
        }
        let id = self.next;
        self.next += 1;
        let descriptor = connection.raw_fd();
        self.connected.insert(id, Stranger { connection, pid, until });
        (id, descriptor)
    }

    pub(super) fn connection(&mut self, id: u64) -> Option<&mut Connection> {
        self.connected.get_mut(&id).map(|stranger| &mut stranger.connection)
    }

    /// When the next one has to go.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.connected.values().map(|stranger| stranger.until).min()
    }

    /// Turns away who has stayed for too long.
    pub(super) fn expire(&mut self, time: Time) {
        self.connected.retain(|_, stranger| stranger.until > time);
    }

    /// Drops the connections of a process that has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        self.connected.retain(|_, stranger| stranger.pid != Some(pid));
    }

    /// Whether this process has connected and said nothing that makes it a worker.
    pub(super) fn is_connected(&self, pid: u32) -> bool {
        self.connected.values().any(|stranger| stranger.pid == Some(pid))
    }
}

impl Supervisor {
    /// Lets in those who wait at the gate, up to a bound. Returns whether more may be waiting.
    pub(super) fn admit(&mut self, time: Time) -> bool {
        let until = time + PATIENCE.max(self.plan.settings.hello_timeout);
        for _ in 0..ADMITTED_AT_ONCE {
            match self.gate.accept() {
                Ok(None) => return false,
                Ok(Some(stranger)) => {
                    let connection = Connection::new(stranger.stream);
                    let processes = &self.processes;
                    let starts = |pid| {
                        let mut starting = processes.values().filter(|p| p.connection.is_none());
                        starting.any(|process| process.child.id() == pid)
                    };
                    let (id, descriptor) =
                        self.strangers.add(until, connection, stranger.pid, starts);
                    if let Err(error) = self.watch(descriptor, Source::Stranger(id)) {
                        log::warn!("cannot watch a connection: {error}");
                        self.strangers.connected.remove(&id);
                    }
                }
                Err(error) => {
                    // Who waits at the gate is announced once: it is tried again in a moment.
                    log::debug!("cannot accept a connection: {error}");
                    self.retry_later(Source::Listener);
                    return false;
                }
            }
        }
        true
    }

    /// Hears what a stranger has to say.
    pub(super) fn hear(&mut self, time: Time, id: u64) {
        let Some(mut stranger) = self.strangers.connected.remove(&id) else { return };
        let reading = stranger.connection.read();
        match hello(&mut stranger.connection) {
            Ok(Some(hello)) => self.introduce(time, stranger, hello),
            Ok(None) if reading == Reading::Drained => {
                self.strangers.connected.insert(id, stranger);
            }
            Ok(None) => {
                let end = stranger.connection.decoder.finish();
                let why = end.map_err(Breach::Frame).err().map(|breach| breach.to_string());
                self.turn_away(time, stranger, why);
            }
            Err(breach) => self.turn_away(time, stranger, Some(breach.to_string())),
        }
    }

    /// Hears the connections of a process that has ended, which may have said hello at last.
    pub(super) fn hear_last_words(&mut self, time: Time, worker: WorkerId) {
        let Some(process) = self.processes.get(&worker) else { return };
        let pid = Some(process.child.id());
        for _ in 0..LAST_ROUNDS {
            if !self.admit(time) {
                break;
            }
        }
        let connected = &self.strangers.connected;
        let ids: Vec<_> = connected
            .iter()
            .filter(|(_, stranger)| stranger.pid == pid)
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            if let Some(connection) = self.strangers.connection(id) {
                connection.expect_end();
            }
            self.hear(time, id);
        }
    }

    fn introduce(&mut self, time: Time, mut stranger: Stranger, hello: Hello) {
        let Some(worker) = self.gate.redeem(&hello.token) else {
            let why = "introduced itself with a token that is not awaited";
            return self.reject(time, stranger, None, why.to_owned());
        };
        if let Some(tape) = &self.tape {
            // The frame that was just read.
            tape.heard(worker.0, stranger.connection.decoder.last_frame());
            stranger.connection.record(Tap::new(Arc::clone(tape), worker.0));
        }
        let hello = Arc::new(hello);
        self.shared.update(|status| status.hello = Some(Arc::clone(&hello)));
        if !(hello.oldest..=hello.newest).contains(&PROTOCOL_VERSION) {
            let Hello { oldest, newest, .. } = &*hello;
            let why = format!(
                "speaks versions {oldest} to {newest} of the protocol, this master speaks \
                 version {PROTOCOL_VERSION}"
            );
            return self.reject(time, stranger, Some(worker), why);
        }
        if let Some(process) = self.processes.get(&worker) {
            let (slot, pid) = (process.slot.0, process.child.id());
            log::info!("worker {slot}, pid {pid} says it is {} {}", hello.name, hello.version);
        }
        // Registered anew under its name. It may have said more, and no event will tell.
        let descriptor = stranger.connection.raw_fd();
        self.unwatch(descriptor);
        if let Err(error) = self.watch(descriptor, Source::Socket(worker)) {
            return self.reject(
                time,
                stranger,
                Some(worker),
                format!("cannot be watched: {error}"),
            );
        }
        stranger.connection.decoder.set_limit(MAX_FRAME);
        self.greet(time, worker, &hello, stranger.connection);
    }

    fn reject(
        &mut self,
        time: Time,
        mut stranger: Stranger,
        worker: Option<WorkerId>,
        why: String,
    ) {
        let message = FromMaster::Reject { reason: why.clone() };
        match stranger.connection.send(&message, &[]) {
            // What does not fit is not waited for.
            Ok(()) => drop(stranger.connection.flush()),
            Err(error) => log::debug!("cannot tell a worker why it is rejected: {error}"),
        }
        match worker {
            Some(worker) => self.judge(time, worker, why, true),
            None => self.turn_away(time, stranger, Some(why)),
        }
    }

    /// Closes a connection. If it is one of a worker that is starting, as far as can be told,
    /// this is held against it.
    fn turn_away(&mut self, time: Time, stranger: Stranger, why: Option<String>) {
        self.unwatch(stranger.connection.raw_fd());
        let Some(why) = why else { return };
        let starting = self
            .processes
            .iter()
            .find(|(_, process)| Some(process.child.id()) == stranger.pid)
            .filter(|(_, process)| process.connection.is_none())
            .map(|(&worker, _)| worker);
        match starting {
            Some(worker) => self.judge(time, worker, why, false),
            None => log::warn!("turned away a connection of process {:?}: it {why}", stranger.pid),
        }
    }

    fn judge(&mut self, time: Time, worker: WorkerId, why: String, for_good: bool) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.blame(|| why);
        }
        self.machine.handle(
            time,
            if for_good { Event::Unfit { worker } } else { Event::Misbehaved { worker } },
        );
    }
}

/// The hello of a stranger, once it is complete.
fn hello(connection: &mut Connection) -> Result<Option<Hello>, Breach> {
    let Some(frame) = connection.decoder.next_frame()? else { return Ok(None) };
    match Session::new().hear(frame)? {
        Said::Hello(hello) => Ok(Some(hello)),
        // A session begins with nothing else.
        _ => Err(Breach::OutOfPlace("another than the hello")),
    }
}
