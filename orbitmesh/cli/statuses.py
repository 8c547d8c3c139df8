"""Exit statuses: one table, which the command line follows and docs/cli.md shows."""

from __future__ import annotations

from typing import Final, NamedTuple

from orbitmesh.core import errors

DONE: Final = 0
REMOTE_FAILED: Final = 1
USAGE: Final = 2
BUG: Final = 70
OUTPUT: Final = 74
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
TERMINATED: Final = 143


class Status(NamedTuple):
    """How a kind of error ends the process.

    Attributes:
        number: The exit status.
        error: The kind of error.
        meaning: What it says, as the page shows it.
        hint: What to do, where the error's own message cannot know it; empty where it does.
    """

    number: int
    error: type[errors.OrbitMeshError]
    meaning: str
    hint: str = ""


class Ending(NamedTuple):
    """An exit status that belongs to no error of OrbitMesh.

    Attributes:
        number: The exit status.
        meaning: What it says, as the page shows it.
    """

    number: int
    meaning: str


ENDINGS: Final = (
    Ending(DONE, "done"),
    Ending(USAGE, "the command line itself was wrong; nothing was done"),
    Ending(BUG, "something that nobody foresaw: a bug of OrbitMesh or of a plugin; its traceback is shown"),
    Ending(OUTPUT, "the output could not be written, as on a full disk"),
    Ending(INTERRUPTED, "ended by Ctrl-C (SIGINT)"),
    Ending(PIPE_CLOSED, "whoever read the output has gone, as `head` does"),
    Ending(TERMINATED, "ended by SIGTERM; for `run` that is the usual end, and 0"),
)

# Numbers are kept for good: scripts rely on them. A new error takes the next free one.
STATUSES: Final = (
    Status(
        REMOTE_FAILED,
        errors.RemoteError,
        "the command failed on the other side",
        "this comes from the command's own code; the log of the agent has the rest",
    ),
    Status(REMOTE_FAILED, errors.CommandError, "a handler failed on purpose"),
    Status(3, errors.NoAgent, "no agent fits", "`orbitmesh ls` shows who is there"),
    Status(4, errors.AmbiguousName, "a name is that of agents of several devices", "`--on DEVICE/NAME` says which"),
    Status(
        5,
        errors.UnknownCommand,
        "the agent has no such command",
        "`orbitmesh describe AGENT` shows what it has: calls for `call`, streams for `stream`",
    ),
    Status(
        6,
        errors.InvalidParameters,
        "the parameters do not fit; nothing ran",
        "`orbitmesh describe AGENT` shows what the command takes",
    ),
    Status(7, errors.InvalidResult, "the reply does not fit what was asked for"),
    Status(8, errors.Unserializable, "a value cannot be sent or shown"),
    Status(
        9,
        errors.PermissionDenied,
        "a role is missing",
        "`orbitmesh describe AGENT` shows which roles may call what",
    ),
    Status(10, errors.NotTrusted, "a peer could not prove that it belongs to this mesh"),
    Status(11, errors.Superseded, "a newer process speaks for this node"),
    Status(12, errors.DeadlineExceeded, "the time was over", "`--timeout SECONDS` gives more of it"),
    Status(13, errors.Cancelled, "the other side ended the work"),
    Status(14, errors.PeerLost, "the link ended meanwhile: the outcome is unknown"),
    Status(
        15,
        errors.Unreachable,
        "the agent is known but cannot be reached",
        "`orbitmesh ls` shows when it was last heard",
    ),
    Status(16, errors.Overloaded, "the agent has no room now; nothing ran", "try again in a moment"),
    Status(
        17, errors.PayloadTooLarge, "parameters or result are too large", "ORBITMESH_MAX_BODY is the limit, in bytes"
    ),
    Status(18, errors.ProtocolError, "a peer broke the protocol"),
    Status(19, errors.MalformedEnvelope, "a peer sent what cannot be read"),
    Status(20, errors.IncompatibleVersion, "two versions have no protocol in common", "upgrade the older of the two"),
    Status(21, errors.PluginError, "a plugin is missing or broken", "`orbitmesh plugins list` shows all, and why"),
    Status(22, errors.ConfigError, "something on this side is set up wrongly"),
)


def status_of(error: errors.OrbitMeshError) -> Status:
    """The row of an error: that of its own class, else of the nearest class above it."""
    by_class = {row.error: row for row in STATUSES}
    for cls in type(error).__mro__:
        if cls in by_class:
            return by_class[cls]
    return Status(BUG, errors.OrbitMeshError, "an error of no known kind")
