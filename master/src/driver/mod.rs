//! The thin driver under the machine: one thread that owns every process, socket and pipe of a
//! pool, and does what the machine decides.

mod admission;
mod attempts;
mod before_exec;
mod checksum;
mod child;
mod commands;
mod company;
mod connection;
mod desk;
mod directory;
mod exits;
mod functions;
mod gate;
mod guardian;
mod hearing;
pub(crate) mod lone;
mod memory;
mod obeying;
mod observing;
mod output;
mod perform;
mod process;
pub(crate) mod session;
mod shared_output;
mod source;
mod spawn;
mod spin;
mod supervisor;
mod surroundings;
mod waiting;

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::SyncSender,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(crate) use self::{
    commands::Reply,
    directory::PrivateDirectory,
    guardian::{Guardian, Ward},
    surroundings::{Cpus, Surroundings},
};
use self::{
    desk::Desk,
    supervisor::{Driver, Supervisor},
};
use crate::{
    arguments::check_size,
    batch::Submission,
    command::WorkerCommand,
    deadline::Deadline,
    error::Error,
    events::Publisher,
    machine::Settings,
    recording::Recorder,
    report::{Exit, WorkerReport},
    status::{Counters, PoolStatus},
};

/// What a supervisor is to run.
pub(crate) struct Plan {
    /// The worker command of each group of the settings.
    pub(crate) commands: Vec<WorkerCommand>,
    pub(crate) settings: Settings,
    pub(crate) initializer: Option<Initializer>,
    pub(crate) surroundings: Surroundings,
    /// The name of the pool, told to the workers.
    pub(crate) name: String,
    /// Where it tells what happens.
    pub(crate) events: Publisher,
    /// Where everything that is said is recorded.
    pub(crate) recorder: Option<Recorder>,
}

/// A function to run in each worker before anything else, with its arguments, encoded as one
/// item.
pub(crate) struct Initializer {
    pub(crate) function: String,
    pub(crate) item: Vec<u8>,
    pub(crate) keywords: bool,
}

impl Initializer {
    /// # Errors
    /// [`Error::Encode`] if the arguments are larger than those of a call may be.
    pub(crate) fn new((function, arguments): (String, crate::Arguments)) -> Result<Self, Error> {
        let (item, keywords) = arguments.into_item();
        check_size(item.len())?;
        Ok(Self { function, item: item.into_vec(), keywords })
    }
}

/// What callers ask of the supervisor.
pub(crate) enum Command {
    /// To run the items of a submission, so many of them together, or as many as is best.
    Submit { submission: Arc<Submission>, chunk_size: Option<u64> },
    /// To run what a source has.
    Feed { source: Arc<dyn Source> },
    /// To conclude what is pending of the submission with this id: it is not wanted any more.
    Cancel { batch: u64 },
    /// The same, but for what has been sent to a worker already, which goes on.
    Withdraw { batch: u64 },
    /// To have so many workers.
    Resize { slots: usize },
    /// To replace the workers of a group by those of another command.
    Replace { group: usize, command: WorkerCommand, reply: Reply },
    /// To tell how things stand.
    Status { reply: SyncSender<PoolStatus> },
    /// To take no more, and to end when everything is finished.
    Close,
    /// To begin nothing more, and to end when everything that was begun is finished.
    Interrupt,
    /// To cancel everything and to end.
    Terminate,
    /// To cancel everything and to end without any patience for the workers.
    Kill,
}

/// What callers can see of the supervisor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// Why the pool cannot work.
    pub(crate) failure: Option<Arc<WorkerReport>>,
    /// The process of the most recent worker.
    pub(crate) pid: Option<u32>,
    /// Readable once that process has ended; there for a plan with one call.
    pub(crate) exit_watch: Option<Arc<OwnedFd>>,
    /// How the most recent worker ended.
    pub(crate) exit: Option<Exit>,
    /// Everything is finished and no process is left.
    pub(crate) ended: bool,
    /// How many items were running when the pool was interrupted.
    pub(crate) running_at_interrupt: Option<u64>,
    /// What the most recent worker said of itself.
    pub(crate) hello: Option<Arc<protocol::message::Hello>>,
    /// A worker has become ready.
    pub(crate) ready: bool,
    /// What had happened by the end.
    pub(crate) counters: Counters,
}

/// The side of the callers.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    events: Publisher,
    /// `None` once the supervisor takes no more.
    commands: Mutex<Option<Vec<Command>>>,
    /// Whoever drives the loop waits for events, and does not see commands unless he is woken.
    listening: AtomicBool,
    /// He does so with nothing under way.
    at_rest: AtomicBool,
    waker: mio::Waker,
    desk: Desk,
    status: Mutex<Status>,
    changed: Condvar,
    observed: Mutex<Observed>,
}

/// Who wants to be told when the pool takes no more submissions, and whether that is so.
#[derive(Default)]
struct Observed {
    observers: Vec<Weak<dyn Observer>>,
    over: Option<Error>,
}

/// Where items gather until the supervisor takes them, all that there are at a time.
pub(crate) trait Source: Send + Sync {
    /// Takes them as a submission, with how many of them are to be sent together.
    fn take(self: Arc<Self>) -> Option<(Arc<Submission>, Option<u64>)>;
    /// They come too late, for this reason.
    fn refuse(self: Arc<Self>, error: &Error);
}

/// Someone who feeds a pool, and has to stop when it is over.
pub(crate) trait Observer: Send + Sync {
    /// The pool has another number of workers. Must not block.
    fn pool_has_changed(&self);
    /// The pool takes no more submissions, for this reason. Must not block.
    fn pool_is_over(&self, error: &Error);
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status());
        self.changed.notify_all();
    }

    fn commands(&self) -> MutexGuard<'_, Option<Vec<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_commands(&self) -> Vec<Command> {
        self.commands().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn has_commands(&self) -> bool {
        self.commands().as_ref().is_some_and(|commands| !commands.is_empty())
    }

    /// From here on a command wakes whoever drives the loop, until
    /// [`Self::commands_are_looked_at`]. Tells how long to wait: not at all if there is one.
    fn listen_for_commands(&self, patience: Option<Duration>, at_rest: bool) -> Option<Duration> {
        self.at_rest.store(at_rest, SeqCst);
        // Each side first says what it does, and then looks at what the other has done.
        self.listening.store(true, SeqCst);
        if self.has_commands() { Some(Duration::ZERO) } else { patience }
    }

    fn commands_are_looked_at(&self) {
        self.listening.store(false, SeqCst);
        self.at_rest.store(false, SeqCst);
    }

    /// A command has come: somebody is to look at it.
    fn tell_of_command(&self) {
        if self.listening.load(SeqCst) {
            self.wake();
        } else {
            self.desk.summon();
        }
    }

    /// Has whoever drives the loop look what there is.
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the supervisor: {error}");
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the observers, once.
    fn announce_over(&self, error: &Error) {
        let mut observed = self.observed();
        if observed.over.is_none() {
            observed.over = Some(error.clone());
            let observers = std::mem::take(&mut observed.observers);
            drop(observed);
            for observer in observers.iter().filter_map(Weak::upgrade) {
                observer.pool_is_over(error);
            }
        }
    }

    /// The supervisor is gone: what it did not take is refused, and whoever waits is told.
    fn end(&self) {
        self.announce_over(&Error::NotRunning);
        // Nothing is locked while those are told whose submission it is.
        let left = self.commands().take();
        left.into_iter().flatten().for_each(|command| self.refuse(command));
        self.update(|status| status.ended = true);
        self.events.end();
    }

    /// A submission that comes too late ends as the pool did.
    fn refuse(&self, command: Command) {
        let error = || self.observed().over.clone().unwrap_or(Error::NotRunning);
        match command {
            Command::Submit { submission, .. } => {
                submission.sink.ended(0..submission.items.len(), &error());
            }
            Command::Feed { source } => source.refuse(&error()),
            _ => {}
        }
    }
}

impl Handle {
    /// Starts the supervisor, which starts the workers.
    pub(crate) fn start(plan: Plan) -> Result<Self, Error> {
        checksum::read_ahead(&plan.commands);
        let setup = |error: std::io::Error| Error::Setup(error.to_string());
        let tape = plan.recorder.as_ref().map(Recorder::begin).transpose()?;
        let (supervisor, shared) = supervisor::Supervisor::new(plan, tape).map_err(setup)?;
        let supervisor = Box::new(supervisor);
        let thread = std::thread::Builder::new()
            .name("master-supervisor".into())
            .spawn(move || supervisor.run())
            .map_err(setup)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Prepares a command that workers are to be replaced by, on the thread of the caller.
    pub(crate) fn read_ahead(command: &WorkerCommand) {
        checksum::read_ahead(std::slice::from_ref(command));
    }

    /// Whether this thread drives the loop, and so cannot wait for its end.
    pub(crate) fn is_supervisor_here(&self) -> bool {
        self.shared.desk.is_driven_here()
    }

    /// Asks the supervisor for something. Once it has ended, a submission is refused, which
    /// tells those who wait for it.
    pub(crate) fn send(&self, command: Command) {
        let mut open = self.shared.commands();
        let Some(commands) = open.as_mut() else {
            drop(open);
            return self.shared.refuse(command);
        };
        let was_empty = commands.is_empty();
        commands.push(command);
        drop(open);
        if was_empty {
            self.shared.tell_of_command();
        }
    }

    /// Takes over the driving of the loop, if nothing is under way: for a caller who is about to
    /// submit something and to wait for it. `None` if others use the pool, who would be disturbed.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        let shared = &self.shared;
        if shared.desk.is_driven_here() {
            return None;
        }
        let supervisor = shared.desk.take().or_else(|| {
            let ask = || shared.wake();
            let at_rest = shared.at_rest.load(SeqCst);
            at_rest.then(|| shared.desk.take_over(HANDED_OVER_WITHIN, ask)).flatten()
        })?;
        let panicking = std::thread::panicking();
        Some(Turn { shared, supervisor: Some(supervisor), panicking })
    }

    /// Tells `observer` when the pool takes no more submissions: at once if that is so already.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>) {
        let mut observed = self.shared.observed();
        observed.observers.retain(|observer| observer.strong_count() > 0);
        match observed.over.clone() {
            Some(error) => {
                drop(observed);
                observer.pool_is_over(&error);
            }
            None => observed.observers.push(Arc::downgrade(observer)),
        }
    }

    /// Tells those who feed the pool that it has another number of workers.
    pub(crate) fn announce_change(&self) {
        let observers = self.shared.observed().observers.clone();
        for observer in observers.iter().filter_map(Weak::upgrade) {
            observer.pool_has_changed();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.shared.status().clone()
    }

    /// Waits until `reached` holds, for so long at most. Returns whether it does.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        mut reached: impl FnMut(&Status) -> bool,
    ) -> bool {
        let deadline = Deadline::after(timeout);
        let mut status = self.shared.status();
        loop {
            if reached(&status) {
                return true;
            }
            if deadline.is_over() {
                return false;
            }
            status = deadline.wait(&self.shared.changed, status);
        }
    }

    /// Waits for the end of the supervisor, and takes its thread back.
    pub(crate) fn join(&self) {
        // An executor that is woken there may drop the last owner of a pool, which cannot wait
        // for its own thread.
        if self.is_supervisor_here() {
            return;
        }
        self.wait(None, |status| status.ended);
        // Held meanwhile, so that another who joins waits for the same end.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            log::error!("the supervisor ended by a panic");
        }
    }
}

/// How long whoever drives the loop may take to hand it over, with nothing under way.
const HANDED_OVER_WITHIN: Duration = Duration::from_millis(10);

/// As long as this lives, its owner drives the loop.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    /// There until it is dropped.
    supervisor: Option<Box<Supervisor>>,
    /// The thread was in a panic already when it took over.
    panicking: bool,
}

impl Turn<'_> {
    /// Drives the loop until `enough` holds, or until others have to go on with it.
    pub(crate) fn drive(&mut self, enough: impl FnMut() -> bool) {
        if let Some(supervisor) = &mut self.supervisor {
            let driving = self.shared.desk.drive_here();
            supervisor.drive(Driver::Caller, enough);
            drop(driving);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            // Nobody knows in what state it is.
            self.supervisor = None;
            self.shared.desk.lose();
        } else if let Some(supervisor) = self.supervisor.take() {
            self.shared.desk.put_back(supervisor);
        }
    }
}

/// The time of day, for people.
pub(crate) fn since_1970() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// The one clock of the master.
#[expect(clippy::disallowed_methods, reason = "time enters the program here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
