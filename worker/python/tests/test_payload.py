from __future__ import annotations

from typing import Any

import msgpack
import pytest

from pool_worker._errors import Malformed
from pool_worker._payload import (
    Undecodable,
    decode_items,
    encoding_nests_deeper,
    end_of_value,
    nests_deeper,
    split_items,
)


def nested(levels: int) -> bytes:
    return b"\x91" * (levels - 1) + b"\x90"


@pytest.mark.parametrize("keywords", [False, True])
def test_512_levels_are_decoded_and_513_are_malformed(keywords: bool) -> None:
    map_behind = b"\x80" if keywords else b""
    ((value, _),) = decode_items(nested(512) + map_behind, 1, keywords)
    levels = 0
    while value is not None:
        assert type(value) is list
        value = value[0] if value else None
        levels += 1
    assert levels == 512
    with pytest.raises(Malformed, match="512 levels"):
        decode_items(nested(513) + map_behind, 1, keywords)
    with pytest.raises(Malformed, match="512 levels"):
        decode_items(nested(3000) + map_behind, 1, keywords)


def test_many_levels_side_by_side_are_not_deep() -> None:
    value = [[[number] for number in range(1000)]]
    assert decode_items(msgpack.packb(value), 1, False) == [(value, None)]
    assert not encoding_nests_deeper(msgpack.packb(value), 512)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x91\xa2\xff\xfe", "not UTF-8"),
        (b"\x91\x81\x91\x01\x02", "key"),
        (b"\x91\x82\x01\xa1a\xc3\xa1b", "equal in Python"),
        (b"\x91\x82\xa1a\x01\xa1a\x02", "equal in Python"),
        (b"\x91\xc7\x05\xff12345", ""),
        (b"\x91\xd4\xfb\x00", ""),
    ],
)
def test_values_that_python_does_not_have_spoil_only_their_item(value: bytes, reason: str) -> None:
    items = decode_items(b"\x91\x01" + value + b"\x91\x03", 3, False)
    assert [items[0], items[2]] == [([1], None), ([3], None)]
    undecodable = items[1][0]
    assert isinstance(undecodable, Undecodable)
    assert reason in undecodable.reason


@pytest.mark.parametrize(
    ("payload", "count", "keywords"),
    [
        (b"", 1, False),
        (b"", 0, False),
        (b"\x90", 0, False),
        (b"\x90", 2, False),
        (b"\x90", 4294967295, True),
        (b"\x90\x90", 1, False),
        (b"\x90\xc0", 1, False),
        (b"\x90", 1, True),
        (b"\x90\x90", 1, True),
        (b"\x80\x80", 1, True),
        (b"\x80", 1, False),
        (b"\xc4\x01\x90", 1, False),
        (b"\x01", 1, False),
        (b"\x91\xc1", 1, False),
        (b"\x92\x01", 1, False),
        (b"\x91\xa3ab", 1, False),
        (b"\x91\xda\x00", 1, False),
        (b"\x91\xdd\xff\xff\xff\xff", 1, False),
        (b"\xdd\xff\xff\xff\xff", 1, False),
        (b"\x91\xc7\x05\x01abc", 1, False),
        # Refused for the key first, and yet malformed.
        (b"\x92\x81\x90\x01\xc1", 1, False),
    ],
)
def test_malformed_payloads(payload: bytes, count: int, keywords: bool) -> None:
    for decode in (decode_items, split_items):
        with pytest.raises(Malformed, match="expected .* came "):
            decode(payload, count, keywords)


def every_kind() -> Any:
    return [
        [None, True, False, 0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**64 - 1],
        [-1, -32, -33, -128, -129, -32769, -(2**31) - 1, -(2**63), 1.5],
        ["", "a" * 31, "a" * 32, "a" * 256, "a" * 65536],
        [b"", b"a" * 255, b"a" * 256, b"a" * 65536],
        [list(range(15)), list(range(16)), list(range(65536))],
        [{}, {1: 2}, {str(n): n for n in range(16)}, {n: [] for n in range(65536)}],
        [msgpack.ExtType(5, b"x" * size) for size in (0, 1, 2, 4, 8, 16, 17, 256, 65536)],
    ]


def test_every_kind_of_value_is_walked_over() -> None:
    for value in [*every_kind(), every_kind()]:
        encoded = msgpack.packb(value)
        assert end_of_value(encoded + b"\xc1", 0) == len(encoded)
        if len(encoded) < 1000:
            for cut in range(len(encoded)):
                with pytest.raises(Malformed):
                    end_of_value(encoded[:cut], 0)
        assert decode_items(encoded, 1, False) == [(value, None)]
    assert end_of_value(b"\x01\xcb12345678\xca1234\x05", 1) == 10


def test_nests_deeper() -> None:
    assert not nests_deeper(1, 0)
    assert nests_deeper([], 0)
    assert not nests_deeper({"a": [1], "b": {}}, 2)
    assert nests_deeper({"a": [1], "b": {"c": []}}, 2)


def test_items_are_split_without_being_decoded() -> None:
    assert split_items(b"\x91\x01\x80\x90\x81\xa1a\x02", 2, True) == [
        (b"\x91\x01", b"\x80"),
        (b"\x90", b"\x81\xa1a\x02"),
    ]
    assert split_items(b"\x91\x01", 1, False) == [(b"\x91\x01", None)]
