"""Read retrieval sets in BEIR format: corpus, queries and judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocket_colbert.errors import CorpusError
from pocket_colbert.ingest.readers import read_documents
from pocket_colbert.types import Document


@dataclass(frozen=True)
class BeirFolder:
    """A retrieval set in BEIR format.

    Attributes:
        documents: The corpus.
        queries: Texts by id, only those that have judgements.
        qrels: Grades by query id and document id.
        split: The split that the judgements come from.
    """

    documents: Sequence[Document]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    split: str = field(default="test")


def read_beir(folder: Path, split: str | None = None) -> BeirFolder:
    """Read corpus.jsonl, queries.jsonl (either may end in .gz) and qrels/SPLIT.tsv.

    Args:
        folder: The folder.
        split: Which judgements to read; defaults to "test", or to the only split there is.

    Raises:
        CorpusError: A file is missing, empty or malformed, an id repeats, or the judgements name a
            query that does not exist.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}.")
    documents = list(read_documents([_plain_or_gz(folder, "corpus.jsonl")]))
    if not documents:
        raise CorpusError(f"{folder} has an empty corpus.")
    seen: set[str] = set()
    for document in documents:
        if document.document_id in seen:
            raise CorpusError(f"{folder} has two documents with the id {document.document_id!r}.")
        seen.add(document.document_id)
    queries = {
        item.document_id: item.text or ""
        for item in read_documents([_plain_or_gz(folder, "queries.jsonl")])
    }
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if split is None:
        split = "test" if "test" in splits or len(splits) != 1 else splits[0]
    if split not in splits:
        raise CorpusError(
            f"{folder} has no judgements qrels/{split}.tsv; it has {', '.join(splits) or 'none'}."
        )
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
    missing = [query_id for query_id in qrels if query_id not in queries]
    if missing:
        raise CorpusError(f"judgements name query {missing[0]!r}, which is not in the queries.")
    return BeirFolder(documents, {query_id: queries[query_id] for query_id in qrels}, qrels, split)


def _plain_or_gz(folder: Path, name: str) -> Path:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise CorpusError(f"{folder} has no {name} and no {name}.gz.")
    return path


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        parts = line.split("\t")
        if number == 1 and len(parts) == 3 and not parts[2].strip().lstrip("-").isdigit():
            continue  # the header
        if not line.strip():
            continue
        if len(parts) != 3 or not parts[2].strip().lstrip("-").isdigit():
            raise CorpusError(
                f"{path}, line {number}: expected query-id, corpus-id and score between tabs, "
                f"got {line[:80]!r}."
            )
        qrels.setdefault(parts[0], {})[parts[1]] = int(parts[2])
    if not qrels:
        raise CorpusError(f"{path} has no judgements.")
    return qrels
