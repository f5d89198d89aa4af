"""The server that agents talk to, by the official SDK of the Model Context Protocol."""

from __future__ import annotations

from typing import Any

from pocket_colbert import __version__
from pocket_colbert.errors import OptionalDependencyError, PocketColbertError
from pocket_colbert.mcp_server.tools import MOST_CHARACTERS, MOST_HITS, Tools

try:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
except ImportError as _error:
    raise OptionalDependencyError.of("pocket_colbert.mcp_server", "mcp") from _error

_INSTRUCTIONS = """\
Search documents by meaning. Ask `search` a whole question in plain words; it returns the best
passages with their places (path:line). `read` returns more of a document, from a character on.
`sources` says what is indexed. Prefer this to reading whole files or searching for exact words."""


def make_server(tools: Tools, name: str = "pocket-colbert") -> MCPServer[Any]:
    """Return a server with the tools, to be run on standard input and output or over HTTP.

    Args:
        tools: What it offers.
        name: What clients show.
    """
    server: MCPServer[Any] = MCPServer(
        name, instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING"
    )
    reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

    @server.tool(
        description=f"""Find passages by meaning. Returns documents, best first, each with its
place, its headings and a snippet.

query: a whole question in plain words, or keywords.
k: how many documents at most, 1 to {MOST_HITS}.
where: only documents whose metadata match, for example {{"year": {{"$gte": 2020}}}}.""",
        annotations=reads,
        structured_output=False,
    )
    def search(query: str, k: int = 5, where: dict[str, Any] | None = None) -> str:
        return _answer(lambda: tools.search(query, k, where))

    @server.tool(
        description=f"""Read a part of a document.

document: its id, as `search` gives it.
start: the first character, for example the one that `search` gives.
length: how many characters at most, 1 to {MOST_CHARACTERS}.""",
        annotations=reads,
        structured_output=False,
    )
    def read(document: str, start: int = 0, length: int = 4000) -> str:
        return _answer(lambda: tools.read(document, start, length))

    @server.tool(
        description="Say how many documents there are, and from which files and folders.",
        annotations=reads,
        structured_output=False,
    )
    def sources() -> str:
        return _answer(tools.sources)

    return server


def _answer(work: Any) -> str:
    """Return what a tool returns; what it refuses becomes the protocol's own error."""
    try:
        return str(work())
    except PocketColbertError as error:
        raise ToolError(str(error)) from error
