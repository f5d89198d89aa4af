"""Sections: what a document keeps of its headings, and which of them a passage stands under."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import (
    Document,
    EncodedDocument,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Passage,
    Retriever,
    SearchParameters,
    Section,
)
from pocket_colbert.sections import headings_of, sections_from_json, sections_to_json


@pytest.fixture(scope="module")
def tiny_encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model)


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


PAGE = (
    "Preface of the handbook.\n\n"
    "Packages\n\n"
    "Source packages\nA source package is built into one or more binary packages.\n\n"
    "Control files\n" + "Every field of a control file has a name and a value. " * 12 + "\n\n"
    "Last"
)
PATHS = {
    "Packages": ("Packages",),
    "Source packages": ("Packages", "Source packages"),
    "Control files": ("Packages", "Control files"),
    "Last": ("Last",),
}
DOCUMENT = Document(
    "page", PAGE, "Handbook",
    sections=tuple(Section(PAGE.index(f"\n{name}") + 1, path) for name, path in PATHS.items()),
)  # fmt: skip


def test_passages_stay_within_sections_and_are_encoded_with_their_headings(
    tiny_encoder: Encoder,
) -> None:
    (passages,) = tiny_encoder.encode_passages(
        [PAGE], titles=["Handbook"], sections=[DOCUMENT.sections]
    )
    found = [
        (PAGE[part.start : part.end].split("\n")[0], headings_of(DOCUMENT.sections, *span))
        for part in passages
        for span in [(part.start, part.end)]
    ]
    # A heading alone is joined with what follows; the last one, with what it follows.
    assert found[0] == ("Preface of the handbook.", ())
    assert found[1] == ("Packages", ("Packages",))
    assert ("Control files", PATHS["Control files"]) in found
    for part in passages:
        headings = headings_of(DOCUMENT.sections, part.start, part.end)
        context = tiny_encoder.context("Handbook", headings)
        whole = f"{context} {PAGE[part.start : part.end]}"
        np.testing.assert_array_equal(part.embedding, tiny_encoder.encode_document([whole])[0])
    assert tiny_encoder.truncated == 0
    words = "".join(PAGE[part.start : part.end] for part in passages)
    assert "Last" in words and PAGE[: passages[0].end].strip() == "Preface of the handbook."


def test_a_context_takes_at_most_a_quarter_of_the_window(tiny_encoder: Encoder) -> None:
    assert tiny_encoder.context("T", ()) == "T"
    assert tiny_encoder.context("T", ("T", "A", "B")) == "T A > B"
    assert tiny_encoder.context(None, ("A",)) == "A"
    room = len(tiny_encoder.document_tokens("a " * 1000)) // 4
    long = "a " * 1000
    assert tiny_encoder.context("T", (long, "B")) == "T B"
    assert tiny_encoder.context(long, (long, "B")) == "B"
    assert 0 < len(tiny_encoder.context(long, (long,)).split()) <= room
    assert 0 < len(tiny_encoder.context(long, ()).split()) <= room


def test_hits_say_under_which_headings_their_passages_stand(tiny_encoder: Encoder) -> None:
    index = Index(tiny_encoder.dim)
    retriever = Retriever(tiny_encoder, index)
    retriever.add([DOCUMENT, Document("plain", "A text without sections.")])
    parameters = SearchParameters(passages=99)
    hits = retriever.retrieve(["control file"], 2, parameters=parameters)[0]
    headings = {hit.document_id: {part.headings for part in hit.passages} for hit in hits}
    assert headings["plain"] == {()}
    assert headings["page"] <= {(), *PATHS.values()} and len(headings["page"]) > 1
    stored = {part.start: part.embedding for part in index.passages("page")}
    for hit, passage in zip(hits, retriever.matched_passages(hits), strict=True):
        assert len(passage.tokens) == len(passage.embedding)
        if hit.document_id == "page":  # as it is stored, not encoded again
            np.testing.assert_array_equal(passage.embedding, stored[passage.start])


def test_keywords_find_passages_by_their_headings(tiny_encoder: Encoder) -> None:
    index = Index(tiny_encoder.dim)
    text = "One\nwords\nTwo\nother words"
    sections = (Section(0, ("Zebras", "One")), Section(10, ("Giraffes", "Two")))
    vectors = np.eye(1, tiny_encoder.dim, dtype=np.float32)
    document = Document("a", text, sections=sections)
    index.add_documents([EncodedDocument(document, [Passage(0, 9, vectors)])])
    words = SearchParameters(hybrid="keywords")
    for word, found in (("zebras", 1), ("giraffes", 0)):
        assert len(index.search([vectors], parameters=words, texts=[word])[0]) == found
