"""A decorated function stands for its command."""

from __future__ import annotations

import pytest

from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime.marks import Mark, mark, marked
from orbitmesh.wire.envelopes import Kind


def test_a_decorated_function_knows_its_command() -> None:
    def f() -> int:
        return 1

    mark(f, "work", kind=Kind.CALL, returns=int)
    mark(f, "work", kind=Kind.CALL, returns=int)
    assert marked(f) == Mark("work", Kind.CALL, int)
    assert f() == 1


def test_a_function_that_was_never_decorated_is_refused() -> None:
    def f() -> None: ...

    with pytest.raises(ConfigError, match=r"f is no decorated handler; give the command by its name"):
        marked(f)


def test_a_function_of_two_commands_is_ambiguous() -> None:
    def f() -> None: ...

    mark(f, "work", kind=Kind.CALL, returns=int)
    mark(f, "toil", kind=Kind.CALL, returns=int)
    with pytest.raises(ConfigError, match="several commands, 'work', 'toil'; give the name of the one you mean"):
        marked(f)


def test_what_takes_no_attributes_stays_unmarked() -> None:
    mark(len, "measure", kind=Kind.CALL, returns=int)
    with pytest.raises(ConfigError, match="len is no decorated handler"):
        marked(len)
