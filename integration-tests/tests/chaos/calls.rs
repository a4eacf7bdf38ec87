//! Calls of all forms, one after another, and what holds for each of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use integration_tests::Deadline;
use master::{ApplyResult, Callbacks, Error, Imap, ImapOptions, MapResult, Pool};

use crate::{
    random::Random,
    tally::{Tally, short},
    tasks::{Bytes, Die, Fail, Nap, Nested, Pid, Square, Task},
};

/// The most bytes of the inputs of one call.
const MOST_BYTES: u64 = 8 << 20;

/// The same for values of many parts, which take a build without optimization far longer.
const MOST_NESTED: u64 = 1 << 20;

/// The most inputs of a map, and of a map each of which ends a worker.
const MOST_INPUTS: u64 = 40;
const MOST_DEATHS: u64 = 3;

/// The longest time until something is cancelled, in microseconds.
const LONGEST_PATIENCE: u64 = 5_000;

/// One of the threads that use the pool.
pub(crate) struct Caller<'a> {
    pool: &'a Pool,
    tally: &'a Tally,
    random: Random,
}

impl<'a> Caller<'a> {
    pub(crate) const fn new(pool: &'a Pool, tally: &'a Tally, random: Random) -> Self {
        Self { pool, tally, random }
    }

    pub(crate) fn call_until(mut self, end: Deadline) {
        while !end.left().is_zero() {
            self.call();
        }
    }

    fn call(&mut self) {
        let inputs = if self.random.percent(50) { 1 } else { self.random.up_to(MOST_INPUTS) };
        match self.random.within(0..=99) {
            0..25 => self.submit(inputs, Square::random),
            25..40 => self.submit(inputs, Nap::random),
            40..55 => self.submit(inputs, |random| Bytes::random(random, MOST_BYTES / inputs)),
            55..65 => self.submit(inputs, |random| Nested::random(random, MOST_NESTED / inputs)),
            65..70 => self.submit(inputs, Fail::random),
            // By this the killer learns of workers.
            70..98 => self.submit(inputs, |_| Pid),
            _ => self.submit(inputs.min(MOST_DEATHS), Die::random),
        }
    }

    fn submit<T: Task>(&mut self, inputs: u64, task: impl Fn(&mut Random) -> T) {
        let tasks: Vec<T> = (0..inputs).map(|_| task(&mut self.random)).collect();
        self.tally.count_deadly(tasks.iter().filter(|task| task.is_deadly()).count());
        match tasks.as_slice() {
            [task] if self.random.percent(80) => match self.random.within(0..=2) {
                0 => self.apply(task),
                1 => self.apply_async(task),
                _ => self.apply_with_callbacks(task),
            },
            tasks => match self.random.within(0..=5) {
                0 => self.map(tasks),
                1 => self.map_async(tasks),
                2 => self.map_with_callbacks(tasks),
                3 => self.imap(tasks),
                4 => self.imap_unordered(tasks),
                _ => self.leave_half_way(tasks),
            },
        }
    }

    fn apply<T: Task>(&mut self, task: &T) {
        let arguments = task.arguments(&mut self.random);
        self.tally.count(task, self.pool.apply(T::FUNCTION, arguments), false);
    }

    fn apply_async<T: Task>(&mut self, task: &T) {
        let arguments = task.arguments(&mut self.random);
        let result: ApplyResult<T::Output> = self.pool.apply_async(T::FUNCTION, arguments).unwrap();
        let cancels = self.cancels_sometimes(|| result.cancel());
        let outcome = result.get();
        match (&outcome, result.get()) {
            (Ok(_), Ok(again)) => assert!(task.is_result(&again), "an outcome stays"),
            (Err(error), again) => {
                assert_eq!(again.err().map(|again| again.to_string()), Some(error.to_string()));
            }
            (Ok(_), Err(again)) => panic!("there was a result, and then: {again}"),
        }
        assert_eq!(result.successful().unwrap(), outcome.is_ok());
        self.tally.count(task, outcome, cancels);
    }

    fn apply_with_callbacks<T: Task>(&mut self, task: &T) {
        let arguments = task.arguments(&mut self.random);
        let called = Called::default();
        let result: ApplyResult<T::Output> =
            self.pool.apply_async_with(T::FUNCTION, arguments, called.callbacks()).unwrap();
        let cancels = self.cancels_sometimes(|| result.cancel());
        let outcome = result.get();
        called.check(outcome.is_ok());
        self.tally.count(task, outcome, cancels);
    }

    /// Gives all results or an error, so that with one of these nothing is known of the others.
    fn map<T: Task>(&mut self, tasks: &[T]) {
        let chunk_size = self.chunk_size();
        let results: Result<Vec<T::Output>, Error> = match chunk_size {
            _ if T::SPREAD => self.pool.starmap(T::FUNCTION, tasks),
            Some(size) => self.pool.map_chunked(T::FUNCTION, tasks, size),
            None => self.pool.map(T::FUNCTION, tasks),
        };
        match results {
            Ok(outputs) => self.count_all(tasks, outputs.into_iter().map(Ok), false),
            Err(error) => {
                self.tally.explain(&error, false);
                self.tally.count_untold(tasks.len() - 1);
            }
        }
    }

    fn map_async<T: Task>(&mut self, tasks: &[T]) {
        let (function, chunk_size) = (T::FUNCTION, self.chunk_size());
        let result: MapResult<T::Output> = match T::SPREAD {
            true => self.pool.starmap_async(function, tasks, chunk_size),
            false => self.pool.map_async(function, tasks, chunk_size),
        }
        .unwrap();
        let cancels = self.cancels_sometimes(|| result.cancel());
        self.count_all(tasks, result.outcomes(), cancels);
    }

    fn map_with_callbacks<T: Task>(&mut self, tasks: &[T]) {
        let (function, chunk_size, called) = (T::FUNCTION, self.chunk_size(), Called::default());
        let result: MapResult<T::Output> = match T::SPREAD {
            true => self.pool.starmap_async_with(function, tasks, chunk_size, called.callbacks()),
            false => self.pool.map_async_with(function, tasks, chunk_size, called.callbacks()),
        }
        .unwrap();
        let cancels = self.cancels_sometimes(|| result.cancel());
        let outcomes = result.outcomes();
        called.check(outcomes.iter().all(Result::is_ok));
        self.count_all(tasks, outcomes, cancels);
    }

    fn imap<T: Task>(&mut self, tasks: &[T]) {
        let outcomes = self.start_imap(tasks, false);
        self.count_all(tasks, outcomes, false);
    }

    /// Which task an error belongs to is not told, so only results are matched.
    fn imap_unordered<T: Task>(&mut self, tasks: &[T]) {
        let mut open: Vec<&T> = tasks.iter().collect();
        let mut errors = 0;
        for outcome in self.start_imap(tasks, true) {
            match outcome {
                Ok(output) => {
                    let place = open.iter().position(|task| task.is_result(&output));
                    let place =
                        place.unwrap_or_else(|| panic!("nobody asked for {}", short(&output)));
                    self.tally.count(open.swap_remove(place), Ok(output), false);
                }
                Err(error) => {
                    self.tally.explain(&error, false);
                    errors += 1;
                }
            }
        }
        assert_eq!(open.len(), errors, "each task has one outcome");
    }

    /// What is not waited for has no outcome that anybody sees.
    fn leave_half_way<T: Task>(&mut self, tasks: &[T]) {
        let taken = usize::try_from(self.random.within(0..=tasks.len() as u64)).unwrap();
        let outcomes = self.start_imap(tasks, false);
        self.count_all(&tasks[..taken], outcomes.take(taken), false);
        self.tally.count_untold(tasks.len() - taken);
    }

    fn start_imap<T: Task>(&mut self, tasks: &[T], unordered: bool) -> Imap<T::Output> {
        let options = ImapOptions {
            chunk_size: self.chunk_size().unwrap_or(1),
            buffer_size: usize::try_from(self.random.up_to(4096)).unwrap(),
            unordered,
            spread: T::SPREAD,
        };
        self.pool.imap_with(T::FUNCTION, tasks.to_vec(), options).unwrap()
    }

    /// Counts outcomes in the order of their tasks, one for each.
    #[track_caller]
    fn count_all<T: Task>(
        &self,
        tasks: &[T],
        outcomes: impl IntoIterator<Item = Result<T::Output, Error>>,
        may_be_cancelled: bool,
    ) {
        let mut outcomes = outcomes.into_iter();
        for task in tasks {
            let outcome = outcomes.next().expect("each task has an outcome");
            self.tally.count(task, outcome, may_be_cancelled);
        }
        assert!(outcomes.next().is_none(), "each task has one outcome");
    }

    fn chunk_size(&mut self) -> Option<usize> {
        let size = usize::try_from(self.random.within(1..=10)).unwrap();
        self.random.percent(60).then_some(size)
    }

    /// Cancels now and then, after a while; tells whether it did.
    fn cancels_sometimes(&mut self, cancel: impl FnOnce()) -> bool {
        if !self.random.percent(10) {
            return false;
        }
        let patience = Duration::from_micros(self.random.up_to(LONGEST_PATIENCE));
        Deadline::after(patience).pause(patience);
        cancel();
        self.tally.count_cancellation();
        true
    }
}

/// How often each of two callbacks was called.
#[derive(Default)]
struct Called {
    on_result: Arc<AtomicU64>,
    on_error: Arc<AtomicU64>,
}

impl Called {
    fn callbacks<R>(&self) -> Callbacks<R> {
        let count = |of: &Arc<AtomicU64>| {
            let of = Arc::clone(of);
            move || _ = of.fetch_add(1, Relaxed)
        };
        let (on_result, on_error) = (count(&self.on_result), count(&self.on_error));
        Callbacks::new().on_result(move |_| on_result()).on_error(move |_| on_error())
    }

    /// To be called after a wait: by then one of the two was called, once.
    #[track_caller]
    fn check(&self, is_result: bool) {
        let called = (self.on_result.load(Relaxed), self.on_error.load(Relaxed));
        assert_eq!(called, if is_result { (1, 0) } else { (0, 1) });
    }
}
