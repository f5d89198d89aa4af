"""When a document of a corpus is one that the index has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Document, Index, IndexConflictError
from pocket_colbert.backends.rows import digest_of
from pocket_colbert.distributed.collecting import _is_there
from pocket_colbert.types import EncodedDocument, Passage, Section

KNOWN = Document("a", "words", "title", {"n": 1}, "file", (Section(0, ("One",)),))
OTHERS: list[dict[str, Any]] = [
    {"metadata": {"n": True}},
    {"metadata": {"n": 1.0}},
    {"metadata": {"n": "1"}},
    {"metadata": {"n": [1]}},
    {"metadata": {}},
    {"text": "other words"},
    {"title": None},
    {"source": "another"},
    {"sections": ()},
]


def passage() -> Passage:
    return Passage(0, 5, np.eye(1, 4, dtype=np.float32))


def test_an_equal_document_is_there() -> None:
    with Index(dim=4) as index:
        index.add_documents([EncodedDocument(KNOWN, [passage()])])
        assert _is_there(index, KNOWN)
        assert not _is_there(index, replace(KNOWN, document_id="b"))


@pytest.mark.parametrize("change", OTHERS)
def test_a_document_that_differs_is_another(change: dict[str, Any]) -> None:
    other = replace(KNOWN, **change)
    with Index(dim=4) as index:
        index.add_documents([EncodedDocument(KNOWN, [passage()])])
        with pytest.raises(IndexConflictError, match="index of other documents, such as 'a'"):
            _is_there(index, other)
    assert digest_of(other, [passage()]) != digest_of(KNOWN, [passage()])


@pytest.mark.parametrize(
    "passages",
    [[], [Passage(0, 4, passage().embedding)], [Passage(1, 5, passage().embedding)],
     [Passage(0, 5, -passage().embedding)], [passage(), passage()],
     [Passage(0, 5, np.eye(2, 4, dtype=np.float32))]],
)  # fmt: skip
def test_other_passages_have_another_digest(passages: list[Passage]) -> None:
    assert digest_of(KNOWN, passages) != digest_of(KNOWN, [passage()])
    assert digest_of(KNOWN, [passage()]) == digest_of(replace(KNOWN), [passage()])
