"""What a handler's signature says, and signatures that are refused."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import pytest

from orbitmesh.core.errors import ConfigError, InvalidParameters
from orbitmesh.runtime.signature import HandlerSpec, read_signature
from orbitmesh.wire.envelopes import Kind

if TYPE_CHECKING:
    from decimal import Decimal

S = TypeVar("S")
T = TypeVar("T")


class Context(Generic[S]):
    """Stands for the real one."""


class JobContext(Context[S]):
    """Stands for the real one."""


class Incoming(Generic[T]):
    """Stands for the real one."""


@dataclass
class Point:
    x: int
    y: int = 0


def read(function: Callable[..., Any], kind: Kind = Kind.CALL, name: str = "work") -> HandlerSpec:
    return read_signature(function, name=name, kind=kind, context_types=(Context, JobContext), incoming_type=Incoming)


def decode(body: bytes | memoryview, type_: Any, serializer: int | None = None, /) -> Any:
    return msgspec.msgpack.decode(body, type=type_)


def call(function: Callable[..., Any], params: Any) -> Any:
    spec = read(function)
    result = spec.call(spec.read(decode, msgspec.msgpack.encode(params)), None, None)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def refusal(function: Callable[..., Any], kind: Kind = Kind.CALL) -> str:
    with pytest.raises(ConfigError) as error:
        read(function, kind)
    return str(error.value)


def test_results_and_kinds_are_read() -> None:
    async def a() -> Point: ...  # type: ignore[empty-body]
    def b() -> None: ...
    def c(): ...  # type: ignore[no-untyped-def]

    async def d() -> AsyncIterator[Point]:
        yield Point(1)

    def e() -> Iterator[str]:
        yield ""

    async def f():  # type: ignore[no-untyped-def]
        yield 1

    async def g() -> AsyncIterator:  # type: ignore[type-arg]
        yield 1

    async def h() -> Any:
        yield 1

    shapes = [
        (spec.returns, spec.is_async, spec.is_generator)
        for spec in [*(read(each) for each in (a, b, c)), *(read(each, Kind.STREAM) for each in (d, e, f, g, h))]
    ]
    assert shapes == [
        *[(Point, True, False), (type(None), False, False), (Any, False, False)],
        *[(Point, True, True), (str, False, True), (Any, True, True), (Any, True, True), (Any, True, True)],
    ]


def test_a_channel_finds_its_incoming_items() -> None:
    async def chat(prefix: str, incoming: Incoming[Point]) -> AsyncIterator[str]:
        yield f"{prefix}{incoming}"

    async def untyped(incoming: Incoming) -> AsyncIterator[str]:  # type: ignore[type-arg]
        yield ""

    async def deaf() -> AsyncIterator[str]:
        yield ""

    spec = read(chat, Kind.CHANNEL)
    assert (spec.incoming_parameter, spec.incoming_item) == ("incoming", Point)
    generator = spec.call(spec.convert({"prefix": ">"}), None, "items")
    assert asyncio.run(anext(generator)) == ">items"
    assert read(untyped, Kind.CHANNEL).incoming_item is Any
    assert read(deaf, Kind.CHANNEL).incoming_parameter is None


def test_the_first_paragraph_is_the_description() -> None:
    def f() -> None:
        """Does it
        well.

        And more.
        """

    def silent() -> None: ...

    assert (read(f).description, read(silent).description) == ("Does it well.", "")


def test_methods_partials_objects_and_wrapped_functions_are_handlers() -> None:
    class Handler:
        async def handle(self, ctx: Context[Any], a: int) -> int:
            return a + 1

        def __call__(self, a: int) -> int:
            return a + 2

    def add(a: int, b: int, c: int = 0) -> int:
        return a + b + c

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @decorated
    async def wrapped(a: int) -> int:
        return a + 5

    assert call(Handler().handle, {"a": 1}) == 2
    assert call(Handler(), {"a": 1}) == 3
    assert call(functools.partial(add, 3), {"b": 1}) == 4
    assert call(functools.partial(functools.partial(add, 3), c=1), {"b": 1}) == 5

    def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert call(wrapped, {"a": 1}) == 6
    assert call(awaited(add), {"a": 1, "b": 2}) == 3
    assert read(wrapped).is_async
    assert read(awaited(add)).is_async
    with pytest.raises(InvalidParameters, match=r"^b: expected int, got str$"):
        call(functools.partial(add, 3), {"b": "1"})


def test_annotations_may_name_what_the_function_closes_over() -> None:
    @dataclass
    class Local:
        n: int

    def decorator(function: Any) -> Any:
        assert call(function, {"local": {"n": 1}, "again": False}) == Local(2)
        return function

    @decorator  # reads it before its name is assigned
    def f(local: Local, again: bool) -> Any:
        return f if again else Local(local.n + 1)


# Refused at registration


def test_what_has_no_name_on_the_wire_is_refused() -> None:
    def star(*rows: int) -> None: ...
    def stars(**options: int) -> None: ...

    assert refusal(star).endswith("parameters travel by name, *rows has none; take `rows: list[...]` instead")
    assert refusal(stars).endswith("misspelt ones too; take `options: dict[str, Any]` instead")


def test_a_refusal_names_command_function_and_parameter() -> None:
    def f(ok: int, bad: complex) -> None: ...

    message = refusal(f)
    assert message.startswith(f"command 'work' ({__name__}.test_a_refusal_names_command_function_and_parameter.")
    assert "parameter 'bad': complex is not a type that plain values can be converted to; annotate it as " in message


class Plain:
    """Nothing that can be converted."""


class Unclear:
    """Its fields have a type that cannot be resolved."""

    __annotations__ = {"x": "Nowhere"}


UnclearDataclass = dataclass(Unclear)


def test_types_that_cannot_be_converted_are_refused() -> None:
    def of_class(a: Plain) -> None: ...
    def nested(a: dict[str, list[Plain | None]]) -> None: ...
    def of_callable(a: Callable[[], int]) -> None: ...
    def of_union(a: int, b: bytes | str) -> None: ...
    def of_unclear(a: UnclearDataclass) -> None: ...  # type: ignore[valid-type]

    assert "parameter 'a': Plain is not a type" in refusal(of_class)
    assert "parameter 'a': Plain is not a type" in refusal(nested)
    assert "parameter 'a': Callable is not a type" in refusal(of_callable)
    assert "parameter 'b': Type unions may not contain more than one str-like type" in refusal(of_union)
    assert "parameter 'a': name 'Nowhere' is not defined" in refusal(of_unclear)


def test_annotations_that_cannot_be_resolved_are_named() -> None:
    def f(a: int, b: Decimal) -> None: ...
    def g() -> Decimal: ...  # type: ignore[empty-body]
    def h(a: "int +") -> None: ...  # type: ignore[valid-type]  # noqa: F722

    assert "parameter 'b': the annotation 'Decimal' cannot be resolved (name 'Decimal' is not defined)" in refusal(f)
    assert "the result: the annotation 'Decimal' cannot be resolved" in refusal(g)
    assert "import it outside of `if TYPE_CHECKING`" in refusal(g)
    assert "parameter 'a': the annotation" in refusal(h)


def test_two_contexts_or_incomings_are_refused() -> None:
    def f(a: Context[Any], b: JobContext[Any]) -> None: ...
    async def g(a: Incoming[Any], b: Incoming[Any]) -> AsyncIterator[int]:
        yield 1

    assert "'a' and 'b' both ask for the context; keep one" in refusal(f)
    assert "'a' and 'b' both ask for the incoming items; keep one" in refusal(g, Kind.CHANNEL)


def test_functions_of_another_kind_are_refused_with_the_mend() -> None:
    async def returns() -> int:
        return 1

    async def yields() -> AsyncIterator[int]:
        yield 1

    def yields_blocking() -> Iterator[int]:
        yield 1

    async def incoming(a: Incoming[int]) -> int:
        return 1

    async def wrong() -> list[int]:  # type: ignore[misc]
        yield 1

    assert "register it with @agent.command" in refusal(returns, Kind.STREAM)
    assert "a channel yields" in refusal(returns, Kind.CHANNEL)
    assert "make it `async def`" in refusal(yields_blocking, Kind.CHANNEL)
    assert "it yields, and a command returns; register it with @agent.stream" in refusal(yields)
    assert "it yields, and a job returns" in refusal(yields_blocking, Kind.JOB)
    assert "only a channel has incoming items" in refusal(incoming)
    assert "annotate it `AsyncIterator[...]`" in refusal(wrong, Kind.STREAM)


def test_what_is_no_function_is_refused() -> None:
    class Method:
        def f(self, a: int) -> None: ...

    assert "it is not a function" in refusal(3)  # type: ignore[arg-type]
    assert "for an object with a `handle` method use add_handler" in refusal(Method)
    assert "register the method of an instance, or use add_handler" in refusal(Method.f)
    assert "it has no signature to read" in refusal(max)


def test_constraints_for_pydantic_are_not_passed_over_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Gt = type("Gt", (), {"__module__": "annotated_types"})  # noqa: N806

    def f(a: list[int]) -> None: ...

    f.__annotations__["a"] = list[Annotated[int, Gt()]]
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    assert "it has constraints for pydantic, which is not installed; write them with msgspec.Meta" in refusal(f)
