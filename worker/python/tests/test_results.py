from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
from collections import OrderedDict, namedtuple
from typing import Any

import msgpack
import pytest

from pool_worker import InvalidResult
from pool_worker._results import Encoder, binary_head, check_raw


class Color(enum.Enum):
    RED = "red"
    HOME = pathlib.PurePosixPath("/home")


class Size(enum.IntEnum):
    SMALL = 1


@dataclasses.dataclass
class Point:
    x: int
    y: Any


Pair = namedtuple("Pair", "first second")

UTC = datetime.timezone.utc


def decode(encoded: bytes) -> Any:
    return msgpack.unpackb(encoded, strict_map_key=False, timestamp=3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (1.5, 1.5),
        ("\u00e9", "\u00e9"),
        (b"\xff", b"\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ((1, (2,)), [1, [2]]),
        ({1: 2, "a": None}, {1: 2, "a": None}),
        (OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset(["b", "a"]), ["a", "b"]),
        (Color.RED, "red"),
        (Color.HOME, "/home"),
        (Size.SMALL, 1),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Point(1, Point(2, {3})), {"x": 1, "y": {"x": 2, "y": [3]}}),
        (msgpack.ExtType(5, b"x"), msgpack.ExtType(5, b"x")),
        (
            datetime.datetime(1969, 12, 31, 23, 0, 0, 5, tzinfo=UTC),
            datetime.datetime(1969, 12, 31, 23, 0, 0, 5, tzinfo=UTC),
        ),
        (
            [datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))],
            [datetime.datetime(2024, 1, 1, 22, tzinfo=UTC)],
        ),
    ],
    ids=repr,
)
def test_values_with_a_form(value: Any, expected: Any) -> None:
    assert decode(Encoder().encode(value)) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "64 bits"),
        ([-(2**63) - 1], "64 bits"),
        ({"a": {2**100}}, "64 bits"),
        (datetime.datetime(2024, 1, 1), "time zone"),
        (datetime.date(2024, 1, 1), "datetime.date"),
        (decimal.Decimal(1), "decimal.Decimal"),
        ((n for n in range(3)), "generator"),
        (range(3), "range"),
        (object(), "`object`"),
        (Point, "`type`"),
        ("\ud800", "UTF-8"),
        (1j, "complex"),
        (memoryview(b"abcd")[::2], "contiguous"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_values_without_a_form(value: Any, reason: str) -> None:
    encoder = Encoder()
    with pytest.raises(InvalidResult, match=reason):
        encoder.encode(value)
    assert encoder.encode([1]) == b"\x91\x01"


def nested(levels: int, innermost: Any = None) -> Any:
    value: Any = [] if innermost is None else [innermost]
    for _ in range(levels - 1):
        value = [value]
    return value


def test_512_levels_are_encoded_and_513_are_not() -> None:
    encoder = Encoder()
    assert encoder.encode(nested(512)) == b"\x91" * 511 + b"\x90"
    assert encoder.encode(nested(512, "x" * 1000))[:512] == b"\x91" * 512
    for levels in (513, 1000, 100_000):
        with pytest.raises(InvalidResult, match="512 levels"):
            encoder.encode(nested(levels))
    # Arrays as keys, which cannot be decoded again.
    key: Any = ()
    for _ in range(510):
        key = (key,)
    assert encoder.encode({key: "x" * 600})
    with pytest.raises(InvalidResult, match="512 levels"):
        encoder.encode({(key,): "x" * 600})


def test_512_levels_are_encoded_where_the_packer_has_a_lower_limit() -> None:
    encoder = Encoder()

    class Packer:
        """As those of earlier versions, whose limit is 511."""

        def __init__(self, packer: Any) -> None:
            self._packer = packer
            self.pack_array_header = packer.pack_array_header
            self.pack_map_header = packer.pack_map_header

        def pack(self, value: Any) -> Any:
            if type(value) in (list, dict):
                raise ValueError("recursion limit exceeded")
            return self._packer.pack(value)

    encoder._packer = Packer(encoder._packer)
    assert encoder.encode(nested(512)) == b"\x91" * 511 + b"\x90"
    assert encoder.encode({"a": nested(2, 5)}) == b"\x81\xa1a\x91\x91\x05"
    for value in (nested(513), nested(100_000), {"a": nested(512)}):
        with pytest.raises(InvalidResult, match="512 levels"):
            encoder.encode(value)
    with pytest.raises(InvalidResult, match="64 bits"):
        encoder.encode([2**64])


def test_a_circle_is_an_error() -> None:
    circle: Any = []
    circle.append(circle)
    with pytest.raises(InvalidResult, match="512 levels"):
        Encoder().encode(circle)


def test_the_head_of_binary_data() -> None:
    for size in (16384, 65535, 65536):
        assert binary_head(size) + b"x" * size == msgpack.packb(b"x" * size)


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    encoder = Encoder()
    assert encoder.encode(numpy.int64(7)) == b"\x07"
    assert decode(encoder.encode(numpy.float32(1.5))) == 1.5
    assert encoder.encode(numpy.bool_(True)) == b"\xc3"
    assert encoder.encode(numpy.array([[1, 2], [3, 4]])) == b"\x92\x92\x01\x02\x92\x03\x04"
    assert encoder.encode({"a": numpy.array(5)}) == b"\x81\xa1a\x05"
    with pytest.raises(InvalidResult):
        encoder.encode(numpy.longdouble(1.5))
    with pytest.raises(InvalidResult):
        encoder.encode(numpy.datetime64("2024-01-01T00:00:00.000000"))
    # Without their unit, or their names, they would be other values.
    for value in (
        numpy.datetime64("2024-01-01T00:00:00.000000001"),
        numpy.timedelta64(5, "ns"),
        numpy.datetime64("NaT", "s"),
        numpy.array(["2024-01-01"], "datetime64[ns]"),
        numpy.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    ):
        with pytest.raises(InvalidResult, match="no form"):
            encoder.encode(value)


def test_raw_results_are_checked() -> None:
    assert check_raw(b"\x91\x01") == b"\x91\x01"
    assert check_raw(bytearray(b"\xc0")) == b"\xc0"
    for value in (b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\x91" * 512 + b"\x90", "text", None):
        with pytest.raises(InvalidResult):
            check_raw(value)
