//! One worker, as the machine sees it.

use std::{collections::VecDeque, ops::Range, time::Duration};

use super::{
    Answer, Batch, CallId, FunctionId, Generation, GroupId, Repertoire, Settings, SlotId, Time,
    TimeLimit,
    budget::FailedStart,
    pace::{Kind, KnownPace},
    queue::Taken,
};

/// While a worker of short items has less than this much work before it, by their measured time, it
/// is sent more: 2 ms, as much as a chunk takes that is left to the pool. It is woken, and wakes the
/// master, once for all of that; and it may keep answers for half of it.
pub(super) const LOOKAHEAD: Duration = Duration::from_millis(2);

/// Items are short that take less than such a part of the lookahead, 500 us: some ten times what it
/// takes to wake a process. A longer item never has others waiting behind it.
const SHORT: u32 = 4;

/// The same, where so many workers share so many CPUs: with each waiting for the others, its items
/// take the longer, and so does whatever it could wait for.
pub(super) fn lookahead(workers: usize, cpus: usize) -> Duration {
    LOOKAHEAD.saturating_mul(sharing(workers, cpus))
}

/// How many workers there are to a CPU.
pub(super) fn sharing(workers: usize, cpus: usize) -> u32 {
    u32::try_from(workers.div_ceil(cpus.max(1))).unwrap_or(u32::MAX).max(1)
}

/// A worker may be at items that are concluded, because they were cancelled, for this long:
/// what the rest of a window of short items takes, which is less than it takes to replace the
/// worker, and spares what waits behind them. It is stopped for items that take longer.
pub(super) const MAX_FUTILE: Duration = LOOKAHEAD;

/// A worker is told to end so many items in a row at the most; then it is stopped. Each may take
/// its grace, and nobody wants any of them.
pub(super) const MAX_TOLD: u32 = 4;

/// A worker that has something to do is sent no more beyond this many calls in flight.
pub(super) const MAX_CALLS_IN_FLIGHT: usize = 256;

/// A worker that has something to do is sent no more beyond this many bytes in flight: 1 MiB.
pub(super) const MAX_BYTES_IN_FLIGHT: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Worker<B> {
    pub(super) slot: SlotId,
    pub(super) group: GroupId,
    pub(super) generation: Generation,
    /// When it was started.
    pub(super) started: Time,
    /// How many items it may be given.
    pub(super) limit: u64,
    /// How many items it was given so far.
    pub(super) given: u64,
    /// How many it has answered.
    pub(super) answered: u64,
    /// It has been ready.
    pub(super) was_ready: bool,
    /// Somebody else has killed it.
    pub(super) struck: bool,
    /// It is given no more, and leaves when it has nothing in flight.
    pub(super) retiring: bool,
    pub(super) state: State<B>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all workers serve nearly all the time")]
pub(super) enum State<B> {
    /// Started; its hello is awaited.
    Greeting { hello_by: Time, ready_by: Time },
    /// Welcomed; it prepares itself.
    Preparing { ready_by: Time, repertoire: Repertoire },
    /// Ready for calls, idle if nothing is in flight.
    Serving(Serving<B>),
    /// Asked to leave, with nothing in flight.
    Leaving { by: Time },
    /// Being ended by force. Where that is not the machine's own choice, and not counted yet, its
    /// exit may be a failed start.
    Stopping { kill_at: Option<Time>, accounted: bool, in_flight: InFlight<B> },
}

#[derive(Debug)]
pub(super) struct Serving<B> {
    pub(super) repertoire: Repertoire,
    pub(super) in_flight: InFlight<B>,
    /// Since when it has been ready.
    pub(super) since: Time,
    /// Since when it has been idle, if it is.
    pub(super) idle_since: Time,
    /// What an item takes by recent measure.
    pace: KnownPace,
    measured_at: Time,
    /// How many items it has answered since, and of which kind they were, if of one.
    answers_since: u64,
    answered: Option<Kind>,
}

/// The calls that were sent to a worker and are not answered in full, in order.
#[derive(Debug)]
pub(super) struct InFlight<B> {
    pub(super) calls: VecDeque<Sent<B>>,
    /// Items that are not answered.
    pub(super) items: u64,
    bytes: u64,
    /// Since when the first unanswered item may have been running.
    pub(super) running_since: Time,
    /// When it was last heard of that item.
    heard_at: Time,
    /// If the worker is at an item that is concluded.
    pub(super) futile: Option<Futile>,
    /// How many such items in a row it was told to end.
    told: u32,
}

/// A worker is at nothing but items that are concluded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Futile {
    since: Time,
    /// When it was told to end the one in its hands.
    pub(super) told_at: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Sent<B> {
    call: CallId,
    pub(super) taken: Taken<B>,
    /// So many of its items, from the first on, are answered.
    answered: u64,
    /// So many are concluded: those that are answered, and those whose answers will be late.
    concluded: u64,
    /// Something was sent behind it, so that what a worker leaves unread says nothing about it.
    followed: bool,
}

impl<B: Batch> InFlight<B> {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            calls: VecDeque::new(),
            items: 0,
            bytes: 0,
            running_since: now,
            heard_at: now,
            futile: None,
            told: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn push(&mut self, now: Time, call: CallId, taken: Taken<B>) {
        if self.calls.is_empty() {
            self.running_since = now;
            self.heard_at = now;
        }
        self.items += taken.chunk.items.end - taken.chunk.items.start;
        self.bytes += size(&taken);
        self.calls.push_back(Sent { call, taken, answered: 0, concluded: 0, followed: false });
    }

    /// Takes in answers to consecutive items of a call, or the first ones of them. Answers come in
    /// order, so only one is the right one to begin with.
    pub(super) fn answer(&mut self, now: Time, call: CallId, items: Range<u32>) -> Answer<B> {
        let Some(first) = self.calls.front_mut() else { return Answer::Refused };
        if first.call != call || first.answered != u64::from(items.start) || items.is_empty() {
            return Answer::Refused;
        }
        let count = u64::from(items.end - items.start);
        let (answer, count) = if first.is_futile() {
            let count = count.min(first.concluded - first.answered);
            (Answer::Late { items: u32::try_from(count).unwrap_or(u32::MAX) }, count)
        } else {
            let open = first.open();
            let count = count.min(open.end - open.start);
            first.concluded += count;
            let items = open.start..open.start + count;
            (Answer::Accepted { batch: first.taken.chunk.batch.clone(), items }, count)
        };
        first.answered += count;
        self.items -= count;
        self.running_since = now;
        self.heard_at = now;
        // Whoever was told to end an item has ended it.
        if let Some(Futile { told_at: Some(_), .. }) = self.futile {
            self.futile = None;
        }
        if first.answered == first.count() {
            self.bytes -= size(&first.taken);
            self.calls.pop_front();
        }
        self.look_at_first();
        answer
    }

    /// Whether an answer to this item is due next, and wanted.
    pub(super) fn wants(&self, call: CallId, item: u32) -> bool {
        self.calls.front().is_some_and(|first| {
            first.call == call && first.answered == u64::from(item) && !first.is_futile()
        })
    }

    /// Concludes what is not concluded of a batch. Returns it, call by call.
    pub(super) fn cancel(&mut self, batch: u64) -> Vec<(B, Range<u64>)> {
        let mut cancelled = Vec::new();
        for sent in self.calls.iter_mut().filter(|sent| sent.taken.chunk.batch.id() == batch) {
            let open = sent.open();
            if !open.is_empty() {
                sent.concluded = sent.count();
                cancelled.push((sent.taken.chunk.batch.clone(), open));
            }
        }
        self.look_at_first();
        cancelled
    }

    /// Concludes the item that may be running, the first that is not answered. Returns it, unless
    /// it was concluded before.
    pub(super) fn conclude_running(&mut self) -> Option<(Taken<B>, u64)> {
        let first = self.calls.front_mut().filter(|first| !first.is_futile())?;
        let item = first.open().start;
        first.concluded += 1;
        let taken = first.taken.clone();
        self.look_at_first();
        Some((taken, item))
    }

    /// Takes in a sign of life from an item. False if it is not the one in hand.
    pub(super) fn progress(&mut self, now: Time, call: CallId, item: u32) -> bool {
        let is_in_hand = self
            .running()
            .is_some_and(|(running, index, _)| running == call && index == u64::from(item));
        if is_in_hand {
            self.heard_at = now;
        }
        is_in_hand
    }

    /// The call of the item that may be running, its place in the call, and its function.
    pub(super) fn running(&self) -> Option<(CallId, u64, FunctionId)> {
        let first = self.calls.front()?;
        Some((first.call, first.answered, first.taken.chunk.function))
    }

    /// Of which kind the item is that may be running.
    pub(super) fn kind(&self) -> Option<Kind> {
        let chunk = &self.calls.front()?.taken.chunk;
        Some(Kind { function: chunk.function, job: chunk.batch.job() })
    }

    /// The item that may be running, and the chunk that it is of.
    pub(super) fn first_item(&self) -> Option<Taken<B>> {
        self.calls.front().map(|first| first.taken.clone())
    }

    /// The worker has been told to end the item in its hands.
    pub(super) fn tell(&mut self, now: Time) {
        self.calls.iter_mut().for_each(|sent| sent.followed = true);
        self.told += 1;
        if let Some(futile) = &mut self.futile {
            futile.told_at = Some(now);
        }
    }

    /// Whether telling the worker is of no more use: it was told of the item in its hands, or of so
    /// many before it that there may be no end of them.
    pub(super) fn was_told(&self) -> bool {
        self.futile.is_some_and(|futile| futile.told_at.is_some()) || self.told >= MAX_TOLD
    }

    /// Notes whether the worker is, or still is, at an item that is concluded.
    fn look_at_first(&mut self) {
        let futile = self.calls.front().is_some_and(Sent::is_futile);
        let begins = Futile { since: self.running_since, told_at: None };
        self.futile = futile.then(|| self.futile.unwrap_or(begins));
        if !futile {
            self.told = 0;
        }
    }

    fn open_items(&self) -> u64 {
        self.calls.iter().map(|sent| sent.count() - sent.concluded).sum()
    }
}

impl<B> Sent<B> {
    /// The items that are not concluded.
    pub(super) const fn open(&self) -> Range<u64> {
        let items = &self.taken.chunk.items;
        items.start + self.concluded..items.end
    }

    /// Whether its first item that is not answered is concluded all the same.
    pub(super) const fn is_futile(&self) -> bool {
        self.concluded > self.answered
    }

    /// Whether it cannot have begun if its worker has died with something unread.
    pub(super) const fn begins_unread(&self) -> bool {
        self.answered == 0 && !self.followed
    }

    const fn count(&self) -> u64 {
        self.taken.chunk.items.end - self.taken.chunk.items.start
    }
}

fn size<B: Batch>(taken: &Taken<B>) -> u64 {
    taken.chunk.batch.bytes(taken.chunk.items.clone())
}

impl<B: Batch> Serving<B> {
    pub(super) fn new(now: Time, repertoire: Repertoire) -> Self {
        Self {
            repertoire,
            in_flight: InFlight::new(now),
            since: now,
            idle_since: now,
            pace: KnownPace::default(),
            measured_at: now,
            answers_since: 0,
            answered: None,
        }
    }

    pub(super) fn send(&mut self, now: Time, call: CallId, taken: Taken<B>) {
        if self.in_flight.is_empty() {
            self.measured_at = now;
            self.answers_since = 0;
        }
        self.in_flight.push(now, call, taken);
    }

    pub(super) fn count_answers(&mut self, now: Time, kind: Option<Kind>, answers: u64) {
        self.answered = match self.answers_since {
            0 => kind,
            _ => self.answered.filter(|&before| Some(before) == kind),
        };
        self.answers_since += answers;
        if self.in_flight.is_empty() {
            self.idle_since = now;
        }
    }

    /// Whether the item in its hands can be told to stop.
    pub(super) fn can_be_told(&self) -> bool {
        let running = self.in_flight.running();
        running.is_some_and(|(.., function)| self.repertoire.cancellable.contains(&function))
    }

    /// When the item in its hands is over a limit of time, and over which one.
    pub(super) fn overdue_at(&self, settings: &Settings) -> Option<(Time, TimeLimit)> {
        let (.., function) = self.in_flight.running()?;
        let InFlight { running_since, heard_at, .. } = self.in_flight;
        let task = settings.task_timeout.map(|limit| (running_since, limit, TimeLimit::Task));
        let reports = self.repertoire.reporting.contains(&function);
        let silence = settings.silence_timeout.filter(|_| reports);
        let silence = silence.map(|limit| (heard_at, limit, TimeLimit::Silence));
        let limits = task.into_iter().chain(silence);
        limits.map(|(since, limit, kind)| (since.saturating_add(limit), kind)).min_by_key(|l| l.0)
    }

    /// Takes the time that the answers since the last measure took. Gives it, with how many they
    /// are, if all were of one kind.
    pub(super) fn measure(&mut self, now: Time) -> Option<(Kind, Duration, u64)> {
        let answers = std::mem::take(&mut self.answers_since);
        if answers == 0 {
            return None;
        }
        let time = now.saturating_sub(std::mem::replace(&mut self.measured_at, now));
        let kind = self.answered;
        self.pace.note(kind.and_then(|kind| kind.job), time, answers);
        kind.map(|kind| (kind, time, answers))
    }

    /// What an item of this kind takes by recent measure, if that is known.
    pub(super) fn item_time(&self, kind: Kind) -> Option<Duration> {
        self.pace.item_time(kind.job)
    }

    /// Whether one more call may be sent, to a worker that is to have so much work before it.
    pub(super) fn has_room(&self, now: Time, lookahead: Duration) -> bool {
        if self.in_flight.is_empty() {
            return true;
        }
        // Whatever the ones before it took, the item that is running now is a long one.
        if now.saturating_sub(self.in_flight.running_since) >= lookahead {
            return false;
        }
        // It may be stopped, and whoever has begun then is lost.
        if self.in_flight.futile.is_some() {
            return false;
        }
        let Some(item_time) = self.pace.item_time(None) else { return false };
        let calls = self.in_flight.calls.len();
        if calls >= MAX_CALLS_IN_FLIGHT || self.in_flight.bytes >= MAX_BYTES_IN_FLIGHT {
            return false;
        }
        let items = u32::try_from(self.in_flight.items).unwrap_or(u32::MAX);
        item_time < lookahead / SHORT && item_time.saturating_mul(items) < lookahead
    }
}

impl<B: Batch> Worker<B> {
    /// The calls that it holds, if it has reached the state in which it is given any.
    pub(super) const fn in_flight_mut(&mut self) -> Option<&mut InFlight<B>> {
        match &mut self.state {
            State::Serving(Serving { in_flight, .. }) | State::Stopping { in_flight, .. } => {
                Some(in_flight)
            }
            State::Greeting { .. } | State::Preparing { .. } | State::Leaving { .. } => None,
        }
    }

    /// How many items it was sent that are not concluded.
    pub(super) fn items_in_flight(&self) -> u64 {
        match &self.state {
            State::Serving(Serving { in_flight, .. }) | State::Stopping { in_flight, .. } => {
                in_flight.open_items()
            }
            State::Greeting { .. } | State::Preparing { .. } | State::Leaving { .. } => 0,
        }
    }

    /// How many items it was sent that it has not answered.
    pub(super) const fn items_unanswered(&self) -> u64 {
        match &self.state {
            State::Serving(Serving { in_flight, .. }) | State::Stopping { in_flight, .. } => {
                in_flight.items
            }
            State::Greeting { .. } | State::Preparing { .. } | State::Leaving { .. } => 0,
        }
    }

    /// What it can do, unless it is on its way out.
    pub(super) const fn repertoire(&self) -> Option<&Repertoire> {
        match &self.state {
            State::Preparing { repertoire, .. } | State::Serving(Serving { repertoire, .. }) => {
                Some(repertoire)
            }
            State::Greeting { .. } | State::Leaving { .. } | State::Stopping { .. } => None,
        }
    }

    /// What its end is, if its start counts as failed.
    pub(super) const fn failed_start(&self, now: Time) -> FailedStart {
        let excusable = self.was_ready || self.struck;
        FailedStart { time: now, group: self.group, excusable }
    }

    /// Whether its end says nothing at all about its start: it was ready, nobody had asked anything
    /// of it, and somebody killed it.
    pub(super) const fn is_excused(&self) -> bool {
        self.struck && self.was_ready && self.given == 0
    }

    /// Whether it is on its way to be ready.
    pub(super) const fn is_starting(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Preparing { .. })
    }

    /// When the machine has to look at it again, if nothing else happens.
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Time> {
        match &self.state {
            State::Greeting { hello_by, .. } => Some(*hello_by),
            State::Preparing { ready_by, .. } => Some(*ready_by),
            State::Serving(serving) if serving.in_flight.is_empty() => None,
            State::Serving(serving) => match serving.in_flight.futile {
                // What it is at is concluded, for whatever reason.
                Some(Futile { told_at: Some(told_at), .. }) => {
                    Some(told_at.saturating_add(settings.cancel_grace))
                }
                Some(Futile { since, told_at: None }) => Some(since.saturating_add(MAX_FUTILE)),
                None => serving.overdue_at(settings).map(|(time, _)| time),
            },
            State::Leaving { by } => Some(*by),
            State::Stopping { kill_at, .. } => *kill_at,
        }
    }

    /// What it is doing, for people.
    pub(super) fn view(&self) -> StateView {
        match &self.state {
            State::Greeting { .. } | State::Preparing { .. } => StateView::Starting,
            State::Serving(serving) => match serving.in_flight.running() {
                Some((.., function)) => {
                    StateView::Busy { function, since: serving.in_flight.running_since }
                }
                None => StateView::Idle,
            },
            State::Leaving { .. } => StateView::Leaving,
            State::Stopping { .. } => StateView::Stopping,
        }
    }
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateView {
    /// It is not ready yet.
    Starting,
    /// It is ready, and has nothing to do.
    Idle,
    /// It may be running an item of this function, since that time.
    Busy { function: FunctionId, since: Time },
    /// It was asked to leave.
    Leaving,
    /// It is being ended.
    Stopping,
}
