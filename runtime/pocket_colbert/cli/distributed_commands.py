"""The commands that encode a corpus on many machines and index the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pocket_colbert.cli.command_group import Interrupted
from pocket_colbert.cli.common import (
    batch_tokens_option,
    candidates_option,
    codes_option,
    dim_option,
    id_field_option,
    into_option,
    inverted_file_option,
    json_option,
    keep_option,
    keywords_option,
    max_tokens_option,
    model_option,
    passage_overlap_option,
    passage_tokens_option,
    pool_option,
    print_json,
    provider_option,
    readable_size,
    source_type,
    text_field_option,
    title_field_option,
)
from pocket_colbert.cli.progress import progress_bar


@click.command("encode-corpus")
@click.argument("paths", nargs=-1, required=True, type=source_type)
@click.option(
    "--into", required=True, metavar="TARGET",
    help="A folder for Parquet files, local or in object storage (s3://bucket/encoded), or a "
    "LanceDB table (lance+s3://bucket/papers).",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), default=None, metavar="N",
    help="Processes that load the model.  [default: as many as the cluster has room for]",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True,
    help="Processors that each worker uses.",
)  # fmt: skip
@click.option(
    "--ray", "address", default=None, metavar="ADDRESS",
    help='Ray cluster; "auto" for the one on this machine.  [default: only this machine]',
)  # fmt: skip
@click.option(
    "--datatype", type=click.Choice(["float16", "float32"]), default="float16", show_default=True,
    help="How the components of token vectors are stored.",
)  # fmt: skip
@click.option(
    "--approximate", is_flag=True, help="Let LanceDB index the token vectors."
)  # fmt: skip
@click.option(
    "--part-documents", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N",
    help="Documents that a worker encodes at a time, and loses if it dies.",
)  # fmt: skip
@id_field_option
@text_field_option
@title_field_option
@pool_option
@keep_option
@max_tokens_option
@passage_tokens_option
@passage_overlap_option
@dim_option
@model_option
@provider_option
@batch_tokens_option
@json_option
def encode_corpus(
    paths: tuple[str, ...],
    into: str,
    workers: int | None,
    threads: int,
    address: str | None,
    datatype: str,
    approximate: bool,
    part_documents: int,
    id_field: str,
    text_field: str,
    title_field: str,
    pool_factor: float,
    keep: float,
    max_tokens: int | None,
    passage_tokens: int | None,
    passage_overlap: int,
    dim: int | None,
    model: str | None,
    provider: str,
    batch_tokens: int | None,
    as_json: bool,
) -> None:
    """Encode a large corpus on the machines of a Ray cluster.

    \b
    Examples:
      pocket-colbert encode-corpus corpus --into encoded
      pocket-colbert encode-corpus s3://b/corpus --into s3://b/encoded --ray auto

    PATHS are .jsonl, .jsonl.gz and .parquet files or folders of them, local or in object storage.
    After a failure, run the command again: finished parts are kept.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.config import Pruning, Splitting
    from pocket_colbert.distributed.corpus_sources import PartSize
    from pocket_colbert.distributed.encoding import PART
    from pocket_colbert.distributed.encoding import encode_corpus as encode_all
    from pocket_colbert.distributed.workers import Workers
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.model.folder import DEFAULT_MODEL
    from pocket_colbert.model.pipeline import BATCH_TOKENS

    with progress_bar("Encoding", None, as_json) as advance:
        try:
            report = encode_all(
                paths, into, model=model or DEFAULT_MODEL, dim=dim,
                pruning=Pruning(pool_factor=pool_factor, keep=keep, max_tokens=max_tokens),
                splitting=Splitting(max_tokens=passage_tokens, overlap=passage_overlap),
                fields=Fields(id_field, text_field, title_field), datatype=datatype,
                approximate=approximate,
                part_size=PartSize(part_documents, PART.characters),
                workers=Workers(
                    number=workers, threads=threads, provider=provider,
                    batch_tokens=batch_tokens or BATCH_TOKENS, address=address,
                ),
                progress=advance,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted("Interrupted; run the command again to continue.") from None
    if as_json:
        print_json({"into": into, **asdict(report)})
        return
    click.echo(
        f"{into}: {report.documents} documents, {report.passages} passages, {report.tokens} token "
        f"vectors; {report.encoded} documents encoded now"
    )


@click.command()
@click.argument("encoded", type=source_type)
@into_option
@codes_option
@keywords_option
@inverted_file_option
@candidates_option
@json_option
def collect(
    encoded: str,
    into: Path,
    codes: Any,
    keywords: Any,
    inverted_file: Any,
    candidates: Any,
    as_json: bool,
) -> None:
    """Make an index from what `encode-corpus` wrote.

    \b
    Examples:
      pocket-colbert collect encoded --into my.index
      pocket-colbert collect s3://bucket/encoded --into my.index

    ENCODED is a local folder or one in object storage. After an interruption, the same command
    continues where it stopped.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.distributed.collecting import index_encoded
    from pocket_colbert.distributed.parquet import EncodedCorpus
    from pocket_colbert.index.index import Index

    corpus = EncodedCorpus(encoded)
    with progress_bar("Collecting", len(corpus), as_json) as advance:
        try:
            index_encoded(
                corpus, into, progress=advance, codes=codes, keywords=keywords,
                inverted_file=inverted_file, candidates=candidates,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted("Interrupted; run the command again to continue.") from None
    with Index.load(into) as index:
        held = index.info()
    if as_json:
        print_json({"index": str(into), "documents": held.documents, "bytes": held.bytes})
        return
    size = readable_size(sum(held.bytes.values()))
    click.echo(f"{into}: {held.documents} documents, {held.tokens} tokens, {size}")
