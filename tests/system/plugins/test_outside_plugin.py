"""A plugin that somebody else built and installed is found, chosen and used through every hook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., str]

PRELUDE = """
import asyncio, json, logging, tempfile, time
from pathlib import Path
from typing import Any
logging.basicConfig(level=logging.WARNING)
from orbitmesh.core.errors import PluginError
from orbitmesh.hooks.plugins import load_plugins
plugins = load_plugins()
"""


def rows(run_with: Run, *sites: Path, disabled: str = "") -> dict[str, dict[str, Any]]:
    code = (
        "import json; from dataclasses import asdict; from orbitmesh.hooks.plugins import load_plugins\n"
        f"print(json.dumps([asdict(row) for row in load_plugins(disabled={disabled.split()!r}).rows()]))"
    )
    return {row["name"]: row for row in json.loads(run_with(code, *sites))}


def test_it_is_listed_with_all_its_kinds(run_with: Run, outside_plugin: Path) -> None:
    assert rows(run_with, outside_plugin)["acme"] == {
        "name": "acme",
        "kind": "transport, discovery, serializer, codec, middleware, handler, cli",
        "origin": "orbitmesh-acme 3.1",
        "state": "ok",
        "cause": "",
    }


def test_its_transport_carries_messages(run_with: Run, outside_plugin: Path) -> None:
    run_with(
        PRELUDE
        + """
from orbitmesh.spi.transport import TransportSettings

class Node:
    def __init__(self, key):
        self.key, self.got = key, asyncio.get_running_loop().create_future()
    def connected(self, pipe): pass
    def received(self, pipe, frames): self.got.set_result((pipe.peer_key, list(frames)))
    def burst_ended(self): pass
    def lost(self, pipe, reason): raise AssertionError(reason)

async def main():
    transport = plugins.transport("tube://9")
    assert transport is plugins.transport("tube")
    a, b = Node(b"a" * 32), Node(b"b" * 32)
    ends = [
        await transport.open(TransportSettings(public_key=node.key, secret_key=bytes(32), binds=["tube://0"]), node)
        for node in (a, b)
    ]
    assert ends[1].addresses == ["tube://2"]
    ends[0].dial("tube://2", key=b.key).send([b"through", b"the tube"])
    async with asyncio.timeout(30):
        assert await b.got == (a.key, [b"through", b"the tube"])
    for end in ends:
        await end.close()

asyncio.run(main())
""",
        outside_plugin,
    )


def test_its_discovery_brings_what_was_announced(run_with: Run, outside_plugin: Path, tmp_path: Path) -> None:
    run_with(
        PRELUDE
        + f"""
from orbitmesh.spi.discovery import DiscoverySettings, Sighting

async def main():
    [discovery] = plugins.discoveries(["pinboard"])
    assert discovery in plugins.discoveries([])
    settings = DiscoverySettings(
        home=Path({str(tmp_path)!r}), mesh_tag=lambda: "t", mesh_tags=lambda: frozenset("t"), interfaces=[],
        is_open=False, peers=[], now=time.time,
    )
    hints = []
    a, b = await discovery.open(settings, hints.append), await discovery.open(settings, hints.append)
    await a.announce(lambda addresses=None: b"box of a", addresses=["tube://1"])
    await b.browse()
    assert [hint.box for hint in hints] == [b"box of a"]
    await a.close()
    await b.close()

asyncio.run(main())
""",
        outside_plugin,
    )


def test_its_serializer_and_codec_turn_values_into_bodies_and_back(run_with: Run, outside_plugin: Path) -> None:
    run_with(
        PRELUDE
        + """
from orbitmesh.runtime.payload import Payload

serializers, codecs = plugins.serializers("literals"), plugins.codecs(["squeeze"])
assert [serializer.name for serializer in serializers][0] == "literals"
assert {"msgpack", "json"} < {serializer.name for serializer in serializers}
payload = Payload(serializers, codecs, preferred="literals")
value = {"rows": [1, 2] * 100, "at": (1, None)}
body = payload.encode(value)
assert len(body) < len(repr(value))
assert payload.decode(body, Any) == value
assert payload.decode(payload.encode([1, 2]), list[int]) == [1, 2]
for broken in (b"", b"garbage", codecs[0].encode(b"1 +")):
    try:
        payload.decode(broken, Any)
    except ValueError:
        pass
    else:
        raise AssertionError(broken)
""",
        outside_plugin,
    )


def test_its_middleware_goes_around_a_call(run_with: Run, outside_plugin: Path) -> None:
    run_with(
        PRELUDE
        + """
class Call:
    name, kind, params, peer, caller = "work", "call", {}, "worker-1", None
    def __init__(self): self.headers = {}

async def proceed(call):
    return dict(call.headers)

async def main():
    [stamp] = plugins.middleware(["stamp"])
    assert await stamp(Call(), proceed) == {"acme": "stamped"}

asyncio.run(main())
""",
        outside_plugin,
    )


def test_its_handlers_are_read_like_decorated_functions(run_with: Run, outside_plugin: Path) -> None:
    run_with(
        PRELUDE
        + """
from orbitmesh.runtime.signature import read_signature
from orbitmesh.wire.envelopes import Kind

handlers = {handler.command: handler for handler in plugins.handlers()}
assert set(handlers) == {"acme-shout", "acme-count"}

def read(handler):
    return read_signature(handler.handle, name=handler.command, kind=Kind[handler.kind.upper()], context_types=())

async def main():
    shout, count = read(handlers["acme-shout"]), read(handlers["acme-count"])
    assert shout.description == "Say it loud."
    assert await shout.call(shout.convert({"text": "hi"}), None, None) == "HI"
    assert [item async for item in count.call(count.convert({"to": 3}), None, None)] == [1, 2, 3]

asyncio.run(main())
""",
        outside_plugin,
    )


def test_its_command_is_imported_when_it_is_used(run_with: Run, outside_plugin: Path) -> None:
    said = run_with(
        PRELUDE
        + """
import importlib, sys
[command] = plugins.cli_commands()
assert (command.name, command.help) == ("acme", "Greet somebody.")
assert "orbitmesh_acme_cli" not in sys.modules
module, _, attribute = command.target.partition(":")
getattr(importlib.import_module(module), attribute).main(["you"], standalone_mode=False)
""",
        outside_plugin,
    )
    assert said == "acme greets you\n"


def test_it_is_seen_without_loading_it(run_with: Run, outside_plugin: Path) -> None:
    code = "import sys; from orbitmesh.hooks.scan import has_outside_plugins as has; "
    run_with(code + "assert has(); assert 'orbitmesh_acme' not in sys.modules", outside_plugin)


def test_disabled_it_is_missing_and_says_so(run_with: Run, outside_plugin: Path) -> None:
    assert rows(run_with, outside_plugin, disabled="acme")["acme"]["state"] == "disabled"
    said = run_with(
        PRELUDE
        + """
try:
    load_plugins(disabled=["acme"]).transport("tube://1")
except PluginError as error:
    print(error)
""",
        outside_plugin,
    )
    assert "there is no transport 'tube'" in said
    assert "plugin 'acme' (orbitmesh-acme 3.1) is disabled" in said
