"""Values of every kind that both built-in serializers write."""

from __future__ import annotations

import pytest

from orbitmesh.builtin.json import Json
from orbitmesh.builtin.msgpack import Msgpack
from orbitmesh.spi.payload import Serializer


@pytest.fixture
def msgpack() -> Serializer:
    return Msgpack()


@pytest.fixture
def json() -> Serializer:
    return Json()


@pytest.fixture(params=[Msgpack, Json], ids=["msgpack", "json"])
def serializer(request: pytest.FixtureRequest) -> Serializer:
    made: Serializer = request.param()
    return made
