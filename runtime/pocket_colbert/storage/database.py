"""SQLite as storage uses it: a file is written once, then read by any number of threads."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from pocket_colbert.errors import ClosedError, IndexFormatError
from pocket_colbert.storage.contained import Contained

BATCH = 500
"""Rows, or values of a statement, at a time."""

_OPEN_FILES = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
_CONNECTING = threading.Lock()
_ATTEMPTS = 5

_PART = 5000
"""Rows that are in memory at a time where there can be one a document."""


class Database:
    """A database in a file that does not change, or in memory.

    Any number of threads may read it, each on a connection of its own, and any number of
    processes, on read-only media too.

    Attributes:
        path: The file; None in memory.
        connection: The first connection, through which a database in memory is filled.
    """

    def __init__(self, path: Contained | None) -> None:
        """Open a file; with None, begin an empty database in memory.

        Raises:
            IndexFormatError: The file cannot be opened.
        """
        self.path = path
        try:
            self.connection: sqlite3.Connection = self._connect()
        except (sqlite3.Error, FileNotFoundError) as error:
            raise IndexFormatError(f"{path} cannot be opened: {error}.") from error
        self._first_lock = threading.Lock()
        self._others: list[sqlite3.Connection] = []
        self._closed = False
        # Connections are closed when the last search that uses the segment has let go of it.
        # Not at the end of the process, where threads may still be searching.
        weakref.finalize(self, _close, self.connection, self._others).atexit = False

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

    def select_in_parts(
        self, statement: str, values: Sequence[Any] = ()
    ) -> Generator[list[tuple[Any, ...]], None, None]:
        """Iterate over the rows of a statement, some thousand at a time; close it in the end.

        Raises:
            IndexFormatError: The database is damaged.
        """
        try:
            with self._lent() as connection:
                rows = connection.execute(statement, tuple(values))
                while part := rows.fetchmany(_PART):
                    yield part
        except (sqlite3.Error, UnicodeError) as error:
            raise IndexFormatError(f"{self.path} is damaged: {error}.") from error

    def damaged(self, what: str) -> IndexFormatError:
        """Return the error that says what the database has and must not have."""
        return IndexFormatError(f"{self.path} is damaged: it has {what}.")

    def close(self) -> None:
        """Close the file: unused connections now, and those that threads use when they are back.

        SQLite crashes when a connection is closed that another thread uses.
        """
        self._closed = True
        self._close_unused()

    def _close_unused(self) -> None:
        with suppress(IndexError):
            while True:
                self._others.pop().close()
        if self._first_lock.acquire(blocking=False):
            try:
                self.connection.close()
            finally:
                self._first_lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the index is closed; open it again to use it.")

    def _connect(self) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:", check_same_thread=False)
        connection = _connect(self.path, "mode=ro&immutable=1")
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
        try:
            if self._first_lock.acquire(blocking=False):
                try:
                    self._check_open()
                    yield self.connection
                finally:
                    self._first_lock.release()
                return
            self._check_open()
            other = None
            with suppress(IndexError):  # no test first: another thread may take the last one
                other = self._others.pop()
            if other is None and self.path is not None:
                with suppress(sqlite3.Error, OSError, IndexFormatError):
                    other = self._connect()
            if other is None:
                with self._first_lock:
                    self._check_open()
                    yield self.connection
                return
            try:
                yield other
            finally:
                self._others.append(other)
        finally:
            if self._closed:  # meanwhile; whoever comes back last closes the last one
                self._close_unused()


@contextmanager
def writing(path: Contained) -> Iterator[sqlite3.Connection]:
    """Open a file for writing, a new one if none is there.

    When an error is raised the file is to be thrown away.

    Raises:
        IndexFormatError: What is written breaks a rule of the tables.
        OSError: The disk is full or fails.
    """
    try:
        if path.name not in path.parent.names():
            path.create().close()
        connection = _connect(path, "mode=rw")
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


def _connect(path: Contained, mode: str) -> sqlite3.Connection:
    """Connect to a file, and to no other.

    SQLite opens it by its path, so a folder on the way could be replaced by a link at that moment.
    It is checked, before SQLite reads or writes anything, that what it has opened is the file that
    is reached without links.

    Raises:
        IndexFormatError: It is not.
    """
    uri = f"{path.path.resolve().as_uri()}?{mode}"
    descriptor = path.descriptor(os.O_RDONLY)
    try:
        for _ in range(_ATTEMPTS):
            with _CONNECTING:
                before = _open_as(descriptor)
                connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
                after = _open_as(descriptor)
            # Without a list of open files the path is looked at once more.
            if path.is_same(descriptor) if after is None else after - (before or set()):
                return connection
            connection.close()  # or another thread has closed a file that had this number
    finally:
        os.close(descriptor)
    raise IndexFormatError(f"{path} was replaced while it was being opened; it was not used.")


def _open_as(descriptor: int) -> set[int] | None:
    """Return the descriptors of this process that are the same file, None where unknown."""
    try:
        numbers = [int(name) for name in os.listdir(_OPEN_FILES)]
    except OSError:
        return None
    wanted, same = os.fstat(descriptor), set()
    for number in numbers:
        with suppress(OSError):  # that of the list itself is closed by now
            if os.path.samestat(os.fstat(number), wanted):
                same.add(number)
    return same


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
