//! The chaos: workers that are killed and stopped at random.

use std::{
    collections::BTreeSet,
    fmt,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use integration_tests::{
    Deadline,
    leftovers::{MARK, started_with},
};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpgid, pidfd_open, pidfd_send_signal, setrlimit,
};

use crate::{random::Random, support::Mark, tally::Tally};

/// The time from one strike to the next.
const TICK: Duration = Duration::from_millis(50);

/// How long to wait for a worker to strike, if there is none.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// One strike of so many in a hundred stops a worker; the others kill it.
const STOPS: u64 = 15;

/// How many workers may be stopped at a time: the others have to get the work done.
const STOPPED_AT_ONCE: usize = 2;

/// So often in a hundred a worker that was stopped is killed when it would have gone on.
const KILLED_WHEN_DUE: u64 = 20;

/// The longest time for which a worker is stopped, in milliseconds: more than a task may take. In
/// the long form some are stopped for ever.
const LONGEST_STOP: u64 = 3_000;

/// A worker in Rust survives the first SIGSEGV that is sent to it: the handler of the standard
/// library finds no stack overflow, and stands back for the next.
const DEADLY: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::SEGV, Signal::ABORT];

/// So often in a hundred a worker is struck whatever it is doing, also one that is being started
/// or has just got ready; otherwise one that has served. A worker that was asked for nothing yet
/// looks broken if it aborts, so such a strike is one that only somebody else can have dealt.
const ANY: u64 = 30;

/// So many of these, from the first on, nobody raises by a fault of its own.
const FROM_OUTSIDE: usize = 2;

/// So many workers that have served nobody yet may be struck in a row, until one has served that was
/// not there by then: a pool gives up when a few more starts than these fail, and is right to.
const NEW_IN_A_ROW: usize = 3;

/// Strikes workers at random.
pub(crate) struct Killer<'a> {
    mark: &'a Mark,
    tally: &'a Tally,
    random: Random,
    /// Whether some workers are stopped for ever.
    for_ever: bool,
    stopped: Vec<Stopped>,
    strikes: Strikes,
    /// How many new workers were struck in a row, and who was there when the last of them was.
    new_in_a_row: usize,
    there: BTreeSet<u32>,
}

/// A worker that was stopped by us, and may have died since.
struct Stopped {
    pid: u32,
    process: OwnedFd,
    /// When it goes on, if it does.
    until: Option<Deadline>,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Strikes {
    kills: [u64; DEADLY.len()],
    stops: u64,
    stops_for_ever: u64,
    continued: u64,
}

impl Strikes {
    pub(crate) fn kills(&self) -> u64 {
        self.kills.iter().sum()
    }
}

impl fmt::Display for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kill, term, segv, abort] = self.kills;
        let Self { stops, stops_for_ever, continued, .. } = self;
        write!(
            f,
            "{} kills ({kill} KILL, {term} TERM, {segv} SEGV, {abort} ABRT), {stops} stops \
             ({continued} went on, {stops_for_ever} were for ever)",
            self.kills()
        )
    }
}

/// A crash on purpose leaves no core file behind. Workers inherit the limit.
pub(crate) fn leave_no_core_files() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).unwrap();
}

impl<'a> Killer<'a> {
    pub(crate) fn new(mark: &'a Mark, tally: &'a Tally, random: Random, for_ever: bool) -> Self {
        let (stopped, strikes) = (Vec::new(), Strikes::default());
        let (new_in_a_row, there) = (0, BTreeSet::new());
        Self { mark, tally, random, for_ever, stopped, strikes, new_in_a_row, there }
    }

    /// Strikes at every tick until the other end of the channel is gone.
    pub(crate) fn strike_until(&mut self, end: &Receiver<()>) {
        let mut wait = TICK;
        while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            self.let_go_on(|until| until.left().is_zero());
            wait = if self.strike() { TICK } else { LOOK_AGAIN };
        }
    }

    /// The last strikes, before the pool is closed: in the short form nobody stays stopped, and in
    /// the long one a worker is stopped that may well have nothing to do.
    pub(crate) fn finish(mut self) -> Strikes {
        if self.for_ever {
            if let Some((pid, process)) = self.victim() {
                self.stop(pid, process, None);
            }
        } else {
            self.let_go_on(|_| true);
        }
        self.strikes
    }

    /// Strikes a worker, if there is one; tells whether it did.
    fn strike(&mut self) -> bool {
        let Some((pid, process)) = self.victim() else { return false };
        // It has just answered; what it does now is to be left to chance, also whether it lives.
        let later = Duration::from_micros(self.random.within(0..=3_000));
        Deadline::after(later).pause(later);
        if !is_ours(self.mark, pid) {
            return false;
        }
        let served = self.tally.served(|_| true).contains(&pid);
        if !served && !self.may_strike_new() {
            return false;
        }
        if self.random.percent(STOPS) && self.stopped.len() < STOPPED_AT_ONCE {
            let for_ever = self.for_ever && self.random.percent(30);
            let time = Duration::from_millis(self.random.within(1..=LONGEST_STOP));
            self.stop(pid, process, (!for_ever).then(|| Deadline::after(time)));
            return true;
        }
        let signals = if served { DEADLY.len() } else { FROM_OUTSIDE };
        let number = usize::try_from(self.random.within(0..=signals as u64 - 1)).unwrap();
        self.kill(&process, number)
    }

    /// Counts a strike at a worker that has served nobody yet; tells whether there may be one more.
    fn may_strike_new(&mut self) -> bool {
        if self.tally.served(|_| true).iter().any(|pid| !self.there.contains(pid)) {
            self.new_in_a_row = 0;
        }
        let may = self.new_in_a_row < NEW_IN_A_ROW;
        if may {
            self.new_in_a_row += 1;
            let there = self.mark.processes().into_iter();
            self.there = there.filter_map(|pid| u32::try_from(pid.as_raw_pid()).ok()).collect();
        }
        may
    }

    /// Kills by the signal of this number in the list; tells whether it could be sent.
    fn kill(&mut self, process: &OwnedFd, number: usize) -> bool {
        let sent = pidfd_send_signal(process, DEADLY[number]).is_ok();
        self.strikes.kills[number] += u64::from(sent);
        sent
    }

    fn stop(&mut self, pid: u32, process: OwnedFd, until: Option<Deadline>) {
        if pidfd_send_signal(&process, Signal::STOP).is_ok() {
            self.strikes.stops += 1;
            self.strikes.stops_for_ever += u64::from(until.is_none());
            self.stopped.push(Stopped { pid, process, until });
        }
    }

    /// Lets those workers go on for which `is_due` says so, or kills them, and forgets those that
    /// have died.
    fn let_go_on(&mut self, is_due: impl Fn(Deadline) -> bool) {
        for stopped in std::mem::take(&mut self.stopped) {
            if !is_ours(self.mark, stopped.pid) {
                continue;
            }
            if !stopped.until.is_some_and(&is_due) {
                self.stopped.push(stopped);
            } else if self.random.percent(KILLED_WHEN_DUE) {
                self.kill(&stopped.process, 0);
            } else {
                let went_on = pidfd_send_signal(&stopped.process, Signal::CONT).is_ok();
                self.strikes.continued += u64::from(went_on);
            }
        }
    }

    /// Some worker that lives. What is held is no number, which might become that of another
    /// process, but the process itself.
    fn victim(&mut self) -> Option<(u32, OwnedFd)> {
        let mut workers = self.tally.served(|pid| is_ours(self.mark, pid));
        if self.random.percent(ANY) {
            // Workers lead their groups; what they have started does not.
            let leads = |pid: &Pid| getpgid(Some(*pid)) == Ok(*pid);
            let leaders = self.mark.processes().into_iter().filter(leads);
            workers = leaders.filter_map(|pid| u32::try_from(pid.as_raw_pid()).ok()).collect();
        }
        // Who is stopped stays, and would soon be the only one that is struck.
        workers.retain(|&pid| self.stopped.iter().all(|stopped| stopped.pid != pid));
        if workers.is_empty() {
            return None;
        }
        let pid = *self.random.pick(&workers);
        let process = pidfd_open(as_pid(pid)?, PidfdFlags::empty()).ok()?;
        is_ours(self.mark, pid).then_some((pid, process))
    }
}

fn is_ours(mark: &Mark, pid: u32) -> bool {
    as_pid(pid).and_then(|pid| started_with(pid, MARK)).is_some_and(|found| found == mark.path())
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
