"""The version of this package, where it can be read without looking into the installation."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
