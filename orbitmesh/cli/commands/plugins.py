"""``orbitmesh plugins``: what is plugged in."""

from __future__ import annotations

from typing import Final

import click

from orbitmesh.cli import options

_COLUMNS: Final = ("name", "kind", "origin", "state", "cause")


@click.group()
def plugins() -> None:
    """List what is plugged in."""


@plugins.command("list")
@options.as_json
def list_(is_json: bool) -> None:
    """List all plugins that are installed, built-ins among them, and what is wrong with those that are broken."""
    import os
    from dataclasses import asdict

    from orbitmesh.cli import output
    from orbitmesh.hooks.plugins import load_plugins
    from orbitmesh.runtime.logs import set_up_logging
    from orbitmesh.runtime.settings import read_settings

    set_up_logging(os.environ.get("ORBITMESH_LOG") or "error")  # the list says itself what is broken, and why
    rows = load_plugins(disabled=read_settings({}).plugins_disabled).rows()
    if is_json:
        output.write_document([asdict(row) for row in rows])
    else:
        output.write_table(_COLUMNS, [(row.name, row.kind, row.origin, row.state, row.cause) for row in rows])
