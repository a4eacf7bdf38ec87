"""Arguments and results as people write and read them: JSON as `master` has it."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, Dict, List, Tuple

import msgpack

from ._results import Encoder

_FORMS = ("$float", "$binary", "$extension", "$string", "$map")
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


class OutOfRange(Exception):
    """A number, or an object, that is JSON and that no worker can be sent."""


class _Map(Tuple[Tuple[Any, Any], ...]):
    """The entries of a map, in their order."""


def read_argument(word: str) -> Any:
    """Gives JSON as what it says, and anything else as the string that it is."""
    try:
        return json.loads(
            word,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_json,
            object_pairs_hook=_object,
        )
    except ValueError:
        return word


def _integer(text: str) -> int:
    # Beyond some thousand digits Python refuses to read one.
    number = int(text) if len(text) <= 32 else _MOST + 1
    if not _LEAST <= number <= _MOST:
        raise OutOfRange(f"the integer {text} does not fit 64 bits")
    return number


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise OutOfRange(f"the number {text} is too large for a float")
    return number


def _no_json(text: str) -> Any:
    raise ValueError(text)


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise OutOfRange("an object has a key twice")
    return entries


def result_text(value: Any) -> str:
    """The result of a function, on one line. Raises `InvalidResult` if it is none."""
    encoded = Encoder().encode(value)
    decoded = msgpack.unpackb(encoded, strict_map_key=False, object_pairs_hook=_Map)
    parts: List[str] = []
    _write(decoded, parts)
    return "".join(parts)


def _write(value: Any, parts: List[str]) -> None:
    if isinstance(value, _Map):
        _write_map(value, parts)
    elif isinstance(value, list):
        parts.append("[")
        for index, element in enumerate(value):
            parts.append("," if index else "")
            _write(element, parts)
        parts.append("]")
    elif isinstance(value, float):
        parts.append(_float_text(value))
    elif isinstance(value, bytes):
        parts.append(f'{{"$binary":{_base64(value)}}}')
    elif isinstance(value, msgpack.Timestamp):
        parts.append(f'{{"$extension":[-1,{_base64(value.to_bytes())}]}}')
    elif isinstance(value, msgpack.ExtType):
        parts.append(f'{{"$extension":[{value.code},{_base64(value.data)}]}}')
    else:
        parts.append(json.dumps(value, ensure_ascii=False))


def _write_map(entries: _Map, parts: List[str]) -> None:
    names = [key for key, _ in entries]
    are_strings = all(isinstance(name, str) for name in names)
    is_object = (
        are_strings
        and len(set(names)) == len(names)
        and not (len(names) == 1 and names[0] in _FORMS)
    )
    before, between, after = ("", ":", "") if is_object else ("[", ",", "]")
    parts.append("{" if is_object else '{"$map":[')
    for index, (key, element) in enumerate(entries):
        parts.append("," + before if index else before)
        _write(key, parts)
        parts.append(between)
        _write(element, parts)
        parts.append(after)
    parts.append("}" if is_object else "]}")


def _float_text(value: float) -> str:
    if math.isnan(value):
        return '{"$float":"NaN"}'
    if math.isinf(value):
        return f'{{"$float":"{"-" if value < 0 else ""}Infinity"}}'
    return re.sub(r"e([+-]?)0*", lambda found: "e" + found[1].strip("+"), repr(value))


def _base64(data: bytes) -> str:
    return f'"{base64.b64encode(data).decode("ascii")}"'
