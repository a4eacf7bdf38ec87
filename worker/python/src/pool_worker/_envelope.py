"""Reads envelopes, strictly.

Envelopes are a narrow dialect of MessagePack: no floats, no binary data, no extension types, all
keys strings that stand once, at most 16 levels. A decoder for all of MessagePack lets too much
pass, and does not tell where a value ends; so this is one for the dialect alone.
"""

from __future__ import annotations

from typing import Dict, List, Tuple, Union

from ._errors import Malformed
from ._limits import MAX_ENVELOPE_LEVELS

Buffer = Union[bytes, bytearray, memoryview]

Value = Union[None, bool, int, str, List["Value"], Dict[str, "Value"]]

_ENVELOPE_START = 0x81

_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_STRING = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY = {0xDC: 2, 0xDD: 4}
_MAP = {0xDE: 2, 0xDF: 4}
_FORBIDDEN = {
    0xC1: "the reserved byte c1",
    **dict.fromkeys((0xC4, 0xC5, 0xC6), "binary data"),
    **dict.fromkeys((0xCA, 0xCB), "a float"),
    **dict.fromkeys((0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)), "an extension type"),
}


def read_envelope(body: Buffer) -> Tuple[str, Dict[str, Value], int]:
    """Gives the name of the message, its fields, and where in the body the payload begins.

    Raises `Malformed` for anything that is not an envelope.
    """
    if body[0] != _ENVELOPE_START:
        raise Malformed(
            f"expected an envelope, which begins with the byte 81; came the byte {body[0]:02x}"
        )
    reader = _Reader(body)
    envelope = reader.value(1)
    assert isinstance(envelope, dict), "the first byte says so"
    ((name, fields),) = envelope.items()
    if not isinstance(fields, dict):
        raise Malformed(
            f"expected a map with the fields of `{clip(name)}`; came {describe(fields)}"
        )
    return name, fields, reader.at


def describe(value: Value) -> str:
    """What a value of an envelope is, in words."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int):
        return f"the integer {value}"
    if isinstance(value, str):
        return f"the string `{clip(value)}`"
    return "an array" if isinstance(value, list) else "a map"


def clip(text: str) -> str:
    """A text of the master's, short enough for a line."""
    return text if len(text) <= 100 else f"{text[:100]}..."


class _Reader:
    def __init__(self, body: Buffer) -> None:
        self._body = body
        self._end = len(body)
        self.at = 0

    def value(self, level: int) -> Value:
        """Reads one value; `level` is the one that an array or a map here would be."""
        at = self.at
        first = self._take(1)[0]
        if first <= 0x7F:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first <= 0x8F:
            return self._map(first & 0x0F, level, at)
        if first <= 0x9F:
            return self._array(first & 0x0F, level, at)
        if first <= 0xBF:
            return self._string(first & 0x1F, at)
        if first == 0xC0:
            return None
        if first in (0xC2, 0xC3):
            return first == 0xC3
        if first in _UNSIGNED:
            return self._integer(_UNSIGNED[first])
        if first in _SIGNED:
            return self._integer(_SIGNED[first], signed=True)
        if first in _STRING:
            return self._string(self._integer(_STRING[first]), at)
        if first in _ARRAY:
            return self._array(self._integer(_ARRAY[first]), level, at)
        if first in _MAP:
            return self._map(self._integer(_MAP[first]), level, at)
        raise Malformed(
            "expected a boolean, an integer, a string, an array, a map or nil in an envelope; "
            f"came {_FORBIDDEN[first]}, at byte {at}"
        )

    def _take(self, count: int) -> Buffer:
        start = self.at
        if count > self._end - start:
            raise Malformed(
                f"expected {count} more bytes of an envelope at byte {start}; "
                f"came the end of the frame after {self._end - start}"
            )
        self.at = start + count
        return self._body[start : self.at]

    def _integer(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self._take(width), "big", signed=signed)

    def _string(self, length: int, at: int) -> str:
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(
                f"expected UTF-8 in an envelope; came a string at byte {at} that is not: {error}"
            ) from None

    def _array(self, length: int, level: int, at: int) -> List[Value]:
        self._check_level(level, at)
        return [self.value(level + 1) for _ in range(length)]

    def _map(self, length: int, level: int, at: int) -> Dict[str, Value]:
        self._check_level(level, at)
        entries: Dict[str, Value] = {}
        for _ in range(length):
            at = self.at
            key = self.value(level + 1)
            if not isinstance(key, str):
                raise Malformed(
                    f"expected a string as a key in an envelope; came {describe(key)}, at byte {at}"
                )
            if key in entries:
                raise Malformed(
                    f"expected each field once; came `{clip(key)}` for the second time, "
                    f"at byte {at}"
                )
            entries[key] = self.value(level + 1)
        return entries

    def _check_level(self, level: int, at: int) -> None:
        if level > MAX_ENVELOPE_LEVELS:
            raise Malformed(
                f"expected at most {MAX_ENVELOPE_LEVELS} levels in an envelope; "
                f"came another one at byte {at}"
            )
