"""A byte order mark changes nothing: neither the first word nor how the first line is read."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Document
from pocket_colbert.ingest.readers import Reading, read_sources
from tests.support.files import base_files, write_files

TEXTS = {
    name: data
    for name, data in base_files().items()
    if data.isascii() and not name.endswith(".gz") and b"\0" not in data
}
# A mail is bytes, not text: what is before its first header is no header.
MAILS = {"mail.eml", "all.mbox"}


def described(folder: Path, name: str, data: bytes) -> list[Any]:
    """Return what the documents of a file hold, but for when it changed and its size."""
    write_files(folder, {name: data})
    found: list[Document] = list(read_sources([folder], folder.parent / "index", Reading()))
    return [
        (
            item.document_id, item.title, item.text, item.sections,
            {k: v for k, v in item.metadata.items() if k not in ("modified", "size")},
        )
        for item in found
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - MAILS))
def test_a_mark_changes_nothing(name: str, tmp_path: Path) -> None:
    plain = described(tmp_path / "plain" / "files", name, TEXTS[name])
    assert plain
    marked = described(tmp_path / "marked" / "files", name, codecs.BOM_UTF8 + TEXTS[name])
    assert marked == plain
    if name != "rows.jsonl":  # JSON lines are UTF-8
        wide = described(tmp_path / "wide" / "files", name, TEXTS[name].decode().encode("utf-16"))
        assert wide == plain
