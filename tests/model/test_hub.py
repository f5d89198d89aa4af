"""What is downloaded of a model on a hub: all that its folder is checked for, and no more."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pocket_colbert.model.folder import models_folder
from tests.support.fake_hub import fake_hub

LOAD = """
import sys
from pocket_colbert import Encoder, PocketColbertError
try:
    encoder = Encoder.load("owner/name")
except PocketColbertError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(encoder.card.fingerprint, encoder.encode_query(["bees"])[0].shape[1])
"""


def load(endpoint: str, cache: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Load `owner/name` in a process of its own, as the hub's settings are read at import."""
    pytest.importorskip("huggingface_hub")
    return subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), **more},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What is published: an exported model, and what else people put beside it."""
    folder = tmp_path / "repository"
    shutil.copytree(models_folder() / "tiny", folder)
    (folder / ".gitattributes").write_text("*.onnx filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "model.safetensors").write_bytes(b"not for this package")
    (folder / "model_other.onnx").write_bytes(b"not listed")
    (folder / "logs").mkdir()
    (folder / "logs" / "NOTICE").write_text("of another folder")
    return folder


def test_a_model_of_the_hub_is_whole(repository: Path, tmp_path: Path) -> None:
    recipe = json.loads((repository / "onnx_config.json").read_text())
    with fake_hub(repository) as (address, fetched):
        loaded = load(address, tmp_path / "cache")
    assert loaded.returncode == 0, loaded.stderr
    listed = recipe["pocket_colbert"]["files"]
    assert len(loaded.stdout.split()) == 2
    assert {"NOTICE", "config.json", "relevance.json"} <= set(listed)
    assert sorted(fetched) == sorted(["onnx_config.json", *listed])
    # It stays in the cache: without a network it is the same model.
    again = load("http://127.0.0.1:9", tmp_path / "cache", HF_HUB_OFFLINE="1")
    assert again.stdout == loaded.stdout


def test_names_with_wildcards_fetch_their_files_alone(repository: Path, tmp_path: Path) -> None:
    recipe = json.loads((repository / "onnx_config.json").read_text())
    files = recipe["pocket_colbert"]["files"]
    (repository / "[ab]*.txt").write_text("listed")
    (repository / "about.txt").write_text("not listed")
    digest = hashlib.sha256(b"listed").hexdigest()
    files["[ab]*.txt"] = {"bytes": 6, "sha256": digest}
    files["../NOTICE"] = files["NOTICE"]
    (repository / "onnx_config.json").write_text(json.dumps(recipe))
    with fake_hub(repository) as (address, fetched):
        loaded = load(address, tmp_path / "cache")
    assert "would lead out of the folder" in loaded.stderr
    assert "[ab]*.txt" in fetched and "about.txt" not in fetched
    assert not {name for name in fetched if "/" in name}


def test_weights_of_other_exporters_are_fetched(repository: Path, tmp_path: Path) -> None:
    """Their recipes list no files, so that names are guessed."""
    recipe = json.loads((repository / "onnx_config.json").read_text())
    del recipe["pocket_colbert"]
    (repository / "onnx_config.json").write_text(json.dumps(recipe))
    weights = ["model.onnx", "model.onnx.data", "model.onnx_data", "model.onnx_data_1"]
    for name in weights:
        (repository / name).write_text(f"of {name}")
    with fake_hub(repository) as (address, fetched):
        load(address, tmp_path / "cache")
    assert {*weights, "model_int8.onnx", "tokenizer.json"} <= set(fetched)
    assert "model.safetensors" not in fetched


@pytest.mark.parametrize("recipe", [None, "[]", '{"pocket_colbert": {"files": ['])
def test_what_is_no_model_is_not_downloaded(
    repository: Path, tmp_path: Path, recipe: str | None
) -> None:
    if recipe is None:
        (repository / "onnx_config.json").unlink()
    else:
        (repository / "onnx_config.json").write_text(recipe)
    with fake_hub(repository) as (address, fetched):
        loaded = load(address, tmp_path / "cache")
    assert loaded.stderr.splitlines()[-1].startswith("ModelFormatError: ")
    assert "onnx_config.json" in loaded.stderr
    assert set(fetched) <= {"onnx_config.json"}
