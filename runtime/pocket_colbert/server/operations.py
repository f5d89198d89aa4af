"""What can be asked of a server: paths, types, descriptions and examples, and what answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pocket_colbert.server.messages as m
from pocket_colbert.server.openapi import Operation
from pocket_colbert.server.problems import Deadline
from pocket_colbert.server.service import Service

Work = Callable[[Any, Deadline], Any]

_COMPATIBLE = (
    ("/rerank", "rerankCompatible"),
    ("/v1/rerank", "rerankCompatible1"),
    ("/reranking", "rerankLlamaCpp"),
    ("/v1/reranking", "rerankLlamaCpp1"),
    ("/v2/rerank", "rerankCompatible2"),
)
_TEXTS = ["In May the old queen leaves the hive.", "Bread needs time to rise."]
_DOCUMENT = {
    "id": "bees",
    "text": "In May the old queen leaves the hive with half of the colony.",
    "title": "Bees",
    "metadata": {"year": 2024, "topics": ["nature"]},
}


def operations_of(service: Service) -> list[tuple[Operation, Work | None]]:
    """Return all operations, each with what answers it; None where the answer is constant."""
    return [
        (
            Operation(
                "post", "/api/search", "search", "Search.",
                m.SearchResponse, m.SearchRequest, errors=(502,),
                description="Returns the documents that answer a question, best first, each "
                "with the part of its text to show and how likely it is right. Ask for the next "
                "page with `offset`.",
                example={"query": "When do bees swarm?", "k": 3, "where": {"year": {"$gte": 2020}}},
            ),
            service.search,
        ),
        (
            Operation(
                "post", "/api/rerank", "rerank", "Order texts by a query.",
                m.RerankResponse, m.RerankRequest,
                description="Scores texts that you send; nothing is stored.",
                example={"query": "When do bees swarm?", "documents": _TEXTS, "k": 1},
            ),
            service.rerank,
        ),
        (
            Operation(
                "post", "/api/encode", "encode", "Encode texts as token vectors.",
                m.EncodeResponse, m.EncodeRequest,
                description="Returns one vector a token, for programs that compute MaxSim.",
                example={"texts": ["When do bees swarm?"], "task": "query", "format": "base64"},
            ),
            service.encode,
        ),
        (
            Operation(
                "post", "/api/documents", "addDocuments", "Add documents with new ids.",
                m.AddedResponse, m.DocumentsRequest, status=201, errors=(403, 409),
                description="They are on disk and can be found when the answer arrives. All are "
                "added or, if one cannot be, none.",
                example={"documents": [_DOCUMENT]},
                answer={"added": 1, "tokens": 14, "documents": 54},
            ),
            partial(service.add, replacing=False),
        ),
        (
            Operation(
                "put", "/api/documents", "upsertDocuments",
                "Add documents, replacing those with the same ids.",
                m.AddedResponse, m.DocumentsRequest, errors=(403, 409),
                description="As POST, but ids may be there already. Sending the same again does no "
                "harm.",
                example={"documents": [_DOCUMENT]},
                answer={"added": 1, "tokens": 14, "documents": 54},
            ),
            partial(service.add, replacing=True),
        ),
        (
            Operation(
                "get", "/api/documents", "getDocuments", "Return documents.",
                m.DocumentsResponse, ids=True, errors=(404, 502),
                description="Texts, metadata and sections of documents, in the order of their ids. "
                "If one is unknown, none is returned.",
            ),
            lambda ids, deadline: service.documents(ids),
        ),
        (
            Operation(
                "delete", "/api/documents", "deleteDocuments", "Delete documents.",
                m.DeletedResponse, ids=True, errors=(403, 404, 409),
                description="They are gone from the disk's index when the answer arrives. If an id "
                "is unknown, nothing is deleted.",
                answer={"deleted": 1, "documents": 53},
            ),
            lambda ids, deadline: service.delete(ids),
        ),
        (
            Operation(
                "get", "/api/info", "info", "Describe what is served.", m.InfoResponse,
                errors=(502,),
                description="Numbers, what can be done, how far indexing is, and examples of "
                "questions.",
            ),
            lambda nothing, deadline: service.info(),
        ),
        (
            Operation(
                "get", "/api/fields", "fields", "List the fields to filter by.",
                m.FieldsResponse, errors=(422,),
                description="The fields of the metadata and their values, with how many documents "
                "have each.",
            ),
            lambda nothing, deadline: service.fields(),
        ),
        *(
            (
                Operation(
                    "post", path, name, "Order texts as Cohere's and Jina's interfaces do.",
                    m.CompatibleRerankResponse, m.CompatibleRerankRequest,
                    items=m.ScoredText, error=m.CompatibleErrorResponse,
                    description="For clients of other rerank services, which need only the "
                    "address. Fields that are not known are ignored.",
                    example={"query": "When do bees swarm?", "documents": _TEXTS, "top_n": 1},
                ),
                partial(service.rerank_compatible, version=m.COMPATIBLE_PATHS[path]),
            )
            for path, name in _COMPATIBLE
        ),
        (
            Operation(
                "get", "/v1/models/{model}", "model", "Describe the model that is served.",
                m.ModelResponse, error=m.CompatibleErrorResponse,
                description="Whatever name is asked for: xinference's client asks this first.",
            ),
            None,
        ),
        (
            Operation(
                "get", "/v1/cluster/auth", "auth", "Say whether requests need a token.",
                m.AuthResponse, public=True, error=m.CompatibleErrorResponse,
                description="Xinference's client asks this first.",
            ),
            None,
        ),
        (
            Operation(
                "get", "/health", "health", "Report that the server is up.",
                m.HealthResponse, public=True,
                description="Answers without a token and at once, also while others wait.",
                answer={"status": "ok"},
            ),
            None,
        ),
    ]  # fmt: skip
