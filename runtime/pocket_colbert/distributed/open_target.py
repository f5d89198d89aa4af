"""From an address to a target."""

from __future__ import annotations

import os

from pocket_colbert.backends.address import is_address, parse_address
from pocket_colbert.distributed.object_storage import Place
from pocket_colbert.distributed.parquet import ParquetTarget
from pocket_colbert.distributed.target import Target
from pocket_colbert.errors import InvalidInputError


def target_at(into: str, *, approximate: bool = False) -> Target:
    """Return the target at an address of LanceDB, or else a folder of Parquet files.

    Args:
        into: See `stores.address` for LanceDB and `Place` for folders.
        approximate: Whether a table gets an index over token vectors.

    Raises:
        InvalidInputError: It is an address of Qdrant, or approximate goes with a folder.
        OptionalDependencyError: LanceDB's packages are not installed.
    """
    if not is_address(into):
        if approximate:
            raise InvalidInputError("approximate goes with a table of LanceDB, got a folder.")
        return ParquetTarget(into)
    if parse_address(into).engine != "lance":
        raise InvalidInputError(
            f"workers write to a folder or to LanceDB, got {parse_address(into)}; encode into a "
            "folder and `push` that."
        )
    from pocket_colbert.distributed.lance_table import LanceTarget

    return LanceTarget(into, approximate=approximate)


def from_anywhere(into: str) -> str:
    """Return an address, or path, that means the same in any folder of this machine."""
    if not is_address(into):
        return Place(into).uri
    folder = parse_address(into).folder
    return (
        into if folder is None else f"lance://{os.path.abspath(folder)}/{into.rpartition('/')[2]}"
    )
