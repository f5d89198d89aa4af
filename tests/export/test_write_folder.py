"""A model folder that is replaced takes nothing with it that is not the model's."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert.model.folder import RECIPE_FILE, load_model_files
from pocket_colbert_export.errors import OutputError
from pocket_colbert_export.folder.write_folder import new_folder, write_files
from tests.support.paths import DATA


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


@pytest.mark.parametrize("there", [None, "empty", "model"])
def test_a_new_folder_can_be_read_by_others(
    tmp_path: Path, target: Path, there: str | None
) -> None:
    folder = {None: tmp_path / "deep" / "new", "empty": tmp_path / "empty", "model": target}[there]
    if there == "empty":
        folder.mkdir()
    with new_folder(folder, overwrite=there == "model") as work:
        assert work.parent == folder.parent and not list(work.iterdir())
        (work / "file").write_text("x")
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_what_was_there(
    target: Path, tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), new_folder(target, overwrite=True) as work:
        (work / "file").write_text("x")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / "model.onnx").read_text() == "x"


def test_what_is_there_is_replaced_only_when_it_may_be(target: Path, tmp_path: Path) -> None:
    def refused(folder: Path, overwrite: bool, message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(OutputError, match=message), new_folder(folder, overwrite):
            raise AssertionError("nothing may be written")
        assert sorted(tmp_path.rglob("*")) == before

    refused(target, False, "not empty; pass --overwrite to replace a model")
    (tmp_path / "file").write_text("x")
    for overwrite in (False, True):
        refused(tmp_path / "file", overwrite, "exists and is not a folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    refused(tmp_path / "other", False, "not empty; pass --overwrite")
    refused(tmp_path / "other", True, "not empty; it is no model folder")
    refused(tmp_path / "file" / "below", True, "cannot write beside")


@pytest.mark.parametrize("recipe", ["", "[", "[]", "{}", '{"pocket_colbert": 3}', "[" * 100_000])
def test_a_recipe_that_cannot_be_read_owns_its_own_files_alone(target: Path, recipe: str) -> None:
    (target / "onnx_config.json").write_text(recipe)
    with pytest.raises(OutputError, match=r"has 'model\.onnx', which is no part"):
        replaced(target)
    (target / "model.onnx").unlink()
    for name in ("export_report.json", "README.md", "NOTICE"):
        (target / name).write_text("x")
    replaced(target)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_in_place_of_a_file_of_the_model_stays(target: Path) -> None:
    (target / "model.onnx").unlink()
    (target / "model.onnx").mkdir()
    with pytest.raises(OutputError, match=r"has 'model\.onnx'"):
        replaced(target)


TOKENS = [("<s>", True), ("[CLS]", False), ("<pad>", True), ("[MASK]", True), ("<x>", True)]


def written(folder: Path, architecture: str = "BertModel") -> dict[str, dict[str, object]]:
    """Write all files of a model folder; return the JSON ones."""
    tokens = [{"content": text, "special": special} for text, special in TOKENS]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (folder / "model.onnx").write_bytes(b"graph")
    config = load_model_files(DATA / "tiny-colbert").config
    write_files(
        folder, card="# Ü", notice="N", report={"source": {"architecture": architecture}},
        config=config, own={"precision": "fp32"}, extra={"model_name": "tiny"},
    )  # fmt: skip
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_a_folder_lists_its_files_with_their_hashes(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# Ü"
    assert (tmp_path / "NOTICE").read_text() == "N"
    recipe: Any = files[RECIPE_FILE]
    own = recipe["pocket_colbert"]
    assert recipe["model_name"] == "tiny" and own["precision"] == "fp32"
    assert set(own["files"]) == {path.name for path in tmp_path.iterdir()} - {RECIPE_FILE}
    for name, entry in own["files"].items():
        data = (tmp_path / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = (tmp_path / RECIPE_FILE).read_text(encoding="utf-8")
    assert text.startswith("{\n") and text.endswith("}\n")


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("BertModel", "bert"), ("XLMRobertaModel", "xlm-roberta"), ("ModernBertModel", "modernbert"),
     ("DebertaV2Model", "deberta-v2")],
)  # fmt: skip
def test_files_that_other_libraries_look_for(tmp_path: Path, architecture: str, kind: str) -> None:
    files = written(tmp_path, architecture)
    config = load_model_files(DATA / "tiny-colbert").config
    longest = max(config.document_length, config.query_length)
    assert files["config.json"] == {
        "model_type": kind, "architectures": [architecture],
        "embedding_dim": config.embedding_dim, "max_position_embeddings": longest,
    }  # fmt: skip
    assert files["tokenizer_config.json"] == {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest,
        "cls_token": "<s>", "pad_token": "<pad>", "mask_token": "[MASK]",
    }  # fmt: skip


def test_a_disk_that_refuses_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "NOTICE").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        written(tmp_path)
