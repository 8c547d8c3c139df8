"""Locks on open files that end with the process that holds them, however it ends."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt
    import os

    # Locks are mandatory here: this byte lies far behind the content, so that the content stays readable.
    _BYTE = 1 << 30

    def take(file: int) -> bool:
        """Lock an open file for as long as it stays open; False: somebody else holds or probes it at this moment."""
        os.lseek(file, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def is_held(file: int) -> bool:
        """Whether another open file holds the lock. A second prober at this moment looks like a holder."""
        if not take(file):
            return True
        os.lseek(file, _BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        return False

else:
    import fcntl

    def take(file: int) -> bool:
        """Lock an open file for as long as it stays open; False: somebody else holds or probes it at this moment."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_held(file: int) -> bool:
        """Whether another open file holds the lock; probers do not see each other."""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
