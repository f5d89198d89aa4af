"""MTEB: evaluate a model together with its index and search settings.

Needs the `mteb` extra. mteb itself depends on torch; nothing here uses it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.errors import ClosedError, InvalidInputError, OptionalDependencyError
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.incremental import sync
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import bundled_model_of
from pocket_colbert.retriever import Retriever
from pocket_colbert.storage.contained import Contained
from pocket_colbert.types import Document

try:
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.types import Licenses
except ImportError as _error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.mteb", "mteb") from _error

_QUERIES = 256
"""How many queries to encode and search at a time."""


class PocketColbertSearch:
    """Searches MTEB's corpora the way users search their own documents.

        >>> model = PocketColbertSearch(Encoder.load())
        >>> mteb.evaluate(model, mteb.get_tasks(tasks=["SciFact"]))

    Implements mteb's `SearchProtocol`. It measures what users get, including codes, splitting of
    long documents and approximate search, unless `config` and `parameters` say otherwise.
    Retrieval tasks rank the whole corpus, reranking tasks score the documents they name. A query
    and its instruction are joined by a space, as mteb does for encoders.

    The index lives in a temporary folder and holds one corpus at a time.

    Attributes:
        encoder: Encodes queries and documents.
        config: How the index stores token vectors.
        parameters: How to search.
        mteb_model_meta: What mteb stores with the results. The revision is the model's
            fingerprint, and the settings are part of the name under which results are cached.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        config: IndexConfig | None = None,
        parameters: SearchParameters | None = None,
        name: str | None = None,
    ) -> None:
        """Combine a model with its settings.

        Args:
            encoder: The model.
            config: How the index stores token vectors; a user's defaults if not given.
            parameters: How to search; a user's defaults if not given.
            name: Name under which mteb keeps the results, in the form owner/name; defaults to
                "pocket-colbert/" and the model's own name.

        Raises:
            InvalidInputError: The settings are for another width, or `name` has no owner.
        """
        config = config or IndexConfig(dim=encoder.dim)
        if config.dim != encoder.dim:
            raise InvalidInputError(
                f"config.dim must be {encoder.dim} as in the model, got {config.dim}."
            )
        if name is None:
            bundled = bundled_model_of(encoder.card.fingerprint)
            name = f"pocket-colbert/{bundled or Path(encoder.config.model_name or 'model').name}"
        if name.count("/") != 1:
            raise InvalidInputError(f"name must have the form owner/name, got {name!r}.")
        self.encoder = encoder
        self.config: IndexConfig = replace(config, model=encoder.card.fingerprint)
        self.parameters: SearchParameters = parameters or SearchParameters()
        self.mteb_model_meta: Any = _meta(encoder, self.config, self.parameters, name)
        self._retriever = Retriever(encoder)
        self._folder = tempfile.mkdtemp(prefix="pocket-colbert-mteb-")
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def index(
        self,
        corpus: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None,
        **kwargs: Any,
    ) -> None:
        """Encode a corpus into the index, replacing the previous one.

        Args:
            corpus: Rows with "id", "text" and optionally "title".
            task_metadata: Passed by mteb; ignored, like all arguments below.
            hf_split: Ignored.
            hf_subset: Ignored.
            encode_kwargs: Ignored; batches have no meaning here.
            num_proc: Ignored; the encoder has its own threads.
            **kwargs: Ignored; part of mteb's protocol.

        Raises:
            ClosedError: `close` was called.
            InvalidInputError: A row has no text.
            CorpusError: Two rows have the same id.
        """
        self._drop()
        if not self._remove.alive:
            raise ClosedError("this PocketColbertSearch is closed; create another.")
        index = Index.create(
            Contained(Path(self._folder)) / "corpus.index", self.config,
            threads=self.encoder.threads,
        )  # fmt: skip
        self._retriever = Retriever(self.encoder, index)
        try:
            sync(self._retriever, _documents(corpus), ["corpus"])
        except BaseException:
            self._drop()  # never search part of a corpus as if it were complete
            raise

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Search the corpus that was indexed last.

        Args:
            queries: Rows with "id", "text" and optionally "instruction".
            task_metadata: Ignored, see `index`.
            hf_split: Ignored, see `index`.
            hf_subset: Ignored, see `index`.
            top_k: Maximum number of documents per query.
            encode_kwargs: Ignored, see `index`.
            top_ranked: For reranking, the ids of the documents to score for each query.
            num_proc: Ignored, see `index`.
            **kwargs: Ignored, see `index`.

        Returns:
            For each query id, the scores of its documents by document id.

        Raises:
            InvalidInputError: Nothing has been indexed, a query is not a text, or `top_ranked`
                names a document that is not in the corpus.
        """
        run: dict[str, dict[str, float]] = {}
        remaining = _queries(queries)
        while batch := list(islice(remaining, _QUERIES)):
            ids, texts = [item[0] for item in batch], [item[1] for item in batch]
            if top_ranked is None:
                hits = self._retriever.retrieve(texts, top_k, parameters=self.parameters)
            else:
                hits = [
                    self._retriever.retrieve(
                        [text], top_k, parameters=self.parameters, subset=top_ranked[query_id]
                    )[0]
                    for query_id, text in batch
                ]
            for query_id, query_hits in zip(ids, hits, strict=True):
                run[query_id] = {hit.document_id: hit.score for hit in query_hits}
        return run

    def close(self) -> None:
        """Remove the index, as garbage collection also does."""
        self._drop()
        self._remove()

    def _drop(self) -> None:
        """Close and remove the index of the previous corpus."""
        if self._retriever.index is not None:
            self._retriever.index.close()
        self._retriever = Retriever(self.encoder)
        shutil.rmtree(Path(self._folder) / "corpus.index", ignore_errors=True)


def _documents(corpus: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    for row in corpus:
        text = row.get("text")
        if not isinstance(text, str):
            raise InvalidInputError(
                f"document {row.get('id')!r} must have a text, got {type(text).__name__}; only "
                "tasks with a text corpus are supported."
            )
        yield Document(str(row["id"]), text, row.get("title") or None, source="corpus")


def _queries(queries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in queries:
        text, instruction = row.get("text"), row.get("instruction")
        if not isinstance(text, str):
            raise InvalidInputError(
                f"query {row.get('id')!r} must be a text, got {type(text).__name__}; images and "
                "conversations are not supported."
            )
        yield str(row["id"]), f"{text} {instruction}" if instruction else text


def _meta(
    encoder: Encoder, config: IndexConfig, parameters: SearchParameters, name: str
) -> ModelMeta:
    named = encoder.card.license.lower()
    settings = json.dumps([config.to_json(), asdict(parameters)], sort_keys=True)
    return ModelMeta(
        loader=None,
        name=name,
        revision=encoder.card.fingerprint[:12] or None,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=encoder.config.document_length,
        embed_dim=encoder.dim,
        license=named if named in get_args(Licenses) else None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["ColBERT"],
        similarity_fn_name=ScoringFunction.MAX_SIM,
        use_instructions=False,
        training_datasets=None,
        model_type=["late-interaction"],
        # Part of the cache key, so that results of other settings are not reused.
        experiment_kwargs={
            "codes": config.codes,
            "dim": encoder.dim,
            "settings": hashlib.sha256(settings.encode()).hexdigest()[:8],
        },
    )
