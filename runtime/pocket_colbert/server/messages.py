"""What the server reads and writes: types, and the limits that are part of the contract.

Requests are decoded into these types and the OpenAPI document is made from them, so that the one
cannot say what the other does not do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pocket_colbert.config import Hybrid, Mode
from pocket_colbert.search.language_rule import RankedBy

MAX_QUERY = 10_000
MAX_TEXT = 250_000
MAX_ID = 1_000
MAX_DOCUMENTS = 1_000
MAX_ENCODE = 128
MAX_K = 1_000
MAX_VALUES = 50_000
"""Values in the JSON of a body."""
MAX_FLOATS_OF = 4_096
MAX_BASE64_OF = 16_384
"""Token vectors of an answer, in lists of numbers and in base64: about 8 MB."""
MAX_WRITTEN = 65_536
"""Token vectors of the documents of a request."""
MAX_ANSWER = 4_000_000
"""Characters of the texts of an answer."""

COMPATIBLE_PATHS = {
    "/rerank": "1",
    "/v1/rerank": "1",
    "/reranking": "1",
    "/v1/reranking": "1",
    "/v2/rerank": "2",
}
"""Paths at which clients of other rerank services ask, and the version of Cohere's interface."""

Query = Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
DocumentId = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]

# A float, since to JSON 10.0 is a whole number too.
Offset = Annotated[float, Meta(ge=0, le=MAX_K, multiple_of=1)]
Count = Annotated[float, Meta(ge=1, le=MAX_K, multiple_of=1)]
Span = tuple[int, int]


class SearchRequest(Struct, forbid_unknown_fields=True):
    """A search. `where` is a filter over metadata, as in docs/indexing.md.

    `k` hits are returned, after leaving out the best `offset` of them; none lies behind the
    thousandth.
    """

    query: Query
    k: Count = 10
    offset: Offset = 0
    where: dict[str, Any] | None = None
    hybrid: Hybrid = "auto"
    mode: Mode = "auto"
    explain: bool = False
    text: bool = False
    snippet_length: Annotated[float, Meta(ge=1, le=2_000, multiple_of=1)] = 160
    min_relevance: Annotated[float, Meta(ge=0, le=1)] | None = None


class Passage(Struct, omit_defaults=True):
    """A passage that matched, in characters of the document's text.

    `headings` is the heading path that it stands under, outermost first; it is left out where there
    is none.
    """

    start: int
    end: int
    score: float
    headings: list[str] = []


class Match(Struct):
    """A query token and the document token nearest to it.

    `similarity` is their cosine, `share` its part of what the words of the query add to the score:
    0 for tokens without a place in the query. `weight` is how strongly to mark it, from 0 to 1:
    rare words much, stop words and punctuation not at all unless the query has nothing else.
    """

    query_token: str
    query_span: Span | None
    document_token: str
    document_span: Span | None
    similarity: float
    share: float
    weight: float


class Explanation(Struct):
    """What the MaxSim of the best passage is made of."""

    score: float
    start: int
    end: int
    matches: list[Match]


class SearchHit(Struct, omit_defaults=True):
    """A document that was found. `snippet` lies at `snippet_span` in its text.

    `relevance` says how likely it is right, from 0 to 1; a model without a curve does not say it.

    `text_length` is the number of characters of the text, which comes with `"text": true`.
    `place` is where the snippet is from, for documents that are files: "guide.md:12", or
    "report.pdf, page 3".
    """

    id: str
    score: float
    title: str | None
    metadata: dict[str, Any]
    passages: list[Passage]
    snippet: str | None
    snippet_span: Span | None
    text_length: int | None
    relevance: float | None = None
    place: str | None = None
    text: str | UnsetType | None = UNSET
    explanation: Explanation | UnsetType = UNSET


class SearchResponse(Struct):
    """Hits, best first. `truncated` says whether the end of the query was cut off.

    `ranked_by` says what they are ordered by: "meaning", "keywords" or "both"; with `hybrid`
    "auto" it is "keywords" where the model was not made for the query's language. `key_spans` are
    the parts of the query that matches are marked of: not its stop words, unless it has no others.
    """

    hits: list[SearchHit]
    truncated: bool
    ranked_by: RankedBy
    key_spans: list[Span]


class InputDocument(Struct, forbid_unknown_fields=True):
    """A document to be indexed."""

    id: DocumentId
    text: Text
    title: Annotated[str, Meta(max_length=MAX_QUERY)] | None = None
    metadata: dict[str, Any] = {}
    source: Annotated[str, Meta(max_length=MAX_QUERY)] | None = None


class DocumentsRequest(Struct, forbid_unknown_fields=True):
    """Documents to add or to put in the place of those that have their ids."""

    documents: Annotated[list[InputDocument], Meta(min_length=1, max_length=MAX_DOCUMENTS)]


class StoredSection(Struct):
    """Where a section starts in the text of its document, and its heading path, outermost first."""

    start: int
    headings: list[str]


class StoredDocument(Struct):
    """A document as it is stored. Its sections are in order; each ends where the next starts."""

    id: str
    text: str | None
    title: str | None
    metadata: dict[str, Any]
    source: str | None
    sections: list[StoredSection]


class DocumentsResponse(Struct):
    """Documents, in the order in which they were asked for."""

    documents: list[StoredDocument]


class AddedResponse(Struct):
    """What was added, and how many documents there are now."""

    added: int
    tokens: int
    documents: int


class DeletedResponse(Struct):
    """How many documents were deleted, and how many there are now."""

    deleted: int
    documents: int


class RerankRequest(Struct, forbid_unknown_fields=True):
    """Texts to be ordered by how well they answer a query."""

    query: Query
    documents: Annotated[list[Text], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    k: Count | None = None


class RerankedText(Struct, omit_defaults=True):
    """A text by its place in the request, its MaxSim, its best passages, and its relevance.

    `relevance` says how likely it is right, from 0 to 1; a model without a curve does not say it.
    """

    index: int
    score: float
    passages: list[Passage]
    relevance: float | None = None


class RerankResponse(Struct):
    """Texts, best first. `truncated` says whether the end of the query was cut off."""

    results: list[RerankedText]
    truncated: bool


class TextObject(Struct):
    """A text, as an object."""

    text: str


# 1 and 0 as well as true and false.
Flag = bool | Annotated[float, Meta(ge=0, le=1, multiple_of=1)] | None
Limit = Annotated[int, Meta(ge=0, le=2**63 - 1)] | None


class CompatibleRerankRequest(Struct):
    """What clients of other services' rerank send: Cohere, Jina, Voyage, TEI, llama.cpp and more.

    The texts are `documents` or `texts`, an object's text is its field "text" or the fields that
    `rank_fields` names. `top_n` and `top_k` are the same; 0 stands for all. The model that answers
    is the one served, whatever `model` says, and long texts are scored whole, in passages. With
    `raw_scores` scores are MaxSim. Fields that are not listed here are ignored, and named once in
    the log.
    """

    query: Query
    documents: (
        Annotated[list[str | dict[str, Any]], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
        | UnsetType
    ) = UNSET
    texts: Annotated[list[str], Meta(min_length=1, max_length=MAX_DOCUMENTS)] | UnsetType = UNSET
    model: str | None = None
    top_n: Limit = None
    top_k: Limit = None
    return_documents: Flag = None
    return_text: Flag = None
    raw_scores: Flag = None
    rank_fields: list[str] | None = None


class ScoredText(Struct, omit_defaults=True):
    """A text by its place in the request, as TEI answers; `score` is MaxSim for `raw_scores`."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class ScoredTexts(list[ScoredText]):
    """Texts, best first, and whether the end of the query was cut off."""

    truncated: bool = False


class ScoredPlace(Struct):
    """The same as a result, under the names that Voyage's clients read."""

    index: int
    relevance_score: float


class CompatibleResult(Struct, omit_defaults=True):
    """A text by its place in the request.

    `relevance_score` says how likely it is right, from 0 to 1, and does not rise down the list:
    texts out of order share their mean. For a model that does not know it, it is the mean over the
    query's tokens of the best cosine; for `raw_scores` it is MaxSim. `document` is a string where
    `raw_scores` was sent, as infinity's clients do.
    """

    index: int
    relevance_score: float
    document: TextObject | str | UnsetType = UNSET


class Usage(Struct):
    """Tokens that were encoded."""

    prompt_tokens: int
    total_tokens: int


class ApiVersion(Struct):
    """Version of the interface that was asked."""

    version: str


class BilledUnits(Struct):
    """Always one search."""

    search_units: int


class RerankMeta(Struct):
    """What Cohere's clients read beside results."""

    api_version: ApiVersion
    billed_units: BilledUnits


class CompatibleRerankResponse(Struct):
    """Results, best first; `data` is the same. `truncated` says whether the query was cut."""

    id: str
    model: str
    object: Literal["list", "rerank"]
    results: list[CompatibleResult]
    data: list[ScoredPlace]
    truncated: bool
    meta: RerankMeta
    usage: Usage


class EncodeRequest(Struct, forbid_unknown_fields=True):
    """Texts to encode. What does not fit the model's window is cut."""

    texts: Annotated[list[Text], Meta(min_length=1, max_length=MAX_ENCODE)]
    task: Literal["query", "document"] = "document"
    format: Literal["float", "base64"] = "float"


class Base64Embedding(Struct):
    """Token vectors, row by row, as float32 in little-endian order."""

    num_tokens: int
    data: str


class EncodeResponse(Struct):
    """One embedding a text: a list of token vectors, or the same in base64.

    `lost` says how many tokens of each text did not fit the model's window and were cut off.
    """

    dim: int
    embeddings: list[list[list[float]] | Base64Embedding]
    lost: list[int]


IndexingState = Literal["counting", "indexing", "done", "stopped", "failed"]


class Indexing(Struct):
    """How far the documents that are served are indexed.

    `documents` of `total` are dealt with; those that are committed can be found. `total` is null
    until they are counted, `message` says why it has failed.
    """

    source: str
    state: IndexingState
    documents: int
    total: int | None
    message: str | None = None


class InfoResponse(Struct):
    """What is served.

    `languages` are codes of those that the model was made for, none when that is not known.
    `keywords` is "none" where searches can be by meaning only, and `fields` false where
    `/api/fields` cannot list what there is to filter by. `complete` is false while a push to a
    backend is under way, or after one broke off: documents may be missing, old or new. `bytes` and
    `generation` are null for a backend on another engine, and `indexing` is null where what is
    served was made before. `relevance` says whether hits say how likely they are right, and
    `examples` are a few things to ask, from the documents' titles and headings or as the server was
    started with.
    """

    version: str
    model: str
    languages: list[str]
    relevance: bool
    examples: list[str]
    documents: int
    passages: int
    tokens: int
    dim: int
    codes: str
    keywords: str
    fields: bool
    complete: bool
    bytes: int | None
    generation: int | None
    writable: bool
    indexing: Indexing | None


class FieldValue(Struct):
    """A value and how many documents have it; 1000 stands for that many or more."""

    value: str | int | float
    documents: int


class MetadataField(Struct):
    """A field of the metadata. `values` is null when there are too many to choose from.

    `least` and `greatest` are there where all values are numbers; true counts as 1, false as 0.
    """

    name: str
    kind: Literal["number", "text", "mixed"]
    least: int | float | None
    greatest: int | float | None
    values: list[FieldValue] | None


class FieldsResponse(Struct):
    """Fields to filter by, in the order of their names; at most 30."""

    fields: list[MetadataField]


class HealthResponse(Struct):
    """That the server answers."""

    status: Literal["ok"]


class Problem(Struct):
    """Kind of an error, for programs, and what to do about it, for people."""

    type: str
    message: str


class ErrorResponse(Struct):
    """Body of every answer that is not a success."""

    error: Problem


class ErrorDetail(Struct):
    """An error as clients of FastAPI's servers read it."""

    loc: list[str]
    msg: str
    type: str


class CompatibleErrorResponse(Struct):
    """The same for clients of other services; `detail` is a list for 422, otherwise the message."""

    error: Problem
    detail: str | list[ErrorDetail]


class ModelResponse(Struct):
    """The model that is served, by whatever name it is asked for, as xinference describes one."""

    id: str
    object: Literal["model"]
    owned_by: str
    model_type: Literal["rerank"]
    model_name: str


class AuthResponse(Struct):
    """Whether requests need a token, as xinference's clients ask."""

    auth: bool
