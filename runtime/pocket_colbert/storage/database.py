"""SQLite as storage uses it: a file is written once, then read by any number of threads."""

from __future__ import annotations

import errno
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pocket_colbert.errors import IndexFormatError

BATCH = 500
"""Rows, or values of a statement, at a time."""


class Database:
    """A database in a file that does not change, or in memory.

    Any number of threads may read it, each on a connection of its own, and any number of
    processes, on read-only media too.

    Attributes:
        path: The file; None in memory.
        connection: The first connection, through which a database in memory is filled.
    """

    def __init__(self, path: Path | None) -> None:
        """Open a file; with None, begin an empty database in memory.

        Raises:
            IndexFormatError: The file cannot be opened.
        """
        self.path = path
        try:
            self.connection = self._connect()
        except sqlite3.Error as error:
            raise IndexFormatError(f"{path} cannot be opened: {error}.") from error
        self._first_lock = threading.Lock()
        self._others: list[sqlite3.Connection] = []
        # Connections are closed when the last search that uses the segment has let go of it.
        self._finalizer = weakref.finalize(self, _close, self.connection, self._others)

    def select(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement.

        Raises:
            IndexFormatError: The database is damaged.
        """
        try:
            with self._lent() as connection:
                return connection.execute(statement, tuple(values)).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise IndexFormatError(f"{self.path} is damaged: {error}.") from error

    def damaged(self, what: str) -> IndexFormatError:
        """Return the error that says what the database has and must not have."""
        return IndexFormatError(f"{self.path} is damaged: it has {what}.")

    def close(self) -> None:
        """Close the file; no search may be under way."""
        self._finalizer()

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:", check_same_thread=False)
        uri = self.path.resolve().as_uri() + "?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # A hostile file must not call functions with side effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        return connection

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        """Lend the first connection, or one of the others while it is out.

        A writer may have deleted the file since; then no other can be opened and threads wait for
        the first. In memory there is only the first.
        """
        if self._first_lock.acquire(blocking=False):
            try:
                yield self.connection
            finally:
                self._first_lock.release()
            return
        other = None
        with suppress(IndexError):  # no test first: another thread may take the last one
            other = self._others.pop()
        if other is None and self.path is not None:
            with suppress(sqlite3.Error):
                other = self._connect()
        if other is None:
            with self._first_lock:
                yield self.connection
            return
        try:
            yield other
        finally:
            self._others.append(other)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for writing; when an error is raised it is to be thrown away.

    Raises:
        IndexFormatError: What is written breaks a rule of the tables.
        OSError: The disk is full or fails.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            # A file that is thrown away needs no journal, which would only cost time.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
        finally:
            connection.close()
    except sqlite3.IntegrityError as error:
        raise IndexFormatError(f"{path} cannot be written: {error}.") from error
    except sqlite3.Error as error:
        code = errno.ENOSPC if "full" in str(error) else errno.EIO
        raise OSError(code, str(error), str(path)) from error


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Cut items into lists of at most `BATCH`."""
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def marks(values: Sequence[Any]) -> str:
    """Return as many placeholders as there are values."""
    return ", ".join("?" * len(values))


def _close(first: sqlite3.Connection, others: list[sqlite3.Connection]) -> None:
    first.close()
    while others:
        others.pop().close()
