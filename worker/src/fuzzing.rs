//! A session over a pair of sockets, for the fuzz target `worker_session`. Not part of the API: it
//! exists only in a build for fuzzing.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    ops::ControlFlow,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::Arc,
    thread,
};

use interprocess::local_socket::Stream;

use crate::{Worker, connection::ServeError, inbox::Inbox, session::Session, watch::Watch};

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

/// Runs a whole session of a worker over the bodies of the frames that its master sends, and then
/// closes its end.
pub fn session<'a>(worker: &Worker, bodies: impl IntoIterator<Item = &'a [u8]>) -> Record {
    let mut frames = Vec::new();
    for body in bodies {
        frames.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        frames.extend(body);
    }
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    thread::scope(|scope| {
        let mut input = theirs.try_clone().expect("there are descriptors");
        scope.spawn(move || {
            // A session that has ended reads no more.
            let _ = input.write_all(&frames);
            let _ = input.shutdown(Shutdown::Write);
        });
        let reader = scope.spawn(move || {
            let (mut written, mut output) = (Vec::new(), theirs);
            // What was read before an error is all there is.
            let _ = output.read_to_end(&mut written);
            written
        });
        let mut handled = 0;
        let ended = serve(worker, ours, &mut handled);
        let written = reader.join().expect("the reader does not panic");
        let exit = match ended {
            Ok(ControlFlow::Continue(())) => None,
            Ok(ControlFlow::Break(status)) => Some(status),
            Err(error) => Some(error.exit_status()),
        };
        Record { written, handled, exit }
    })
}

fn serve(
    worker: &Worker,
    socket: UnixStream,
    handled: &mut usize,
) -> Result<ControlFlow<u8>, ServeError> {
    let socket = Arc::new(Stream::UdSocket(socket.into()));
    let inbox = Rc::new(Inbox::new(&socket));
    let mut session = Session::new(worker, &socket, &inbox, Watch::default());
    if let left @ ControlFlow::Break(_) = session.greet("token")? {
        return Ok(left);
    }
    loop {
        let arrived = inbox.wait_for_frame(session.output());
        if let Ok(false) = arrived {
            return Ok(ControlFlow::Continue(()));
        }
        // A frame that is none ends the session like any other that is malformed.
        *handled += 1;
        arrived?;
        if let left @ ControlFlow::Break(_) = session.receive(&inbox.frame())? {
            return Ok(left);
        }
    }
}
