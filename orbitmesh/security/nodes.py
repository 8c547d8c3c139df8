"""What a named node keeps in the home between its starts, and that only one process at a time is that node."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import Boot, MeshId, checked_name
from orbitmesh.security import files, locks, machine
from orbitmesh.security.keys import KEY_BYTES, fresh_secret
from orbitmesh.wire.limits import MAX_ID

NODES: Final = "nodes"
"""Folder with one folder for each mesh, with one folder for each node."""

LOCK: Final = "lock"
"""Held while a process is the node; it holds that process's id, for people."""

KEY: Final = "link.key"
STATE: Final = "node.json"

_BINARY: Final = getattr(os, "O_BINARY", 0)
_PID_BYTES: Final = 20


class NodeTaken(ConfigError):
    """Another process is the node of this name.

    Attributes:
        name: The name.
        pid: Id of that process, where it could be read.
    """

    code = "node-taken"

    def __init__(self, message: str = "", *, name: str = "", pid: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.pid = pid


class _State(Struct, forbid_unknown_fields=True):
    boot: Annotated[int, Meta(ge=0, le=MAX_ID - 1)]
    port: Annotated[int, Meta(ge=0, le=65535)]


_DECODER: Final = msgspec.json.Decoder(_State)


class NodeFolder:
    """A named node's folder, held for as long as this is open. Blocking disk work.

    Attributes:
        secret_key: X25519 secret of the node's links, the same at each start.
        boot: Which start of the node this is.
    """

    def __init__(
        self, folder: Path, lock: int, mark: machine.Mark, *, secret_key: bytes, boot: Boot, port: int
    ) -> None:
        """Take over what ``claim`` has opened."""
        self.secret_key: Final = secret_key
        self.boot: Final = boot
        self._folder = folder
        self._lock: int | None = lock
        self._mark = mark
        self._port = port

    def __repr__(self) -> str:
        return f"<NodeFolder {self._folder}>"

    @property
    def port(self) -> int:
        """The port that the node listened on last, 0 for none."""
        return self._port

    @classmethod
    def claim(cls, home: Path, name: str, *, mesh_id: MeshId) -> NodeFolder:
        """Be the node of this name until ``release``, or until this process ends, however it ends.

        The boot is higher than that of any earlier claim, and on disk before this returns.

        Args:
            home: ``ORBITMESH_HOME``.
            name: The node's name; a replica's has its instance in it.
            mesh_id: The mesh that it is a node of.

        Raises:
            NodeTaken: Another process is this node now; the message says which, and the ways out.
            ConfigError: The name cannot be used, other users may look into a folder, a file is damaged, another machine
                uses this home, or the disk refuses.
        """
        checked_name(name, what="node name")
        folder = home / NODES / mesh_id / name
        with files.explained(home), contextlib.ExitStack() as undo:
            with files.exclusive(home):
                for part in (home / NODES, folder.parent, folder):
                    files.make_folder(part)
                mark = machine.mark(home)
                undo.callback(mark.release)
                lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
                undo.callback(os.close, lock)
                if not locks.take(lock):
                    raise _taken(name, lock)
            os.ftruncate(lock, 0)
            os.lseek(lock, 0, os.SEEK_SET)
            os.write(lock, str(os.getpid()).encode())
            state = _state(folder)
            now_ms = time.time_ns() // 1_000_000
            state = _State(boot=max(state.boot + 1, now_ms), port=state.port)
            _keep(folder, state)
            node = cls(folder, lock=lock, mark=mark, secret_key=_secret(folder), boot=Boot(state.boot), port=state.port)
            undo.pop_all()
            return node

    def keep_port(self, port: int) -> None:
        """Remember where the node listens, for its next start. After ``release`` it does nothing.

        Raises:
            ConfigError: The disk refuses.
        """
        if self._lock is not None and port != self._port:
            with files.explained(self._folder):
                _keep(self._folder, _State(boot=self.boot, port=port))
            self._port = port

    def release(self) -> None:
        """Let another process be the node. Calling it again is harmless."""
        if self._lock is not None:
            # Unlocked, not just closed: a forked child has the file too, and would hold the node for its life.
            locks.give(self._lock)
            os.close(self._lock)
            self._lock = None
            self._mark.release()


def running_names(home: Path, mesh_id: MeshId) -> frozenset[str]:
    """Names of the nodes of a mesh that some process is now, this one among them.

    Raises:
        ConfigError: Other users may look into the home, or it cannot be read.
    """
    folder = home / NODES / mesh_id
    with files.explained(home):
        if not folder.is_dir():
            return frozenset()
        # Looking at a lock takes it for a moment: the home's lock keeps those out who would call the name taken.
        with files.exclusive(home):
            return frozenset(part.name for part in folder.iterdir() if _is_held(part / LOCK))


def _is_held(lock: Path) -> bool:
    try:
        file = os.open(lock, os.O_RDWR | _BINARY)
    except (FileNotFoundError, NotADirectoryError):
        return False  # claimed for the first time by nobody yet, or nothing of ours
    try:
        if not locks.take(file):
            return True
        locks.give(file)
        return False
    finally:
        os.close(file)


def _taken(name: str, lock: int) -> NodeTaken:
    os.lseek(lock, 0, os.SEEK_SET)
    text = os.read(lock, _PID_BYTES)
    pid = int(text) if text.isdigit() else None
    holder = "another process" if pid is None else f"process {pid}"
    return NodeTaken(
        f"{holder} is node {name!r} already: stop it, take another name, or run a replica beside it with instance=2",
        name=name,
        pid=pid,
    )


def _state(folder: Path) -> _State:
    path = folder / STATE
    mend = f"delete {path}: the node forgets its last port, and its boot goes on from the clock"
    try:
        return _DECODER.decode(files.read(path, mend=mend))
    except FileNotFoundError:
        return _State(boot=0, port=0)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise files.damaged(path, "it holds no boot and port", mend=mend) from error


def _keep(folder: Path, state: _State) -> None:
    files.write(folder / STATE, msgspec.json.encode(state) + b"\n")


def _secret(folder: Path) -> bytes:
    path = folder / KEY
    mend = f"delete {path}: the node gets a new key, and addresses that hold the old one must be renewed"
    try:
        text = files.read(path, mend=mend)
    except FileNotFoundError:
        secret = fresh_secret()
        files.write(path, secret.hex().encode() + b"\n")
        return secret
    try:
        secret = bytes.fromhex(text.decode())
    except ValueError as error:
        raise files.damaged(path, "it holds no key", mend=mend) from error
    if len(secret) != KEY_BYTES:
        raise files.damaged(path, f"it holds {len(secret)} bytes, not {KEY_BYTES}", mend=mend)
    return secret
