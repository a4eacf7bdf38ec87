"""Progress and cancel."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest
from scripted_master import ScriptedMaster, call, frame

Write = Callable[..., str]

TASKS = """
    import threading, time
    import pool_worker

    @pool_worker.function(progress=True)
    def steps(count, pause):
        for number in range(count):
            pool_worker.progress(f"step {number}")
            time.sleep(pause)
        return count

    @pool_worker.function(progress=True)
    def late_thread():
        def report():
            while True:
                pool_worker.progress("still here")
        threading.Thread(target=report, daemon=True).start()
        time.sleep(0.2)

    @pool_worker.function(progress=True)
    def silent_progress():
        pool_worker.progress()

    @pool_worker.function
    def echo(value):
        return value

    @pool_worker.function(cancel=True)
    def wait(text):
        print("waiting", text, flush=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if pool_worker.is_cancelled():
                raise pool_worker.Cancelled("as told")
            time.sleep(0.001)
        raise TimeoutError

    @pool_worker.function(cancel=True)
    def asks(count):
        return any(pool_worker.is_cancelled() for _ in range(count))

    @pool_worker.function
    def deaf():
        time.sleep(0.2)
        return pool_worker.is_cancelled()
"""


@pytest.fixture
def master(write: Write) -> Any:
    with ScriptedMaster(write(TASKS)) as master:
        yield master


def cancel(identifier: int, item: int = 0) -> bytes:
    return frame("cancel", {"id": identifier, "item": item})


def test_the_hello_says_who_does(master: ScriptedMaster) -> None:
    functions = {f["name"]: f for f in master.hello()["functions"]}
    assert functions["steps"]["progress"] is True and "cancel" not in functions["steps"]
    assert functions["wait"]["cancel"] is True and "progress" not in functions["wait"]


def test_progress(master: ScriptedMaster) -> None:
    master.ready("progress")
    master.send(call(5, "steps", [2, 0.1], [1, 0.0]))
    answers = [master.receive() for _ in range(5)]
    assert [answer.name for answer in answers] == [
        "progress",
        "progress",
        "result",
        "progress",
        "result",
    ]
    assert answers[0].fields == {"id": 5, "item": 0, "note": "step 0"}
    assert answers[1].fields == {"id": 5, "item": 0, "note": "step 1"}
    assert answers[3].fields == {"id": 5, "item": 1, "note": "step 0"}
    assert master.apply("silent_progress").fields == {"id": 1, "item": 0}


def test_progress_is_not_told_too_often(master: ScriptedMaster) -> None:
    master.ready("progress")
    begin = time.monotonic()
    master.send(call(1, "steps", [200, 0.001]))
    names = [master.receive().name]
    while names[-1] != "result":
        names.append(master.receive().name)
    most = (time.monotonic() - begin) / 0.05 + 1
    assert 2 <= len(names) - 1 <= most


def test_progress_without_the_feature(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("steps", 3, 0).value == 3


def test_no_progress_behind_an_answer(master: ScriptedMaster) -> None:
    master.ready("progress")
    master.send(call(1, "late_thread", []))
    answer = master.receive()
    while answer.name == "progress":
        answer = master.receive()
    assert answer.name == "result"
    # The thread goes on, and reports whatever item is in hand then, and none in between.
    for identifier in range(2, 300):
        master.send(call(identifier, "echo", [identifier]))
        answer = master.receive()
        while answer.name == "progress":
            assert answer.fields["id"] == identifier
            answer = master.receive()
        assert answer.value == identifier


def test_cancel(master: ScriptedMaster) -> None:
    master.ready("cancel")
    master.send(call(1, "wait", ["a"], ["b"]) + call(2, "wait", ["c"]) + call(3, "echo", [3]))
    for identifier, item, text in ((1, 0, "a"), (1, 1, "b"), (2, 0, "c")):
        master.wait_for_output(f"waiting {text}")
        master.send(cancel(identifier, item))
        answer = master.receive()
        assert (answer.fields["id"], answer.fields["item"]) == (identifier, item)
        failure = answer.failure
        assert (failure["kind"], failure["message"]) == ("Cancelled", "as told")
    assert master.receive().value == 3


def test_a_cancel_that_comes_with_its_call(master: ScriptedMaster) -> None:
    master.ready("cancel")
    master.send(call(1, "wait", ["a"]) + cancel(1) + call(2, "echo", [2]))
    assert master.receive().failure["kind"] == "Cancelled"
    assert master.receive().value == 2


def test_a_cancel_in_pieces_and_in_another_form(master: ScriptedMaster) -> None:
    master.ready("cancel")
    body = b"\x81\xd9\x06cancel\x83\xa1x\x90\xa4item\xcd\0\0\xa2id\xcf" + (1).to_bytes(8, "big")
    data = call(1, "wait", ["a"]) + call(2, "echo", [2]) + len(body).to_bytes(4, "big") + body
    for byte in data:
        master.send(bytes([byte]))
        time.sleep(0.0005)
    assert master.receive().failure["kind"] == "Cancelled"
    assert master.receive().value == 2


def test_cancels_of_other_items_are_ignored(master: ScriptedMaster) -> None:
    master.ready("cancel")
    master.send(cancel(1))
    master.send(call(1, "asks", [100]) + cancel(2) + cancel(1, 7) + call(2, "asks", [100]))
    assert master.receive().value is False
    assert master.receive().value is False
    # Of one that does not listen, and of one that is over.
    master.send(call(3, "deaf", []) + cancel(3))
    assert master.receive().value is False
    master.send(cancel(3) + call(4, "asks", [1]))
    assert master.receive().value is False


def test_cancel_without_the_feature(master: ScriptedMaster) -> None:
    master.ready()
    assert master.apply("asks", 10).value is False


def test_a_cancel_behind_much(master: ScriptedMaster) -> None:
    master.ready("cancel")
    behind = b"".join(call(n, "echo", ["x" * 1000]) for n in range(2, 1002))
    master.send(call(1, "wait", ["a"]))
    master.wait_for_output("waiting a")
    master.send(behind + cancel(1))
    assert master.receive().failure["kind"] == "Cancelled"
    for _ in range(2, 1002):
        assert master.receive().value == "x" * 1000


def test_what_is_malformed_behind_a_call_is_refused_in_its_turn(master: ScriptedMaster) -> None:
    master.ready("cancel")
    broken = frame("cancel", {"id": 1})
    master.send(call(1, "wait", ["a"]))
    master.wait_for_output("waiting a")
    master.send(broken + cancel(1))
    assert master.receive().failure["kind"] == "Cancelled"
    assert master.is_closed()
    assert master.status() == 76


def test_the_end_of_the_stream_while_a_function_asks(master: ScriptedMaster) -> None:
    master.ready("cancel")
    master.send(call(1, "wait", ["a"]))
    master.wait_for_output("waiting a")
    master.socket.close()
    assert master.status() == -9


def test_cancels_behind_a_drain(master: ScriptedMaster) -> None:
    master.ready("cancel")
    master.send(call(1, "echo", [1]) + frame("drain", {}) + cancel(1))
    assert master.receive().value == 1
    assert master.status() == 0


def test_without_a_master() -> None:
    import pool_worker

    pool_worker.progress("a note")
    assert pool_worker.is_cancelled() is False
    assert pool_worker.slot() is None
    assert pool_worker.pool_name() is None
