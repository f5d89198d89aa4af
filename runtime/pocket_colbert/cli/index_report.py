"""What `index` says it did, or would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import info_json, print_json, readable_size

if TYPE_CHECKING:
    from pocket_colbert.ingest.indexing import IndexReport
    from pocket_colbert.ingest.left_out import LeftOut
    from pocket_colbert.ingest.preview import IndexPreview
    from pocket_colbert.model.encoder import Encoder

_MOST_NAMED = 20
_HINT = " (--verbose lists them)"


def print_report(
    report: IndexReport, encoder: Encoder, as_json: bool, *, verbose: bool, quiet: bool
) -> None:
    """Say what `index` did, and on standard error what it left out."""
    counts = {name: getattr(report, name) for name in ("added", "changed", "unchanged", "deleted")}
    if as_json:
        left_out = [asdict(item) for item in report.left_out]
        # `deleted` of what the index holds counts documents that wait to be compacted.
        print_json(
            {"index": str(report.folder), **info_json(report.info), **counts, "left_out": left_out}
        )
    elif not quiet:
        size = readable_size(sum(report.info.bytes.values()))
        click.echo(
            f"{report.folder}: {report.info.documents} documents, {report.info.tokens} tokens, "
            f"{size}"
        )
        if report.updated:
            click.echo("  " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if quiet:
        print_left_out(failures(report.left_out), (), verbose=False)
        return
    if report.truncated:
        click.echo(
            f"Warning: {report.truncated} passages did not fit the model's window of "
            f"{encoder.config.document_length} tokens; text beyond it cannot be found.",
            err=True,
        )
    if report.unread:
        click.echo(
            f"Warning: {report.unread} passages are in a language that the model was not made "
            f"for{encoder.made_for}; keywords find them, meaning does not.",
            err=True,
        )
    print_left_out(report.left_out, report.notes, verbose=verbose)


def print_preview(preview: IndexPreview, as_json: bool, *, verbose: bool, quiet: bool) -> None:
    """Say what `index` would do."""
    if as_json:
        print_json({
            "index": str(preview.folder), "added": preview.added, "changed": preview.changed,
            "unchanged": preview.unchanged, "deleted": preview.deleted,
            "left_out": [asdict(item) for item in preview.left_out],
        })  # fmt: skip
        return
    if not quiet:
        changes = {"add": preview.added, "change": preview.changed, "delete": preview.deleted}
        for verb, names in changes.items():
            shown = names if verbose else names[:_MOST_NAMED]
            for name in shown:
                click.echo(f"  {verb:6}  {printable(name)}")
            if len(names) > len(shown):
                click.echo(f"  {verb:6}  and {len(names) - len(shown)} more (--verbose)")
        click.echo(
            f"{preview.folder}: nothing is changed. Without --dry-run: {len(preview.added)} added, "
            f"{len(preview.changed)} changed, {preview.unchanged} unchanged, "
            f"{len(preview.deleted)} deleted"
        )
    left_out = failures(preview.left_out) if quiet else preview.left_out
    print_left_out(left_out, () if quiet else preview.notes, verbose=verbose)


def failures(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    """Return what could not be read."""
    return [item for item in left_out if item.reason == "unreadable"]


def print_left_out(left_out: Sequence[LeftOut], notes: Sequence[str], *, verbose: bool) -> None:
    """Say on standard error what was left out, failures by name."""
    from pocket_colbert.ingest.left_out import summary

    for note in notes if verbose else notes[:5]:
        click.echo(f"Note: {printable(note)}", err=True)
    if len(notes) > 5 and not verbose:
        click.echo(f"Note: and {len(notes) - 5} more (--verbose lists them).", err=True)
    if not left_out:
        return
    failed = failures(left_out)
    others = len(left_out) > len(failed)
    hint = "" if verbose or (not others and len(failed) <= _MOST_NAMED) else _HINT
    click.echo(f"{summary(left_out)}{hint}", err=True)
    for item in left_out if verbose else failed[:_MOST_NAMED]:
        click.echo(f"  {printable(str(item))}", err=True)
    if any(item.reason == "needs extra" for item in left_out):
        click.echo("  To read them: pip install 'pocket-colbert[files]'", err=True)
