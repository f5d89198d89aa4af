"""Two builds of the same documents give the same bytes, file by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import Index, IndexConfig
from pocket_colbert.index.directory import replacement


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("steps", ["commit", "commit compact"])
def test_equal_builds_give_equal_bytes(tmp_path: Path, steps: str) -> None:
    """In processes with other hashes of texts, too."""
    script = (
        "import sys; from pathlib import Path; from tests.support.equal_build import build; "
        "build(Path(sys.argv[1]), sys.argv[2])"
    )
    for seed in "01":
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / seed), steps], check=True,
            env={**os.environ, "PYTHONHASHSEED": seed}, cwd=Path(__file__).parents[2],
        )  # fmt: skip
    first, second = contents(tmp_path / "0"), contents(tmp_path / "1")
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_an_index_made_again_has_the_same_names_and_is_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    """A reader compares files, not names."""
    folder, rows = tmp_path / "index", np.eye(2, 8, dtype=np.float32)

    def make(text: str) -> None:
        with Index.create(folder, IndexConfig(dim=8), threads=1) as index:
            index.add(["a"], [rows], texts=[text])

    make("old words")
    with Index.load(folder, threads=1) as reader:
        (old,) = (folder / "segments").iterdir()
        assert reader.get("a").text == "old words"
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        make("new words")
        assert [path.name for path in (folder / "segments").iterdir()] == [old.name]
        assert reader.refresh()
        assert reader.get("a").text == "new words"


def test_a_replacement_with_equal_documents_is_not_in_its_own_way(tmp_path: Path) -> None:
    folder, rows = tmp_path / "index", np.eye(2, 8, dtype=np.float32)
    with Index.create(folder, IndexConfig(dim=8), threads=1) as index:
        index.add(["a"], [rows], texts=["words"])
    with Index.load(folder, threads=1) as reader:
        for generation in range(2, 5):
            with replacement(folder) as work:
                with Index.create(work, IndexConfig(dim=8), threads=1) as index:
                    index.add(["a"], [rows], texts=["words"])
            assert reader.refresh() and reader.generation == generation
            assert reader.get("a").text == "words"
            assert len(list((folder / "segments").iterdir())) == 1
