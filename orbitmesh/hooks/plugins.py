"""The plugins of one node or command line: what they offer, chosen by name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orbitmesh.core.errors import PluginError
from orbitmesh.hooks.kinds import KINDS
from orbitmesh.hooks.loading import BROKEN, DISABLED, OK, Plugin, load
from orbitmesh.spi.discovery import Discovery
from orbitmesh.spi.handlers import CliCommand, Handler
from orbitmesh.spi.middleware import Middleware
from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Transport

_EXAMPLES: Final = {"transport": "orbitmesh-transport-"}
"""How distributions of a kind are called, where it is not ``orbitmesh-<name>``."""


@dataclass(frozen=True, slots=True)
class PluginRow:
    """A plugin as listings show it.

    Attributes:
        name: The entry point's name.
        kind: What it offers, such as ``transport`` or ``discovery, cli``; empty where it could not be asked.
        origin: ``built-in``, or name and version of its distribution.
        state: ``ok``, ``disabled`` or ``broken``.
        cause: Why it is broken, else empty.
    """

    name: str
    kind: str
    origin: str
    state: str
    cause: str


def load_plugins(*, disabled: Collection[str] = ()) -> Plugins:
    """Load all installed plugins, built-ins among them, and call each of their hooks once.

    A broken one is logged at warning and left out; so is the later of two that offer the same name.

    Args:
        disabled: Names of entry points that are not even imported.
    """
    return Plugins(load(disabled))


class Plugins:
    """What the loaded plugins offer. Each load has objects of its own, so that two nodes share none."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = list(plugins)
        self._named: dict[tuple[str, str], Any] = {
            (noun, name): offered
            for plugin in plugins
            for noun, offers in plugin.offers.items()
            for offered in offers
            for name in KINDS[noun].names(offered)
        }

    def transport(self, wanted: str) -> Transport:
        """Find a transport by its name, or by the scheme of an address.

        Raises:
            PluginError: There is none; the message says what is near and how to mend it. So do all below.
        """
        transport: Transport = self._find("transport", wanted.partition("://")[0])
        return transport

    def discoveries(self, wanted: Sequence[str] = ()) -> list[Discovery]:
        """Find discoveries by name; no names: all of them."""
        return [self._find("discovery", name) for name in wanted] if wanted else self._all("discovery")

    def serializers(self, preferred: str) -> list[Serializer]:
        """All serializers, the preferred one first."""
        first = self._find("serializer", preferred)
        return [first, *(other for other in self._all("serializer") if other is not first)]

    def codecs(self, names: Sequence[str]) -> list[Codec]:
        """Find codecs by name, in this order."""
        return [self._find("codec", name) for name in names]

    def middleware(self, names: Sequence[str]) -> list[Middleware]:
        """Find middleware by name, in this order."""
        return [self._find("middleware", name) for name in names]

    def handlers(self) -> list[Handler]:
        """The handlers that every agent of this environment offers."""
        return self._all("handler")

    def cli_commands(self) -> list[CliCommand]:
        """The commands that plugins add to the command line."""
        return self._all("cli")

    def names(self) -> list[str]:
        """Names of all plugins that are installed, whatever their state."""
        return list(dict.fromkeys(plugin.name for plugin in self._plugins))

    def rows(self) -> list[PluginRow]:
        """All plugins that are installed, as listings show them."""
        return [
            PluginRow(plugin.name, ", ".join(plugin.nouns), plugin.origin, plugin.state, plugin.cause)
            for plugin in self._plugins
        ]

    def _all(self, noun: str) -> list[Any]:
        return [offered for plugin in self._plugins for offered in plugin.offers.get(noun, ())]

    def _find(self, noun: str, name: str) -> Any:
        try:
            return self._named[noun, name]
        except KeyError:
            raise PluginError(self._why_missing(noun, name)) from None

    def _why_missing(self, noun: str, name: str) -> str:
        absent = f"there is no {noun} {name!r}"
        for plugin in self._plugins:
            if plugin.state != OK and (plugin.name == name or (noun, name) in plugin.claims):
                return f"{absent}: plugin {plugin} is {_state(plugin)}; {_mend(plugin)}"
        said = [absent]
        present = [known for kind, known in self._named if kind == noun]
        near = difflib.get_close_matches(name, present, n=1)
        if near:
            said.append(f"did you mean {near[0]!r}?")
        said.append(f"installed: {', '.join(present) or 'none'}")
        said += [f"plugin {plugin} is {_state(plugin)}" for plugin in self._plugins if plugin.state != OK]
        distribution = _EXAMPLES.get(noun, "orbitmesh-") + name
        said.append(f"install the plugin that offers it, such as `pip install {distribution}`")
        return "; ".join(said)


def _state(plugin: Plugin) -> str:
    return f"{plugin.state}: {plugin.cause}" if plugin.cause else plugin.state


def _mend(plugin: Plugin) -> str:
    if plugin.state == DISABLED:
        return f"take {plugin.name!r} out of the setting plugins_disabled (ORBITMESH_PLUGINS_DISABLED) to bring it back"
    assert plugin.state == BROKEN
    if plugin.origin == "built-in":
        return "`pip install --force-reinstall orbitmesh` may mend it"
    return f"`pip install --upgrade {plugin.origin.partition(' ')[0]}` may mend it"
