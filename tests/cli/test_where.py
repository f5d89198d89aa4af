"""`--where` as people type it, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from pocket_colbert.cli.where_option import filter_of
from tests.support.cli import fails, json_lines, run

ROWS = [
    {"_id": "old", "text": "Honey was taxed.", "year": 1999, "tags": ["law", "tax"], "code": "7"},
    {"_id": "new", "text": "Honey is taxed.", "year": 2020, "tags": ["tax"], "draft": True},
    {"_id": "text", "text": "Honey will be taxed.", "year": "2021", "tags": "law", "draft": False},
    {"_id": "none", "text": "Honey is sweet.", "author": {"name": "Ann = Bo"}, "code": 7},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("where")
    (base / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    assert run("index", base / "rows.jsonl", "--into", base / "index").exit_code == 0
    return base / "index"


@pytest.mark.parametrize(
    ("conditions", "matching"),
    [
        (["year=2020"], "new"),
        (["year==2020"], "new"),
        (["year = 2020"], "new"),
        (["year=2021"], "text"),  # a text that looks like a number
        (['year="2020"'], ""),
        (["year>=2020"], "new text"),
        (["year>2020"], "text"),
        (["year<2020"], "old"),
        (["year<=2020"], "old new"),
        (["year!=2020"], "old text none"),
        (["tags=tax"], "old new"),
        (["tags=tax", "tags=law"], "old"),
        (["tags=tax", "year>2000"], "new"),
        (["tags=law", '{"year": {"$lt": 2000}}'], "old"),
        (['{"$or": [{"year": 1999}, {"_id": 1}]}'], "old"),
        (["draft=true"], "new"),
        (["draft=false"], "text"),
        (["author.name=Ann = Bo"], "none"),
        (["author.name^=Ann"], "none"),
        (["code=7"], "old none"),
        (["code='7'"], "old"),
        (["year>=1e3"], "old new text"),
    ],
)
def test_conditions(folder: Path, conditions: list[str], matching: str) -> None:
    options = [part for condition in conditions for part in ("--where", condition)]
    done = run("search", folder, "honey", "-k", 9, "--json", *options)
    found = {hit["document_id"] for hit in json_lines(done.stdout)}
    assert found == set(matching.split())
    assert done.exit_code == (0 if matching else 1), done.output


@pytest.mark.parametrize(
    "wrong", ["year", "=2020", "", " ", "[1]", "[]", "{", '{"a": ', "\x1b[2J", "^=x"]
)
def test_what_is_no_condition_is_wrong_usage(folder: Path, wrong: str) -> None:
    fails("search", folder, "honey", "--where", wrong, message="--where must be")
    done = run("delete", folder, "--where", wrong)
    assert done.exit_code == 2 and "\x1b" not in done.output


def test_a_long_mistake_is_not_repeated_whole() -> None:
    with pytest.raises(click.UsageError) as error:
        filter_of(["x" * 10_000])
    assert len(str(error.value)) < 250


def test_an_empty_filter_deletes_nothing(folder: Path) -> None:
    for empty in (["{}"], ["{}", "year=1"], ["year=1", "{}"]):
        options = [part for condition in empty for part in ("--where", condition)]
        fails("delete", folder, *options, message="--where must be a filter with a condition")
    assert json.loads(run("info", folder, "--json").stdout)["documents"] == 4


def test_filters_are_one_object() -> None:
    wanted: list[tuple[list[str], Any]] = [
        ([], None),
        (["a=x"], {"a": {"$eq": "x"}}),
        (["a=x", "b!=y"], {"$and": [{"a": {"$eq": "x"}}, {"b": {"$ne": "y"}}]}),
    ]
    for conditions, condition in wanted:
        assert filter_of(conditions) == condition
