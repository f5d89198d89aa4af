"""Requests as clients of other rerank services send them."""

from __future__ import annotations

import logging
import threading
from typing import Any

import msgspec
from msgspec import UNSET

import pocket_colbert.server.messages as m
from pocket_colbert.server.problems import RequestError

logger = logging.getLogger("pocket_colbert.server")

_MOST_NAMES = 100
_seen: set[str] = set()
_seen_lock = threading.Lock()


def compatible_texts(request: m.CompatibleRerankRequest) -> list[str]:
    """Return the texts of a request.

    Raises:
        RequestError: There are none or twice, or one has no text or too long a one.
    """
    if (request.documents is UNSET) == (request.texts is UNSET):
        raise _refused("send documents, or texts as for TEI, and not both.")
    items: list[Any] = request.texts if request.documents is UNSET else request.documents  # type: ignore[assignment]
    texts = [_text(item, position, request.rank_fields) for position, item in enumerate(items)]
    for position, text in enumerate(texts):
        if len(text) > m.MAX_TEXT:
            raise _refused(
                f"a text has at most {m.MAX_TEXT} characters, got {len(text)} at {position}."
            )
    return texts


def note_unknown_fields(kind: type[msgspec.Struct], body: bytes) -> None:
    """Log, once for each name, the fields of a body that are ignored."""
    known = set(kind.__struct_fields__)
    for name in msgspec.json.decode(body, type=dict[str, msgspec.Raw]):
        if name in known:
            continue
        name = name[:60]
        with _seen_lock:
            is_new = name not in _seen and len(_seen) < _MOST_NAMES
            _seen.add(name) if is_new else None
        if is_new:
            logger.warning("reranking ignores the field %r that a client sent", name)


def _text(item: Any, position: int, rank_fields: list[str] | None) -> str:
    if isinstance(item, str):
        return item
    names = rank_fields or ["text"]
    values = [item[name] for name in names if item.get(name) is not None]
    if not values:
        raise _refused(
            f"a document must be a text or have the field {' or '.join(names)!r:.80}, got none at "
            f"{position}."
        )
    return "\n".join(v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in values)


def _refused(message: str) -> RequestError:
    return RequestError(422, "invalid_request", message)
