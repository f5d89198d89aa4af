"""The rules that arrays of token vectors keep, each written once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError

_LENGTH_TOLERANCE = 1e-2
"""An encoder's rows are off by 1e-6, float16's and decoded ones by 1e-3."""


def check_embedding(embedding: object, dim: int, name: str) -> NDArray[np.float32]:
    """Check one text's token vectors before they are stored or searched for.

    Args:
        embedding: What was given for (num_tokens, dim) float.
        dim: The width it must have.
        name: What to call it in an error.

    Returns:
        The same as a float32 array; no copy if it was one.

    Raises:
        InvalidInputError: It is not a two-dimensional array of finite numbers of that width.
    """
    values = check_shape(embedding, dim, name).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity in it.")
    return values


def check_shape(embedding: object, dim: int, name: str) -> NDArray[Any]:
    """Check that token vectors are a two-dimensional array of numbers; see `check_embedding`.

    Returns:
        (num_tokens, dim) of any kind of number, not yet known to be finite.
    """
    array = np.asarray(embedding)
    if array.ndim != 2 or array.shape[1] != dim or array.dtype.kind not in "fiu":
        raise InvalidInputError(
            f"{name} must be a (num_tokens, {dim}) array of numbers, "
            f"got shape {array.shape} of {array.dtype}."
        )
    return array


def are_unit_rows(values: NDArray[np.float32]) -> bool:
    """Say whether `check_tokens` would let rows pass."""
    return bool((np.abs(_lengths(values) - 1) <= _LENGTH_TOLERANCE).all())


def check_tokens(embedding: object, dim: int, name: str) -> NDArray[np.float32]:
    """Check a document's token vectors: as `check_embedding` does, and that rows have length 1.

    One that is longer by orders of magnitude would spoil the mean that all codes of a segment are
    differences from.

    Raises:
        InvalidInputError: They are not.
    """
    values = check_embedding(embedding, dim, name)
    lengths = _lengths(values)
    wrong = np.flatnonzero(np.abs(lengths - 1) > _LENGTH_TOLERANCE)
    if len(wrong):
        raise InvalidInputError(
            f"{name} must have rows of length 1, got {lengths[wrong[0]]:.4g} in row {wrong[0]}; "
            "divide each row by its length."
        )
    return values


def _lengths(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the length of each row, (n,) float32; NaN or infinity where it has one."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", values, values)))
