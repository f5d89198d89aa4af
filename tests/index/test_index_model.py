"""An index knows its model from the first write on, and refuses every other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    IndexConflictError,
    InvalidInputError,
    Retriever,
)

DOCUMENTS = [Document("a", "The cat sat on the mat."), Document("b", "Rain is water.")]


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    return Encoder.load("tiny", threads=1)


@pytest.fixture(scope="module")
def small() -> Encoder:
    """Another model of the same width."""
    return Encoder.load("small", threads=1)


@pytest.mark.parametrize("method", ["add", "upsert"])
def test_an_index_in_memory_learns_its_model(tiny: Encoder, small: Encoder, method: str) -> None:
    assert tiny.dim == small.dim
    index = Index(dim=tiny.dim)
    other = Retriever(small, index)  # made before the index knew
    getattr(Retriever(tiny, index), method)(DOCUMENTS)
    assert index.config.model == tiny.card.fingerprint
    with pytest.raises(InvalidInputError, match="made with another model"):
        Retriever(small, index)
    with pytest.raises(InvalidInputError, match="made with another model"):
        other.retrieve(["cat"])
    with pytest.raises(InvalidInputError, match="made with another model"):
        getattr(other, method)([Document("c", "text")])
    with pytest.raises(InvalidInputError, match="made with another model"):
        other.encode(DOCUMENTS)
    assert Retriever(tiny, index).retrieve(["cat"])[0][0].document_id == "a"


def test_an_index_in_a_folder_learns_its_model(
    tiny: Encoder, small: Encoder, tmp_path: Path
) -> None:
    config = IndexConfig(dim=tiny.dim)
    with Index.create(tmp_path / "index", config) as index:
        retriever = Retriever(tiny, index)
        index.upsert_documents(retriever.encode(DOCUMENTS))
        with Index.load(tmp_path / "index") as reader:
            assert reader.config.model == ""
            index.commit()
            assert reader.refresh()
            assert reader.config.model == tiny.card.fingerprint
            with pytest.raises(InvalidInputError, match="made with another model"):
                Retriever(small, reader)
    with Index.load(tmp_path / "index", writable=True) as index:
        assert index.config.model == tiny.card.fingerprint
        with pytest.raises(InvalidInputError, match="made with another model"):
            Retriever(small, index)
        index.save(tmp_path / "copy")
    with Index.load(tmp_path / "copy") as index:
        assert Encoder.for_index(index.config).card.fingerprint == tiny.card.fingerprint


def test_a_reader_does_not_teach(tiny: Encoder, tmp_path: Path) -> None:
    Index.create(tmp_path / "index", IndexConfig(dim=tiny.dim)).close()
    with Index.load(tmp_path / "index") as index:
        with pytest.raises(IndexConflictError, match="read-only"):
            Retriever(tiny, index).add(DOCUMENTS)
        assert index.config.model == ""


def test_an_index_made_again_with_another_model_is_not_shown(
    tiny: Encoder, small: Encoder, tmp_path: Path
) -> None:
    with Index(dim=tiny.dim) as index:
        Retriever(tiny, index).add(DOCUMENTS)
        index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as reader:
        with Index(dim=small.dim) as index:
            Retriever(small, index).add(DOCUMENTS)
            index.save(tmp_path / "index")
        with pytest.raises(IndexConflictError, match="another model"):
            reader.refresh()
