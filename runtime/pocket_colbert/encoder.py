"""Texts to token vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import ModelCard, ModelConfig, Pruning
from pocket_colbert.cpu import usable_cores
from pocket_colbert.errors import InvalidInputError, TruncationWarning
from pocket_colbert.model_files import DEFAULT_MODEL, ModelFiles, load_model_files
from pocket_colbert.pruning import drop_tokens, pool_tokens, skiplist_mask
from pocket_colbert.session import Provider, Session, pad
from pocket_colbert.tokenizer import TokenizedText, Tokenizer

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of all texts, from the calling thread."""


class Encoder:
    """Encodes queries and documents into one vector per token.

    Vectors are a function of the text alone: each text runs through the graph alone and unpadded,
    so the same text gives the same bits whatever else is encoded with it and on however many
    threads. (Dynamic int8 has one activation scale a run; a batch would share it.) Between CPU
    families int8 results differ a little: see "Which CPU" in the README.

        >>> encoder = Encoder.load()
        >>> encoder.encode_query(["What is the capital of France?"])[0].shape
        (8, 96)

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
    ) -> None:
        """Load a checked model folder. `Encoder.load` finds and checks one first.

        Args:
            files: The checked folder.
            threads: Texts that run side by side, by default one a usable core.
            provider: Execution provider: "cpu", "cuda", any of onnxruntime's names, or a
                (name, options) pair.
            batch_size: Texts a run. More than 1 pads and is for float32 graphs on a GPU, where
                it is much faster; vectors then differ with their batch in the last bits.

        Raises:
            InvalidInputError: threads or batch_size is below 1, or a batch is asked of an int8
                graph.
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
        self.dim = files.config.embedding_dim
        self.threads = threads
        self.truncated = 0
        self._batch_size = batch_size
        self._tokenizer = Tokenizer(files.tokenizer, files.config)
        self._session = Session(files.graph, self.dim, provider)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        batch_size: int = 1,
    ) -> Encoder:
        """Load a model.

        Args:
            model: A model folder, the name of a bundled model, or a hub id `owner/name`.
            threads: See `__init__`.
            provider: See `__init__`.
            batch_size: See `__init__`; with more than 1, a foreign folder's float32 graph is
                picked.

        Returns:
            The encoder.

        Raises:
            ModelNotFoundError: There is no such model.
            ModelFormatError: The folder is incomplete, damaged or of another version.
            InvalidInputError: See `__init__`.
            ProviderError: See `__init__`.
        """
        files = load_model_files(model, prefer="fp32" if batch_size > 1 else None)
        return cls(files, threads=threads, provider=provider, batch_size=batch_size)

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
        if pruning is None:
            pruning = Pruning(pool_factor=pool_factor, num_protected_tokens=num_protected_tokens)
        elif (pool_factor, num_protected_tokens) != (1.0, 1):
            raise InvalidInputError("give pruning or pool_factor, got both.")
        chosen = pruning

        def tokenize(text: str) -> TokenizedText:
            tokenized = self._tokenizer.tokenize_document(text)
            if not chosen.skiplist_ids:
                return tokenized
            stays = skiplist_mask(tokenized.input_ids, chosen.skiplist_ids)
            stays[np.flatnonzero(tokenized.keep)[: chosen.num_protected_tokens]] = True
            return replace(tokenized, keep=tokenized.keep & stays)

        def finish(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
            embedding = pool_tokens(
                embedding, self.config.pool_factor, self.config.num_protected_tokens
            )
            embedding = drop_tokens(embedding, chosen)
            return pool_tokens(embedding, chosen.pool_factor, chosen.num_protected_tokens)

        return self._encode(texts, tokenize, progress, self.config.document_length, finish)

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

    def _encode(
        self,
        texts: Sequence[str],
        tokenize: Callable[[str], TokenizedText],
        progress: Progress | None,
        window: int,
        finish: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda embedding: embedding,
    ) -> list[NDArray[np.float32]]:
        check_texts(texts)
        done = 0
        overflow: list[int] = []
        results: list[NDArray[np.float32]] = []

        def encode_batch(batch: Sequence[str]) -> list[tuple[NDArray[np.float32], int]]:
            tokenized = [tokenize(text) for text in batch]
            vectors = self._session.run(
                pad([item.input_ids for item in tokenized], 0),
                pad([item.attention_mask for item in tokenized], 0),
            )
            return [
                (finish(row[: len(item.keep)][item.keep]), item.overflow)
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
        if cut and not self.truncated:
            warnings.warn(
                f"{cut} of {len(overflow)} texts were longer than the model's window of {window} "
                "tokens; what came after was not encoded. Later ones are counted in "
                "Encoder.truncated without a warning.",
                TruncationWarning,
                stacklevel=4,
            )
        self.truncated += cut


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
