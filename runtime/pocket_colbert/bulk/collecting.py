"""An index made of documents that were encoded elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pocket_colbert.bulk.job import Encoded
from pocket_colbert.bulk.parquet import EncodedCorpus
from pocket_colbert.errors import IndexConflictError
from pocket_colbert.folder import is_index
from pocket_colbert.index import Index

_DOCUMENTS = 256
_COMMIT_TOKENS = 2_000_000


def index_encoded(
    corpus: EncodedCorpus,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> None:
    """Make an index of an encoded corpus, without a model.

    Documents that the folder's index has already are passed over, so that a call that broke off
    may be repeated. Memory does not grow with the number of documents.

    Args:
        corpus: The corpus.
        folder: The index folder, which need not be there.
        progress: Called with the number of documents that have been dealt with, and of all.
        **settings: Of an `IndexConfig` in place of the corpus's, which are the defaults: codes,
            keywords, inverted_file, inverted_min_tokens.

    Raises:
        IndexConflictError: There is an index with other settings at the folder.
        StoreError: The corpus is damaged or cannot be reached.
    """
    config = replace(corpus.config, **settings)
    place = Path(folder)
    opened = Index.load(place, writable=True) if is_index(place) else Index.create(place, config)
    with opened as index:
        if index.config != config:
            raise IndexConflictError(
                f"{folder} is an index with other settings than this corpus; name another folder."
            )
        done = tokens = 0
        for batch in _batches(corpus.encoded()):
            new = [pair for pair in batch if pair[0].document_id not in index]
            documents = [document for document, _ in new]
            index.add(
                [document.document_id for document in documents],
                [passages for _, passages in new],
                texts=[document.text for document in documents],
                titles=[document.title for document in documents],
                metadata=[document.metadata for document in documents],
                sources=[document.source for document in documents],
            )
            tokens += sum(len(item.embedding) for _, passages in new for item in passages)
            if tokens >= _COMMIT_TOKENS:
                index.commit()
                tokens = 0
            done += len(batch)
            progress(done, len(corpus))
        index.compact()


def _batches(encoded: Iterator[Encoded]) -> Iterator[list[Encoded]]:
    while batch := list(islice(encoded, _DOCUMENTS)):
        yield batch
