"""The OpenAPI document says of every field what it means, and its examples are true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema
import pytest

from pocket_colbert import Document, Encoder
from pocket_colbert.server.descriptions import FIELDS
from tests.support.pages import serving


@pytest.fixture
def api(tmp_path: Path, encoder: Encoder) -> Any:
    """The document, and what examples are answered with."""
    with serving(tmp_path, encoder, [Document("bees", "Bees swarm in May.")]) as address:
        document = httpx.get(f"{address}/openapi.json").json()
        document["answers"] = {
            operation["operationId"]: httpx.request(
                method, address + path,
                json=operation["requestBody"]["content"]["application/json"]["example"],
            ).status_code
            for path, methods in document["paths"].items()
            for method, operation in sorted(methods.items(), reverse=True)  # PUT before POST
            if "requestBody" in operation
        }  # fmt: skip
        return document


def test_every_field_is_described_and_nothing_else(api: Any) -> None:
    schemas = api["components"]["schemas"]
    fields = {name: set(schema.get("properties", {})) for name, schema in schemas.items()}
    assert {name: known for name, known in fields.items() if known} == {
        name: set(described) for name, described in FIELDS.items()
    }
    for schema in schemas.values():
        for described in schema.get("properties", {}).values():
            assert len(described["description"]) > 4


def test_every_operation_has_a_description_and_a_true_example(api: Any) -> None:
    for path, methods in api["paths"].items():
        for operation in methods.values():
            assert operation["description"] != operation["summary"], path
    answers = api["answers"]
    assert answers.pop("addDocuments") == 409  # PUT has added it before
    assert len(answers) == 9 and set(answers.values()) == {200}


def test_examples_of_answers_follow_the_schema(api: Any) -> None:
    checked = 0
    for methods in api["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                content = answer["content"]["application/json"]
                if "example" in content:
                    schema = {**content["schema"], "components": api["components"]}
                    jsonschema.validate(content["example"], schema)
                    checked += 1
    assert checked >= 4
