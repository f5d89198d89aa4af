"""Documents that are indexed while they are served: progress, interruptions, who may write."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from pocket_colbert import Document, Encoder, Index, IndexConfig, InvalidInputError, Retriever
from pocket_colbert.cli.commands import main
from pocket_colbert.ingest.incremental import Pace, sync
from pocket_colbert.ingest.readers import read_sources
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.server.app import create_app
from pocket_colbert.server.background_indexing import Indexing
from pocket_colbert.server.writing import WritingService
from pocket_colbert.source_paths import source_name
from tests.support.servers import serve_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of three texts."""
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "bees.md").write_text("Bees swarm in May.", "utf-8")
    (folder / "deep" / "moon.txt").write_text("The moon moves the tides.", "utf-8")
    (folder / "rows.jsonl").write_text('{"_id": "bread", "text": "Bread needs flour."}', "utf-8")
    return folder


@contextmanager
def serving(notes: Path, encoder: Encoder, told: list[str] | None = None) -> Iterator[TestClient]:
    """Serve a folder from this process, with the index beside it."""
    folder = notes.with_name("notes.index")
    if not folder.exists():
        config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
        Index.create(folder, config).close()
    report = (told if told is not None else []).append
    indexing = Indexing(notes, folder, Fields(), report=report)
    service = WritingService(encoder, Index.load(folder, writable=True), indexing=indexing)
    with TestClient(create_app(service)) as client:
        yield client


def until(client: Any, state: str, address: str = "") -> dict[str, Any]:
    """Wait for a state of indexing and return what the server says of itself."""
    for _ in range(1200):
        info = client.get(f"{address}/api/info").json()
        if info["indexing"]["state"] == state:
            return dict(info)
        time.sleep(0.05)
    raise AssertionError(info)


def found(client: TestClient, query: str) -> list[str]:
    """Return ids, best first."""
    hits = client.post("/api/search", json={"query": query}).json()["hits"]
    return [hit["id"] for hit in hits]


def test_a_folder_is_indexed_and_brought_up_to_date(notes: Path, encoder: Encoder) -> None:
    told: list[str] = []
    with serving(notes, encoder, told) as client:
        info = until(client, "done")
        assert info["documents"] == 3
        expected = {"source": "notes", "state": "done", "documents": 3, "total": 3}
        assert info["indexing"] == {**expected, "message": None}
        assert found(client, "tides of the sea")[0] == "deep/moon.txt"
        own = {"documents": [{"id": "own", "text": "Added through the API."}]}
        assert client.post("/api/documents", json=own).status_code == 201
        assert client.delete("/api/documents?id=bees.md").status_code == 200
    (notes / "rows.jsonl").unlink()
    (notes / "deep" / "moon.txt").write_text("The moon is a stone.", "utf-8")
    with serving(notes, encoder, told) as client:
        until(client, "done")
        assert sorted(found(client, "moon")) == ["bees.md", "deep/moon.txt", "own"]
        hit = client.get("/api/documents?id=deep/moon.txt").json()["documents"][0]
        assert hit["text"] == "The moon is a stone." and hit["source"] == "../notes"
    assert [line.partition(": ")[2] for line in told] == [
        "3 documents added, 0 changed, 0 unchanged, 0 deleted",
        "1 documents added, 1 changed, 0 unchanged, 1 deleted",
    ]


def test_what_cannot_be_read_is_told_and_the_rest_stays(notes: Path, encoder: Encoder) -> None:
    with serving(notes, encoder) as client:
        until(client, "done")
    (notes / "bees.md").unlink()
    (notes / "bees.md").symlink_to(notes / "nowhere")
    told: list[str] = []
    with serving(notes, encoder, told) as client:
        info = until(client, "done")
        assert info["indexing"]["message"] == "1 file left out: 1 cannot be read" == told[1]
        assert "bees.md: is a link that leads nowhere; repair or remove it" in told[2]
        assert found(client, "bees")[0] == "bees.md" and info["documents"] == 3


def test_unexpected_errors_are_told_and_logged(
    notes: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise failure[0]

    failure: list[Exception] = [OSError(28, "No space left on device")]
    monkeypatch.setattr(Index, "add_prepared", broken)
    with serving(notes, encoder) as client:
        message = until(client, "failed")["indexing"]["message"]
        assert "No space left on device" in message and not caplog.text
    failure[0] = RuntimeError("a secret place")
    with serving(notes, encoder) as client:
        message = until(client, "failed")["indexing"]["message"]
        assert "secret" not in message and "a secret place" in caplog.text


def test_others_write_and_read_while_it_runs(
    notes: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document is pending, not committed, while requests come."""
    for n in range(30):
        (notes / f"n{n}.txt").write_text(f"Number {n}.", "utf-8")
    with serving(notes, encoder) as client:
        until(client, "done")
    (notes / "bees.md").write_text("Bees swarm in June.", "utf-8")
    (notes / "new.txt").write_text("Wasps.", "utf-8")
    pending, go = threading.Event(), threading.Event()
    upsert = Index.add_prepared

    def waits(self: Index, prepared: Any, **options: Any) -> None:
        upsert(self, prepared, **options)
        indexing = threading.current_thread().name == "pocket-colbert-indexing"
        if indexing and prepared.documents:
            pending.set()
            assert go.wait(60)

    monkeypatch.setattr(Index, "add_prepared", waits)
    with serving(notes, encoder) as client:
        assert pending.wait(60)
        asked = {"query": "when do bees swarm", "explain": True, "k": 1}
        (hit,) = client.post("/api/search", json=asked).json()["hits"]
        assert hit["id"] == "bees.md" and hit["explanation"]["matches"]
        documents = client.get("/api/documents?id=bees.md").json()["documents"]
        assert documents[0]["text"] == hit["snippet"] == "Bees swarm in May."
        info = client.get("/api/info").json()
        assert info["documents"] == 33 and info["indexing"]["state"] == "indexing"
        own = {"documents": [{"id": "own", "text": "Hornets."}, {"id": "n3.txt", "text": "3"}]}
        assert client.put("/api/documents", json=own).status_code == 200
        assert client.delete("/api/documents?id=n4.txt").status_code == 200
        go.set()
        until(client, "done")
        texts = client.get("/api/documents?id=bees.md&id=own&id=n3.txt").json()["documents"]
        assert [item["text"] for item in texts] == ["Bees swarm in June.", "Hornets.", "3"]
        assert client.get("/api/documents?id=n4.txt").status_code == 404


def test_sync_leaves_what_others_put_meanwhile(notes: Path, encoder: Encoder) -> None:
    folder = notes.with_name("notes.index")
    with Index.create(folder, IndexConfig(dim=encoder.dim)) as index:
        retriever, sources = Retriever(encoder, index), [source_name(notes, folder)]
        sync(retriever, read_sources([notes], folder), sources)
        (notes / "bees.md").unlink()
        (notes / "bread.md").write_text("A loaf.", "utf-8")

        def meanwhile(done: int) -> None:
            if done == 0:
                retriever.upsert([Document("bees.md", "Mine."), Document("bread.md", "Mine.")])
                index.commit()

        def documents() -> Iterator[Document]:
            meanwhile(0)
            yield from read_sources([notes], folder)

        report = sync(retriever, documents(), sources, pace=Pace(documents=1))
        assert (report.added, report.unchanged, report.deleted) == (1, 2, 0)
        assert index.get("bees.md").text == "Mine."  # no file's any more
        assert index.get("bread.md").text == "A loaf."
        for wrong in ({"documents": 0}, {"tokens": 1.5}, {"first_tokens": -1}):
            with pytest.raises(InvalidInputError, match="must be a whole number >= 1"):
                Pace(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_at_any_time_it_goes_on(tmp_path: Path, number: int) -> None:
    path, folder = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.index"
    sentence = "Bees, bread and the moon are what these numbered texts are all about. "
    rows = [{"_id": str(n), "text": f"Text number {n}. {sentence * 12}"} for n in range(400)]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    options = (path, "--model", "tiny")
    with serve_command(*options) as (process, address):
        for _ in range(2000):
            info = httpx.get(f"{address}/api/info", timeout=60).json()
            if info["documents"]:
                break
            time.sleep(0.02)
        # Some are found while others are yet to come.
        assert info["indexing"]["state"] == "indexing" and 0 < info["documents"] < 400
        assert info["indexing"]["total"] == 400
        asked = {"query": "number 3", "k": 1}
        assert httpx.post(f"{address}/api/search", json=asked, timeout=60).json()["hits"]
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGTERM else -number)
    with Index.load(folder) as index:
        kept = len(index)
        assert info["documents"] <= kept < 400
    with serve_command(*options, "--into", folder) as (process, address):
        assert process.stderr is not None
        summary = process.stderr.readline()
        assert summary.endswith(
            f"{400 - kept} documents added, 0 changed, {kept} unchanged, 0 deleted\n"
        )
        assert until(httpx, "done", address)["documents"] == 400


def test_what_cannot_be_served(notes: Path, tmp_path: Path, encoder: Encoder) -> None:
    def fails(*arguments: object) -> str:
        done = CliRunner().invoke(main, ["serve", *map(str, arguments), "--port", "0"])
        assert done.exit_code == 2, done.output
        return done.output

    assert "there is no index, file or folder at" in fails(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no documents" in fails(tmp_path / "empty")
    (tmp_path / "empty.jsonl").touch()
    assert "there are no documents in" in fails(tmp_path / "empty.jsonl")
    assert "no key 'other'" in fails(notes / "rows.jsonl", "--id-field", "other")
    assert "--read-only needs an index" in fails(notes, "--read-only")
    assert "is not an empty folder" in fails(notes, "--into", notes)
    made = tmp_path / "made.index"
    Index.create(made, IndexConfig(dim=encoder.dim)).close()
    assert "--into goes with documents" in fails(made, "--into", tmp_path / "x")
    assert not (tmp_path / "notes.index").exists()
