"""Text to token ids, as the recipe says. The only importer of `tokenizers`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from pocket_colbert.config import ModelConfig
from pocket_colbert.errors import InvalidInputError, ModelFormatError
from pocket_colbert.pruning import skiplist_mask


@dataclass(frozen=True)
class TokenizedText:
    """One text as the graph takes it, unpadded.

    Attributes:
        input_ids: (length,) int64.
        attention_mask: (length,) int64, 0 for expansion tokens that are not attended to.
        keep: (length,) bool, which token vectors belong to the result.
        overflow: Tokens that did not fit the window and were cut off.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    keep: NDArray[np.bool_]
    overflow: int


def _without_length_limits(path: Path) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises plain Exception
        raise ModelFormatError(f"{path} is not a usable tokenizer: {error}.") from error
    backend.no_padding()
    backend.no_truncation()
    return backend


class Tokenizer:
    """Markers, truncation, query expansion and skiplist over one `tokenizer.json`.

    Truncation is done here and not by the library: queries and documents have different windows,
    several threads share one tokenizer, and the number of lost tokens is part of the result.
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        """Read the tokenizer file.

        Args:
            path: `tokenizer.json`.
            config: The recipe.

        Raises:
            ModelFormatError: The file cannot be read, or lacks what the recipe relies on.
        """
        self._backend = _without_length_limits(path)
        self._config = config
        ids = [config.query_prefix_id, config.document_prefix_id, config.mask_token_id]
        highest = max([*(i for i in ids if i is not None), *config.skiplist_ids, 0])
        known = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest > known:
            raise ModelFormatError(
                f"the recipe beside {path} names token id {highest}, "
                f"but the tokenizer's highest is {known}."
            )
        empty = self._backend.encode("").ids
        probe = self._backend.encode("a").ids
        lead = 0
        while lead < min(len(empty), len(probe)) and empty[lead] == probe[lead]:
            lead += 1
        self._lead, self._trail = lead, len(empty) - lead
        room = len(empty) + 2
        if min(config.query_length, config.document_length) < room:
            raise ModelFormatError(
                f"query_length and document_length must be >= {room} for this tokenizer, "
                f"got {config.query_length} and {config.document_length}."
            )
        self._skiplist = frozenset(config.skiplist_ids)

    def tokenize_query(self, text: str) -> TokenizedText:
        """Tokenise one query: marker, window, expansion."""
        config = self._config
        length = config.query_length
        limit = length
        if config.do_query_expansion and config.query_expansion_strategy == "min":
            limit = max(length, config.query_max_length or length)
        ids, overflow = self._encode(text, config.query_prefix, config.query_prefix_id, limit)
        attention = np.ones(len(ids), dtype=np.int64)
        keep = self._keep(ids, "query")
        padding = length - len(ids)
        if config.do_query_expansion and padding > 0:
            mask_token_id = config.mask_token_id
            assert mask_token_id is not None  # ModelConfig checks it
            ids = np.concatenate([ids, np.full(padding, mask_token_id, dtype=np.int64)])
            attend = int(config.attend_to_expansion_tokens)
            attention = np.concatenate([attention, np.full(padding, attend, dtype=np.int64)])
            expansion = np.ones(padding, dtype=bool)
            if "query" in config.skiplist_tasks and mask_token_id in self._skiplist:
                expansion[:] = False
            keep = np.concatenate([keep, expansion])
        return TokenizedText(ids, attention, keep, overflow)

    def tokenize_document(self, text: str) -> TokenizedText:
        """Tokenise one document: marker, window, skiplist."""
        config = self._config
        ids, overflow = self._encode(
            text, config.document_prefix, config.document_prefix_id, config.document_length
        )
        return TokenizedText(
            ids, np.ones(len(ids), dtype=np.int64), self._keep(ids, "document"), overflow
        )

    def _encode(
        self, text: str, prefix: str, prefix_id: int | None, limit: int
    ) -> tuple[NDArray[np.int64], int]:
        if self._config.do_lower_case:
            text = text.lower()
        if prefix_id is None:
            text = prefix + text
        try:
            ids = self._backend.encode(text).ids
        except (TypeError, UnicodeError) as error:  # a lone surrogate has no UTF-8 form
            raise InvalidInputError(f"text must be valid Unicode, got {text[:40]!r}.") from error
        if prefix_id is not None:
            # Behind [CLS], as PyLate and Stanford ColBERT do. Without a leading special token
            # PyLate still puts it second; that is a place, not a rule, so it is kept.
            ids = [*ids[:1], prefix_id, *ids[1:]]
        overflow = max(len(ids) - limit, 0)
        if overflow:
            ids = ids[: limit - self._trail] + ids[len(ids) - self._trail :]
        return np.array(ids, dtype=np.int64), overflow

    def _keep(self, ids: NDArray[np.int64], task: str) -> NDArray[np.bool_]:
        keep = np.ones(len(ids), dtype=bool)
        if task in self._config.skiplist_tasks and self._skiplist:
            keep &= skiplist_mask(ids, self._skiplist)
        if task == "document" and self._config.keep_only_token_ids:
            keep &= np.isin(ids, np.array(self._config.keep_only_token_ids, dtype=np.int64))
        return keep
