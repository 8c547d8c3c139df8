"""Finds the plugins that are installed and asks each what it offers; a broken one costs nothing but itself."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import pluggy

from orbitmesh import hookspecs
from orbitmesh.hooks.finding import GROUP, Found, find
from orbitmesh.hooks.kinds import BY_HOOK, KINDS, OfferKind

logger = logging.getLogger("orbitmesh.hooks")

OK: Final = "ok"
DISABLED: Final = "disabled"
BROKEN: Final = "broken"

_PREFIX: Final = "orbitmesh_"
_MAX_CAUSE: Final = 400


@dataclass(slots=True)
class Plugin:
    """One entry point and what came of it.

    Attributes:
        name: The entry point's name, by which it is disabled.
        origin: ``built-in``, or name and version of its distribution.
        state: ``ok``, ``disabled`` or ``broken``.
        cause: Why it is broken.
        nouns: Kinds of what its hooks offer, as far as it could be asked.
        offers: Its objects by noun; empty unless it is ok.
        claims: Noun and name of each object that it wanted to offer.
    """

    name: str
    origin: str
    state: str = OK
    cause: str = ""
    nouns: list[str] = field(default_factory=list)
    offers: dict[str, list[Any]] = field(default_factory=dict)
    claims: set[tuple[str, str]] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.name!r} ({self.origin})"


class _Broken(Exception):
    """Why a plugin is left out."""


def load(disabled: Collection[str]) -> list[Plugin]:
    """Load all plugins that are installed, apart from the disabled ones."""
    found = find()
    _warn_of_unknown(disabled, [one.name for one in found])
    loader = _Loader()
    return [loader.take(one, is_disabled=one.name in disabled) for one in found]


class _Loader:
    """Registers plugins one by one, and knows whose the names are that are taken."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._by_name: dict[str, Plugin] = {}
        self._taken: dict[tuple[str, str], Plugin] = {}

    def take(self, found: Found, *, is_disabled: bool) -> Plugin:
        """Load one plugin, or say in it why not."""
        plugin = Plugin(found.name, found.origin)
        if is_disabled:
            plugin.state = DISABLED
            return plugin
        namesake = self._by_name.get(plugin.name)
        try:
            if namesake is not None:
                raise _Broken(f"the name of its entry point belongs to {namesake} already")
            self._by_name[plugin.name] = plugin
            self._register(found, plugin)
            self._ask(plugin)
            self._claim(plugin)
        except _Broken as broken:
            plugin.state, plugin.cause = BROKEN, _one_line(str(broken))
            plugin.offers = {}
            if namesake is None:
                self._manager.unregister(name=plugin.name)
            logger.warning(
                "plugin %s is left out: %s",
                plugin,
                plugin.cause,
                extra={"event": "plugin-broken", "plugin": plugin.name},
            )
        return plugin

    def _register(self, found: Found, plugin: Plugin) -> None:
        entry = found.entry
        if entry is None:
            raise _Broken(found.fault)
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:  # whatever its code does at import
            raise _Broken(f"{entry.value} cannot be imported: {_told(error)}") from error
        _check_marks(loaded)
        known = self._manager.get_name(loaded)
        if known is not None:
            raise _Broken(f"{entry.value} is plugin {known!r} already")
        try:
            self._manager.register(loaded, plugin.name)
            self._manager.check_pending()
        except Exception as error:  # pluggy's own, and what the attributes of a strange object raise
            raise _Broken(self._misspelt(loaded) or _told(error)) from error

    def _misspelt(self, loaded: Any) -> str:
        callers = self._manager.get_hookcallers(loaded) or []
        names = [caller.name for caller in callers if not caller.has_spec()]
        return "; ".join(f"{name} is no hook{_near(name, BY_HOOK)}" for name in names)

    def _ask(self, plugin: Plugin) -> None:
        """Call each hook of a plugin once, and check what it returns."""
        loaded = self._manager.get_plugin(plugin.name)
        callers = [caller for caller in self._manager.get_hookcallers(loaded) or [] if caller.name in BY_HOOK]
        if not callers:
            raise _Broken(f"it implements no hook; there are {', '.join(BY_HOOK)}")
        nouns = {BY_HOOK[caller.name].noun for caller in callers}
        plugin.nouns = [noun for noun in KINDS if noun in nouns]
        for caller in callers:
            kind = BY_HOOK[caller.name]
            for implementation in caller.get_hookimpls():
                if implementation.plugin is loaded:
                    if implementation.wrapper or implementation.hookwrapper:
                        raise _Broken(
                            f"{kind.hook} is a wrapper; each plugin is asked for itself, so it has nothing to wrap"
                        )
                    plugin.offers.setdefault(kind.noun, []).extend(_asked(kind, implementation.function))
        plugin.claims = {
            (noun, name)
            for noun, offers in plugin.offers.items()
            for offered in offers
            for name in KINDS[noun].names(offered)
        }

    def _claim(self, plugin: Plugin) -> None:
        """Take the names of what a plugin offers; all of them are free, or none is taken."""
        claimed: dict[tuple[str, str], Plugin] = {}
        for noun, offers in plugin.offers.items():
            for offered in offers:
                for name in KINDS[noun].names(offered):
                    owner = self._taken.get((noun, name)) or claimed.get((noun, name))
                    if owner is plugin:
                        raise _Broken(f"it offers {noun} {name!r} twice")
                    if owner is not None:
                        raise _Broken(
                            f"it offers {noun} {name!r}, as {owner} does already; "
                            f"put {owner.name!r} into the setting plugins_disabled to let this one have it"
                        )
                    claimed[noun, name] = plugin
        self._taken |= claimed


def _asked(kind: OfferKind, function: Any) -> list[Any]:
    try:
        offers = function()
    except (Exception, SystemExit) as error:  # whatever the plugin's code does
        raise _Broken(f"{kind.hook} failed: {_told(error)}") from error
    if inspect.iscoroutine(offers):
        offers.close()
        raise _Broken(f"{kind.hook} is async; hooks are called before there is a loop")
    if not isinstance(offers, list):
        raise _Broken(f"{kind.hook} returned {type(offers).__name__}, not a list")
    for offered in offers:
        fault = kind.fault(offered)
        if fault is not None:
            raise _Broken(f"{kind.hook}: {fault}")
    return offers


def _check_marks(loaded: Any) -> None:
    """Refuse what looks like a hook and is none, as pluggy passes over it without a word."""
    for name in dir(loaded):
        if name.startswith(_PREFIX):
            attribute = inspect.getattr_static(loaded, name, None)
            if inspect.isroutine(attribute) and not hasattr(attribute, f"{GROUP}_impl"):
                raise _Broken(f"{name} lacks @hookimpl (`from orbitmesh import hookimpl`)")


def _warn_of_unknown(disabled: Iterable[str], names: Collection[str]) -> None:
    for name in disabled:
        if name not in names:
            logger.warning(
                "plugin %r is disabled but not installed%s",
                name,
                _near(name, names),
                extra={"event": "plugin-unknown", "plugin": name},
            )


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CAUSE else text[: _MAX_CAUSE - 1] + "…"
