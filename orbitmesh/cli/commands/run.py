"""``orbitmesh run``: serve agents of a Python module."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Final

import click

from orbitmesh.core.errors import ConfigError, OrbitMeshError

if TYPE_CHECKING:
    from orbitmesh import Agent

_OURS: Final = str(Path(__file__).parents[2]) + os.sep


@click.command()
@click.argument("names", metavar="MODULE:AGENT...", nargs=-1, required=True)
def run(names: tuple[str, ...]) -> None:
    """Serve agents until Ctrl-C or SIGTERM.

    MODULE is what Python would import, the current folder first; AGENT is the name of an Agent in it. Several agents
    share the process.
    """
    from orbitmesh.runtime.logs import set_up_logging
    from orbitmesh.runtime.running import run_agents

    set_up_logging()
    run_agents(find_agents(names))


def find_agents(names: Sequence[str]) -> list[Agent]:
    """Import the agents that names mean, the current folder first.

    Raises:
        click.UsageError: A name is malformed, or two mean the same agent.
        ConfigError: There is no such module, it fails, or it has no such agent.
    """
    if "" not in sys.path and os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    agents: list[Agent] = []
    for name in names:
        agent = _find(name)
        if any(agent is other for other in agents):
            raise click.UsageError(f"{name} is the same agent as one before it: replicas are made by instance=2")
        agents.append(agent)
    return agents


def _find(name: str) -> Agent:
    from orbitmesh import Agent

    module_name, is_whole, path = name.partition(":")
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name or not module_name:
        shown = module_name.removesuffix(".py").replace(os.sep, ".").strip(".") or "MODULE"
        raise click.UsageError(f"{name!r} names no module: write it as Python imports it, {shown}:{path or 'AGENT'}")
    module = _imported(module_name)
    if not is_whole:
        return _only_agent(module)
    found: object = module
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Agent):
        what = f"{path!r}, but that is no Agent" if found is not None else f"no {path!r}"
        raise ConfigError(f"{module_name} has {what}; its agents: {', '.join(_agents_of(module)) or 'none'}")
    return found


def _only_agent(module: ModuleType) -> Agent:
    found = _agents_of(module)
    if len(found) != 1:
        raise click.UsageError(
            f"say which agent of {module.__name__} is meant, as {module.__name__}:AGENT; "
            f"its agents: {', '.join(found) or 'none'}"
        )
    return next(iter(found.values()))


def _agents_of(module: ModuleType) -> dict[str, Agent]:
    from orbitmesh import Agent

    return {name: value for name, value in vars(module).items() if isinstance(value, Agent)}


def _imported(name: str) -> ModuleType:
    """Import a module of the user's; what goes wrong in it is told with its place in it."""
    from orbitmesh.runtime.running import importing

    try:
        with importing():
            return importlib.import_module(name)
    except OrbitMeshError as error:
        error.message = f"{_place(error.__traceback__)}{error.message}"
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(name, error) from error
        raise ConfigError(f"there is no module {error.name!r} in {os.getcwd()}, nor where Python looks") from error
    except (Exception, SystemExit) as error:  # whatever the user's code does
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigError:
    """Show where it came from, as whoever wrote the module wants it: without our frames and the importer's."""
    for line in traceback.TracebackException.from_exception(_cut(error)).format():
        click.echo(line, nl=False, err=True)
    return ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}")


def _cut(error: BaseException) -> BaseException:
    tb = error.__traceback__
    while tb is not None and not _is_users(tb.tb_frame):
        tb = tb.tb_next
    return error.with_traceback(tb)


def _place(tb: TracebackType | None) -> str:
    """The last line of the user's own that led to an error, as ``file:line: ``."""
    place = ""
    while tb is not None:
        if _is_users(tb.tb_frame):
            place = f"{os.path.relpath(tb.tb_frame.f_code.co_filename)}:{tb.tb_lineno}: "
        tb = tb.tb_next
    return place


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith(("<", _OURS)) and frame.f_globals.get("__name__") != "importlib"
