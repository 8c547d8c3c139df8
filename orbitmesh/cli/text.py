"""Text that comes from elsewhere, made fit for a terminal."""

from __future__ import annotations

from typing import Final

# Control characters, of which escape sequences are made: a peer must not be able to paint on the user's terminal.
_CONTROLS: Final = {code: "�" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
# Marks that turn the direction of what follows, by which text can look like other text.
_TURNS: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�")
_UNFIT: Final = _CONTROLS | _TURNS


def printable(text: str) -> str:
    """The text with what a terminal would obey, instead of showing it, replaced. Line ends and tabs stay."""
    return text.translate(_UNFIT)


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(printable(text).split())
