"""Vectors against golden ones: of sentence-transformers 6.2, and of the bundled models.

`make_golden.py` made the first in an environment of its own. Those of the bundled models were
computed in float32 by torch (`make_bundled_golden.py`); int8 on any processor must stay near them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import Encoder
from pocket_colbert.model.folder import bundled_models
from tests.support.paths import DATA, SHARED

pytestmark = pytest.mark.slow

TEXTS = json.loads((DATA / "golden_texts.json").read_text(encoding="utf-8"))
LAYOUTS = ["pylate", "stanford", "multi-vector"]


def compare(encoder: Encoder, golden: Path, tolerance: float) -> None:
    """Hold an encoder's vectors against a golden file."""
    with np.load(golden) as wanted:
        for number, text in enumerate(TEXTS):
            for task, encode in (
                ("query", encoder.encode_query),
                ("document", encoder.encode_document),
            ):
                found = encode([text])[0]
                reference = wanted[f"{task}{number}"]
                assert found.shape == reference.shape, (task, text)
                np.testing.assert_allclose(found, reference, atol=tolerance)


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
def test_committed_model_folder(tiny_model: Path) -> None:
    compare(Encoder.load(tiny_model), DATA / "golden" / "pylate.npz", 1e-4)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exports_equal_sentence_transformers(layout: str, tmp_path: Path) -> None:
    from pocket_colbert_export import export_model

    export_model(DATA / "checkpoints" / layout, tmp_path / "model", precision="fp32")
    compare(Encoder.load(tmp_path / "model"), DATA / "golden" / f"{layout}.npz", 1e-4)


@pytest.mark.torch
@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_real_checkpoint_equals_sentence_transformers(tmp_path: Path) -> None:
    from pocket_colbert_export import export_model

    name = "answerai-colbert-small-v1"
    source = SHARED / "checkpoints" / name
    if not source.is_dir():
        pytest.skip(f"needs the checkpoint at {source}")
    export_model(source, tmp_path / "model", precision="fp32")
    compare(Encoder.load(tmp_path / "model"), DATA / "golden" / f"{name}.npz", 1e-4)


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_model_is_near_its_float_self(name: str) -> None:
    encoder = Encoder.load(name, threads=2)
    cosines = []
    with np.load(DATA / "golden" / f"{name}.npz") as wanted:
        for number, text in enumerate(TEXTS):
            for task, encode in (
                ("query", encoder.encode_query),
                ("document", encoder.encode_document),
            ):
                found, reference = encode([text])[0], wanted[f"{task}{number}"]
                assert found.shape == reference.shape, (task, text)
                cosines.append((found * reference).sum(axis=1))
    assert np.concatenate(cosines).mean() >= 0.99
    assert np.concatenate(cosines).min() >= 0.85
