"""Some of the documents of a segment: those that are not deleted, or that a search may return."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Selection:
    """Some of the items that are numbered from 0 to `size` - 1; it never changes.

    Attributes:
        size: How many items there are to select from.
        mask: (size,) bool, True for those selected; None, which costs nothing, for all.
    """

    size: int
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, size: int, positions: NDArray[np.int64] | list[int]) -> Selection:
        """Select the items at some positions."""
        mask = np.zeros(size, dtype=bool)
        mask[positions] = True
        return cls(size, mask)

    def __len__(self) -> int:
        """Return the number of selected items."""
        return self._count

    @overload
    def __getitem__(self, positions: int) -> bool: ...

    @overload
    def __getitem__(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]: ...

    def __getitem__(self, positions: int | NDArray[np.int64]) -> bool | NDArray[np.bool_]:
        """Say whether an item is selected, or which of several are."""
        if isinstance(positions, int):
            return self.mask is None or bool(self.mask[positions])
        if self.mask is None:
            return np.ones(len(positions), dtype=bool)
        return np.asarray(self.mask[positions])

    def __and__(self, other: Selection) -> Selection:
        """Select what both select."""
        if self.mask is None or other.mask is None:
            return other if self.mask is None else self
        return Selection(self.size, self.mask & other.mask)

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.mask is None or len(self) == self.size

    @property
    def share(self) -> float:
        """Share of the items that is selected, 1 of none."""
        return len(self) / self.size if self.size else 1.0

    def without(self, positions: NDArray[np.int64] | list[int]) -> Selection:
        """Select the same items but for those at some positions."""
        mask = np.ones(self.size, dtype=bool) if self.mask is None else self.mask.copy()
        mask[positions] = False
        return Selection(self.size, mask)

    def positions(self) -> NDArray[np.int64]:
        """Return the selected items, ascending."""
        return np.arange(self.size) if self.mask is None else np.flatnonzero(self.mask)

    def left_out(self) -> NDArray[np.int64]:
        """Return the other items, ascending."""
        return np.empty(0, np.int64) if self.mask is None else np.flatnonzero(~self.mask)

    def scores(
        self, values: NDArray[np.float32], otherwise: float = -np.inf
    ) -> NDArray[np.float32]:
        """Return (size,) scores, with another value for what is not selected."""
        if self.mask is None:
            return values
        return np.where(self.mask, values, np.float32(otherwise))

    @cached_property
    def _count(self) -> int:
        return self.size if self.mask is None else int(np.count_nonzero(self.mask))
