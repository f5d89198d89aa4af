"""What schemathesis cannot know of right requests, since a schema cannot say it.

Wrong requests stay as they are, and so does everything else of right ones.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make a request right that breaks a rule beyond its schema."""
    meta, body = case.meta, case.body
    if meta is None or meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    if not isinstance(body, dict):
        return
    if body.get("where"):  # the operators of filters
        body["where"] = {"year": {"$gte": 2000}}
    body.pop("min_relevance", None)  # not every model knows relevance
    if isinstance(body.get("documents"), list):
        fields = body.get("rank_fields") or ["text"]
        for item in body["documents"]:
            if isinstance(item, dict) and "query" in body:  # an object has one of the fields
                item.setdefault(fields[0], "a")
