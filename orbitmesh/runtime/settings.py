"""Where settings come from: constructor argument, else environment, else the home's settings.toml, else default."""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from orbitmesh.core.durations import seconds
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.settings import Settings

_PREFIX: Final = "ORBITMESH_"
_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}
_DURATIONS: Final = frozenset({"timeout", "busy_limit"})
_LISTS: Final = frozenset({"peers", "bind", "interfaces", "discovery", "plugins_disabled"})
_LATER: Final = frozenset({"store", "lease", "durability"})
"""Names that belong to parts that this version does not have; known, so that they do not warn."""

logger = logging.getLogger("orbitmesh.runtime")


def read_settings(
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    *,
    plugins: Collection[str] = (),
    is_quiet: bool = False,
) -> Settings:
    """Put the settings of a node together.

    Args:
        arguments: What the constructor was given; None counts as not given.
        environment: Where ``ORBITMESH_*`` stand.
        plugins: Names of installed plugins, whose ``ORBITMESH_<PLUGIN>_*`` are known.
        is_quiet: Whether unknown variables are passed over in silence, as somebody else will warn of them.

    Raises:
        ConfigError: A value is malformed; the message names the setting and where it stands.
    """
    from_environment = _from_environment(environment, plugins, is_quiet=is_quiet)
    given = {name: value for name, value in arguments.items() if value is not None}
    home = os.path.expanduser(str(given.get("home") or from_environment.get("home") or default_home()))
    values: dict[str, Any] = {"home": home}
    for where, source in (
        (f"{home}/settings.toml", _from_file(Path(home) / "settings.toml")),
        ("the environment", from_environment),
        ("the constructor", given),
    ):
        values |= _checked(source, where)
    values["home"] = home
    return msgspec.convert(values, Settings)


def checked_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a constructor was given, without what is None, or say what is wrong with it.

    Nothing outside of the arguments is looked at: environment and files count when the node starts.

    Raises:
        ConfigError: A setting is unknown or malformed.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_FIELDS)}"
            raise ConfigError(f"there is no setting {name!r}: {hint}")
    _checked(given, "the constructor")
    return given


def default_home() -> str:
    """The platform's folder for user data."""
    from platformdirs import user_data_dir

    return user_data_dir("orbitmesh", appauthor=False)


def _checked(source: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of one source as they will be, so that what is wrong is told with the place where it stands."""
    values = {name: _value(name, value, where) for name, value in source.items()}
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings in {where} cannot be used: {error}") from error
    return {name: getattr(settings, name) for name in values}


def _from_environment(environment: Mapping[str, str], plugins: Collection[str], *, is_quiet: bool) -> dict[str, str]:
    values: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if name in _FIELDS:
            values[name] = value
        elif not is_quiet and not _is_known(name, plugins):
            near = difflib.get_close_matches(name, [*_FIELDS, *_LATER], n=1)
            hint = f"; did you mean {_PREFIX}{near[0].upper()}?" if near else ""
            logger.warning("unknown setting %s is ignored%s", variable, hint, extra={"event": "unknown-setting"})
    return values


def _is_known(name: str, plugins: Collection[str]) -> bool:
    return (
        name in _LATER
        or name.startswith("test_")
        or any(name.startswith(plugin.lower().replace("-", "_") + "_") for plugin in plugins)
    )


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    unknown = [name for name in values if name not in _FIELDS]
    if unknown:
        raise ConfigError(f"{path}: unknown settings {', '.join(unknown)}; known are {', '.join(_FIELDS)}")
    return values


def _value(name: str, value: Any, where: str) -> Any:
    if name in _DURATIONS:
        return seconds(value, what=f"{name} in {where}")
    if name in _LISTS and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return str(value) if isinstance(value, os.PathLike) else value
