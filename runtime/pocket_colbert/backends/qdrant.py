"""A Qdrant collection as a backend. The only module that imports `qdrant_client`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.address import MEMORY, Address
from pocket_colbert.backends.engine import DocumentState, Engine, Layout, PassageMatch, passage_of
from pocket_colbert.backends.rows import RECORD_ID, Row, metadata_text, row_id, sections_text
from pocket_colbert.errors import BackendError, OptionalDependencyError, UnsupportedError
from pocket_colbert.sections import sections_from_json
from pocket_colbert.types import Document, Passage, Span

try:
    from grpc import RpcError
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ApiException
except ImportError as _error:
    raise OptionalDependencyError.of("Qdrant", "qdrant") from _error

_VECTOR = "tokens"
_MATCH_FIELDS = ["document_id", "passage", "passages", "start", "end", "position"]
_PAGE = 1000
_GRAPH_LINKS = 16
_T = TypeVar("_T")


class Qdrant(Engine):
    """A collection on a Qdrant server or in this process.

    Each point has one multivector named "tokens", compared by MaxSim over dot products, and the
    attributes of `Row` as payload. The record is a point without a vector.
    """

    name = "Qdrant"
    max_elements = 1 << 20  # the server's limit on a multivector
    batch_elements = 500_000  # about 10 MB as JSON; the server takes up to 32 MB

    def __init__(
        self, client: QdrantClient, collection: str, server: str = "Qdrant", *, local: bool = False
    ) -> None:
        """Use your own client with all its options; `close` closes it.

        Args:
            client: The client.
            collection: Name of the collection or of an alias.
            server: What messages call the server.
            local: Whether the client runs in this process, where there is nothing to tune.
        """
        self._client = client
        self._collection = collection
        self._server = server
        self._local = local

    @classmethod
    def at(cls, address: Address, *, api_key: str | None, timeout: int) -> Qdrant:
        """Connect to an address.

        Args:
            address: The address.
            api_key: Takes precedence over a key in the address.
            timeout: Time limit in seconds for one request.

        Raises:
            BackendError: The folder cannot be read, or another process is using it.
        """
        with _errors(str(address)):
            if address.remote:
                client = QdrantClient(
                    url=address.location, api_key=api_key or address.key, timeout=timeout,
                    check_compatibility=False,
                )  # fmt: skip
            elif address.location == MEMORY:
                client = QdrantClient(MEMORY)
            else:
                client = QdrantClient(path=address.location, force_disable_check_same_thread=True)
        server = str(address).rpartition("/")[0]
        return cls(client, address.name, server, local=not address.remote)

    def __str__(self) -> str:
        return f"{self._server}/{self._collection}"

    def read_record(self) -> str | None:
        """See `Engine.read_record`."""
        if not self._exists():
            return None
        points = self._retrieve([RECORD_ID], ["record"])
        text = (points[0].payload or {}).get("record") if points else None
        if isinstance(text, str):
            return text
        if points or self.count() >= 0:
            raise BackendError(
                f"{self} is a collection that pocket-colbert did not create; choose another name."
            )
        return None

    def create(self, layout: Layout, record: str) -> None:
        """See `Engine.create`; an empty collection is used as it is if its vectors fit."""
        vectors = models.VectorParams(
            size=layout.dim,
            distance=models.Distance.DOT,  # Qdrant would normalize for COSINE; an index does not
            datatype=models.Datatype(layout.datatype),
            on_disk=True,
            hnsw_config=models.HnswConfigDiff(m=_GRAPH_LINKS if layout.approximate else 0),
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        )
        if self._exists():
            self._check_vectors(vectors)
        else:
            self._call(lambda c: c.create_collection(self._collection, {_VECTOR: vectors}))
        if not self._local:
            self._index_payload(layout.range_fields)
        self.write_record(record)

    def _exists(self) -> bool:
        if self._call(lambda c: c.collection_exists(self._collection)):
            return True
        # `collection_exists` does not see aliases, though every other call accepts them.
        aliases = self._call(lambda c: c.get_aliases().aliases)
        return any(item.alias_name == self._collection for item in aliases)

    def _check_vectors(self, wanted: Any) -> None:
        vectors = self._call(lambda c: c.get_collection(self._collection)).config.params.vectors
        mine = vectors.get(_VECTOR) if isinstance(vectors, dict) else None
        for name in ("size", "distance", "datatype", "multivector_config"):
            old, new = getattr(mine, name, None), getattr(wanted, name)
            if old != new and (name, old, new) != ("datatype", None, "float32"):
                got, must = (getattr(value, "value", value) for value in (old, new))
                raise BackendError(
                    f"{self} is an empty collection whose vector {_VECTOR!r} has {name} {got}, but "
                    f"it must be {must}; delete the collection, and push creates it."
                )

    def _index_payload(self, range_fields: Sequence[str]) -> None:
        keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
        number = models.PayloadSchemaType.FLOAT
        indexed = [("document_id", keyword), ("values", keyword)]
        for field, kind in [*indexed, *((_number_key(name), number) for name in range_fields)]:
            self._call(partial(_create_index, self._collection, field, kind))

    def prepare(self, layout: Layout) -> None:
        """See `Engine.prepare`; looking up points by id needs no index."""
        if not self._local:
            self._index_payload(layout.range_fields)

    def write_record(self, text: str) -> None:
        """See `Engine.write_record`."""
        self._put([models.PointStruct(id=RECORD_ID, vector={}, payload={"record": text})])

    def nearest(
        self, query: NDArray[np.float32], limit: int, condition: Any, exact: bool
    ) -> list[PassageMatch]:
        """See `Engine.nearest`."""
        parameters = None if self._local else models.SearchParams(exact=exact)
        answer = self._call(
            lambda c: c.query_points(
                self._collection, query=query.tolist(), using=_VECTOR, limit=limit,
                query_filter=condition, search_params=parameters, with_payload=_MATCH_FIELDS,
            )
        )  # fmt: skip
        return [
            PassageMatch(
                **{name: payload[name] for name in _MATCH_FIELDS}, score=float(point.score)
            )
            for point in answer.points
            for payload in [self._payload(point)]
        ]

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Engine.documents`."""
        names = ["document_id", "text", "title", "metadata", "source", "sections"]
        points = self._retrieve([row_id(item, 0) for item in document_ids], names)
        return {point.payload["document_id"]: _document(point.payload) for point in points}

    def passages(self, document_id: str, dim: int) -> list[Passage] | None:
        """See `Engine.passages`; a document of one passage, the common case, takes one request."""
        names = ["passage", "start", "end"]
        points = self._retrieve([row_id(document_id, 0)], ["passages", *names], with_vectors=True)
        if not points:
            return None
        others = [row_id(document_id, n) for n in range(1, points[0].payload["passages"])]
        points += self._retrieve(others, names, with_vectors=True)
        return [
            passage_of(point.payload, (point.vector or {}).get(_VECTOR), dim)
            for point in sorted(points, key=lambda item: item.payload["passage"])
        ]

    def passages_at(
        self, passages: Sequence[tuple[str, Span]], dim: int
    ) -> dict[tuple[str, Span], Passage]:
        """See `Engine.passages_at`; first look up spans without vectors, which are most bytes."""
        names = ["document_id", "passages", "start", "end"]
        document_ids = dict.fromkeys(document_id for document_id, _ in passages)
        points = self._retrieve([row_id(item, 0) for item in document_ids], names)
        others = [
            row_id(point.payload["document_id"], n)
            for point in points
            for n in range(1, point.payload["passages"])
        ]
        points += self._retrieve(others, names)
        spans = {str(point.id): _span(point.payload) for point in points}
        wanted = set(passages)
        chosen = [item for item, span in spans.items() if span in wanted]
        return {
            spans[str(point.id)]: passage_of(point.payload, (point.vector or {}).get(_VECTOR), dim)
            for point in self._retrieve(chosen, names, with_vectors=True)
        }

    def document_states(self, document_ids: Sequence[str]) -> dict[str, DocumentState]:
        """See `Engine.document_states`."""
        names = ["document_id", "digest", "passages"]
        points = self._retrieve([row_id(item, 0) for item in document_ids], names)
        return {
            point.payload["document_id"]: DocumentState(
                point.payload["digest"], point.payload["passages"]
            )
            for point in points
        }

    def upsert(self, rows: Sequence[Row]) -> None:
        """See `Engine.upsert`."""
        self._put(
            [
                models.PointStruct(
                    id=row.row_id,
                    vector={_VECTOR: row.embedding.tolist()} if len(row.embedding) else {},
                    payload=_payload(row),
                )
                for row in rows
            ]
        )

    def delete(self, row_ids: Sequence[str]) -> None:
        """See `Engine.delete`."""
        selector = models.PointIdsList(points=list(row_ids))
        self._call(lambda c: c.delete(self._collection, selector, wait=True))

    def rows(self) -> Iterator[list[tuple[str, int]]]:
        """See `Engine.rows`."""
        offset: Any = None
        while True:
            page = partial(_scroll, self._collection, offset)
            points, offset = self._call(page)
            yield [
                (payload["document_id"], payload["passage"])
                for point in points
                if str(point.id) != RECORD_ID
                for payload in [self._payload(point)]
            ]
            if offset is None:
                return

    def count(self) -> int:
        """See `Engine.count`."""
        return int(self._call(lambda c: c.count(self._collection, exact=True).count)) - 1

    def finish(self, layout: Layout) -> None:
        """Do nothing: the server optimizes collections on its own."""

    def latest(self) -> Qdrant:
        """Return this engine: every request sees the latest writes."""
        return self

    def close(self) -> None:
        """See `Engine.close`."""
        self._client.close()

    def all_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.all_of`."""
        return models.Filter(must=list(parts))

    def any_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.any_of`."""
        return models.Filter(should=list(parts))

    def none_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.none_of`."""
        return models.Filter(must_not=list(parts))

    def documents_in(self, document_ids: Sequence[str]) -> Any:
        """See `Engine.documents_in`."""
        # Qdrant does not document what an empty list matches; no document has the empty id.
        return _matching("document_id", models.MatchAny(any=list(document_ids) or [""]))

    def has_any(self, tokens: Sequence[str]) -> Any:
        """See `Engine.has_any`."""
        return _matching("values", models.MatchAny(any=list(tokens)))

    def has_prefix(self, prefix: str) -> Any:
        """See `Engine.has_prefix`."""
        return _matching("values", models.MatchPrefix(prefix=prefix))

    def compare_number(self, name: str, operator: str, value: float) -> Any:
        """See `Engine.compare_number`."""
        bounds = models.Range(**{operator.removeprefix("$"): value})
        return models.Filter(must=[models.FieldCondition(key=_number_key(name), range=bounds)])

    def compare_text(self, name: str, operator: str, value: str) -> Any:
        """Raise UnsupportedError: Qdrant has no order of texts."""
        raise UnsupportedError(
            f"Qdrant cannot compare texts by order, got {operator} {value!r} for {name!r}. Store a "
            "number as well (such as 20240131 for a date), use $prefix or $in, or search an index "
            "folder or LanceDB, which can compare texts."
        )

    def compare_id(self, operator: str, value: str) -> Any:
        """See `Engine.compare_id`."""
        if operator == "$prefix":
            return _matching("document_id", models.MatchPrefix(prefix=value))
        return self.compare_text("$id", operator, value)

    def _payload(self, point: Any) -> dict[str, Any]:
        """Return a point's payload; BackendError if `push` did not write the point."""
        payload = point.payload or {}
        if "document_id" not in payload:
            raise BackendError(
                f"{self} has points that pocket-colbert did not write, for example {point.id}; "
                "delete them, or push to another name."
            )
        return dict(payload)

    def _put(self, points: Sequence[Any]) -> None:
        self._call(lambda c: c.upsert(self._collection, list(points), wait=True))

    def _retrieve(
        self, ids: Sequence[str], names: list[str], *, with_vectors: bool = False
    ) -> list[Any]:
        if not ids:
            return []
        vectors = [_VECTOR] if with_vectors else False
        return list(
            self._call(
                lambda c: c.retrieve(
                    self._collection, list(ids), with_payload=names, with_vectors=vectors
                )
            )
        )

    def _call(self, request: Callable[[Any], _T]) -> _T:
        with _errors(str(self)):
            return request(self._client)


@contextmanager
def _errors(address: str) -> Iterator[None]:
    """Turn the client's exceptions into a BackendError that names the address without its key."""
    try:
        yield
    except ApiException as error:
        # UnexpectedResponse is the server's answer, ResponseHandlingException a network failure.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise BackendError(f"{address} did not answer as expected: {reason}.") from error
    except (RpcError, RuntimeError, ValueError, OSError) as error:  # gRPC and the local mode
        reason = " ".join(str(error).split())[:300]
        raise BackendError(f"{address} cannot be used: {reason}.") from error


def _create_index(collection: str, field: str, kind: Any, client: Any) -> None:
    client.create_payload_index(collection, field, kind, wait=True)


def _scroll(collection: str, offset: Any, client: Any) -> Any:
    names = ["document_id", "passage"]
    return client.scroll(collection, limit=_PAGE, offset=offset, with_payload=names)


def _matching(key: str, match: Any) -> Any:
    return models.Filter(must=[models.FieldCondition(key=key, match=match)])


def _number_key(name: str) -> str:
    """Return the payload path of a field's numbers; quoted names may hold anything but quotes."""
    return f'numbers."{_number_name(name)}"'


def _number_name(name: str) -> str:
    return name.replace("%", "%25").replace('"', "%22") or "%"


def _payload(row: Row) -> dict[str, Any]:
    payload: dict[str, Any] = {name: getattr(row, name) for name in _MATCH_FIELDS}
    payload |= {"values": list(row.tokens), "digest": row.digest}
    payload["numbers"] = {
        _number_name(name): sorted(set(bounds)) for name, bounds in row.numbers.items()
    }
    if row.document is not None:
        document = row.document
        payload |= {"text": document.text, "title": document.title, "source": document.source}
        payload |= {"metadata": metadata_text(document), "sections": sections_text(document)}
    return payload


def _span(payload: dict[str, Any]) -> tuple[str, Span]:
    return payload["document_id"], (payload["start"], payload["end"])


def _document(payload: dict[str, Any]) -> Document:
    return Document(
        payload["document_id"], payload["text"], payload["title"],
        json.loads(payload["metadata"]), payload["source"],
        sections_from_json(json.loads(payload["sections"])),
    )  # fmt: skip
