"""A session with a master: each frame that comes in is handled to its end, answers included, before
the next one is looked at."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import msgpack

from . import _context
from ._connection import Connection
from ._envelope import clip
from ._errors import Leave, Malformed, RegistrationError, Rejected, UnknownFunction
from ._failures import Report, report, report_of_worker
from ._limits import (
    EXIT_FAILED,
    EXIT_NORMAL,
    MAX_BODY,
    MAX_HELLO,
    MAX_NOTE,
    MAX_PAYLOAD_LEVELS,
    PROGRESS_INTERVAL,
    PROTOCOL_VERSION,
)
from ._messages import (
    Call,
    Cancel,
    Drain,
    FromMaster,
    Reject,
    Welcome,
    message_name,
    read_message,
    write_frame,
)
from ._payload import (
    Keywords,
    Positional,
    Undecodable,
    decode_items,
    nests_deeper,
    split_items,
    undecodable,
    unpack,
)
from ._registry import Function
from ._results import LARGE, Encoder, binary_head, check_raw, too_large
from ._watch import end_at_once, watch

FEATURES = ("progress", "cancel")

_RESULT = b"\x81\xa6result\x82\xa2id"
_ITEM = b"\xa4item"

# How a call begins whose first field is its id, but for the byte that says how many fields there
# are.
_CALL_NAME = b"\x81\xa4call"
_CALL_ID = b"\xa2id"
_CALL_HEAD = len(_CALL_NAME) + 1 + len(_CALL_ID)

_LONGEST_TAIL = 512
"""Bytes behind the id of a call that are worth to be compared with those of the next call."""


def _id_widths() -> List[int]:
    """How many bytes an id takes, by its first one; 0 where that begins no id."""
    widths = [0] * 256
    widths[:0x80] = [1] * 0x80
    for first, width in ((0xCC, 2), (0xCD, 3), (0xCE, 5), (0xCF, 9)):
        widths[first] = width
    return widths


_ID_WIDTHS = _id_widths()


class _Known(NamedTuple):
    """A call that was read, to be known again: the next one most often differs in its id alone."""

    head: bytes
    tail: bytes
    call: Call
    function: Optional[Function]


# Begins with a byte that no envelope begins with.
_NOTHING_KNOWN = _Known(b"\xc1" * _CALL_HEAD, b"", Call(0, "", 0, False, False, None), None)


class Session:
    """One connection's state. Only one thread runs it, but any may ask for progress and cancel."""

    def __init__(self, connection: Connection, functions: Dict[str, Function]) -> None:
        self._connection = connection
        self._functions = functions
        self._encoder = Encoder()
        self._pack = msgpack.Packer().pack
        self._known = _NOTHING_KNOWN
        # Held by whoever changes what is in hand, writes progress, or reads ahead. Reentrant, as a
        # handler of a signal may report progress.
        self._lock = threading.RLock()
        self._in_hand: Optional[Tuple[int, int]] = None
        self._initializing = False
        self._gone = False
        self._has_progress = False
        self._has_cancel = False
        self._cancellable = False
        self._cancelled: Optional[Tuple[int, int]] = None
        self._looked_ahead = 0
        self._reported: Optional[Tuple[int, int]] = None
        self._next_report = 0.0
        self.slot: Optional[int] = None
        self.pool: Optional[str] = None

    def run(self, token: str, name: str, version: str) -> int:
        """Serves the master until there is nothing left to do, and gives the status to exit with.

        Raises `Malformed` and `Rejected`.
        """
        try:
            self._connection.send(hello(token, name, version, self._functions))
            watch(self._connection.fileno(), self._closed)
            os.register_at_fork(after_in_child=self._forked)
            self._be_welcomed()
            while True:
                self._handle_next()
        except Leave as leave:
            return leave.status

    # What other threads, and functions while they run, may call.

    def report_progress(self, note: str) -> None:
        if not self._has_progress:
            return
        with self._lock:
            in_hand = self._in_hand
            now = time.monotonic()
            if in_hand is None or (self._reported is in_hand and now < self._next_report):
                return
            self._reported = in_hand
            self._next_report = now + PROGRESS_INTERVAL
            fields: Dict[str, object] = {"id": in_hand[0], "item": in_hand[1]}
            encoded = note[:MAX_NOTE].encode("utf-8", "backslashreplace")[:MAX_NOTE]
            if encoded:
                fields["note"] = encoded.decode("utf-8", "ignore")
            try:
                self._connection.send(write_frame("progress", fields))
            except Leave:
                # The function goes on until whoever waits for its answer finds out the same.
                self._gone = True

    def is_cancelled(self) -> bool:
        with self._lock:
            in_hand = self._in_hand
            if in_hand is None or not self._cancellable:
                return False
            if self._cancelled != in_hand:
                self._look_ahead()
            return self._cancelled == in_hand

    def _look_ahead(self) -> None:
        """Looks for a cancel among the frames behind the call in hand. They all stay there, and
        have their turn: one that is malformed is complained about then."""
        connection = self._connection
        if not connection.read_ahead():
            end_at_once()
        for start, end in connection.bodies_ahead(self._looked_ahead):
            self._looked_ahead = end - connection.start
            if b"cancel" not in connection.buffer[start : min(start + 16, end)]:
                continue
            try:
                message, _ = read_message(bytes(connection.buffer[start:end]))
            except Malformed:
                continue
            if isinstance(message, Cancel):
                # There is no need to keep an earlier one: that item has been answered.
                self._cancelled = (message.id, message.item)

    def _closed(self) -> None:
        self._gone = True
        if self._in_hand is not None or self._initializing:
            end_at_once()

    def _forked(self) -> None:
        """In a child process: the connection is not its own."""
        self._lock = threading.RLock()
        self._in_hand = None
        self._connection.close()

    # The welcome.

    def _be_welcomed(self) -> None:
        message, payload = self._receive()
        if isinstance(message, Reject):
            _expect_no_payload(message, payload)
            raise Rejected(message.reason)
        if not isinstance(message, Welcome):
            raise Malformed(f"expected `welcome` or `reject`; came `{message_name(message)}`")
        if message.version != PROTOCOL_VERSION:
            raise Malformed(
                f"expected version {PROTOCOL_VERSION} in `welcome`; came {message.version}"
            )
        for feature in message.features:
            if feature not in FEATURES:
                raise Malformed(
                    f"expected features in `welcome` that the hello has, {' and '.join(FEATURES)}; "
                    f"came `{clip(feature)}`"
                )
        self._has_progress = "progress" in message.features
        self._has_cancel = "cancel" in message.features
        self.slot, self.pool = message.slot, message.pool
        _context.enter(self)
        if message.initializer is None:
            _expect_no_payload(message, payload)
        else:
            self._initialize(message.initializer, payload, message.keywords)
        self._expect_ahead(Drain)
        self._connection.send(write_frame("ready", {}))

    def _initialize(self, name: str, payload: bytes, keywords: bool) -> None:
        function = self._functions.get(name)
        if function is not None and function.raw:
            arguments: Any = split_items(payload, 1, keywords)[0]
        else:
            arguments = decode_items(payload, 1, keywords)[0]
        failed: Optional[Report] = None
        self._initializing = True
        if self._gone:
            raise Leave(EXIT_NORMAL)
        if function is None:
            failed = report_of_worker(_unknown(name))
        else:
            try:
                _call(function, *arguments)
            except BaseException as error:
                failed = report(error)
        self._initializing = False
        _flush()
        if failed is not None:
            self._connection.send(write_frame("initializer_failed", failed.fields, failed.opaque))
            raise Leave(EXIT_FAILED)

    # Calls.

    def _handle_next(self) -> None:
        connection = self._connection
        body = connection.next_body()
        if body is None:
            raise Leave(EXIT_NORMAL)
        start, end = body
        known = self._known
        if connection.buffer.startswith(known.head, start, end):
            at = start + _CALL_HEAD
            width = _ID_WIDTHS[connection.buffer[at]] if at < end else 0
            if width and connection.buffer.startswith(known.tail, at + width, end):
                identifier = connection.buffer[at]
                if width > 1:
                    identifier = int.from_bytes(connection.buffer[at + 1 : at + width], "big")
                payload = at + width + len(known.tail)
                self._handle_call(identifier, known.call, known.function, payload, end)
                return
        encoded = connection.view[start:end]
        message, payload = read_message(encoded)
        if isinstance(message, Call):
            if message.shared is not None:
                raise Malformed(
                    "expected no `shared` in a call, as that feature was not agreed on; came one"
                )
            function = self._functions.get(message.function)
            self._get_to_know(bytes(encoded[:payload]), message, function)
            self._handle_call(message.id, message, function, start + payload, end)
            return
        _expect_no_payload(message, bytes(encoded[payload:]))
        if isinstance(message, Drain):
            self._expect_ahead(Cancel)
            raise Leave(EXIT_NORMAL)
        if not (isinstance(message, Cancel) and self._has_cancel):
            expected = "`call`, `cancel` or `drain`" if self._has_cancel else "`call` or `drain`"
            raise Malformed(f"expected {expected}; came `{message_name(message)}`")
        # A cancel that comes to its turn is late: its item has been answered.

    def _get_to_know(self, envelope: bytes, call: Call, function: Optional[Function]) -> None:
        id_at = _CALL_HEAD
        width = _ID_WIDTHS[envelope[id_at]]
        head = envelope[:id_at]
        tail = envelope[id_at + width :]
        if (
            width
            and head.startswith(_CALL_NAME)
            and head.endswith(_CALL_ID)
            and len(tail) <= _LONGEST_TAIL
        ):
            self._known = _Known(head, tail, call, function)

    def _handle_call(
        self, identifier: int, call: Call, function: Optional[Function], start: int, end: int
    ) -> None:
        all_succeeded = True
        if function is None or function.raw or call.items != 1 or call.keywords:
            all_succeeded = self._handle_items(identifier, call, function, start, end)
        else:
            positional: Any = None
            try:
                positional = unpack(self._connection.view[start:end])
            except Exception:
                pass
            if type(positional) is not list or (
                end - start > MAX_PAYLOAD_LEVELS and nests_deeper(positional, MAX_PAYLOAD_LEVELS)
            ):
                payload = bytes(self._connection.view[start:end])
                positional = decode_items(payload, 1, False)[0][0]
            self._begin_call(function)
            all_succeeded = self._handle_item(function, identifier, 0, positional, None)
        if call.last:
            self._expect_ahead(Cancel)
            raise Leave(EXIT_NORMAL if all_succeeded else EXIT_FAILED)

    def _handle_items(
        self, identifier: int, call: Call, function: Optional[Function], start: int, end: int
    ) -> bool:
        payload = self._connection.view[start:end]
        items: List[Any]
        if function is not None and function.raw:
            items = list(split_items(payload, call.items, call.keywords))
        else:
            items = list(decode_items(payload, call.items, call.keywords))
        if function is None:
            failed = report_of_worker(_unknown(call.function))
            for number in range(call.items):
                self._send_error(identifier, number, failed)
            return False
        self._begin_call(function)
        all_succeeded = True
        # From the end, so that arguments go as soon as they are used.
        items.reverse()
        for number in range(call.items):
            positional, keywords = items.pop()
            if not self._handle_item(function, identifier, number, positional, keywords):
                all_succeeded = False
        return all_succeeded

    def _begin_call(self, function: Function) -> None:
        self._cancellable = function.cancel and self._has_cancel
        self._looked_ahead = 0

    def _handle_item(
        self, function: Function, identifier: int, number: int, positional: Any, keywords: Any
    ) -> bool:
        """Runs one item and answers it. Gives whether it had a result."""
        self._in_hand = (identifier, number)
        # Looked at only now, so that the watch finds the item in hand, or the item finds its mark.
        if self._gone:
            raise Leave(EXIT_NORMAL)
        pack = self._pack
        large: Any = None
        failed: Optional[Report] = None
        encoded = b""
        try:
            if (
                not keywords
                and type(positional) is list
                and function.least <= len(positional) <= function.most
            ):
                value = function.call(*positional)
            else:
                value = _call(function, positional, keywords)
            if function.raw:
                encoded = check_raw(value)
            elif (type(value) is bytes or type(value) is bytearray) and len(value) >= LARGE:
                encoded, large = binary_head(len(value)), value
            else:
                encoded = self._encoder.encode(value)
            envelope = _RESULT + pack(identifier) + _ITEM + pack(number)
            size = len(envelope) + len(encoded) + (0 if large is None else len(large))
            if size > MAX_BODY:
                raise too_large(size - len(envelope))
        except BaseException as error:
            failed = report(error)
        with self._lock:
            self._in_hand = None
        _flush()
        if failed is not None:
            self._send_error(identifier, number, failed)
            return False
        frame = size.to_bytes(4, "big") + envelope + encoded
        if large is None:
            self._connection.send(frame)
        else:
            self._connection.send_in_parts(frame, large)
        return True

    def _send_error(self, identifier: int, number: int, failed: Report) -> None:
        fields: Dict[str, object] = {"id": identifier, "item": number, "failure": failed.fields}
        self._connection.send(write_frame("error", fields, failed.opaque))

    # Frames out of their place.

    def _receive(self) -> Tuple[FromMaster, bytes]:
        body = self._connection.next_body()
        if body is None:
            raise Leave(EXIT_NORMAL)
        encoded = bytes(self._connection.buffer[body[0] : body[1]])
        message, payload = read_message(encoded)
        return message, encoded[payload:]

    def _expect_ahead(self, allowed: type) -> None:
        """Complains about what has come already and may not come here. Behind the last message of a
        master there may be cancels; before `ready`, nothing but a drain."""
        for start, end in self._connection.bodies_ahead():
            message, _ = read_message(bytes(self._connection.buffer[start:end]))
            if isinstance(message, (allowed, Cancel)) and (
                self._has_cancel or not isinstance(message, Cancel)
            ):
                continue
            place = "before `ready`" if allowed is Drain else "behind the last message"
            raise Malformed(f"expected no `{message_name(message)}` {place}; came one")


def hello(token: str, name: str, version: str, functions: Dict[str, Function]) -> bytes:
    """The frame of the hello.

    Where the functions are too many for it, it says less about each. Raises `RegistrationError` if
    not even their names fit.
    """
    size = 0
    for with_help, with_parameters in ((True, True), (False, True), (False, False)):
        fields: Dict[str, object] = {
            "token": token,
            "oldest": PROTOCOL_VERSION,
            "newest": PROTOCOL_VERSION,
            "features": list(FEATURES),
            "name": name,
            "version": version,
            "functions": [
                function.description(with_help, with_parameters) for function in functions.values()
            ],
        }
        frame = write_frame("hello", fields)
        size = len(frame) - 4
        if size <= MAX_HELLO:
            return frame
    raise RegistrationError(
        f"{len(functions)} functions are too many: their names alone take {size} bytes, and there "
        f"is room for {MAX_HELLO}"
    )


def _call(function: Function, positional: Positional, keywords: Keywords) -> Any:
    if function.raw:
        return function.call(positional, keywords)
    for arguments in (positional, keywords):
        if isinstance(arguments, Undecodable):
            raise undecodable(function.name, arguments)
    assert isinstance(positional, list) and not isinstance(keywords, Undecodable)
    return function.bind_and_call(positional, keywords or {})


def _unknown(name: str) -> UnknownFunction:
    return UnknownFunction(f"there is no function `{clip(name)}`")


def _expect_no_payload(message: FromMaster, payload: bytes) -> None:
    if payload:
        raise Malformed(
            f"expected no payload in `{message_name(message)}`; came {len(payload)} bytes"
        )


def _flush() -> None:
    """Lets what was printed out now, and not when a buffer is full."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            # Whoever prints has closed or replaced it; what becomes of it is not this item's
            # affair.
            pass
