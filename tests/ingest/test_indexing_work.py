"""How much work indexing takes: texts run once, and token vectors become codes in batches."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Encoder, index_files
from pocket_colbert.index import encoded_documents, prepared_documents
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.vectors.codec import Codec


def test_short_texts(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    count(Tokenizer, "_backend_encode")
    count(Session, "run")
    count(Codec, "encode_each")
    count(encoded_documents, "check_tokens")
    count(prepared_documents, "check_tokens")
    texts = tmp_path / "texts.jsonl"
    lines = (json.dumps({"_id": str(n), "text": f"Bees live on roof {n}."}) for n in range(300))
    texts.write_text("\n".join(lines))
    report = index_files([texts], tmp_path / "made.index", encoder=encoder)
    assert report.added == 300
    assert counts["run"] == 300
    assert 300 <= counts["_backend_encode"] <= 302  # and that of a document that says nothing
    assert counts["encode_each"] <= 4 and counts["check_tokens"] == 0
