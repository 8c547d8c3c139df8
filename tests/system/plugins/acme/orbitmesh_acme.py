"""A plugin that implements every hook, as somebody outside would write it."""

from __future__ import annotations

import ast
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ClassVar

from orbitmesh.core.errors import ConfigError, Unserializable
from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.discovery import Announcer, Discovery, DiscoverySettings, Hint, Sighting, Vanished
from orbitmesh.spi.handlers import CliCommand, Handler
from orbitmesh.spi.middleware import InterceptedCall, Middleware, Proceed
from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Endpoint, Frame, Pipe, Receiver, Transport, TransportSettings

MAX_TEXT = 1 << 20


class Tube:
    """Another name for the transport in memory: all that it takes to wrap one."""

    name = "tube"
    schemes: ClassVar[Sequence[str]] = ("tube",)

    async def open(self, settings: TransportSettings, receiver: Receiver) -> Endpoint:
        from orbitmesh.builtin.memory import MemoryTransport

        inner = TransportSettings(
            public_key=settings.public_key,
            secret_key=settings.secret_key,
            binds=[_inner(address) for address in settings.binds],
            max_connections=settings.max_connections,
        )
        return TubeEnd(await MemoryTransport().open(inner, receiver))


class TubeEnd:
    def __init__(self, inner: Endpoint) -> None:
        self._inner = inner

    @property
    def addresses(self) -> Sequence[str]:
        return [_outer(address) for address in self._inner.addresses]

    def dial(self, address: str, *, key: bytes) -> Pipe:
        return self._inner.dial(_inner(address), key=key)

    async def bind(self, address: str) -> Sequence[str]:
        return [_outer(added) for added in await self._inner.bind(_inner(address))]

    def refuse(self, *, keys: frozenset[bytes], hosts: frozenset[str]) -> None:
        self._inner.refuse(keys=keys, hosts=hosts)

    def counters(self) -> dict[str, int]:
        return self._inner.counters()

    async def close(self) -> None:
        await self._inner.close()


def _inner(address: str) -> str:
    scheme, _, rest = address.partition("://")
    if scheme != "tube":
        raise ConfigError(f"{address!r} is no address of the tube transport; write tube://<number>")
    return f"memory://{rest}"


def _outer(address: str) -> str:
    return address.replace("memory://", "tube://")


class Pinboard:
    """Announcements in files of a folder below the home."""

    name = "pinboard"

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> PinboardSession:
        return PinboardSession(settings, sink)


class PinboardSession:
    def __init__(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> None:
        assert settings.home is not None
        self._folder = settings.home / "pinboard"
        self._sink = sink
        self._seen = 0

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / f"{id(self)}.pin").write_bytes(announcer(addresses))

    async def browse(self) -> None:
        for pin in self._folder.glob("*.pin"):
            if pin.stem != str(id(self)):
                self._seen += 1
                self._sink(Sighting(Pinboard.name, pin.stem, pin.read_bytes()))

    def counters(self) -> dict[str, int]:
        return {"seen": self._seen}

    async def close(self) -> None:
        (self._folder / f"{id(self)}.pin").unlink(missing_ok=True)
        self._sink(Vanished(Pinboard.name, str(id(self))))


class Literals:
    """Values as Python writes them."""

    name = "literals"

    def encode(self, value: Any) -> bytes:
        text = repr(value)
        try:
            ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise Unserializable(f"a value of type {type(value).__name__} is no literal") from error
        return text.encode()

    def decode(self, body: Frame, type: Any) -> Any:  # noqa: A002 - named in the public API
        import msgspec

        try:
            value = ast.literal_eval(bytes(body[:MAX_TEXT]).decode())
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"no literal: {error}") from error
        return value if type is Any else msgspec.convert(value, type)


class Squeeze:
    """Compression, bounded on the way back."""

    name = "squeeze"

    def encode(self, body: Frame) -> bytes:
        return zlib.compress(body)

    def decode(self, body: Frame) -> bytes:
        machine = zlib.decompressobj()
        try:
            grown = machine.decompress(body, MAX_TEXT)
        except zlib.error as error:
            raise ValueError(f"not compressed: {error}") from error
        if not machine.eof:
            raise ValueError("cut short, or larger than allowed")
        return grown


class Stamp:
    """Puts a header on every call."""

    name = "stamp"

    async def __call__(self, call: InterceptedCall, proceed: Proceed) -> Any:
        call.headers["acme"] = "stamped"
        return await proceed(call)


class Shout:
    command = "acme-shout"
    kind = "call"

    async def handle(self, text: str) -> str:
        """Say it loud."""
        return text.upper()


class Count:
    command = "acme-count"
    kind = "stream"

    async def handle(self, to: int) -> AsyncIterator[int]:
        """Count from one."""
        for number in range(1, to + 1):
            yield number


@hookimpl
def orbitmesh_transports() -> list[Transport]:
    return [Tube()]


@hookimpl
def orbitmesh_discoveries() -> list[Discovery]:
    return [Pinboard()]


@hookimpl
def orbitmesh_serializers() -> list[Serializer]:
    return [Literals()]


@hookimpl
def orbitmesh_codecs() -> list[Codec]:
    return [Squeeze()]


@hookimpl
def orbitmesh_middleware() -> list[Middleware]:
    return [Stamp()]


@hookimpl
def orbitmesh_handlers() -> list[Handler]:
    return [Shout(), Count()]


@hookimpl
def orbitmesh_cli() -> list[CliCommand]:
    return [CliCommand("acme", "Greet somebody.", "orbitmesh_acme_cli:greet")]
