"""The command `pocket-colbert`: its commands, in the order of the help."""

from __future__ import annotations

import click

from pocket_colbert import __version__
from pocket_colbert.cli.backend_commands import push
from pocket_colbert.cli.bundle_command import bundle
from pocket_colbert.cli.command_group import SectionedGroup
from pocket_colbert.cli.completion_command import completion
from pocket_colbert.cli.distributed_commands import collect, encode_corpus
from pocket_colbert.cli.index_commands import check, compact, delete, index, info, merge
from pocket_colbert.cli.mcp_command import mcp
from pocket_colbert.cli.measure_commands import evaluate, tune
from pocket_colbert.cli.search_commands import encode, rerank, search
from pocket_colbert.cli.serve_command import serve
from pocket_colbert.cli.site_command import site


@click.group(
    cls=SectionedGroup,
    sections={
        "Search": [search, index, info, rerank, encode],
        "Maintain an index": [delete, compact, check],
        "Serve": [serve, site, mcp],
        "Measure quality": [evaluate, tune],
        "Move data": [push, collect, merge],
        "Other": [completion, bundle, encode_corpus],
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pocket-colbert")
def main() -> None:
    """ColBERT search that fits in a pocket: index, search and rerank without torch."""
