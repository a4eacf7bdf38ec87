//! Noticing in the middle of a call that the master is gone.
//!
//! The main thread finds out by itself while it is idle, as the end of the stream. While it runs
//! a function it does not read, so a thread of its own waits for the other end to close, and
//! ends the process together with whatever the function has started.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use interprocess::local_socket::Stream;

/// What the main thread and the watching thread tell each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The main thread runs a function.
    in_call: AtomicBool,
    /// The master has closed its end.
    gone: AtomicBool,
}

impl Watch {
    /// Starts to watch a connection, until its other end closes. Only Unix has a way to wait for
    /// that without reading; elsewhere a worker leaves after the call in hand.
    pub(crate) fn start(&self, socket: &Arc<Stream>) -> io::Result<()> {
        #[cfg(unix)]
        {
            let (watch, socket) = (self.clone(), Arc::clone(socket));
            std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
                unix::wait_for_close(&socket);
                watch.close();
            })?;
        }
        #[cfg(not(unix))]
        let _ = socket;
        Ok(())
    }

    /// Says that a function begins. `false` if it must not, as the master is gone.
    ///
    /// Each side first writes its own flag and then reads the other's, so that at least one of
    /// them sees both.
    #[must_use]
    pub(crate) fn begin_call(&self) -> bool {
        self.shared.in_call.store(true, SeqCst);
        !self.shared.gone.load(SeqCst)
    }

    /// Whether the master has closed its end.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.gone.load(SeqCst)
    }

    /// Says that the function has ended. From here on the main thread finds out by itself.
    pub(crate) fn end_call(&self) {
        self.shared.in_call.store(false, SeqCst);
    }

    #[cfg(unix)]
    fn close(&self) {
        self.shared.gone.store(true, SeqCst);
        if self.shared.in_call.load(SeqCst) {
            unix::end_process();
        }
    }
}

#[cfg(unix)]
mod unix {
    use interprocess::local_socket::Stream;
    use rustix::{
        event::{PollFd, PollFlags, poll},
        io::Errno,
        process::{Signal, getpgrp, getpid, kill_process, kill_process_group},
    };

    /// The other end no longer writes. A full close is always reported; Linux also tells when
    /// only that direction is shut down.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOSED: PollFlags = PollFlags::RDHUP;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOSED: PollFlags = PollFlags::empty();

    /// Blocks until the other end of the connection has closed.
    pub(super) fn wait_for_close(socket: &Stream) {
        let Stream::UdSocket(socket) = socket;
        let mut watched = [PollFd::new(socket, CLOSED)];
        loop {
            match poll(&mut watched, None) {
                Ok(1..) => return,
                Ok(0) | Err(Errno::INTR) => {}
                Err(error) => {
                    // Without the watch the worker still leaves, after the call in hand.
                    log::warn!("cannot watch the connection to the master: {error}");
                    std::thread::park();
                }
            }
        }
    }

    /// Ends this process at once, and its process group if it leads one: what a function has
    /// started belongs to that group.
    pub(super) fn end_process() -> ! {
        let process = getpid();
        let killed = if getpgrp() == process {
            kill_process_group(process, Signal::KILL)
        } else {
            kill_process(process, Signal::KILL)
        };
        // Not reached unless the system refuses to let a process kill itself.
        log::error!("cannot kill this process: {killed:?}");
        std::process::abort()
    }
}
