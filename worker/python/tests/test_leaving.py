"""How a worker leaves: when it is told, when its master is gone, and when that breaks the
protocol."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any, Callable

import pytest
from scripted_master import DRAIN, PATIENCE, ScriptedMaster, call, frame

Write = Callable[..., str]

TASKS = """
    import atexit, multiprocessing, os, signal, subprocess, sys, threading, time

    def one(): return 1
    def fails(): raise ValueError("no")
    def announce(seconds):
        print("begun", os.getpid(), flush=True)
        time.sleep(seconds)
    def child():
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid, flush=True)
        time.sleep(600)
    def thread():
        threading.Thread(target=time.sleep, args=(600,)).start()
    def at_exit(seconds):
        def last():
            time.sleep(seconds)
            print("last words", flush=True)
        atexit.register(last)
    def fork():
        if os.fork() == 0:
            return "from the child"
        return "from the parent"
    def pool():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2])
    def left_child():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
    def executor():
        global _executor
        import concurrent.futures
        atexit.register(lambda: print("last words", flush=True))
        context = multiprocessing.get_context("fork")
        _executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
        return _executor.submit(abs, -3).result()
    def on_a_signal(kind):
        def handle(*_): raise {"exit": SystemExit(7), "text": SystemExit("why"),
                               "none": SystemExit(), "other": RuntimeError("late"),
                               "timeout": TimeoutError("late")}[kind]
        signal.signal(signal.SIGUSR1, handle)
        threading.Thread(target=time.sleep, args=(600,)).start()
    def blocked():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        return int(signal.sigwait({signal.SIGUSR1}))
    def crash(): os._exit(5)
    def interrupt(): os.kill(os.getpid(), signal.SIGINT); time.sleep(5)
    def descriptors():
        links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{n}")]
        own = sum(link.startswith("socket:") for link in links)
        listing = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False
        )
        return [own, listing.stdout.count(b"socket:")]
"""


@pytest.fixture
def master(write: Write) -> Any:
    with ScriptedMaster(write(TASKS)) as master:
        yield master


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


def test_a_drain(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "one", []) + DRAIN)
    assert master.receive().value == 1
    assert master.is_closed()
    assert master.status() == 0
    assert master.output() == ("", "")


def test_a_drain_with_the_welcome(master: ScriptedMaster) -> None:
    master.hello()
    master.send(frame("welcome", {"version": 1}) + DRAIN)
    assert master.receive().name == "ready"
    assert master.is_closed()
    assert master.status() == 0


@pytest.mark.parametrize(("function", "status"), [("one", 0), ("fails", 1), ("unknown", 1)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_last_call(master: ScriptedMaster, function: str, status: int, count: int) -> None:
    master.ready()
    master.send(call(1, function, *[[]] * count, last=True))
    for item in range(count):
        assert master.receive().fields["item"] == item
    assert master.is_closed()
    assert master.status() == status


def test_a_reject(master: ScriptedMaster) -> None:
    master.hello()
    master.send(frame("reject", {"reason": "too old"}))
    assert master.status() == 76
    assert "too old" in master.output()[1]


def test_an_executor_that_is_left_over(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("executor").value == 3
    began = time.monotonic()
    master.send(DRAIN)
    assert master.status() == 0
    # After five seconds it would be ended, whatever has not been done.
    assert time.monotonic() - began < 4
    assert master.output() == ("last words\n", "")


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("exit", 7, ""),
        ("text", 1, "why\n"),
        ("none", 0, ""),
        ("other", 1, "RuntimeError: late\n"),
        ("timeout", 1, "TimeoutError: late\n"),
    ],
)
def test_what_a_handler_raises_between_calls(
    master: ScriptedMaster, kind: str, status: int, words: str
) -> None:
    master.ready()
    assert master.apply("on_a_signal", kind).value is None
    os.kill(master.process.pid, signal.SIGUSR1)
    assert master.status() == status
    stderr = master.output()[1]
    assert stderr.endswith(words) if words else stderr == ""


def test_a_handler_that_raises_inside_of_an_answer(write: Write) -> None:
    text = """
        import signal
        def _late(*_): raise TimeoutError("too slow")
        def large():
            signal.signal(signal.SIGALRM, _late)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            return b"x" * 50_000_000
    """
    with ScriptedMaster(write(text)) as master:
        master.ready()
        master.send(call(1, "large", []))
        # Nothing is read, so that the answer is still under way.
        assert master.status() == 1
        assert master.output()[1].endswith("TimeoutError: too slow\n")


def test_signals_are_for_the_main_thread(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("blocked").value == signal.SIGUSR1
    master.send(DRAIN)
    assert master.status() == 0


@pytest.mark.parametrize("half", [False, True])
def test_the_end_of_the_stream(master: ScriptedMaster, half: bool) -> None:
    master.ready()
    if half:
        master.socket.shutdown(socket.SHUT_WR)
    else:
        master.socket.close()
    assert master.status() == 0
    assert master.output() == ("", "")


def test_the_end_before_the_welcome(master: ScriptedMaster) -> None:
    master.hello()
    master.socket.close()
    assert master.status() == 0


def test_the_end_in_the_middle_of_a_call(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "announce", [600]) + call(2, "announce", [0]))
    master.wait_for_output("begun")
    master.socket.close()
    assert master.status() == -signal.SIGKILL
    assert master.stdout().count("begun") == 1


def test_the_end_in_the_middle_of_the_initializer(master: ScriptedMaster) -> None:
    master.hello()
    master.send(frame("welcome", {"version": 1, "initializer": "announce"}, [600]))
    master.wait_for_output("begun")
    master.socket.close()
    assert master.status() == -signal.SIGKILL


def test_child_processes_end_with_it(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "child", []))
    master.wait_for_output("child")
    child = int(master.stdout().split()[1])
    master.socket.close()
    assert master.status() == -signal.SIGKILL
    wait_until_gone(child)


def test_threads_that_run_on_do_not_hold_it(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("thread").value is None
    master.send(DRAIN)
    assert master.status() == 0


def test_what_is_registered_with_atexit_is_run(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("at_exit", 0).value is None
    master.send(DRAIN)
    assert master.status() == 0
    assert master.output()[0] == "last words\n"


@pytest.mark.parametrize(("function", "arguments"), [("at_exit", [600]), ("left_child", [])])
def test_what_takes_too_long_at_the_end_is_left(
    master: ScriptedMaster, function: str, arguments: Any
) -> None:
    master.ready()
    assert master.apply(function, *arguments).value is None
    begin = time.monotonic()
    master.send(DRAIN)
    assert master.status() == 0
    assert 4 < time.monotonic() - begin < 10


def test_a_forked_child_does_not_speak_to_the_master(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("fork").value == "from the parent"
    assert master.apply("one").value == 1
    assert master.apply("pool").value == [1, 2]
    assert master.apply("one").value == 1


def test_the_socket_is_not_inherited(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("descriptors").value == [1, 0]


def test_a_crash(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "crash", []))
    assert master.is_closed()
    assert master.status() == 5


def test_an_interrupt_in_an_item_is_its_error(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("interrupt").failure["kind"] == "KeyboardInterrupt"
    assert master.apply("one").value == 1


def test_an_interrupt_between_items_is_quiet(master: ScriptedMaster) -> None:
    master.ready()
    os.kill(master.process.pid, signal.SIGINT)
    assert master.status() == 130
    assert master.output() == ("", "")


def test_sigterm(master: ScriptedMaster) -> None:
    master.ready()
    os.kill(master.process.pid, signal.SIGTERM)
    assert master.status() == -signal.SIGTERM


@pytest.mark.parametrize(
    "data",
    [
        frame("welcome", {"version": 1}) + call(1, "one", []),
        frame("welcome", {"version": 1}) + DRAIN + call(1, "one", []),
        frame("welcome", {"version": 1}) + frame("welcome", {"version": 1}),
        frame("welcome", {"version": 1}) + frame("reject", {"reason": ""}),
        frame("welcome", {"version": 2}),
        frame("welcome", {"version": 1, "features": ["shared_output"]}),
        frame("welcome", {"version": 1, "features": ["cancel", "x-own"]}),
        frame("welcome", {}),
        frame("welcome", {"version": True}),
        call(1, "one", []),
        DRAIN,
        frame("cancel", {"id": 1, "item": 0}),
        frame("hello", {}),
        frame("ready", {}),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x40\0\0\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_answers_to_the_hello(master: ScriptedMaster, data: bytes) -> None:
    master.hello()
    master.send(data)
    assert master.is_closed()
    assert master.status() == 76
    stderr = master.output()[1]
    assert stderr.count("\n") == 1 and "expected" in stderr and "came" in stderr


@pytest.mark.parametrize(
    "data",
    [
        frame("cancel", {"id": 1, "item": 0}),
        frame("progress", {"id": 1, "item": 0}),
        call(1, "one", [], shared={"offset": 64, "length": 1}),
        frame("welcome", {"version": 1}),
        frame("drain", {}, None),
        DRAIN + call(1, "one", []),
    ],
)
def test_malformed_messages_in_a_session(master: ScriptedMaster, data: bytes) -> None:
    master.ready()
    master.send(data)
    assert master.is_closed()
    assert master.status() == 76
    assert "expected" in master.output()[1]


def test_the_end_inside_of_a_frame(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "announce", [0])[:-1])
    master.socket.shutdown(socket.SHUT_WR)
    assert master.status() == 76
    stdout, stderr = master.output()
    assert stdout == "" and "end of the stream" in stderr


def test_nothing_of_a_malformed_call_is_run(master: ScriptedMaster) -> None:
    master.ready()
    master.send(call(1, "announce", [0], 5, items=2))
    assert master.status() == 76
    assert master.output()[0] == ""


def test_a_master_that_is_not_there(write: Write, tmp_path: Any) -> None:
    environment = {"WORKER_ADDRESS": str(tmp_path / "nothing")}
    command = ["env", f"WORKER_ADDRESS={tmp_path / 'nothing'}"]
    import sys

    command += [sys.executable, "-m", "pool_worker", write(TASKS)]
    with ScriptedMaster(command=command, environment=environment) as master:
        assert master.status() == 76
        assert "cannot connect" in master.output()[1]
