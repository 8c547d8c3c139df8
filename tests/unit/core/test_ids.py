"""Names that people choose, and the form of ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_command, checked_name, is_node_id


@pytest.mark.parametrize("name", ["a", "7", "pi-4", "worker_2.local", "A" * 64])
def test_names_of_letters_digits_and_a_few_signs_are_taken(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "é", "a\n", "A" * 65, None, 7, b"a"])
def test_other_names_are_refused_with_what_may_be_taken(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"device .* cannot be used: take 1 to 64"):
        checked_name(name, what="device")


@pytest.mark.parametrize("name", ["resize", "_private", "orbitmesh.describe", "gpu:a100", "a" * 128])
def test_commands_may_be_longer_and_hold_colons(name: str) -> None:
    assert checked_command(name) == name


@pytest.mark.parametrize("name", ["", ".a", ":a", "-a", "a b", "a/b", "a\n", "a" * 129, None, 7])
def test_other_commands_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"command .* cannot be used: take 1 to 128"):
        checked_command(name)


@given(st.text())
def test_a_checked_name_never_holds_what_a_terminal_or_an_address_would_read_otherwise(name: str) -> None:
    for check in (checked_name, checked_command):
        try:
            check(name)
        except ConfigError:
            continue
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(" /\\@'\"*")


def test_a_node_id_is_32_small_hex_digits() -> None:
    assert is_node_id("0123456789abcdef" * 2)
    for text in ("", "0123456789abcdef", "0123456789ABCDEF" * 2, "g" * 32, "0" * 33, "0" * 32 + "\n"):
        assert not is_node_id(text)
