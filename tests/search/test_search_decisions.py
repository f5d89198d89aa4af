"""What a search decides before it scores: how many candidates, and whether to look for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pocket_colbert import InvalidInputError, SearchParameters
from pocket_colbert.search import segment_search
from pocket_colbert.search.searcher import checked_parameters, checked_queries, query_texts_of
from pocket_colbert.search.segment_search import LOOKUP_TOKENS, SegmentSearch
from pocket_colbert.storage.inverted_file import default_candidates
from pocket_colbert.storage.passage_ranges import PassageRanges
from pocket_colbert.storage.selection import Selection
from pocket_colbert.vectors.codec import quantize_rows_int8


@dataclass
class Codec:
    """A codec of two planes."""

    planes: int = 2


@dataclass
class Rows:
    """Rows of codes."""

    codes: range
    codec: Codec


@dataclass
class Inverted:
    """An inverted file."""

    widening: int = 1


class Segment:
    """As much of a segment as decisions look at."""

    def __init__(self, counts: list[int], length: int, widening: int | None = 1) -> None:
        self.passages = PassageRanges.of_counts(np.array(counts, np.int32))
        self.num_documents = len(counts)
        total = len(self.passages) * length
        self.rows = Rows(range(total // 2), Codec())
        self.source = None if widening is None else Inverted(widening)


def search(segment: Segment, allowed: list[int] | None = None, **parameters: Any) -> SegmentSearch:
    size = segment.num_documents
    selection = Selection(size) if allowed is None else Selection.of(size, allowed)
    given: Any = segment
    return SegmentSearch(given, selection, SearchParameters(**parameters))


def test_default_candidates_grow_as_passages_get_shorter() -> None:
    assert default_candidates(300) == default_candidates(1e9) == 512
    full = next(length for length in range(1, 2000) if default_candidates(length) == 512)
    for length in (1, 10, full / 2):
        assert default_candidates(length) == round(512 * (full / length) ** 1.25)
    assert default_candidates(0) == default_candidates(0.5) == default_candidates(1)


def test_candidates_of_a_search() -> None:
    segment = Segment([1] * 100, 1000)
    assert search(segment).candidates(10) == 512 and search(segment).candidates(600) == 600
    assert search(segment, candidates=20).candidates(10) == 20
    assert search(segment, candidates=20).candidates(21) == 21
    wide = Segment([1] * 100, 1000, widening=4)
    assert search(wide, candidates=20).candidates(10) == 80
    assert search(Segment([1] * 100, 1000, widening=0), candidates=20).candidates(10) == 20
    assert search(Segment([1] * 100, 1000, widening=None), candidates=20).candidates(10) == 20
    # Of three passages a document, three times as many as documents.
    assert search(Segment([3] * 100, 1000), candidates=20).candidates(10) == 30
    assert search(Segment([1, 2] * 50, 1000), candidates=20).candidates(21) == 31


@pytest.mark.parametrize(("allowed", "fits"), [(5, True), (6, False), (0, True), (4, True)])
def test_all_are_scored_when_no_more_are_allowed(allowed: int, fits: bool) -> None:
    one = search(Segment([1] * 100, 10), list(range(allowed)), candidates=5)
    assert one._fit(one.candidates(1)) == fits
    several = search(Segment([2] * 100, 10), list(range(allowed)), candidates=10)
    assert several._fit(several.candidates(1)) == fits
    mixed = search(Segment([1] * 50 + [9] * 50, 10), [0, 60], candidates=9)
    assert not mixed._fit(9) and mixed._fit(10)


def test_when_the_inverted_file_is_used() -> None:
    large = [1] * 1000

    def approximates(segment: Segment, allowed: list[int] | None = None, **given: Any) -> bool:
        return search(segment, allowed, candidates=5, **given).approximates(3)

    assert approximates(Segment(large, 10), mode="approximate")
    assert not approximates(Segment(large, 10), mode="exact")
    assert not approximates(Segment(large, 10, widening=None), mode="approximate")
    assert not approximates(Segment(large, 10, widening=0), mode="approximate")
    assert not approximates(Segment(large, 10), [1, 2, 3], mode="approximate")
    assert approximates(Segment(large, 10), list(range(9)), mode="approximate")


def test_auto_looks_where_it_saves_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not scored, in token vectors, against what looking takes."""
    assert LOOKUP_TOKENS > 1000
    monkeypatch.setattr(segment_search, "LOOKUP_TOKENS", 800)
    segment = Segment([1] * 100, 10)  # 1000 token vectors

    def approximates(candidates: int, allowed: list[int] | None = None) -> bool:
        return search(segment, allowed, candidates=candidates, mode="auto").approximates(1)

    assert approximates(19) and not approximates(20) and not approximates(21)
    assert not approximates(10, list(range(90)))  # (90 - 10) * 10
    assert approximates(10, list(range(91)))
    assert not approximates(99) and not approximates(100) and not approximates(500)


def test_queries_are_a_list_of_arrays() -> None:
    rows = np.eye(2, 4, dtype=np.float32)
    assert len(checked_queries([rows, rows[:0]], 1, 4)) == 2
    stacked: Any = np.stack([rows, rows, rows])
    assert [query.shape for query in checked_queries(stacked, 1, 4)] == [(2, 4)] * 3
    assert checked_queries([], 1, 4) == []
    one: Any = rows
    with pytest.raises(InvalidInputError, match="must be a list of arrays, got one array"):
        checked_queries(one, 1, 4)
    wrong: list[Any] = [rows[0], rows[:, :3], "text", [[np.nan] * 4], rows.astype(complex)]
    for query in wrong:
        with pytest.raises(InvalidInputError, match="query embedding must be"):
            checked_queries([rows, query], 1, 4)
    for k in (0, -1, True, 1.0, "1", None):
        with pytest.raises(InvalidInputError, match="k must be"):
            checked_queries([rows], k, 4)  # type: ignore[arg-type]


def test_parameters_are_of_their_class() -> None:
    given = SearchParameters(mode="exact")
    assert checked_parameters(given) is given
    assert checked_parameters(None) == SearchParameters()
    wrong: list[Any] = [{}, {"mode": "exact"}, "exact", 3, False]
    for value in wrong:
        with pytest.raises(InvalidInputError, match="parameters must be SearchParameters"):
            checked_parameters(value)


def test_texts_are_needed_for_words_alone() -> None:
    off, rrf = SearchParameters(), SearchParameters(hybrid="rrf")
    assert query_texts_of(None, 2, off, "none") == ["", ""]
    assert query_texts_of(["a"], 2, off, "none") == ["", ""]
    assert query_texts_of(["a", ""], 2, rrf, "english") == ["a", ""]
    assert query_texts_of((t for t in "ab"), 2, rrf, "english") == ["a", "b"]  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="needs an index with keywords"):
        query_texts_of(["a"], 1, rrf, "none")
    wrong: list[Any] = [None, "a", "ab", [], ["a"], ["a", "b", "c"], ["a", 1], ["a", None]]
    for texts in wrong:
        with pytest.raises(InvalidInputError, match="texts of the 2 queries"):
            query_texts_of(texts, 2, rrf, "english")


def test_rows_become_whole_numbers_and_a_scale() -> None:
    rows = np.array([[0, 0], [0.5, -1.0], [254, 1], [-0.1, 0.1]], np.float32)
    codes, scales = quantize_rows_int8(rows)
    assert codes.tolist() == [[0, 0], [64, -127], [127, 0], [-127, 127]]
    assert scales.tolist() == pytest.approx([1, 1 / 127, 2, 0.1 / 127])
    assert codes.dtype == np.int8 and scales.dtype == np.float32
    codes, scales = quantize_rows_int8(np.empty((0, 3), np.float32))
    assert codes.shape == (0, 3) and scales.shape == (0,)
