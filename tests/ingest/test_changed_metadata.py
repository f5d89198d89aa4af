"""Documents whose metadata changes its kind are brought up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.ingest.incremental import sync


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), ([1], [True])])
def test_metadata_that_changes_its_kind_is_updated(
    tiny_model: Path, tmp_path: Path, one: object, other: object
) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(tmp_path / "index", config, threads=1) as index:
        retriever = Retriever(encoder, index)
        for value, changed in ((one, 0), (one, 0), (other, 1)):
            document = Document("a", "words", metadata={"n": value}, source="file")
            report = sync(retriever, [document], ["file"])
            assert report.changed == changed
            assert repr(index.get("a").metadata["n"]) == repr(value)
