"""Sections: what a document keeps of its headings, and which of them a passage stands under."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import (
    Document,
    EncodedDocument,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Passage,
    Section,
)
from pocket_colbert.sections import headings_of, sections_from_json, sections_to_json

TEXT = "Preface. Rules. More rules. End."
SECTIONS = (Section(9, ("Rules",)), Section(16, ("Rules", "More rules")), Section(28, ("End",)))


def add(index: Index, document: Document) -> None:
    vector = np.eye(1, index.dim, dtype=np.float32)
    index.add_documents([EncodedDocument(document, [Passage(0, len(TEXT), vector)])])


def test_sections_read_back_from_every_kind_of_index(tmp_path: Path) -> None:
    document = Document("a", TEXT, "T", sections=SECTIONS)
    with Index.create(tmp_path / "one", IndexConfig(dim=8)) as index:
        add(index, document)
        assert list(index) == [document]  # not committed yet
        index.commit()
    with MultiIndex.load([tmp_path / "one"]) as joined:
        assert list(joined) == [document]
        joined.save(tmp_path / "copy")
    with Index.load(tmp_path / "copy", writable=True) as index:
        add(index, Document("b", TEXT))
        index.commit()
        index.compact()
        assert [item.sections for item in index] == [SECTIONS, ()]


@pytest.mark.parametrize(
    "sections",
    [
        (Section(5, ("A",)), Section(5, ("B",))), (Section(-1, ("A",)),), (Section(99, ("A",)),),
        ((0, ("A",)),), (Section(0, "A"),), (Section(0, ("\ud800",)),), (Section(True, ("A",)),),
    ],
)  # fmt: skip
def test_sections_that_no_text_can_have_are_refused(sections: tuple[Section, ...]) -> None:
    with pytest.raises(InvalidInputError, match="sections of 'a' must"):
        add(Index(8), Document("a", TEXT, sections=sections))


@pytest.mark.parametrize(
    ("start", "end", "headings"),
    [
        (0, 8, ()), (9, 15, ("Rules",)), (16, 27, SECTIONS[1][1]),
        (9, 27, ("Rules",)), (0, 15, ()), (16, 32, ()), (28, 32, ("End",)),
        (20, 22, SECTIONS[1][1]),
    ],
)  # fmt: skip
def test_a_passage_stands_under_what_its_sections_share(
    start: int, end: int, headings: tuple[str, ...]
) -> None:
    assert headings_of(SECTIONS, start, end) == headings
    assert headings_of((), start, end) == ()


def test_sections_read_back_from_json() -> None:
    assert sections_from_json(sections_to_json(SECTIONS)) == SECTIONS
    for damaged in ({}, [1], [[1]], [["1", []]], [[1, "A"]], [[1, [2]]]):
        with pytest.raises(ValueError, match="must be"):
            sections_from_json(damaged)
