"""The group behind ``orbitmesh``: its commands are imported when they are used, those of plugins among them."""

from __future__ import annotations

import difflib
import importlib
from typing import Final

import click

from orbitmesh.cli.table import COMMANDS, Entry
from orbitmesh.core.errors import ConfigError, PluginError

_ADDED: Final = "orbitmesh.cli.added"


class LazyGroup(click.Group):
    """A group whose commands stand in a table. What plugins add is looked up only where the table does not do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, those of plugins behind them."""
        return [*COMMANDS, *_plugin_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name.

        Raises:
            PluginError: A plugin's command cannot be imported.
        """
        entry = COMMANDS.get(cmd_name)
        if entry is not None:
            return _imported(entry)
        added = _plugin_commands(ctx).get(cmd_name)
        if added is None:
            return None
        try:
            command = _imported(added)
        except (Exception, SystemExit) as error:  # whatever a plugin's code does at import
            raise PluginError(
                f"command {cmd_name!r} of a plugin cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(command, click.Command):
            raise PluginError(f"command {cmd_name!r} of a plugin is no click command: {added.target}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or say what is near."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=2)
            raise click.UsageError(
                f"there is no command {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the table; nothing is imported for it."""
        rows = [(name, entry.help) for name, entry in COMMANDS.items()]
        added = [(name, entry.help) for name, entry in _plugin_commands(ctx).items()]
        for title, lines in (("Commands", rows), ("Commands of plugins", added)):
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


def _plugin_commands(ctx: click.Context) -> dict[str, Entry]:
    """What plugins add; loading them takes time, so it is done only if there is one from outside, and once."""
    added: dict[str, Entry] | None = ctx.meta.get(_ADDED)
    if added is None:
        from orbitmesh.hooks.scan import has_outside_plugins

        added = ctx.meta[_ADDED] = _plugin_entries() if has_outside_plugins() else {}
    return added


def _plugin_entries() -> dict[str, Entry]:
    from orbitmesh.hooks.plugins import load_plugins
    from orbitmesh.runtime.settings import read_settings

    try:
        disabled = read_settings({}).plugins_disabled
    except ConfigError as error:  # which the command itself will say; help and names are to be had without it
        click.echo(f"commands of plugins are left out: {error}", err=True)
        return {}
    offered = load_plugins(disabled=disabled).cli_commands()
    taken = [command.name for command in offered if command.name in COMMANDS]
    if taken:
        click.echo(f"a plugin's command {', '.join(taken)} is left out: the name is taken", err=True)
    return {command.name: Entry(command.help, command.target) for command in offered if command.name not in COMMANDS}


def _imported(entry: Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command
