"""What an index holds, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pocket_colbert.config import UNREAD, Codes, IndexConfig, Pruning
from pocket_colbert.index.write_buffer import WriteBuffer
from pocket_colbert.storage.mapped_arrays import MAPPED_BYTES
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.token_graph import TokenGraph

_PARTS = {
    "codes.u8": "vectors", "scales.f16": "vectors", "codec.json": "vectors",
    "lengths.i32": "offsets", "passages.i32": "offsets",
    "centroids.u8": "inverted file", "centroid_scales.f32": "inverted file",
    "list_lengths.i32": "inverted file", "lists.bin": "inverted file",
    "graph.usearch": "token graph",
}  # fmt: skip
_MAPPED = {"codes.u8", "scales.f16", "centroids.u8", "lists.bin", "graph.usearch"}


@dataclass(frozen=True)
class IndexInfo:
    """What an index holds and what that takes.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add(["Bees swarm in May.", "Dough needs time."])
        2
        >>> info = notes.index.info()
        >>> info.documents, info.passages, info.codes
        (2, 2, 'int4')

    Attributes:
        documents: Number of documents.
        deleted: Number of deleted documents that still take room, until `Index.compact`.
        passages: Number of passages, those of deleted documents included.
        unread: Number of those in languages that the model was not made for: keywords find them.
        tokens: Number of token vectors, likewise.
        segments: Number of segments.
        dim: Width of a token vector.
        codes: How token vectors are stored.
        model: Fingerprint of the model that encoded the documents, "" when unknown.
        pruning: What of a document's token vectors is stored.
        bytes: Size of the "vectors" (codes and scales), "offsets", "inverted file", "token graph"
            (where there is one), "ids", and "text" (texts, titles, metadata, keywords and the
            database around them) on disk; of what is in memory only, as far as it is known.
        memory: Bytes of the above that are held in memory rather than mapped.
        approximate_recall: What approximate search finds of what exact search finds, measured on
            a sample when inverted files and graphs were made: the lowest of the segments. None
            where there is none. Where it is too low all is scored: see `candidates`.
        candidates: How many segments take the candidates of an approximate search from "lists"
            and from "usearch", and of how many "all" documents are scored, as they are small or
            neither found enough: see `IndexConfig.candidates`.
    """

    documents: int
    deleted: int
    passages: int
    tokens: int
    segments: int
    dim: int
    codes: Codes
    model: str
    pruning: Pruning
    bytes: Mapping[str, int]
    memory: int
    approximate_recall: float | None = None
    candidates: Mapping[str, int] = field(default_factory=dict)
    unread: int = 0


def describe(config: IndexConfig, segments: Sequence[Segment], pending: WriteBuffer) -> IndexInfo:
    """Add up what segments and pending documents take."""
    sizes = dict.fromkeys(("vectors", "offsets", "inverted file", "ids", "text"), 0)
    memory, tokens = pending.nbytes, pending.num_tokens
    documents = len(pending) - len(pending.deleted)
    deleted, passages, unread = len(pending.deleted), pending.num_passages, pending.num_unread
    for segment in segments:
        tokens += segment.rows.num_tokens
        documents += len(segment)
        deleted += segment.num_documents - len(segment)
        passages += len(segment.passages)
        unread += segment.documents.count_readable_below(UNREAD)
        held = segment.rows.nbytes
        if segment.entry is None:
            sizes["vectors"] += held["codes"] + held["scales"]
            sizes["offsets"] += held["offsets"]
            memory += sum(held.values())
            continue
        memory += held["offsets"] + segment.rows.offsets.nbytes
        for name, entry in segment.entry.files.items():
            if name in _MAPPED and entry.bytes < MAPPED_BYTES:
                memory += entry.bytes
            if name in _PARTS:
                part = _PARTS[name]
                sizes[part] = sizes.get(part, 0) + entry.bytes
            else:
                ids = segment.documents.id_bytes()
                sizes["ids"] += ids
                sizes["text"] += entry.bytes - ids
    measured = [
        segment.source.quality.recall
        for segment in segments
        if segment.source is not None and segment.source.quality is not None
    ]
    return IndexInfo(
        documents=documents,
        deleted=deleted,
        passages=passages,
        tokens=tokens,
        segments=len(segments),
        dim=config.dim,
        codes=config.codes,
        model=config.model,
        pruning=config.pruning,
        bytes=sizes,
        memory=memory,
        approximate_recall=min(measured, default=None),
        unread=unread,
        candidates=dict(Counter(map(_source_of, segments))),
    )


def _source_of(segment: Segment) -> str:
    """Return what approximate search of a segment takes candidates from."""
    if segment.source is None or not segment.source.widening:
        return "all"
    return "usearch" if isinstance(segment.source, TokenGraph) else "lists"
