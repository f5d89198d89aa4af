"""Training text: pairs of a query and the passage it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pocket_colbert_export.distillation.queries import Pair, pair_from_text
from pocket_colbert_export.errors import TrainingTextError
from pocket_colbert_export.text_files import read_objects


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from a `.jsonl` file, which may be gzipped.

    Args:
        path: Lines of JSON objects with `query` (or `title`) and `passage` (or `text`). For a
            text without a query one is made, see `queries.pair_from_text`; a text that has
            nothing to make one of is left out.

    Returns:
        The pairs of which neither side is empty.

    Raises:
        TrainingTextError: The file is missing, is not of that form, or holds no pair.
    """
    pairs: list[Pair] = []
    for where, row in read_objects(path, TrainingTextError):
        query = next((row[key] for key in ("query", "title") if key in row), None)
        passage = next((row[key] for key in ("passage", "text") if key in row), None)
        if query is None and isinstance(passage, str):
            made = pair_from_text(passage)
            pairs.extend([made] if made else [])
            continue
        if not isinstance(query, str) or not isinstance(passage, str):
            raise TrainingTextError(
                f"{where}: expected texts under 'query' (or 'title') and 'passage' (or 'text'), "
                f"got the keys {sorted(row)}."
            )
        if query.strip() and passage.strip():
            pairs.append(Pair(query.strip(), passage.strip()))
    if not pairs:
        raise TrainingTextError(f"{path} holds no pair.")
    return pairs


def sample_pairs(paths: Sequence[Path], count: int, seed: int) -> list[Pair]:
    """Take pairs from files, the same number of each as far as they go.

    Sources differ in size by far more than in worth, so a draw from all lines together would
    train on the largest.

    Args:
        paths: Files for `read_pairs`.
        count: How many pairs to take together; all of them when there are no more.
        seed: Decides which, and their order.

    Returns:
        The pairs, shuffled.

    Raises:
        TrainingTextError: See `read_pairs`.
    """
    sources = sorted((read_pairs(path) for path in paths), key=len)
    generator = np.random.default_rng(seed)
    chosen: list[Pair] = []
    for number, source in enumerate(sources):
        share = (count - len(chosen)) // (len(sources) - number)
        picked = generator.permutation(len(source))[:share]
        chosen.extend(source[int(n)] for n in picked)
    return [chosen[int(n)] for n in generator.permutation(len(chosen))]
