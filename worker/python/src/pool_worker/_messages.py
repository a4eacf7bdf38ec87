"""The messages of a master, as envelopes mean them, and those of a worker, as frames."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import msgpack

from ._envelope import Buffer, Value, clip, describe, read_envelope
from ._errors import Malformed

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1


class SharedOutput(NamedTuple):
    path: str
    key: int
    results: Optional[int]


class SharedArguments(NamedTuple):
    path: str
    key: int


class SharedRange(NamedTuple):
    offset: int
    length: int


class Welcome(NamedTuple):
    version: int
    features: List[str]
    slot: int
    pool: str
    initializer: Optional[str]
    keywords: bool
    shared_output: Optional[SharedOutput]
    shared_arguments: Optional[SharedArguments]


class Reject(NamedTuple):
    reason: str


class Call(NamedTuple):
    id: int
    function: str
    items: int
    keywords: bool
    last: bool
    shared: Optional[SharedRange]


class Cancel(NamedTuple):
    id: int
    item: int


class Drain(NamedTuple):
    pass


FromMaster = Union[Welcome, Reject, Call, Cancel, Drain]


def read_message(body: Buffer) -> Tuple[FromMaster, int]:
    """Gives the message of a frame, and where in the body its payload begins.

    Raises `Malformed` for anything that a master may never say. Fields that are not known are
    ignored. What the payload holds is not looked at.
    """
    name, fields, payload = read_envelope(body)
    reader = _Fields(name, fields)
    if name == "call":
        return _read_call(reader), payload
    if name == "cancel":
        return Cancel(reader.integer("id", _U64), reader.integer("item", _U32)), payload
    if name == "drain":
        return Drain(), payload
    if name == "welcome":
        return _read_welcome(reader), payload
    if name == "reject":
        return Reject(reader.text("reason")), payload
    raise Malformed(
        "expected `welcome`, `reject`, `call`, `cancel` or `drain` from a master; "
        f"came `{clip(name)}`"
    )


def message_name(message: FromMaster) -> str:
    """The name that the message has on the wire."""
    return type(message).__name__.lower()


def _read_call(fields: _Fields) -> Call:
    return Call(
        id=fields.integer("id", _U64),
        function=fields.text("function"),
        items=fields.integer("items", _U32, default=1),
        keywords=fields.boolean("keywords"),
        last=fields.boolean("last"),
        shared=_read_range(fields.optional_map("shared")),
    )


def _read_range(fields: Optional[_Fields]) -> Optional[SharedRange]:
    if fields is None:
        return None
    return SharedRange(fields.integer("offset", _U64), fields.integer("length", _U64))


def _read_welcome(fields: _Fields) -> Welcome:
    return Welcome(
        version=fields.integer("version", _U32),
        features=fields.texts("features"),
        slot=fields.integer("slot", _U32, default=0),
        pool=fields.text("pool", default=""),
        initializer=fields.optional_text("initializer"),
        keywords=fields.boolean("keywords"),
        shared_output=_read_output(fields.optional_map("shared_output")),
        shared_arguments=_read_arguments(fields.optional_map("shared_arguments")),
    )


def _read_output(fields: Optional[_Fields]) -> Optional[SharedOutput]:
    if fields is None:
        return None
    path, key = fields.text("path"), fields.integer("key", _U64)
    return SharedOutput(path, key, fields.optional_integer("results", _U64))


def _read_arguments(fields: Optional[_Fields]) -> Optional[SharedArguments]:
    if fields is None:
        return None
    return SharedArguments(fields.text("path"), fields.integer("key", _U64))


class _Fields:
    """The fields of one map, with their types checked as they are taken."""

    def __init__(self, owner: str, fields: Dict[str, Value]) -> None:
        self._owner = owner
        self._fields = fields

    def integer(self, name: str, most: int, default: Optional[int] = None) -> int:
        value = self._get(name, default)
        # To Python, a boolean is an integer too.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise self._unexpected(name, f"an integer from 0 to {most}", value)
        return value

    def optional_integer(self, name: str, most: int) -> Optional[int]:
        return None if self._fields.get(name) is None else self.integer(name, most)

    def text(self, name: str, default: Optional[str] = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._unexpected(name, "a string", value)
        return value

    def optional_text(self, name: str) -> Optional[str]:
        return None if self._fields.get(name) is None else self.text(name)

    def texts(self, name: str) -> List[str]:
        values = self._fields.get(name, [])
        if not isinstance(values, list):
            raise self._unexpected(name, "an array of strings", values)
        texts = []
        for value in values:
            if not isinstance(value, str):
                raise self._unexpected(name, "an array of strings", value)
            texts.append(value)
        return texts

    def boolean(self, name: str) -> bool:
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self._unexpected(name, "a boolean", value)
        return value

    def optional_map(self, name: str) -> Optional[_Fields]:
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._unexpected(name, "a map or nil", value)
        return _Fields(name, value)

    def _get(self, name: str, default: Value) -> Value:
        value = self._fields.get(name, default)
        if value is None and name not in self._fields:
            raise Malformed(f"expected a field `{name}` in `{self._owner}`; came none")
        return value

    def _unexpected(self, name: str, expected: str, value: Value) -> Malformed:
        return Malformed(
            f"expected {expected} as `{name}` of `{self._owner}`; came {describe(value)}"
        )


def write_frame(name: str, fields: Dict[str, object], payload: bytes = b"") -> bytes:
    """A whole frame, length included. The fields stand in the order that they are given in."""
    envelope: bytes = msgpack.packb({name: fields})
    return (len(envelope) + len(payload)).to_bytes(4, "big") + envelope + payload
