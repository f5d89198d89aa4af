"""A Qdrant server for tests: its REST API over the engine of qdrant-client's local mode.

The real client speaks to it over a real socket, so that what is sent is what a server gets: JSON
that Qdrant's own models read, the API key, status codes. It has the calls that
`pocket_colbert.stores.qdrant` makes and no others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_Handler = Callable[[Request, Any], Any]


def create_app(client: QdrantClient, key: str | None = None) -> Starlette:
    """Return an application that answers from a local client, which no other thread may use."""

    def answering(handler: _Handler, body: Any) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def answer(request: Request) -> JSONResponse:
            if key is not None and request.headers.get("api-key") != key:
                return JSONResponse({"status": {"error": "Must provide an API key"}}, 401)
            content = await request.body()
            if len(content) > 32 << 20:
                return JSONResponse({"status": {"error": "Payload too large"}}, 413)
            try:
                given = None if body is None else body.model_validate_json(content)
                result = handler(request, given)
            except ValueError as error:
                return JSONResponse({"status": {"error": str(error)}}, 400)
            return JSONResponse({"result": result, "status": "ok", "time": 0.0})

        return answer

    def name(request: Request) -> str:
        return str(request.path_params["name"])

    def listed(points: Any) -> Any:
        return [point.model_dump(mode="json") for point in points]

    def query(request: Request, asked: Any) -> Any:
        found = client.query_points(
            name(request), asked.query, using=asked.using, limit=asked.limit,
            query_filter=asked.filter, with_payload=asked.with_payload,
        )  # fmt: skip
        assert asked.params.exact is not None
        return {"points": listed(found.points)}

    def retrieve(request: Request, asked: Any) -> Any:
        found = client.retrieve(
            name(request), asked.ids, with_payload=asked.with_payload,
            with_vectors=asked.with_vector or False,
        )  # fmt: skip
        return listed(found)

    def scroll(request: Request, asked: Any) -> Any:
        points, after = client.scroll(
            name(request), limit=asked.limit, offset=asked.offset, with_payload=asked.with_payload
        )
        return {"points": listed(points), "next_page_offset": after}

    done = {"operation_id": 0, "status": "completed"}

    def create(request: Request, asked: Any) -> bool:
        return client.create_collection(name(request), asked.vectors)

    def upsert(request: Request, asked: Any) -> Any:
        assert request.query_params["wait"] == "true"
        client.upsert(name(request), asked.points)
        return done

    def delete(request: Request, asked: Any) -> Any:
        assert request.query_params["wait"] == "true"
        client.delete(name(request), asked)
        return done

    base = "/collections/{name}"
    calls: list[tuple[str, str, _Handler, Any]] = [
        ("GET", "/aliases", lambda r, _: client.get_aliases().model_dump(mode="json"), None),
        ("GET", f"{base}/exists", lambda r, _: {"exists": client.collection_exists(name(r))}, None),
        ("GET", base, lambda r, _: client.get_collection(name(r)).model_dump(mode="json"), None),
        ("PUT", base, create, models.CreateCollection),
        ("PUT", f"{base}/index", lambda r, _: done, models.CreateFieldIndex),
        ("PUT", f"{base}/points", upsert, models.PointsList),
        ("POST", f"{base}/points", retrieve, models.PointRequest),
        ("POST", f"{base}/points/query", query, models.QueryRequest),
        ("POST", f"{base}/points/scroll", scroll, models.ScrollRequest),
        ("POST", f"{base}/points/delete", delete, models.PointIdsList),
        ("POST", f"{base}/points/count", lambda r, _: {"count": client.count(name(r)).count},
         models.CountRequest),
    ]  # fmt: skip
    return Starlette(
        routes=[Route(path, answering(f, body), methods=[verb]) for verb, path, f, body in calls]
    )
