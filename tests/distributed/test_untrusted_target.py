"""What a job reads and writes in its folder stays in it, whoever else has put links there."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from pocket_colbert import BackendError, PocketColbertError
from pocket_colbert.distributed.collecting import index_encoded
from pocket_colbert.distributed.object_storage import Location
from pocket_colbert.distributed.parquet import EncodedCorpus, ParquetTarget
from tests.support.encoding_job import ENCODED, JOB, do_a_job
from tests.support.hostile_folder import KINDS, SECRET, put, tree
from tests.support.hostile_index import alarm

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")

PLACES = [
    "job.json", "complete.json", "parts", "parts/000000-000000.parquet",
    "parts/000000-000001.parquet", "parts/other",
]  # fmt: skip


def use(folder: Path, into: Path) -> None:
    """Do everything that is done with a job's folder; any clean error will do."""
    with suppress(PocketColbertError):
        do_a_job(folder)
    with suppress(PocketColbertError):
        index_encoded(EncodedCorpus(folder), into)
    with suppress(PocketColbertError):
        (ParquetTarget(folder).folder / "parts").delete()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A finished job, and what lies outside: a job like it among other things."""
    outside, folder = tmp_path / "outside", tmp_path / "job"
    outside.mkdir()
    (outside / "victim").write_bytes(SECRET)
    do_a_job(folder)
    shutil.copytree(folder, outside / "index")
    shutil.copytree(folder / "parts", outside / "segments")
    return folder, outside


def test_a_job_comes_out_as_it_went_in(folders: tuple[Path, Path], tmp_path: Path) -> None:
    corpus = EncodedCorpus(folders[0])
    assert len(corpus) == 6
    assert [item.document for item in corpus.encoded()][:3] == [item.document for item in ENCODED]
    (ParquetTarget(folders[0]).folder / "parts").delete()
    assert not (folders[0] / "parts").exists()
    assert EncodedCorpus(f"file://{folders[1] / 'index'}").config == JOB.config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_leaves_the_folder(
    folders: tuple[Path, Path], tmp_path: Path, place: str, kind: str
) -> None:
    folder, outside = folders
    put(folder, outside, place, kind)
    before = tree(outside)
    with alarm(30):
        use(folder, tmp_path / "index")
    assert tree(outside) == before


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS)), min_size=1, max_size=4
    )
)
def test_nothing_leaves_a_folder_of_several(
    folders: tuple[Path, Path], tmp_path: Path, changes: list[tuple[str, str]]
) -> None:
    sound, outside = folders
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    for place, kind in changes:
        put(folder, outside, place, kind)
    before = tree(outside)
    with alarm(30):
        use(folder, tmp_path / "index")
    assert tree(outside) == before


def test_what_is_in_the_way_is_named(folders: tuple[Path, Path]) -> None:
    folder, outside = folders
    shutil.rmtree(folder / "parts")
    (folder / "parts").symlink_to(outside / "segments")
    part = next(JOB.parts())
    with pytest.raises(BackendError, match="parts must be a folder, not a link"):
        ParquetTarget(folder).write_part(JOB, part, ENCODED)
    (folder / "job.json").unlink()
    (folder / "job.json").symlink_to(outside / "index" / "job.json")
    with pytest.raises(BackendError, match=r"job\.json must be a regular file"):
        ParquetTarget(folder).read_job()


def test_a_folder_behind_a_link_works(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The user names it."""
    (tmp_path / "link").symlink_to(folders[0])
    assert len(EncodedCorpus(tmp_path / "link")) == 6
    location = Location(tmp_path / "link") / "new" / "file"
    location.write(b"x")
    assert location.read() == b"x" and location.kind() == "file"
    assert (Location(tmp_path / "link") / "new").sizes() == {"file": 1}
