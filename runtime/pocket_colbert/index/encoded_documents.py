"""What is added to an index: put together from columns, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_ids, checked_document, is_number
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.types import Document, EncodedDocument, Passage
from pocket_colbert.vectors.array_checks import are_unit_rows, check_shape, check_tokens
from pocket_colbert.vectors.ragged import blocks

_RUN_TOKENS = 4096
"""Token vectors that are copied and checked at a time."""

Embedded = NDArray[Any] | Sequence[Passage]
"""A document's token vectors: one (num_tokens, dim) array, or its passages."""


def from_columns(
    document_ids: Sequence[str],
    embeddings: Sequence[Embedded],
    texts: Sequence[str | None] | None,
    titles: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
    sources: Sequence[str | None] | None,
) -> list[EncodedDocument]:
    """Put documents together; see `Index.add` for the arguments.

    Raises:
        InvalidInputError: The lists differ in length, or an embedding is neither array nor list.
    """
    ids = check_ids(document_ids, "document_ids")
    columns = {
        "embeddings": embeddings, "texts": texts, "titles": titles, "metadata": metadata,
        "sources": sources,
    }  # fmt: skip
    for name, column in columns.items():
        if column is not None:
            _check_column(name, column, len(ids))
    encoded = []
    for n, document_id in enumerate(ids):
        document = Document(
            document_id,
            None if texts is None else texts[n],
            None if titles is None else titles[n],
            {} if metadata is None else metadata[n],
            None if sources is None else sources[n],
        )
        encoded.append(EncodedDocument(document, _passages(document, embeddings[n])))
    return encoded


def checked(documents: Iterable[EncodedDocument], dim: int) -> list[EncodedDocument]:
    """Check what is to be added, and copy it: the caller may go on and change its arrays.

    Args:
        documents: The documents.
        dim: Width of a token vector.

    Returns:
        Copies that read back as they are stored, with float32 token vectors.

    Raises:
        InvalidInputError: One is no `EncodedDocument`, or a part of it is of the wrong kind, lies
            outside the text, or is not of length 1.
    """
    items = list(documents)
    kept: list[Document] = []
    for item in items:
        if not isinstance(item, EncodedDocument) or not isinstance(item.document, Document):
            raise InvalidInputError(
                f"documents must be a list of EncodedDocument(...), got {item!r:.60}."
            )
        check_ids([item.document.document_id], "document_ids")
        kept.append(checked_document(item.document))
        _check_passages(kept[-1], item.passages)
    names = [item.document.document_id for item in items for _ in item.passages]
    given = [part.embedding for item in items for part in item.passages]
    copies = iter(_copies(names, given, dim))
    return [
        EncodedDocument(
            document, tuple(replace(part, embedding=next(copies)) for part in item.passages)
        )
        for document, item in zip(kept, items, strict=True)
    ]


def _check_column(name: str, column: object, count: int) -> None:
    unordered = isinstance(column, str | Mapping | Set)
    size = len(column) if isinstance(column, Sized) and not unordered else None
    if size != count:
        raise InvalidInputError(
            f"{name} must be a list of {count} items, one a document id, "
            f"got {type(column).__name__}{'' if size is None else f' of {size}'}."
        )


def _passages(document: Document, embedded: Embedded) -> Sequence[Passage]:
    if isinstance(embedded, np.ndarray):
        text = document.text if isinstance(document.text, str) else ""
        return (Passage(0, len(text), embedded),)
    return list(embedded)


def _check_passages(document: Document, passages: Sequence[Passage]) -> None:
    size = len(document.text or "")
    if not passages or not all(isinstance(item, Passage) for item in passages):
        raise InvalidInputError(
            f"{_name(document.document_id)} must be an array or a list of passages, at least one, "
            f"got {passages!r}."
        )
    for item in passages:
        if not 0 <= item.start <= item.end or (document.text is not None and item.end > size):
            raise InvalidInputError(
                f"passages of {document.document_id!r} must lie within its {size} characters, "
                f"got {item.start} to {item.end}."
            )
        if not is_number(item.readable) or not 0 <= item.readable <= 1:
            raise InvalidInputError(
                f"readable of a passage of {document.document_id!r} must be a number from 0 to 1, "
                f"got {item.readable!r:.40}."
            )


def _copies(
    document_ids: Sequence[str], embeddings: Sequence[NDArray[Any]], dim: int
) -> list[NDArray[np.float32]]:
    """Check and copy token vectors, many passages at a time.

    Args:
        document_ids: Whose each is.
        embeddings: What was given for (num_tokens, dim) float each.
        dim: Width of a token vector.

    Returns:
        (num_tokens, dim) float32 each, in arrays that passages share.
    """
    arrays = [
        check_shape(embedding, dim, _name(document_id))
        for document_id, embedding in zip(document_ids, embeddings, strict=True)
    ]
    offsets = np.cumsum([0, *map(len, arrays)])
    copies: list[NDArray[np.float32]] = []
    for first, last in blocks(offsets, _RUN_TOKENS):
        run = np.concatenate(arrays[first:last]).astype(np.float32, copy=False)
        if not are_unit_rows(run):
            for document_id, array in zip(
                document_ids[first:last], arrays[first:last], strict=True
            ):
                check_tokens(array, dim, _name(document_id))
        copies += np.split(run, offsets[first + 1 : last] - offsets[first])
    return copies


def _name(document_id: str) -> str:
    return f"embedding of {document_id!r}"
