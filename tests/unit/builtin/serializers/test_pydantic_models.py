"""Pydantic models are written where the program has pydantic, which the serializers never import."""

from __future__ import annotations

import subprocess
import sys
from types import GenericAlias
from typing import Any

import pytest

from orbitmesh.core.errors import Unserializable
from orbitmesh.spi.payload import Serializer


def test_pydantic_is_not_imported_by_the_serializers() -> None:
    code = (
        "import sys\n"
        "from orbitmesh.builtin.json import Json\n"
        "from orbitmesh.builtin.msgpack import Msgpack\n"
        "class Odd: pass\n"
        "for serializer in (Json(), Msgpack()):\n"
        "    try: serializer.encode(Odd())\n"
        "    except Exception as error: assert 'Odd' in str(error), error\n"
        "sys.exit(any(name.startswith('pydantic') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestModels:
    """What pydantic reads back is what was written."""

    @pytest.fixture(autouse=True)
    def _pydantic(self) -> None:
        self.pydantic: Any = pytest.importorskip("pydantic")

    def model(self, **fields: Any) -> Any:
        return self.pydantic.create_model("Model", **fields)

    def test_a_model_comes_back_with_bytes_dates_and_aliases(self, serializer: Serializer) -> None:
        import datetime as dt

        inner = self.model(when=(dt.datetime, ...))
        outer = self.model(
            inner=(GenericAlias(list, inner), ...),
            blob=(bytes, ...),
            named=(int, self.pydantic.Field(alias="its-name")),
        )
        moment = dt.datetime(2030, 1, 2, tzinfo=dt.UTC)
        value = outer(**{"inner": [inner(when=moment)], "blob": b"text", "its-name": 3})
        plain = serializer.decode(serializer.encode({"x": value}), Any)
        assert outer.model_validate(plain["x"]) == value

    def test_msgpack_keeps_bytes_that_are_no_text_and_json_refuses_them(
        self, msgpack: Serializer, json: Serializer
    ) -> None:
        value = self.model(blob=(bytes, ...))(blob=b"\xff")
        assert msgpack.decode(msgpack.encode(value), Any) == {"blob": b"\xff"}
        with pytest.raises(Unserializable, match="utf-8"):
            json.encode(value)

    def test_types_of_pydantic_s_own_are_written_as_in_its_json(self, serializer: Serializer) -> None:
        value = self.model(url=(self.pydantic.AnyUrl, ...), n=(int, 1))(url="http://hub.example/a")
        assert serializer.decode(serializer.encode(value), Any) == {"url": "http://hub.example/a", "n": 1}

    def test_what_a_model_cannot_write_is_named(self, serializer: Serializer) -> None:
        value = self.model(odd=(Any, ...))(odd=object())
        with pytest.raises(Unserializable, match=r"Model at \$\[0\]"):
            serializer.encode([value])
