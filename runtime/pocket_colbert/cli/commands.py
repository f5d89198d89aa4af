"""The command `pocket-colbert`: its commands, in the order of the help."""

from __future__ import annotations

import click

from pocket_colbert import __version__
from pocket_colbert.cli.backend_commands import push
from pocket_colbert.cli.bundle_command import bundle
from pocket_colbert.cli.cache_command import cache
from pocket_colbert.cli.command_group import SectionedGroup
from pocket_colbert.cli.completion_command import completion
from pocket_colbert.cli.delete_command import delete
from pocket_colbert.cli.distributed_commands import collect, encode_corpus
from pocket_colbert.cli.doctor_command import doctor
from pocket_colbert.cli.index_command import index
from pocket_colbert.cli.info_command import info
from pocket_colbert.cli.maintenance_commands import check, compact, merge
from pocket_colbert.cli.mcp_command import mcp
from pocket_colbert.cli.measure_commands import evaluate, tune
from pocket_colbert.cli.search_command import search
from pocket_colbert.cli.serve_command import serve
from pocket_colbert.cli.site_command import site
from pocket_colbert.cli.text_commands import encode, rerank


@click.group(
    cls=SectionedGroup,
    sections={
        "Search": [search, index, info, rerank, encode],
        "Maintain an index": [delete, compact, check, cache],
        "Serve": [serve, site, mcp],
        "Measure quality": [evaluate, tune],
        "Move data": [push, collect, merge],
        "Other": [doctor, completion, bundle, encode_corpus],
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pocket-colbert")
def main() -> None:
    """ColBERT search that fits in a pocket: index, search and rerank without torch.

    \b
    Examples:
      pocket-colbert search notes "who pays for the roof?"
      pocket-colbert index notes --into notes.index
    """  # noqa: D301 - click's mark for lines it must not wrap
