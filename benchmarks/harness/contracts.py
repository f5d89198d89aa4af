"""The contracts of LegalBench-RAG and the parts of them that answer questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pocket_colbert.ingest.json_lines import read_json_lines
from pocket_colbert.ingest.readers import read_documents

Part = tuple[int, int, int]
"""Number of a document, first character, and the one after the last."""


@dataclass(frozen=True)
class Contracts:
    """Documents and queries with the parts of documents that answer them."""

    ids: Sequence[str]
    texts: Sequence[str]
    queries: Sequence[str]
    answers: Sequence[Sequence[Part]]

    @classmethod
    def read(cls, folder: Path) -> Contracts:
        """Read corpus.jsonl.gz and queries.jsonl.gz."""
        documents = list(read_documents([folder / "corpus.jsonl.gz"]))
        numbers = {document.document_id: n for n, document in enumerate(documents)}
        rows = [row for _, row in read_json_lines(folder / "queries.jsonl.gz")]
        return cls(
            list(numbers),
            [document.text or "" for document in documents],
            [row["text"] for row in rows],
            [
                [(numbers[answer["document_id"]], *answer["span"]) for answer in row["answers"]]
                for row in rows
            ],
        )

    def names(self) -> list[str]:
        """Return the documents' file names as words."""
        return [Path(name).stem.replace("_", " ").replace("-", " ") for name in self.ids]
