"""The OpenAPI document, made from the routes and the types that requests are decoded into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

import pocket_colbert.server.messages as m
from pocket_colbert import __version__
from pocket_colbert.server.descriptions import describe

ERRORS = {
    400: "The body is not JSON.",
    401: "The token is missing or wrong.",
    403: "The index is served read-only.",
    404: "There is no document with that id.",
    408: "The body did not come in time.",
    409: "An id is given twice or is in the index, or another process has changed the index.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    421: "The Host header names another server.",
    422: "The request does not follow the schema or another rule; the message says which.",
    500: "The index could not be read or written, or there was an unexpected error.",
    502: "The engine that keeps the documents cannot be reached or does not answer as it must.",
    503: "Too many requests are waiting, this one took too long, or the server is stopping.",
}


_NULL = "[Nn][Uu][Ll][Ll]"
_FORMS: dict[str, list[dict[str, Any]]] = {
    "boolean": [
        {"type": "string", "pattern": f"^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[01]|{_NULL})$"}
    ],
    "integer": [{"type": "string", "pattern": f"^(0|[1-9][0-9]*|{_NULL})$"}],
}
"""How else clients write a value of a type."""

_COMPATIBLE = m.CompatibleRerankRequest.__name__
_SHAPES = {"documents": _COMPATIBLE, "texts": "TextsRerankRequest"}


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    Attributes:
        method: "get", "post", "put" or "delete".
        path: The path.
        name: A name for programs that are made from the document.
        summary: One line for people.
        description: What else there is to know.
        example: A body that the request may have.
        answer: What the answer may be, in part.
        response: Type of the answer.
        request: Type of the body, None for none.
        status: Status of success.
        ids: Whether it takes document ids as parameters.
        errors: Statuses it may have beside those that all have.
        public: Whether it needs no token.
        items: Type of what a list has, if the answer can be a list too.
        error: Type of the answers that are not a success.
    """

    method: str
    path: str
    name: str
    summary: str
    response: type[msgspec.Struct]
    request: type[msgspec.Struct] | None = None
    status: int = 200
    ids: bool = False
    errors: tuple[int, ...] = ()
    public: bool = False
    items: type[msgspec.Struct] | None = None
    error: type[msgspec.Struct] = m.ErrorResponse
    description: str = ""
    example: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    statuses: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        body = (400, 408, 413, 415) if self.request else ()
        input_ = (422,) if self.request or self.ids else ()
        access = () if self.public else (401,)
        common = (421, 500, 503)
        every = {*body, *input_, *access, *common, *self.errors}
        object.__setattr__(self, "statuses", tuple(sorted(every)))


def document_of(
    operations: Sequence[Operation], *, max_ids: int, token: bool, prefix: str = ""
) -> dict[str, Any]:
    """Describe operations as OpenAPI 3.1.

    Args:
        operations: The operations.
        max_ids: Document ids that a request may name.
        token: Whether requests need a token.
        prefix: The path below which the server is, "" for none.
    """
    types: list[Any] = []
    for operation in operations:
        parts = (operation.request, operation.response, operation.items, operation.error)
        types += [part for part in parts if part is not None]
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for schema in components.values():
        _simplify(schema)
    components |= _either(components.pop(_COMPATIBLE))
    for name, schema in components.items():
        describe(name, schema)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "pocket-colbert",
            "version": __version__,
            "description": "Late-interaction search. Positions in texts count Unicode code points. "
            "Every error has a `type` for programs and a `message` that says what to do.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {},
        "components": {"schemas": components},
    }
    if prefix:
        document["servers"] = [{"url": prefix}]
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for operation in operations:
        item = document["paths"].setdefault(operation.path, {})
        item[operation.method] = _described(operation, max_ids, token)
    return document


def _either(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the two shapes of a request that has either `documents` or `texts`, by name."""
    shapes = {}
    for name, other in (("documents", "texts"), ("texts", "documents")):
        properties = {
            key: _liberal(value) for key, value in schema["properties"].items() if key != other
        }
        required = [*schema["required"], name]
        shapes[_SHAPES[name]] = {
            **schema, "title": _SHAPES[name], "properties": properties, "required": required
        }  # fmt: skip
    return shapes


def _liberal(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the texts that stand for a truth value or a number, as decoding without `strict` does."""
    choices = schema.get("anyOf", [])
    for kind, forms in _FORMS.items():
        if any(choice.get("type") == kind for choice in choices):
            return {**schema, "anyOf": [*choices, *forms]}
    return schema


def _simplify(schema: Any) -> None:
    """Write a schema so that programs which make clients of it understand it, in place.

    A pair is an array of two items, an object of any fields says so, whole numbers are integers,
    and nothing has a default.
    """
    if isinstance(schema, list):
        for item in schema:
            _simplify(item)
    elif isinstance(schema, dict):
        prefix = schema.pop("prefixItems", None)
        if prefix is not None:
            schema["items"] = prefix[0]  # all our pairs are of two equal types
        # Programs take a field with a default for one that is always there.
        schema.pop("default", None)
        if schema.get("multipleOf") == 1:
            del schema["multipleOf"]
            schema["type"] = "integer"
        if "enum" in schema:
            schema["type"] = "string"
        if schema.get("type") == "object" and "properties" not in schema:
            if not schema.get("additionalProperties"):
                schema["additionalProperties"] = True
        for value in schema.values():
            _simplify(value)


def _described(operation: Operation, max_ids: int, token: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description or operation.summary,
        "responses": {
            str(operation.status): {"description": "Done."}
            | _content(operation.response, operation.items),
            **{
                str(status): {"description": ERRORS[status]} | _content(operation.error)
                for status in operation.statuses
            },
        },
    }
    if token and not operation.public:
        described["security"] = [{"token": []}]
    if operation.answer is not None:
        answered = described["responses"][str(operation.status)]["content"]["application/json"]
        answered["example"] = operation.answer
    if operation.request is not None:
        described["requestBody"] = {"required": True} | _body(operation.request)
        if operation.example is not None:
            body = described["requestBody"]["content"]["application/json"]
            body["example"] = operation.example
    if "{model}" in operation.path:
        described["parameters"] = [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "Any name.",
                "schema": {"type": "string", "minLength": 1},
            }
        ]
    if operation.ids:
        described["parameters"] = [
            {
                "name": "id",
                "in": "query",
                "required": True,
                "description": "Ids of documents, one parameter each.",
                "style": "form",
                "explode": True,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1, "maxLength": m.MAX_ID},
                    "minItems": 1,
                    "maxItems": max_ids,
                },
            }
        ]
    return described


def _body(message: type[msgspec.Struct]) -> dict[str, Any]:
    if message.__name__ != _COMPATIBLE:
        return _content(message)
    shapes = [{"$ref": f"#/components/schemas/{name}"} for name in _SHAPES.values()]
    return {"content": {"application/json": {"schema": {"anyOf": shapes}}}}


def _content(
    message: type[msgspec.Struct], items: type[msgspec.Struct] | None = None
) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{message.__name__}"}
    if items is not None:
        listed = {"type": "array", "items": {"$ref": f"#/components/schemas/{items.__name__}"}}
        schema = {"anyOf": [schema, listed]}
    return {"content": {"application/json": {"schema": schema}}}
