"""Index folders that are damaged, or made to do harm: they work, or raise PocketColbertError."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocket_colbert import (
    Index,
)
from pocket_colbert.index.integrity import check_index
from tests.support.hostile_index import (
    HOSTILE_SQL,
    QUERY,
    SEARCHES,
    Fuzzer,
    check_hits,
    write_to,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Fuzzer(Path(folder))


def test_the_sound_index_works(fuzzer: Fuzzer) -> None:
    """All that `use` does: what an input breaks is not broken without."""
    with Index.load(fuzzer.folder, threads=1) as index:
        assert len(index) == len(list(index)) == 16
        for search in SEARCHES:
            hits = index.search([QUERY], 5, **search)[0]
            assert hits
            check_hits(hits)
    assert check_index(fuzzer.folder) == []


@pytest.mark.parametrize("what", HOSTILE_SQL)
def test_hostile_databases(fuzzer: Fuzzer, what: str, tmp_path: Path) -> None:
    """Read them, then write to them."""
    paths = [path for path, name in fuzzer.databases if name == what]
    changed = {path: fuzzer.databases[path, what] for path in paths}
    assert changed != {path: fuzzer.sound[path] for path in paths}
    manifest = json.loads(fuzzer.sound["manifest.json"])
    fuzzer.rehash(changed, manifest)
    problem = fuzzer.problem(changed, check=True)
    assert problem is None, problem
    folder = shutil.copytree(fuzzer.folder, tmp_path / "index")
    for path, content in changed.items():
        (folder / path).write_bytes(content)
    write_to(folder)


@pytest.fixture(scope="module")
def of_graphs(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("graphs"), "usearch")


@pytest.mark.parametrize("seed", range(2))
def test_any_graph_works_or_raises_the_one_error(of_graphs: Fuzzer, seed: int) -> None:
    for number in range(150):
        what, files = of_graphs.input((seed, number))
        problem = of_graphs.problem(files, check=number % 4 == 0)
        assert problem is None, f"{number}: {what}\n{problem}"


@pytest.mark.parametrize("seed", range(4))
def test_any_input_works_or_raises_the_one_error(fuzzer: Fuzzer, seed: int) -> None:
    for number in range(300):
        what, files = fuzzer.input((seed, number))
        problem = fuzzer.problem(files, check=number % 4 == 0)
        assert problem is None, f"{number}: {what}\n{problem}"
