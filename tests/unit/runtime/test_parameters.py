"""Handlers as they are written, and what becomes of what callers send them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from orbitmesh.core.errors import InvalidParameters
from orbitmesh.runtime.signature import HandlerSpec, read_signature
from orbitmesh.wire.envelopes import Kind

if TYPE_CHECKING:
    pass

S = TypeVar("S")


class Context(Generic[S]):
    """Stands for the real one."""


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Options(Struct):
    level: int
    tags: list[str] = []


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    first_name: str
    age: int = 0


class Row(Struct, array_like=True):
    a: int
    b: int


class Reading(TypedDict, total=False):
    celsius: float
    sensor: str


def read(function: Callable[..., Any]) -> HandlerSpec:
    return read_signature(function, name="work", kind=Kind.CALL, context_types=(Context,))


def decode(body: bytes | memoryview, type_: Any, serializer: int | None = None, /) -> Any:
    return msgspec.msgpack.decode(body, type=type_)


def decode_json(body: bytes | memoryview, type_: Any, serializer: int | None = None, /) -> Any:
    return msgspec.json.decode(body, type=type_)


def call(function: Callable[..., Any], params: Any, *, context: Any = None) -> Any:
    """Send params to a handler both ways, straight and as one with middleware would; both must agree."""
    spec = read(function)
    body = msgspec.msgpack.encode(params)
    result = spec.call(spec.read(decode, body), context, None)
    again = spec.call(spec.convert(msgspec.msgpack.decode(body)), context, None)
    if asyncio.iscoroutine(result):
        result, again = asyncio.run(_both(result, again))
    assert result == again
    return result


async def _both(first: Any, second: Any) -> tuple[Any, Any]:
    return await first, await second


def fault(function: Callable[..., Any], params: Any) -> str:
    """What the caller is told, the same on both ways."""
    spec = read(function)
    body = msgspec.msgpack.encode(params)
    with pytest.raises(InvalidParameters) as straight:
        spec.read(decode, body)
    with pytest.raises(InvalidParameters) as converted:
        spec.convert(msgspec.msgpack.decode(body))
    assert str(straight.value) == str(converted.value)
    return str(straight.value)


# Calling


def test_parameters_are_matched_by_name() -> None:
    async def process(ctx: Context[Any], rows: list[int], scale: float = 1.0) -> tuple[Any, ...]:
        return ctx, rows, scale

    assert call(process, {"scale": 2, "rows": [1]}, context="here") == ("here", [1], 2.0)
    assert call(process, {"rows": []}, context="here") == ("here", [], 1.0)


@pytest.mark.parametrize("nothing", [b"", b"\xc0", b"\x80"], ids=["an empty body", "None", "an empty mapping"])
def test_no_parameters_may_be_written_in_three_ways(nothing: bytes) -> None:
    def ping() -> str:
        return "pong"

    def greet(name: str = "you") -> str:
        return f"hello {name}"

    for function, expected in ((ping, "pong"), (greet, "hello you")):
        spec = read(function)
        assert spec.call(spec.read(decode, nothing), None, None) == expected


def test_every_shape_of_signature_is_called_as_it_is_written() -> None:
    def shaped(a: int, /, b: int, ctx: Context[Any], c: int = 3, *, d: int, e: int = 5) -> tuple[Any, ...]:
        return a, b, ctx, c, d, e

    assert call(shaped, {"d": 4, "a": 1, "b": 2}, context="here") == (1, 2, "here", 3, 4, 5)
    assert call(shaped, {"d": 4, "a": 1, "b": 2, "e": 6, "c": 7}, context="here") == (1, 2, "here", 7, 4, 6)


def test_a_keyword_only_context_is_found() -> None:
    def f(a: int, *, ctx: Context[int] | None = None) -> tuple[Any, ...]:
        return a, ctx

    assert call(f, {"a": 1}, context="here") == (1, "here")
    spec = read(f)
    assert (spec.context_parameter, spec.context_type) == ("ctx", Context)


def test_defaults_are_handed_out_as_python_does_one_and_the_same() -> None:
    shared: list[int] = [1]
    odd = object()

    def f(a: list[int] = shared, b: Any = odd, c: Color = Color.RED, d: float = "unchecked") -> Any:  # type: ignore[assignment]
        return a is shared, b is odd, c, d

    assert call(f, {}) == (True, True, Color.RED, "unchecked")


def test_parameters_may_have_any_name() -> None:
    def f(params: int, context: int, incoming: int, function: int, p0: int, __class__: int, _: int) -> list[int]:
        return [params, context, incoming, function, p0, __class__, _]

    names = ["params", "context", "incoming", "function", "p0", "__class__", "_"]
    assert call(f, {name: index for index, name in enumerate(names)}) == list(range(7))


def test_unannotated_parameters_take_anything() -> None:
    def f(a, b=None):  # type: ignore[no-untyped-def]
        return a, b

    assert call(f, {"a": {"x": [1, b"2"]}}) == ({"x": [1, b"2"]}, None)


def test_values_are_converted_to_their_annotations() -> None:
    when = datetime(2030, 1, 2, tzinfo=UTC)
    id_ = UUID(int=7)

    def f(
        point: Point,
        options: Options,
        reading: Reading,
        color: Color,
        at: datetime,
        id: UUID,  # noqa: A002
        blob: bytes,
        mode: Literal["fast", "slow"],
        row: Row,
        count: Annotated[int, Meta(ge=1)],
        note: str | None = None,
        whatever: object = None,
    ) -> list[Any]:
        return [point, options, reading, color, at, id, blob, mode, row, count, note, whatever]

    params = {
        "point": {"x": 1},
        "options": {"level": 2, "tags": ["a"]},
        "reading": {"celsius": 3},
        "color": "red",
        "at": when,
        "id": id_,
        "blob": b"\x00\xff",
        "mode": "slow",
        "row": [1, 2],
        "count": 1,
    }
    expected = [
        *(Point(1), Options(2, ["a"]), {"celsius": 3.0}, Color.RED, when, id_, b"\x00\xff", "slow", Row(1, 2), 1),
        *(None, None),
    ]
    assert call(f, params) == expected
    assert call(f, {**params, "note": "n", "whatever": [1]})[-2:] == ["n", [1]]


def test_text_stands_for_bytes_and_number_keys_only_where_the_serializer_has_text_alone() -> None:
    def f(blob: bytes, names: dict[int, str]) -> tuple[Any, ...]:
        return blob, names

    spec = read(f)
    body = b'{"blob": "AAE=", "names": {"1": "one"}}'
    expected = (b"\x00\x01", {1: "one"})
    assert spec.call(spec.read(decode_json, body, is_binary=False), None, None) == expected
    assert spec.call(spec.convert(msgspec.json.decode(body), is_binary=False), None, None) == expected
    assert fault(f, {"blob": "AAE=", "names": {"1": "one"}}) == (
        "blob: expected bytes, got str; names: in a key, expected int, got str"
    )
    with pytest.raises(InvalidParameters, match=r"^names\[\.\.\.\]: expected str, got int$"):
        spec.read(decode_json, b'{"blob": "AAE=", "names": {"1": 1}}', is_binary=False)


@given(
    rows=st.lists(st.integers(-(2**63), 2**63 - 1)),
    scale=st.floats(allow_nan=False) | st.integers(0, 9),
    names=st.dictionaries(st.text(), st.none() | st.text()),
    blob=st.binary(),
)
def test_both_ways_of_decoding_agree_on_anything_that_fits(
    rows: list[int], scale: float, names: dict[str, str | None], blob: bytes
) -> None:
    def f(rows: list[int], scale: float, names: dict[str, str | None], *, blob: bytes) -> list[Any]:
        return [rows, scale, names, blob]

    params = {"rows": rows, "scale": scale, "names": names, "blob": blob}
    assert call(f, params) == [rows, scale, names, blob]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x", "c"]), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_anything_at_all_is_either_taken_or_refused_the_same_on_both_ways(params: Any) -> None:
    def by_name(a: int, b: list[str | None] | None = None, x: Point | None = None) -> list[Any]:
        return [a, b, x]

    def lone(point: Point) -> Point:
        return point

    for function in (by_name, lone):
        spec = read(function)
        body = msgspec.msgpack.encode(params)
        outcomes: list[Any] = []
        for read_them, sent in ((functools.partial(spec.read, decode), body), (spec.convert, params)):
            try:
                outcomes.append(spec.call(read_them(sent), None, None))
            except InvalidParameters as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]


# Faults


def test_one_message_has_every_fault() -> None:
    def f(rows: list[int], scale: float, x: int, y: int, point: Point) -> None: ...

    assert fault(f, {"rows": [1, "2"], "scal": 1, "x": "x", "zzzzz": 0, "point": {"x": {}}}) == (
        "rows[1]: expected int, got str; x: expected int, got str; point.x: expected int, got mapping; "
        "unknown parameter 'scal' (did you mean 'scale'?); unknown parameter 'zzzzz'; "
        "missing parameter 'scale'; missing parameter 'y'"
    )


def test_a_missing_parameter_is_named_when_nothing_was_sent() -> None:
    def f(rows: list[int]) -> None: ...

    for body in (b"", b"\xc0", b"\x80"):
        with pytest.raises(InvalidParameters, match=r"^missing parameter 'rows'$"):
            read(f).read(decode, body)


@pytest.mark.parametrize(("params", "word"), [([1], "list"), (3, "int"), ("a", "str"), ([], "list"), (0, "int")])
def test_parameters_without_names_are_refused(params: Any, word: str) -> None:
    def by_name(a: int = 0) -> None: ...
    def lone(point: Point) -> None: ...
    def lone_and_optional(point: Point | None = None) -> None: ...

    for function in (by_name, lone, lone_and_optional):
        assert fault(function, params) == f"parameters are a mapping of names to values, not {word}"


def test_a_body_that_is_not_of_the_serializer_is_refused() -> None:
    def f(a: int) -> None: ...

    with pytest.raises(InvalidParameters, match=r"^the parameters cannot be read: "):
        read(f).read(decode, b"\xc1")


def test_names_that_are_not_text_are_unknown() -> None:
    def f(a: int) -> None: ...

    assert fault(f, {"a": 1, 2: 3}) == "unknown parameter 2 (names are text)"


def test_a_handler_without_parameters_refuses_any() -> None:
    def f(ctx: Context[Any]) -> None: ...

    assert fault(f, {"a": 1}) == "unknown parameter 'a'"


def test_the_message_stays_short_whatever_the_caller_sends() -> None:
    def f(color: Color, scale: float) -> None: ...

    message = fault(f, {"x" * 100_000: 1, "color": "y" * 100_000, **{f"scale{n}": n for n in range(5_000)}})
    assert len(message) < 10_000
    assert message.startswith("color: invalid enum value 'yyy")
    assert "unknown parameter 'scale0' (did you mean 'scale'?)" in message
    assert message.endswith(" more")


def test_a_check_of_the_users_own_type_is_a_fault_with_its_path() -> None:
    class Even(Struct):
        n: int

        def __post_init__(self) -> None:
            if self.n % 2:
                raise ValueError("must be even")

    def f(even: Even, x: int = 0) -> None: ...
    def lone(even: Even) -> None: ...

    f.__annotations__["even"] = lone.__annotations__["even"] = Even
    assert fault(f, {"even": {"n": 1}}) == "even: must be even"
    assert fault(lone, {"n": 1}) == "must be even"


def test_a_check_that_fails_in_its_own_way_lets_nothing_else_escape() -> None:
    @dataclass
    class Odd:
        n: int

        def __post_init__(self) -> None:
            raise KeyError(self.n)

    def f(odd: Odd) -> None: ...

    f.__annotations__["odd"] = Odd
    assert fault(f, {"n": 1}) == "KeyError: 1"


def test_what_only_the_serializer_finds_wrong_is_told_in_its_words() -> None:
    def f(a: int) -> None: ...

    def picky(body: bytes | memoryview, type_: Any, serializer: int | None = None, /) -> Any:
        if type_ is not Any:
            raise ValueError("Expected `int32`, got `int64` - at `$.a`")
        return {"a": 1}

    with pytest.raises(InvalidParameters, match=r"^a: expected int32, got int64$"):
        read(f).read(picky, b"?")


# A lone parameter


def test_a_lone_structured_parameter_takes_the_whole_mapping() -> None:
    def of_dataclass(ctx: Context[Any], point: Point) -> Any:
        return point

    def of_struct(*, options: Options) -> Any:
        return options

    def of_typed_dict(reading: Reading, /) -> Any:
        return reading

    def of_strict(person: Annotated[Strict, Meta(description="who")]) -> Any:
        return person

    assert call(of_dataclass, {"x": 1}) == Point(1)
    assert call(of_struct, {"level": 1}) == Options(1)
    assert call(of_typed_dict, {"sensor": "roof"}) == {"sensor": "roof"}
    assert call(of_typed_dict, {}) == {}
    assert call(of_strict, {"firstName": "Ada"}) == Strict("Ada")


def test_a_lone_parameter_has_all_its_faults_told_unknown_names_too() -> None:
    def of_dataclass(point: Point) -> None: ...
    def of_struct(options: Options) -> None: ...
    def of_typed_dict(reading: Reading) -> None: ...
    def of_strict(person: Strict) -> None: ...

    assert fault(of_dataclass, {"y": "2", "z": 1}) == (
        "y: expected int, got str; unknown parameter 'z'; missing parameter 'x'"
    )
    assert fault(of_struct, {"level": 1, "tag": []}) == "unknown parameter 'tag' (did you mean 'tags'?)"
    assert fault(of_typed_dict, {"celsius": "hot", "sensr": ""}) == (
        "celsius: expected float, got str; unknown parameter 'sensr' (did you mean 'sensor'?)"
    )
    assert fault(of_strict, {"first_name": "Ada", "age": None}) == (
        "age: expected int, got None; unknown parameter 'first_name' (did you mean 'firstName'?); "
        "missing parameter 'firstName'"
    )
    assert fault(of_strict, None) == "missing parameter 'firstName'"
    assert fault(of_dataclass, None) == "missing parameter 'x'"


def test_a_tagged_struct_keeps_its_tag() -> None:
    class Circle(Struct, tag="circle", tag_field="shape"):
        r: float

    def f(circle: Circle) -> Any:
        return circle

    f.__annotations__["circle"] = Circle
    assert call(f, {"shape": "circle", "r": 1}) == Circle(1.0)


def test_an_optional_lone_parameter_may_be_nothing() -> None:
    default = Point(9)

    def with_default(point: Point = default) -> Any:
        return point

    def optional(point: Point | None = None) -> Any:
        return point

    def optional_but_required(reading: Reading | None) -> Any:
        return reading

    assert call(with_default, None) is default
    assert call(with_default, {}) is default
    assert call(with_default, {"x": 1}) == Point(1)
    assert call(optional, None) is None
    assert call(optional, {"x": 1}) == Point(1)
    assert call(optional_but_required, None) is None
    assert call(optional_but_required, {}) == {}


def test_lone_parameters_that_are_no_structure_are_matched_by_name() -> None:
    def of_dict(table: dict[str, int]) -> Any:
        return table

    def of_row(row: Row) -> Any:
        return row

    def of_either(value: int | Point) -> Any:
        return value

    assert call(of_dict, {"table": {"a": 1}}) == {"a": 1}
    assert call(of_row, {"row": [1, 2]}) == Row(1, 2)
    assert call(of_either, {"value": {"x": 1}}) == Point(1)
