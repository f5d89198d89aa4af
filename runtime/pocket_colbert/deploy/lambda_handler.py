"""Search as a function: an AWS Lambda handler for the index and the model beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import SearchParameters
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever

_KEYS = {"query", "k", "where", "hybrid", "texts", "min_relevance"}
_MAX_K = 100
_MAX_BODY = 64 << 10
"""Most characters in a request; a query is a sentence or two."""


class LambdaHandler:
    """Answers Lambda events from an index that is opened once, when the container starts.

    Create it at the top of the module that Lambda imports: that runs before the first event, with
    a whole processor. It only reads its folder.

        >>> handler = LambdaHandler(Path(__file__).parent)

    An event is a request from API Gateway (either payload format) or a function URL: POST with a
    JSON object, or GET with `query` and `k` in the query string. Any other event must be the JSON
    object itself, as `aws lambda invoke` sends it. The object has

        query   what to search for
        k       most hits to return, 10 by default, 100 at most
        where   a filter for the metadata, see `filters.parse_filter`
        hybrid  "auto", "off", "rrf", "weighted" or "keywords", see `SearchParameters`
        texts   false leaves the texts out of the answer

    and the answer is `{"hits": [...]}`, each with the fields of a `Hit`.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        """Open the index and the model that `pocket-colbert bundle` packed.

        Args:
            folder: Has the index in `index` and the model in `model`.
            threads: Threads that one search may use, by default one per usable core.

        Raises:
            IndexFolderError: The index cannot be used.
            ModelError: The model cannot be used.
            InvalidInputError: The index was made with another model.
        """
        folder = Path(folder)
        index = Index.load(folder / "index", threads=threads)
        encoder = Encoder.for_index(index.config, folder / "model", threads=threads)
        self.retriever: Retriever = Retriever(encoder, index)

    def __call__(self, event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
        """Answer an event.

        Args:
            event: The event from Lambda.
            context: The context from Lambda; not used.

        Returns:
            For an HTTP request, a response: 200 with the answer, or 400, 405 or 413 with
            `{"error": ...}`. For other events, the answer itself.

        Raises:
            InvalidInputError: An event that is not an HTTP request breaks a rule.
        """
        method = _method(event)
        if method is None:
            return self.answer(event)
        if method not in ("GET", "POST"):
            return _response(405, {"error": f"method must be GET or POST, got {method}."})
        try:
            if method == "GET":
                request = _from_query_string(event)
            else:
                body = _body(event)
                if len(body) > _MAX_BODY:
                    return _response(413, {"error": f"a request is at most {_MAX_BODY} bytes."})
                request = _parsed(body)
            return _response(200, self.answer(request))
        except InvalidInputError as error:
            return _response(400, {"error": str(error)})

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Search.

        Args:
            request: See the class.

        Returns:
            `{"hits": [...], "truncated": false}`, best first; `truncated` says whether the end of
            the query was cut off.

        Raises:
            InvalidInputError: The request breaks a rule.
        """
        if not isinstance(request, Mapping):
            raise InvalidInputError(
                f"the request must be a JSON object, got {type(request).__name__}."
            )
        unknown = sorted(str(key) for key in set(request) - _KEYS)
        if unknown:
            raise InvalidInputError(
                f"a request may have the keys {', '.join(sorted(_KEYS))}, got {unknown[0][:40]!r}."
            )
        query, k, texts = request.get("query"), request.get("k", 10), request.get("texts", True)
        if not isinstance(query, str) or not query.strip():
            raise InvalidInputError(f"query must be a string that is not empty, got {query!r:.40}.")
        check_whole_number("k", k, most=_MAX_K)
        if not isinstance(texts, bool):
            raise InvalidInputError(f"texts must be true or false, got {texts!r:.40}.")
        parameters = SearchParameters(hybrid=request.get("hybrid", "auto"))
        (found,) = self.retriever.retrieve(
            [query],
            k,
            parameters=parameters,
            where=_where(request),
            min_relevance=request.get("min_relevance"),
        )
        hits = [hit.to_json() for hit in found]
        if not texts:
            for hit in hits:
                del hit["text"]
        return {"hits": hits, "truncated": found.truncated}


def _where(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    where = request.get("where")
    if where is not None and not isinstance(where, Mapping):
        raise InvalidInputError(f"where must be a JSON object, got {type(where).__name__}.")
    return where


def _method(event: Mapping[str, Any]) -> str | None:
    """Return the HTTP method of an event, None if it is not an HTTP request."""
    if not isinstance(event, Mapping):
        return None
    context = event.get("requestContext")
    http = context.get("http") if isinstance(context, Mapping) else None
    method = http.get("method") if isinstance(http, Mapping) else event.get("httpMethod")
    return None if method is None else str(method).upper()[:20]


def _body(event: Mapping[str, Any]) -> str:
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise InvalidInputError(f"the body must be a string, got {type(body).__name__}.")
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode("utf-8")
    except ValueError as error:  # from base64 or from UTF-8
        raise InvalidInputError(f"the body must be UTF-8 in base64: {error}.") from error


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the body must be a JSON object: {error}.") from error


def _from_query_string(event: Mapping[str, Any]) -> dict[str, Any]:
    values = event.get("queryStringParameters") or {}
    if not isinstance(values, Mapping):
        raise InvalidInputError("queryStringParameters must be an object.")
    request: dict[str, Any] = dict(values)
    for key in request.keys() & {"k", "where", "texts"}:
        try:
            request[key] = json.loads(str(request[key]))
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{key} must be JSON: {error}.") from error
    return request


def _response(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json; charset=utf-8"},
        "body": json.dumps(content, ensure_ascii=False),
    }
