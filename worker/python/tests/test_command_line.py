"""The command, started by hand, and what it offers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from scripted_master import PATIENCE, ScriptedMaster

Write = Callable[..., str]


def run(*arguments: str, directory: Any = None, **variables: str) -> Tuple[int, str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pool_worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        cwd=directory,
        env={**environment, **variables},
        text=True,
    )
    return ended.returncode, ended.stdout, ended.stderr


def offered(*arguments: str, directory: Any = None) -> List[str]:
    with ScriptedMaster(*arguments, directory=directory) as master:
        return [function["name"] for function in master.hello()["functions"]]


def test_without_a_master_it_says_how_it_is_used(write: Write) -> None:
    status, stdout, stderr = run()
    assert (status, stdout) == (2, "") and "Usage:" in stderr
    status, stdout, stderr = run(write('def square(n): "The square."'))
    assert (status, stdout) == (2, "")
    assert "Usage:" in stderr and "  square(n)  The square.\n" in stderr
    assert run(write("def f(): pass"), WORKER_TOKEN="x")[0] == 2


def test_with_a_master_it_says_only_what_is_wrong() -> None:
    status, stdout, stderr = run(WORKER_ADDRESS="/nowhere", WORKER_TOKEN="x")
    assert (status, stdout) == (2, "")
    assert stderr.startswith("worker-python: there is no module or file to serve; give one or more")
    assert stderr.count("\n") == 1


def test_help_and_version() -> None:
    status, stdout, stderr = run("--help")
    assert (status, stderr) == (0, "") and "Usage:" in stdout
    status, stdout, stderr = run("--version")
    assert (status, stderr) == (0, "") and stdout.startswith("worker-python ")
    status, stdout, stderr = run("--nothing")
    assert (status, stdout) == (2, "") and "no option --nothing" in stderr


def test_the_script_is_on_the_path() -> None:
    script = Path(sys.executable).parent / "worker-python"
    if not script.exists():
        pytest.skip("the package is not installed")
    version = subprocess.run(
        [str(script), "--version"], stdout=subprocess.PIPE, timeout=PATIENCE, text=True
    )
    assert version.stdout.startswith("worker-python ")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def a(): pass\ndef _b(): pass\nfrom os.path import join\nclass C: pass", ["a"]),
        (
            "from os.path import join\n__all__ = ['join', 'b']\ndef a(): pass\ndef b(): pass\n",
            ["join", "b"],
        ),
        ("import pool_worker\n@pool_worker.function\ndef a(): pass\ndef b(): pass", ["a"]),
        (
            "import pool_worker\n__all__ = ['b']\n@pool_worker.function(name='c')\n"
            "def _a(): pass\ndef b(): pass",
            ["c"],
        ),
        ("async def a(): pass\nb = lambda: 1\nc = lambda: 2", ["a", "b", "c"]),
        # By the name of its own that can be seen, or by the first one that can.
        ("def a(): pass\nb = a\ndef _c(): pass\nd = _c", ["a", "d"]),
        ("__all__ = ['b']\ndef _a(): pass\nb = _a", ["b"]),
        (
            "def _timed(f):\n    def wrapper(n): return f(n)\n    return wrapper\n"
            "@_timed\ndef a(n): pass\n@_timed\ndef b(n): pass",
            ["a", "b"],
        ),
        # What is no function of this module, and what cannot be looked at.
        (
            "_strip = str.strip\nclass _Proxy:\n    def __call__(self): pass\n"
            "    def __getattr__(self, name): raise RuntimeError('outside of a request')\n"
            "proxy = _Proxy()\ndef a(): pass",
            ["a"],
        ),
        # Whatever it is that was marked, and wherever it comes from.
        (
            "import functools, pool_worker\nfrom os.path import join\n"
            "add5 = pool_worker.function(name='add-5')(functools.partial(lambda a, b: a, 5))\n"
            "class _Doubles:\n    def __call__(self, n): return 2 * n\n"
            "doubles = pool_worker.function(_Doubles())\ndef internal(): pass",
            ["add-5", "doubles"],
        ),
    ],
)
def test_what_a_module_offers(write: Write, text: str, names: List[str]) -> None:
    assert offered(write(text)) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "no functions to offer"),
        ("__all__ = ['a']", "`a`, which is not there"),
        (
            "import pool_worker\n@pool_worker.function(name='b')\ndef a(): pass\n"
            "@pool_worker.function\ndef b(): pass",
            "two functions have the name `b`",
        ),
    ],
)
def test_what_cannot_be_offered(write: Write, text: str, words: str) -> None:
    status, _, stderr = run(write(text))
    assert status == 2 and words in stderr and "Traceback" not in stderr


def test_two_functions_of_one_name(write: Write) -> None:
    one, two = write("def f(): pass", "one.py"), write("def f(): pass", "two.py")
    status, _, stderr = run(one, two)
    assert status == 2
    assert one in stderr and two in stderr
    assert offered(one, one) == ["f"]


def test_a_mark_behind_a_decorator_of_another_module(write: Write) -> None:
    write("def deco(f):\n    def wrapper(n): return f(n)\n    return wrapper", "helper.py")
    text = (
        "import pool_worker\nfrom helper import deco\n"
        "@pool_worker.function(name='go')\n@deco\ndef _go(n): return n\ndef internal(): pass"
    )
    assert offered(write(text)) == ["go"]


def test_names_of_this_program_are_not_taken(write: Write) -> None:
    path = write("def call_pickled(n): return n")
    status, _, stderr = run("--callables", path)
    assert status == 2 and "two functions have the name `call_pickled`" in stderr


def test_a_file_that_changes_the_directory(write: Write, tmp_path: Path) -> None:
    write("import os\nos.chdir('/')\ndef a(): pass", "one.py")
    write("def b(): pass", "two.py")
    with ScriptedMaster("one.py", "two.py", directory=tmp_path) as master:
        names = [function["name"] for function in master.hello()["functions"]]
    assert names == ["a", "b"]


def test_a_file_that_closes_its_output(write: Write) -> None:
    assert offered(write("import sys\nsys.stdout.close()\ndef a(): pass")) == ["a"]


def test_an_import_that_fails(write: Write) -> None:
    path = write("def f(): pass\n1 / 0")
    with ScriptedMaster(path) as master:
        assert master.status() == 1
        stderr = master.output()[1]
    assert "Traceback" in stderr and 'tasks.py", line 2' in stderr
    assert stderr.endswith(f"cannot import {path}: ZeroDivisionError: division by zero\n")
    assert "pool_worker" not in stderr.replace(path, "")
    assert run(write("import not_there_at_all"))[0] == 1
    assert run(write("raise SystemExit(0)"))[0] == 1
    status, _, stderr = run(write("def f(:"))
    assert status == 1 and "SyntaxError" in stderr


def test_what_is_not_there(tmp_path: Path) -> None:
    status, _, stderr = run("nothing.py", directory=tmp_path)
    assert status == 2 and "there is no file nothing.py" in stderr
    status, _, stderr = run("nothing", directory=tmp_path)
    assert status == 2 and "there is no module `nothing`" in stderr and "nothing.py" in stderr


def test_modules_are_looked_for_where_python_does(write: Write, tmp_path: Path) -> None:
    write("NAME = 'helper'", "inner/helper.py")
    path = write("import helper\ndef name(): return helper.NAME", "inner/tasks.py")
    assert run(path, "call", "name") == (0, '"helper"\n', "")
    (tmp_path / "link.py").symlink_to(path)
    assert run(str(tmp_path / "link.py"), "call", "name") == (0, '"helper"\n', "")
    write("", "package/__init__.py")
    write("from . import other\ndef name(): return other.NAME", "package/tasks.py")
    write("NAME = 'other'", "package/other.py")
    assert run("package.tasks", "call", "name", directory=tmp_path) == (0, '"other"\n', "")


def test_a_file_named_as_a_module_that_is_loaded(write: Write) -> None:
    path = write("def name(): return __name__", "json.py")
    status, stdout, _ = run(path, "call", "name")
    assert status == 0 and stdout.startswith('"json_at_')
    assert offered(write("def f(): pass", "with-a-dash.py")) == ["f"]


def test_main_is_not_run(write: Write) -> None:
    text = "def f(): pass\nif __name__ == '__main__':\n    raise SystemExit(5)"
    assert offered(write(text)) == ["f"]


CALLS: Dict[str, Tuple[List[str], int, str]] = {
    "json": (["echo", '{"a": [1.5, null]}'], 0, '{"a":[1.5,null]}\n'),
    "text": (["echo", "a text"], 0, '"a text"\n'),
    "beyond ASCII": (["echo", "\u00e9"], 0, '"\u00e9"\n'),
    "nothing": (["nothing"], 0, "null\n"),
    "no JSON": (["echo", "NaN"], 0, '"NaN"\n'),
    "a large float": (["echo", "1e100"], 0, "1e100\n"),
    "a small float": (["echo", "1.5E-7"], 0, "1.5e-7\n"),
    "an integer of 64 bits": (["echo", "18446744073709551615"], 0, "18446744073709551615\n"),
    "one that is beyond": (["echo", "18446744073709551616"], 2, ""),
    "a float that is beyond": (["echo", "1e999"], 2, ""),
    "a key twice": (["echo", '{"a": 1, "a": 2}'], 2, ""),
    "what JSON lacks": (
        ["odd"],
        0,
        '[{"$float":"NaN"},{"$float":"-Infinity"},{"$binary":"eA=="},[1,3],"a",'
        '{"$map":[[1,2],[null,3]]},{"$map":[["$float",1]]},{"x":1},{"$extension":[5,"eA=="]}]\n',
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_by_hand(write: Write, name: str) -> None:
    words, status, stdout = CALLS[name]
    path = write(
        "import dataclasses, msgpack, pathlib\n"
        "def echo(value): return value\ndef nothing(): pass\n"
        "def odd():\n    kind = dataclasses.make_dataclass('kind', ['x'])\n"
        "    return [float('nan'), float('-inf'), b'x', {3, 1}, pathlib.Path('a'),\n"
        "            {1: 2, None: 3}, {'$float': 1}, kind(1), msgpack.ExtType(5, b'x')]"
    )
    came = run(path, "call", *words, PYTHONUTF8="1")
    assert came[:2] == (status, stdout)
    assert bool(came[2]) == (status != 0) and "Traceback" not in came[2]


def test_a_call_by_hand_that_fails(write: Write) -> None:
    path = write("def fails(): raise ValueError('no')\ndef wide(): return 2 ** 64")
    status, _, stderr = run(path, "call", "fails")
    assert status == 1 and "ValueError: no" in stderr and "pool_worker" not in stderr
    status, _, stderr = run(path, "call", "fails", "1")
    assert status == 1 and "InvalidArguments" in stderr
    status, _, stderr = run(path, "call", "wide")
    assert status == 1 and "InvalidResult: an integer of the result does not fit" in stderr
    status, _, stderr = run(path, "call", "nothing")
    assert status == 2 and "no function `nothing`" in stderr and "fails()" in stderr
    assert run(path, "call")[0] == 2


def test_the_conformance_functions(write: Write) -> None:
    names = offered("--conformance")
    assert names == (
        "echo fail panic sleep spawn print environment remember recall nest repeat tick".split()
    )
    path = write("def echo(value): return 'another'\ndef own(): pass")
    assert set(offered("--conformance", path)) == {*names, "own"}
    assert run("--conformance", path, "call", "echo", "1") == (0, "1\n", "")
