"""The functions with which a checker tries a worker: section 23 of the specification."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any, Callable, List, Optional, Tuple

from . import _context
from ._errors import Cancelled, Failure, InvalidArguments
from ._registry import function

_MOST_CHARACTERS = 1 << 32
"""Characters that `fail` and `repeat` make: four times what a frame holds, so more than any checker
needs."""

_remembered: Any = None

_spawned: List["subprocess.Popen[bytes]"] = []
"""Kept, as Python complains of processes that nobody keeps or waits for."""


def echo(value: Any) -> Any:
    """The value as it came"""
    return value


def fail(message: str, kind: str = "Error", times: int = 1) -> None:
    """Fails, with that message so many times"""
    raise Failure(repeat(message, times), kind=_text("kind", kind))


def panic(message: str) -> None:
    """Raises an exception that nobody catches"""
    raise RuntimeError(message)


def sleep(seconds: float, value: Any = None) -> Any:
    """The value, or nil, after so many seconds"""
    _wait(seconds)
    return value


def spawn(seconds: int) -> int:
    """Starts a process that lasts so many seconds; gives its process id"""
    command = ["sleep", str(_count("seconds", seconds))]
    _spawned.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
    return _spawned[-1].pid


def print_(text: str) -> None:
    """Prints a line on both standard streams"""
    print(_text("text", text))
    print(text, file=sys.stderr)


def environment(name: str) -> Optional[str]:
    """An environment variable, or nil"""
    return os.environ.get(_text("name", name))


def remember(value: Any) -> None:
    """Keeps a value in this process"""
    global _remembered
    _remembered = value


def recall() -> Any:
    """The value kept last in this process, or nil"""
    return _remembered


def nest(levels: int) -> Any:
    """Arrays inside of one another, so many"""
    value: Any = None
    for level in range(_count("levels", levels)):
        value = [value] if level else []
    return value


def repeat(text: str, times: int) -> str:
    """The text, so many times over"""
    if len(_text("text", text)) * _count("times", times) > _MOST_CHARACTERS:
        raise InvalidArguments(f"{times} times the text is more than can be made")
    return text * times


@function(progress=True, cancel=True)
def tick(times: int, seconds: float) -> int:
    """Waits so many times so many seconds and tells how far it is; gives times"""
    for done in range(1, _count("times", times) + 1):
        _wait(seconds)
        _context.progress(f"{done} of {times}")
        if _context.is_cancelled():
            raise Cancelled(f"cancelled after {done} of {times}")
    return times


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _unfit(name, "a string", value)
    return value


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _unfit(name, "an integer of 0 or more", value)
    return value


def _wait(seconds: Any) -> None:
    # Not a number is not at least 0 either.
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds >= 0:
        raise _unfit("seconds", "a number of 0 or more", seconds)
    time.sleep(seconds)


def _unfit(name: str, expected: str, value: Any) -> InvalidArguments:
    return InvalidArguments(
        f"`{name}` is to be {expected}, not a value of type {type(value).__name__}"
    )


FUNCTIONS: Tuple[Tuple[str, Callable[..., Any]], ...] = (
    ("echo", echo),
    ("fail", fail),
    ("panic", panic),
    ("sleep", sleep),
    ("spawn", spawn),
    ("print", print_),
    ("environment", environment),
    ("remember", remember),
    ("recall", recall),
    ("nest", nest),
    ("repeat", repeat),
    ("tick", tick),
)
