//! What signals ask of a running pool, other than to end it.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    arguments::WorkerOptions,
    output::{complain_aside, count},
    worker_commands,
};
use crate::{Pool, PoolStatus, WorkerStatus, report::Seconds};

/// The replacements that were asked for. The last one stands: those before it do not go on to a
/// further kind of worker, which would have the pool give up the last one in turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Replacements(Arc<Mutex<u64>>);

impl Replacements {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut last = self.lock();
        *last += 1;
        *last
    }

    /// Begins with a kind of worker, unless a later replacement was asked for.
    fn begin<T>(&self, number: u64, begin: impl FnOnce() -> T) -> Option<T> {
        let last = self.lock();
        (*last == number).then(begin)
    }

    /// Replaces the workers by those that their commands name now, and tells how it went.
    pub(super) fn replace(&self, pool: &Arc<Pool>, options: &WorkerOptions) {
        let commands = match worker_commands(options) {
            Ok(commands) => commands,
            Err(refusal) => {
                let text = format!("the workers are not replaced: {}", refusal.message);
                return complain_aside(text);
            }
        };
        let (this, pool, number) = (self.clone(), Arc::clone(pool), self.next());
        // Signals are heard on meanwhile.
        let replace_all = move || {
            for (kind, (command, _)) in commands.into_iter().enumerate() {
                let text = format!("all workers are now `{command}`");
                let begun = this.begin(number, || pool.replace_kind(kind, command));
                let Some(begun) = begun else { return };
                match begun.and_then(crate::Replacement::wait) {
                    Ok(()) => complain_aside(text),
                    Err(error) => complain_aside(error.to_string()),
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("master-replacement".into()).spawn(replace_all);
        if let Err(error) = thread {
            complain_aside(format!("the workers are not replaced: cannot start a thread: {error}"));
        }
    }
}

/// Has one worker more, or one less.
pub(super) fn resize(pool: &Pool, more: bool) {
    let processes = usize::try_from(pool.processes()).unwrap_or(usize::MAX);
    let wanted = if more { processes.saturating_add(1) } else { processes.saturating_sub(1) };
    let text = match pool.resize(wanted) {
        Ok(()) if wanted == 1 => "there is 1 worker now".to_owned(),
        Ok(()) => format!("there are {wanted} workers now"),
        Err(error) => format!("the number of workers stays {processes}: {error}"),
    };
    complain_aside(text);
}

/// Tells how things stand.
pub(super) fn tell_status(pool: &Pool) {
    match pool.status() {
        Ok(status) => complain_aside(describe(&status)),
        Err(error) => complain_aside(format!("there is no status: {error}")),
    }
}

fn describe(status: &PoolStatus) -> String {
    let PoolStatus { workers, waiting, running, counters } = status;
    let mut text = format!(
        "{} running, {waiting} waiting; so far {} completed",
        count(*running, "task"),
        counters.completed
    );
    let others = [
        (counters.failed, "failed"),
        (counters.lost, "were lost"),
        (counters.timed_out, "timed out"),
        (counters.cancelled, "were cancelled"),
        (counters.retried, "were tried again"),
    ];
    for (count, what) in others.into_iter().filter(|&(count, _)| count > 0) {
        let _ = write!(text, ", {count} {what}");
    }
    for worker in workers {
        text.push_str("\n    ");
        describe_worker(&mut text, worker);
    }
    text
}

fn describe_worker(text: &mut String, worker: &WorkerStatus) {
    let WorkerStatus { slot, pid, state, task, tasks_done, age, memory, .. } = worker;
    let state = format!("{state:?}").to_lowercase();
    let _ = write!(text, "worker {slot}, pid {pid}: {state}");
    if let Some(task) = task {
        let _ = write!(text, " with `{}` for {}", task.function, Seconds(task.running_for));
        if let Some(note) = &task.note {
            let _ = write!(text, " ({note})");
        }
    }
    let _ = write!(text, "; {} done in {}", count(*tasks_done, "task"), Seconds(*age));
    if let Some(memory) = memory {
        let _ = write!(text, ", {} MiB", memory >> 20);
    }
}
