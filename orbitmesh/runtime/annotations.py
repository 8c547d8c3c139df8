"""What a function's annotations mean, one by one, so that the one which cannot be resolved is known."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


def home_of(function: Callable[..., Any]) -> Any:
    """Where annotations and docstring stand: the function behind partials and objects that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function) or not callable(function):
        return function
    return type(function).__call__


def resolve(annotation: Any, names: dict[str, Any]) -> Any:
    """The meaning of an annotation, which may be, or hold, text.

    Args:
        annotation: As it stands at the function.
        names: What names in it stand for.

    Raises:
        Exception: Whatever evaluating it raises, such as ``NameError``.
    """
    alone = SimpleNamespace(__annotations__={"it": annotation})
    return get_type_hints(alone, globalns=names, include_extras=True)["it"]


def names_in_reach(home: Any) -> dict[str, Any]:
    """Names that annotations of a function may use: those of its module, and those that it closes over."""
    function = inspect.unwrap(home)
    function = getattr(function, "__func__", function)
    names = dict(getattr(function, "__globals__", {}))
    code = getattr(function, "__code__", None)
    if code is not None:
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:
                continue  # not assigned yet: the function's own name, when it is decorated
    return names


def without_none(annotation: Any) -> tuple[Any, bool]:
    """An annotation without ``Annotated`` and without its ``None``, and whether it had that."""
    if get_origin(annotation) is Annotated:
        return without_none(annotation.__origin__)
    if get_origin(annotation) in (Union, UnionType):
        others = [argument for argument in get_args(annotation) if argument is not type(None)]
        if len(others) == 1:
            return without_none(others[0])[0], True
    return annotation, False
