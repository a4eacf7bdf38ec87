"""A whole worker, as its master sees it."""

from __future__ import annotations

import os
import pickle
import re
import sys
import time
from pathlib import Path
from typing import Any, Callable

import msgpack
import pytest
from scripted_master import DRAIN, Answer, ScriptedMaster, call, frame, framed

Write = Callable[..., str]

TASKS = '''
    import asyncio, functools, os, sys, threading, time
    import pool_worker

    class Broken(Exception):
        def __init__(self, text, number=0):
            super().__init__(text)
            self.number = number

    def square(n, *, plus=0):
        """The square of n.

        And more.
        """
        return n * n + plus

    def optional(a, b=2, /, c=3, *rest, d, e=5, **others):
        return [a, b, c, list(rest), d, e, others]

    def raises(text):
        try:
            int(text)
        except ValueError as error:
            raise Broken("it is broken", 7) from error

    def type_error():
        return len(5)

    def leave_by(name):
        kinds = {kind.__name__: kind for kind in
                 (SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, BaseException)}
        raise kinds[name]("on purpose")

    def recurse():
        return recurse()

    async def later(value):
        await asyncio.sleep(0.001)
        return value

    @functools.lru_cache(None)
    def cached(value):
        return value

    def generate():
        yield 1

    def big(size):
        return b"x" * size

    def wide():
        return 2 ** 64

    def unprintable():
        class Unprintable(Exception):
            def __str__(self):
                raise ValueError
        raise Unprintable

    def surrogate():
        raise ValueError("\\ud800")

    def where():
        return [pool_worker.slot(), pool_worker.pool_name()]

    def variables():
        return sorted(name for name in os.environ if name.startswith("WORKER_"))

    def say(text, end="\\n"):
        print(text, end=end)
        print(text, end=end, file=sys.stderr)

    def close_output():
        sys.stdout.close()

    def _hidden():
        pass
'''


@pytest.fixture
def master(write: Write) -> Any:
    with ScriptedMaster(write(TASKS)) as master:
        yield master


def test_the_hello(master: ScriptedMaster) -> None:
    hello = master.hello()
    assert list(hello)[1:] == ["oldest", "newest", "features", "name", "version", "functions"]
    assert (hello["oldest"], hello["newest"]) == (1, 1)
    assert hello["features"] == ["progress", "cancel"]
    assert hello["name"] == "worker-python"
    functions = {function["name"]: function for function in hello["functions"]}
    assert functions["square"] == {
        "name": "square",
        "parameters": "(n, *, plus?)",
        "help": "The square of n.",
    }
    assert functions["optional"]["parameters"] == "(a, b?, c?, *rest, d, e?, **others)"
    assert functions["cached"]["parameters"] == "(value)"
    assert "_hidden" not in functions and "Broken" not in functions


def test_calls_in_their_order(master: ScriptedMaster) -> None:
    master.ready()
    master.send(
        call(9, "square", [1], [2], [3]) + call(300, "square", [4]) + call(70000, "square", [5])
    )
    master.send(call(2**64 - 1, "square", [6]) + call(0, "square", [7]))
    answers = [master.receive() for _ in range(7)]
    assert [(a.fields["id"], a.fields["item"], a.value) for a in answers] == [
        (9, 0, 1),
        (9, 1, 4),
        (9, 2, 9),
        (300, 0, 16),
        (70000, 0, 25),
        (2**64 - 1, 0, 36),
        (0, 0, 49),
    ]


def test_calls_of_one_form_after_another(master: ScriptedMaster) -> None:
    """Those that are like the one before take another way than those that are not."""
    master.ready()
    wide = framed(
        b"\x81\xa4call\x83\xa2id\xcf" + (5).to_bytes(8, "big") + b"\xa8function\xd9\x06square"
        b"\xa5items\xce\0\0\0\x01\x91\x09"
    )
    signed = framed(b"\x81\xa4call\x82\xa2id\xd0\x05\xa8function\xa6square\x91\x0a")
    keywords = call(5, "square", [2], {"plus": 1}, keywords=True)
    other_order = frame("call", {"function": "square", "id": 5}, [11])
    narrow = call(5, "square", [3])
    forms = {wide: 81, signed: 100, keywords: 5, other_order: 121, narrow: 9}
    for first in forms:
        for second in forms:
            for form in (first, first, second, first):
                master.send(form)
                answer = master.receive()
                assert (answer.fields, answer.value) == ({"id": 5, "item": 0}, forms[form])


def test_a_name_that_only_begins_like_the_last_one(write: Write) -> None:
    with ScriptedMaster(write("def a(): return 'a'\ndef ab(): return 'ab'")) as master:
        master.ready()
        for name in ("a", "ab", "a", "ab", "a"):
            assert master.apply(name).value == name


def test_bytes_one_by_one(master: ScriptedMaster) -> None:
    master.ready()
    for byte in call(1, "square", [5]) + call(2, "square", [6]):
        master.send(bytes([byte]))
    assert [master.receive().value, master.receive().value] == [25, 36]


def test_thousands_of_calls_at_once(master: ScriptedMaster) -> None:
    master.ready()
    master.send(b"".join(call(n, "square", [n]) for n in range(5000)) + DRAIN)
    for n in range(5000):
        assert master.receive().value == n * n
    assert master.is_closed()
    assert master.status() == 0


@pytest.mark.parametrize("size", [0, 16383, 16384, 65535, 65536, 1 << 20, 40 << 20])
def test_binary_data_of_all_sizes(size: int) -> None:
    data = os.urandom(min(size, 4096)) * (size // 4096 or 1)
    with ScriptedMaster("--conformance") as master:
        master.ready()
        for _ in range(2):
            master.send(call(1, "echo", [data]))
            assert master.receive().value == data
        master.send(call(1, "echo", [data], [[data, "end"]]))
        assert master.receive().value == data
        assert master.receive().value == [data, "end"]
        assert master.apply("echo", 5).value == 5


def test_arguments_by_keyword(master: ScriptedMaster) -> None:
    master.ready()
    items = [[1], {"d": 4}, [1, 2, 3, 4], {"d": 5, "x": 6}, [], {"d": 1}, [2], {"a": 1, "d": 2}]
    master.send(call(1, "optional", *items, keywords=True))
    assert master.receive().value == [1, 2, 3, [], 4, 5, {}]
    assert master.receive().value == [1, 2, 3, [4], 5, 5, {"x": 6}]
    assert master.receive().failure["kind"] == "InvalidArguments"
    # Only a parameter for any keyword can take the name of one that is for positions alone.
    assert master.receive().value == [2, 2, 3, [], 2, 5, {"a": 1}]
    master.send(call(1, "square", [2], {1: 1}, keywords=True))
    assert "not a string" in master.receive().failure["message"]


@pytest.mark.parametrize("arguments", [[], [1, 2]])
def test_arguments_that_do_not_fit(master: ScriptedMaster, arguments: Any) -> None:
    master.ready()
    failure = master.apply("square", *arguments).failure
    assert failure["kind"] == "InvalidArguments"
    assert "square(n, *, plus?)" in failure["message"]
    assert "traceback" not in failure
    failure = master.apply("optional", 1).failure
    assert failure["kind"] == "InvalidArguments"


def test_a_type_error_of_the_function_itself(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("type_error").failure["kind"] == "TypeError"
    assert master.apply("square", "x").failure["kind"] == "TypeError"


def test_unknown_functions(master: ScriptedMaster) -> None:
    master.ready()
    for _ in range(2):
        master.send(call(1, "nothing", [1], [2]))
        for item in (0, 1):
            answer = master.receive()
            assert answer.fields["item"] == item
            assert answer.failure["kind"] == "UnknownFunction"
            assert "`nothing`" in answer.failure["message"]
    assert master.apply("square", 2).value == 4


def test_an_exception_and_what_caused_it(master: ScriptedMaster, write: Write) -> None:
    master.ready()
    answer = master.apply("raises", "x")
    failure = answer.failure
    assert list(failure) == ["kind", "message", "traceback"]
    assert (failure["kind"], failure["message"]) == ("Broken", "it is broken")
    where = failure["traceback"]
    assert where.startswith("Traceback") and "direct cause" in where and "invalid literal" in where
    files = set(re.findall(r'File "([^"]*)"', where))
    assert {os.path.basename(file) for file in files} == {"tasks.py"}
    # The exception itself, for whoever has the same module.
    (opaque,) = answer.payload
    script = (
        f"import sys, pickle; sys.path.insert(0, {os.path.dirname(files.pop())!r}); "
        f"error = pickle.loads({opaque!r}); print(type(error).__name__, error, error.number)"
    )
    assert os.popen(f'{sys.executable} -c "{script}"').read() == "Broken it is broken 7\n"


@pytest.mark.parametrize(
    "kind", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError", "BaseException"]
)
def test_what_is_raised_ends_an_item_and_not_the_worker(master: ScriptedMaster, kind: str) -> None:
    master.ready()
    master.send(call(1, "leave_by", [kind]) + call(2, "square", [3]))
    failure = master.receive().failure
    assert (failure["kind"], failure["message"]) == (kind, "on purpose")
    assert master.receive().value == 9


def test_odd_exceptions(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("recurse").failure["kind"] == "RecursionError"
    assert master.apply("unprintable").failure["kind"] == "Unprintable"
    assert master.apply("surrogate").failure["message"] == "\\ud800"
    assert master.apply("square", 3).value == 9


def test_exceptions_that_nobody_can_look_at(write: Write) -> None:
    text = """
        import pool_worker

        class NotFound(pool_worker.Failure):
            def __init__(self, key): self.key = key
        class Exits(Exception):
            def __str__(self): raise SystemExit(3)
        class Interrupts(Exception):
            def __str__(self): raise KeyboardInterrupt
        class Words(str):
            def __getitem__(self, _): raise RuntimeError
            def encode(self, *_): raise RuntimeError
        class Odd(Exception):
            def __str__(self): return Words("odd words")
        class Nameless(type):
            @property
            def __name__(cls): raise RuntimeError
        class Unnamed(Exception, metaclass=Nameless): pass

        def raises(name): raise globals()[name]("x")
        def chain(length):
            error = None
            for number in range(length):
                try:
                    raise ValueError(number) from error
                except ValueError as raised:
                    error = raised
            raise error
    """
    with ScriptedMaster(write(text)) as master:
        master.ready()
        for name, kind, message in [
            ("NotFound", "NotFound", "x"),
            ("Exits", "Exits", "(its message cannot be had: SystemExit)"),
            ("Interrupts", "Interrupts", "(its message cannot be had: KeyboardInterrupt)"),
            ("Odd", "Odd", "odd words"),
            ("Unnamed", "Error", "(its exception cannot be had: RuntimeError)"),
        ]:
            failure = master.apply("raises", name).failure
            assert (failure["kind"], failure["message"]) == (kind, message)
        failure = master.apply("chain", 3000).failure
        assert (failure["kind"], failure["message"]) == ("ValueError", "2999")
        assert "in chain" in failure["traceback"]
    with ScriptedMaster(write(text)) as master:
        master.hello()
        master.send(frame("welcome", {"version": 1, "initializer": "raises"}, ["NotFound"]))
        assert master.receive().failure["kind"] == "NotFound"
        assert master.status() == 1


def test_functions_behind_decorators(write: Write) -> None:
    text = """
        import functools

        def _with_database(f):
            @functools.wraps(f)
            def wrapper(*args, **kw): return f("database", *args, **kw)
            return wrapper
        def _logged(f):
            @functools.wraps(f)
            def wrapper(*args, **kw): return f(*args, **kw)
            return wrapper

        @_with_database
        def query(database, sql): return [database, sql]
        @_logged
        def plain(n): return len(n)
        @_logged
        async def later(n): return n
    """
    with ScriptedMaster(write(text)) as master:
        functions = {f["name"]: f["parameters"] for f in master.ready()["functions"]}
        assert functions == {"query": "(database, sql)", "plain": "(n)", "later": "(n)"}
        assert master.apply("query", "select").value == ["database", "select"]
        assert master.apply("later", 7).value == 7
        assert master.apply("plain", "ab").value == 2
        assert master.apply("plain").failure["kind"] == "InvalidArguments"
        assert master.apply("plain", 1, 2).failure["kind"] == "InvalidArguments"
        assert master.apply("plain", 5).failure["kind"] == "TypeError"


def test_failures_are_shortened() -> None:
    with ScriptedMaster("--conformance") as master:
        master.ready()
        for text, times in (("x", 5 << 20), ("\u00e9", 3 << 20), ("\U0001f600", (1 << 18) + 1)):
            failure = master.apply("fail", text, "k" * (2 << 20), times).failure
            message = failure["message"]
            assert message.startswith(text) and len(message.encode()) <= 1 << 20
            assert f"it has {times} characters" in message
            assert len(failure["kind"]) == 1 << 20
        failure = master.apply("fail", "x", "K", 1 << 20).failure
        assert failure["message"] == "x" * (1 << 20)


def test_coroutines_are_run(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("later", "value").value == "value"
    assert master.apply("later").failure["kind"] == "InvalidArguments"


@pytest.mark.parametrize(
    ("function", "words"),
    [("generate", "generator"), ("wide", "64 bits")],
)
def test_results_that_cannot_be_sent(master: ScriptedMaster, function: str, words: str) -> None:
    master.ready()
    failure = master.apply(function).failure
    assert failure["kind"] == "InvalidResult"
    assert words in failure["message"]
    assert "traceback" not in failure


def test_a_result_that_does_not_fit_a_frame(master: ScriptedMaster) -> None:
    master.ready()
    failure = master.apply("big", 1 << 30).failure
    assert failure["kind"] == "InvalidResult"
    assert "1073741824" in failure["message"]
    assert master.apply("square", 2).value == 4


def test_arguments_that_python_does_not_have(master: ScriptedMaster) -> None:
    master.ready()
    bad = framed(
        b"\x81\xa4call\x83\xa2id\x01\xa8function\xa6square\xa5items\x03\x91\x02\x91\xa1\xff\x91\x03"
    )
    master.send(bad)
    assert master.receive().value == 4
    failure = master.receive().failure
    assert failure["kind"] == "InvalidArguments" and "UTF-8" in failure["message"]
    assert master.receive().value == 9
    master.send(framed(b"\x81\xa4call\x82\xa2id\x01\xa8function\xa6square\x91\x81\x90\x01"))
    assert master.receive().failure["kind"] == "InvalidArguments"


def test_the_place_in_the_pool(master: ScriptedMaster) -> None:
    master.ready(slot=3, pool="images")
    assert master.apply("where").value == [3, "images"]


def test_the_environment_is_clean(write: Write) -> None:
    text = """
        import os
        at_import = [name for name in os.environ if name in ("WORKER_ADDRESS", "WORKER_TOKEN")]
        def seen():
            import subprocess
            return at_import, subprocess.run("env", stdout=subprocess.PIPE).stdout
    """
    with ScriptedMaster(write(text)) as master:
        master.ready()
        at_import, environment = master.apply("seen").value
        assert at_import == [] and b"PATH=" in environment
        assert b"WORKER_ADDRESS" not in environment and b"WORKER_TOKEN" not in environment


def test_what_is_printed(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("say", "a line").value is None
    master.wait_for_output("a line\n")
    master.wait_for_output("a line\n", stream=1)
    assert master.apply("say", "no line", "").value is None
    master.wait_for_output("no line")
    assert master.apply("close_output").value is None
    assert master.apply("square", 2).value == 4


def test_the_initializer(write: Write) -> None:
    text = """
        state = {}
        def connect(host, port=1):
            state["at"] = [host, port]
        def state_now():
            return state
    """
    path = write(text)
    for fields, item in (({}, [["h"]]), ({"keywords": True}, [["h"], {"port": 2}])):
        with ScriptedMaster(path) as master:
            master.hello()
            welcome = {"version": 1, "slot": 0, "initializer": "connect", **fields}
            master.send(frame("welcome", welcome, *item))
            assert master.receive() == Answer("ready", {}, [])
            assert master.apply("state_now").value == {"at": ["h", 2 if fields else 1]}
    for name, arguments, kind in (
        ("connect", [], "InvalidArguments"),
        ("nothing", [], "UnknownFunction"),
    ):
        with ScriptedMaster(path) as master:
            master.hello()
            welcome = {"version": 1, "initializer": name}
            master.send(frame("welcome", welcome, arguments) + DRAIN)
            answer = master.receive()
            assert answer.name == "initializer_failed" and answer.failure["kind"] == kind
            assert master.is_closed()
            assert master.status() == 1


def test_raw_functions(write: Write) -> None:
    text = """
        import pool_worker
        @pool_worker.function(raw=True, name="as-it-came")
        def echo(positional, keywords):
            return positional if keywords is None else keywords
        @pool_worker.function(raw=True)
        def wrong(positional, keywords):
            return b"\\xc1"
    """
    with ScriptedMaster(write(text)) as master:
        hello = master.ready()
        assert [f["name"] for f in hello["functions"]] == ["as-it-came", "wrong"]
        assert master.apply("as-it-came", 1, "two").value == [1, "two"]
        master.send(call(1, "as-it-came", [1], {"a": [2]}, [], {}, keywords=True))
        assert [master.receive().value for _ in range(2)] == [{"a": [2]}, {}]
        master.send(
            framed(b"\x81\xa4call\x82\xa2id\x01\xa8function\xaaas-it-came\x91\x81\x90\xa1\xff")
        )
        assert master.receive_body()[-5:] == b"\x91\x81\x90\xa1\xff"
        assert master.apply("wrong").failure["kind"] == "InvalidResult"


def test_a_hello_that_is_too_large_says_less(write: Write) -> None:
    functions = "\n".join(f'def function_{n}(argument):\n    """{"x" * 60}"""' for n in range(1000))
    with ScriptedMaster(write(functions)) as master:
        hello = master.ready()
        assert len(hello["functions"]) == 1000
        assert "help" not in hello["functions"][0]
    names = "\n".join(f"def f{'x' * 100}_{n}(): pass" for n in range(1000))
    with ScriptedMaster(write(names, "others.py")) as master:
        assert master.status() == 2
        assert "1000 functions are too many" in master.output()[1]


def test_embedded_in_a_program(tmp_path: Path, write: Write) -> None:
    program = write(
        """
        import os
        import pool_worker
        assert pool_worker.take_launch() is not None
        assert not {"WORKER_ADDRESS", "WORKER_TOKEN"} & set(os.environ)
        def double(n): return 2 * n
        pool_worker.serve({"double": double, "triple": lambda n: 3 * n}, name="own", version="7")
        """,
        "program.py",
    )
    with ScriptedMaster(command=[sys.executable, program]) as master:
        hello = master.ready()
        assert (hello["name"], hello["version"]) == ("own", "7")
        assert master.apply("double", 2).value == 4
        assert master.apply("triple", 2).value == 6
        master.send(DRAIN)
        assert master.status() == 0


def test_a_module_that_sets_a_timeout_for_all_sockets(write: Write) -> None:
    text = "import socket\nsocket.setdefaulttimeout(0.05)\ndef f(): return 1"
    with ScriptedMaster(write(text)) as master:
        master.ready()
        assert master.apply("f").value == 1
        time.sleep(0.2)
        assert master.apply("f").value == 1


def test_a_call_that_travels_as_a_pickle() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    with ScriptedMaster("--callables") as master:
        master.ready()
        base = 10

        class Own(Exception):
            pass

        def fail() -> None:
            raise Own("mine")

        data = cloudpickle.dumps((lambda n, plus=0: n + base + plus, (1,), {"plus": 5}))
        assert pickle.loads(master.apply("call_pickled", data).value) == 16
        answer = master.apply("call_pickled", cloudpickle.dumps((fail, (), {})))
        assert answer.failure["kind"] == "Own"
        error = pickle.loads(answer.payload[0])
        assert type(error).__name__ == "Own" and str(error) == "mine"
        assert (
            pickle.loads(master.apply("call_pickled", pickle.dumps((pow, (2, 5), {}))).value) == 32
        )
        assert master.apply("call_pickled", "text").failure["kind"] == "InvalidArguments"
        assert master.apply("call_pickled", pickle.dumps(5)).failure["kind"] == "InvalidArguments"


def test_a_pickle_of_cloudpickle_where_there_is_none(write: Write) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    text = "import sys\nsys.modules['cloudpickle'] = None\ndef f(): pass"
    with ScriptedMaster("--callables", write(text)) as master:
        master.ready()
        data = cloudpickle.dumps((lambda: 1, (), {}))
        failure = master.apply("call_pickled", data).failure
        assert failure["kind"] == "ModuleNotFoundError"
        assert "process-pool-worker[callables]" in failure["message"]


def test_a_timestamp_comes_back() -> None:
    with ScriptedMaster("--conformance") as master:
        master.ready()
        for value in (msgpack.Timestamp(1, 0), msgpack.Timestamp(-1, 5), msgpack.ExtType(7, b"x")):
            assert master.apply("echo", value).value == value
