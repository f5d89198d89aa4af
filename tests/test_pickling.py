"""Retrievers, encoders and indexes travel by path: they are opened again on the other side."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Retriever,
)

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    encoder = Encoder.load(tiny_model, threads=1)
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(tmp_path / "index", config) as index:
        Retriever(encoder, index).add([Document("a", "some words"), Document("b", "others")])
    return tmp_path / "index"


@pytest.mark.parametrize("how", COPIES)
def test_a_retriever_is_opened_again(folder: Path, tiny_model: Path, how: str) -> None:
    with Index.load(folder, threads=2) as index:
        retriever = Retriever(Encoder.load(tiny_model, threads=1), index)
        expected = retriever.retrieve(["words"])
        other = COPIES[how](retriever)
        assert other.retrieve(["words"]) == expected
        assert other.encoder.threads == 1 and other.index.threads == 2
        if how != "copy":
            assert other.index is not index
    if how != "copy":  # and is not closed with the first
        assert other.retrieve(["words"]) == expected
        other.index.close()


@pytest.mark.parametrize("how", COPIES)
def test_indexes_are_opened_again(folder: Path, tmp_path: Path, how: str) -> None:
    shutil.copytree(folder, tmp_path / "twin")
    with Index.load(folder) as one, COPIES[how](one) as other:
        assert list(other) == list(one) and other is not one
    with MultiIndex.load([folder, tmp_path / "twin"], replacing=True) as joined:
        with COPIES[how](joined) as other:
            assert list(other) == list(joined) and other is not joined


def test_a_writer_is_copied_as_a_reader(folder: Path) -> None:
    with Index.load(folder, writable=True) as writer:
        with copy.deepcopy(writer) as reader:
            assert len(reader) == 2
        writer.delete(["a"])
        with pytest.raises(InvalidInputError, match="not committed"):
            pickle.dumps(writer)


def test_an_index_in_memory_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="in memory cannot be pickled"):
        pickle.dumps(Index(dim=4))


def test_another_process_opens_it_again(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    with Index.load(folder) as index:
        retriever = Retriever(Encoder.load(tiny_model, threads=1), index)
        expected = retriever.retrieve(["words"])
        (tmp_path / "pickled").write_bytes(pickle.dumps(retriever))
    script = (
        "import pickle, sys\n"
        "retriever = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print([(hit.document_id, hit.score) for hit in retriever.retrieve(['words'])[0]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "pickled")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str([(hit.document_id, hit.score) for hit in expected[0]])


def test_bundled_models_travel_by_name() -> None:
    encoder = Encoder.load("tiny", threads=1, dim=48)
    data = pickle.dumps(encoder)
    assert b"/tiny" not in data
    assert pickle.loads(data).encode_query(["x"])[0].shape[1] == 48


def test_another_model_on_the_other_side_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    data = pickle.dumps(Encoder.load(model, threads=1))
    recipe = (model / "onnx_config.json").read_text()
    (model / "onnx_config.json").write_text(
        recipe.replace('"query_length": ', '"query_length": 1', 1)
    )
    with pytest.raises(InvalidInputError, match="another model here"):
        pickle.loads(data)
