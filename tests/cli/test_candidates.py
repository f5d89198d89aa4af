"""`index --candidates`: what approximate search looks into, as `info` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pocket_colbert.cli.commands import main

pytestmark = pytest.mark.slow


def invoke(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return json.loads(done.output) if code == 0 and "--json" in arguments else done.output


@pytest.mark.parametrize(("candidates", "taken"), [("lists", "lists"), ("usearch", "usearch")])
def test_an_index_takes_candidates_from_what_was_asked_for(
    tmp_path: Path, candidates: str, taken: str
) -> None:
    text, folder = tmp_path / "bees.md", tmp_path / "index"
    text.write_text("Bees swarm in May.", "utf-8")
    rest = ("--into", folder, "--inverted-file", "always")
    invoke("index", text, *rest, "--candidates", candidates)
    held = invoke("info", folder, "--json")
    assert held["candidates"] == {taken: 1}
    assert ("token graph" in held["bytes"]) == (taken == "usearch")
    said = {"lists": "the lists of 1 segment", "usearch": "the usearch graph of 1 segment"}
    assert f"it looks into {said[taken]}\n" in invoke("info", folder)
    other = {"lists": "usearch", "usearch": "lists"}[candidates]
    refused = invoke("index", text, "--into", folder, "--candidates", other, code=2)
    assert f"was made with candidates={candidates}" in refused
    assert invoke("check", folder, "--json")["problems"] == []
