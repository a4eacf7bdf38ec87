from __future__ import annotations

import faulthandler
import os
import textwrap
from pathlib import Path
from typing import Callable, Iterator

import pytest

# For a test that hangs in spite of all: it ends the run and shows where.
WATCHDOG_SECONDS = 120


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of Python, and gives its path."""

    def write(text: str, name: str = "tasks.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write
