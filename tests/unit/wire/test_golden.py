"""Bytes of each released version: still read, still written, and read alike by somebody else's msgpack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgpack  # type: ignore[import-untyped]  # it has none
import msgspec
import pytest

from orbitmesh.wire import envelopes
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import RESERVED, Envelope, Type
from orbitmesh.wire.versions import SPOKEN

RECORDING: Final = "ORBITMESH_RECORD_GOLDEN"
VERSIONS: Final = [str(version) for version in range(SPOKEN.oldest, SPOKEN.newest + 1)]


def plain(value: Any) -> Any:
    """A struct as the array that stands on the wire, written down independently of the encoder."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [plain(getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        return fields if tag is None else [tag, *fields]
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def test_every_example_is_recorded_and_reads_back_as_it_was(examples: Mapping[str, Envelope], golden: Path) -> None:
    folder = golden / VERSIONS[-1]
    for name, envelope in examples.items():
        path = folder / f"{name}.bin"
        if os.environ.get(RECORDING) and not path.exists():
            path.write_bytes(encode([envelope]))
        assert path.exists(), f"no recorded bytes of {name}: run with {RECORDING}=1"
        assert decode(path.read_bytes()) == [envelope]


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_bytes_are_read_and_written_again_alike(golden: Path, version: str) -> None:
    paths = sorted((golden / version).glob("*.bin"))
    assert paths
    for path in paths:
        recorded = path.read_bytes()
        assert encode(decode(recorded)) == recorded, path.name


def test_every_type_of_envelope_has_recorded_bytes(golden: Path) -> None:
    recorded = {msgpack.unpackb(path.read_bytes())[0][0] for path in (golden / VERSIONS[-1]).glob("*.bin")}
    assert recorded == set(Type) - RESERVED


@pytest.mark.parametrize("version", VERSIONS)
def test_another_reader_sees_the_same_arrays(examples: Mapping[str, Envelope], golden: Path, version: str) -> None:
    for name, envelope in examples.items():
        recorded = (golden / version / f"{name}.bin").read_bytes()
        assert msgpack.unpackb(recorded) == [plain(envelope)], name
        assert msgpack.packb([plain(envelope)]) == recorded, name


def test_every_number_of_a_type_is_built_or_reserved() -> None:
    built = {member.__struct_config__.tag for member in get_args(Envelope)}
    assert built == {int(type_) for type_ in set(Type) - RESERVED}
    names = {Type(int(tag)).name.title() for tag in built}
    assert {member.__name__ for member in get_args(Envelope)} == names
    assert all(hasattr(envelopes, name) for name in names)
