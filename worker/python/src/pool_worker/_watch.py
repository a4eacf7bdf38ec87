"""Notices in the middle of a call that the master is gone."""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import Callable, NoReturn

# The other end no longer writes. A full close is always reported; some systems also tell when only
# that direction is shut down.
_CLOSED = getattr(select, "POLLRDHUP", 0)


def watch(descriptor: int, closed: Callable[[], None]) -> None:
    """Calls `closed` from another thread as soon as the other end of the socket has closed.

    The thread sleeps until then: what is read and written meanwhile does not wake it, so it costs a
    call nothing.
    """
    poll = select.poll()
    poll.register(descriptor, _CLOSED)

    def wait() -> None:
        poll.poll()
        closed()

    # Signals are for the main thread. One that it has blocked would come here instead, and end the
    # process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(target=wait, name="pool-worker-watch", daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once() -> NoReturn:
    """Ends this process and those that it has started, without another instruction of theirs."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    # In a process group that belongs to somebody else.
    os._exit(0)
