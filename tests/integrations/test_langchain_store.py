"""The vector store in LangChain itself, and LangChain's own conformance tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pocket_colbert import Collection, Encoder, InvalidInputError

pytest.importorskip("langchain_core", reason="needs the langchain extra")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding  # noqa: E402

from pocket_colbert.integrations.langchain_store import PocketColbertVectorStore  # noqa: E402

ROOF = Document("The landlord repairs the roof.", metadata={"kind": "rule", "n": 1})
RENT = Document("Rent is due on the first.", metadata={"kind": "rule", "n": 2}, id="rent")
BEES = Document("Bees live in the garden.", metadata={"kind": "fact"}, id="bees")


@pytest.fixture
def store(encoder: Encoder) -> PocketColbertVectorStore:
    """A store of three documents."""
    store = PocketColbertVectorStore(Collection(model=encoder))
    store.add_documents([ROOF, RENT, BEES])
    return store


def test_documents_come_back_as_they_were_added(store: PocketColbertVectorStore) -> None:
    (found,) = store.similarity_search("who mends the roof?", k=1)
    assert (found.page_content, found.metadata) == (ROOF.page_content, ROOF.metadata)
    assert ROOF.id is None
    assert store.get_by_ids(["bees", "none", found.id or ""]) == [BEES, found]
    (scored, score), *_ = store.similarity_search_with_score("when to pay rent", k=2)
    assert scored == RENT
    assert score > 1


def test_filters_and_unknown_settings(store: PocketColbertVectorStore) -> None:
    assert store.similarity_search("bees", filter={"kind": "rule", "n": 2}) == [RENT]
    assert store.similarity_search("bees", filter={"kind": "rule"}, where={"n": 2}) == [RENT]
    for unknown in ({"filters": {"kind": "rule"}}, {"wher": {}}, {"top_k": 3}):
        with pytest.raises(TypeError):
            store.similarity_search("bees", **unknown)
    with pytest.raises(InvalidInputError, match="embedding must be None"):
        PocketColbertVectorStore.from_texts(["x"], DeterministicFakeEmbedding(size=3))


def test_relevance_and_retriever(store: PocketColbertVectorStore) -> None:
    ranked = store.similarity_search_with_relevance_scores("who mends the roof?", k=3)
    scores = [score for _, score in ranked]
    assert ranked[0][0].page_content == ROOF.page_content
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    retriever = store.as_retriever(
        search_type="similarity_score_threshold",
        search_kwargs={"k": 3, "score_threshold": scores[0]},
    )
    assert [found.page_content for found in retriever.invoke("who mends the roof?")] == [
        ROOF.page_content
    ]
    assert asyncio.run(store.as_retriever(search_kwargs={"k": 1}).ainvoke("bees")) == [BEES]


def test_deleting_and_folders(tmp_path: Path, encoder: Encoder) -> None:
    with Collection(tmp_path / "c", model=encoder) as collection:
        made = PocketColbertVectorStore.from_texts(
            ["a roof", "a door"], metadatas=[{"n": 1}, {"n": 2}], ids=["r", None],
            collection=collection,
        )  # fmt: skip
        assert made.delete(["r", "none"])
        assert made.delete(filter={"n": 5})
        with pytest.raises(InvalidInputError):
            made.delete()
    with Collection(tmp_path / "c", model=encoder) as collection:
        again = PocketColbertVectorStore(collection)
        assert [found.page_content for found in again.similarity_search("door")] == ["a door"]


def test_langchains_own_conformance_tests(tmp_path: Path) -> None:
    """In a session of their own, since they bring plugins and settings."""
    pytest.importorskip("langchain_tests", reason="needs langchain-tests")
    settings = tmp_path / "pytest.ini"
    settings.write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-c", str(settings), "--rootdir", str(tmp_path),
            "-p", "no:cacheprovider", str(Path(__file__).with_name("langchain_conformance.py")),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
