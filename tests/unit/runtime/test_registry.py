"""Registering handlers: what a row of the registry has, and what is told before anything runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orbitmesh import Agent
from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime.description import describe_commands, read_description
from orbitmesh.runtime.registry import plugin_registrations, register, register_handler
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import Info, Kind


async def look_up(key: str) -> int:
    """Find something.

    Slowly.
    """
    return len(key)


def test_name_and_description_come_from_the_function_where_none_are_given() -> None:
    made = register(look_up, name=None, kind=Kind.CALL)
    assert made.spec.name == "look-up"
    assert made.description == "Find something."
    assert made.offer.name == "look-up"
    other = register(look_up, name="find", kind=Kind.CALL, description="", idempotent=True, timeout="2s", concurrency=3)
    assert (other.spec.name, other.description, other.is_idempotent) == ("find", "", True)
    assert (other.timeout, other.concurrency) == (2.0, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a b"}, "command 'a b'"),
        ({"name": "orbitmesh.describe"}, "belong to the node"),
        ({"concurrency": 0}, "concurrency=0 is no number of calls"),
        ({"concurrency": True}, "concurrency=True"),
        ({"concurrency": "2"}, "concurrency='2'"),
        ({"timeout": "soon"}, "timeout of command 'look-up'"),
        ({"idempotent": "yes"}, "idempotent='yes' cannot be used: take True or False"),
        ({"description": 7}, "description=7 is no text"),
        ({"tags": {"a": 7}}, "tags=.* cannot be used: write"),
        ({"tags": ["a"]}, "tags=.* cannot be used"),
        ({"roles": "operator"}, "is one name"),
        ({"roles": None}, "roles=None"),
        ({"roles": [f"r{number}" for number in range(65)]}, "asks for 65 roles: 64"),
    ],
)
def test_options_that_cannot_be_used_are_told_at_the_decorator(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        register(look_up, **{"name": None, "kind": Kind.CALL, **options})


def test_whatever_is_registered_can_be_told_to_others_and_be_described() -> None:
    made = register(
        look_up, name=None, kind=Kind.CALL, roles=["b", "a"], tags={"owner": "me"}, idempotent=True, timeout=3
    )
    info = Info(0, offers=[made.offer])
    assert decode(encode([info])) == [info]
    own = register(look_up, name="orbitmesh.own", kind=Kind.CALL, is_own=True)
    (described,) = describe_commands({"look-up": made, "orbitmesh.own": own})
    assert (described.name, described.kind, described.roles) == ("look-up", "call", ["a", "b"])
    assert described.tags == {"owner": "me"}
    assert described.parameters["required"] == ["key"]
    assert described.returns == {"type": "integer"}


def test_a_description_that_is_none_is_told() -> None:
    from orbitmesh.core.errors import InvalidResult

    with pytest.raises(InvalidResult, match="cannot be read"):
        read_description({"name": 7})


class Offered:
    """A handler as plugins offer it."""

    def __init__(self, command: str = "offered", kind: str = "call") -> None:
        self.command = command
        self.kind = kind

    async def handle(self, number: int) -> int:
        """Give it back."""
        return number


class Streamed(Offered):
    async def handle(self, number: int) -> AsyncIterator[int]:  # type: ignore[override]  # a stream
        yield number


class Other(Offered):
    async def handle(self, number: int) -> int:
        """Do something else."""
        return -number


def test_an_object_with_command_kind_and_handle_is_a_handler() -> None:
    made = register_handler(Offered(), tags={"a": "b"})
    assert (made.spec.name, made.spec.kind, made.description) == ("offered", Kind.CALL, "Give it back.")
    assert register_handler(Streamed(kind="stream")).spec.kind is Kind.STREAM
    with pytest.raises(ConfigError, match="has no command and no kind and no handle"):
        register_handler(object())  # type: ignore[arg-type]  # what a plugin gets wrong
    with pytest.raises(ConfigError, match="kind 'job' is unknown: call or stream"):
        register_handler(Offered(kind="job"))


def test_a_broken_handler_of_a_plugin_is_left_out_and_of_two_namesakes_the_first_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        made = plugin_registrations([Offered(), Offered(kind="job"), Other(), Offered("other")])
    assert set(made) == {"offered", "other"}
    assert made["offered"].description == "Give it back."
    assert len(caplog.messages) == 2
    assert "left out" in caplog.messages[0]
    assert "two plugins offer 'offered'" in caplog.messages[1]


# What an agent takes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Agent("a b"), "name 'a b'"),
        (lambda: Agent(concurrency=0), "concurrency=0 cannot be used: take 1 or more"),
        (lambda: Agent(queue=-1), "queue=-1"),
        (lambda: Agent(concurrency=True), "concurrency=True"),
        (lambda: Agent(groups="g"), "write groups"),
        (lambda: Agent(nonsense=1), "there is no setting 'nonsense'"),
        (lambda: Agent().command(look_up), "with brackets above 'look_up'"),  # type: ignore[arg-type]  # as users do
        (lambda: Agent().stream(look_up), "with brackets"),  # type: ignore[arg-type]  # as users do
        (lambda: Agent().metric(look_up), "with brackets"),  # type: ignore[arg-type]  # as users do
        (lambda: Agent().command("a", timeuot=3)(look_up), "unknown option timeuot: there are concurrency"),
        (lambda: Agent().stream("a")(look_up), "stream|generator|yield"),
        (lambda: Agent().metric("m", every=0.01)(lambda: 1.0), "too often: take 0.1 s"),
        (lambda: Agent().metric("m", every="soon")(lambda: 1.0), "every of metric 'm'"),
        (lambda: Agent().metric("m")(look_up), "takes parameters"),
        (lambda: Agent().metric("a b"), "command 'a b'"),
        (lambda: Agent().middleware(7), "cannot be called"),  # type: ignore[type-var]  # as users do
        (lambda: Agent().add_handler(Offered(), nonsense=1), "unknown option nonsense"),
    ],
)
def test_what_an_agent_cannot_use_is_told_where_it_is_written(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_command_is_offered_once_and_no_label_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(capabilities=["gpu"])
    agent.command("a")(look_up)
    agent.add_handler(Offered())
    for name in ("a", "gpu", "offered"):
        with pytest.raises(ConfigError, match="offered already"):
            agent.command(name)(look_up)
    agent.metric("m")(lambda: 1.0)
    with pytest.raises(ConfigError, match="name is taken"):
        agent.metric("m")(lambda: 1.0)
    monkeypatch.setattr("orbitmesh.runtime.agent.MAX_OFFERS", 3)
    with pytest.raises(ConfigError, match="all that others take from one agent"):
        agent.command("more")(look_up)
    monkeypatch.setattr("orbitmesh.runtime.agent.MAX_METRICS", 1)
    with pytest.raises(ConfigError, match="1 metrics already"):
        agent.metric("n")(lambda: 1.0)
