"""The command that copies an index to another engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pocket_colbert.cli.common import (
    also_option,
    api_key_option,
    json_option,
    open_indexes,
    print_json,
    source_type,
)
from pocket_colbert.cli.progress import progress_bar

if TYPE_CHECKING:
    from pocket_colbert.backends.pushing import Pushable


@click.command()
@click.argument("source", type=source_type, metavar="FOLDER_OR_ENCODED")
@click.option(
    "--to", required=True, metavar="ADDRESS",
    help="Where to write: qdrant://host:6333/papers, qdrant+https://host/papers, "
    "lance://folder/papers or lance+s3://bucket/papers.",
)  # fmt: skip
@also_option("Push this index as part of the first")
@click.option(
    "--datatype", type=click.Choice(["float32", "float16"]), default=None,
    help="How the components of token vectors are stored.  [default: float32]",
)  # fmt: skip
@click.option(
    "--approximate", is_flag=True, default=None,
    help="Let the engine index the token vectors; without this, searches are exact.",
)  # fmt: skip
@click.option(
    "--range-field", "range_fields", multiple=True, metavar="NAME",
    help="A numeric field that filters often compare (Qdrant); repeatable.",
)  # fmt: skip
@api_key_option
@json_option
def push(
    source: str,
    to: str,
    also: Sequence[Path],
    datatype: str | None,
    approximate: bool | None,
    range_fields: Sequence[str],
    api_key: str | None,
    as_json: bool,
) -> None:
    """Copy an index to Qdrant or LanceDB.

    \b
    Examples:
      pocket-colbert push my.index --to qdrant://localhost:6333/papers
      pocket-colbert push my.index --to lance://folder/papers

    The source may also be what `encode-corpus` wrote. If the target was pushed to before, only
    changes are written.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.backends.connect import engine_at
    from pocket_colbert.backends.pushing import push as push_index

    with _opened(source, also) as index, progress_bar("Pushing", None, as_json) as advance:
        engine = engine_at(to, api_key=api_key)
        try:
            report = push_index(
                index, engine, datatype=datatype, approximate=approximate,
                range_fields=range_fields, progress=advance,
            )  # fmt: skip
        finally:
            engine.close()
        address = str(engine)
    if as_json:
        print_json({"backend": address, **asdict(report)})
        return
    click.echo(
        f"{address}: {report.documents} documents, {report.passages} passages, "
        f"{report.tokens} tokens"
    )
    click.echo(
        f"  {report.written} documents written, {report.unchanged} unchanged, "
        f"{report.deleted} rows deleted"
    )


@contextmanager
def _opened(source: str, also: Sequence[Path]) -> Iterator[Pushable]:
    """Open an index, several as one, or an encoded corpus."""
    from pocket_colbert.index.directory import is_index

    if "://" in source or (not is_index(Path(source)) and (Path(source) / "job.json").is_file()):
        from pocket_colbert.distributed.parquet import EncodedCorpus

        if also:
            raise click.UsageError("--also needs index folders, got an encoded corpus.")
        yield EncodedCorpus(source)
        return
    with open_indexes(source, also) as index:
        yield index
