"""Where a device comes from: the home's own mesh, a shared secret, or nothing but memory. Blocking disk work."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_name
from orbitmesh.security import birth, files
from orbitmesh.security.device import Device
from orbitmesh.security.keys import fresh_secret, mesh_id_of, signing_public
from orbitmesh.security.shared import derived

MESH: Final = "mesh"
"""Folder of the home's own mesh."""

SHARED: Final = "shared"
"""Folder with one folder for each shared secret that was used in this home, named by the mesh's id."""

_NAME: Final = "device.name"
_UNFIT: Final = re.compile(r"[^a-z0-9._-]+")


def open_device(home: Path, *, now: datetime) -> Device:
    """Open the home's own mesh; the first time, it is born here.

    However many processes come at once to an empty home, they all find the same mesh.

    Args:
        home: ``ORBITMESH_HOME``; it is made when it is missing.
        now: Aware UTC.

    Raises:
        ConfigError: Other users may look into the home, a file is damaged or missing, or the disk refuses; the message
            says which and how to mend it.
    """
    folder = home / MESH
    mend = (
        f"put it back from a copy, or move {folder} away: then a new mesh is born here, "
        "which other devices have to join anew"
    )
    with files.explained(home):
        contents = _born(home, folder, birth.NEEDED, lambda: birth.born(device_name(), now=now), mend=mend)
    try:
        return birth.restored(contents)
    except birth.Unreadable as error:
        raise files.damaged(folder / error.file, error.fault, mend=mend) from error


def shared_secret_device(home: Path, secret: str, *, now: datetime) -> Device:
    """Open the mesh that stands on a shared secret. The device's key and name stay in the home, the secret does not.

    Args:
        home: ``ORBITMESH_HOME``; it is made when it is missing.
        secret: ``ORBITMESH_SECRET``.
        now: Aware UTC; the device's certificate holds for ``certificates.DEVICE_LIFE`` from then.

    Raises:
        ConfigError: The secret is too weak, or as in ``open_device``.
    """
    keys = derived(secret)
    folder = home / SHARED / mesh_id_of(signing_public(keys.root_secret))
    mend = f"put it back from a copy, or delete {folder}: then this device gets a new key, and its nodes new ids"

    def contents_at_birth() -> dict[str, bytes]:
        return {birth.DEVICE_KEY: birth.key_file(fresh_secret()), _NAME: device_name().encode() + b"\n"}

    with files.explained(home):
        contents = _born(home, folder, (birth.DEVICE_KEY, _NAME), contents_at_birth, mend=mend)
    try:
        name = checked_name(contents[_NAME].decode().strip(), what="device name")
        device_secret = birth.read_key(contents, birth.DEVICE_KEY)
    except birth.Unreadable as error:
        raise files.damaged(folder / error.file, error.fault, mend=mend) from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise files.damaged(folder / _NAME, "it holds no name of a device", mend=mend) from error
    return birth.on_shared_secret(keys, device_secret, name=name, now=now)


def temporary_device(*, now: datetime) -> Device:
    """A device in a mesh of its own that nothing on disk knows of and that ends with this process."""
    return birth.restored(birth.born(device_name(), now=now))


def device_name(host: str | None = None) -> str:
    """A name for a device, made from its host's: short, in lower case, without what names may not have."""
    short = (platform.node() if host is None else host).partition(".")[0].lower()
    return _UNFIT.sub("-", short).strip("._-")[:64] or "device"


def _born(
    home: Path, folder: Path, needed: Sequence[str], contents: Callable[[], Mapping[str, bytes]], *, mend: str
) -> Mapping[str, bytes]:
    """Read the files of a folder of the home, which is made complete when it is not there."""
    try:
        files.check_folder(home)
        files.check_folder(folder)
    except FileNotFoundError:
        files.bear(home, folder, contents)
    if folder.parent != home:
        files.check_folder(folder.parent)
    files.check_folder(folder)
    read = {}
    for name in needed:
        try:
            read[name] = files.read(folder / name, mend=mend)
        except FileNotFoundError as error:
            raise files.damaged(folder / name, "it is missing", mend=mend) from error
    return read
