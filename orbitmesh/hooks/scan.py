"""Whether any plugin from outside is installed, found out without loading one: for what must start at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

_SUFFIXES: Final = (".dist-info", ".egg-info")
_OWN: Final = "orbitmesh"
_HEADING: Final = "[orbitmesh]"


def has_outside_plugins(path: Sequence[str] | None = None) -> bool:
    """Whether a distribution other than ours has an entry point in our group.

    Reads the metadata of what is installed as bare files: a millisecond or two, where ``importlib.metadata`` takes 40.
    What lies in archives on the path is not looked into but taken for a plugin: better load in vain than miss one.

    Args:
        path: Folders to look in; None: those of ``sys.path``.
    """
    for folder in dict.fromkeys(sys.path if path is None else path):
        try:
            with os.scandir(folder or ".") as entries:
                names = [entry.name for entry in entries if entry.name.endswith(_SUFFIXES)]
        except NotADirectoryError:
            return True
        except OSError:
            continue  # the path may name what does not exist, and Python passes over it too
        if any(_has_plugin(os.path.join(folder, name)) for name in names if not _is_own(name)):
            return True
    return False


def _is_own(name: str) -> bool:
    return name.partition("-")[0].lower() == _OWN or name == _OWN + ".egg-info"


def _has_plugin(metadata: str) -> bool:
    return _HEADING in _headings(os.path.join(metadata, "entry_points.txt"))


def _headings(file: str) -> Iterator[str]:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lstrip().startswith("["):
                    yield "".join(line.split())
    except OSError:
        return  # most distributions have no entry points
