"""Plugins are chosen by name, and what is missing is said with its cause and its mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitmesh.core.errors import PluginError
from orbitmesh.hooks.loading import Plugin
from orbitmesh.hooks.plugins import Plugins, load_plugins

Install = Callable[..., str]

TRANSPORT = """
    class Carrier:
        name, schemes = "pigeon", ["pigeon", "dove"]
        async def open(self, settings, receiver): ...

    @hookimpl
    def orbitmesh_transports():
        return [Carrier()]
"""


@pytest.mark.parametrize("wanted", ["pigeon", "pigeon://roof:1", "dove://roof"])
def test_a_transport_is_chosen_by_name_or_by_the_scheme_of_a_url(install: Install, wanted: str) -> None:
    install("carrier", TRANSPORT)
    assert load_plugins().transport(wanted).name == "pigeon"


def test_no_names_mean_all_discoveries_and_names_mean_these_in_order() -> None:
    plugins = load_plugins()
    assert {discovery.name for discovery in plugins.discoveries([])} >= {"local", "mdns", "static"}
    assert [discovery.name for discovery in plugins.discoveries(["static", "local"])] == ["static", "local"]


def test_serializers_are_all_with_the_preferred_one_first() -> None:
    plugins = load_plugins()
    assert [serializer.name for serializer in plugins.serializers("msgpack")] == ["msgpack", "json"]
    assert [serializer.name for serializer in plugins.serializers("json")] == ["json", "msgpack"]


def test_what_was_not_chosen_is_not_used() -> None:
    plugins = load_plugins()
    assert not plugins.codecs([])
    assert not plugins.middleware([])


def test_names_are_those_of_all_installed_plugins_whatever_their_state(install: Install) -> None:
    install("carrier", TRANSPORT)
    install("crooked", "raise ValueError")
    assert {"carrier", "crooked", "msgpack"} <= set(load_plugins(disabled=["carrier"]).names())


def test_a_missing_plugin_is_an_error_that_names_the_mend() -> None:
    with pytest.raises(PluginError) as caught:
        load_plugins().transport("nats://user:password@hub:4222")
    message = str(caught.value)
    assert message.startswith("there is no transport 'nats'; installed: memory")
    assert "`pip install orbitmesh-transport-nats`" in message
    assert "password" not in message


def test_a_slip_of_the_pen_is_answered_with_what_is_near() -> None:
    with pytest.raises(PluginError, match="there is no serializer 'msgpak'; did you mean 'msgpack'"):
        load_plugins().serializers("msgpak")
    with pytest.raises(PluginError, match="there is no discovery 'mdsn'; did you mean 'mdns'"):
        load_plugins().discoveries(["mdsn"])


def test_a_disabled_plugin_that_is_asked_for_says_how_to_enable_it(install: Install) -> None:
    install("pigeon", TRANSPORT)
    with pytest.raises(PluginError) as caught:
        load_plugins(disabled=["pigeon"]).transport("pigeon://roof")
    assert str(caught.value) == (
        "there is no transport 'pigeon': plugin 'pigeon' (pigeon 1.2) is disabled; "
        "take 'pigeon' out of the setting plugins_disabled (ORBITMESH_PLUGINS_DISABLED) to bring it back"
    )


def test_a_broken_plugin_that_is_asked_for_says_its_cause(install: Install) -> None:
    install("pigeon", "import no_such_module_anywhere")
    with pytest.raises(PluginError) as caught:
        load_plugins().transport("pigeon")
    assert "plugin 'pigeon' (pigeon 1.2) is broken: pigeon cannot be imported: ModuleNotFoundError" in str(caught.value)
    assert "`pip install --upgrade pigeon`" in str(caught.value)


def test_a_plugin_is_found_to_blame_by_what_it_wanted_to_offer(install: Install) -> None:
    install("carrier", TRANSPORT)
    install("doves", TRANSPORT.replace('"pigeon", ["pigeon", "dove"]', '"crow", ["crow", "dove"]'))
    with pytest.raises(PluginError, match=r"there is no transport 'crow': plugin 'doves' .* is broken: it offers"):
        load_plugins().transport("crow://roof")


def test_absent_plugins_are_told_where_any_of_them_may_be_the_one(install: Install) -> None:
    install("carrier", TRANSPORT)
    with pytest.raises(PluginError, match=r"plugin 'carrier' .* is disabled"):
        load_plugins(disabled=["carrier"]).transport("pigeon")


def test_a_missing_codec_or_middleware_names_itself() -> None:
    with pytest.raises(PluginError, match=r"no codec 'compress'; installed: none.*pip install orbitmesh-compress"):
        load_plugins().codecs(["compress"])
    with pytest.raises(PluginError, match="there is no middleware 'ratelimit'"):
        load_plugins().middleware(["ratelimit"])


def test_handlers_and_commands_of_all_plugins_are_offered(install: Install) -> None:
    install(
        "extras",
        """
        from orbitmesh.spi.handlers import CliCommand

        class Greet:
            command, kind = "greet", "call"
            async def handle(self): return "hi"

        @hookimpl
        def orbitmesh_handlers():
            return [Greet()]

        @hookimpl
        def orbitmesh_cli():
            return [CliCommand("extras", "Show extras.", "extras.cli:show")]
        """,
    )
    plugins = load_plugins()
    assert [handler.command for handler in plugins.handlers()] == ["greet"]
    assert [command.name for command in plugins.cli_commands()] == ["extras"]


def test_a_broken_built_in_is_mended_by_installing_it_again() -> None:
    broken = Plugin("msgpack", "built-in", state="broken", cause="orbitmesh.builtin.msgpack cannot be imported")
    with pytest.raises(PluginError, match=r"is broken: .*; `pip install --force-reinstall orbitmesh` may mend it"):
        Plugins([broken]).serializers("msgpack")
