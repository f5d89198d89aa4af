"""One writer at a time: a lock that the system frees when its holder dies."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from pocket_colbert.errors import IndexConflictError, IndexFormatError, IndexLockedError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import discard

LOCK_FILE = "writer.lock"
HOLDER_FILE = "writer.json"
_HOLDER_LIMIT = 4096
_FOR_READING = "for reading alone (serve --read-only; in Python without writable=True)"


class WriterLock:
    """Held from its making to `release` by the one that may write to an index folder."""

    def __init__(self, folder: str | Path | Contained) -> None:
        """Take the lock.

        Raises:
            IndexLockedError: Another has it; the message says who.
            IndexConflictError: The folder cannot be written to.
            IndexFormatError: The lock is a link, or another name of a file elsewhere.
        """
        folder = Contained.of(folder)
        self._process = os.getpid()
        self._file = folder / LOCK_FILE
        self._holder = folder / HOLDER_FILE
        try:
            self._descriptor: int | None = (folder / LOCK_FILE).descriptor(os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise IndexConflictError(
                f"{folder} cannot be written to ({error.strerror}); open the index {_FOR_READING}."
            ) from error
        try:
            if os.fstat(self._descriptor).st_nlink > 1:
                raise IndexFormatError(
                    f"{folder / LOCK_FILE} has another name elsewhere (a hard link); delete it."
                )
            self._lock(folder)
        except BaseException:
            os.close(self._descriptor)
            self._descriptor = None
            raise
        self._say_who()

    def _lock(self, folder: Contained) -> None:
        assert self._descriptor is not None
        try:
            _lock(self._descriptor)
        except (BlockingIOError, PermissionError) as error:
            raise IndexLockedError(
                f"{folder} is being written to by {_holder(self._holder)}; wait for it, or "
                f"open the index {_FOR_READING}."
            ) from error
        except OSError as error:
            raise IndexConflictError(
                f"{folder} cannot be locked ({error.strerror}), as on some network file systems; "
                f"copy it to a local disk, or open the index {_FOR_READING}."
            ) from error

    def _say_who(self) -> None:
        """Write who holds the lock: a courtesy to those who are refused."""
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"process": self._process, "host": platform.node(), "since": since}
        discard(self._holder)  # never rewritten in place: it may be another name of some file
        # A full disk may forbid it.
        with suppress(OSError, IndexFormatError), self._holder.create() as stream:
            stream.write(json.dumps(content).encode("utf-8"))

    @property
    def held(self) -> bool:
        """Whether this process still holds it: a forked child does not."""
        return self._descriptor is not None and self._process == os.getpid()

    @property
    def current(self) -> bool:
        """Whether the file that is locked is still the one in the folder, which may be new."""
        try:
            return self._descriptor is not None and self._file.is_same(self._descriptor)
        except (OSError, IndexFormatError):
            return False

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if not self.held or self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            discard(self._holder)
        finally:
            try:
                _unlock(descriptor)
            finally:
                os.close(descriptor)

    def __del__(self) -> None:
        # As for an index that nobody has closed: the next writer must be let in.
        with suppress(Exception):
            self.release()


def _lock(descriptor: int) -> None:
    """Lock an open file, or raise OSError at once.

    It is the open file that is locked, not the thread or the process: an index may be written
    from one thread and closed in another, and opened twice in one process it is refused.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    """Unlock an open file. Closing it is not enough where a forked child has it open too."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _holder(path: Contained) -> str:
    try:
        content = json.loads(path.read_bytes(_HOLDER_LIMIT))
        return f"process {content['process']} on {content['host']}, since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError, IndexFormatError):
        return "another process"
