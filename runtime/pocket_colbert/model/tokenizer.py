"""Text to token ids, as the recipe says. The only importer of `tokenizers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray

from pocket_colbert.config import Splitting
from pocket_colbert.described_tokens import DescribedTokens, places_of
from pocket_colbert.errors import InvalidInputError, ModelFormatError
from pocket_colbert.model.readability import Readability
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.normalization import for_model
from pocket_colbert.sections import context_of, headings_of, parts_of
from pocket_colbert.text_splitting import split, with_title
from pocket_colbert.types import Section, Span
from pocket_colbert.vectors.query_tokens import rarities

Task = Literal["query", "document"]

_SEGMENT = 100_000
"""Characters of a long text that are tokenised at a time: the library takes about 200 bytes for
each."""


_REMEMBERED = 512
_REMEMBERED_TEXT = 5_000
"""How many passages stay described, and of how many characters at most: some 5 MB in all."""


@dataclass(frozen=True)
class TokenizedText:
    """One text as the graph takes it, unpadded.

    Attributes:
        input_ids: (length,) int64.
        attention_mask: (length,) int64, 0 for expansion tokens that are not attended to.
        keep: (length,) bool, which token vectors belong to the result.
        overflow: Tokens that did not fit the window and were cut off.
        readable: How much of it the model can read, from 0 to 1; see `Readability`.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    keep: NDArray[np.bool_]
    overflow: int
    readable: float = 1.0

    @property
    def num_tokens(self) -> int:
        """How many tokens the whole text has, those that were cut off included."""
        return len(self.input_ids) + self.overflow


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

    def __init__(self, path: Path, config: ModelConfig, languages: Sequence[str] = ()) -> None:
        """Read the tokenizer file.

        Args:
            path: `tokenizer.json`.
            config: The recipe.
            languages: Codes of the languages that the model was made for, () when unknown.

        Raises:
            ModelFormatError: The file cannot be read, or lacks what the recipe relies on.
        """
        self._backend = _without_length_limits(path)
        self._described = lru_cache(_REMEMBERED)(self._describe)
        self._config = config
        ids = [config.query_prefix_id, config.document_prefix_id, config.mask_token_id]
        highest = max([*(i for i in ids if i is not None), *config.skiplist_ids, 0])
        vocabulary = self._backend.get_vocab(with_added_tokens=True)  # made anew by each call
        known = max(vocabulary.values(), default=-1)
        self._vocabulary_size = len(vocabulary)
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
        words = map(self._backend.token_to_id, ("the", "\u0120the", "\u2581the"))
        self._commonest = next((number for number in words if number is not None), 0)
        self._skiplist = frozenset(config.skiplist_ids)
        markers = [number for number in ids if number is not None]
        self._readability = Readability(self._backend, languages, markers)
        self._skipped = np.zeros(known + 1, dtype=bool)
        self._skipped[list(self._skiplist)] = True

    @property
    def query_limit(self) -> int:
        """Tokens of a query at most; what comes after is cut."""
        config = self._config
        grows = config.do_query_expansion and config.query_expansion_strategy == "min"
        return max(config.query_length, (grows and config.query_max_length) or 0)

    def tokenize_query(self, text: str) -> TokenizedText:
        """Tokenise one query: marker, window, expansion."""
        return self._query(text, self._encoding("query", text))

    def query_with_tokens(
        self, text: str
    ) -> tuple[TokenizedText, DescribedTokens, NDArray[np.float32]]:
        """Tokenise one query, describe the tokens that it has vectors of, and weigh them."""
        encoding = self._encoding("query", text)
        tokenized = self._query(text, encoding)
        tokens = self._tokens("query", text, encoding, tokenized)
        ids = tokenized.input_ids[tokenized.keep].tolist()
        weights = self._rarities(ids)
        return tokenized, tokens, np.where(tokens.spans[:, 0] >= 0, weights, np.float32(0))

    def _rarities(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return rarities(token_ids, self._commonest, self._vocabulary_size)

    def tokenize_document(self, text: str) -> TokenizedText:
        """Tokenise one document: marker, window, skiplist."""
        return self._document(text, self._encoding("document", text))

    def document_tokens(self, text: str) -> DescribedTokens:
        """Describe the tokens that a document has vectors of, as `tokenize_document` keeps them."""
        # The same passages answer many queries.
        return (self._described if len(text) <= _REMEMBERED_TEXT else self._describe)(text)

    def _describe(self, text: str) -> DescribedTokens:
        encoding = self._encoding("document", text)
        return self._tokens("document", text, encoding, self._document(text, encoding, judge=False))

    def tokenize_passages(
        self,
        text: str,
        title: str | None,
        splitting: Splitting,
        sections: Sequence[Section] = (),
    ) -> list[tuple[int, int, TokenizedText]]:
        """Tokenise a document of any length, in passages that each fit the window.

        Args:
            text: The document's text.
            title: Its title, which every passage starts with. One that would leave less than a
                quarter of the window to the text is cut when the document does not fit.
            splitting: How to split.
            sections: Its sections. No passage crosses a border between them, but for those that
                are of no use alone, see `parts_of`; each is encoded with its `context`.

        Returns:
            For each passage where it starts and ends in the text, in characters, and what
            `tokenize_document` gives for `with_title` of that part. A document that fits is one
            passage.

        Raises:
            InvalidInputError: `splitting.max_tokens` leaves no room beside the markers.
        """
        limit = self._config.document_length
        window = min(splitting.max_tokens or limit, limit)
        title = title or ""
        if sections:
            return self._passages_of_sections(text, title, splitting, sections)
        # Tokenising a text that is surely too long as a whole would be for nothing.
        if len(text) <= 10 * window:
            whole = self.tokenize_document(with_title(text, title))
            if whole.num_tokens <= window:
                return [(0, len(text), whole)]
        room = self._room(splitting)
        offsets, title_offsets = self._text_offsets(text), self._text_offsets(title)
        if not len(offsets):
            return [(0, len(text), self.tokenize_document(with_title(text, title)))]
        # With a small window more than a quarter: a rare character can take several tokens.
        budget = max(room - len(title_offsets), min(room, max(window // 4, 8)))
        spare = room - budget
        if len(title_offsets) > spare:
            title = title[slice(*split(title, title_offsets, spare, 0)[0])] if spare else ""
        return self._split(text, (0, len(text)), offsets, budget, splitting, lambda *_: title)

    def context(self, title: str | None, headings: Sequence[str], splitting: Splitting) -> str:
        """Return what a passage of a document with sections is encoded with, before its text.

        Args:
            title: The document's title.
            headings: The passage's heading path.
            splitting: How documents are split.

        Returns:
            The title and the path. Where they take more than a quarter of the window, the
            headings between the title and the last one are left out first, then the title; what
            is still too long is cut.
        """
        spare = self._room(splitting) // 4
        for first, path in ((title, headings), (title, headings[-1:]), (None, headings[-1:])):
            context = context_of(first, path)
            offsets = self._text_offsets(context)
            if len(offsets) <= spare:
                return context
            if not headings:
                break
        return context[slice(*split(context, offsets, spare, 0)[0])] if spare else ""

    def _room(self, splitting: Splitting) -> int:
        """Return how many tokens a passage has beside the markers."""
        limit = self._config.document_length
        window = min(splitting.max_tokens or limit, limit)
        room = window - self.tokenize_document("").num_tokens
        if room < 1:
            raise InvalidInputError(
                f"max_tokens must be above the {window - room} that this model's markers take, "
                f"got {splitting.max_tokens}."
            )
        return room

    def _passages_of_sections(
        self, text: str, title: str, splitting: Splitting, sections: Sequence[Section]
    ) -> list[tuple[int, int, TokenizedText]]:
        """Tokenise a document that has sections; see `tokenize_passages`."""
        room = self._room(splitting)
        offsets = self._text_offsets(text)

        @cache
        def context(headings: tuple[str, ...]) -> str:
            return self.context(title, headings, splitting)

        @cache
        def context_size(headings: tuple[str, ...]) -> int:
            return len(self._text_offsets(context(headings)))

        def context_at(start: int, end: int) -> str:
            return context(headings_of(sections, start, end))

        if not len(offsets):
            whole = with_title(text, context_at(0, len(text)))
            return [(0, len(text), self.tokenize_document(whole))]
        # A token belongs to the section that it starts in.
        starts = np.array([0, *(section.start for section in sections)])
        sizes = np.diff(np.append(np.searchsorted(offsets[:, 0], starts), len(offsets)))
        longest = max(context_size(section.headings) for section in sections)
        passages = []
        for start, end in parts_of(text, sections, sizes.tolist(), room - longest):
            first, last = np.searchsorted(starts[1:], [start, end])
            paths = {section.headings for section in sections[first:last]}
            paths.add(headings_of(sections, start, end))
            budget = room - max(map(context_size, paths))
            inside = slice(*np.searchsorted(offsets[:, 0], [start, end]))
            passages += self._split(
                text, (start, end), offsets[inside] - start, budget, splitting, context_at
            )
        return passages

    def _split(
        self,
        text: str,
        span: Span,
        offsets: NDArray[np.int64],
        budget: int,
        splitting: Splitting,
        context: Callable[[int, int], str],
    ) -> list[tuple[int, int, TokenizedText]]:
        """Split a part of a text into passages and tokenise them.

        Args:
            text: The text.
            span: Where the part is.
            offsets: (num_tokens, 2) int64, where the part's tokens are in the part.
            budget: Tokens of a passage's text at most.
            splitting: How to split.
            context: What a passage is encoded with, by where it starts and ends.

        Returns:
            See `tokenize_passages`.
        """
        limit = self._config.document_length
        window = min(splitting.max_tokens or limit, limit)
        passages: list[tuple[int, int, TokenizedText]] = []

        def add(start: int, end: int, offsets: NDArray[np.int64], budget: int) -> None:
            for first, last in split(text[start:end], offsets, budget, splitting.overlap):
                part = text[start + first : start + last]
                before = context(start + first, start + last)
                tokenized = self.tokenize_document(with_title(part, before))
                # A part may have more tokens than it had in the whole, with BPE for one.
                if tokenized.num_tokens <= window or budget == 1:
                    passages.append((start + first, start + last, tokenized))
                else:
                    add(start + first, start + last, self._text_offsets(part), budget // 2)

        add(*span, offsets, budget)
        return passages

    def _marker(self, task: Task) -> tuple[str, int | None]:
        """Return the text that goes before a query or document, or the id that goes second."""
        if task == "query":
            prefix, prefix_id = self._config.query_prefix, self._config.query_prefix_id
        else:
            prefix, prefix_id = self._config.document_prefix, self._config.document_prefix_id
        return (prefix, None) if prefix_id is None else ("", prefix_id)

    def _encoding(self, task: Task, text: str) -> Any:
        return self._backend_encode(text, self._marker(task)[0])

    def _query(self, text: str, encoding: Any) -> TokenizedText:
        config = self._config
        ids, overflow = self._window("query", encoding.ids, self.query_limit)
        readable = self._readability.of(text, ids)
        attention = np.ones(len(ids), dtype=np.int64)
        keep = self._keep(ids, "query")
        padding = config.query_length - len(ids)
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
        return TokenizedText(ids, attention, keep, overflow, readable)

    def _document(self, text: str, encoding: Any, *, judge: bool = True) -> TokenizedText:
        """Make input of an encoding; `judge` whether the model can read it, unless it was."""
        ids, overflow = self._window("document", encoding.ids, self._config.document_length)
        return TokenizedText(
            ids,
            np.ones(len(ids), dtype=np.int64),
            self._keep(ids, "document"),
            overflow,
            self._readability.of(text, ids) if judge else 1.0,
        )

    def _tokens(
        self, task: Task, text: str, encoding: Any, tokenized: TokenizedText
    ) -> DescribedTokens:
        before, prefix_id = self._marker(task)
        offsets = self._spans(text, encoding.offsets, before)
        if prefix_id is not None:
            offsets = np.insert(offsets, min(1, len(offsets)), 0, axis=0)
        if tokenized.overflow:
            end = len(offsets) - self._trail
            offsets = np.delete(offsets, slice(end - tokenized.overflow, end), axis=0)
        expansion = np.zeros((len(tokenized.input_ids) - len(offsets), 2), np.int64)
        offsets = np.concatenate([offsets, expansion])[tokenized.keep]
        places = places_of(text, offsets)
        ids = tokenized.input_ids[tokenized.keep]
        for array in (ids, places):  # what is described may be shared
            array.flags.writeable = False
        weights = self._rarities(ids.tolist())
        return DescribedTokens(text, ids, weights, places, places, self._backend.id_to_token)

    def _spans(
        self, text: str, offsets: list[tuple[int, int]], prefix: str = ""
    ) -> NDArray[np.int64]:
        """Turn offsets (num_tokens, 2) in what the library got into such in the text itself."""
        spans = np.array(offsets, dtype=np.int64).reshape(-1, 2) - len(prefix)
        spans = np.maximum(spans, 0)
        plain, origins = for_model(text)
        if self._config.do_lower_case and len(plain.lower()) != len(plain):
            lowered = np.repeat(np.arange(len(plain)), [len(letter.lower()) for letter in plain])
            spans = _in_original(spans, np.append(lowered, len(plain)))
        return spans if origins is None else _in_original(spans, origins)

    def _text_offsets(self, text: str) -> NDArray[np.int64]:
        """Find where the tokens of a text of any length are, without markers: (num_tokens, 2)."""
        offsets = [np.empty((0, 2), np.int64)]
        start = 0
        while start < len(text):
            end = start + _SEGMENT
            if end < len(text):
                space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
                end = space if space > 0 else end
            segment = text[start:end]
            encoding = self._backend_encode(segment, "", add_special_tokens=False)
            offsets.append(self._spans(segment, encoding.offsets) + start)
            start = end
        return np.concatenate(offsets)

    def _backend_encode(self, text: str, prefix: str, add_special_tokens: bool = True) -> Any:
        try:
            text = for_model(text)[0]
            if self._config.do_lower_case:
                text = text.lower()
            return self._backend.encode(prefix + text, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeError) as error:  # a lone surrogate has no UTF-8 form
            raise InvalidInputError(f"text must be valid Unicode, got {text[:40]!r}.") from error

    def _window(self, task: Task, ids: list[int], limit: int) -> tuple[NDArray[np.int64], int]:
        """Put the marker in, and cut what exceeds the window; return how much that was."""
        _, prefix_id = self._marker(task)
        if prefix_id is not None:
            # Behind [CLS], as PyLate and Stanford ColBERT do. Without a leading special token
            # PyLate still puts it second; that is a position, not a rule, so it is kept.
            ids = [*ids[:1], prefix_id, *ids[1:]]
        overflow = max(len(ids) - limit, 0)
        if overflow:
            ids = ids[: limit - self._trail] + ids[len(ids) - self._trail :]
        return np.array(ids, dtype=np.int64), overflow

    def _keep(self, ids: NDArray[np.int64], task: Task) -> NDArray[np.bool_]:
        keep = np.ones(len(ids), dtype=bool)
        if task in self._config.skiplist_tasks and self._skiplist:
            keep &= ~self._skipped[ids]
        if task == "document" and self._config.keep_only_token_ids:
            keep &= np.isin(ids, np.array(self._config.keep_only_token_ids, dtype=np.int64))
        return keep


def _in_original(spans: NDArray[np.int64], origins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn spans in a changed text into spans in the original.

    Args:
        spans: (n, 2) int64.
        origins: (length of the changed text + 1,) int64, which character of the original each is
            from.

    Returns:
        (n, 2) int64. An end is never inside of a character that became two.
    """
    starts = origins[spans[:, 0]]
    ends = origins[np.maximum(spans[:, 1] - 1, 0)] + 1
    return np.stack([starts, np.where(spans[:, 1] > spans[:, 0], ends, starts)], axis=1)
