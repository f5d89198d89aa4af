"""One writer at a time: a lock that the system frees when its holder dies.

The only importer of `filelock`.
"""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from pocket_colbert.errors import IndexConflictError, IndexLockedError

LOCK_FILE = "writer.lock"
HOLDER_FILE = "writer.json"
_FOR_READING = "for reading alone (serve --read-only; in Python without writable=True)"


class WriterLock:
    """Held from its making to `release` by the one that may write to an index folder."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            IndexLockedError: Another has it; the message says who.
            IndexConflictError: The folder cannot be written to.
        """
        # Here, as it brings asyncio, which readers need not wait for.
        from filelock import FileLock, Timeout

        self._holder = folder / HOLDER_FILE
        # Not a lock a thread: the index may be written from one thread and closed in another.
        self._lock = FileLock(folder / LOCK_FILE, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise IndexLockedError(
                f"{folder} is being written to by {_holder(self._holder)}; wait for it, or "
                f"open the index {_FOR_READING}."
            ) from error
        except OSError as error:
            raise IndexConflictError(
                f"{folder} cannot be written to ({error.strerror}); open the index {_FOR_READING}."
            ) from error
        self._process = os.getpid()
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"process": self._process, "host": platform.node(), "since": since}
        with suppress(OSError):  # a courtesy to those who are refused; a full disk may forbid it
            self._holder.write_text(json.dumps(content), encoding="utf-8")

    @property
    def held(self) -> bool:
        """Whether this process still holds it: a forked child does not."""
        return self._lock.is_locked and self._process == os.getpid()

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self.held:
            with suppress(OSError):
                self._holder.unlink()
            self._lock.release()


def _holder(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['process']} on {content['host']}, since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
