"""What `pocket-colbert-export` runs first; see `pocket_colbert.cli.entry`."""

from __future__ import annotations

from pocket_colbert.cli.entry import run


def main() -> None:
    """Run `pocket-colbert-export`."""
    run("pocket_colbert_export.cli")
