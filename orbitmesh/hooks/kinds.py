"""What each hook may bring: the attributes that its objects need, and the names by which they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

_Check: TypeAlias = Callable[[Any], str | None]
"""Says what an attribute must be, if it is not that."""

_MAX_REPR: Final = 60


@dataclass(frozen=True, slots=True)
class OfferKind:
    """What one hook brings.

    Attributes:
        hook: The hook's name.
        noun: What its objects are called.
        needs: What each attribute must be.
        chosen_by: The attribute whose text no two of the kind may share.
        also_by: A second one, which holds several texts.
    """

    hook: str
    noun: str
    needs: Mapping[str, _Check]
    chosen_by: str = "name"
    also_by: str | None = None

    def fault(self, offered: Any) -> str | None:
        """Say why an object is none of this kind; None: it is one."""
        if isinstance(offered, type):
            return f"{offered.__name__} is a class; return an object of it"
        for attribute, check in self.needs.items():
            try:
                value = offered if attribute == "__call__" else getattr(offered, attribute)
            except AttributeError:
                return f"{_short(offered)} has no {attribute!r}"
            except Exception as error:  # a property of the plugin's
                return f"{attribute!r} of {_short(offered)} fails: {type(error).__name__}: {error}"
            wanted = check(value)
            if wanted is not None:
                return f"{attribute!r} of {_short(offered)} is {_short(value)}; it must be {wanted}"
        return None

    def names(self, offered: Any) -> list[str]:
        """The names by which an object of this kind is chosen."""
        names = [getattr(offered, self.chosen_by)]
        if self.also_by is not None:
            names += getattr(offered, self.also_by)
        return list(dict.fromkeys(names))


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() == value != "" else "a text that is not empty"


def _texts(value: Any) -> str | None:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return None if is_sequence and value and all(_text(part) is None for part in value) else "a list of texts"


def _callable(value: Any) -> str | None:
    return None if callable(value) else "callable"


def _handler_kind(value: Any) -> str | None:
    return None if value in ("call", "stream") else "'call' or 'stream'"


def _target(value: Any) -> str | None:
    module, colon, attribute = value.partition(":") if isinstance(value, str) else ("", "", "")
    is_path = all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))
    return None if colon and is_path else "'module:attribute'"


_CODING: Final = {"name": _text, "encode": _callable, "decode": _callable}

KINDS: Final[Mapping[str, OfferKind]] = MappingProxyType(
    {
        kind.noun: kind
        for kind in (
            OfferKind(
                "orbitmesh_transports",
                "transport",
                {"name": _text, "schemes": _texts, "open": _callable},
                also_by="schemes",
            ),
            OfferKind("orbitmesh_discoveries", "discovery", {"name": _text, "open": _callable}),
            OfferKind("orbitmesh_serializers", "serializer", _CODING),
            OfferKind("orbitmesh_codecs", "codec", _CODING),
            OfferKind("orbitmesh_middleware", "middleware", {"name": _text, "__call__": _callable}),
            OfferKind(
                "orbitmesh_handlers",
                "handler",
                {"command": _text, "kind": _handler_kind, "handle": _callable},
                chosen_by="command",
            ),
            OfferKind("orbitmesh_cli", "cli", {"name": _text, "help": _text, "target": _target}),
        )
    }
)
"""By noun; the order is that in which kinds are listed."""

BY_HOOK: Final[Mapping[str, OfferKind]] = MappingProxyType({kind.hook: kind for kind in KINDS.values()})


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a repr of the plugin's
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_REPR else text[: _MAX_REPR - 1] + "…"
