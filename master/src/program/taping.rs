//! The recording of a pool in a file.

use std::{path::Path, time::Duration};

use super::{Refusal, output::complain_aside, status::ExitStatus};
use crate::{PoolBuilder, recording::Recorder};

/// How long the end of the program waits for a recording, which may go to a pipe, when nothing is
/// written of it.
const LAST_FRAMES: Duration = Duration::from_secs(5);

/// A recording that is being made.
pub(super) struct Taping {
    recorder: Recorder,
    name: String,
}

impl Taping {
    /// Begins, if there is a file to write to. The file is made anew.
    pub(super) fn start(
        builder: PoolBuilder,
        path: Option<&Path>,
    ) -> Result<(PoolBuilder, Option<Self>), Refusal> {
        let Some(path) = path else { return Ok((builder, None)) };
        let name = path.display().to_string();
        let recorder = Recorder::create(path)
            .map_err(|error| Refusal::usage(format!("cannot record to {name}: {error}")))?;
        Ok((builder.record(&recorder), Some(Self { recorder, name })))
    }

    /// Waits until all is written, after the end of the pool. Who asked for a recording and has
    /// not all of it is told so, by the status too.
    pub(super) fn finish(self) -> ExitStatus {
        let problem = match self.recorder.finish_while_written(LAST_FRAMES) {
            Some(Ok(())) => return ExitStatus::Success,
            Some(Err(error)) => error.to_string(),
            None => "its end is not written: nobody takes it".to_owned(),
        };
        complain_aside(format!("cannot record to {}: {problem}", self.name));
        ExitStatus::TaskFailed
    }
}
