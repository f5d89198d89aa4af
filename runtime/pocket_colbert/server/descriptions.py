"""What the fields of messages mean, for people who read the OpenAPI document.

A test checks that each field has a description here, and that there is none for anything else.
"""

from __future__ import annotations

from typing import Any

_QUERY = "What is asked, in your own words."
_ID = "Id of the document, as it was added."
_TRUNCATED = "Whether the end of the query did not fit the model's window and was not looked at."
_RELEVANCE = (
    "How likely it is right, from 0 to 1. Left out for a model of which that was not measured."
)
_INDEX = "Place of the text in the request, from 0."
_PASSAGES = "The passages that matched, best first."
_START = "First character in the document's text, from 0."
_METADATA = "Metadata, any JSON object."
_DOCUMENTS_NOW = "How many documents there are now."
_TEXTS_TO_RANK = "The texts: strings, or objects with a field `text`."
_IN_FULL = "Whether to return the texts, too."

FIELDS: dict[str, dict[str, str]] = {
    "SearchRequest": {
        "query": _QUERY,
        "k": "How many documents to return. 10 if left out.",
        "offset": "How many of the best documents to leave out: those of the pages before.",
        "where": 'A filter over metadata, such as {"year": {"$gte": 2020}}.',
        "hybrid": 'What to rank by: "off" is by meaning, "keywords" by words, "auto" chooses by '
        "the query's language.",
        "mode": '"exact" scores every document, "approximate" the most promising of a large index.',
        "explain": "Whether to say for each hit which words matched which.",
        "text": "Whether to return the whole text of each hit.",
        "snippet_length": "About how many characters of each hit to show.",
        "min_relevance": "Leave out hits that are less likely to be right than that.",
    },
    "Passage": {
        "start": _START,
        "end": "The character after its last.",
        "score": "MaxSim of the passage.",
        "headings": "Headings that it stands under, outermost first.",
    },
    "Match": {
        "query_token": "A token of the query.",
        "query_span": "Where it is in the query; null for tokens that the model adds.",
        "document_token": "The token of the passage that is nearest to it.",
        "document_span": "Where that is in the document's text.",
        "similarity": "Their cosine.",
        "share": "Part of what the words of the query add to the score.",
        "weight": "How strongly to mark it, from 0 to 1.",
    },
    "Explanation": {
        "score": "MaxSim of the best passage.",
        "start": _START,
        "end": "The character after its last.",
        "matches": "One for each token of the query.",
    },
    "SearchHit": {
        "id": _ID,
        "score": "What hits are ordered by; larger is better, and no probability.",
        "title": "Title, null if it has none.",
        "metadata": _METADATA,
        "passages": _PASSAGES,
        "snippet": "The part of the text to show; null if the index holds no texts.",
        "snippet_span": "Where the snippet is in the text.",
        "text_length": "Characters of the text.",
        "relevance": _RELEVANCE,
        "place": "File and line, or page, that the snippet is from.",
        "text": "The whole text, if it was asked for.",
        "explanation": "What matched, if it was asked for.",
    },
    "SearchResponse": {
        "hits": "Documents, best first.",
        "truncated": _TRUNCATED,
        "ranked_by": "What the hits are ordered by.",
        "key_spans": "Parts of the query that are no stop words.",
    },
    "InputDocument": {
        "id": "Any text that no other document has as its id.",
        "text": "The text. Markdown and HTML are shown rendered on the page.",
        "title": "Title; it is searched, too.",
        "metadata": "Values to filter by: numbers, texts, true, false, or lists of them.",
        "source": "Where the document is from, to delete or update all of one source.",
    },
    "DocumentsRequest": {"documents": "The documents; their ids differ."},
    "StoredSection": {"start": _START, "headings": "Its headings, outermost first."},
    "StoredDocument": {
        "id": _ID,
        "text": "The text, null if the index holds none.",
        "title": "Title, null if it has none.",
        "metadata": _METADATA,
        "source": "Where it is from, null if that is not known.",
        "sections": "Its sections, in order.",
    },
    "DocumentsResponse": {"documents": "In the order in which they were asked for."},
    "AddedResponse": {
        "added": "How many documents were added.",
        "tokens": "How many token vectors they have.",
        "documents": _DOCUMENTS_NOW,
    },
    "DeletedResponse": {"deleted": "How many were deleted.", "documents": _DOCUMENTS_NOW},
    "RerankRequest": {
        "query": _QUERY,
        "documents": "The texts to order.",
        "k": "How many to return; all if left out.",
    },
    "RerankedText": {
        "index": _INDEX,
        "score": "MaxSim of its best passage.",
        "passages": _PASSAGES,
        "relevance": _RELEVANCE,
    },
    "RerankResponse": {"results": "Texts, best first.", "truncated": _TRUNCATED},
    "TextObject": {"text": "The text."},
    "CompatibleRerankRequest": {
        "query": _QUERY,
        "documents": _TEXTS_TO_RANK,
        "model": "Any name: the model that is served answers.",
        "top_n": "How many to return; 0 is all.",
        "top_k": "The same.",
        "return_documents": _IN_FULL,
        "return_text": _IN_FULL,
        "raw_scores": "Whether scores are MaxSim instead of a relevance.",
        "rank_fields": "Fields of the objects that their text is in.",
    },
    "TextsRerankRequest": {
        "query": _QUERY,
        "texts": "The texts to order.",
        "model": "Any name: the model that is served answers.",
        "top_n": "How many to return; 0 is all.",
        "top_k": "The same.",
        "return_documents": _IN_FULL,
        "return_text": _IN_FULL,
        "raw_scores": "Whether scores are MaxSim instead of a relevance.",
        "rank_fields": "Not used beside texts.",
    },
    "ScoredText": {
        "index": _INDEX,
        "score": "How likely it is right, or MaxSim for `raw_scores`.",
        "text": "The text, if it was asked for.",
    },
    "ScoredPlace": {"index": _INDEX, "relevance_score": "As in `results`."},
    "CompatibleResult": {
        "index": _INDEX,
        "relevance_score": "How likely it is right, from 0 to 1.",
        "document": "The text, if it was asked for.",
    },
    "Usage": {
        "prompt_tokens": "Tokens of the query and the texts.",
        "total_tokens": "The same.",
    },
    "ApiVersion": {"version": "Version of Cohere's interface."},
    "BilledUnits": {"search_units": "Always 1; nothing is billed."},
    "RerankMeta": {
        "api_version": "Version of the interface.",
        "billed_units": "Always one search.",
    },
    "CompatibleRerankResponse": {
        "id": "A new id for each answer.",
        "model": "The name that was sent, or the model's fingerprint.",
        "object": "A word that clients expect.",
        "results": "Texts, best first.",
        "data": "The same, as Voyage's clients read it.",
        "truncated": _TRUNCATED,
        "meta": "What Cohere's clients read.",
        "usage": "Tokens that were encoded.",
    },
    "EncodeRequest": {
        "texts": "The texts to encode.",
        "task": "Whether they are queries or documents: a model treats them differently.",
        "format": "Whether to return numbers, or the same in base64, which is a third as long.",
    },
    "Base64Embedding": {
        "num_tokens": "How many token vectors there are.",
        "data": "Their float32 values, row by row, in base64.",
    },
    "EncodeResponse": {
        "dim": "Length of each vector.",
        "embeddings": "One for each text.",
        "lost": "Tokens of each text that did not fit the model's window.",
    },
    "Indexing": {
        "source": "Name of the file or folder.",
        "state": "How far it is.",
        "documents": "Documents that are dealt with.",
        "total": "Documents that there are; null until they are counted.",
        "message": "Why it failed, or what was left out.",
    },
    "InfoResponse": {
        "version": "Version of pocket-colbert.",
        "model": "Fingerprint of the model.",
        "languages": "Codes of the languages that the model was made for.",
        "relevance": "Whether hits say how likely they are right.",
        "examples": "A few things to ask.",
        "documents": "Number of documents.",
        "passages": "Number of passages.",
        "tokens": "Number of token vectors.",
        "dim": "Length of a token vector.",
        "codes": "How token vectors are stored.",
        "keywords": 'What keyword search treats as a word, "none" without keyword search.',
        "fields": "Whether `/api/fields` lists what there is to filter by.",
        "complete": "False if a push to the backend is under way or broke off.",
        "bytes": "Size on disk; null if unknown.",
        "generation": "Number of the commit that is served; null without commits.",
        "writable": "Whether documents can be added and deleted.",
        "indexing": "How far the documents are indexed; null where they were indexed before.",
    },
    "FieldValue": {
        "value": "A value of the field.",
        "documents": "How many documents have it; 1000 is that many or more.",
    },
    "MetadataField": {
        "name": "Name of the field, as filters name it.",
        "kind": "What its values are.",
        "least": "The least value, if all are numbers.",
        "greatest": "The greatest value, if all are numbers.",
        "values": "Its values, the most frequent first; null if there are too many.",
    },
    "FieldsResponse": {"fields": "In the order of their names."},
    "HealthResponse": {"status": "Always ok."},
    "Problem": {
        "type": "Kind of the error, for programs.",
        "message": "What is wrong and what to do, for people.",
    },
    "ErrorResponse": {"error": "What is wrong."},
    "ErrorDetail": {
        "loc": "Where the error is.",
        "msg": "What is wrong and what to do.",
        "type": "Kind of the error.",
    },
    "CompatibleErrorResponse": {
        "error": "What is wrong.",
        "detail": "The same, as clients of other services read it.",
    },
    "ModelResponse": {
        "id": "The name that was asked for.",
        "object": "Always model.",
        "owned_by": "Always pocket-colbert.",
        "model_type": "Always rerank.",
        "model_name": "Fingerprint of the model.",
    },
    "AuthResponse": {"auth": "Whether requests need a token."},
}


def describe(name: str, schema: dict[str, Any]) -> None:
    """Add descriptions to the fields of a schema, in place.

    Args:
        name: Name of the schema.
        schema: The schema, of an object.
    """
    properties = schema.get("properties", {})
    for field, text in FIELDS.get(name, {}).items():
        if field in properties:
            # In OpenAPI 3.1 a description may stand beside a reference.
            properties[field] = {**properties[field], "description": text}
