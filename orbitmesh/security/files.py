"""Files and folders that are this user's alone: refused when others may look, and never seen half written."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.security import locks

MAX_FILE: Final = 64 * 1024
"""Bytes of the largest file read here; ours have less than four thousand."""

LOCK: Final = "lock"
"""File in the home, locked while something is made in it."""

_BIRTH: Final = ".birth-"
_BINARY: Final = getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def explained(home: Path) -> Iterator[None]:
    """Turn what the system says about files into a ``ConfigError`` that names the file."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{error.filename or home} cannot be used: {error.strerror}; "
            f"see to it, or give another folder by ORBITMESH_HOME"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder for this user alone where there is none.

    Raises:
        ConfigError: It is there and others may look into it.
        OSError: The disk refuses.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """See whether a folder is for this user alone.

    Raises:
        ConfigError: Others may look into it; the message has the command that mends it.
        FileNotFoundError: It is not there.
        OSError: It cannot be looked at.
    """
    mode = folder.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{folder} is no folder: move it away")
    _check_mode(mode, folder, "700")


def read(path: Path, *, mend: str) -> bytes:
    """Read a small file that is for this user alone.

    Args:
        path: The file.
        mend: What to do when it is damaged.

    Raises:
        ConfigError: Others may read it, or it is far too large.
        FileNotFoundError: It is not there.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        _check_mode(os.fstat(file.fileno()).st_mode, path, "600")
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise damaged(path, "it is far too large", mend=mend)
    return content


def damaged(path: Path, fault: str, *, mend: str) -> ConfigError:
    """The error for a file whose content is not what it must be."""
    return ConfigError(f"{path} is damaged: {fault}; {mend}")


def write(path: Path, content: bytes) -> None:
    """Write a file whole: a reader, or the next start after a power cut, sees the old content or the new.

    Only one process may write a file at a time.

    Raises:
        OSError: The disk refuses; the old content stays.
    """
    new = path.with_name(path.name + ".new")
    _write_through(new, content, os.O_TRUNC)
    new.replace(path)
    _settle(path.parent)


def bear(home: Path, folder: Path, contents: Callable[[], Mapping[str, bytes]]) -> None:
    """Make a folder with files, complete at once, by one process however many want it; the others wait.

    Whatever ends this in the middle leaves a folder that the next one here removes.

    Args:
        home: The home; it is made when it is missing.
        folder: What to make, in the home or below.
        contents: Gives the files by name; not asked when the folder is there.

    Raises:
        ConfigError: Others may look into the home.
        OSError: The disk refuses.
    """
    with exclusive(home):
        if folder.exists():
            return
        make_folder(folder.parent)
        for rest in folder.parent.glob(f"{_BIRTH}*"):
            shutil.rmtree(rest)
        unborn = folder.parent / f"{_BIRTH}{secrets.token_hex(8)}"
        unborn.mkdir(mode=0o700)
        for name, content in contents().items():
            _write_through(unborn / name, content, os.O_EXCL)
        _settle(unborn)
        unborn.rename(folder)
        _settle(folder.parent)


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the home's lock, waiting for it; it ends with the process at the latest.

    Raises:
        ConfigError: Others may look into the home.
        OSError: The disk refuses.
    """
    make_folder(home)
    file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
    try:
        locks.wait(file)
        try:
            yield
        finally:
            locks.give(file)
    finally:
        os.close(file)


def _check_mode(mode: int, path: Path, right: str) -> None:
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"{path} is open to other users: chmod {right} {shlex.quote(str(path))}")


def _write_through(path: Path, content: bytes, flag: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | flag | _BINARY, 0o600)
    try:
        if os.write(file, content) != len(content):
            raise OSError(0, "the disk took only a part", str(path))
        os.fsync(file)
    finally:
        os.close(file)


def _settle(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system knows that."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
