"""Open the target at an address."""

from __future__ import annotations

import os

from pocket_colbert.backends.address import is_address, parse_address
from pocket_colbert.distributed.object_storage import Location
from pocket_colbert.distributed.parquet import ParquetTarget
from pocket_colbert.distributed.target import Target
from pocket_colbert.errors import InvalidInputError


def target_at(into: str, *, approximate: bool = False) -> Target:
    """Return the target at a LanceDB address, or a folder of Parquet files at any other.

    Args:
        into: See `backends.address` for LanceDB and `Location` for folders.
        approximate: Whether to index the token vectors of a LanceDB table.

    Raises:
        InvalidInputError: The address is for Qdrant, or `approximate` is set for a folder.
        OptionalDependencyError: LanceDB's packages are not installed.
    """
    if not is_address(into):
        if approximate:
            raise InvalidInputError("approximate is for LanceDB tables only, got a folder.")
        return ParquetTarget(into)
    if parse_address(into).engine != "lance":
        raise InvalidInputError(
            f"workers write to a folder or to LanceDB, got {parse_address(into)}; encode into a "
            "folder and `push` that."
        )
    from pocket_colbert.distributed.lance_table import LanceTarget

    return LanceTarget(into, approximate=approximate)


def absolute_address(into: str) -> str:
    """Make the path in an address, or a plain path, independent of the working directory."""
    if not is_address(into):
        return Location(into).uri
    folder = parse_address(into).folder
    if folder is None:
        return into
    return f"lance://{os.path.abspath(folder)}/{into.rpartition('/')[2]}"
