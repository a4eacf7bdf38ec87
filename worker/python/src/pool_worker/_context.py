"""What a function can ask and tell while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from ._session import Session

_session: Optional[Session] = None


def enter(session: Optional[Session]) -> None:
    """Makes this the session that functions run in; `None` when there is none any more."""
    global _session
    _session = session


def progress(note: str = "") -> None:
    """Tells the master that the item in hand is alive, and how far it is.

    The note is for people; of a long one the first 64 KiB are sent. At most one report is sent in
    50 milliseconds, and what comes in between is dropped, so call it as often as you like. Does
    nothing where nobody asked for it: without a master, or with one that does not know progress.
    May be called from any thread.
    """
    if _session is not None:
        _session.report_progress(str(note))


def is_cancelled() -> bool:
    """Whether the master does not want the item in hand any more.

    The function should then end soon: by raising `pool_worker.Cancelled`, or by giving a result if
    it has one. Only a function that is marked with `cancel=True` is ever told. Without a master,
    and between items, it is false. May be called from any thread; each call looks at the socket,
    which takes about a microsecond.
    """
    return _session is not None and _session.is_cancelled()


def slot() -> Optional[int]:
    """The seat of this worker in its pool, counted from 0; `None` without a master.

    A worker that replaces another has the same seat.
    """
    return None if _session is None else _session.slot


def pool_name() -> Optional[str]:
    """The name of the pool that this worker is in, which may be empty; `None` without a master."""
    return None if _session is None else _session.pool
