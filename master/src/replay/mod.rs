//! A recording played to another worker: does it answer as the recorded ones did?
//!
//! For each worker of a recording another one is started, and told what that one was told, in the
//! same order. Its answers are compared with those that are recorded. On the command line it is
//! `master replay`.
//!
//! ```
//! use master::{
//!     recording::Recorder,
//!     replay::{ReplayOptions, replay},
//! };
//!
//! let file = tempfile::NamedTempFile::new()?;
//! let recorder = Recorder::create(file.path())?;
//! # let worker = integration_tests::library::worker();
//! let pool = master::Pool::builder().worker(worker.clone()).record(&recorder).build()?;
//! pool.map::<_, i64>("square", 0..10)?;
//! pool.close();
//! pool.join()?;
//! recorder.finish()?;
//!
//! let differences = |difference: &_| println!("{difference:?}");
//! let summary = replay(file.as_file(), &worker, &ReplayOptions::default(), differences)?;
//! assert_eq!((summary.answers, summary.different), (10, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is played is what can be the same again:
//! - Of a call that the recorded worker did not answer in full, as it died or was killed, only the
//!   items that it did answer. Calls of functions that the other worker does not have are left
//!   out, and so is everything behind an item that it does not answer.
//! - A cancel is sent where it was sent, if the other worker knows the feature; what comes of the
//!   item then is a matter of time, and not compared.
//! - Features are those that were agreed on and that the other worker has too; none shares memory.
//! - Reports of progress, and whatever else is about time, are not compared.
//!
//! Values are compared by what they mean ([`Value::difference`](crate::recording::Value)), errors
//! by their kind. Each recorded process has one of its own, one after another, so that what a
//! function keeps in memory is as it was.

mod answer;
mod call;
mod session;
mod survey;

use std::{
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

pub use self::answer::Answer;
use self::{
    session::{LeftOut, Session},
    survey::{Survey, Surveyed},
};
use crate::{
    command::WorkerCommand,
    driver::Surroundings,
    recording::{Damage, Reader},
    report::Exit,
};

/// How a recording is played.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// Floats that differ by no more than this are the same, as in
    /// [`CompareOptions`](crate::compare::CompareOptions). Default: 0.
    pub tolerance: f64,
    /// How long an answer may take. Default: a minute.
    pub timeout: Duration,
    /// How long a worker may take to introduce itself. Default: 10 seconds.
    pub start_timeout: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            tolerance: 0.0,
            timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(10),
        }
    }
}

/// The other worker does not do what the recorded one did.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The number of the recorded worker.
    pub worker: u64,
    /// Its seat.
    pub slot: u32,
    /// What is different.
    pub what: Different,
}

/// What is different.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Different {
    /// It does not have a function that the recorded one was called with.
    MissingFunction(String),
    /// One of the two was ready, and the initializer of the other failed.
    Initializer {
        /// How it failed in the recorded one, if it did.
        recorded: Option<Answer>,
        /// What came instead.
        came: String,
    },
    /// It answers an item otherwise, or not at all.
    Answer {
        /// The id of the call.
        call: u64,
        /// The item.
        item: u32,
        /// The function.
        function: String,
        /// The encoded arguments: an array, and a map behind it if there are keywords.
        arguments: Vec<u8>,
        /// What the recorded worker answered.
        recorded: Answer,
        /// What came, or why nothing did.
        came: Result<Answer, String>,
        /// Where two values differ at first, such as `$[2].name`.
        place: Option<String>,
    },
    /// It ended otherwise when it was asked to leave.
    End {
        /// How the recorded one ended.
        recorded: Exit,
        /// How it ended; `None` if it did not.
        came: Option<Exit>,
    },
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// How many workers were started.
    pub workers: u64,
    /// How many answers were compared.
    pub answers: u64,
    /// How many differences there were, of answers and of anything else.
    pub different: u64,
    /// How many answers were errors of the same kind with another message.
    pub other_words: u64,
    /// What was left out, and what else there is to know.
    pub notes: Vec<String>,
}

impl ReplaySummary {
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// A recording cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error("the recording cannot be read: {0}")]
    Recording(#[from] Damage),
    /// There is a file, and the system does not let it be read again.
    #[error("the recording cannot be read again from its start: {0}")]
    Input(#[from] io::Error),
    /// A worker could not be started, or not be used.
    #[error(
        "worker {worker} of the recording cannot be played, as `{command}` cannot be used: {problem}"
    )]
    Start {
        /// The number of the recorded worker.
        worker: u64,
        /// What was started.
        command: String,
        /// Why it cannot be used.
        problem: String,
    },
}

/// Plays a recording to workers of this command, and tells of each difference as it is found. The
/// recording is read through before anything is started, and once more for each worker.
///
/// # Errors
/// [`ReplayError`] if the recording is damaged (one that was only cut short is played up to
/// there), and if a worker cannot be started.
pub fn replay(
    recording: impl Read + Seek,
    command: &WorkerCommand,
    options: &ReplayOptions,
    tell: impl FnMut(&Difference),
) -> Result<ReplaySummary, ReplayError> {
    replay_in(recording, command, &Surroundings::default(), options, tell)
}

/// As [`replay`], with what workers find around them.
pub(crate) fn replay_in(
    mut recording: impl Read + Seek,
    command: &WorkerCommand,
    surroundings: &Surroundings,
    options: &ReplayOptions,
    mut tell: impl FnMut(&Difference),
) -> Result<ReplaySummary, ReplayError> {
    let mut summary = ReplaySummary::default();
    let survey = Survey::of(&mut recording)?;
    survey.tell(&mut summary);
    let mut left = LeftOut::default();
    for worker in survey.workers.values().filter(|worker| worker.is_welcome) {
        recording.seek(SeekFrom::Start(worker.first))?;
        let reader = Reader::resume(&mut recording, worker.first);
        let play = Play { command, surroundings, options, worker };
        let mut count = |difference: &Difference| tell(difference);
        Session::play(&play, reader, &mut summary, &mut left, &mut count)?;
    }
    left.tell(&mut summary);
    Ok(summary)
}

/// What a recorded worker is played to, and how.
struct Play<'a> {
    command: &'a WorkerCommand,
    surroundings: &'a Surroundings,
    options: &'a ReplayOptions,
    worker: &'a Surveyed,
}
