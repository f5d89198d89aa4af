"""Agents search: by the SDK's own client, in memory and over standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Collection, Encoder, InvalidInputError
from pocket_colbert.mcp_server.tools import Tools

pytest.importorskip("mcp", reason="needs the mcp extra")

from mcp import Client, StdioServerParameters  # noqa: E402

from pocket_colbert.mcp_server.server import make_server  # noqa: E402

# The SDK's own, on a Python or a library newer than it.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MANUAL = """# House

## Roof

The landlord repairs the roof.

## Rent

Rent is due on the first of each month.
"""


@pytest.fixture
def house(tmp_path: Path, encoder: Encoder) -> Iterator[Collection]:
    """A collection of one file and one text."""
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "house.md").write_text(MANUAL)
    with Collection(tmp_path / "house.index", model=encoder) as collection:
        collection.add_files(tmp_path / "manual")
        collection.add("Bees live in the garden. " * 400, ids="bees", metadata={"year": 2020})
        yield collection


@pytest.fixture
def tools(house: Collection) -> Tools:
    """The tools over the collection."""
    return Tools(house.retriever)


def called(server: Any, *calls: tuple[str, dict[str, Any]]) -> list[tuple[bool, str]]:
    """Call tools one after the other; return whether each failed, and its text."""

    async def call() -> list[tuple[bool, str]]:
        async with Client(server) as client:
            results = [await client.call_tool(name, arguments) for name, arguments in calls]
        return [(bool(item.is_error), item.content[0].text) for item in results]

    return asyncio.run(call())


def test_search_says_where(tools: Tools) -> None:
    first, second = tools.search("when must I pay?", 2).split("\n\n")
    lines = first.splitlines()
    assert lines[0].startswith("house.md:9 (document house.md), character ")
    assert lines[1] == "House > Rent"
    assert "Rent is due" in lines[2]
    assert second.startswith("bees, character ")
    start = int(lines[0].rpartition(" ")[2])
    assert tools.read("house.md", start).startswith(lines[2][:20])
    assert tools.search("bees", where={"year": 1}) == "Nothing found."


def test_long_documents_are_read_in_parts(tools: Tools) -> None:
    part = tools.read("bees", length=100)
    assert part.endswith("[9900 more characters: start=100]")
    assert tools.read("bees", 9_990) == "e garden. "
    for wrong in ({"start": 10_000}, {"start": -1}, {"length": 0}, {"length": 10**6}):
        with pytest.raises(InvalidInputError):
            tools.read("bees", **wrong)


def test_what_is_committed_is_seen(tools: Tools, house: Collection) -> None:
    assert "2 documents" in tools.sources()
    house.add("A shed for bicycles.", ids="shed")
    assert tools.search("where do bicycles go?", 1).startswith("shed")
    assert tools.sources().splitlines()[0] == "3 documents"


def test_the_sdk_s_client(tools: Tools) -> None:
    server = make_server(tools)

    async def look() -> list[Any]:
        async with Client(server) as client:
            return list((await client.list_tools()).tools)

    listed = {tool.name: tool for tool in asyncio.run(look())}
    assert listed.keys() == {"search", "read", "sources"}
    assert all(tool.annotations.read_only_hint for tool in listed.values())
    assert listed["search"].input_schema["required"] == ["query"]
    answers = called(
        server,
        ("search", {"query": "who mends the roof?", "k": 1}),
        ("read", {"document": "house.md"}),
        ("search", {"query": " "}),
        ("search", {"query": "x", "k": 51}),
        ("search", {"query": "x", "where": {"$x": 1}}),
        ("read", {"document": "none"}),
    )
    assert [failed for failed, _ in answers] == [False, False, True, True, True, True]
    assert "house.md:5" in answers[0][1]
    assert "The landlord repairs the roof." in answers[1][1]
    assert "must not be empty" in answers[2][1]
    assert "'none'" in answers[5][1]


@pytest.mark.slow
def test_the_command_over_standard_input_and_output(tmp_path: Path) -> None:
    """A folder of documents is indexed first, and nothing but the protocol is printed."""
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "house.md").write_text(MANUAL)
    server = StdioServerParameters(
        command=sys.executable,
        args=[
            "-c", "from pocket_colbert.cli.commands import main; main()",
            "mcp", str(tmp_path / "manual"), "--model", "tiny",
        ],
        env=dict(os.environ),
    )  # fmt: skip
    for _ in range(2):
        ((failed, text),) = called(server, ("search", {"query": "who mends the roof?"}))
        assert not failed
        assert text.startswith("house.md:5")
    assert (tmp_path / "manual.index").is_dir()
