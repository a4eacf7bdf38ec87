//! The session without a socket, for the fuzz target `worker_session`. Not part of the API: it
//! exists only in a build for fuzzing.

use std::ops::ControlFlow;

use crate::{Worker, session::Session, watch::Watch};

/// How a session went.
#[derive(Debug)]
pub struct Record {
    /// All bytes that were written, the hello among them.
    pub written: Vec<u8>,
    /// How many bodies were handled, the one that ended the session among them.
    pub handled: usize,
    /// The status that the worker would exit with; `None` if it would have gone on.
    pub exit: Option<u8>,
}

/// Runs a whole session of a worker over the bodies of the frames that its master sends.
pub fn session<'a>(worker: &Worker, bodies: impl IntoIterator<Item = &'a [u8]>) -> Record {
    let mut written = Vec::new();
    let mut session = Session::new(&worker.functions, &mut written, Watch::default());
    let mut handled = 0;
    let mut flow = session.greet(worker, "token");
    let mut bodies = bodies.into_iter();
    while let (Ok(ControlFlow::Continue(())), Some(body)) = (&flow, bodies.next()) {
        flow = session.receive(body);
        handled += 1;
    }
    let exit = match flow {
        Ok(ControlFlow::Continue(())) => None,
        Ok(ControlFlow::Break(status)) => Some(status),
        Err(error) => Some(error.exit_status()),
    };
    Record { written, handled, exit }
}
