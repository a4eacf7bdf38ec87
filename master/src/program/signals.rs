//! What SIGINT and SIGTERM do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
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
pub(super) struct Caught(Signals);

/// From now on signals do not end the program by themselves, as it has things to put away: to be
/// called before anything is started.
pub(super) fn catch() -> Result<Caught, Refusal> {
    Signals::new([SIGINT, SIGTERM]).map(Caught).map_err(refusal)
}

impl Caught {
    /// From now on SIGINT drains, at the second time terminates and at the third kills; SIGTERM
    /// terminates.
    pub(super) fn handle(self, ending: impl Ending) -> Result<Ended, Refusal> {
        let ended = Ended::default();
        let noted = ended.clone();
        let ending: Arc<dyn Ending> = Arc::new(ending);
        let attend = move || attend(self.0, &noted, &ending);
        let thread = std::thread::Builder::new().name("master-signals".into()).spawn(attend);
        thread.map_err(refusal)?;
        Ok(ended)
    }
}

fn refusal(error: std::io::Error) -> Refusal {
    Refusal::pool(format!("cannot handle signals: {error}"))
}

fn attend(mut signals: Signals, ended: &Ended, ending: &Arc<dyn Ending>) {
    let mut interrupts = 0;
    for signal in signals.forever() {
        ended.note(signal);
        if signal == SIGTERM {
            ending.terminate();
            insist(ended, ending);
            continue;
        }
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
