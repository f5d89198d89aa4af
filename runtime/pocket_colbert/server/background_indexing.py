"""Files become an index while it is served: in a thread, seen by all, stopped at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pocket_colbert.server.messages as m
from pocket_colbert.errors import PocketColbertError
from pocket_colbert.ingest.incremental import Pace, SyncReport, sync
from pocket_colbert.ingest.readers import Fields, read_sources
from pocket_colbert.retriever import Retriever
from pocket_colbert.server.problems import logger
from pocket_colbert.source_paths import source_name
from pocket_colbert.types import Document

_PACE = Pace(documents=32, first_tokens=10_000)
"""Somebody may wait for the first documents that can be found: they come in a second or two."""


class _Stopped(Exception):
    """The server is told to stop."""


class Indexing:
    """Brings an index up to date with a folder or file of documents, once.

    It writes through the index that is served, whose lock the server holds, and commits as it
    goes: after an interruption of any kind the next one goes on from the last commit.
    """

    def __init__(
        self,
        path: Path,
        index_folder: Path,
        fields: Fields,
        *,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Say what is to be indexed.

        Args:
            path: See `corpus.read_documents`.
            index_folder: Where the index is.
            fields: Names of the keys of JSON lines.
            tell: Called with a sentence for people when it has ended.
        """
        self._path = path
        self._index_folder = index_folder
        self._fields = fields
        self._tell = tell
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress = m.Indexing(path.resolve().name, "counting", 0, None)

    @property
    def progress(self) -> m.Indexing:
        """How far it is; to be read from any thread."""
        return self._progress

    def start(self, retriever: Retriever) -> None:
        """Begin.

        Args:
            retriever: Encoder and writable index.
        """
        # A daemon, lest a process that is told twice to stop lives on until all is indexed.
        self._thread = threading.Thread(
            target=self._run, args=(retriever,), name="pocket-colbert-indexing", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End within a passage's time, or a commit's that has begun, and wait for that."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, retriever: Retriever) -> None:
        try:
            self._say("counting")
            # Which reads all files first: one that cannot be read is told before the work begins.
            self._say("indexing", total=sum(1 for _ in self._documents()))
            source = source_name(self._path, self._index_folder)
            report = sync(
                retriever, self._documents(), [source], progress=self._advance, pace=_PACE
            )
        except _Stopped:
            self._say("stopped")
        except Exception as error:
            self._say("failed", message=_message(error))
            self._tell(f"Indexing {self._path} stopped: {self._progress.message}")
        else:
            # Files may have come and gone since they were counted.
            self._say("done", total=self._progress.documents)
            self._tell(_summary(self._path, report))

    def _documents(self) -> Iterator[Document]:
        for document in read_sources([self._path], self._index_folder, self._fields):
            if self._stopping.is_set():
                raise _Stopped
            yield document

    def _advance(self, done: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._say("indexing", documents=done)

    def _say(
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
        return f"the index could not be written ({error.strerror}). Start again to go on."
    logger.error("indexing failed", exc_info=error)
    return "an error nobody expected; the server's log says more."


def _summary(path: Path, report: SyncReport) -> str:
    return (
        f"{path}: {report.added} documents added, {report.changed} changed, "
        f"{report.unchanged} unchanged, {report.deleted} deleted"
    )
