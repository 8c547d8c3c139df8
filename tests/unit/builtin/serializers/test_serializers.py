"""What goes in comes out as the type says, and what cannot go in is named with its path."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import enum
import ipaddress
import math
import types
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.builtin.json import Json
from orbitmesh.builtin.msgpack import Msgpack
from orbitmesh.core.errors import Unserializable
from orbitmesh.spi.payload import Serializer
from orbitmesh.spi.values import MAX_DECODERS, Decoders

MOMENT = dt.datetime(2030, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict):
    fast: bool


class Row(msgspec.Struct):
    id: uuid.UUID
    price: Decimal
    tags: set[str] = msgspec.field(default_factory=set)


@dataclass
class Order:
    when: dt.datetime
    day: dt.date
    colour: Colour
    level: Level
    rows: list[Row]
    blob: bytes
    point: Point
    options: Options
    pause: dt.timedelta = dt.timedelta(0)
    by_day: dict[dt.date, int] = field(default_factory=dict)


ORDER = Order(
    when=MOMENT,
    day=dt.date(2030, 5, 6),
    colour=Colour.BLUE,
    level=Level.HIGH,
    rows=[Row(uuid.UUID(int=7), Decimal("1.10"), {"a"})],
    blob=b"\x00\xff",
    point=Point(1, 2),
    options={"fast": True},
    pause=dt.timedelta(minutes=90),
    by_day={dt.date(2030, 1, 1): 3},
)


# Round trips


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (ORDER, Order),
        (None, None),
        ([1, 2], list[int]),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, frozenset[int]),
        ({1: "a"}, dict[int, str]),
        (Right.READ | Right.WRITE, Right),
        (MOMENT, dt.datetime),
        (MOMENT.replace(tzinfo=None), dt.datetime),
        (dt.time(1, 2, 3), dt.time),
        (b"bytes", bytes),
        (3, Literal[3, 4]),
        (2**64 - 1, int),
        (-(2**63), int),
        ("x", str | None),
    ],
)
def test_typed_values_come_back_as_they_were(serializer: Serializer, value: Any, type_: Any) -> None:
    assert serializer.decode(serializer.encode(value), type_) == value


def test_bodies_may_be_slices_of_larger_ones(serializer: Serializer) -> None:
    body = serializer.encode(ORDER)
    assert serializer.decode(memoryview(b"##" + body + b"##")[2:-2], Order) == ORDER
    assert serializer.decode(memoryview(b"##" + body + b"##")[2:-2], Any) == serializer.decode(body, Any)


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]])
def test_every_form_of_bytes_is_written_as_bytes(serializer: Serializer, value: Any) -> None:
    assert serializer.decode(serializer.encode([value]), list[bytes]) == [b"abc"]


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


def _nested(keys: st.SearchStrategy[Any], leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(_nested(_SCALARS | st.binary(), _SCALARS | st.binary()))
def test_plain_values_survive_msgpack(value: Any) -> None:
    serializer = Msgpack()
    assert serializer.decode(serializer.encode(value), Any) == value


@given(_nested(st.text(st.characters(exclude_categories=["Cs"])), _SCALARS))
def test_plain_values_survive_json(value: Any) -> None:
    serializer = Json()
    assert serializer.decode(serializer.encode(value), Any) == value


@given(st.datetimes(timezones=st.timezones()))
def test_any_moment_comes_back_from_msgpack_aware_and_in_utc(moment: dt.datetime) -> None:
    serializer = Msgpack()
    try:
        expected = moment.astimezone(dt.UTC)
    except OverflowError:  # at the ends of the calendar, UTC has no name for it
        return
    for type_ in (Any, dt.datetime):
        read = serializer.decode(serializer.encode(moment), type_)
        assert read == expected
        assert read.utcoffset() == dt.timedelta(0)


# What each form says of the odd ones


def test_msgpack_keeps_nan_and_infinity(msgpack: Serializer) -> None:
    values = msgpack.decode(msgpack.encode([math.nan, math.inf, -math.inf]), Any)
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_json_has_null_for_nan_and_infinity(json: Serializer) -> None:
    assert json.encode([math.nan, math.inf, -math.inf]) == b"[null,null,null]"


def test_ints_beyond_64_bits_are_refused_by_msgpack_and_kept_by_json(msgpack: Serializer, json: Serializer) -> None:
    for number in (2**64, -(2**63) - 1):
        with pytest.raises(Unserializable, match=r"of type int at \$\.n\[1\].*beyond 64 bits; send it as text"):
            msgpack.encode({"n": [1, number]})
        assert json.decode(json.encode(number), int) == number
        assert json.decode(json.encode(number), Any) == number
    with pytest.raises(Unserializable, match="4300 digits"):
        json.encode(10**5000)


def test_keys_may_be_any_scalar_in_msgpack(msgpack: Serializer) -> None:
    value = {1: "a", 1.5: "b", None: "c", b"k": "d", "t": "e", MOMENT: "f"}
    assert msgpack.decode(msgpack.encode(value), Any) == value


def test_json_writes_keys_as_text_and_refuses_those_that_have_none(json: Serializer) -> None:
    assert json.encode({1: 2, dt.date(2030, 1, 1): 3}) == b'{"1":2,"2030-01-01":3}'
    for key in (None, True, (1, 2)):
        with pytest.raises(Unserializable, match=r"a key of type \w+ at \$\.a cannot be written as json"):
            json.encode({"a": {key: 1}})


def test_array_keys_are_malformed_as_any(msgpack: Serializer) -> None:
    body = msgpack.encode({(1, 2): 3})
    assert msgpack.decode(body, dict[tuple[int, int], int]) == {(1, 2): 3}
    with pytest.raises(ValueError, match="unhashable"):
        msgpack.decode(body, Any)


def test_json_writes_bytes_as_base64_text(json: Serializer) -> None:
    assert json.encode({"b": b"\x00\xff"}) == b'{"b":"AP8="}'
    assert json.decode(b'{"b":"AP8="}', dict[str, bytes]) == {"b": b"\x00\xff"}
    assert json.decode(b'{"b":"AP8="}', Any) == {"b": "AP8="}


def test_each_says_whether_it_writes_bytes_as_bytes() -> None:
    assert Msgpack.is_binary
    assert not Json.is_binary


# Values that are nearly plain


class Name(str):
    __slots__ = ()


class Celsius(float):
    pass


class Count(int):
    pass


class Blob(bytes):
    pass


class Index:
    """What numpy's integers look like from here."""

    def __index__(self) -> int:
        return 41


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Name("n"), "n"),
        (Celsius(1.5), 1.5),
        (Count(7), 7),
        (Index(), 41),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}, {"a": 2}), {"a": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Colour.RED, "red"),
        (Right.READ, 1),
    ],
)
def test_what_is_derived_from_plain_values_is_written_as_they_are(
    serializer: Serializer, value: Any, plain: Any
) -> None:
    assert serializer.encode([value]) == serializer.encode([plain])


def test_derived_bytes_are_bytes(serializer: Serializer) -> None:
    assert serializer.encode(Blob(b"x")) == serializer.encode(b"x")


# What cannot be written


@dataclass
class Holder:
    inside: Any


class StructHolder(msgspec.Struct):
    inside: Any


class Strange(enum.Enum):
    ONE = complex(1, 2)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1j, r"a value of type complex cannot"),
        ([1, {"a b": [1j]}], r"of type complex at \$\[1\]\['a b'\]\[0\] cannot"),
        (Holder(inside=(1, 1j)), r"of type complex at \$\.inside\[1\] cannot"),
        (StructHolder(inside={"x": 1j}), r"of type complex at \$\.inside\.x cannot"),
        ({"s": {1j}}, r"of type complex at \$\.s\[…\] cannot"),
        ({"k": {1j: 1}}, r"a key of type complex at \$\.k cannot"),
        ([Strange.ONE], r"of type complex at \$\[0\]\.value cannot"),
        ({"f": print}, r"of type builtin_function_or_method at \$\.f cannot"),
        ([ipaddress.ip_address("::1")], r"of type ipaddress\.IPv6Address at \$\[0\] cannot"),
        (["a\ud800"], r"of type str at \$\[0\] .* lone surrogates"),
        ([memoryview(b"abcdef")[::2]], r"of type memoryview at \$\[0\] .*contiguous"),
        ((n for n in range(3)), r"of type generator cannot"),
    ],
)
def test_what_cannot_be_written_is_named_with_path_and_type(serializer: Serializer, value: Any, said: str) -> None:
    with pytest.raises(Unserializable, match=said):
        serializer.encode(value)


def test_a_value_that_holds_itself_or_is_nested_too_deeply_is_said_to_be(serializer: Serializer) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(Unserializable, match=r"nested too deeply for .*, or holds itself"):
            serializer.encode(value)
    while deep:  # else its own end would nest as deeply
        deep = deep[0]


def test_messages_quote_no_more_than_a_little(serializer: Serializer) -> None:
    with pytest.raises(Unserializable) as caught:
        serializer.encode({"k" * 10_000 + " ": 1j})
    assert len(str(caught.value)) < 300


class Hidden(Exception):
    pass


class Treacherous(collections.abc.Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise Hidden

    def __iter__(self) -> Any:
        raise Hidden

    def __len__(self) -> int:
        raise Hidden


def test_what_fails_while_it_is_written_is_unserializable_too(serializer: Serializer) -> None:
    with pytest.raises(Unserializable, match="Hidden") as caught:
        serializer.encode(Treacherous())
    assert isinstance(caught.value.__cause__, Hidden)


# What cannot be read


@given(st.binary(max_size=200), st.sampled_from([Any, Order, list[int], dict[str, Any], dict[Any, Any], bytes]))
def test_hostile_bytes_raise_nothing_but_value_error(body: bytes, type_: Any) -> None:
    for serializer in (Msgpack(), Json()):
        with contextlib.suppress(ValueError):
            serializer.decode(body, type_)


@given(st.data())
def test_bytes_changed_at_random_raise_nothing_but_value_error(data: st.DataObject) -> None:
    for serializer in (Msgpack(), Json()):
        body = bytearray(serializer.encode(ORDER))
        for _ in range(data.draw(st.integers(1, 4))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(body)))
        for type_ in (Any, Order):
            for changed in (body, body[:cut]):
                with contextlib.suppress(ValueError):
                    serializer.decode(bytes(changed), type_)


class Small(msgspec.Struct):
    a: int = 0


@pytest.mark.parametrize("type_", [Any, list[Any], Small, dict[str, Any], dict[str, msgspec.Raw]])
@pytest.mark.parametrize("depth", [2_000, 1_000_000])
def test_hostile_nesting_is_a_value_error(depth: int, type_: Any) -> None:
    in_maps = b"\x81\xa1z" * depth + b"\xc0"
    for body in (b"\x91" * depth + b"\xc0", b"\x81\xa1z" + b"\x91" * depth + b"\xc0", in_maps):
        with pytest.raises(ValueError, match=r".*"):
            Msgpack().decode(body, type_)
    for body in (b"[" * depth + b"]" * depth, b'{"z":' + b"[" * depth + b"]" * depth + b"}"):
        with pytest.raises(ValueError, match=r".*"):
            Json().decode(body, type_)


@pytest.mark.parametrize("type_", [Any, list[int], tuple[int, ...], set[int], dict[str, int], bytes, str])
@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\x81\xdd", b"\x91\xdd"])
def test_lengths_that_the_body_has_no_bytes_for_take_no_memory(msgpack: Serializer, head: bytes, type_: Any) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r".*"):
            msgpack.decode(head + b"\x7f\xff\xff\xff\x01", type_)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("type_", [Any, list[Any]])
def test_unknown_extension_types_of_msgpack_are_refused(msgpack: Serializer, type_: Any) -> None:
    with pytest.raises(ValueError, match="extension type 5"):
        msgpack.decode(b"\x91\xd4\x05a", type_)


@pytest.mark.parametrize(
    "stamp", [b"\xc7\x0c\xff\xff\xff\xff\xff" + b"\x7f" * 8, b"\xc7\x0c\xff" + b"\0" * 4 + b"\x80" + b"\0" * 7]
)
def test_timestamps_that_are_none_are_value_errors(msgpack: Serializer, stamp: bytes) -> None:
    for type_ in (Any, dt.datetime):
        with pytest.raises(ValueError, match=r".*"):
            msgpack.decode(stamp, type_)


class Ids(msgspec.Struct):
    ids: list[int]


def test_a_misfit_has_its_path(serializer: Serializer) -> None:
    with pytest.raises(ValueError, match=r"Expected `int`, got `str` - at `\$\.ids\[1\]`"):
        serializer.decode(serializer.encode({"ids": [1, "x"]}), Ids)


def test_an_empty_body_and_trailing_bytes_are_malformed(serializer: Serializer) -> None:
    for type_ in (Any, None):
        for body in (b"", serializer.encode(None) * 2):
            with pytest.raises(ValueError, match=r".*"):
                serializer.decode(body, type_)


@dataclass
class Checked:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise Hidden("below zero")


def test_what_a_type_s_own_check_raises_is_a_value_error(serializer: Serializer) -> None:
    assert serializer.decode(serializer.encode({"n": 1}), Checked) == Checked(1)
    with pytest.raises(ValueError, match="Hidden: below zero"):
        serializer.decode(serializer.encode({"n": -1}), Checked)


# Types


def test_a_type_that_nothing_can_be_read_to_is_a_mistake_of_this_side(serializer: Serializer) -> None:
    with pytest.raises(TypeError, match="more than one dict type"):
        serializer.decode(serializer.encode({}), dict[str, int] | dict[int, int])


def test_types_that_cannot_be_hashed_are_read_all_the_same(serializer: Serializer) -> None:
    unhashable = Annotated[int, {"a": 1}]
    assert serializer.decode(serializer.encode(3), unhashable) == 3
    with pytest.raises(ValueError, match="Expected `int`"):
        serializer.decode(serializer.encode("x"), unhashable)


def test_decoders_are_made_once_per_type_and_do_not_fill_memory() -> None:
    made: list[Any] = []

    def make(type_: Any) -> Any:
        made.append(type_)
        return lambda body: body

    decoders = Decoders(make)
    for _ in range(3):
        assert decoders[list[int]](b"x") == b"x"
    assert made == [list[int]]
    for number in range(3 * MAX_DECODERS):
        decoders[number](b"x")
    assert len(decoders) <= MAX_DECODERS
