//! Lazy maps: results as they come, of inputs that are taken only as they are needed.

use std::{
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use serde::Serialize;

use crate::{
    arguments::{FromResult, append_single, append_spread, check_size},
    batch::Items,
    error::Error,
    stream::{Feeder, Outcome, Stream},
};

/// How a lazy map takes its inputs.
///
/// ```
/// let options = master::ImapOptions { chunk_size: 10, ..Default::default() };
/// assert_eq!(options.buffer_size, master::ImapOptions::DEFAULT_BUFFER_SIZE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImapOptions {
    /// How many inputs are sent to a worker together, once so many have come or the input ends;
    /// fewer where the buffer has no room for so many. Default: 1, as in Python. An error if 0.
    pub chunk_size: usize,
    /// How many inputs may have been taken whose results were not yet given out; while the
    /// buffer is full no input is taken. Large results make it smaller, so that arguments and
    /// results that wait hold some 64 MiB. It is `buffersize` in Python 3.14. Default:
    /// [`Self::DEFAULT_BUFFER_SIZE`]. An error if 0.
    pub buffer_size: usize,
    /// Results come as they are there, not in the order of the inputs. Default: false.
    pub unordered: bool,
    /// Each input is a tuple or another sequence, spread over the arguments of its call, as in
    /// [`crate::Pool::starmap`]. Default: false.
    pub spread: bool,
}

impl ImapOptions {
    /// The default of [`Self::buffer_size`]: 4096 inputs, enough to hide one slow task among
    /// many short ones.
    ///
    /// ```
    /// assert_eq!(master::ImapOptions::DEFAULT_BUFFER_SIZE, 4096);
    /// ```
    pub const DEFAULT_BUFFER_SIZE: usize = crate::stream::LOOK_AHEAD_ITEMS as usize;

    pub(crate) fn check(self) -> Result<(), Error> {
        let zero = match self {
            Self { chunk_size: 0, .. } => "the chunk size",
            Self { buffer_size: 0, .. } => "the buffer size",
            _ => return Ok(()),
        };
        Err(Error::InvalidArgument(format!("{zero} must be at least 1, not 0")))
    }
}

impl Default for ImapOptions {
    fn default() -> Self {
        let buffer_size = Self::DEFAULT_BUFFER_SIZE;
        Self { chunk_size: 1, buffer_size, unordered: false, spread: false }
    }
}

/// The results of a lazy map: an iterator that waits for each.
///
/// Made by [`crate::Pool::imap`] and its relatives. A failing input gives an `Err` at its place and
/// does not end the iteration; [`Error::Input`] and the end of the pool do. Dropping it half-way
/// cancels what was not sent to a worker.
///
/// ```
/// use master::Error;
///
/// # let pool = integration_tests::library::pool(2).build()?;
/// let mut squares = pool.imap::<_, i64>("square", [3, i64::MAX, 4])?;
/// assert!(matches!(squares.next(), Some(Ok(9))));
/// assert!(matches!(squares.next(), Some(Err(Error::Failed(_)))), "it is too large");
/// assert!(matches!(squares.next(), Some(Ok(16))));
/// assert!(squares.next().is_none());
/// # Ok::<(), master::Error>(())
/// ```
#[must_use = "inputs are taken only as far as the results are"]
pub struct Imap<R> {
    stream: Stream,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Imap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").finish_non_exhaustive()
    }
}

impl<R: FromResult> Iterator for Imap<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, outcome) = self.stream.next()?;
        Some(decode(outcome))
    }
}

impl<R: FromResult> Imap<R> {
    /// The next result, if it comes within `timeout`. `None` at the end.
    ///
    /// ```
    /// use std::{sync::mpsc::channel, time::Duration};
    ///
    /// use master::Error;
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let (sender, numbers) = channel();
    /// let mut squares = pool.imap::<i64, i64>("square", numbers)?;
    /// let timeout = Duration::from_millis(10);
    /// assert!(matches!(squares.next_timeout(timeout), Some(Err(Error::NotReady(_)))));
    /// sender.send(5).expect("the pool takes numbers");
    /// assert!(matches!(squares.next(), Some(Ok(25))));
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotReady`] as the item if the time is over: nothing is lost, and the next call
    /// waits for the same result.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, Error>> {
        match self.stream.next_within(Some(timeout)) {
            Ok(outcome) => outcome.map(|(_, outcome)| decode(outcome)),
            Err(error) => Some(Err(error)),
        }
    }
}

fn decode<R: FromResult>(outcome: Outcome<'_>) -> Result<R, Error> {
    outcome.and_then(R::from_result)
}

/// Whether an input is the one argument of its call, or spread over its arguments.
#[derive(Clone, Copy)]
pub(crate) enum Spread {
    Single,
    Arguments,
}

impl Spread {
    fn append<A: Serialize>(self, bytes: &mut Vec<u8>, input: &A) -> Result<(), Error> {
        match self {
            Self::Single => append_single(bytes, input),
            Self::Arguments => append_spread(bytes, input),
        }
    }
}

/// Starts a thread that takes inputs as they are needed.
pub(crate) fn imap<A, E, R>(
    (mut feeder, stream): (Feeder, Stream),
    inputs: impl Iterator<Item = Result<A, E>> + Send + 'static,
    chunk_size: usize,
    spread: Spread,
) -> Result<Imap<R>, Error>
where
    A: Serialize,
    E: fmt::Display,
{
    let feed = move || feed(&mut feeder, inputs, chunk_size, spread);
    let thread = std::thread::Builder::new().name("master-inputs".into()).spawn(feed);
    thread.map_err(|error| Error::Setup(format!("cannot start a thread: {error}")))?;
    Ok(Imap { stream, result: PhantomData })
}

fn feed<A: Serialize, E: fmt::Display>(
    feeder: &mut Feeder,
    mut inputs: impl Iterator<Item = Result<A, E>>,
    chunk_size: usize,
    spread: Spread,
) {
    // While there is no room no input is taken.
    while let Some(room) = feeder.wait_for_room(chunk_size as u64) {
        let mut items = Items::default();
        let mut end = None;
        while items.len() < room.min(chunk_size as u64) && feeder.is_wanted() && end.is_none() {
            // What came before a panic is in order.
            let taken = catch_unwind(AssertUnwindSafe(|| take(&mut inputs, &mut items, spread)));
            end = taken.unwrap_or_else(|panic| {
                forget_half_an_item(&mut items);
                let text = format!("the iterator panicked: {}", text_of(&*panic));
                Some(End::Failure(Error::Input(text)))
            });
        }
        let any = items.len() > 0;
        if any {
            feeder.feed(items, Some(chunk_size as u64));
        }
        match end {
            None if any => {}
            // No more inputs are wanted.
            None => return,
            // Costs this input alone.
            Some(End::NotEncoded(error)) => feeder.fail(error),
            Some(End::Failure(error)) => return feeder.end_with(&error),
            Some(End::Input) => return,
        }
    }
}

/// Takes one input, and appends it.
fn take<A: Serialize, E: fmt::Display>(
    inputs: &mut impl Iterator<Item = Result<A, E>>,
    items: &mut Items,
    spread: Spread,
) -> Option<End> {
    match inputs.next() {
        None => Some(End::Input),
        Some(Err(error)) => Some(End::Failure(Error::Input(error.to_string()))),
        Some(Ok(input)) => {
            let appended = catch_unwind(AssertUnwindSafe(|| append(items, &input, spread)));
            let appended = appended.unwrap_or_else(|panic| {
                forget_half_an_item(items);
                let text = format!("to encode it panicked: {}", text_of(&*panic));
                Err(Error::Encode(text))
            });
            appended.err().map(End::NotEncoded)
        }
    }
}

/// What was appended before a panic, and is no item.
fn forget_half_an_item(items: &mut Items) {
    items.bytes.truncate(items.ends.last().copied().unwrap_or(0));
}

/// Why a chunk ends before it is full.
enum End {
    Input,
    Failure(Error),
    NotEncoded(Error),
}

/// Appends an input, or nothing if it cannot be encoded.
fn append<A: Serialize>(items: &mut Items, input: &A, spread: Spread) -> Result<(), Error> {
    let bytes = items.bytes.own();
    let start = bytes.len();
    let encoded = spread.append(bytes, input).and_then(|()| check_size(bytes.len() - start));
    match encoded {
        Ok(()) => items.ends.push(bytes.len()),
        Err(_) => bytes.truncate(start),
    }
    encoded
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "for no reason that can be shown",
    }
}
