"""A model folder that is replaced takes nothing with it that is not the model's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pocket_colbert_export.errors import OutputError
from pocket_colbert_export.folder.write_folder import new_folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A model folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    files = {"model.onnx": {}, "tokenizer.json": {}}
    for name in files:
        (folder / name).write_text("x")
    (folder / "onnx_config.json").write_text(json.dumps({"pocket_colbert": {"files": files}}))
    return folder


def replaced(target: Path) -> None:
    with new_folder(target, overwrite=True) as work:
        (work / "new").write_text("x")


def test_a_model_is_replaced_as_a_whole(target: Path, tmp_path: Path) -> None:
    replaced(target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["precious", "weights.bin", ".git/config"])
def test_files_of_others_are_not_deleted(target: Path, name: str) -> None:
    (target / name).parent.mkdir(exist_ok=True)
    (target / name).write_text("x")
    with pytest.raises(OutputError, match="no part of the model there"):
        replaced(target)
    assert (target / name).read_text() == "x" and (target / "model.onnx").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_what_links_lead_to_stays(target: Path, tmp_path: Path) -> None:
    """Of a file, and of the folder itself."""
    (tmp_path / "victim").write_text("x")
    (target / "model.onnx").unlink()
    (target / "model.onnx").symlink_to(tmp_path / "victim")
    (tmp_path / "name").symlink_to(target)
    replaced(tmp_path / "name")
    assert (tmp_path / "name" / "new").exists() and not (tmp_path / "name").is_symlink()
    assert (target / "tokenizer.json").exists()
    replaced(target)
    assert (tmp_path / "victim").read_text() == "x"
