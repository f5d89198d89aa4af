"""Documents are stored while the next are encoded, and nothing of that shows in the index."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import CorpusError, Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.ingest import incremental as sync

TEXTS = [f"Text number {n}." for n in range(50)]


def documents(start: int = 0, end: int = 50) -> Iterator[Document]:
    return (Document(str(n), TEXTS[n], source="file") for n in range(start, end))


@pytest.fixture
def retriever(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Retriever]:
    """An empty index, and ten documents a batch."""
    monkeypatch.setattr(sync, "Pace", partial(sync.Pace, documents=10))
    encoder = Encoder.load(tiny_model, threads=1)
    with Index.create(tmp_path / "index", IndexConfig(dim=encoder.dim, codes="int8")) as index:
        yield Retriever(encoder, index)


def test_storing_and_encoding_overlap(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch is not stored before the second one is being encoded."""
    encoding, upsert, encode = threading.Semaphore(0), Index.add_prepared, Retriever.prepare
    threads = set()

    def encoded(self: Retriever, batch: Any, **options: Any) -> Any:
        encoding.release()
        threads.add(threading.get_ident())
        return encode(self, batch, **options)

    def stored(self: Index, batch: Any, **options: Any) -> Any:
        # One batch more has begun than has been stored, until the last.
        assert encoding.acquire(timeout=20)
        if "49" not in [item.document.document_id for item in batch.documents]:
            assert encoding.acquire(timeout=20)
            encoding.release()
        return upsert(self, batch, **options)

    monkeypatch.setattr(Retriever, "prepare", encoded)
    monkeypatch.setattr(Index, "add_prepared", stored)
    done: list[int] = []
    report = sync.sync(retriever, documents(), ["file"], progress=done.append)
    assert (report.added, report.deleted) == (50, 0) and done == sorted(done) and done[-1] == 50
    assert len(threads) == 1 and threading.get_ident() not in threads
    index = retriever.index
    assert isinstance(index, Index) and len(index) == 50
    assert [index.get(str(n)).text for n in range(50)] == TEXTS
    monkeypatch.undo()
    again = sync.sync(retriever, documents(5), ["file"])
    assert (again.added, again.unchanged, again.deleted) == (0, 45, 5)


def test_the_same_id_in_a_batch_that_waits_is_seen(retriever: Retriever) -> None:
    twice = [*documents(0, 10), Document("3", "Another.", source="other"), *documents(10)]
    with pytest.raises(CorpusError, match="'3' twice, in file and other"):
        sync.sync(retriever, twice, ["file", "other"])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_encoding_ends_soon_when_storing_fails(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    done: list[int] = []

    def fails(*_: Any, **__: Any) -> None:
        raise kind("while storing")

    def slowly(count: int) -> None:
        done.append(count)
        time.sleep(0.05 if count > 10 else 0)

    monkeypatch.setattr(Index, "add_prepared", fails)
    before = threading.active_count()
    with pytest.raises(kind, match="while storing"):
        sync.sync(retriever, documents(), ["file"], progress=slowly)
    assert max(done) < 15 and threading.active_count() == before


def test_what_fails_in_encoding_is_raised(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Retriever, batch: list[Document], **options: Any) -> Any:
        raise MemoryError(batch[0].document_id)

    monkeypatch.setattr(Retriever, "prepare", fails)
    with pytest.raises(MemoryError, match="0"):
        sync.sync(retriever, documents(), ["file"])
