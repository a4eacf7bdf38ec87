//! The item in hand: what a function can say to the master, and hear from it, while it runs.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

use protocol::{limits::PROGRESS_INTERVAL, message::FromWorker};

use crate::{error::boundary, inbox::Inbox, output::Output};

/// The longest note, in bytes: 1 KiB. It is a line for people.
const MAX_NOTE: usize = 1 << 10;

thread_local! {
    /// The call that this thread runs. Threads that a function starts have none.
    static IN_HAND: RefCell<Option<InHand>> = const { RefCell::new(None) };
    /// The item of that call.
    static ITEM: Cell<u32> = const { Cell::new(0) };
    /// When its progress was last sent.
    static REPORTED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a function may use of the connection.
pub(crate) struct Line {
    output: Rc<RefCell<Output>>,
    inbox: Rc<Inbox>,
    /// The feature `progress` was agreed on.
    pub(crate) progress: Cell<bool>,
    /// The feature `cancel` was agreed on.
    pub(crate) cancel: Cell<bool>,
}

impl Line {
    pub(crate) const fn new(output: Rc<RefCell<Output>>, inbox: Rc<Inbox>) -> Self {
        Self { output, inbox, progress: Cell::new(false), cancel: Cell::new(false) }
    }
}

struct InHand {
    line: Rc<Line>,
    id: u64,
}

/// As long as this lives the items of a call are in hand, one after another.
#[must_use]
pub(crate) struct Hold(());

/// Takes a call in hand, until what is given back is dropped.
pub(crate) fn hold(line: &Rc<Line>, id: u64) -> Hold {
    let line = Rc::clone(line);
    IN_HAND.replace(Some(InHand { line, id }));
    Hold(())
}

impl Hold {
    /// An item begins.
    pub(crate) fn begin(&self, item: u32) {
        ITEM.set(item);
        REPORTED.set(None);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // With the thread itself at its end nothing is in hand either.
        let _ = IN_HAND.try_with(|in_hand| in_hand.take());
    }
}

/// Tells the master that the item in hand is alive, with a note on how far it is, for people.
///
/// To be called from inside a function, as often as one likes: of one item at most one report in
/// 50 ms is sent, the first at once, and those in between are dropped. Mark the function with
/// [`Worker::reports_progress`](crate::Worker::reports_progress), so that a master may take its
/// silence for a hang. A note is cut after 1 KiB.
///
/// It does nothing where there is nobody to tell: outside of a call, started by hand, in an
/// initializer, with a master that does not know the feature, and on any other thread than the
/// one that the function was called on.
///
/// ```
/// fn resize(images: Vec<String>) -> Result<usize, worker::Error> {
///     for (number, image) in images.iter().enumerate() {
///         worker::progress(&format!("{number} of {}: {image}", images.len()));
///         // ...
///     }
///     Ok(images.len())
/// }
///
/// let worker = worker::Worker::new("images", "1.0.0")
///     .function("resize(images)", "Resizes images; gives how many.", resize)
///     .reports_progress("resize");
/// # drop(worker);
/// # assert_eq!(resize(vec!["a".into()]).unwrap(), 1);
/// ```
pub fn progress(note: &str) {
    with_item(|in_hand| in_hand.report(note));
}

/// Whether the master has said that the item in hand is not wanted any more, or is gone itself.
///
/// A function that takes long asks now and then, and ends early with
/// [`Error::cancelled`](crate::Error::cancelled); the items and calls behind it run as ever. Mark
/// it with [`Worker::cancellable`](crate::Worker::cancellable), so that a master tells it: one
/// that cannot be told is ended together with its worker. To ask costs a system call, and a few
/// more if the master has sent anything meanwhile; it never waits.
///
/// It is `false` where nobody can cancel: outside of a call, started by hand, in an initializer,
/// with a master that does not know the feature, on any other thread than the one that the
/// function was called on, and on other systems than Unix. A cancel is found within the first
/// 4 MiB of what the master has sent behind the call.
///
/// ```
/// fn count(limit: u64) -> Result<u64, worker::Error> {
///     let mut count = 0;
///     while count < limit {
///         if count % 100_000 == 0 && worker::is_cancelled() {
///             return Err(worker::Error::cancelled());
///         }
///         count += 1;
///     }
///     Ok(count)
/// }
///
/// let worker = worker::Worker::new("counter", "1.0.0")
///     .function("count(limit)", "Counts.", count)
///     .cancellable("count");
/// # drop(worker);
/// # assert_eq!(count(3).unwrap(), 3);
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    with_item(|in_hand| {
        in_hand.line.cancel.get() && in_hand.line.inbox.is_cancelled(in_hand.id, ITEM.get())
    })
    .unwrap_or(false)
}

/// `None` without an item, and from inside of a use of it, such as a logger that calls back.
fn with_item<T>(use_it: impl FnOnce(&mut InHand) -> T) -> Option<T> {
    let reached = IN_HAND.try_with(|in_hand| {
        let mut in_hand = in_hand.try_borrow_mut().ok()?;
        in_hand.as_mut().map(use_it)
    });
    reached.ok().flatten()
}

impl InHand {
    fn report(&mut self, note: &str) {
        if !self.line.progress.get() {
            return;
        }
        let now = now();
        if REPORTED.get().is_some_and(|last| now.duration_since(last) < PROGRESS_INTERVAL) {
            return;
        }
        REPORTED.set(Some(now));
        let note = note[..boundary(note, MAX_NOTE)].to_owned();
        let message = FromWorker::Progress { id: self.id, item: ITEM.get(), note };
        // In full, and on the thread that also writes the answers: frames never mix. Whoever
        // writes the answer finds out what an end or an error means.
        if let Err(error) = self.line.output.borrow_mut().send(&message, &[]) {
            log::debug!("cannot report progress: {error}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate of reports is all that depends on it")]
fn now() -> Instant {
    Instant::now()
}
