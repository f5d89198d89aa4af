"""Texts to token vectors."""

from __future__ import annotations

import threading
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate, repeat
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, ModelCard, ModelConfig, Pruning, Splitting
from pocket_colbert.cpu import usable_cores
from pocket_colbert.errors import InvalidInputError, TruncationWarning
from pocket_colbert.model_files import (
    DEFAULT_MODEL,
    ModelFiles,
    bundled_model_of,
    load_model_files,
)
from pocket_colbert.passages import Passage, with_title
from pocket_colbert.pruning import drop_tokens, first_components, pool_tokens, skiplist_mask
from pocket_colbert.session import Provider, Session, pad
from pocket_colbert.tokenizer import Token, TokenizedText, Tokenizer

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of all texts, from the calling thread."""

_Item = TypeVar("_Item")


class Encoder:
    """Encodes queries and documents into one vector per token.

    Vectors are a function of the text alone: each text runs through the graph alone and unpadded,
    so the same text gives the same bits whatever else is encoded with it and on however many
    threads. (Dynamic int8 has one activation scale a run; a batch would share it.) Between CPU
    families int8 results differ a little: see "Which CPU" in the README.

        >>> encoder = Encoder.load()
        >>> encoder.encode_query(["What is the capital of France?"])[0].shape
        (32, 96)

    Attributes:
        config: The model's recipe.
        card: What else is known of the model.
        dim: Width of a token vector.
        threads: How many texts run side by side.
        truncated: How many texts were longer than the window so far.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        batch_size: int = 1,
        dim: int | None = None,
    ) -> None:
        """Load a checked model folder. `Encoder.load` finds and checks one first.

        Args:
            files: The checked folder.
            threads: Texts that run side by side, by default one a usable core.
            provider: Execution provider: "cpu", "cuda", any of onnxruntime's names, or a
                (name, options) pair.
            batch_size: Texts a run. More than 1 pads and is for float32 graphs on a GPU, where
                it is much faster; vectors then differ with their batch in the last bits.
            dim: Components of a token vector to keep, normalised again: one of
                `config.matryoshka_dims`, or all by default.

        Raises:
            InvalidInputError: threads or batch_size is below 1, a batch is asked of an int8
                graph, or the model was not trained to be cut to `dim`.
            ProviderError: The provider is not available.
            ModelFormatError: Graph or tokenizer is not what the recipe says.
        """
        threads = usable_cores() if threads is None else threads
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInputError(f"{name} must be a whole number >= 1, got {value!r}.")
        if batch_size > 1 and files.card.precision != "fp32":
            raise InvalidInputError(
                f"batch_size must be 1 for {files.card.precision} graphs, got {batch_size}: in a "
                "batch their vectors would depend on each other. Export with --precision fp32."
            )
        self.config: ModelConfig = files.config
        self.card: ModelCard = files.card
        full = files.config.embedding_dim
        if dim not in (None, full, *files.config.matryoshka_dims):
            widths = ", ".join(map(str, (full, *files.config.matryoshka_dims)))
            raise InvalidInputError(f"dim must be one of this model's ({widths}), got {dim!r}.")
        self.dim: int = dim or full
        self.threads: int = threads
        self.truncated: int = 0
        self._counting = threading.Lock()
        self._batch_size = batch_size
        self._tokenizer = Tokenizer(files.tokenizer, files.config)
        self._session = Session(files.graph, full, provider)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        batch_size: int = 1,
        dim: int | None = None,
    ) -> Encoder:
        """Load a model.

        Args:
            model: A model folder, the name of a bundled model, or a hub id `owner/name`.
            threads: See `Encoder`.
            provider: See `Encoder`.
            batch_size: See `Encoder`; with more than 1, a foreign folder's float32 graph is
                picked.
            dim: See `Encoder`.

        Returns:
            The encoder.

        Raises:
            ModelNotFoundError: There is no such model.
            ModelFormatError: The folder is incomplete, damaged or of another version.
            InvalidInputError: See `Encoder`.
            ProviderError: See `Encoder`.
        """
        files = load_model_files(model, prefer="fp32" if batch_size > 1 else None)
        return cls(files, threads=threads, provider=provider, batch_size=batch_size, dim=dim)

    @classmethod
    def for_index(
        cls,
        config: IndexConfig,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
    ) -> Encoder:
        """Load the model that an index was made with, cut to the width of its vectors.

            >>> index = Index.load("docs.index")
            >>> retriever = Retriever(Encoder.for_index(index.config), index)

        Args:
            config: The index's settings.
            model: See `load`; by default the bundled model that made the index, and where it was
                none of them, the default one, which `Retriever` then refuses.
            threads: See `Encoder`.
            provider: See `Encoder`.

        Returns:
            The encoder.

        Raises:
            ModelNotFoundError: See `load`.
            ModelFormatError: See `load`.
            InvalidInputError: See `Encoder`.
            ProviderError: See `Encoder`.
        """
        files = load_model_files(model or bundled_model_of(config.model) or DEFAULT_MODEL)
        dim = config.dim if config.dim in files.config.matryoshka_dims else None
        return cls(files, threads=threads, provider=provider, dim=dim)

    def encode_query(
        self, texts: Sequence[str], *, progress: Progress | None = None
    ) -> list[NDArray[np.float32]]:
        """Encode queries.

        Args:
            texts: The queries; may be empty, and so may a query.
            progress: Called as texts are done.

        Returns:
            One (num_tokens, dim) float32 array a query, rows of length 1.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings.
        """
        check_texts(texts)
        return self._encode(
            texts, self._tokenizer.tokenize_query, progress, self.config.query_length
        )

    def encode_document(
        self,
        texts: Sequence[str],
        *,
        pool_factor: float = 1.0,
        num_protected_tokens: int = 1,
        pruning: Pruning | None = None,
        progress: Progress | None = None,
    ) -> list[NDArray[np.float32]]:
        """Encode documents: skiplist tokens are dropped, then tokens may be pruned and pooled.

        Args:
            texts: The documents; may be empty, and so may a document.
            pool_factor: How many token vectors become one on average; 1 pools nothing. See
                `pruning.pool_tokens`.
            num_protected_tokens: First token vectors that pooling leaves alone.
            pruning: All the ways to keep fewer token vectors, in place of the two above; an
                index's are in `index.config.pruning`.
            progress: Called as texts are done.

        Returns:
            One (num_tokens, dim) float32 array a document, rows of length 1. A document may have
            no tokens left when the skiplist holds all of them.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings,
                pool_factor or num_protected_tokens is out of range, or given beside pruning.
        """
        check_texts(texts)
        if pruning is None:
            pruning = Pruning(pool_factor=pool_factor, num_protected_tokens=num_protected_tokens)
        elif (pool_factor, num_protected_tokens) != (1.0, 1):
            raise InvalidInputError("give pruning or pool_factor, got both.")
        return self._encode(
            texts,
            self._tokenizer.tokenize_document,
            progress,
            self.config.document_length,
            pruning,
        )

    def encode_passages(
        self,
        texts: Sequence[str],
        *,
        titles: Sequence[str | None] | None = None,
        splitting: Splitting | None = None,
        pruning: Pruning | None = None,
        progress: Progress | None = None,
    ) -> list[list[Passage]]:
        """Encode documents of any length, in passages that each fit the model's window.

        A passage's vectors are those that `encode_document` gives for its title, a space and its
        part of the text. A document that fits is one passage.

        Args:
            texts: The documents' texts.
            titles: Their titles, which every passage is encoded with. One that would leave less
                than a quarter of the window to the text is cut when the document does not fit.
            splitting: How to split; an index's is in `index.config.splitting`.
            pruning: Which token vectors to keep; an index's is in `index.config.pruning`.
            progress: Called as documents are done.

        Returns:
            The passages of each document, at least one, in order.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings, there
                is not one title a text, or `splitting.max_tokens` leaves no room for text.
        """
        check_texts(texts)
        titles = [None] * len(texts) if titles is None else titles
        if (
            isinstance(titles, str)
            or len(titles) != len(texts)
            or not all(isinstance(title, str | None) for title in titles)
        ):
            raise InvalidInputError(
                f"titles must be a list of {len(texts)} strings or None, one a text, "
                f"got {str(titles)[:60]!r}."
            )
        chosen = splitting or Splitting()
        with ThreadPoolExecutor(self.threads) as pool:
            tokenized = list(
                pool.map(self._tokenizer.tokenize_passages, texts, titles, repeat(chosen))
            )
        ends = list(accumulate(map(len, tokenized)))

        def report(done: int, _: int) -> None:
            if progress is not None:
                progress(bisect_right(ends, done), len(texts))

        encoded = self._encode(
            [item for passages in tokenized for _, _, item in passages],
            lambda item: item,
            report,
            self.config.document_length,
            pruning or Pruning(),
        )
        embeddings = iter(encoded)
        return [
            [Passage(start, end, next(embeddings)) for start, end, _ in passages]
            for passages in tokenized
        ]

    def document_token_ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the ids of the tokens that documents have vectors of, before any pruning.

        Args:
            texts: The documents.

        Returns:
            One (num_tokens,) int64 array a document.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings.
        """
        check_texts(texts)
        tokenized = map(self._tokenizer.tokenize_document, texts)
        return [np.asarray(item.input_ids)[item.keep] for item in tokenized]

    def query_tokens(self, text: str) -> list[Token]:
        """Describe the tokens that a query has vectors of, row for row of `encode_query`.

        Args:
            text: The query.

        Returns:
            One token a row; the span of special, marker and expansion tokens is None.

        Raises:
            InvalidInputError: text is not a string.
        """
        check_texts([text])
        return self._tokenizer.query_tokens(text)

    def document_tokens(self, text: str, *, title: str | None = None) -> list[Token]:
        """Describe the tokens that a document or passage has vectors of, before any pruning.

        They are, row for row, those of `encode_document` for title, space and text without
        pruning or pooling; a model that pools on its own has fewer rows.

        Args:
            text: The document's or passage's text.
            title: Its title.

        Returns:
            One token a row, spans being in `text`; the span of the title's tokens and of special
            and marker tokens is None.

        Raises:
            InvalidInputError: text or title is not a string.
        """
        check_texts([text, title or ""])
        joined = f"{title or ''} {text}"
        shift = len(joined.lstrip()) - len(text)
        tokens = self._tokenizer.document_tokens(with_title(text, title))
        return [replace(token, span=_shifted(token.span, -shift)) for token in tokens]

    def document_token_spans(self, text: str, *, title: str | None = None) -> NDArray[np.int64]:
        """Return the spans of `document_tokens` as (num_tokens, 2) int64, (-1, -1) for None."""
        tokens = self.document_tokens(text, title=title)
        spans = [token.span or (-1, -1) for token in tokens]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def _select(
        self, vectors: NDArray[np.float32], tokenized: TokenizedText, pruning: Pruning | None
    ) -> NDArray[np.float32]:
        """Return what is kept of a run's vectors (length or more, dim) of one text."""
        keep = tokenized.keep
        vectors = vectors[: len(keep)]
        if pruning is None:
            return vectors[keep]
        if pruning.skiplist_ids:
            stays = skiplist_mask(tokenized.input_ids, pruning.skiplist_ids)
            stays[np.flatnonzero(keep)[: pruning.num_protected_tokens]] = True
            keep = keep & stays
        embedding = pool_tokens(
            vectors[keep], self.config.pool_factor, self.config.num_protected_tokens
        )
        embedding = drop_tokens(embedding, pruning)
        return pool_tokens(embedding, pruning.pool_factor, pruning.num_protected_tokens)

    def _encode(
        self,
        texts: Sequence[_Item],
        tokenize: Callable[[_Item], TokenizedText],
        progress: Progress | None,
        window: int,
        pruning: Pruning | None = None,
    ) -> list[NDArray[np.float32]]:
        """Encode texts, or what stands for them: documents with a pruning, queries without."""
        done = 0
        overflow: list[int] = []
        results: list[NDArray[np.float32]] = []

        def encode_batch(batch: Sequence[_Item]) -> list[tuple[NDArray[np.float32], int]]:
            tokenized = [tokenize(text) for text in batch]
            vectors = self._session.run(
                pad([item.input_ids for item in tokenized], 0),
                pad([item.attention_mask for item in tokenized], 0),
            )
            vectors = first_components(vectors, self.dim)
            return [
                (self._select(row, item, pruning), item.overflow)
                for row, item in zip(vectors, tokenized, strict=True)
            ]

        batches = [
            texts[start : start + self._batch_size]
            for start in range(0, len(texts), self._batch_size)
        ]
        with ThreadPoolExecutor(min(self.threads, max(len(batches), 1))) as pool:
            try:
                # One worker needs no pool; a single query is then answered in this thread.
                encoded = (
                    map(encode_batch, batches)
                    if len(batches) < 2
                    else pool.map(encode_batch, batches)
                )
                for batch in encoded:
                    for embedding, lost in batch:
                        results.append(embedding)
                        overflow.append(lost)
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(texts))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._note_truncation(overflow, window)
        return results

    def _note_truncation(self, overflow: list[int], window: int) -> None:
        cut = sum(1 for lost in overflow if lost)
        with self._counting:
            first = cut > 0 and not self.truncated
            self.truncated += cut
        if first:
            warnings.warn(
                f"{cut} of {len(overflow)} texts were longer than the model's window of {window} "
                "tokens; what came after was not encoded. Later ones are counted in "
                "Encoder.truncated without a warning.",
                TruncationWarning,
                stacklevel=4,
            )


def _shifted(span: tuple[int, int] | None, shift: int) -> tuple[int, int] | None:
    """Move a span; None for one that ends before the text."""
    if span is None or span[1] + shift <= 0:
        return None
    return max(span[0] + shift, 0), span[1] + shift


def check_texts(texts: object) -> None:
    """Raise InvalidInputError unless `texts` is a list of strings."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InvalidInputError(
            f"texts must be a list of strings, got {type(texts).__name__}; "
            "put a single text in a list."
        )
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"texts must be strings, got {type(text).__name__} at position {position}."
            )
