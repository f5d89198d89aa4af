"""The index against brute force; atomic commits; damage is found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import (
    ClosedError,
    DocumentNotFoundError,
    DuplicateIdError,
    Index,
    IndexConfig,
    IndexConflictError,
    IndexExistsError,
    IndexFolderError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidInputError,
    MultiIndex,
    SearchParameters,
    maxsim_pairwise,
)
from pocket_colbert.index.integrity import check_index
from pocket_colbert.search.segment_search import SegmentSearch
from pocket_colbert.storage.manifest import Manifest
from pocket_colbert.storage.segment import Segment
from tests.support.arrays import cone_documents, documents_of, unit_rows

pytestmark = pytest.mark.slow

DIM = 24


def make(rng: np.random.Generator, documents: int = 50, **settings: object) -> Index:
    """Return an index in memory with random documents."""
    config = IndexConfig(dim=DIM, **{"codes": "int8", **settings})  # type: ignore[arg-type]
    index = Index(DIM, config=config, threads=2)
    lengths = rng.integers(0, 30, size=documents).tolist()
    ids = [f"d{n}" for n in range(documents)]
    index.add(
        ids, documents_of(rng, lengths, DIM), texts=[f"text of {i}" for i in ids],
        titles=[None if n % 2 else f"title {n}" for n in range(documents)],
        metadata=[{"n": n} for n in range(documents)],
    )  # fmt: skip
    return index


def results(index: Index, queries: list[np.ndarray], k: int = 7, **settings: object) -> list:
    """Return ids and scores."""
    parameters = SearchParameters(**settings)  # type: ignore[arg-type]
    return [
        [(hit.document_id, hit.score) for hit in hits]
        for hits in index.search(queries, k, parameters=parameters)
    ]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    parts=st.integers(1, 12),
    k=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_ranks_as_float_maxsim(lengths: list[int], parts: int, k: int, seed: int) -> None:
    """In memory, in any number of parts: many are merged."""
    rng = np.random.default_rng(seed)
    documents = documents_of(rng, lengths, DIM)
    index = Index(DIM, config=IndexConfig(dim=DIM, codes="int8"), threads=1)
    bounds = np.linspace(0, len(documents), parts + 1).astype(int)
    for begin, end in zip(bounds, bounds[1:], strict=False):
        index.add([str(n) for n in range(begin, end)], documents[begin:end])
        index.commit()
    query = unit_rows(rng, 5, DIM)
    exact = maxsim_pairwise(query, documents)
    hits = index.search([query], k)[0]
    assert len(hits) == min(k, sum(length > 0 for length in lengths))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert hit.score == pytest.approx(exact[int(hit.document_id)], abs=0.05)
    if hits:
        assert hits[0].score >= exact.max() - 0.05


def test_ties_keep_the_order_of_insertion(rng: np.random.Generator) -> None:
    document = unit_rows(rng, 4, DIM)
    index = Index(DIM)
    for start in range(0, 30, 5):
        index.add([str(n) for n in range(start, start + 5)], [document] * 5)
        index.commit()
    hits = index.search([document], 30)[0]
    assert [hit.document_id for hit in hits] == [str(n) for n in range(30)]


def test_saved_equals_in_memory(rng: np.random.Generator, tmp_path: Path) -> None:
    index = make(rng)
    queries = [unit_rows(rng, n, DIM) for n in (1, 8, 33)]
    wanted = index.search(queries, 10)
    index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as loaded:
        assert loaded.search(queries, 10) == wanted
        assert list(loaded) == list(index)
        assert len(loaded) == len(index) == 50
        assert loaded.get("d3").metadata == {"n": 3}
        assert "d3" in loaded and "x" not in loaded and 3 not in loaded


def test_one_batch_equals_many(rng: np.random.Generator) -> None:
    index = make(rng)
    queries = [unit_rows(rng, 6, DIM) for _ in range(12)]
    assert index.search(queries, 5) == [index.search([query], 5)[0] for query in queries]


def test_commits_append_and_survive_reopening(rng: np.random.Generator, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    everything = documents_of(rng, [5] * 30, DIM)
    config = IndexConfig(dim=DIM, codes="int8")
    memory = Index(DIM, config=config)
    memory.add([str(n) for n in range(30)], everything)
    with Index.create(folder, config) as index:
        index.add([str(n) for n in range(10)], everything[:10])
        query = [unit_rows(rng, 4, DIM)]
        assert index.search(query, 5) == [[]]  # not committed yet
        index.commit()
        index.commit()  # nothing pending: no new generation
    for start in (10, 20):
        with Index.load(folder, writable=True) as index:
            index.add([str(n) for n in range(start, start + 10)], everything[start : start + 10])
            index.commit()
    with Index.load(folder) as index:
        found, wanted = results(index, query)[0], results(memory, query)[0]
        assert [hit[0] for hit in found] == [hit[0] for hit in wanted]
        assert [hit[1] for hit in found] == pytest.approx([hit[1] for hit in wanted], abs=0.02)
        assert index.info().segments == 3 and Manifest.load(folder).generation == 3


@pytest.mark.parametrize("codes", ["int8", "int4", "int2", "int1"])
def test_approximate_search_finds_the_exact_answers(
    codes: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    """The gate of this lossy step: recall of the first 10 against exact search."""
    config = IndexConfig(dim=48, codes=codes, inverted_file="always")
    index = Index(48, config=config, threads=2)
    documents = cone_documents(rng, [20] * 3000, 48, topics=400)
    index.add([str(n) for n in range(3000)], documents)
    index.save(tmp_path / "index")
    queries = cone_documents(rng, [8] * 40, 48, topics=400)
    with Index.load(tmp_path / "index") as loaded:
        assert loaded.info().bytes["inverted file"] > 0
        exact = results(loaded, queries, 10, mode="exact")
        found = results(loaded, queries, 10, mode="approximate", candidates=500)
        some = results(loaded, queries, 10, mode="approximate", candidates=500, query_tokens=5)
        narrow = results(loaded, queries, 10, mode="approximate", lookups=1, candidates=10)
        assert results(index, queries, 10, mode="approximate", candidates=500) == found
    assert recall(exact, found) >= 0.99
    assert recall(exact, some) >= 0.9
    assert 0.2 < recall(exact, narrow) < 0.99
    assert all(len(hits) == 10 for hits in narrow)
    for a, b in zip(exact, found, strict=True):
        scores = dict(a)
        assert all(score == scores[i] for i, score in b if i in scores)


def recall(exact: list, found: list) -> float:
    """Return the mean share of the exact hits that was found."""
    shares = [
        len({i for i, _ in a} & {i for i, _ in b}) / len(a)
        for a, b in zip(exact, found, strict=True)
    ]
    return float(np.mean(shares))


def test_auto_approximates_only_where_it_saves_work(rng: np.random.Generator) -> None:
    index = make(rng, 300, inverted_file="always")
    index.search([unit_rows(rng, 3, DIM)])
    few, many = SearchParameters(candidates=10), SearchParameters(candidates=10_000)
    search = search_of(index, few)
    assert not search.approximates(10)  # 300 documents are scored faster than looked up
    assert not search_of(index, many).approximates(10)
    assert search_of(index, SearchParameters(mode="approximate", candidates=10)).approximates(10)
    # Of so few documents all are scored: no more than would be candidates.
    assert not search_of(index, SearchParameters(mode="approximate")).approximates(10)
    assert search_of(index, SearchParameters()).candidates(10) > 5000  # of 15 token vectors
    assert search.candidates(30) == 30
    long = Index(DIM, config=IndexConfig(dim=DIM, inverted_file="always"))
    long.add([str(n) for n in range(200)], [unit_rows(rng, 1500, DIM) for _ in range(200)])
    long.search([unit_rows(rng, 3, DIM)])
    search = search_of(long, few)
    assert search_of(long, SearchParameters()).candidates(10) == 512
    assert search.approximates(10)
    assert not search.approximates(200)
    assert not search_of(long, many).approximates(10)


def search_of(index: Index, parameters: SearchParameters) -> SegmentSearch:
    """Return the search over the only segment of an index."""
    (segment,) = index.snapshot.segments
    return SegmentSearch(segment, segment.alive, parameters)


def test_the_same_documents_give_the_same_files(rng: np.random.Generator, tmp_path: Path) -> None:
    documents = cone_documents(rng, [30] * 200, DIM)
    for name, threads in (("a", 1), ("b", 3)):
        config = IndexConfig(dim=DIM, inverted_file="always")
        with Index.create(tmp_path / name, config, threads=threads) as index:
            for start in range(0, 200, 50):
                ids = [str(n) for n in range(start, start + 50)]
                index.add(ids, documents[start : start + 50])
            index.commit()
    for a, b in zip(files_of(tmp_path / "a"), files_of(tmp_path / "b"), strict=True):
        if a.name not in ("manifest.json", "documents.sqlite"):
            assert a.read_bytes() == b.read_bytes(), a.name


def test_subset_is_searched_whole(rng: np.random.Generator, tmp_path: Path) -> None:
    """Never under-filled, exact whatever the mode, over several segments."""
    documents = cone_documents(rng, [6] * 90, DIM)
    with Index.create(tmp_path / "index", IndexConfig(dim=DIM, inverted_file="always")) as index:
        for start in range(0, 90, 30):
            ids = [str(n) for n in range(start, start + 30)]
            index.add(ids, documents[start : start + 30])
            index.commit()
        query = cone_documents(rng, [5], DIM)
        everything = results(index, query, 90)[0]
        chosen = [str(n) for n in rng.permutation(90)[:25]]
        parameters = SearchParameters(mode="approximate", lookups=1, candidates=1)
        hits = index.search(query, 20, subset=iter(chosen), parameters=parameters)[0]
        wanted = [item for item in everything if item[0] in chosen][:20]
        assert [(hit.document_id, hit.score) for hit in hits] == wanted
        assert index.search(query, 5, subset=[]) == [[]]
        assert len(index.search(query, 50, subset=chosen + chosen)[0]) == 25
        with pytest.raises(DocumentNotFoundError, match="'nowhere' and 1 other"):
            index.search(query, subset=["1", "nowhere", "elsewhere"])
        with pytest.raises(InvalidInputError, match="one string"):
            index.search(query, subset="12")


def test_query_tokens_that_are_alike_may_count_together(rng: np.random.Generator) -> None:
    index = make(rng, 60)
    query = unit_rows(rng, 4, DIM)
    doubled = np.concatenate([query, query[1:3]])
    plain = results(index, [doubled], 60)[0]
    merged = results(index, [doubled], 60, query_tolerance=1e-6)[0]
    assert [i for i, _ in merged] == [i for i, _ in plain]
    assert [s for _, s in merged] == pytest.approx([s for _, s in plain], abs=1e-5)
    coarse = results(index, [doubled], 60, query_tolerance=2.0)[0]  # all count as the first
    alone = dict(results(index, [query[:1]], 60)[0])
    assert coarse[0][1] == pytest.approx(6 * alone[coarse[0][0]], abs=1e-4)


def test_one_codec_serves_an_index_until_much_more_comes(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, IndexConfig(dim=DIM)) as index:
        for name, count in (("a", 2), ("b", 3), ("c", 200), ("d", 300)):
            documents = cone_documents(rng, [40] * count, DIM)
            index.add([f"{name}{n}" for n in range(count)], documents)
            index.commit()
        first, second, third, fourth = (segment.rows.codec for segment in index.snapshot.segments)
        assert first.same_as(second) and not first.same_as(third) and third.same_as(fourth)
        query = cone_documents(rng, [5], DIM)
        before = index.search(query, 10)[0]
        index.save(tmp_path / "merged")
    with Index.load(tmp_path / "merged") as merged:
        assert merged.info().segments == 1 and len(merged) == 505
        after = merged.search(query, 10)[0]
        assert len({h.document_id for h in before} & {h.document_id for h in after}) >= 9


def test_info_splits_the_bytes(rng: np.random.Generator, tmp_path: Path) -> None:
    index = make(rng, 500, codes="int4", inverted_file="always")
    tokens = index.info().tokens
    index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as loaded:
        info = loaded.info()
    on_disk = sum(path.stat().st_size for path in (tmp_path / "index" / "segments").rglob("*.*"))
    assert sum(info.bytes.values()) == on_disk
    assert info.tokens == tokens and info.codes == "int4"
    assert info.bytes["vectors"] < tokens * (DIM / 2 + 2) * 1.2 + 2000
    assert info.bytes["ids"] == 2 * sum(len(f"d{n}") for n in range(500))
    assert info.memory < info.bytes["vectors"]


def test_bad_arguments_change_nothing(rng: np.random.Generator) -> None:
    index = make(rng, 5)
    good = unit_rows(rng, 3, DIM)
    bad = [
        (["d1"], [good], DuplicateIdError), (["x", "x"], [good] * 2, DuplicateIdError),
        (["x"], [], InvalidInputError), (["x", "y"], [good, good[:, 1:]], InvalidInputError),
        ([""], [good], InvalidInputError), ([3], [good], InvalidInputError),
        ("xy", [good] * 2, InvalidInputError), (["x"], [good * np.nan], InvalidInputError),
    ]  # fmt: skip
    for ids, embeddings, error in bad:
        with pytest.raises(error):
            index.add(ids, embeddings)
        assert len(index) == 5
    with pytest.raises(InvalidInputError, match="texts must be a list of 1"):
        index.add(["x"], [good], texts=[])
    for columns in ({"metadata": {"a": 1}}, {"texts": {"x"}}, {"titles": "x"}):
        with pytest.raises(InvalidInputError, match=f"{next(iter(columns))} must be a list of 1"):
            index.add(["x"], [good], **columns)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="k must"):
        index.search([good], 0)
    with pytest.raises(InvalidInputError, match=r"must be SearchParameters\(\.\.\.\), got dict"):
        index.search([good], parameters={"mode": "exact"})  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="list of arrays"):
        index.search(good)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=f", {DIM}"):
        index.search([good[:, 1:]])
    with pytest.raises(DocumentNotFoundError, match="no document 'zzz'"):
        index.get("zzz")


def test_empty_things(rng: np.random.Generator, tmp_path: Path) -> None:
    index = Index(DIM)
    query = unit_rows(rng, 3, DIM)
    assert index.search([query]) == [[]] and index.search([]) == []
    index.save(tmp_path / "empty")
    with Index.load(tmp_path / "empty") as loaded:
        assert len(loaded) == 0 and loaded.search([query]) == [[]]
    index.add(["none"], [query[:0]])
    assert index.search([query]) == [[]] and index.search([query[:0]]) == [[]]
    index.save(tmp_path / "one")
    with Index.load(tmp_path / "one") as loaded:
        assert "none" in loaded and loaded.search([query]) == [[]]


def test_folders_are_not_overwritten(rng: np.random.Generator, tmp_path: Path) -> None:
    index = make(rng, 5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    with pytest.raises(IndexExistsError):
        index.save(tmp_path / "other")
    with pytest.raises(IndexExistsError):
        Index.create(tmp_path / "other", index.config)
    with pytest.raises(IndexNotFoundError, match=r"manifest\.json"):
        Index.load(tmp_path / "nothing")
    index.save(tmp_path / "index")
    smaller = make(rng, 2)
    smaller.save(tmp_path / "index")  # an index is replaced
    with Index.load(tmp_path / "index") as loaded:
        assert len(loaded) == 2
        with pytest.raises(IndexConflictError, match="read-only"):
            loaded.add(["x"], [unit_rows(rng, 2, DIM)])
        with pytest.raises(IndexConflictError, match="commit"):
            loaded.save(tmp_path / "index")
    assert len(list((tmp_path / "index" / "segments").iterdir())) == 1


def test_a_second_writer_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    make(rng, 5).save(tmp_path / "index")
    first = Index.load(tmp_path / "index", writable=True)
    with pytest.raises(IndexLockedError, match=f"process {os.getpid()} on .*, since 20"):
        Index.load(tmp_path / "index", writable=True)
    with pytest.raises(IndexLockedError):
        make(rng, 2).save(tmp_path / "index")
    first.add(["a"], [unit_rows(rng, 2, DIM)])
    first.commit()
    first.close()
    with Index.load(tmp_path / "index", writable=True) as second:
        assert "a" in second


def test_a_reader_does_not_follow_into_an_index_of_another_width(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    make(rng, 5).save(tmp_path / "index")
    with Index.load(tmp_path / "index") as reader:
        Index(8).save(tmp_path / "index")
        for _ in range(2):
            with pytest.raises(IndexConflictError, match="open it again"):
                reader.refresh()
            assert len(reader.search([unit_rows(rng, 2, DIM)])[0]) > 0


def test_a_writer_past_the_lock_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    """Some network file systems do not lock; what has changed on disk is still seen."""
    make(rng, 5).save(tmp_path / "index")
    first = Index.load(tmp_path / "index", writable=True)
    shutil.move(tmp_path / "index" / "writer.lock", tmp_path / "stolen")
    second = Index.load(tmp_path / "index", writable=True)
    first.add(["a"], [unit_rows(rng, 2, DIM)])
    second.add(["b"], [unit_rows(rng, 2, DIM)])
    first.commit()
    with pytest.raises(IndexConflictError, match="another writer"):
        second.commit()
    assert "b" in second
    first.close()
    second.close()
    with Index.load(tmp_path / "index") as loaded:
        assert "a" in loaded and "b" not in loaded


def test_a_writer_of_an_index_that_was_made_anew_is_refused(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    """Its lock went with the old folder, and both count their commits from one."""
    make(rng, 5).save(tmp_path / "index")
    stale = Index.load(tmp_path / "index", writable=True)
    stale.add(["a"], [unit_rows(rng, 2, DIM)])
    shutil.rmtree(tmp_path / "index")
    make(rng, 3).save(tmp_path / "index")
    assert Manifest.load(tmp_path / "index").generation == stale.generation
    with pytest.raises(IndexConflictError, match="made again"):
        stale.commit()
    stale.close()
    assert not check_index(tmp_path / "index")
    with Index.load(tmp_path / "index") as loaded:
        assert len(loaded) == 3


@pytest.mark.parametrize("step", ["write", "manifest"])
def test_failed_commits_leave_the_last_one(
    step: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(rng, 5).save(tmp_path / "index")
    index = Index.load(tmp_path / "index", writable=True)
    index.add(["new"], [unit_rows(rng, 2, DIM)])

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "manifest":
            patch.setattr(Manifest, "save", full)
        else:
            patch.setattr(Segment, step, full)
        with pytest.raises(OSError, match="No space"):
            index.commit()
    with Index.load(tmp_path / "index", verify=True) as loaded:
        assert len(loaded) == 5
    assert len(list((tmp_path / "index" / "segments").iterdir())) == 1
    index.commit()  # what was added is still there
    index.close()
    with Index.load(tmp_path / "index") as loaded:
        assert len(loaded) == 6


@pytest.fixture
def folder(rng: np.random.Generator, tmp_path: Path) -> Path:
    """A saved index with an inverted file, to damage."""
    make(rng, 40, inverted_file="always").save(tmp_path / "index")
    return tmp_path / "index"


def files_of(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if path.name != "writer.lock"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty", "grow"])
def test_every_damaged_file_is_found(folder: Path, damage: str) -> None:
    files = files_of(folder)
    assert len(files) == 10, files
    for path in files:
        data = path.read_bytes()
        if damage == "remove":
            path.unlink()
        elif damage == "flip":
            changed = bytearray(data)
            changed[len(data) // 2] ^= 4
            path.write_bytes(changed)
        else:
            path.write_bytes({"truncate": data[:-5], "empty": b"", "grow": data + b"x"}[damage])
        with pytest.raises(
            IndexFolderError, match="manifest" if path.parent == folder else path.name
        ):
            Index.load(folder)
        path.write_bytes(data)
    Index.load(folder).close()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": [1]}, {"version": 0}, {"version": True}, {"version": None},
        {"format": "other"}, {"generation": -1}, {"generation": "1"},
        {"config": {}}, {"segments": [{}]}, {"segments": None},
    ],
)  # fmt: skip
def test_hostile_manifests_are_one_error(folder: Path, change: dict) -> None:
    """A hostile index can have a right checksum; what it says is then still checked."""
    from pocket_colbert.storage import manifest

    path = folder / "manifest.json"
    body = json.loads(path.read_text()) | change
    del body["checksum"]
    path.write_text(json.dumps(body | {"checksum": manifest._checksum(body)}))
    with pytest.raises(IndexFormatError):
        Index.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../outside"), ("name", "000001-zzzzzzzz"), ("num_documents", 2**60),
        ("num_documents", 41), ("num_tokens", 2**40), ("num_tokens", -1), ("files", {}),
    ],
)  # fmt: skip
def test_hostile_segments_are_one_error(folder: Path, key: str, value: object) -> None:
    from pocket_colbert.storage import manifest

    path = folder / "manifest.json"
    body = json.loads(path.read_text())
    del body["checksum"]
    body["segments"][0][key] = value
    path.write_text(json.dumps(body | {"checksum": manifest._checksum(body)}))
    with pytest.raises(IndexFormatError):
        Index.load(folder)


def test_large_codes_are_verified_when_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocket_colbert.storage.segment.VERIFY_LIMIT", 10)
    monkeypatch.setattr("pocket_colbert.storage.segment._ALWAYS_VERIFIED", 10)
    path = next(folder.rglob("codes.u8"))
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    Index.load(folder).close()
    with pytest.raises(IndexFormatError, match="codes"):
        Index.load(folder, verify=True)


def test_lists_that_name_no_document_are_one_error(
    folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are not read when an index is opened; a hostile one is met when it is used."""
    from pocket_colbert.storage import segment

    path = next(folder.rglob("lists.bin"))
    path.write_bytes(b"\xff" * path.stat().st_size)
    monkeypatch.setattr(segment, "VERIFY_LIMIT", 10)
    monkeypatch.setattr(segment, "_ALWAYS_VERIFIED", 10)
    with Index.load(folder) as index, pytest.raises(IndexFormatError, match="inverted file"):
        index.search(
            [unit_rows(rng, 3, DIM)], parameters=SearchParameters(mode="approximate", candidates=2)
        )


@pytest.mark.parametrize("kind", ["memory", "folder", "writable", "joined"])
def test_a_closed_index_says_so(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    index: Index | MultiIndex = make(rng, 5)
    if isinstance(index, Index) and kind != "memory":
        index.save(tmp_path / "index")
        index = Index.load(tmp_path / "index", writable=kind == "writable")
    if kind == "joined":
        index.close()
        index = MultiIndex.load([tmp_path / "index"])
    with index:
        assert len(index) == 5 and not index.closed
    index.close()  # a second time does nothing
    assert index.closed and "closed" in repr(index)
    calls: list[Callable[[], object]] = [
        lambda: index.search([unit_rows(rng, 2, DIM)]), lambda: len(index), lambda: list(index),
        lambda: "d1" in index, lambda: index.get("d1"), lambda: index.passages("d1"),
        lambda: index.snapshot,
    ]  # fmt: skip
    if isinstance(index, Index):
        one = ["x"], [unit_rows(rng, 2, DIM)]
        closed = index
        calls += [closed.commit, closed.compact, closed.info, lambda: closed.delete(["d1"]),
                  lambda: closed.save(tmp_path / "copy"), lambda: closed.add(*one),
                  lambda: closed.upsert(*one), lambda: closed.change_source("a", "b"),
                  closed.refresh]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_an_emptied_index_can_be_compacted(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", IndexConfig(dim=DIM), threads=1) as index:
        index.compact()
        index.add(["a"], [np.eye(1, DIM, dtype=np.float32)])
        index.commit()
        index.delete(["a"])
        index.compact()
        assert len(index) == 0
