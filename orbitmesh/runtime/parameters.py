"""The parameters of one handler: what a body decodes to, and every fault of one that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from orbitmesh.core.errors import InvalidParameters
from orbitmesh.runtime.conversion import Conversion, Misfit, Structure, convert_native

_MAX_MESSAGE: Final = 8192
"""Characters of the faults of one body that are told; the rest is counted. A caller can send any number of names."""

_MAX_NAME: Final = 64
"""Longest name that a likeness is looked for, and that is quoted whole."""

_MAX_HINTS: Final = 20
"""Unknown names that a likeness is looked for: the search costs."""

_CONSTANT: Final = (type(None), bool, int, float, complex, str, bytes, Enum)
"""Types of defaults that msgspec can take as they are; anything else is handed out by a function."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that callers give.

    Attributes:
        name: Its name, in Python and on the wire.
        conversion: How its values are made.
        is_required: Whether it must be given.
        default: What it is otherwise; None where it is required.
        description: What the docstring says about it.
    """

    name: str
    conversion: Conversion
    is_required: bool
    default: Any
    description: str = ""


class Parameters(Protocol):
    """How the body of a request becomes the parameters of a handler.

    Attributes:
        fields: The parameters, in the order of the signature.
        decode_type: What a serializer is asked to decode a body to.
        is_direct: Whether what it gives is ready for the handler; else it is plain, for ``convert``.
        expressions: By name of each parameter, the Python expression for its value; in it, ``params`` is what decoding
            or ``convert`` gave.
        is_lone: Whether the one parameter takes the whole mapping.
    """

    @property
    def fields(self) -> Sequence[Parameter]: ...  # noqa: D102 - see above
    @property
    def decode_type(self) -> Any: ...  # noqa: D102 - see above
    @property
    def is_direct(self) -> bool: ...  # noqa: D102 - see above
    @property
    def expressions(self) -> Mapping[str, str]: ...  # noqa: D102 - see above
    @property
    def is_lone(self) -> bool: ...  # noqa: D102 - see above

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """Turn plain values by name, or None for none, into what the handler is called with.

        Raises:
            InvalidParameters: With a path in each parameter that has a fault, and all unknown and missing names.
        """
        ...


class NamedParameters:
    """Parameters that are matched by name."""

    __slots__ = (
        "_late",
        "_names",
        "_required",
        "_struct",
        "decode_type",
        "expressions",
        "fields",
        "is_direct",
        "is_lone",
    )

    def __init__(self, owner: str, fields: Sequence[Parameter]) -> None:
        """Make a struct of the parameters.

        Args:
            owner: Name of the command, which the struct is called after.
            fields: The parameters.
        """
        self.fields = tuple(fields)
        self.is_lone = False
        # Fields are called p0, p1 …: a parameter may have any name, a field of a struct may not.
        slots = {f"p{index}": parameter for index, parameter in enumerate(fields)}
        self.expressions = {parameter.name: f"params.{slot}" for slot, parameter in slots.items()}
        self._struct = msgspec.defstruct(
            owner,
            [(slot, parameter.conversion.decode_type, _default(parameter)) for slot, parameter in slots.items()],
            rename={slot: parameter.name for slot, parameter in slots.items()},
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._late = tuple((slot, field) for slot, field in slots.items() if not field.conversion.is_direct)
        # Without parameters there is nothing to decode into, and "none" is said by None most often.
        self.is_direct = bool(fields) and not self._late
        self.decode_type: Any = self._struct if self.is_direct else Any
        self._names = frozenset(parameter.name for parameter in fields)
        self._required = tuple(parameter.name for parameter in fields if parameter.is_required)

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """See ``Parameters``."""
        if plain is None:
            if not self.fields:
                return None
            plain = {}
        try:
            params = convert_native(plain, self._struct, is_binary=is_binary)
        except Misfit as misfit:
            raise self._explained(plain, misfit, is_binary=is_binary) from misfit
        faults = self._convert_late(plain, params, is_binary=is_binary)
        if faults:
            raise invalid(faults)
        return params

    def _explained(self, plain: Any, misfit: Misfit, *, is_binary: bool) -> InvalidParameters:
        if not isinstance(plain, Mapping):
            return not_a_mapping(plain)
        faults = faults_by_name(plain, self._struct, self._names, is_binary=is_binary)
        faults += self._convert_late(plain, None, is_binary=is_binary)
        faults += faults_of_names(plain, self._names, self._required)
        return invalid(faults or [fault.under("") for fault in misfit.faults])

    def _convert_late(self, plain: Mapping[str, Any], params: Any, *, is_binary: bool) -> list[str]:
        """Convert what msgspec does not, put it into ``params`` if there are any, and tell what did not fit."""
        faults: list[str] = []
        for slot, parameter in self._late:
            if parameter.name not in plain:
                continue
            try:
                value = parameter.conversion.convert(plain[parameter.name], is_binary=is_binary)
            except Misfit as misfit:
                faults += [fault.under(parameter.name) for fault in misfit.faults]
                continue
            if params is not None:
                setattr(params, slot, value)
        return faults


class LoneParameter:
    """One parameter of a structured type: it takes the whole mapping."""

    __slots__ = ("_conversion", "_field", "_structure", "decode_type", "expressions", "fields", "is_direct", "is_lone")

    def __init__(self, parameter: Parameter, structure: Structure) -> None:
        self.fields = (parameter,)
        self.is_lone = True
        self.expressions = {parameter.name: "params"}
        self._field = parameter
        self._conversion = parameter.conversion
        self._structure = structure
        # Unless its type refuses them by itself, unknown names are looked for in the plain mapping: they are faults as
        # they are with parameters by name. So is "no parameters" looked for, where that stands for a default.
        self.is_direct = structure.is_closed and parameter.is_required and not structure.is_optional
        self.decode_type = self._conversion.decode_type if self.is_direct else Any

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """See ``Parameters``."""
        is_nothing = plain is None or (isinstance(plain, Mapping) and not plain)
        if is_nothing and not self._field.is_required:
            return self._field.default
        structure = self._structure
        if plain is None:
            if structure.is_optional:
                return None
            plain = {}
        if not isinstance(plain, Mapping):
            raise not_a_mapping(plain)
        try:
            value = self._conversion.convert(plain, is_binary=is_binary)
        except Misfit as misfit:
            raise self._explained(plain, misfit, is_binary=is_binary) from misfit
        if not structure.is_open and not structure.names.issuperset(plain):
            raise invalid(faults_of_names(plain, structure.names, ()))
        return value

    def _explained(self, plain: Mapping[Any, Any], misfit: Misfit, *, is_binary: bool) -> InvalidParameters:
        structure = self._structure
        told = [fault.under("") for fault in misfit.faults]
        if self._conversion.is_direct:
            faults = faults_by_name(plain, self._conversion.annotation, structure.names, is_binary=is_binary)
        else:
            faults = told  # pydantic finds all by itself
        if not structure.is_open:
            faults = faults + faults_of_names(plain, structure.names, structure.required)
        return invalid(faults or told)


def faults_by_name(plain: Mapping[Any, Any], type_: Any, names: frozenset[str], *, is_binary: bool) -> list[str]:
    """Look at each value alone: msgspec stops at the first fault, and at a value's own fault before a missing name."""
    faults: list[str] = []
    for name, value in plain.items():
        if name not in names:
            continue
        try:
            convert_native({name: value}, type_, is_binary=is_binary)
        except Misfit as misfit:
            own = f".{name}"
            inner = (f"{own}.", f"{own}[")
            faults += [fault.under("") for fault in misfit.faults if fault.path == own or fault.path.startswith(inner)]
    return faults


def faults_of_names(plain: Mapping[Any, Any], names: frozenset[str], required: Iterable[str]) -> list[str]:
    """Say which names are unknown, and which are missing."""
    free = sorted(names.difference(plain)) or sorted(names)
    unknown = [name for name in plain if name not in names]
    faults = [_unknown(name, free if index < _MAX_HINTS else []) for index, name in enumerate(unknown)]
    return faults + [f"missing parameter {name!r}" for name in required if name not in plain]


def _unknown(name: Any, known: Sequence[str]) -> str:
    if not isinstance(name, str):
        return f"unknown parameter {name!r:.{_MAX_NAME}} (names are text)"
    if len(name) > _MAX_NAME:
        return f"unknown parameter {name[:_MAX_NAME] + '…'!r}"
    close = get_close_matches(name, known, n=1)
    return f"unknown parameter {name!r} (did you mean {close[0]!r}?)" if close else f"unknown parameter {name!r}"


def not_a_mapping(plain: Any) -> InvalidParameters:
    """What is told to a caller whose parameters have no names."""
    return InvalidParameters(f"parameters are a mapping of names to values, not {type(plain).__name__}")


def invalid(faults: Sequence[str]) -> InvalidParameters:
    """Put faults into one message of bounded length."""
    told: list[str] = []
    length = 0
    for fault in faults:
        length += len(fault) + 2
        if told and length > _MAX_MESSAGE:
            told.append(f"and {len(faults) - len(told)} more")
            break
        told.append(fault)
    return InvalidParameters("; ".join(told))


def _default(parameter: Parameter) -> Any:
    if parameter.is_required:
        return msgspec.field()
    default = parameter.default
    if isinstance(default, _CONSTANT):
        return default
    # Python hands out one and the same default at every call; msgspec would copy or refuse some.
    return msgspec.field(default_factory=lambda: default)
