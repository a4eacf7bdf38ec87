"""The golden vectors: what they mean, and that the malformed ones are refused."""

from __future__ import annotations

import socket
from typing import Any, Dict, List

import pytest
import vectors
from scripted_master import ScriptedMaster, frame

from pool_worker._connection import Connection
from pool_worker._envelope import read_envelope
from pool_worker._errors import Malformed
from pool_worker._messages import Call, Welcome, message_name, read_message, write_frame
from pool_worker._payload import decode_items

FROM_MASTER = [v for v in vectors.load("valid") if v.meaning["direction"] == "from_master"]
FROM_WORKER = [v for v in vectors.load("valid") if v.meaning["direction"] == "from_worker"]
REFUSED = [v for v in vectors.load("malformed") if v.meaning["rejected_by"] == "worker"]
ENVELOPES = [
    v for v in vectors.load("malformed") if v.meaning["error"]["name"].startswith("envelope_")
]


def plain(message: Any) -> Any:
    """Messages, which are named tuples, as maps."""
    if hasattr(message, "_asdict"):
        return {name: plain(field) for name, field in message._asdict().items()}
    return message


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("vector", FROM_MASTER, ids=lambda vector: vector.name)
def test_what_a_master_says_is_understood(vector: vectors.Vector, piece: int) -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours)
    read: List[Dict[str, Any]] = []
    for start in range(0, len(vector.data), piece):
        theirs.sendall(vector.data[start : start + piece])
        assert connection.read_ahead()
        while next(connection.bodies_ahead(), None) is not None:
            body = connection.next_body()
            assert body is not None
            encoded = bytes(connection.buffer[body[0] : body[1]])
            message, at = read_message(encoded)
            payload: List[Any] = []
            if isinstance(message, Call) and message.shared is None:
                items = decode_items(encoded[at:], message.items, message.keywords)
            elif isinstance(message, Welcome) and message.initializer is not None:
                items = decode_items(encoded[at:], 1, message.keywords)
            else:
                assert at == len(encoded)
                items = []
            for positional, keywords in items:
                payload += [positional] if keywords is None else [positional, keywords]
            read.append({"means": {message_name(message): plain(message)}, "payload": payload})
    theirs.close()
    assert connection.next_body() is None
    ours.close()
    expected = [
        {"means": vectors.value(each["means"]), "payload": vectors.value(each["payload"])}
        for each in vector.meaning["frames"]
    ]
    assert read == expected


@pytest.mark.parametrize("vector", FROM_WORKER, ids=lambda vector: vector.name)
def test_frames_are_written_as_the_canonical_ones(vector: vectors.Vector) -> None:
    at = 0
    for each in vector.meaning["frames"]:
        end = at + 4 + int.from_bytes(vector.data[at : at + 4], "big")
        ((name, fields),) = vectors.value(each["envelope"]).items()
        if each["canonical"]:
            envelope = write_frame(name, ordered(name, fields))[4:]
            assert vector.data[at + 4 : end].startswith(envelope)
        at = end


ORDER = (
    "token oldest newest features id item offset length failure note name version parameters help "
    "progress cancel functions kind message traceback shared_arguments"
).split()


def ordered(name: str, fields: Any) -> Any:
    """The JSON of a vector has its fields by name; on the wire they have an order."""
    if isinstance(fields, list):
        return [ordered(name, each) for each in fields]
    if not isinstance(fields, dict):
        return fields
    known = [key for key in ORDER if key in fields]
    others = [key for key in fields if key not in ORDER]
    return {key: ordered(name, fields[key]) for key in known + others}


@pytest.mark.parametrize("vector", ENVELOPES, ids=lambda vector: vector.name)
def test_malformed_envelopes_are_refused_whoever_sends_them(vector: vectors.Vector) -> None:
    with pytest.raises(Malformed, match="expected .* came "):
        read_envelope(vector.data[4:])


@pytest.mark.parametrize("one_by_one", [False, True], ids=["at-once", "byte-by-byte"])
@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.name)
def test_malformed_input_ends_the_worker(vector: vectors.Vector, one_by_one: bool) -> None:
    with ScriptedMaster("--conformance") as master:
        master.hello()
        if not any(name in vector.data[:16] for name in (b"welcome", b"reject")):
            features = ["progress", "cancel"]
            master.send(frame("welcome", {"version": 1, "features": features, "slot": 0}))
            assert master.receive().name == "ready"
        for byte in [vector.data] if not one_by_one else [bytes([b]) for b in vector.data]:
            try:
                master.send(byte)
            except BrokenPipeError:
                break
        assert master.is_closed()
        assert master.status() == 76
        stdout, stderr = master.output()
        assert stdout == ""
        assert "expected" in stderr and "came" in stderr
        assert "Traceback" not in stderr
