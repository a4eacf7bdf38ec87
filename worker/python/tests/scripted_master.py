"""A master for tests: it starts a worker, and says to it what a test wants said.

It shares no code with the package, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import msgpack

PATIENCE = 20.0
"""Seconds for anything that is to happen. Everything here that waits gives up then."""


class Answer(NamedTuple):
    name: str
    fields: Dict[str, Any]
    payload: List[Any]

    @property
    def value(self) -> Any:
        assert self.name == "result", self
        (value,) = self.payload
        return value

    @property
    def failure(self) -> Dict[str, Any]:
        assert self.name in ("error", "initializer_failed"), self
        return self.fields["failure"] if self.name == "error" else self.fields


def frame(name: str, fields: Dict[str, Any], *payload: Any) -> bytes:
    values = b"".join(msgpack.packb(value) for value in payload)
    return framed(msgpack.packb({name: fields}) + values)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def call(identifier: int, function: str, *items: Sequence[Any], **fields: Any) -> bytes:
    """A call; with `keywords=True` the items are lists and maps in turn."""
    count = len(items) // 2 if fields.get("keywords") else len(items)
    envelope: Dict[str, Any] = {"id": identifier, "function": function}
    if count != 1:
        envelope["items"] = count
    envelope.update(fields)
    return frame("call", envelope, *items)


DRAIN = frame("drain", {})


class ScriptedMaster:
    """A worker and the socket to it. To be used as a context."""

    def __init__(
        self,
        *arguments: str,
        command: Optional[List[str]] = None,
        environment: Optional[Dict[str, str]] = None,
        directory: Optional[Path] = None,
    ) -> None:
        self._directory = tempfile.mkdtemp()
        self.token = secrets.token_hex(16)
        address = os.path.join(self._directory, "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        variables = {**os.environ, **(environment or {})}
        variables.update(WORKER_ADDRESS=address, WORKER_TOKEN=self.token)
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "pool_worker", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            cwd=directory,
            start_new_session=True,
        )
        self._output: List[bytes] = [b"", b""]
        self._readers = [
            threading.Thread(target=self._read, args=(number, stream), daemon=True)
            for number, stream in enumerate((self.process.stdout, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        self.socket: Optional[socket.socket] = None

    def _read(self, number: int, stream: Any) -> None:
        while True:
            piece = os.read(stream.fileno(), 65536)
            if not piece:
                return
            self._output[number] += piece

    def __enter__(self) -> ScriptedMaster:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        if self.socket is not None:
            self.socket.close()
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # The conversation.

    def hello(self) -> Dict[str, Any]:
        self.socket, _ = self._listener.accept()
        self.socket.settimeout(PATIENCE)
        answer = self.receive()
        assert answer.name == "hello" and answer.payload == []
        assert answer.fields["token"] == self.token
        return answer.fields

    def ready(self, *features: str, **fields: Any) -> Dict[str, Any]:
        """Says hello and welcome, and waits until the worker is ready. Gives the hello."""
        hello = self.hello()
        self.send(frame("welcome", {"version": 1, "features": list(features), "slot": 0, **fields}))
        assert self.receive() == Answer("ready", {}, [])
        return hello

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Answer:
        body = self.receive_body()
        unpacker = msgpack.Unpacker(
            None, strict_map_key=False, timestamp=0, max_buffer_size=0, raw=False
        )
        unpacker.feed(body)
        envelope, *payload = list(unpacker)
        assert unpacker.tell() == len(body)
        ((name, fields),) = envelope.items()
        return Answer(name, fields, payload)

    def receive_body(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), 1 << 20))
            assert piece, f"the worker has closed its socket; it said: {self.stderr()}"
            data += piece
        return bytes(data)

    def apply(self, function: str, *arguments: Any) -> Answer:
        self.send(call(1, function, list(arguments)))
        return self.receive()

    def is_closed(self) -> bool:
        """Whether the stream has ended, with nothing more in it; waits for that."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    # The process.

    def status(self) -> int:
        """Waits until it has ended."""
        return self.process.wait(PATIENCE)

    def stdout(self) -> str:
        return self._output[0].decode()

    def stderr(self) -> str:
        return self._output[1].decode()

    def output(self) -> Tuple[str, str]:
        """All that it has printed; waits until it has ended."""
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return self.stdout(), self.stderr()

    def wait_for_output(self, text: str, stream: int = 0) -> None:
        """Waits until it has printed a text."""
        deadline = threading.Event()
        for _ in range(int(PATIENCE * 100)):
            if text in self._output[stream].decode():
                return
            deadline.wait(0.01)
        raise AssertionError(f"it did not print {text!r}, but {self._output}")
