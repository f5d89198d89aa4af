"""Fitting relevance: to the pairs of the exporter, to others, and to models that rank badly."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from pocket_colbert import Encoder, Retriever
from pocket_colbert.model.folder import load_model_files, models_folder
from pocket_colbert_export.errors import CalibrationError
from pocket_colbert_export.relevance import (
    _fitted,
    _logistic,
    add_relevance,
    auroc,
    fit_relevance,
    read_pairs,
)


def pairs_of(number: int) -> list[tuple[str, str]]:
    """Return questions about things that one passage each is about."""
    rng = random.Random(0)
    letters = "bcdfghjklmnprstvz"
    names = ["".join(rng.choices(letters, k=3)) + "ium" for _ in range(number)]
    places = ["a quarry", "a lake", "the desert", "old mines", "hot springs", "meteorites"]
    return [
        (f"Where is {name} found?", f"The mineral {name} is found in {rng.choice(places)}.")
        for name in dict.fromkeys(names)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the smaller bundled model, without its curve."""
    copy = Path(shutil.copytree(models_folder() / "tiny", tmp_path / "model"))
    recipe = json.loads((copy / "onnx_config.json").read_text())
    del recipe["pocket_colbert"]["files"]["relevance.json"]
    (copy / "onnx_config.json").write_text(json.dumps(recipe))
    (copy / "relevance.json").unlink()
    return copy


def test_a_curve_is_fitted_to_pairs_of_ones_own(folder: Path, tmp_path: Path) -> None:
    before = load_model_files(folder)
    assert before.relevance == {}
    pairs = pairs_of(60)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"query": q, "passage": p}) + "\n" for q, p in pairs))
    files = add_relevance(folder, path)
    assert files.card.fingerprint == before.card.fingerprint
    assert set(files.relevance) == {96, 64, 48, 32}
    assert json.loads((folder / "relevance.json").read_text())["fitted_on"] == "pairs.jsonl"
    hits = Retriever(Encoder.load(files)).rerank(pairs[0][0], [p for _, p in pairs[:12]])
    assert (hits[0].relevance or 0) > 0.5 > (hits[1].relevance or 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "at least 50"),
        ([{"query": "a", "passage": "b"}] * 60, "at least 50"),
        ([{"query": "a"}], "expected 'query' and 'passage'"),
        ([{"query": " ", "passage": "b"}], "expected 'query' and 'passage'"),
        ([{"query": 1, "passage": "b"}], "expected 'query' and 'passage'"),
    ],
)
def test_pairs_that_nothing_can_be_fitted_to_are_refused(
    folder: Path, tmp_path: Path, lines: list[object], message: str
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CalibrationError, match=message):
        add_relevance(folder, path)
    assert not (folder / "relevance.json").exists()
    assert load_model_files(folder).relevance == {}


def test_a_model_that_ranks_badly_gets_no_curve(tiny_model: Path) -> None:
    nonsense = [(f"{n * 7919} zq", f"{n * 104729} xw") for n in range(60)]
    assert fit_relevance(load_model_files(tiny_model), nonsense) == {}
    with pytest.raises(CalibrationError, match="nothing was written"):
        path = tiny_model.parent / "nonsense.jsonl"
        path.write_text("".join(json.dumps({"query": q, "passage": p}) + "\n" for q, p in nonsense))
        add_relevance(tiny_model, path)


def test_pairs_may_be_read_from_a_gzipped_file(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"query": "a", "passage": "b", "more": 1}\n'))
    assert read_pairs(path) == [("a", "b")]
    with pytest.raises(CalibrationError, match="no.jsonl"):
        read_pairs(tmp_path / "no.jsonl")


def test_the_fit_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    measures = rng.normal(size=(20_000, 3))
    likely = 1 / (1 + np.exp(-(measures @ np.array([2.0, 0.5, 1.0]) - 1)))
    right = (rng.random(20_000) < likely).astype(np.float64)
    weights = _logistic(measures, right)
    assert weights == pytest.approx([2, 0.5, 1, -1], abs=0.1)
    assert (_logistic(-measures, right)[:3] == 0).all()
    assert auroc(np.array([1.0, 2, 2, 3]), np.array([False, True, False, True])) == 0.875


def test_hits_that_are_all_right_or_all_wrong_fit_nothing() -> None:
    row = (0.9, 0.9, 0.01, 0.02)
    assert _fitted([(*row, 1.0, 1.0)] * 100) is None
    assert _fitted([(*row, 0.0, 1.0)] * 100) is None
    assert _fitted([]) is None
