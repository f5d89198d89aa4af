"""Index documents in a background thread while they are served."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pocket_colbert.server.messages as m
from pocket_colbert.errors import PocketColbertError
from pocket_colbert.ingest.incremental import Pace, SyncReport
from pocket_colbert.ingest.indexing import sync_files
from pocket_colbert.ingest.left_out import summary
from pocket_colbert.ingest.readers import Reading, count_documents
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.retriever import Retriever
from pocket_colbert.server.problems import logger

_PACE = Pace(documents=32, characters=40_000, seconds=3.0, first_tokens=5_000)
"""Someone may be waiting: the first documents can be found after a second or two."""


_MOST_NAMED = 20


class _Stopped(Exception):
    """The server is shutting down."""


class Indexing:
    """Brings an index up to date with a file or folder of documents, once.

    It writes through the index that is served, whose lock the server holds, and commits as it
    goes: after any interruption the next run continues from the last commit.
    """

    def __init__(
        self,
        path: Path,
        index_folder: Path,
        fields: Fields,
        *,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            path: See `readers.read_documents`.
            index_folder: The folder of the index.
            fields: Names of the keys of JSON lines.
            report: Called at the end with a sentence about the outcome.
        """
        self._path = path
        self._index_folder = index_folder
        self._fields = fields
        self._report = report
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress = m.Indexing(path.resolve().name, "counting", 0, None)

    @property
    def progress(self) -> m.Indexing:
        """How far it is; may be read from any thread."""
        return self._progress

    def start(self, retriever: Retriever) -> None:
        """Start the thread.

        Args:
            retriever: Encoder and writable index.
        """
        self._thread = threading.Thread(
            target=self._run, args=(retriever,), name="pocket-colbert-indexing"
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current passage or commit, and wait for that."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, retriever: Retriever) -> None:
        try:
            self._update("counting")
            reading = Reading(self._fields, small_first=True)
            self._update(
                "indexing", total=count_documents(self._path, replace(reading, left_out=[]))
            )
            synced = sync_files(
                retriever, [self._path], self._index_folder, reading,
                progress=self._advance, pace=_PACE,
            )  # fmt: skip
        except _Stopped:
            self._update("stopped")
        except Exception as error:
            self._update("failed", message=_message(error))
            self._report(f"Indexing {self._path} stopped: {self._progress.message}")
        else:
            # Files may have come and gone since they were counted.
            message = summary(reading.left_out) if reading.left_out else None
            self._update("done", total=self._progress.documents, message=message)
            self._report(_summary(self._path, synced))
            if message:
                self._report(message)
            for item in reading.unreadable[:_MOST_NAMED]:
                self._report(f"  {item}")

    def _advance(self, done: int) -> None:
        self._check_stopping()
        self._update("indexing", documents=done)

    def _check_stopping(self) -> None:
        # The interpreter waits for this thread before it exits, also when nobody has called `stop`.
        if self._stopping.is_set() or not threading.main_thread().is_alive():
            raise _Stopped

    def _update(
        self,
        state: m.IndexingState,
        *,
        documents: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        before = self._progress
        self._progress = m.Indexing(
            before.source,
            state,
            before.documents if documents is None else documents,
            before.total if total is None else total,
            message,
        )


def _message(error: Exception) -> str:
    if isinstance(error, PocketColbertError):
        return str(error)
    if isinstance(error, OSError):
        return f"the index could not be written ({error.strerror}). Start again to continue."
    logger.error("indexing failed", exc_info=error)
    return "an unexpected error; see the server's log."


def _summary(path: Path, synced: SyncReport) -> str:
    return (
        f"{path}: {synced.added} documents added, {synced.changed} changed, "
        f"{synced.unchanged} unchanged, {synced.deleted} deleted"
    )
