"""Locks on open files that end with the process that holds them, however it ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
    import time

    # Locks are mandatory here: this byte lies far behind the content, so that the content stays readable.
    _BYTE = 1 << 30
    _POLL = 0.01

    def take(file: int) -> bool:
        """Lock an open file; False: another open file holds the lock."""
        os.lseek(file, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def wait(file: int) -> None:
        """Lock an open file as soon as nobody else holds it."""
        while not take(file):
            time.sleep(_POLL)

    def give(file: int) -> None:
        """Unlock an open file."""
        os.lseek(file, _BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def is_held(file: int) -> bool:
        """Whether another open file holds the lock. A second prober at this moment looks like a holder."""
        if not take(file):
            return True
        give(file)
        return False

else:
    import fcntl

    def take(file: int) -> bool:
        """Lock an open file; False: another open file holds the lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(file: int) -> None:
        """Lock an open file as soon as nobody else holds it."""
        fcntl.flock(file, fcntl.LOCK_EX)

    def give(file: int) -> None:
        """Unlock an open file, in forked children that have it too."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def share(file: int) -> None:
        """Turn the lock into one that others may share."""
        fcntl.flock(file, fcntl.LOCK_SH)

    def is_held(file: int) -> bool:
        """Whether another open file holds the lock; probers do not see each other."""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
