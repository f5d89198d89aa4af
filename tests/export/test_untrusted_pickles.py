"""Files that torch or NumPy would unpickle run no code, whichever of our readers opens them.

transformers refuses such files of its own accord: each test here has a sound backbone, so that
nothing but our own reader can refuse.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import torch
from safetensors.torch import load_file

from pocket_colbert_export import CheckpointError
from pocket_colbert_export.checkpoints.loading import load_checkpoint

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "x"))


@pytest.fixture
def pylate(tmp_path: Path) -> Path:
    """A copy of the tiny PyLate checkpoint to change."""
    return Path(shutil.copytree(DATA / "checkpoints" / "pylate", tmp_path / "checkpoint"))


@pytest.mark.parametrize("head", ["1_Dense", "2_Dense"])
def test_a_projection_as_a_pickle_runs_no_code(head: str, pylate: Path, tmp_path: Path) -> None:
    path = pylate / head / "model.safetensors"
    weights: dict[str, Any] = load_file(path)
    path.unlink()
    torch.save(weights, pylate / head / "pytorch_model.bin")
    load_checkpoint(pylate)  # a pickle of weights alone is read
    torch.save({**weights, "x": Evil(tmp_path / "ran")}, pylate / head / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        load_checkpoint(pylate)
    assert not (tmp_path / "ran").exists()


def test_the_state_of_a_training_runs_no_code(tmp_path: Path) -> None:
    from pocket_colbert_export.distillation.loop import TrainingLoop

    torch.save({"step": 1, "x": Evil(tmp_path / "ran")}, tmp_path / "state.pt")
    run: Any = SimpleNamespace(_run=tmp_path, device=torch.device("cpu"))
    with pytest.raises(Exception, match="[Ww]eights.only"):
        TrainingLoop.restore(run)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_targets_of_a_training_run_no_code(number: int, tmp_path: Path) -> None:
    from pocket_colbert_export.distillation import targets

    paths = targets._paths(tmp_path, "queries", 0)
    for path in paths:
        np.save(path, np.zeros((3, 2), np.float32))
    targets._load(tmp_path, "queries", 0)
    evil = np.array([Evil(tmp_path / "ran")], dtype=object)
    np.save(paths[number], evil, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle|Python objects"):
        targets._load(tmp_path, "queries", 0)
    assert not (tmp_path / "ran").exists()
