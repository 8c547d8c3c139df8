"""The entry point: light, so that Ctrl-C finds it awake from the first moment, and its ends are all in one place."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from orbitmesh.cli import statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; None: what this process was started with.

    Returns:
        The exit status, as in docs/cli.md. No exception escapes, and no traceback is shown for anything foreseen.
    """
    try:
        status = _ended(sys.argv[1:] if arguments is None else list(arguments))
        # From here on there is nothing left to interrupt but the end itself.
        with contextlib.suppress(ValueError):  # not in the main thread: then no signal comes to it either
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # once more, while the first was being dealt with
        return statuses.INTERRUPTED
    return status


def _ended(arguments: list[str]) -> int:
    try:
        from orbitmesh.cli.app import carry_out

        status = carry_out(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return statuses.INTERRUPTED
    except BrokenPipeError:
        return _close_output()
    except BaseException as error:  # the last place where it can be told
        from orbitmesh.cli.failures import tell

        return tell(error)
    return status


def _close_output() -> int:
    """Nobody reads any more: let the interpreter's last flush go nowhere, instead of telling of it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return statuses.PIPE_CLOSED
