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
from pocket_colbert.vectors.array_checks import check_tokens

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
    encoded = []
    for item in documents:
        if not isinstance(item, EncodedDocument) or not isinstance(item.document, Document):
            raise InvalidInputError(
                f"documents must be a list of EncodedDocument(...), got {item!r:.60}."
            )
        check_ids([item.document.document_id], "document_ids")
        document = checked_document(item.document)
        encoded.append(EncodedDocument(document, _checked_passages(document, item.passages, dim)))
    return encoded


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


def _checked_passages(
    document: Document, passages: Sequence[Passage], dim: int
) -> tuple[Passage, ...]:
    name, size = f"embedding of {document.document_id!r}", len(document.text or "")
    if not passages or not all(isinstance(item, Passage) for item in passages):
        raise InvalidInputError(
            f"{name} must be an array or a list of passages, at least one, got {passages!r}."
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
    return tuple(
        replace(item, embedding=check_tokens(item.embedding, dim, name).copy()) for item in passages
    )
