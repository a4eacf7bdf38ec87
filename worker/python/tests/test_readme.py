"""The examples of the README do what stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

import pytest
from scripted_master import PATIENCE

README = Path(__file__).resolve().parents[1] / "README.md"
BUILT_MASTER = Path(__file__).resolve().parents[3] / "target" / "release"

BLOCKS = re.findall(r"```(python|console)\n(.*?)```", README.read_text(), re.DOTALL)


def commands() -> List[Tuple[str, str]]:
    """Each command with what it prints."""
    found = []
    for kind, text in BLOCKS:
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if not command.startswith("pip "):
                    found.append((command, output))
    return found


@pytest.mark.parametrize(("command", "output"), commands(), ids=lambda text: text[:50].strip())
def test_the_command_prints_what_stands_there(command: str, output: str, tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    path = os.pathsep.join([str(scripts), os.environ["PATH"], str(BUILT_MASTER)])
    if not (scripts / "worker-python").exists():
        pytest.skip("the package is not installed")
    if "master " in command and shutil.which("master", path=path) is None:
        pytest.skip("there is no master on PATH, and none is built")
    for kind, text in BLOCKS:
        if kind == "python":
            name = text.partition("\n")[0].strip("# ")
            (tmp_path / name).write_text(text)
    ended = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        text=True,
    )
    assert ended.stdout == output
