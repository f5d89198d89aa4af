"""A Qdrant server for tests: its REST API over Qdrant's own engine, which qdrant-edge-py carries.

No package has the server itself. Here the real client speaks over a real socket, Qdrant's models
read its JSON, and the engine of the server answers: payload paths, filters with and without payload
indexes, multivectors and datatypes are those of production. It has the calls that
`pocket_colbert.backends.qdrant` makes and no others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

DONE = {"operation_id": 0, "status": "completed"}


class Server:
    """Collections, each a shard of the engine; used by the thread of the event loop alone."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self.shards: dict[str, Any] = {}
        self.parameters: dict[str, models.VectorParams] = {}

    def create(self, name: str, asked: models.CreateCollection) -> bool:
        """Make a shard with one named multivector."""
        assert isinstance(asked.vectors, dict)
        ((vector, wanted),) = asked.vectors.items()
        assert wanted.hnsw_config is not None and wanted.multivector_config is not None
        types = {"float32": "Float32", "float16": "Float16"}
        parameters = edge.EdgeVectorParams(
            size=wanted.size,
            distance=getattr(edge.Distance, wanted.distance.value),
            datatype=getattr(edge.VectorStorageDatatype, types[str(wanted.datatype.value)]),
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
            hnsw_config=edge.HnswIndexConfig(
                m=wanted.hnsw_config.m, ef_construct=100, full_scan_threshold=10,
                max_indexing_threads=1,
            ),
        )  # fmt: skip
        (self.folder / name).mkdir(parents=True)
        self.shards[name] = edge.EdgeShard.create(
            str(self.folder / name), edge.EdgeConfig(vectors={vector: parameters})
        )
        self.parameters[name] = wanted
        return True

    def index(self, name: str, asked: models.CreateFieldIndex) -> Any:
        """Index a field of the payload."""
        kind: Any = edge.PayloadSchemaType.Float
        if isinstance(asked.field_schema, models.KeywordIndexParams):
            kind = edge.KeywordIndexParams(prefix=asked.field_schema.prefix)
        else:
            assert asked.field_schema == models.PayloadSchemaType.FLOAT
        self.shards[name].update(edge.UpdateOperation.create_field_index(asked.field_name, kind))
        return DONE

    def upsert(self, name: str, asked: models.PointsList) -> Any:
        """Write points."""
        points = [edge.Point(p.id, dict(p.vector), p.payload) for p in asked.points]
        self.shards[name].update(edge.UpdateOperation.upsert_points(points))
        return DONE

    def delete(self, name: str, asked: models.PointIdsList) -> Any:
        """Delete points."""
        self.shards[name].update(edge.UpdateOperation.delete_points(asked.points))
        return DONE

    def query(self, name: str, asked: models.QueryRequest) -> Any:
        """Search exactly."""
        assert asked.params is not None and asked.params.exact
        assert isinstance(asked.query, models.NearestQuery)
        found = self.shards[name].query(
            edge.QueryRequest(
                limit=asked.limit,
                query=edge.Query.Nearest(asked.query.nearest, using=asked.using),
                filter=filter_of(asked.filter),
                with_payload=asked.with_payload,
                params=edge.SearchParams(exact=True),
            )
        )
        return {
            "points": [
                {"id": str(p.id), "version": p.version, "score": p.score, "payload": p.payload}
                for p in found
            ]
        }

    def retrieve(self, name: str, asked: models.PointRequest) -> Any:
        """Return points by their ids."""
        return records(
            self.shards[name].retrieve(
                asked.ids, with_payload=asked.with_payload, with_vector=asked.with_vector or False
            )
        )

    def scroll(self, name: str, asked: models.ScrollRequest) -> Any:
        """Return a page of points."""
        points, after = self.shards[name].scroll(
            edge.ScrollRequest(
                offset=asked.offset, limit=asked.limit, with_payload=asked.with_payload
            )
        )
        return {"points": records(points), "next_page_offset": after and str(after)}

    def count(self, name: str, asked: models.CountRequest) -> Any:
        """Count all points."""
        return {"count": self.shards[name].count(edge.CountRequest(exact=True))}

    def describe(self, name: str, asked: None) -> Any:
        """Say how the collection was made."""
        vectors = {"tokens": self.parameters[name].model_dump(mode="json")}
        return {
            "status": "green", "optimizer_status": "ok", "segments_count": 1, "points_count": 0,
            "payload_schema": {},
            "config": {
                "params": {"vectors": vectors}, "hnsw_config": {
                    "m": 0, "ef_construct": 100, "full_scan_threshold": 10},
                "optimizer_config": {
                    "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0, "flush_interval_sec": 5},
            },
        }  # fmt: skip

    def app(self) -> Starlette:
        """Return the application."""
        exists = lambda name, _: {"exists": name in self.shards}  # noqa: E731
        base = "/collections/{name}"
        calls: Sequence[tuple[str, str, Callable[[str, Any], Any], Any]] = [
            ("GET", "/aliases", lambda name, _: {"aliases": []}, None),
            ("GET", f"{base}/exists", exists, None),
            ("GET", base, self.describe, None),
            ("PUT", base, self.create, models.CreateCollection),
            ("PUT", f"{base}/index", self.index, models.CreateFieldIndex),
            ("PUT", f"{base}/points", self.upsert, models.PointsList),
            ("POST", f"{base}/points", self.retrieve, models.PointRequest),
            ("POST", f"{base}/points/query", self.query, models.QueryRequest),
            ("POST", f"{base}/points/scroll", self.scroll, models.ScrollRequest),
            ("POST", f"{base}/points/delete", self.delete, models.PointIdsList),
            ("POST", f"{base}/points/count", self.count, models.CountRequest),
        ]
        return Starlette(
            routes=[
                Route(path, self._answering(call, body), methods=[verb])
                for verb, path, call, body in calls
            ]
        )

    def _answering(
        self, call: Callable[[str, Any], Any], body: Any
    ) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def answer(request: Request) -> JSONResponse:
            if request.headers.get("api-key") != self.key:
                return JSONResponse({"status": {"error": "Must provide an API key"}}, 401)
            content = await request.body()
            if len(content) > 32 << 20:
                return JSONResponse({"status": {"error": "Payload too large"}}, 413)
            changing = request.method == "PUT" or request.url.path.endswith("/delete")
            if changing and "points" in request.url.path:
                assert request.query_params["wait"] == "true"
            try:
                asked = None if body is None else body.model_validate_json(content)
                result = call(request.path_params.get("name", ""), asked)
            except (ValueError, RuntimeError) as error:
                return JSONResponse({"status": {"error": str(error)}}, 400)
            return JSONResponse({"result": result, "status": "ok", "time": 0.0})

        return answer


def records(points: Sequence[Any]) -> list[dict[str, Any]]:
    """Return what the server says of points."""
    return [{"id": str(p.id), "payload": p.payload, "vector": p.vector} for p in points]


def filter_of(asked: models.Filter | None) -> Any:
    """Return a filter as the engine takes it."""
    if asked is None:
        return None
    parts = {
        name: [condition_of(part) for part in found]
        for name in ("must", "should", "must_not")
        for found in [getattr(asked, name)]
        if found is not None
    }
    return edge.Filter(**parts)


def condition_of(asked: Any) -> Any:
    """Return a condition as the engine takes it."""
    if isinstance(asked, models.Filter):
        return filter_of(asked)
    assert isinstance(asked, models.FieldCondition)
    if asked.range is not None:
        bounds = asked.range.model_dump()
        return edge.FieldCondition(asked.key, range=edge.RangeFloat(**bounds))
    if isinstance(asked.match, models.MatchPrefix):
        return edge.FieldCondition(asked.key, match=edge.MatchPrefix(asked.match.prefix))
    assert isinstance(asked.match, models.MatchAny)
    return edge.FieldCondition(asked.key, match=edge.MatchAny(asked.match.any))
