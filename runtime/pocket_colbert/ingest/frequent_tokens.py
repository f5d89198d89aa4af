"""The most frequent tokens of a collection, which an index may leave out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import Splitting
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.vectors.pruning import frequent_token_ids


def frequent_ids(encoder: Encoder, texts: Iterable[str], number: int) -> tuple[int, ...]:
    """Return the ids of the most frequent tokens of a collection, for `Pruning.skiplist_ids`.

    Args:
        encoder: The model whose tokens are counted.
        texts: The documents, read once, one at a time.
        number: How many ids to return.
    """
    whole = Splitting()
    token_ids = (encoder.document_token_ids([text], splitting=whole)[0] for text in texts)
    return most_frequent(token_ids, number)


def most_frequent(token_ids: Iterable[NDArray[np.int64]], number: int) -> tuple[int, ...]:
    """Return the ids of the most frequent tokens.

    Args:
        token_ids: For each document its token ids, (num_tokens,) int64.
        number: How many ids to return.
    """
    counts = np.zeros(0, np.int64)
    for ids in token_ids:
        new_counts = np.bincount(ids, minlength=len(counts))
        new_counts[: len(counts)] += counts
        counts = new_counts
    return tuple(int(item) for item in frequent_token_ids(counts, number))
