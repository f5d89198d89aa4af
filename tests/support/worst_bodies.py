"""The bodies that take most time and memory of each endpoint, within the limit of a body's size."""

from __future__ import annotations

import json
from typing import Any


def nested(name: bytes, depth: int) -> bytes:
    """Return objects within objects."""
    return name * depth + b"{}" + b"}" * depth


def search(where: bytes) -> bytes:
    """Return a search with a filter."""
    return b'{"query": "bees", "where": ' + where + b"}"


def many(part: bytes, number: int) -> bytes:
    """Return a list of equal parts."""
    return b"[" + b",".join([part] * number) + b"]"


def body(**values: Any) -> bytes:
    """Return values as JSON with as few bytes a character as there can be."""
    return json.dumps(values, ensure_ascii=False).encode()


MANY = 1_300_000
LONG = "\u8702" * 80_000  # a token a character
WIDE = "a" * 240_000 + "\U0001f41d"  # four bytes a character in Python
FULL = ["bees " * 2000] * 128
SEARCHES = {
    "empty parts": search(b'{"$or": ' + many(b"{}", 40_000) + b"}"),
    "as many parts as allowed": search(b'{"$or": ' + many(b'{"n": {"$lt": 0}}', 900) + b"}"),
    "conditions that hold for all": search(b'{"$and": ' + many(b'{"tag": "a"}', 60) + b"}"),
    "groups in groups": search(nested(b'{"$and": [{"tag": "a"}], "$not": ', 30)),
    "values": search(b'{"tag": {"$in": ' + many(b'"a"', 49_000) + b"}}"),
    "lists": search(b'{"n": ' + many(b"[]", MANY) + b"}"),
    "objects": search(b'{"n": ' + many(b"{}", MANY) + b"}"),
    "deep": search(nested(b'{"$not": ', 400_000)),
    "hits": body(query="bees in May", k=1000, explain=True, text=True, snippet_length=2000),
    "query": body(query="bees " * 2000, k=1000),
}
RERANKS = {
    "long texts": body(query="bees", documents=[LONG] * 15),
    "wide texts": body(query="bees", documents=[WIDE] * 16),
    "many texts": body(query="bees", documents=["bees and " * 400] * 1000),
}
COMPATIBLE = {
    "no texts": b'{"query": "bees", "documents": ' + many(b'""', MANY) + b"}",
    "fields of objects": b'{"query": "bees", "documents": [{"text": "a", "b": '
    + many(b"[]", MANY) + b"}]}",
    "unknown fields": b'{"query": "bees", "documents": ["a"], "b": ' + many(b"[]", MANY) + b"}",
}  # fmt: skip
ENCODES = {
    "numbers": body(texts=FULL),
    "base64": body(texts=FULL, format="base64"),
    "queries": body(texts=FULL, task="query"),
}
WRITES = {
    "metadata": b'{"documents": [{"id": "x", "text": "a", "metadata": {"a": '
    + many(b"[]", MANY) + b"}}]}",
    "long documents": body(documents=[{"id": str(n), "text": LONG} for n in range(15)]),
}  # fmt: skip
WORST = {
    name: (method, path, content)
    for method, path, bodies in (
        ("POST", "/api/search", SEARCHES), ("POST", "/api/rerank", RERANKS),
        ("POST", "/v1/rerank", COMPATIBLE), ("POST", "/api/encode", ENCODES),
        ("PUT", "/api/documents", WRITES),
    )
    for name, content in bodies.items()
}  # fmt: skip
