"""Build an index from documents that were encoded elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pocket_colbert.distributed.parquet import EncodedCorpus
from pocket_colbert.errors import IndexConflictError
from pocket_colbert.index.directory import is_index
from pocket_colbert.index.index import Index
from pocket_colbert.metadata import same_json
from pocket_colbert.types import Document, EncodedDocument

_DOCUMENTS = 256
_COMMIT_TOKENS = 2_000_000


def index_encoded(
    corpus: EncodedCorpus,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> None:
    """Build an index from an encoded corpus, without a model.

    An interrupted call can be repeated: documents already in the index are skipped. Takes 20 bytes
    of memory per document.

    Args:
        corpus: The corpus.
        folder: The index folder; created if it does not exist.
        progress: Called with the number of documents processed so far and the total.
        **settings: `IndexConfig` settings to use instead of the corpus's own: codes, keywords,
            inverted_file, inverted_min_tokens, candidates.

    Raises:
        IndexConflictError: The folder holds an index with other settings or other documents.
        BackendError: The corpus is damaged or cannot be reached.
    """
    config = replace(corpus.config, **settings)
    path = Path(folder)
    opened = Index.load(path, writable=True) if is_index(path) else Index.create(path, config)
    with opened as index:
        if index.config != config:
            raise IndexConflictError(
                f"{folder} is an index with other settings than this corpus; choose another folder."
            )
        _check_part_of(corpus, index)
        done = tokens = 0
        for batch in _batches(corpus.encoded()):
            new = [encoded for encoded in batch if not _is_there(index, encoded.document)]
            index.add_documents(new)
            tokens += sum(len(item.embedding) for encoded in new for item in encoded.passages)
            if tokens >= _COMMIT_TOKENS:
                index.commit()
                tokens = 0
            done += len(batch)
            progress(done, len(corpus))
        index.compact()


def _check_part_of(corpus: EncodedCorpus, index: Index) -> None:
    """Raise IndexConflictError unless the corpus has every document of the index."""
    documents = iter(index)
    while batch := [document.document_id for document in islice(documents, _DOCUMENTS)]:
        counts = corpus.passage_counts(batch)
        for document_id in batch:
            if document_id not in counts:
                raise _other(index, document_id)


def _is_there(index: Index, document: Document) -> bool:
    if document.document_id not in index:
        return False
    known = index.get(document.document_id)
    if known != document or not same_json(known.metadata, document.metadata):
        raise _other(index, document.document_id)
    return True


def _other(index: Index, document_id: str) -> IndexConflictError:
    return IndexConflictError(
        f"{index.folder} is an index of other documents, such as {document_id!r}; choose another "
        "folder, and merge the two if they belong together."
    )


def _batches(encoded: Iterator[EncodedDocument]) -> Iterator[list[EncodedDocument]]:
    while batch := list(islice(encoded, _DOCUMENTS)):
        yield batch
