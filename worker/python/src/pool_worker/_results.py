"""Encodes results.

What MessagePack has no form for is an error, and never another value that looks alike.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
import struct
import sys
from typing import Any, Callable, List, Tuple

import msgpack

from ._errors import InvalidResult
from ._limits import MAX_BODY, MAX_PAYLOAD_LEVELS
from ._payload import encoding_nests_deeper, end_of_value

LARGE = 16384
"""Bytes from which binary data is sent from where it lies, and not copied first."""

_KEEP = 1 << 25
"""Bytes of a result behind which the packer, which has as much memory by then, is not used
again."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Encoder:
    """Encodes one result after another."""

    def __init__(self) -> None:
        self._packer = _packer()

    def encode(self, value: Any) -> bytes:
        """Gives the value as MessagePack. Raises `InvalidResult` if there is no such thing."""
        try:
            encoded: bytes = self._packer.pack(value)
        except InvalidResult as error:
            # Anew, as the frames of the packer are of no use to whoever reads its traceback.
            raise InvalidResult(str(error)) from None
        except UnicodeEncodeError as error:
            raise InvalidResult(f"a string of the result has no UTF-8: {error}") from None
        except Exception as error:
            encoded = self._encode_slowly(value, error)
        if len(encoded) > MAX_PAYLOAD_LEVELS and encoding_nests_deeper(encoded, MAX_PAYLOAD_LEVELS):
            raise _too_deep()
        if len(encoded) > _KEEP:
            self._packer = _packer()
        return encoded

    def _encode_slowly(self, value: Any, error: Exception) -> bytes:
        """Encodes what the packer refused for its depth: its own limit may lie lower."""
        if isinstance(error, (RecursionError, ValueError)) and type(value) in (list, tuple, dict):
            parts: List[bytes] = []
            self._append(value, 1, parts)
            return b"".join(parts)
        raise InvalidResult(f"the result cannot be encoded: {_words(error)}") from None

    def _append(self, value: Any, level: int, parts: List[bytes]) -> None:
        if level > MAX_PAYLOAD_LEVELS and type(value) in (list, tuple, dict):
            raise _too_deep()
        if type(value) in (list, tuple):
            parts.append(self._packer.pack_array_header(len(value)))
            for element in value:
                self._append(element, level + 1, parts)
        elif type(value) is dict:
            parts.append(self._packer.pack_map_header(len(value)))
            for key, element in value.items():
                self._append(key, level + 1, parts)
                self._append(element, level + 1, parts)
        else:
            try:
                parts.append(self._packer.pack(value))
            except InvalidResult:
                raise
            except Exception as error:
                raise InvalidResult(f"the result cannot be encoded: {_words(error)}") from None


def _packer() -> Any:
    return msgpack.Packer(default=_convert)


def binary_head(size: int) -> bytes:
    """What stands before so many bytes of binary data, `LARGE` or more."""
    return struct.pack(">BH", 0xC5, size) if size <= 0xFFFF else struct.pack(">BI", 0xC6, size)


def check_raw(value: Any) -> bytes:
    """Gives the result of a raw function. Raises `InvalidResult` unless it is one encoded value."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidResult(
            f"a raw function gives its result as encoded bytes, not as {_kind_of(value)}"
        )
    encoded = bytes(value)
    try:
        end = end_of_value(encoded, 0)
    except Exception as error:
        raise InvalidResult(f"a raw function gave bytes that are no value: {error}") from None
    if end != len(encoded):
        raise InvalidResult(
            f"a raw function gave more than one value: {len(encoded) - end} bytes follow the first"
        )
    return encoded


def too_large(size: int) -> InvalidResult:
    """The error of an item whose result does not fit a frame."""
    return InvalidResult(f"the result takes {size} bytes; a frame holds at most {MAX_BODY}")


def _too_deep() -> InvalidResult:
    return InvalidResult(f"the result nests deeper than {MAX_PAYLOAD_LEVELS} levels")


def _convert(value: Any) -> Any:
    """Gives what stands for a value that MessagePack does not know."""
    if isinstance(value, int):
        raise InvalidResult(
            "an integer of the result does not fit 64 bits; give it as a string, or as a float"
        )
    if isinstance(value, enum.Enum):
        return _known(value.value)
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # Whoever has a value of numpy's has imported it; nobody else should pay for it.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, (numpy.ndarray, numpy.generic)):
            # Times would become numbers without their unit, and records lists without their names.
            if value.dtype.kind in "mM" or value.dtype.names is not None:
                raise _no_form(value, f" of `{value.dtype}`")
            return value.tolist() if isinstance(value, numpy.ndarray) else _known(value.item())
    raise _no_form(value)


_NATIVE = (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict)


def _known(value: Any) -> Any:
    """The packer converts once; this is for what is converted into something to be converted."""
    if isinstance(value, _NATIVE):
        return value
    # A scalar of numpy may give itself, as where it has more digits than a float.
    if type(value).__module__ == "numpy":
        raise _no_form(value)
    return _convert(value)


def _timestamp(value: datetime.datetime) -> Any:
    if value.utcoffset() is None:
        raise InvalidResult(
            "a datetime of the result has no time zone, so it stands for no moment; give it one, "
            "such as datetime.timezone.utc, or give value.isoformat()"
        )
    elapsed = value - _EPOCH
    # Subclasses of others may know more than microseconds.
    nanoseconds = elapsed.microseconds * 1000 + int(getattr(value, "nanosecond", 0))
    return msgpack.Timestamp(elapsed.days * 86400 + elapsed.seconds, nanoseconds)


def _array_of_set(value: Any) -> List[Any]:
    try:
        return sorted(value)
    except TypeError:
        return list(value)


_CONVERSIONS: Tuple[Tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime.datetime, _timestamp),
    ((set, frozenset), _array_of_set),
    (pathlib.PurePath, str),
)


def _no_form(value: Any, detail: str = "") -> InvalidResult:
    return InvalidResult(
        f"the result holds {_kind_of(value)}{detail}, for which MessagePack has no form; give a string, a "
        "number, bytes, a list or a dict instead"
    )


def _kind_of(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a value of type `{module}{kind.__qualname__}`"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
