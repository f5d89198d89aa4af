"""The web form of an index: parts that a browser fetches as a search needs them.

docs/site-format.md describes the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import Pruning
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.index.merger import SegmentMaker
from pocket_colbert.metadata import flat
from pocket_colbert.site.ordering import topical_order
from pocket_colbert.site.packing import Packer
from pocket_colbert.storage.candidate_source import Source
from pocket_colbert.storage.inverted_file import InvertedFile
from pocket_colbert.storage.segment import Segment
from pocket_colbert.types import Document, Span
from pocket_colbert.vectors.codec import rotation_signs

_PART_BYTES = 12_000
"""Codes of a part: a search scores some hundred passages, so large parts bring much for nothing."""

_WHOLE_BYTES = 1 << 20
"""An index of so few codes is one part."""

_LIST_BYTES = 6_000
_TEXT_BYTES = 8_000


def write_index(index: Index, packer: Packer) -> dict[str, Any]:
    """Write the documents of an index to a site.

    Args:
        index: The index.
        packer: Writes the files.

    Returns:
        What a reader needs to search them.

    Raises:
        InvalidInputError: There are no documents with token vectors.
    """
    segment = _one_segment(index)
    if not segment.num_documents or not segment.rows.num_tokens:
        raise InvalidInputError("the index has no documents that could be found; add some first.")
    rows, codec = segment.rows, segment.rows.codec
    ids = [name for batch in segment.documents.ids() for _, name in batch]
    order = _document_order(segment)
    counts = segment.passages.counts(np.arange(segment.num_documents))
    return {
        "dim": codec.dim,
        "bits": codec.bits,
        "shared": [float(f"{value:.9g}") for value in codec.shared],
        "signs": rotation_signs(codec.dim),
        "documents": segment.num_documents,
        "passages": len(rows.lengths),
        "pruned": index.config.pruning != Pruning(),
        "window": index.config.splitting.max_tokens,
        "order": packer.put("order", order.astype("<u4").tobytes()),
        "counts": packer.put("counts", counts.astype("<u4").tobytes()),
        "lengths": packer.put("lengths", rows.lengths.astype("<u4").tobytes()),
        "codes": _codes(segment, _passages(segment, order), packer),
        "texts": _texts(segment, order, packer),
        "ids": packer.put_json("ids", ids),
        "fields": _fields(segment, packer),
        "inverted": _inverted(segment.source, packer),
    }


def _one_segment(index: Index) -> Segment:
    """Return all documents of an index as one segment, with an inverted file where it serves."""
    config = replace(index.config, keywords="none", inverted_file="always", candidates="lists")
    maker = SegmentMaker(folder=None, generation=0, config=config, threads=index.threads)
    segments = index.snapshot.segments
    if not segments:
        raise InvalidInputError("the index has no documents; add some first.")
    return maker.merge(segments)


def _document_order(segment: Segment) -> NDArray[np.int64]:
    """Order documents by what they are about: those of one search then share parts."""
    rows = segment.rows
    means = np.zeros((segment.num_documents, rows.codec.dim), np.float32)
    for document in range(segment.num_documents):
        first, last = segment.passages.bounds(document)
        vectors = [rows.decode(passage).mean(axis=0) for passage in range(first, last)
                   if rows.lengths[passage]]  # fmt: skip
        if vectors:
            means[document] = np.mean(vectors, axis=0)
    return topical_order(means, 2)


def _passages(segment: Segment, order: NDArray[np.int64]) -> NDArray[np.int64]:
    bounds = (segment.passages.bounds(int(document)) for document in order)
    return np.concatenate([np.arange(first, last) for first, last in bounds])


def _codes(segment: Segment, passages: NDArray[np.int64], packer: Packer) -> dict[str, Any]:
    """Write the codes of passages in an order, each followed by its scales."""
    rows = segment.rows
    target = len(rows.codes) * rows.codes.shape[1]
    target = target if target <= _WHOLE_BYTES else _PART_BYTES
    pieces = []
    for passage in passages.tolist():
        part = slice(int(rows.offsets[passage]), int(rows.offsets[passage + 1]))
        pieces.append(rows.codes[part].tobytes() + rows.scales[part].astype("<f2").tobytes())
    return packer.put_parts("codes", *grouped(pieces, target))


def grouped(pieces: Sequence[bytes], target: int) -> tuple[list[int], list[bytes]]:
    """Put neighbouring pieces together into parts of about so many bytes.

    Returns:
        The first piece of each part, and the parts.
    """
    firsts: list[int] = []
    parts: list[list[bytes]] = []
    size = target
    for number, piece in enumerate(pieces):
        if size >= target or (size and size + len(piece) > 1.5 * target):
            firsts.append(number)
            parts.append([])
            size = 0
        parts[-1].append(piece)
        size += len(piece)
    return firsts, [b"".join(part) for part in parts]


def _texts(segment: Segment, order: NDArray[np.int64], packer: Packer) -> dict[str, Any]:
    """Write what hits show, in the order of the codes: an array of JSON a part."""
    pieces: list[bytes] = []
    for start in range(0, len(order), 200):
        batch = [int(position) for position in order[start : start + 200]]
        documents = segment.documents.get(batch)
        spans = segment.spans(documents)
        for position in batch:
            value = _shown(documents[position], spans[position])
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            pieces.append(text.encode("utf-8"))
    firsts, parts = grouped([piece + b"," for piece in pieces], _TEXT_BYTES)
    return packer.put_parts("texts", firsts, [b"[" + part[:-1] + b"]" for part in parts])


def _shown(document: Document, spans: Sequence[Span]) -> list[Any]:
    """Return a document as a browser has it, with places in UTF-16 units."""
    text = document.text or ""
    units = _units_before(text)
    return [
        document.document_id,
        document.title,
        document.text,
        dict(document.metadata),
        [[units(start), units(end)] for start, end in spans],
        [[units(section.start), list(section.headings)] for section in document.sections],
    ]


def _units_before(text: str) -> Any:
    if len(text.encode("utf-16-le")) == 2 * len(text):
        return int
    wide = np.array([ord(character) > 0xFFFF for character in text], dtype=np.int64)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(wide)])
    return lambda place: int(place + before[min(place, len(text))])


def _fields(segment: Segment, packer: Packer) -> dict[str, Any]:
    """Write which documents have which values, a file a field."""
    fields: dict[str, dict[tuple[bool, Any], list[int]]] = {}
    for position, document in segment.documents.iterate():
        for name, value in set(flat(document.metadata)):
            key = isinstance(value, str), value
            fields.setdefault(name, {}).setdefault(key, []).append(position)
    return {
        name: packer.put_json("field", [[key[1], found] for key, found in values.items()])
        for name, values in sorted(fields.items())
    }


def _inverted(inverted: Source | None, packer: Packer) -> dict[str, Any] | None:
    """Write the inverted file, its centroids in an order in which neighbours are alike."""
    if not isinstance(inverted, InvertedFile) or not inverted.widening:
        return None
    levels = (inverted.centroids.astype(np.float32) - 128) * inverted.scales[:, None]
    order = topical_order(levels, 4)
    lengths = np.diff(inverted.offsets)[order]
    lists = [
        inverted.passages[inverted.offsets[n] : inverted.offsets[n + 1]].astype("<u4")
        for n in order.tolist()
    ]
    # Steps rather than numbers: most fit into a byte and compress to one.
    pieces = [np.diff(numbers, prepend=0).astype("<u4").tobytes() for numbers in lists]
    firsts, parts = grouped(pieces, 4 * _LIST_BYTES)
    return {
        "widening": inverted.widening,
        "centroids": packer.put("centroids", inverted.centroids[order].tobytes()),
        "scales": packer.put("centroid-scales", inverted.scales[order].astype("<f4").tobytes()),
        "lengths": packer.put("list-lengths", lengths.astype("<u4").tobytes()),
        "lists": packer.put_parts("lists", firsts, parts),
    }
