"""Texts to token vectors."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_query, check_texts, checked_titles
from pocket_colbert.config import UNREAD, IndexConfig, Pruning, RelevanceCurve, Splitting
from pocket_colbert.described_tokens import DescribedTokens
from pocket_colbert.errors import InvalidInputError, LanguageWarning, TruncationWarning
from pocket_colbert.model.folder import (
    DEFAULT_MODEL,
    ModelFiles,
    bundled_model_of,
    load_model_files,
    models_folder,
)
from pocket_colbert.model.pipeline import (
    BATCH_TOKENS,
    Batching,
    Part,
    Steps,
    choose_batching,
    in_batches,
)
from pocket_colbert.model.recipe import ModelCard, ModelConfig
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import EncodedTexts, Passage, Query, Section, Span, Token
from pocket_colbert.vectors.padding import pad
from pocket_colbert.vectors.providers import Provider
from pocket_colbert.vectors.pruning import apply_pruning, first_components

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of all texts, from the calling thread."""

_Item = TypeVar("_Item")
_Kept = TypeVar("_Kept")


class Encoder:
    """Encodes queries and documents into one vector per token.

    Vectors are a function of the text alone: each text runs through the graph alone and unpadded,
    so the same text gives the same bits whatever else is encoded with it and on however many
    threads. (Dynamic int8 has one activation scale a run; a batch would share it.) Between CPU
    families int8 results differ a little: see docs/benchmarks.md.

    On a GPU float graphs run in batches, where the last bits differ: texts of like length
    together, tokenised ahead of the device and pruned behind it on `threads` threads.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> encoder = Encoder.load()
        >>> encoder.encode_query(["What is the capital of France?"])[0].shape
        (32, 96)
        >>> encoder.encode_document(["Paris is the capital of France."])[0].shape[1]
        96

    Attributes:
        config: The model's recipe.
        card: What else is known of the model.
        dim: Width of a token vector.
        threads: How many texts run side by side, or are tokenised and pruned beside a device.
        batch_size: Texts of a run at most.
        provider: onnxruntime's name of the execution provider.
        relevance_curve: How likely hits are right, by what is measured of them; None for a model
            that was exported without, and for a width it has none for.
        truncated: How many texts were longer than the window so far; of the first ones a
            TruncationWarning tells. Each call says it of its own texts: `EncodedTexts.lost`,
            `Query.truncated`, `Hits.truncated`.
        unread: How many passages so far were in languages that the model was not made for; of the
            first ones a LanguageWarning tells.
        model_runs: How often the model has run so far.
    """

    def __init__(self, files: ModelFiles, session: Session, batching: Batching, dim: int) -> None:
        """Put the parts together that `Encoder.load` makes.

        Args:
            files: A checked model folder.
            session: Its graph, loaded.
            batching: How texts are put into runs.
            dim: Components of a token vector to keep.

        Raises:
            ModelFormatError: The tokenizer is not what the recipe says.
        """
        self.config: ModelConfig = files.config
        self.card: ModelCard = files.card
        self.dim: int = dim
        self.threads: int = batching.threads
        self.batch_size: int = batching.size
        self.provider: str = session.provider
        self.relevance_curve: RelevanceCurve | None = files.relevance.get(dim)
        self.truncated: int = 0
        self.unread: int = 0
        self.model_runs: int = 0
        self._counting = threading.Lock()
        self._turns = (os.getpid(), threading.Semaphore(batching.threads))
        self._batching = batching
        self._tokenizer = Tokenizer(files.tokenizer, files.config, files.card.languages)
        self._session = session
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or copy an encoder by the path of its model: it is loaded again."""
        folder = self._files.folder
        bundled = folder.parent == models_folder()
        return _loaded, (
            folder.name if bundled else str(folder.absolute()), self.card.precision,
            self.card.fingerprint, self._session.requested, self._batching, self.dim,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        model: str | Path | ModelFiles = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        batch_size: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        dim: int | None = None,
    ) -> Encoder:
        """Load a model.

        Args:
            model: A model folder, the name of a bundled model, a hub id `owner/name`, or what
                `load_model_files` returned.
            threads: Texts that run side by side, by default one a usable core.
            provider: Execution provider: "cpu", "cuda", any of onnxruntime's names, or a
                (name, options) pair.
            batch_size: Texts of a run at most. More than 1 pads and is for float32 and float16
                graphs; vectors then differ with their batch in the last bits. By default 256 for
                such a graph on a GPU, and 1 otherwise. With more than 1, the float32 graph of
                another exporter's folder is chosen.
            batch_tokens: Tokens of a run at most, padding included; it bounds the device memory
                that a run takes.
            dim: Components of a token vector to keep, normalised again: one of
                `config.matryoshka_dims`, or all by default.

        Returns:
            The encoder.

        Raises:
            ModelNotFoundError: There is no such model.
            ModelFormatError: The folder is incomplete, damaged or of another version.
            InvalidInputError: threads, batch_size or batch_tokens is below 1, a batch is asked of
                an int8 graph, or the model was not trained to be cut to `dim`.
            ProviderError: The provider is not available.
        """
        files = _files(model, batch_size)
        batching = choose_batching(
            files.card.precision, provider, threads, batch_size, batch_tokens
        )
        full = files.config.embedding_dim
        widths = (full, *files.config.matryoshka_dims)
        if dim is not None and dim not in widths:
            raise InvalidInputError(
                f"dim must be one of this model's ({', '.join(map(str, widths))}), got {dim!r}."
            )
        return cls(files, Session(files.graph, full, provider), batching, dim or full)

    @classmethod
    def for_index(
        cls,
        config: IndexConfig,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        batch_size: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> Encoder:
        """Load the model that an index was made with, cut to the width of its vectors.

        Examples:
            >>> from pocket_colbert import Encoder, Index, IndexConfig
            >>> model = Encoder.load("tiny").card.fingerprint
            >>> index = Index.create("docs.index", IndexConfig(dim=48, model=model))
            >>> Encoder.for_index(index.config).dim
            48

        Args:
            config: The index's settings.
            model: See `load`; by default the bundled model that made the index, or, if none of
                them did, the default one, which `Retriever` then refuses.
            threads: See `load`.
            provider: See `load`.
            batch_size: See `load`.
            batch_tokens: See `load`.

        Returns:
            The encoder.

        Raises:
            ModelNotFoundError: See `load`.
            ModelFormatError: See `load`.
            InvalidInputError: See `load`; or the index does not know its model and none is named.
            ProviderError: See `load`.
        """
        if model is None and not config.model:
            raise InvalidInputError(
                "the index does not say which model encoded its documents, and another one would "
                "find nonsense; name the model (--model; in Python Encoder.load)."
            )
        files = _files(model or bundled_model_of(config.model) or DEFAULT_MODEL, batch_size)
        return cls.load(
            files,
            threads=threads,
            provider=provider,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            dim=config.dim if config.dim in files.config.matryoshka_dims else None,
        )

    def query(self, text: str) -> Query:
        """Encode one query, to search with and then to explain what was found.

        Examples:
            >>> from pocket_colbert import Collection
            >>> notes = Collection(model="tiny")
            >>> notes.add("The landlord repairs the roof.")
            1
            >>> query = notes.encoder.query("who repairs the roof?")
            >>> hits = notes.retriever.retrieve([query])[0]
            >>> notes.retriever.snippets(query, hits)
            [(0, 30)]

        Args:
            text: The query.

        Returns:
            Its token vectors, as `encode_query` gives them, and its tokens.

        Raises:
            InvalidInputError: text is not a string, or is blank.
            ProviderError: See `encode_query`.
        """
        check_query(text)
        return self.queries([text])[0]

    def queries(self, texts: Sequence[str]) -> list[Query]:
        """Encode queries, to search with and then to explain what was found; see `query`.

        Args:
            texts: The queries.

        Returns:
            One query a text.

        Raises:
            InvalidInputError: See `query`.
            ProviderError: See `encode_query`.
        """
        check_texts(texts)
        for text in texts:
            check_query(text)
        known = [self._tokenizer.query_with_tokens(text) for text in texts]
        tokenized = {text: parts[0] for text, parts in zip(texts, known, strict=True)}
        encoded, _, _ = self._encode(
            texts, len, lambda text: [tokenized[text]], None, self._tokenizer.query_limit, None,
            _itself,
        )  # fmt: skip
        queries = []
        for text, (ids, tokens, weights), (embedding,) in zip(texts, known, encoded, strict=True):
            embedding.flags.writeable = False
            queries.append(
                Query(text, embedding, tuple(tokens), ids.overflow, weights, ids.readable)
            )
        return queries

    def encode_query(
        self, texts: Sequence[str], *, progress: Progress | None = None
    ) -> EncodedTexts:
        """Encode queries.

        Args:
            texts: The queries; may be empty, and so may a query.
            progress: Called as texts are done.

        Returns:
            One (num_tokens, dim) float32 array a query, rows of length 1; `lost` says how many
            tokens of each did not fit the window.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings.
            ProviderError: The device has not enough memory; a smaller batch_tokens needs less.
        """
        check_texts(texts)
        tokenize = self._tokenizer.tokenize_query
        encoded, lost, readable = self._encode(
            texts,
            len,
            lambda text: [tokenize(text)],
            progress,
            self._tokenizer.query_limit,
            None,
            _itself,
        )
        return EncodedTexts((parts[0] for parts in encoded), lost, readable)

    def encode_document(
        self,
        texts: Sequence[str],
        *,
        pool_factor: float = 1.0,
        num_protected_tokens: int = 1,
        pruning: Pruning | None = None,
        progress: Progress | None = None,
    ) -> EncodedTexts:
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
            no tokens left when the skiplist holds all of them. `lost` says how many tokens of each
            did not fit the window; `encode_passages` takes documents of any length.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings,
                pool_factor or num_protected_tokens is out of range, or given beside pruning.
            ProviderError: See `encode_query`.
        """
        check_texts(texts)
        if pruning is None:
            pruning = Pruning(pool_factor=pool_factor, num_protected_tokens=num_protected_tokens)
        elif (pool_factor, num_protected_tokens) != (1.0, 1):
            raise InvalidInputError("give pruning or pool_factor, got both.")
        tokenize, window = self._tokenizer.tokenize_document, self.config.document_length
        encoded, lost, readable = self._encode(
            texts, len, lambda text: [tokenize(text)], progress, window, pruning, _itself
        )
        return EncodedTexts((parts[0] for parts in encoded), lost, readable)

    def encode_passages(
        self,
        texts: Sequence[str],
        *,
        titles: Sequence[str | None] | None = None,
        sections: Sequence[Sequence[Section]] | None = None,
        splitting: Splitting | None = None,
        pruning: Pruning | None = None,
        progress: Progress | None = None,
    ) -> list[list[Passage]]:
        """Encode documents of any length, in passages that each fit the model's window.

        A passage's vectors are those that `encode_document` gives for its title, a space and its
        part of the text. A document that fits is one passage. One without words, as it is empty
        or has punctuation only, has no token vectors: markers alone can be as near to a query as
        words are.

        Args:
            texts: The documents' texts.
            titles: Their titles, which every passage is encoded with. One that would leave less
                than a quarter of the window to the text is cut when the document does not fit.
            sections: Their sections. A passage stays within one, and is encoded with its heading
                path behind the title.
            splitting: How to split; an index's is in `index.config.splitting`.
            pruning: Which token vectors to keep; an index's is in `index.config.pruning`.
            progress: Called as documents are done.

        Returns:
            The passages of each document, at least one, in order. One whose text and title are
            empty or blank has no token vectors, so it is never found.

        Raises:
            InvalidInputError: texts is a bare string or holds something else than strings, there
                is not one title a text, or `splitting.max_tokens` leaves no room for text.
            ProviderError: See `encode_query`.
        """
        check_texts(texts)
        encoded = self._passages(
            texts,
            titles,
            sections,
            splitting or Splitting(),
            pruning or Pruning(),
            progress,
            _itself,
        )
        self.note_language([share for parts in encoded for _, share, _ in parts])
        return [
            [Passage(*span, embedding, share) for span, share, embedding in parts]
            for parts in encoded
        ]

    def reduce_passages(
        self,
        texts: Sequence[str],
        reduce: Callable[[NDArray[np.float32]], _Kept],
        *,
        titles: Sequence[str | None] | None = None,
        sections: Sequence[Sequence[Section]] | None = None,
        splitting: Splitting | None = None,
        pruning: Pruning | None = None,
        progress: Progress | None = None,
    ) -> list[list[tuple[Span, float, _Kept]]]:
        """Encode texts as `encode_passages` does, and keep only what a function makes of each.

        Token vectors take a hundred times the memory of their text.

        Args:
            texts: The texts.
            reduce: Called with a passage's token vectors, (num_tokens, dim) float32, in the calling
                thread.
            titles: See `encode_passages`.
            sections: See `encode_passages`.
            splitting: See `encode_passages`.
            pruning: See `encode_passages`.
            progress: Called as texts are done.

        Returns:
            For each text, where each passage starts and ends, how much of it the model can read
            from 0 to 1, and what `reduce` returned for it.

        Raises:
            InvalidInputError: See `encode_passages`.
            ProviderError: See `encode_query`.
        """
        check_texts(texts)
        return self._passages(
            texts,
            titles,
            sections,
            splitting or Splitting(),
            pruning or Pruning(),
            progress,
            reduce,
        )

    def _passages(
        self,
        texts: Sequence[str],
        titles: Sequence[str | None] | None,
        sections: Sequence[Sequence[Section]] | None,
        splitting: Splitting,
        pruning: Pruning,
        progress: Progress | None,
        reduce: Callable[[NDArray[np.float32]], _Kept],
    ) -> list[list[tuple[Span, float, _Kept]]]:
        """Return the span of each passage, how much of it the model can read, and what is kept."""
        titles = checked_titles(titles, len(texts))
        judged: list[list[tuple[Span, float]]] = [[] for _ in texts]

        def tokenize(number: int) -> list[TokenizedText]:
            parts = self._tokenizer.tokenize_passages(
                texts[number], titles[number], splitting, sections[number] if sections else ()
            )
            judged[number] = [((start, end), part.readable) for start, end, part in parts]
            shown = _has_words(texts[number], titles[number])
            return [self._with_words(tokenized, shown) for _, _, tokenized in parts]

        encoded, _, _ = self._encode(
            range(len(texts)),
            lambda number: len(texts[number]) + len(titles[number] or ""),
            tokenize,
            progress,
            self.config.document_length,
            pruning,
            reduce,
        )
        return [
            [(span, share, kept) for (span, share), kept in zip(*both, strict=True)]
            for both in zip(judged, encoded, strict=True)
        ]

    def context(
        self, title: str | None, headings: Sequence[str], *, splitting: Splitting | None = None
    ) -> str:
        """Return what `encode_passages` puts before a passage that stands under headings.

        Args:
            title: The document's title.
            headings: The passage's heading path.
            splitting: How the document was split; an index's is in `index.config.splitting`.

        Returns:
            The title and the path, shortened where they would take more than a quarter of the
            window.
        """
        return self._tokenizer.context(title, headings, splitting or Splitting())

    def document_token_ids(
        self,
        texts: Sequence[str],
        *,
        titles: Sequence[str | None] | None = None,
        splitting: Splitting | None = None,
    ) -> list[NDArray[np.int64]]:
        """Return the ids of the tokens that documents have vectors of, before any pruning.

        Args:
            texts: The documents.
            titles: Their titles.
            splitting: How to split them, as `encode_passages` does; by default they are cut, as
                `encode_document` does.

        Returns:
            One (num_tokens,) int64 array a document, one passage's ids after the other's.

        Raises:
            InvalidInputError: See `encode_passages`.
        """
        check_texts(texts)
        token_ids = []
        for text, title in zip(texts, checked_titles(titles, len(texts)), strict=True):
            if splitting is None:
                parts = [self._tokenizer.tokenize_document(with_title(text, title))]
            else:
                parts = [p for *_, p in self._tokenizer.tokenize_passages(text, title, splitting)]
            token_ids.append(np.concatenate([np.asarray(p.input_ids)[p.keep] for p in parts]))
        return token_ids

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
        return list(self._tokenizer.query_with_tokens(text)[1])

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
        return list(self.described_tokens(text, title))

    def described_tokens(self, text: str, title: str | None = None) -> DescribedTokens:
        """Do what `document_tokens` does, but make each token only when it is asked for.

        Args:
            text: See `document_tokens`.
            title: See `document_tokens`.

        Returns:
            A sequence of the same tokens, with the spans of all as an array.

        Raises:
            InvalidInputError: See `document_tokens`.
        """
        check_texts([text, title or ""])
        joined = f"{title or ''} {text}"
        shift = len(joined.lstrip()) - len(text)
        return self._tokenizer.document_tokens(with_title(text, title)).shifted(shift)

    @cached_property
    def _markers(self) -> int:
        """How many token vectors a document has that says nothing."""
        return int(np.count_nonzero(self._tokenizer.tokenize_document("").keep))

    def _with_words(self, tokenized: TokenizedText, shown: bool) -> TokenizedText:
        """Keep no token of a passage without words: markers resemble every query.

        That is one of a document that shows nothing, or of punctuation that the skiplist drops.
        """
        if shown and np.count_nonzero(tokenized.keep) > self._markers:
            return tokenized
        return replace(tokenized, keep=np.zeros_like(tokenized.keep))

    def _pruned(
        self, part: Part, embedding: NDArray[np.float32], pruning: Pruning | None
    ) -> NDArray[np.float32]:
        """Return what stays of a part's token vectors; of a query's all."""
        embedding = first_components(embedding, self.dim)
        if pruning is None:
            return embedding
        tokenized = part.tokenized
        return apply_pruning(
            embedding,
            tokenized.input_ids[tokenized.keep],
            pruning,
            model_pool_factor=self.config.pool_factor,
            model_protected_tokens=self.config.num_protected_tokens,
        )

    def _turn(self) -> threading.Semaphore:
        """Return what lets only so many texts run side by side, over all calls.

        More than there are threads for would take memory and no less time.
        """
        process, turns = self._turns
        if process != os.getpid():  # a fork, where nobody gives back what others held
            self._turns = process, turns = os.getpid(), threading.Semaphore(self.threads)
        return turns

    def _run(self, batch: Sequence[Part]) -> list[NDArray[np.float32]]:
        """Return the token vectors of each part of a batch, without those of the skiplist."""
        with self._turn():
            return self._run_now(batch)

    def _run_now(self, batch: Sequence[Part]) -> list[NDArray[np.float32]]:
        items = [part.tokenized for part in batch]
        with self._counting:
            self.model_runs += 1
        if len(items) == 1:
            (item,) = items
            return [
                self._session.run(item.input_ids[None], item.attention_mask[None])[0][item.keep]
            ]
        input_ids = pad([item.input_ids for item in items], 0)
        attention_mask = pad([item.attention_mask for item in items], 0)
        length = input_ids.shape[1]
        kept = [np.flatnonzero(item.keep) for item in items]
        rows = np.concatenate([positions + n * length for n, positions in enumerate(kept)])
        picked = self._session.run_rows(input_ids, attention_mask, rows)
        return np.split(picked, np.cumsum([len(positions) for positions in kept])[:-1])

    def _encode(
        self,
        texts: Sequence[_Item],
        size: Callable[[_Item], int],
        tokenize: Callable[[_Item], Sequence[TokenizedText]],
        progress: Progress | None,
        window: int,
        pruning: Pruning | None,
        reduce: Callable[[NDArray[np.float32]], _Kept],
    ) -> tuple[list[list[_Kept]], list[int], list[float]]:
        """Encode texts, or what stands for them: documents with a pruning, queries without.

        Args:
            texts: The texts.
            size: How long a text is, in characters.
            tokenize: A text to the parts that are encoded on their own.
            progress: Called as texts are done.
            window: Tokens of a part at most.
            pruning: Which token vectors to keep.
            reduce: What to keep of the embedding of a part.

        Returns:
            What is kept of the parts, a list a text, how many tokens of each text were lost, and
            how much of the first part of each the model can read.
        """
        kept_of: list[dict[int, _Kept]] = [{} for _ in texts]
        wanted = [0] * len(texts)
        lost, readable = [0] * len(texts), [1.0] * len(texts)
        overflow: list[int] = []
        done = 0

        def parts(text: int) -> Sequence[TokenizedText]:
            tokenized = tokenize(texts[text])
            wanted[text], readable[text] = len(tokenized), tokenized[0].readable
            return tokenized

        def collect(batch: Sequence[Part], embeddings: Sequence[NDArray[np.float32]]) -> None:
            nonlocal done
            for part, embedding in zip(batch, embeddings, strict=True):
                kept_of[part.text][part.number] = reduce(embedding)
                overflow.append(part.tokenized.overflow)
                lost[part.text] += part.tokenized.overflow
                done += len(kept_of[part.text]) == wanted[part.text]
            if progress is not None:
                progress(done, len(texts))

        steps = Steps(
            tokenize=parts,
            run=self._run,
            finish=lambda batch, rows: [
                self._pruned(part, embedding, pruning)
                for part, embedding in zip(batch, rows, strict=True)
            ],
        )
        in_batches([size(text) for text in texts], steps, self._batching, collect)
        self._note_truncation(overflow, window)
        return [[parts[n] for n in range(len(parts))] for parts in kept_of], lost, readable

    def note_language(self, readable: Sequence[float]) -> None:
        """Count passages that the model cannot read, and tell of the first ones.

        Args:
            readable: How much of each passage the model can read.
        """
        unread = sum(share < UNREAD for share in readable)
        with self._counting:
            first = unread > 0 and not self.unread
            self.unread += unread
        if first:
            warnings.warn(
                f"{unread} of {len(readable)} passages are in a language that the model was not "
                f"made for{self.made_for}; keywords find them, meaning does not. Later ones are "
                "counted without a warning.",
                LanguageWarning,
                stacklevel=_callers_stacklevel(),
            )

    @property
    def folder(self) -> Path:
        """Where its model is."""
        return self._files.folder

    @property
    def made_for(self) -> str:
        """The languages that the model was made for, in brackets for people; "" when unknown."""
        languages = ", ".join(self.card.languages)
        return f" (it reads {languages})" if languages else ""

    def _note_truncation(self, overflow: list[int], window: int) -> None:
        cut = sum(1 for lost in overflow if lost)
        with self._counting:
            first = cut > 0 and not self.truncated
            self.truncated += cut
        if first:
            warnings.warn(
                f"{cut} of {len(overflow)} texts were longer than the model's window of {window} "
                "tokens; what came after was not encoded. Later ones are counted without a "
                "warning.",
                TruncationWarning,
                stacklevel=_callers_stacklevel(),
            )


def _itself(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    return embedding


def _files(model: str | Path | ModelFiles, batch_size: int | None) -> ModelFiles:
    """Find a model; of another exporter's graphs the float32 one where batches are asked for."""
    if isinstance(model, ModelFiles):
        return model
    return load_model_files(model, prefer="fp32" if (batch_size or 1) > 1 else None)


def _has_words(text: str, title: str | None) -> bool:
    """Say whether a document has any character that can be seen."""
    return any(
        character.isprintable() and not character.isspace()
        for part in (title or "", text)
        for character in part
    )


def _loaded(
    model: str, precision: str, fingerprint: str, provider: Provider, batching: Batching, dim: int
) -> Encoder:
    """Load a model whose encoder was pickled."""
    files = load_model_files(model, prefer=precision if precision in ("int8", "fp32") else None)
    if files.card.fingerprint != fingerprint:
        raise InvalidInputError(
            f"{model} is another model here than where the encoder was pickled: it has "
            f"{files.card.fingerprint[:12]}, that one had {fingerprint[:12]}; copy the same one."
        )
    session = Session(files.graph, files.config.embedding_dim, provider)
    return Encoder(files, session, batching, dim)


def _callers_stacklevel() -> int:
    """Return the `stacklevel` at which a warning of the calling function names our caller."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("pocket_colbert."):
        frame, level = frame.f_back, level + 1
    return level
