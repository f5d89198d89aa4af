"""The questions over documentation: well formed, and about pages that the script fetches."""

from __future__ import annotations

import json

from benchmarks.harness.documentation_pages import QUESTIONS, pages


def test_questions_are_well_formed() -> None:
    lines = (QUESTIONS / "documentation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = {page["name"] for page in pages()}
    assert len(rows) == len({row["question"] for row in rows}) == 190 and len(names) == 173
    for row in rows:
        assert set(row) == {"question", "document", "answers", "kind", "deep"}
        assert row["document"] in names and row["kind"] in ("prose", "table", "list", "code")
        assert 1 <= len(row["answers"]) <= 2
        for answer in row["answers"]:
            assert answer == " ".join(answer.split()) and 15 <= len(answer) <= 120
