"""Decodes the payload of a call into arguments.

The fast way is a decoder in C. It takes all of MessagePack, but refuses values that Python has no
equal for in the same way as bytes that are malformed, and it lets values nest deeper than they may.
So what it refuses is walked through byte by byte: is it malformed, the connection ends; is it only
nothing for Python, the item has an error and the worker goes on.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import msgpack

from ._envelope import Buffer
from ._errors import InvalidArguments, Malformed
from ._limits import MAX_PAYLOAD_LEVELS


class Undecodable:
    """Stands in the place of a well-formed value that Python has no equal for."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


Positional = Union[List[Any], Undecodable]
Keywords = Union[Dict[Any, Any], Undecodable, None]
Item = Tuple[Positional, Keywords]

_BOTH_ARE_ONE = "two keys of a map are equal in Python, such as 1 and true"


def _map(pairs: Sequence[Tuple[Any, Any]]) -> Dict[Any, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        # Otherwise one of the two would be lost without a word.
        raise ValueError(_BOTH_ARE_ONE)
    return entries


unpack: Callable[[Buffer], Any] = partial(
    msgpack.unpackb,
    raw=False,
    strict_map_key=False,
    use_list=True,
    timestamp=0,
    object_pairs_hook=_map,
)
"""Decodes one value that fills the buffer. Raises all kinds of exceptions for anything else."""


def decode_items(payload: Buffer, count: int, keywords: bool) -> List[Item]:
    """Gives the arguments of each item.

    Raises `Malformed` unless the payload holds exactly the values of `count` items.
    """
    width = 2 if keywords else 1
    values = _decode_values(payload, count * width, width)
    if keywords:
        return list(zip(values[0::2], values[1::2]))
    return [(value, None) for value in values]


def split_items(payload: Buffer, count: int, keywords: bool) -> List[Tuple[bytes, Optional[bytes]]]:
    """Gives the arguments of each item as they are encoded.

    Raises `Malformed` as `decode_items` does.
    """
    width = 2 if keywords else 1
    ranges = _ranges(payload, count * width, width)
    parts = [bytes(payload[start:end]) for start, end in ranges]
    if keywords:
        return list(zip(parts[0::2], parts[1::2]))
    return [(part, None) for part in parts]


def _decode_values(payload: Buffer, count: int, width: int) -> List[Any]:
    # Each value takes at least a byte, so a count alone makes no room.
    if 0 < count <= len(payload):
        try:
            # One array of all values, as the decoder takes only one.
            values = unpack(b"".join((b"\xdd", count.to_bytes(4, "big"), payload)))
        except Exception:
            pass
        else:
            if _fit(values, width) and not (
                len(payload) > MAX_PAYLOAD_LEVELS and nests_deeper(values, MAX_PAYLOAD_LEVELS + 1)
            ):
                return list(values)
    return [_decode_value(payload[start:end]) for start, end in _ranges(payload, count, width)]


def _fit(values: List[Any], width: int) -> bool:
    if width == 1:
        return all(type(value) is list for value in values)
    lists, maps = values[0::2], values[1::2]
    return all(type(value) is list for value in lists) and all(
        type(value) is dict for value in maps
    )


def _decode_value(value: Buffer) -> Any:
    try:
        return unpack(value)
    except UnicodeDecodeError as error:
        return Undecodable(f"a string is not UTF-8: {error}")
    except TypeError as error:
        return Undecodable(f"a key of a map cannot be a key in Python: {error}")
    except Exception as error:
        return Undecodable(str(error) or repr(error))


def undecodable(function: str, value: Undecodable) -> InvalidArguments:
    """The error of an item whose arguments have no equal in Python."""
    return InvalidArguments(
        f"the arguments of `{function}` cannot be given to Python: {value.reason}"
    )


def _ranges(payload: Buffer, count: int, width: int) -> List[Tuple[int, int]]:
    """Where each of the values lies; every other one is a map if they come in pairs."""
    if count == 0:
        raise Malformed("expected a call of at least one item; came one of 0 items")
    ranges = []
    at = 0
    for number in range(count):
        if at == len(payload):
            raise Malformed(
                f"expected {count} values in the payload of a call; came the end after {number}"
            )
        expected = "a map of keyword arguments" if number % width else "an array of arguments"
        first = payload[at]
        is_map = 0x80 <= first <= 0x8F or first in (0xDE, 0xDF)
        is_array = 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)
        if not (is_map if number % width else is_array):
            raise Malformed(
                f"expected {expected}; came a value that begins with {first:02x}, "
                f"at byte {at} of the payload"
            )
        end = end_of_value(payload, at)
        ranges.append((at, end))
        at = end
    if at != len(payload):
        raise Malformed(
            f"expected the end of the frame behind {count} values of a payload; "
            f"came {len(payload) - at} bytes more"
        )
    return ranges


def nests_deeper(value: Any, levels: int) -> bool:
    """Whether a decoded value has more levels of lists and dictionaries than that."""
    level = [value] if type(value) in (list, dict) else []
    for _ in range(levels):
        if not level:
            return False
        inner: List[Any] = []
        for container in level:
            values = container if type(container) is list else container.values()
            inner += [value for value in values if type(value) is list or type(value) is dict]
        level = inner
    return bool(level)


_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def encoding_nests_deeper(encoded: bytes, levels: int) -> bool:
    """Whether an encoded, well-formed value has more levels than that."""
    if len(encoded) <= levels:
        return False
    # Most values have few bytes that could begin an array or a map at all.
    if len(encoded) - len(encoded.translate(None, _CONTAINERS)) <= levels:
        return False
    try:
        return nests_deeper(unpack(encoded), levels)
    except Exception:
        pass
    try:
        end_of_value(encoded, 0, levels)
    except Malformed:
        return True
    return False


def _sizes() -> List[Tuple[int, int, int]]:
    """For each first byte of a value: how many bytes of length follow, how many bytes of data
    follow in any case, and how many values each unit of the length stands for."""
    sizes = [(0, 0, 0)] * 256
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        sizes[first] = (width, 0, 0)
    for first, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        sizes[first] = (width, 1, 0)
    for first, size in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        sizes[first] = (0, size, 0)
    for first, size in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        sizes[first] = (0, size, 0)
    for power in range(5):
        sizes[0xD4 + power] = (0, 1 + (1 << power), 0)
    for first, width in ((0xDC, 2), (0xDD, 4)):
        sizes[first] = (width, 0, 1)
    for first, width in ((0xDE, 2), (0xDF, 4)):
        sizes[first] = (width, 0, 2)
    for length in range(32):
        sizes[0xA0 + length] = (0, length, 0)
    return sizes


_SIZES = _sizes()


def end_of_value(encoded: Buffer, start: int, levels: int = MAX_PAYLOAD_LEVELS) -> int:
    """Gives where the value that begins at `start` ends.

    Raises `Malformed` if it is not well formed, or nests deeper than so many levels.
    """
    size = len(encoded)
    at = start
    # How many values are still to come, of each array or map that is open; and 1 for the whole.
    open_values = [1]
    while open_values:
        if open_values[-1] == 0:
            open_values.pop()
            continue
        open_values[-1] -= 1
        if at >= size:
            raise _cut_short(size)
        first = encoded[at]
        if first == 0xC1:
            raise Malformed(f"expected a value; came the reserved byte c1, at byte {at}")
        length_width, data, unit = _SIZES[first]
        at += 1
        if length_width:
            if size - at < length_width:
                raise _cut_short(size)
            length = int.from_bytes(encoded[at : at + length_width], "big")
            at += length_width
        elif 0x80 <= first <= 0x9F:
            length, unit = first & 0x0F, 1 if first >= 0x90 else 2
        else:
            length = 0
        if unit:
            # The whole is one more than the levels.
            if len(open_values) > levels:
                raise Malformed(
                    f"expected at most {levels} levels in a value; came another one, at byte {at}"
                )
            open_values.append(length * unit)
        else:
            at += data + length
    if at > size:
        raise _cut_short(size)
    return at


def _cut_short(size: int) -> Malformed:
    return Malformed(
        f"expected the rest of a value of a payload; came the end of the frame, at byte {size}"
    )
