from __future__ import annotations

import msgpack
import pytest

from pool_worker._envelope import read_envelope
from pool_worker._errors import Malformed
from pool_worker._messages import Call, read_message


def call_with(field: bytes) -> bytes:
    """A call with one more field, `x`, whose value is given in bytes."""
    return b"\x81\xa4call\x83\xa2id\x01\xa8function\xa1f\xa1x" + field


@pytest.mark.parametrize(
    "field",
    [
        b"\x01",
        b"\xff",
        b"\xd3" + b"\x80" + b"\0" * 7,
        b"\xc0",
        b"\xc2",
        b"\xdb\0\0\0\x01a",
        b"\xdd\0\0\0\x01\x01",
        b"\xdf\0\0\0\x01\xd9\x01a\xcd\0\x01",
        b"\x91" * 13 + b"\x90",
    ],
)
def test_unknown_fields_may_hold_anything(field: bytes) -> None:
    body = call_with(field)
    assert read_message(body + b"\x90") == (Call(1, "f", 1, False, False, None), len(body))


@pytest.mark.parametrize(
    ("field", "came"),
    [
        (b"\xc1", "c1"),
        (b"\xca\0\0\0\0", "float"),
        (b"\xcb" + b"\0" * 8, "float"),
        (b"\xc4\x01a", "binary"),
        (b"\xd4\x01a", "extension"),
        (b"\xc7\x01\x01a", "extension"),
        (b"\x81\x01\x01", "integer 1"),
        (b"\x82\xa1a\x01\xa1a\x01", "second time"),
        (b"\xa1\xff", "UTF-8"),
        (b"\xa2a", "end of the frame"),
        (b"\xdd\xff\xff\xff\xff", "end of the frame"),
        (b"\x91" * 14 + b"\x90", "16 levels"),
        (b"\x91" * 100_000, "16 levels"),
    ],
)
def test_no_field_may_hold_these(field: bytes, came: str) -> None:
    with pytest.raises(Malformed, match=came):
        read_message(call_with(field))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": True},
        {"id": -1},
        {"id": 1, "function": "f", "items": True},
        {"id": 1, "function": "f", "items": 2**32},
        {"id": 1, "function": "f", "items": None},
        {"id": 1, "function": "f", "last": 1},
        {"id": 1, "function": "f", "keywords": None},
        {"id": 1, "function": "f", "shared": []},
        {"id": 1, "function": "f", "shared": {"offset": 1}},
        {"id": 1, "function": None},
        {"function": "f"},
    ],
)
def test_fields_have_types(fields: object) -> None:
    with pytest.raises(Malformed, match="expected .* came "):
        read_message(msgpack.packb({"call": fields}))


def test_the_first_byte() -> None:
    for body in (b"\xde\0\x01\xa5drain\x80", b"\x80", b"\x91\xa5drain", b"\x82\xa1a\x80\xa1b\x80"):
        with pytest.raises(Malformed, match="byte 81"):
            read_envelope(body)
