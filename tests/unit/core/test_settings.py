"""Settings as a type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orbitmesh.core.settings import Settings
from orbitmesh.wire import limits


def test_nothing_has_to_be_set() -> None:
    settings = Settings()
    assert settings.max_body == limits.MAX_BODY
    assert settings.peers == settings.bind == settings.interfaces == settings.discovery == ()


@pytest.mark.parametrize(
    "given", [{"timeout": 0}, {"busy_limit": -1.0}, {"max_body": 1023}, {"max_body": 2**31 + 1}, {"timeot": 1}]
)
def test_values_out_of_range_and_names_that_do_not_exist_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, Settings)


def test_settings_are_never_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        Settings().name = "other"  # type: ignore[misc]  # that is the point
