"""A living index against a dict: adding, replacing, deleting, committing, compacting, reading."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pocket_colbert import (
    DocumentNotFoundError,
    DuplicateIdError,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Passage,
    SearchParameters,
)
from pocket_colbert.index.encoded_documents import Embedded
from pocket_colbert.storage.token_vectors import TokenVectors
from tests.support.arrays import unit_rows
from tests.support.brute_force import TOLERANCE, brute_force

pytestmark = pytest.mark.slow

DIM = 8
CONFIG = IndexConfig(dim=DIM, codes="int8", keywords="none")
EXACT = SearchParameters(mode="exact", passages=2)
RNG = np.random.default_rng(23)
EMBEDDINGS = [unit_rows(RNG, rows, DIM) for rows in (0, 1, 1, 2, 3, 5)]
QUERIES = [unit_rows(RNG, rows, DIM) for rows in (1, 2, 3)]
IDS = [
    "a", "A", "é", "e\u0301", "'; DROP TABLE documents; --", '"', "%", "_", "a\x00b", "a\nb", " ",
    "\U0010ffff", "x" * 10_000, "../a", "1",
]  # fmt: skip

unicode = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | unicode,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(unicode, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Given:
    """What a document is added with."""

    embedded: Embedded
    text: str | None = None
    title: str | None = None
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def parts(self) -> list[tuple[int, int, np.ndarray]]:
        """Return start, end and token vectors of each passage."""
        if isinstance(self.embedded, np.ndarray):
            return [(0, len(self.text or ""), self.embedded)]
        return [(item.start, item.end, item.embedding) for item in self.embedded]


@st.composite
def documents(draw: st.DrawFn) -> Given:
    """Return a document, of one passage or several."""
    text = draw(st.none() | unicode)
    embedded: Embedded = draw(st.sampled_from(EMBEDDINGS))
    if draw(st.booleans()):
        place = st.integers(0, len(text or ""))
        spans = draw(st.lists(st.tuples(place, place).map(sorted), min_size=1, max_size=4))
        embedded = [Passage(a, b, draw(st.sampled_from(EMBEDDINGS))) for a, b in spans]
    optional = st.none() | unicode
    metadata = st.dictionaries(unicode, json_values, max_size=2)
    return Given(embedded, text, draw(optional), draw(optional), draw(metadata))


def put(index: Index, given: Mapping[str, Given], *, replacing: bool = False) -> None:
    """Add or upsert documents."""
    values = list(given.values())
    (index.upsert if replacing else index.add)(
        list(given), [item.embedded for item in values],
        texts=[item.text for item in values], titles=[item.title for item in values],
        metadata=[item.metadata for item in values], sources=[item.source for item in values],
    )  # fmt: skip


def check_search(index: Index, expected: Sequence[str], query: np.ndarray) -> None:
    """Compare a search with brute force over the decoded token vectors of all documents."""
    hits = index.search([query], len(expected) + 1, parameters=EXACT)[0]
    stored = {document_id: index.passages(document_id) for document_id in expected}
    best = {name: brute_force(query, passages) for name, passages in stored.items()}
    assert {hit.document_id for hit in hits} == {n for n, s in best.items() if max(s) > -np.inf}
    place = {document_id: n for n, document_id in enumerate(expected)}
    assert hits == sorted(hits, key=lambda hit: (-hit.score, place[hit.document_id]))
    scores: dict[bytes, float] = {}
    for hit in hits:
        assert hit.score == pytest.approx(max(best[hit.document_id]), abs=TOLERANCE)
        shown = hit.passages
        assert hit.score == shown[0].score
        assert len(shown) == min(2, sum(score > -np.inf for score in best[hit.document_id]))
        pairs = zip(stored[hit.document_id], best[hit.document_id], strict=True)
        left = [(passage.start, passage.end, score) for passage, score in pairs]
        for passage in shown:
            nearest = next(
                item
                for item in left
                if item[:2] == (passage.start, passage.end)
                and item[2] == pytest.approx(passage.score, abs=TOLERANCE)
            )
            left.remove(nearest)
        assert all(score <= shown[-1].score + TOLERANCE for _, _, score in left)
        key = b"|".join(item.embedding.tobytes() for item in stored[hit.document_id])
        assert scores.setdefault(key, hit.score) == hit.score
    for k in (1, 3):
        assert index.search([query], k, parameters=EXACT)[0] == hits[:k]


def check_documents(index: Index, expected: Mapping[str, Given]) -> None:
    """Compare everything but token vectors with the model."""
    assert len(index) == len(expected)
    found = list(index)
    assert [item.document_id for item in found] == list(expected)
    for item, (document_id, given) in zip(found, expected.items(), strict=True):
        assert document_id in index and index.get(document_id) == item
        assert (item.text, item.title, item.source) == (given.text, given.title, given.source)
        assert json.dumps(item.metadata) == json.dumps(given.metadata)  # 1, 1.0 and true differ


class Living(RuleBasedStateMachine):
    """An index in memory, one in a folder and a reader of it, against three dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.memory = Index(DIM, config=CONFIG, threads=1)
        self.disk = Index.create(self.root / "index", CONFIG, threads=1)
        self.reader = Index.load(self.root / "index", threads=1)
        self.living: dict[str, Given] = {}
        self.committed: dict[str, Given] = {}
        self.seen: dict[str, Given] = {}

    ids = st.sampled_from(IDS) | unicode.filter(bool)
    many = st.dictionaries(ids, documents(), min_size=1, max_size=4)

    @initialize(given=many)
    def begin(self, given: dict[str, Given]) -> None:
        self.upsert(given)
        self.commit()

    @rule(given=many)
    def add(self, given: dict[str, Given]) -> None:
        for index in (self.memory, self.disk):
            if given.keys() & self.living.keys():
                with pytest.raises(DuplicateIdError):
                    put(index, given)
            else:
                put(index, given)
        if not given.keys() & self.living.keys():
            self.living.update(given)

    @rule(given=many)
    def upsert(self, given: dict[str, Given]) -> None:
        for index in (self.memory, self.disk):
            put(index, given, replacing=True)
        self.living = {k: v for k, v in self.living.items() if k not in given} | given

    @rule(gone=st.lists(ids, max_size=4), data=st.data())
    def delete(self, gone: list[str], data: st.DataObject) -> None:
        if self.living:
            gone = gone + data.draw(st.lists(st.sampled_from(list(self.living)), max_size=4))
        count = len(set(gone) & self.living.keys())
        assert self.memory.delete(gone) == self.disk.delete(iter(gone)) == count
        self.living = {k: v for k, v in self.living.items() if k not in gone}

    @rule()
    def commit(self) -> None:
        before = self.disk.generation
        self.memory.commit()
        self.disk.commit()
        assert self.disk.generation - before in (0, 1)
        self.committed = dict(self.living)

    @rule(tokens=st.sampled_from([1, 4, 12, 10**6]))
    def compact(self, tokens: int) -> None:
        for index in (self.memory, self.disk):
            index.compact(tokens)
            assert index.info().deleted == 0
            generation, segments = index.generation, index.info().segments
            index.compact(tokens)
            assert (index.generation, index.info().segments) == (generation, segments)
        self.committed = dict(self.living)

    @rule()
    def commit_for_long(self) -> None:
        for index in (self.memory, self.disk):
            index.commit(last=True)
            assert index.info().segments <= 1 and not index.uncommitted
            generation = index.generation
            index.commit(last=True)
            assert index.generation == generation
        self.committed = dict(self.living)

    @rule()
    def reopen(self) -> None:
        self.commit()
        self.disk.close()
        self.disk = Index.load(self.root / "index", writable=True, threads=1)

    @rule()
    def refresh(self) -> None:
        new = self.reader.generation != self.disk.generation
        assert self.reader.refresh() == new and not self.reader.refresh()
        assert not self.disk.refresh()
        self.seen = dict(self.committed)

    @rule(query=st.sampled_from(QUERIES))
    def search(self, query: np.ndarray) -> None:
        with Index.load(self.root / "index", verify=True, threads=1) as fresh:
            check_documents(fresh, self.committed)
            check_search(fresh, list(self.committed), query)
            assert self.disk.search([query], 5) == fresh.search([query], 5)
        check_search(self.reader, list(self.seen), query)
        self.memory.commit()
        check_search(self.memory, list(self.living), query)

    @invariant()
    def agrees(self) -> None:
        check_documents(self.memory, self.living)
        check_documents(self.disk, self.living)
        check_documents(self.reader, self.seen)
        assert "nowhere" not in self.disk and 3 not in self.disk
        info = self.disk.info()
        assert info.documents == len(self.living)

    def teardown(self) -> None:
        for index in (self.memory, self.disk, self.reader):
            index.close()
        shutil.rmtree(self.root)


TestLiving = Living.TestCase
TestLiving.settings = settings(max_examples=16, stateful_step_count=25, deadline=None)


def filled(index: Index, count: int, *, first: int = 0) -> list[str]:
    """Add and commit documents of two token vectors; return their ids."""
    ids = [f"d{n}" for n in range(first, first + count)]
    index.add(
        ids, [unit_rows(RNG, 2, DIM) for _ in ids],
        texts=[f"text of {name}" for name in ids], metadata=[{"name": name} for name in ids],
    )  # fmt: skip
    index.commit()
    return ids


@pytest.mark.parametrize("document_id", IDS)
def test_ids_are_any_texts(document_id: str, tmp_path: Path) -> None:
    embedding = EMBEDDINGS[3]
    with Index.create(tmp_path / "index", IndexConfig(dim=DIM)) as index:
        index.add([document_id, document_id + "x"], [embedding] * 2, texts=["one", "two"])
        index.commit()
        index.upsert([document_id], [embedding], texts=["three"])
        assert index.get(document_id).text == "three"
        index.commit()
        index.compact()
    with Index.load(tmp_path / "index", writable=True) as index:
        assert [item.document_id for item in index] == [document_id + "x", document_id]
        found = index.search([embedding], where={"$id": document_id}, subset=[document_id])[0]
        assert [(hit.document_id, hit.text) for hit in found] == [(document_id, "three")]
        assert index.delete([document_id]) == 1
        index.commit()
        assert document_id not in index and document_id + "x" in index


def nested(depth: int) -> dict[str, Any]:
    """Return objects and lists within each other."""
    value: Any = 1
    for level in range(depth - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("nan")}, {"a": float("inf")}, {"a": [1, float("-inf")]}, {"a": (1, 2)},
        {"a": {"b": ()}}, {1: "a"}, {None: "a"}, {"a": {True: 1}}, {"a": {1, 2}}, {"a": b"x"},
        {"a": np.float32(1)}, {"a": object()}, {"a": "\ud800"}, {"\udfff": 1}, {"a": 10**5000},
        {"a": "\ud83d\ude00"}, [], ["a"], "a", None, 3, nested(101), nested(3000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("replacing", [False, True])
def test_bad_metadata_changes_nothing(metadata: Any, replacing: bool) -> None:
    index = Index(DIM, threads=1)
    filled(index, 3)
    before = list(index), index.info()
    change = index.upsert if replacing else index.add
    for names in (["d0", "new"], ["new", "d0"]) if replacing else (["new", "newer"],):
        with pytest.raises(InvalidInputError, match="metadata of 'n?"):
            change(names, [EMBEDDINGS[1]] * 2, metadata=[{}, metadata])
        assert (list(index), index.info()) == before and "new" not in index


@pytest.mark.parametrize("what", ["texts", "titles", "sources"])
def test_texts_that_cannot_be_stored_change_nothing(what: str) -> None:
    index = Index(DIM, threads=1)
    filled(index, 2)
    for value in ("\ud800", 3, b"x"):
        with pytest.raises(InvalidInputError, match="of 'new' must be"):
            index.add(["new"], [EMBEDDINGS[1]], **{what: [value]})
    with pytest.raises(InvalidInputError, match="valid Unicode"):
        index.add(["\ud800"], [EMBEDDINGS[1]])
    assert len(index) == 2


def test_deep_metadata_comes_back() -> None:
    index = Index(DIM, threads=1)
    index.add(["a"], [EMBEDDINGS[1]], metadata=[nested(100)])
    index.commit()
    assert index.get("a").metadata == nested(100)


def test_ids_that_cannot_be_are_not_there() -> None:
    index = Index(DIM, threads=1)
    filled(index, 2)
    assert "\ud800" not in index and index.delete(["\ud800"]) == 0
    with pytest.raises(DocumentNotFoundError, match="no document"):
        index.get("\ud800")
    with pytest.raises(DocumentNotFoundError, match="must be in the index"):
        index.search([QUERIES[0]], subset=["d0", "\ud800"])
    with pytest.raises(InvalidInputError, match="one string"):
        index.delete("d0")
    for bad in ([""], [3], ["d0", None]):
        with pytest.raises(InvalidInputError, match="a document id must be a text"):
            index.delete(bad)  # type: ignore[arg-type]
    assert len(index) == 2


def test_deleting_never_renumbers(tmp_path: Path) -> None:
    """Scores and order of what remains are the same bits, and so are the segment's files."""
    with Index.create(tmp_path / "index", CONFIG) as index:
        ids = filled(index, 20) + filled(index, 20, first=20)
        before = index.search([QUERIES[2]], 40, parameters=EXACT)[0]
        files = {path: path.read_bytes() for path in (tmp_path / "index/segments").rglob("*.*")}
        gone = {ids[n] for n in (0, 7, 19, 20, 33)}
        assert index.delete(gone) == 5
        index.commit()
        after = index.search([QUERIES[2]], 40, parameters=EXACT)[0]
        assert after == [hit for hit in before if hit.document_id not in gone]
        assert all(path.read_bytes() == content for path, content in files.items())
        segments = index.snapshot.segments
        assert [s.documents.find(["d8"]) for s in segments] == [{"d8": 8}, {}]


def test_an_empty_index_compacts_to_itself() -> None:
    index = Index(dim=8)
    index.compact()
    index.add(["a"], [np.empty((0, 8), np.float32)])
    index.delete(["a"])
    index.compact(1)
    assert len(index) == 0


def test_info_counts_the_deleted_until_compact(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", IndexConfig(dim=DIM)) as index:
        ids = filled(index, 300)
        filled(index, 10, first=300)
        full = index.info()
        assert (full.documents, full.deleted, full.tokens, full.segments) == (310, 0, 620, 2)
        index.delete(ids[:250])
        pending = index.info()
        assert (pending.documents, pending.deleted, pending.tokens) == (60, 250, 620)
        index.commit()
        marked = index.info()
        assert (marked.documents, marked.deleted, marked.tokens) == (60, 250, 620)
        index.compact()
        small = index.info()
        assert (small.documents, small.deleted, small.tokens) == (60, 0, 120)
        assert small.passages == 60 and small.segments == 1
        for part in ("vectors", "offsets", "ids", "text"):
            assert small.bytes[part] < full.bytes[part], part
        generation = index.generation
        index.compact()
        assert index.generation == generation
        on_disk = [p.stat().st_size for p in (tmp_path / "index/segments").rglob("*.*")]
        assert sum(on_disk) == sum(small.bytes.values())
        index.delete(index_ids := [item.document_id for item in index])
        index.commit()
        assert len(index_ids) == 60 and index.info().segments == 0
        assert index.search([QUERIES[0]]) == [[]]


def test_closing_forgets_what_was_not_committed(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", CONFIG) as index:
        filled(index, 3)
        index.delete(["d0"])
        index.upsert(["d1", "new"], [EMBEDDINGS[3]] * 2, texts=["changed"] * 2)
        assert [item.document_id for item in index] == ["d2", "d1", "new"]
        with pytest.raises(DocumentNotFoundError, match="no document 'new'"):
            index.passages("new")
        found = index.search([QUERIES[0]])[0]
        assert {hit.document_id for hit in found} == {"d0", "d1", "d2"}
        assert all(hit.text == f"text of {hit.document_id}" for hit in found)
        index.close()
    with Index.load(tmp_path / "index") as index:
        assert [(item.document_id, item.text) for item in index] == [
            (f"d{n}", f"text of d{n}") for n in range(3)
        ]


def test_a_pending_document_that_is_deleted_was_never_there() -> None:
    index = Index(DIM, config=CONFIG, threads=1)
    filled(index, 2)
    index.add(["p", "q"], [EMBEDDINGS[4]] * 2)
    assert index.delete(["p", "p", "nowhere", "d0"]) == 2
    index.add(["p"], [EMBEDDINGS[3]], texts=["again"])
    index.upsert(["d0", "q"], [EMBEDDINGS[1]] * 2)
    assert [item.document_id for item in index] == ["d1", "p", "d0", "q"]
    index.commit()
    assert [item.document_id for item in index] == ["d1", "p", "d0", "q"]
    assert [len(index.passages(name)[0].embedding) for name in ("p", "d0", "q")] == [2, 1, 1]
    assert index.info().tokens == 4 + 4


def test_a_document_is_as_good_as_its_best_passage(tmp_path: Path) -> None:
    """Against float MaxSim, with distances far above what the codes lose."""
    query = unit_rows(RNG, 1, DIM)
    near, far = query.copy(), -query
    text = "first second third"
    with Index.create(tmp_path / "index", CONFIG) as index:
        index.add(
            ["parts", "whole", "none"],
            [
                [Passage(0, 5, far), Passage(6, 12, near), Passage(13, 18, near[:0])],
                (near + 0.5 * np.roll(near, 1)) / np.linalg.norm(near + 0.5 * np.roll(near, 1)),
                [Passage(0, 2, near[:0]), Passage(1, 3, near[:0])],
            ],
            texts=[text, "whole", "none"],
        )
        index.commit()
        hits = index.search([query], parameters=SearchParameters(passages=9))[0]
        assert [hit.document_id for hit in hits] == ["parts", "whole"]
        assert hits[0].score == pytest.approx(1.0, abs=TOLERANCE)
        found = [(text[p.start : p.end], round(p.score)) for p in hits[0].passages]
        assert found == [("second", 1), ("first", -1)]
        assert [(p.start, p.end) for p in hits[1].passages] == [(0, 5)]
        one = index.search([query], parameters=SearchParameters(passages=1))[0]
        assert [len(hit.passages) for hit in one] == [1, 1]
        assert [(p.start, p.end) for p in index.passages("none")] == [(0, 2), (1, 3)]


def test_what_is_added_is_copied() -> None:
    """A caller may go on and change its vectors and metadata."""
    index, metadata, vectors = Index(DIM), {"a": [1]}, unit_rows(RNG, 2, DIM)
    index.add(["x"], [vectors], metadata=[metadata])
    metadata["a"].append(2)
    vectors[:] = 0
    index.commit()
    assert index.get("x").metadata == {"a": [1]}
    assert np.linalg.norm(index.passages("x")[0].embedding, axis=1) == pytest.approx(
        [1, 1], abs=0.01
    )


def test_one_passage_keeps_its_span() -> None:
    index = Index(DIM)
    vectors = unit_rows(RNG, 2, DIM)
    index.add(["x"], [[Passage(2, 5, vectors)]], texts=["0123456789"])
    part = index.search([vectors])[0][0].passages[0]
    assert (part.start, part.end) == (2, 5)
    assert [(item.start, item.end) for item in index.passages("x")] == [(2, 5)]


def test_the_number_of_segments_does_not_grow_with_that_of_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder as in memory; and what is written grows little faster than what is added."""
    rng, written = np.random.default_rng(3), 0
    write = TokenVectors.write

    def counted(place: Path, codec: Any, parts: Any) -> Any:
        nonlocal written
        tokens, files = write(place, codec, parts)
        written += tokens
        return tokens, files

    monkeypatch.setattr(TokenVectors, "write", staticmethod(counted))
    memory, added = Index(DIM, config=CONFIG, threads=1), 0
    with Index.create(tmp_path / "index", CONFIG, threads=1) as disk:
        for number in range(300):
            count = int(rng.choice([1, 1, 1, 1, 30]))
            added += count
            for index in (memory, disk):
                index.add([f"d{number}"], [unit_rows(rng, count, DIM)], texts=[str(number)])
                index.commit()
                assert index.info().segments <= 8
        assert disk.generation == 300 and added < written < added * np.log2(added)
        for index in (memory, disk):
            assert [item.text for item in index] == [str(n) for n in range(300)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_many_segments_need_few_file_descriptors(tmp_path: Path) -> None:
    """An index of 100, as releases that did not merge made them, opens and becomes one."""
    import resource

    folders = [tmp_path / str(number) for number in range(100)]
    for number, folder in enumerate(folders):
        with Index.create(folder, CONFIG, threads=1) as index:
            index.add([f"d{number}"], [unit_rows(np.random.default_rng(number), 2, DIM)])
            index.commit()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/dev/fd"))
    with MultiIndex.load(folders, threads=1) as joined:
        joined.save(tmp_path / "many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 130, before[1]))
    try:
        with Index.load(tmp_path / "many", writable=True, threads=1) as index:
            assert index.info().segments == 100
            index.compact()
            assert index.info().segments == 1 and len(index) == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
