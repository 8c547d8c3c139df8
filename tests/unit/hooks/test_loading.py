"""A plugin that is broken is reported by name with its cause, and the others load as if it were not there."""

from __future__ import annotations

import importlib
import logging
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitmesh.hooks.plugins import PluginRow, load_plugins

Install = Callable[..., str]

GOOD = """
    class Rot13:
        name = "rot13"
        def encode(self, body): return bytes(body)
        def decode(self, body): return bytes(body)

    @hookimpl
    def orbitmesh_codecs():
        return [Rot13()]
"""


def row(name: str, *, disabled: tuple[str, ...] = ()) -> PluginRow:
    [found] = [row for row in load_plugins(disabled=disabled).rows() if row.name == name]
    return found


def test_the_built_ins_are_found_as_anybody_s_plugins_are() -> None:
    rows = {row.name: row for row in load_plugins().rows()}
    assert {"json", "local", "mdns", "memory", "msgpack", "static", "zeromq"} <= set(rows)
    assert rows["msgpack"] == PluginRow("msgpack", "serializer", "built-in", "ok", "")
    assert rows["memory"].kind == "transport, discovery"
    assert rows["mdns"].kind == rows["local"].kind == rows["static"].kind == "discovery"


def test_a_plugin_is_listed_with_its_distribution_and_all_that_it_offers(install: Install) -> None:
    source = (
        GOOD
        + """
    from orbitmesh.spi.handlers import CliCommand

    @hookimpl
    def orbitmesh_cli():
        return [CliCommand("rot", "Turn letters.", "some.module:command")]
    """
    )
    install("codec-pack", source)
    assert row("codec-pack") == PluginRow("codec-pack", "codec, cli", "codec-pack 1.2", "ok", "")


def test_a_disabled_plugin_is_not_even_imported(install: Install) -> None:
    install("explosive", "raise RuntimeError('imported')")
    assert row("explosive", disabled=("explosive",)) == PluginRow("explosive", "", "explosive 1.2", "disabled", "")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "implements no hook; there are orbitmesh_transports, orbitmesh_discoveries"),
        ("@hookimpl\ndef orbitmesh_codec(): return []", "orbitmesh_codec is no hook; did you mean orbitmesh_codecs?"),
        ("@hookimpl\ndef orbitmesh_frobnicators(): return []", "orbitmesh_frobnicators is no hook"),
        ("def orbitmesh_codecs(): return []", "orbitmesh_codecs lacks @hookimpl"),
        ("@hookimpl\ndef orbitmesh_codecs(settings): return []", "settings"),
        ("@hookimpl\ndef orbitmesh_codecs(): return 1 / 0", "orbitmesh_codecs failed: ZeroDivisionError"),
        ("@hookimpl\ndef orbitmesh_codecs(): raise SystemExit", "orbitmesh_codecs failed: SystemExit"),
        ("@hookimpl\ndef orbitmesh_codecs(): return None", "orbitmesh_codecs returned NoneType, not a list"),
        ("@hookimpl\ndef orbitmesh_codecs():\n    yield 1", "orbitmesh_codecs returned generator, not a list"),
        ("@hookimpl\nasync def orbitmesh_codecs(): return []", "orbitmesh_codecs is async"),
        ("@hookimpl(wrapper=True)\ndef orbitmesh_codecs():\n    return (yield)", "orbitmesh_codecs is a wrapper"),
        ("@hookimpl\ndef orbitmesh_codecs(): return [object()]", "has no 'name'"),
        (
            "class C:\n    name = 'c'\n    encode = print\n@hookimpl\ndef orbitmesh_codecs(): return [C()]",
            "has no 'decode'",
        ),
        (
            "class C:\n    name = 3\n    encode = decode = print\n@hookimpl\ndef orbitmesh_codecs(): return [C()]",
            "is 3; it must be a text that is not empty",
        ),
        (
            "class C:\n    name = 'c'\n    encode = decode = print\n@hookimpl\ndef orbitmesh_codecs(): return [C]",
            "C is a class; return an object of it",
        ),
        (
            "class C:\n    name = property(lambda self: 1 / 0)\n@hookimpl\ndef orbitmesh_codecs(): return [C()]",
            "fails: ZeroDivisionError",
        ),
        (
            "class C:\n    def __repr__(self): return 1 / 0\n@hookimpl\ndef orbitmesh_codecs(): return [C()]",
            "<C> has no 'name'",
        ),
        (
            "class T: name, schemes, open = 't', 'tcp', print\n@hookimpl\ndef orbitmesh_transports(): return [T()]",
            "'schemes' of",
        ),
        (
            "class H: command, kind, handle = 'h', 'job', print\n@hookimpl\ndef orbitmesh_handlers(): return [H()]",
            "is 'job'; it must be 'call' or 'stream'",
        ),
        (
            "class M:\n    name = 'm'\n@hookimpl\ndef orbitmesh_middleware(): return [M()]",
            "it must be callable",
        ),
        (
            "from orbitmesh.spi.handlers import CliCommand\n@hookimpl\n"
            "def orbitmesh_cli(): return [CliCommand('x', 'X.', 'module.command')]",
            "it must be 'module:attribute'",
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_stay(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, cause: str
) -> None:
    install("crooked", source)
    install("whole", GOOD)
    with caplog.at_level(logging.WARNING, "orbitmesh.hooks"):
        plugins = load_plugins()
    rows = {row.name: row for row in plugins.rows()}
    assert rows["crooked"].state == "broken"
    assert cause in rows["crooked"].cause
    assert rows["whole"].state == rows["msgpack"].state == "ok"
    assert [codec.name for codec in plugins.codecs(["rot13"])] == ["rot13"]
    [line] = [record for record in caplog.records if getattr(record, "plugin", "") == "crooked"]
    assert line.levelno == logging.WARNING
    assert "'crooked' (crooked 1.2)" in line.getMessage()
    assert rows["crooked"].cause in line.getMessage()


def test_the_later_of_two_plugins_that_offer_one_name_is_refused_and_both_are_named(install: Install) -> None:
    install("anders", GOOD)
    install("berta", GOOD)
    assert row("anders").state == "ok"
    later = row("berta")
    assert later.state == "broken"
    assert later.cause == (
        "it offers codec 'rot13', as 'anders' (anders 1.2) does already; "
        "put 'anders' into the setting plugins_disabled to let this one have it"
    )
    assert row("berta", disabled=("anders",)).state == "ok"


def test_a_built_in_may_be_replaced_once_it_is_disabled(install: Install) -> None:
    source = GOOD.replace("codecs", "serializers").replace("rot13", "json")
    install("my-json", source)
    assert "as 'json' (built-in) does already" in row("my-json").cause
    plugins = load_plugins(disabled=["json"])
    assert type(plugins.serializers("json")[0]).__module__ == "my_json"


def test_a_scheme_belongs_to_one_transport_only(install: Install) -> None:
    install(
        "second-memory",
        """
        class T:
            name, schemes = "better-memory", ["memory"]
            async def open(self, settings, receiver): ...

        @hookimpl
        def orbitmesh_transports():
            return [T()]
        """,
    )
    assert "it offers transport 'memory', as 'memory' (built-in) does already" in row("second-memory").cause


def test_a_plugin_that_offers_a_name_twice_is_refused(install: Install) -> None:
    install("doubled", GOOD.replace("[Rot13()]", "[Rot13(), Rot13()]"))
    assert row("doubled").cause == "it offers codec 'rot13' twice"


def test_two_entry_points_of_one_name_are_told_apart(install: Install) -> None:
    install("anders", GOOD, thing="anders")
    install("berta", GOOD.replace("rot13", "rot26"), thing="berta")
    first, second = [row for row in load_plugins().rows() if row.name == "thing"]
    assert (first.origin, first.state) == ("anders 1.2", "ok")
    assert (second.origin, second.state) == ("berta 1.2", "broken")
    assert second.cause == "the name of its entry point belongs to 'thing' (anders 1.2) already"


def test_one_module_is_one_plugin(install: Install) -> None:
    install("anders", GOOD, first="anders", second="anders")
    assert row("first").state == "ok"
    assert row("second").cause == "anders is plugin 'first' already"


def test_an_entry_point_may_name_an_object(install: Install) -> None:
    install(
        "objects",
        """
        class Rot13:
            name = "rot13"
            encode = decode = bytes

        class Plugin:
            @hookimpl
            def orbitmesh_codecs(self):
                return [Rot13()]

        plugin = Plugin()
        """,
        objects="objects:plugin",
    )
    assert row("objects").state == "ok"


def test_a_hook_of_a_later_release_may_be_marked_optional(install: Install) -> None:
    install("early", GOOD + "\n    @hookimpl(optionalhook=True)\n    def orbitmesh_stores(): return []\n")
    assert row("early") == PluginRow("early", "codec", "early 1.2", "ok", "")


def test_hooks_are_called_once_per_load_and_loads_share_no_object(install: Install) -> None:
    source = "calls = []\n" + textwrap.dedent(GOOD).replace("return [Rot", "return calls.append(1) or [Rot")
    counted: Any = importlib.import_module(install("counted", source))
    before = len(counted.calls)
    first, second = load_plugins(), load_plugins()
    assert len(counted.calls) - before == 2
    assert first.codecs(["rot13"])[0] is first.codecs(["rot13"])[0]
    assert first.codecs(["rot13"])[0] is not second.codecs(["rot13"])[0]


def test_a_name_that_is_disabled_in_vain_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "orbitmesh.hooks"):
        load_plugins(disabled=["msgpak"])
    assert "plugin 'msgpak' is disabled but not installed; did you mean msgpack?" in caplog.messages


def test_metadata_that_cannot_be_read_takes_nothing_down(install: Install, site: Path) -> None:
    install("bare", GOOD)
    (site / "bare-1.2.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    assert row("bare").state == "ok"


def test_entry_points_that_cannot_be_read_cost_their_own_distribution_only(install: Install, site: Path) -> None:
    install("spoilt", GOOD)
    (site / "spoilt-1.2.dist-info" / "entry_points.txt").write_bytes(b"[orbitmesh]\nspoilt = \xff\n")
    install("whole", GOOD)
    spoilt = row("spoilt")
    assert (spoilt.origin, spoilt.state) == ("spoilt 1.2", "broken")
    assert spoilt.cause.startswith("its entry points cannot be read: UnicodeDecodeError")
    assert row("whole").state == row("msgpack").state == "ok"


def test_a_distribution_that_is_found_twice_counts_once_where_it_is_first(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    install("spoilt", GOOD)  # makes each distribution be looked at by itself
    (site / "spoilt-1.2.dist-info" / "entry_points.txt").write_bytes(b"\xff")
    install("whole", GOOD)
    shutil.copytree(site, tmp_path / "again")
    monkeypatch.syspath_prepend(str(tmp_path / "again"))
    assert row("whole").state == "ok"
