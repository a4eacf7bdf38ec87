//! What SIGINT and SIGTERM do.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{output::complain, status::ExitStatus};

/// What can be ended by signals, step by step.
pub(super) trait Ending: Send + 'static {
    /// Begins nothing more, and tells how many tasks are still running; `None` if there is
    /// nothing to be awaited.
    fn drain(&self);
    /// Stops what is running.
    fn terminate(&self);
    /// Kills what is running.
    fn kill(&self);
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

/// From now on SIGINT drains, at the second time terminates and at the third kills; SIGTERM
/// terminates.
pub(super) fn handle(ending: impl Ending) -> std::io::Result<Ended> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let ended = Ended::default();
    let noted = ended.clone();
    std::thread::Builder::new().name("master-signals".into()).spawn(move || {
        let mut interrupts = 0;
        for signal in signals.forever() {
            noted.note(signal);
            if signal == SIGTERM {
                ending.terminate();
                continue;
            }
            interrupts += 1;
            match interrupts {
                1 => ending.drain(),
                2 => {
                    complain("interrupted again: stopping the running tasks");
                    ending.terminate();
                }
                _ => ending.kill(),
            }
        }
    })?;
    Ok(ended)
}
