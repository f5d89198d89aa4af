"""Products of small matrices: what NumPy says, and never large enough for BLAS to divide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pocket_colbert.vectors import products
from pocket_colbert.vectors.codec import Codec
from pocket_colbert.vectors.products import product
from tests.support.arrays import unit_rows


@pytest.mark.parametrize("rows", [0, 1, 2, 15, 16, 17, 100, 300])
@pytest.mark.parametrize(("width", "columns"), [(96, 96), (96, 32), (24, 5), (768, 768)])
def test_it_is_the_product(rng: np.random.Generator, rows: int, width: int, columns: int) -> None:
    left, right = unit_rows(rng, rows, width), unit_rows(rng, columns, width).T
    found = product(left, right)
    assert found.dtype == np.float32 and found.shape == (rows, columns)
    np.testing.assert_allclose(found, left.astype(np.float64) @ right, atol=1e-6)


@pytest.mark.parametrize("columns", [96, 32])
def test_a_row_does_not_depend_on_the_others(rng: np.random.Generator, columns: int) -> None:
    left, right = unit_rows(rng, 200, 96), unit_rows(rng, 96, columns)
    whole = product(left, right)
    for start, stop in ((0, 1), (5, 7), (3, 190), (100, 133), (199, 200)):
        assert (product(left[start:stop], right) == whole[start:stop]).all()


def test_no_run_is_large_enough_to_be_divided(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBLAS uses threads of its own above 65 536 times 4 multiplications."""
    sizes: list[int] = []

    def matmul(left: Any, right: Any, out: Any) -> Any:
        sizes.append(left.shape[-2] * left.shape[-1] * right.shape[-1])
        return np.matmul(left, right, out=out)

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return matmul if name == "matmul" else getattr(np, name)

    monkeypatch.setattr(products, "np", Watching())
    codec = Codec.fit(unit_rows(rng, 50, 96), 4)
    tokens = unit_rows(rng, 300, 96)
    codec.decode(*codec.encode(tokens), 300)
    product(tokens, unit_rows(rng, 32, 96).T)
    assert len(sizes) >= 3 and max(sizes) <= 65_536 * 4
