"""Turns exceptions into failures: a kind, a message, a traceback, and the exception itself."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from typing import Any, Dict, NamedTuple, Set

import msgpack

from ._errors import Failure
from ._limits import MAX_TEXT

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Report(NamedTuple):
    """A failure as it is sent."""

    fields: Dict[str, object]
    opaque: bytes
    """The pickled exception as one encoded value; empty if it cannot be pickled."""


def report(error: BaseException) -> Report:
    """Reports an exception that a function has raised, whatever that does to whoever looks at it."""
    try:
        message = _message(error)
        return Report(
            _fields(_kind(error), message, _traceback(error, message)), _pickled(error, message)
        )
    except BaseException as problem:
        return Report(_fields("Error", _unavailable("exception", problem), ""), b"")


def report_of_worker(error: Failure) -> Report:
    """Reports a failure that no function has raised, and so happened nowhere in the user's code."""
    return Report(_fields(error.kind, str(error), ""), b"")


def _fields(kind: str, message: str, where: str) -> Dict[str, object]:
    fields: Dict[str, object] = {"kind": _shorten(kind), "message": _shorten(message)}
    if where:
        fields["traceback"] = _shorten(where)
    return fields


def _kind(error: BaseException) -> str:
    kind = error.kind if isinstance(error, Failure) else ""
    if not (isinstance(kind, str) and kind):
        kind = type(error).__name__
    return _plain(kind)


def _message(error: BaseException) -> str:
    try:
        return _plain(str(error))
    except BaseException as problem:
        return _unavailable("message", problem)


def _plain(text: str) -> str:
    """The text without whatever a class of its own makes of it."""
    return str.__str__(text)


def _unavailable(what: str, problem: BaseException) -> str:
    return f"(its {what} cannot be had: {type.__dict__['__name__'].__get__(type(problem))})"


def _traceback(error: BaseException, message: str) -> str:
    # With the message in it, at least once, a long one would be copied again and again.
    if len(message) > MAX_TEXT:
        return "".join(traceback.format_tb(error.__traceback__))
    try:
        formatted = traceback.TracebackException.from_exception(error)
        _leave_out_worker(formatted)
        has_context = formatted.__context__ and not formatted.__suppress_context__
        if not (formatted.stack or formatted.__cause__ or has_context):
            # It says no more than kind and message do.
            return ""
        return "".join(formatted.format())
    except BaseException as problem:
        # Its own frames at least: a chain of causes may be longer than can be formatted.
        where = "".join(traceback.format_tb(error.__traceback__))
        return f"{where}{_unavailable('traceback', problem)}"


def _leave_out_worker(formatted: Any) -> None:
    """Takes out the frames of this package, here and in everything that the exception names."""
    seen: Set[int] = set()
    left = [formatted]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        frames = [frame for frame in one.stack if not frame.filename.startswith(_PACKAGE)]
        one.stack = traceback.StackSummary.from_list(frames)
        left += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def _pickled(error: BaseException, message: str) -> bytes:
    if len(message) > MAX_TEXT:
        return b""
    # A function that came with its pickle may raise what only that one can pickle.
    pickler = sys.modules.get("cloudpickle", pickle)
    try:
        pickled: bytes = pickler.dumps(error)
    except BaseException:
        # Pickling runs code of the exception's own, which may raise anything at all.
        return b""
    if len(pickled) > MAX_TEXT:
        return b""
    packed: bytes = msgpack.packb(pickled)
    return packed


def _shorten(text: str) -> str:
    """The text, or as much of it as there is room for; always with a form in UTF-8."""
    # One character takes a byte or more, so no more of a very long text need be copied.
    encoded = text[: MAX_TEXT + 1].encode("utf-8", "backslashreplace")
    if len(encoded) <= MAX_TEXT:
        return encoded.decode("utf-8")
    remark = f"\n... (cut short: it has {len(text)} characters)"
    return encoded[: MAX_TEXT - len(remark)].decode("utf-8", "ignore") + remark
