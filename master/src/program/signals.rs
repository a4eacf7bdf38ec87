//! What signals do.
//!
//! SIGINT and SIGTERM end what runs, step by step. A pool can be steered too: SIGHUP replaces its
//! workers, SIGUSR1 and SIGUSR2 add and take one, SIGQUIT tells how things stand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
};

use super::{Refusal, output::complain_aside, status::ExitStatus};

/// How long after a signal workers may take to end: longer than the grace that they have.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the program may take, after its workers, to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What can be ended by signals, step by step.
pub(super) trait Ending: Send + Sync + 'static {
    /// Begins nothing more, and tells how many tasks are still running; `None` if there is
    /// nothing to be awaited.
    fn drain(&self);
    /// Stops what is running.
    fn terminate(&self);
    /// Kills what is running.
    fn kill(&self);
    /// Waits until nothing is running, for so long at most.
    fn wait_for_end(&self, timeout: Duration);
    /// Does what a signal asks for.
    fn steer(&self, wish: Wish);
}

/// What a signal may ask of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To replace the workers by those that their command names now.
    Replace,
    /// To have one worker more.
    More,
    /// To have one worker less.
    Less,
    /// To tell how things stand.
    Status,
}

/// What signals are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steered {
    /// A pool, which can be steered.
    Pool,
    /// Processes, which can only be ended.
    Processes,
}

/// The signal that ends the program, if one came.
#[derive(Clone, Default)]
pub(super) struct Ended(Arc<AtomicU8>);

impl Ended {
    /// The status that the signal calls for.
    pub(super) fn status(&self) -> ExitStatus {
        match self.0.load(Ordering::Relaxed) {
            0 => ExitStatus::Success,
            1 => ExitStatus::Interrupted,
            _ => ExitStatus::Terminated,
        }
    }

    fn note(&self, signal: i32) {
        let number = if signal == SIGINT { 1 } else { 2 };
        // The first signal says how the program ended.
        let _ = self.0.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Signals that are held back until it is known what they are to end.
pub(super) struct Caught {
    signals: Signals,
    hang_up: HangUp,
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HangUp {
    /// There is a terminal, and it is gone.
    End,
    /// There is none: it is somebody's wish.
    Replace,
}

/// From now on signals do not end the program by themselves, as it has things to put away: to be
/// called before anything is started.
pub(super) fn catch(steered: Steered) -> Result<Caught, Refusal> {
    let mut numbers = vec![SIGINT, SIGTERM];
    // As under nohup, what is ignored stays so.
    if !is_ignored(SIGHUP) {
        numbers.push(SIGHUP);
    }
    let hang_up = match steered {
        Steered::Pool => {
            numbers.extend([SIGUSR1, SIGUSR2, SIGQUIT]);
            if has_terminal() { HangUp::End } else { HangUp::Replace }
        }
        Steered::Processes => HangUp::End,
    };
    hear_children()?;
    let signals = Signals::new(numbers).map_err(refusal)?;
    Ok(Caught { signals, hang_up })
}

/// Where the end of children was ignored from the start, nobody would learn how a worker ended.
pub(super) fn hear_children() -> Result<(), Refusal> {
    let heard = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGCHLD, heard).map(drop).map_err(refusal)
}

/// Whether the program has a terminal that could hang up.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether a signal was ignored when the program began, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

impl Caught {
    /// From now on SIGINT drains, at the second time terminates and at the third kills; SIGTERM
    /// terminates, and the others steer.
    pub(super) fn handle(self, ending: impl Ending) -> Result<Ended, Refusal> {
        let ended = Ended::default();
        let noted = ended.clone();
        let ending: Arc<dyn Ending> = Arc::new(ending);
        let attend = move || attend(self, &noted, &ending);
        let thread = std::thread::Builder::new().name("master-signals".into()).spawn(attend);
        thread.map_err(refusal)?;
        Ok(ended)
    }
}

fn refusal(error: std::io::Error) -> Refusal {
    Refusal::pool(format!("cannot handle signals: {error}"))
}

fn attend(caught: Caught, ended: &Ended, ending: &Arc<dyn Ending>) {
    let Caught { mut signals, hang_up } = caught;
    let mut interrupts = 0;
    for signal in signals.forever() {
        match signal {
            SIGINT => {}
            SIGHUP if hang_up == HangUp::Replace => {
                ending.steer(Wish::Replace);
                continue;
            }
            SIGUSR1 => {
                ending.steer(Wish::More);
                continue;
            }
            SIGUSR2 => {
                ending.steer(Wish::Less);
                continue;
            }
            SIGQUIT => {
                ending.steer(Wish::Status);
                continue;
            }
            // SIGTERM, and SIGHUP where it means the same.
            _ => {
                ended.note(SIGTERM);
                ending.terminate();
                insist(ended, ending);
                continue;
            }
        }
        ended.note(SIGINT);
        interrupts += 1;
        match interrupts {
            1 => ending.drain(),
            2 => {
                ending.terminate();
                complain_aside("interrupted again: stopping the running tasks".into());
                insist(ended, ending);
            }
            _ => {
                ending.kill();
                insist(ended, ending);
            }
        }
    }
}

/// Ends the program, should it not end by itself: standard output or error may be blocked.
fn insist(ended: &Ended, ending: &Arc<dyn Ending>) {
    let (ended, ending) = (ended.clone(), Arc::clone(ending));
    let wait = move || {
        ending.wait_for_end(PATIENCE);
        std::thread::park_timeout(LAST_WORDS);
        std::process::exit(i32::from(ended.status().code()));
    };
    if let Err(error) = std::thread::Builder::new().name("master-last".into()).spawn(wait) {
        log::error!("cannot start a thread: {error}");
    }
}
