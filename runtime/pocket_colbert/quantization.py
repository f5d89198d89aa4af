"""Token vectors as int8 codes with a scale that fits the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError


def quantize_int8(embedding: NDArray[Any]) -> tuple[NDArray[np.int8], np.float32]:
    """Quantise one text's token vectors with one scale for the whole text.

    Components of unit vectors are small (about 0.1 at 96 dimensions), so the scale is fitted:
    the largest component of the text becomes 127. One scale a text, rather than one a vector,
    lets MaxSim take its maxima on integers, costs 4 bytes a text, and makes the codes a function
    of the text alone: adding, merging or moving documents never changes a code.

    Args:
        embedding: (num_tokens, dim) float, finite.

    Returns:
        Codes (num_tokens, dim) int8 within -127 and 127, and the float32 scale; a code times the
        scale is the component, off by at most half a scale.
    """
    values = np.asarray(embedding, dtype=np.float32)
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return np.zeros(values.shape, dtype=np.int8), np.float32(1.0)
    codes = np.rint(values * np.float32(127.0 / largest)).astype(np.int8)
    return codes, np.float32(largest / 127.0)


def quantize_rows_int8(
    embedding: NDArray[Any],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise token vectors with one scale each, as is done with a query's.

    A query's maxima are taken per query token, so each may have a scale of its own for free.

    Args:
        embedding: (num_tokens, dim) float, finite.

    Returns:
        Codes (num_tokens, dim) int8 and scales (num_tokens,) float32.
    """
    values = np.asarray(embedding, dtype=np.float32)
    largest = np.abs(values).max(axis=1, initial=0.0)
    largest = np.where(largest == 0.0, np.float32(127.0), largest).astype(np.float32)
    codes = np.rint(values * (np.float32(127.0) / largest)[:, None]).astype(np.int8)
    return codes, (largest / np.float32(127.0)).astype(np.float32)


def dequantize_int8(codes: NDArray[np.int8], scale: float | np.float32) -> NDArray[np.float32]:
    """Turn `quantize_int8`'s codes (num_tokens, dim) int8 back into float32 token vectors."""
    return codes.astype(np.float32) * np.float32(scale)


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
    array = np.asarray(embedding)
    if array.ndim != 2 or array.shape[1] != dim or array.dtype.kind not in "fiu":
        raise InvalidInputError(
            f"{name} must be a (num_tokens, {dim}) array of numbers, "
            f"got shape {array.shape} of {array.dtype}."
        )
    values = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity in it.")
    return values
