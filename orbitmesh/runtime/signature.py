"""A handler function, read once at registration: what its body decodes to, and how it is then called."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, Final, NoReturn, get_args, get_origin

from orbitmesh.core.errors import ConfigError, InvalidParameters
from orbitmesh.runtime.annotations import home_of, names_in_reach, resolve, without_none
from orbitmesh.runtime.conversion import fault_of, read_type
from orbitmesh.runtime.parameters import LoneParameter, NamedParameters, Parameter, Parameters, invalid
from orbitmesh.runtime.payload import Decode
from orbitmesh.runtime.schema import argument_descriptions, first_paragraph, parameters_schema, type_schema
from orbitmesh.spi.transport import Frame
from orbitmesh.wire.envelopes import Kind

_ITERATORS: Final = (AsyncIterator, AsyncGenerator, AsyncIterable, Iterator, Generator, Iterable)
_STREAMING: Final = (Kind.STREAM, Kind.CHANNEL)
_DECORATORS: Final = {Kind.CALL: "command", Kind.STREAM: "stream", Kind.CHANNEL: "channel", Kind.JOB: "job"}
_TYPES: Final = "a dataclass, msgspec Struct, TypedDict, pydantic model, or a type built of plain values"


@dataclass(frozen=True, slots=True, eq=False)
class HandlerSpec:
    """Everything about a handler that its signature says.

    Attributes:
        function: The function itself.
        name: Name of its command.
        kind: How it runs.
        description: First paragraph of its docstring.
        parameters: What callers give, apart from the function's defaults, context and incoming.
        params_type: What a body decodes to.
        is_direct: Whether that is ready for ``call``; else it is a plain value, for ``convert``.
        call: Call the function: ``call(params, context, incoming)``. It gives what the function gives: a coroutine, a
            generator, or the result.
        context_parameter: Name of the parameter that takes the context, if there is one.
        context_type: The class that it is annotated with.
        incoming_parameter: Name of the parameter that takes what a channel's caller sends, if there is one.
        incoming_item: Type of each item of that.
        returns: Type of the result, or of each item of a stream or channel; ``Any`` where nothing is said.
        is_async: Whether it runs on the loop; else in a thread.
        is_generator: Whether it yields; so does every stream and channel.
    """

    function: Callable[..., Any]
    name: str
    kind: Kind
    description: str
    parameters: Parameters
    params_type: Any
    is_direct: bool
    call: Callable[[Any, Any, Any], Any]
    context_parameter: str | None
    context_type: type | None
    incoming_parameter: str | None
    incoming_item: Any
    returns: Any
    is_async: bool
    is_generator: bool

    def read(self, decode: Decode, body: Frame, serializer: int | None = None, *, is_binary: bool = True) -> Any:
        """Decode the body of a request, straight into what ``call`` takes where that is possible.

        None, an empty mapping and an empty body all mean that no parameters were given.

        Args:
            decode: Decodes bodies of the link that it came by.
            body: What came.
            serializer: Which of the link's serializers wrote it.
            is_binary: Whether that serializer writes bytes as bytes, not as base64 text.

        Raises:
            InvalidParameters: It does not fit; the message has all that is wrong. Nothing else escapes.
        """
        try:
            params = decode(body, self.params_type, serializer)
        except Exception as error:  # a dataclass' own __post_init__ may raise anything
            return self._read_again(decode, body, serializer, error, is_binary=is_binary)
        return params if self.is_direct else self.convert(params, is_binary=is_binary)

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """Turn plain values by name into what ``call`` takes: the way of those that passed a middleware.

        Args:
            plain: A mapping, or None for no parameters.
            is_binary: See ``read``.

        Raises:
            InvalidParameters: They do not fit; the message has all that is wrong. Nothing else escapes.
        """
        return self.parameters.convert(plain, is_binary=is_binary)

    def _read_again(
        self, decode: Decode, body: Frame, serializer: int | None, error: Exception, *, is_binary: bool
    ) -> Any:
        """Find out, from plain values, all that is wrong with a body; or that it says "no parameters"."""
        try:
            plain = decode(body, Any, serializer) if len(body) else None
        except Exception as broken:
            raise InvalidParameters(f"the parameters cannot be read: {fault_of(broken).text}") from broken
        params = self.convert(plain, is_binary=is_binary)
        if plain is None:
            return params
        # Decoding is stricter than conversion where a serializer has types of its own.
        raise invalid([fault_of(error).under("")]) from error

    def parameters_schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters, self-contained. Made anew each time: ask when somebody describes."""
        return parameters_schema(self.parameters)

    def returns_schema(self) -> dict[str, Any] | None:
        """JSON Schema of ``returns``, self-contained; None where nothing is said or JSON Schema cannot say it."""
        return type_schema(self.returns)


def read_signature(
    function: Callable[..., Any],
    *,
    name: str,
    kind: Kind,
    context_types: tuple[type, ...],
    incoming_type: type | None = None,
) -> HandlerSpec:
    """Read a handler's signature.

    Args:
        function: The handler.
        name: Name of its command.
        kind: How it runs.
        context_types: Classes whose annotation, bare or with type arguments, asks for the context.
        incoming_type: The class whose annotation asks for what the caller of a channel sends.

    Raises:
        ConfigError: The function cannot be a handler of this kind; the message names parameter and mend.
    """
    return _Reader(function, name, kind, context_types, incoming_type).read()


class _Reader:
    """Reads one signature; holds what every step of it needs."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        kind: Kind,
        context_types: tuple[type, ...],
        incoming_type: type | None,
    ) -> None:
        self.function = function
        self.name = name
        self.kind = kind
        self.context_types = context_types
        self.incoming_type = incoming_type
        self.home = home_of(function)
        self.names = names_in_reach(self.home)
        self.context: tuple[str, type] | None = None
        self.incoming: tuple[str, Any] | None = None

    def read(self) -> HandlerSpec:
        is_async, is_generator = self.check_kind()
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError) as error:
            self.refuse(f"it has no signature to read ({error}); wrap it in a `def` of your own")
        descriptions = argument_descriptions(self.home.__doc__)
        fields = [
            field
            for parameter in signature.parameters.values()
            if (field := self.read_parameter(parameter, descriptions)) is not None
        ]
        parameters = self.make_parameters(fields)
        return HandlerSpec(
            function=self.function,
            name=self.name,
            kind=self.kind,
            description=first_paragraph(self.home.__doc__),
            parameters=parameters,
            params_type=parameters.decode_type,
            is_direct=parameters.is_direct,
            call=self.compile_call(signature, parameters.expressions),
            context_parameter=self.context[0] if self.context else None,
            context_type=self.context[1] if self.context else None,
            incoming_parameter=self.incoming[0] if self.incoming else None,
            incoming_item=self.incoming[1] if self.incoming else Any,
            returns=self.read_returns(),
            is_async=is_async,
            is_generator=is_generator,
        )

    def refuse(self, why: str) -> NoReturn:
        """Raise the error of this registration."""
        where = f"{getattr(self.home, '__module__', '?')}.{getattr(self.home, '__qualname__', self.home)}"
        raise ConfigError(f"command {self.name!r} ({where}): {why}")

    def check_kind(self) -> tuple[bool, bool]:
        """Say whether the function is async and whether it yields; it must yield exactly where its kind streams."""
        if inspect.isclass(self.function) or not callable(self.function):
            self.refuse("it is not a function; for an object with a `handle` method use add_handler")
        # A decorated `async def` often hides behind a plain wrapper; one that is not plain means what it is.
        function = self.home if _is_special(self.home) else inspect.unwrap(self.home)
        is_async_generator = inspect.isasyncgenfunction(function)
        is_generator = is_async_generator or inspect.isgeneratorfunction(function)
        is_async = is_async_generator or inspect.iscoroutinefunction(function)
        decorator = _DECORATORS[self.kind]
        if self.kind in _STREAMING and not is_generator:
            self.refuse(f"a {decorator} yields its items; write `yield` in it, or register it with @agent.command")
        if self.kind is Kind.CHANNEL and not is_async:
            self.refuse("a channel takes and sends on the loop; make it `async def`")
        if self.kind not in _STREAMING and is_generator:
            self.refuse(f"it yields, and a {decorator} returns; register it with @agent.stream, or return a list")
        return is_async, is_generator

    def read_parameter(self, parameter: inspect.Parameter, descriptions: Mapping[str, str]) -> Parameter | None:
        """Read one parameter; None where the node gives it, not the caller."""
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            self.refuse(f"parameters travel by name, *{name} has none; take `{name}: list[...]` instead")
        if parameter.kind is parameter.VAR_KEYWORD:
            self.refuse(f"**{name} would take any name, misspelt ones too; take `{name}: dict[str, Any]` instead")
        annotation = self.resolve(name)
        if name == "self" and annotation is inspect.Parameter.empty:
            self.refuse("it is a method without its object; register the method of an instance, or use add_handler")
        if annotation is inspect.Parameter.empty:
            annotation = Any
        if self.take_given(name, annotation):
            return None
        try:
            conversion = read_type(annotation)
        except Exception as error:  # TypeError of ours; a class of the user's may raise anything when it is looked at
            self.refuse(f"parameter {name!r}: {_readable(error)}; annotate it as {_TYPES}, and convert in the handler")
        is_required = parameter.default is inspect.Parameter.empty
        return Parameter(
            name=name,
            conversion=conversion,
            is_required=is_required,
            default=None if is_required else parameter.default,
            description=descriptions.get(name, ""),
        )

    def resolve(self, name: str) -> Any:
        """The annotation of a parameter, or of ``return``."""
        annotation = getattr(self.home, "__annotations__", {}).get(name, inspect.Parameter.empty)
        if annotation is inspect.Parameter.empty:
            return annotation
        try:
            return resolve(annotation, self.names)
        except Exception as error:
            what = "the result" if name == "return" else f"parameter {name!r}"
            self.refuse(
                f"{what}: the annotation {annotation!r} cannot be resolved ({error}); "
                "define the name at module level, or import it outside of `if TYPE_CHECKING`"
            )

    def take_given(self, name: str, annotation: Any) -> bool:
        """Note a parameter that the node gives; say whether it is one."""
        inner, _ = without_none(annotation)
        cls = get_origin(inner) or inner
        if cls in self.context_types:
            if self.context is not None:
                self.refuse(f"{self.context[0]!r} and {name!r} both ask for the context; keep one of them")
            self.context = (name, cls)
            return True
        if self.incoming_type is not None and cls is self.incoming_type:
            if self.kind is not Kind.CHANNEL:
                self.refuse(f"parameter {name!r}: only a channel has incoming items; register it with @agent.channel")
            if self.incoming is not None:
                self.refuse(f"{self.incoming[0]!r} and {name!r} both ask for the incoming items; keep one of them")
            self.incoming = (name, *(get_args(inner) or (Any,)))
            return True
        return False

    def make_parameters(self, fields: list[Parameter]) -> Parameters:
        if len(fields) == 1 and (structure := fields[0].conversion.structure) is not None:
            return LoneParameter(fields[0], structure)
        return NamedParameters(self.name, fields)

    def compile_call(
        self, signature: inspect.Signature, expressions: Mapping[str, str]
    ) -> Callable[[Any, Any, Any], Any]:
        """Make the function that calls the handler: one expression, as a generic one costs more than decoding does."""
        given = dict(expressions)
        if self.context:
            given[self.context[0]] = "context"
        if self.incoming:
            given[self.incoming[0]] = "incoming"
        arguments = [
            f"{name}={given[name]}" if parameter.kind is parameter.KEYWORD_ONLY else given[name]
            for name, parameter in signature.parameters.items()
        ]
        source = f"lambda params, context, incoming: function({', '.join(arguments)})"
        code = compile(source, f"<call of {self.name}>", "eval")
        made: Callable[[Any, Any, Any], Any] = eval(code, {"function": self.function})  # noqa: S307 - identifiers only
        return made

    def read_returns(self) -> Any:
        annotation = self.resolve("return")
        if annotation is inspect.Parameter.empty:
            return Any
        if self.kind not in _STREAMING:
            return annotation
        if annotation is Any:
            return Any
        if (get_origin(annotation) or annotation) not in _ITERATORS:
            self.refuse(f"the result is annotated {annotation!r}, but it yields; annotate it `AsyncIterator[...]`")
        return (get_args(annotation) or (Any,))[0]


def _is_special(function: Any) -> bool:
    """Whether calling it gives something else than its result."""
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _readable(error: Exception) -> str:
    return str(error).replace("`", "").replace("\n", " ")
