"""The golden vectors of the protocol."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, List, NamedTuple

import msgpack

DIRECTORY = Path(__file__).resolve().parents[3] / "protocol" / "vectors"


class Vector(NamedTuple):
    name: str
    data: bytes
    meaning: Any


def load(kind: str) -> List[Vector]:
    files = sorted((DIRECTORY / kind).glob("*.json"))
    assert files, f"there are no vectors in {DIRECTORY / kind}"
    return [
        Vector(file.stem, file.with_suffix(".bin").read_bytes(), json.loads(file.read_text()))
        for file in files
    ]


def value(form: Any) -> Any:
    """The value that stands in the JSON of a vector."""
    if isinstance(form, list):
        return [value(element) for element in form]
    if not isinstance(form, dict):
        return form
    if len(form) == 1:
        ((key, content),) = form.items()
        if key == "$integer":
            return int(content)
        if key == "$float":
            return float(content)
        if key == "$float32":
            number = float(content)
            return number if math.isinf(number) else struct.unpack("f", struct.pack("f", number))[0]
        if key == "$bin":
            return bytes.fromhex(content)
        if key == "$ext":
            kind, data = content[0], bytes.fromhex(content[1])
            return msgpack.Timestamp.from_bytes(data) if kind == -1 else msgpack.ExtType(kind, data)
        if key == "$map":
            return {value(name): value(element) for name, element in content}
        if key == "$repeat":
            return content[0] * content[1]
    return {name: value(element) for name, element in form.items()}
