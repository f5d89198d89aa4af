"""The JSON of a checkpoint: read once, checked, and turned into settings."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

from pocket_colbert_export import CheckpointError
from pocket_colbert_export.checkpoints.loading import LAYOUTS, load_checkpoint
from pocket_colbert_export.checkpoints.raw import read_raw

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

CHECKPOINTS = DATA / "checkpoints"


@pytest.fixture
def pylate(tmp_path: Path) -> Path:
    """A copy of the tiny PyLate checkpoint to change."""
    return Path(shutil.copytree(CHECKPOINTS / "pylate", tmp_path / "checkpoint"))


@pytest.mark.parametrize("name", ["pylate", "stanford", "multi-vector"])
def test_every_json_is_read_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[Path] = Counter()
    read_text = Path.read_text

    def counted(self: Path, *args: Any, **options: Any) -> str:
        read[self] += 1
        return read_text(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    folder = CHECKPOINTS / name
    load_checkpoint(folder)
    ours = {path: count for path, count in read.items() if path.is_relative_to(folder)}
    assert set(ours.values()) == {1}
    there = {*folder.rglob("*.json"), *folder.glob("artifact.metadata")}
    assert set(ours) == there - {folder / "tokenizer.json"}  # that one is the tokenizer's


@pytest.mark.parametrize(
    ("name", "layout"),
    [("pylate", "pylate"), ("stanford", "stanford"), ("multi-vector", "sentence-transformers")],
)
def test_one_layout_takes_a_checkpoint(name: str, layout: str) -> None:
    raw = read_raw(CHECKPOINTS / name)
    taken = [settings for settings in (read(raw) for read in LAYOUTS[:-1]) if settings is not None]
    assert [settings.layout for settings in taken] == [layout]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config_sentence_transformers.json", [], "must hold a JSON object, got list"),
        ("config_sentence_transformers.json", {"query_length": "32"}, "'query_length' must be a"),
        ("config_sentence_transformers.json", {"query_length": True}, "'query_length' must be a"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "'prompts' must be a JSON obj"),
        ("config_sentence_transformers.json", {"query_prefix": 7}, "'query_prefix' must be a text"),
        ("modules.json", {"0": {}}, "must hold a list of JSON objects"),
        ("modules.json", ["Dense"], "must hold a list of JSON objects"),
        (
            "modules.json",
            [{"type": "pylate.models.Dense.Dense", "path": "../other"}],
            "key 'path' is '../other', outside the checkpoint",
        ),
        (
            "modules.json",
            [{"type": "pylate.models.Dense.Dense", "path": "3_Dense"}],
            "3_Dense/config.json is missing",
        ),
    ],
)
def test_what_json_cannot_say_names_file_and_key(
    file: str, content: Any, message: str, pylate: Path
) -> None:
    (pylate / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"(?s){file.split('.')[0]}.*{message}|{message}"):
        read_raw(pylate)


def test_projections_must_fit_each_other(pylate: Path) -> None:
    """The first takes the backbone's width, and every other what the one before it gives."""
    modules = json.loads((pylate / "modules.json").read_text())
    (pylate / "modules.json").write_text(json.dumps([modules[0], modules[2], modules[2]]))
    with pytest.raises(CheckpointError, match=r"2_Dense/config\.json: .* 32 inputs.* gives 16"):
        load_checkpoint(pylate)
