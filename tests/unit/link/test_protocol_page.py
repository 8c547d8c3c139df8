"""docs/protocol.md says what the code does: states, limits, envelopes, codes and the anchors that docstrings name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from orbitmesh.core.errors import BY_CODE, Overloaded, RemoteError
from orbitmesh.link import bodies, errors, lanes, link, outbox, states
from orbitmesh.link.states import TRANSITIONS
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import CONTROL, RESERVED, Contact, Envelope, Offer, Origin, Type

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
LIMITS: Final = {name: value for name, value in vars(limits).items() if name.isupper()}
ENVELOPES: Final[tuple[type[Any], ...]] = get_args(Envelope)


def number_of(envelope: type[Any]) -> int:
    return int(envelope.__struct_config__.tag)


def section(title: str) -> str:
    """The text under a heading, up to the next of the same or a higher level."""
    match = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert match is not None, title
    end = re.search(rf"^#{{1,{len(match[1])}}} ", PAGE[match.end() :], re.MULTILINE)
    return PAGE[match.end() : match.end() + end.start() if end else len(PAGE)]


def paragraph_of(envelope: type[Any]) -> str:
    name = Type(number_of(envelope)).name
    start = PAGE.index(f"**{name}** ({number_of(envelope)})")
    end = re.search(r"\n\*\*[A-Z]+\*\* \(|\n#", PAGE[start + 2 :])
    return PAGE[start : start + 2 + end.start() if end else len(PAGE)]


def fields_told(text: str) -> list[str]:
    """The names in the first column of the table, or those that a sentence calls fields."""
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", text, re.MULTILINE)
    if rows:
        return [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    sentence = re.search(r"Field: `([a-z_]+)`", text)
    return [sentence[1]] if sentence else []


def test_the_diagram_is_the_table() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", section("Link states"), re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert {(state, cause): after for state, after, cause in drawn} == dict(TRANSITIONS)


def test_every_cause_is_explained() -> None:
    told = re.findall(r"^\| (\w+) \| (?!what it is)", section("Link states"), re.MULTILINE)
    assert told == [str(cause) for cause in states.Cause]


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_stands_in_the_page_with_its_value(name: str) -> None:
    assert f"`{name}` | {LIMITS[name]:g} |".replace("e+", "e") in PAGE or f"`{name}` | {int(LIMITS[name])} |" in PAGE


@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_stands_in_the_page_with_another_value(name: str) -> None:
    told = re.findall(rf"`{name}` \| (\d+) ", PAGE) + re.findall(rf"(\d+)(?: \w+)? \(`{name}`\)", PAGE)
    assert {int(value) for value in told} == {int(LIMITS[name])}


def test_bounds_of_the_rooms_stand_in_the_page() -> None:
    assert f"| {lanes.CONTROL_WAITING} control" not in PAGE
    assert f"when {lanes.CONTROL_WAITING} control envelopes, or {bodies.REFUSALS} refusals, wait" in PAGE
    assert f"{outbox.EVENTS:,} or {outbox.EVENT_BYTES} bytes" in PAGE
    assert f"cut at {errors.MAX_TEXT} characters" in PAGE
    assert f"{link.BUSY_LIMIT:g} s since the last message in busy, {link.GOODBYE_SECONDS:g} s in leaving" in PAGE
    assert f"{limits.CONTROL_MESSAGES + limits.CONTROL_SPARE} control messages) a peer commits" in PAGE
    assert f"more than {2 * limits.TRANSFER_SLOTS} for a breach" in PAGE
    statement = (limits.LINK_MESSAGES // 4, limits.LINK_BYTES // 4, limits.CONTROL_MESSAGES // 4)
    assert "after every {} data messages, {} bytes, or {} control messages".format(*statement) in PAGE


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda envelope: envelope.__name__)
def test_every_envelope_stands_in_the_page_with_its_fields_in_order(envelope: type[Any]) -> None:
    told = fields_told(paragraph_of(envelope))
    expected = [field.name for field in msgspec.structs.fields(envelope)]
    if Type(number_of(envelope)) is Type.PING:
        expected = ["id"]
    assert ["id", *told] == expected


@pytest.mark.parametrize("envelope", ENVELOPES, ids=lambda envelope: envelope.__name__)
def test_a_default_stands_in_the_page_where_there_is_one(envelope: type[Any]) -> None:
    text = paragraph_of(envelope)
    for field in msgspec.structs.fields(envelope)[1:]:
        row = re.search(rf"^\| [^|]*`{field.name}`[^|]* \| ([^|]*) \|", text, re.MULTILINE)
        told = row[1] if row else text[text.index(f"Field: `{field.name}`") :]
        has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
        assert (" = " in told) is has_default, field.name


@pytest.mark.parametrize("inner", [Origin, Offer, Contact])
def test_arrays_within_envelopes_stand_in_the_page_in_order(inner: type[Any]) -> None:
    starts = [match.end() for match in re.finditer(r"[Aa]rray (?:each )?of ", PAGE)]
    names = list(inner.__struct_fields__)
    assert any(re.findall(r"`([a-z_]+)`", PAGE[start:])[: len(names)] == names for start in starts)


def test_reserved_numbers_are_told() -> None:
    told = re.search(r"^Reserved .*: (.*)\.$", PAGE, re.MULTILINE)
    assert told is not None
    assert told[1] == ", ".join(f"{int(type_)} {type_.name}" for type_ in sorted(RESERVED))


def test_control_envelopes_are_told() -> None:
    told = re.search(r"when all of its envelopes are ([A-Z, ]+) or ([A-Z]+),", PAGE)
    assert told is not None
    assert {*told[1].split(", "), told[2]} == {Type(number_of(kind)).name for kind in CONTROL}


def test_what_may_come_before_everything_is_stated_is_told() -> None:
    told = section("Link states")
    names = {Type(number_of(kind)).name for kind in link._STATING - CONTROL}
    sentence = told[told.index("**Welcomed.**") : told.index("**Connected.**")]
    assert set(re.findall(r"\b[A-Z]{4,}\b", sentence)) == names


def test_every_code_stands_in_the_page_with_whether_it_may_be_retried() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)` \| (yes|no|as told) \|", section("Errors"), re.MULTILINE))
    assert told == {code: "yes" if cls.retryable else "no" for code, cls in BY_CODE.items()} | {
        RemoteError.code: "as told"
    }
    assert Overloaded.retryable


def test_every_anchor_that_a_docstring_names_exists() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    named = {
        (str(path.relative_to(ROOT)), anchor)
        for path in (ROOT / "orbitmesh").rglob("*.py")
        for anchor in re.findall(r"docs/protocol\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert {anchor for _, anchor in named} >= {"batch", "envelopes"}
    assert [(path, anchor) for path, anchor in sorted(named) if anchor not in anchors] == []
    assert {anchor for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE) if anchor not in anchors} == set()
