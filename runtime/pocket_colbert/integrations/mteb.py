"""MTEB: a model, its index and its search as one thing that `mteb.evaluate` takes.

Needs the `mteb` extra. mteb itself brings torch; nothing here uses it.
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
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.evaluation.evaluate import to_run
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.incremental import sync
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import bundled_model_of
from pocket_colbert.retriever import Retriever
from pocket_colbert.types import Document

try:
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.types import Licenses
except ImportError as error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.mteb", "mteb") from error

_QUERIES = 256
"""Queries that are encoded and searched at a time."""


class PocketColbertSearch:
    """Searches MTEB's corpora as users search theirs: `mteb.evaluate(model, tasks)`.

        >>> model = PocketColbertSearch(Encoder.load())
        >>> mteb.evaluate(model, mteb.get_tasks(tasks=["SciFact"]))

    It is a `SearchProtocol` of mteb. What is measured is what users get, codes, splitting of long
    documents and approximate search included, unless `config` and `parameters` say otherwise;
    retrieval ranks the whole corpus, reranking tasks score the documents they name. A query with
    an instruction is the query, a space, and the instruction, as mteb joins them for encoders.

    The index is in a temporary folder, that of one corpus at a time.

    Attributes:
        encoder: Encodes queries and documents.
        config: How the index stores token vectors.
        parameters: How is searched.
        mteb_model_meta: What mteb writes beside the results. The revision is the model's
            fingerprint, and the settings are part of the name that results are cached by.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        config: IndexConfig | None = None,
        parameters: SearchParameters | None = None,
        name: str | None = None,
    ) -> None:
        """Put a model and its settings together.

        Args:
            encoder: The model.
            config: How the index stores token vectors; a user's default if not given.
            parameters: How to search; a user's default if not given.
            name: What the results are kept under, in the form owner/name; "pocket-colbert/" and
                the model's own name by default.

        Raises:
            InvalidInputError: The settings are for vectors of another width, or name lacks its
                owner.
        """
        config = config or IndexConfig(dim=encoder.dim)
        if config.dim != encoder.dim:
            raise InvalidInputError(
                f"config must be for {encoder.dim} dimensions, the model's, got {config.dim}."
            )
        if name is None:
            bundled = bundled_model_of(encoder.card.fingerprint)
            name = f"pocket-colbert/{bundled or Path(encoder.config.model_name or 'model').name}"
        if name.count("/") != 1:
            raise InvalidInputError(f"name must have the form owner/name, got {name!r}.")
        self.encoder = encoder
        self.config = replace(config, model=encoder.card.fingerprint)
        self.parameters = parameters or SearchParameters()
        self.mteb_model_meta = _meta(encoder, self.config, self.parameters, name)
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
        """Encode a corpus into the index, in the place of the one before.

        Args:
            corpus: Rows with "id", "text" and perhaps "title".
            task_metadata: mteb's; not needed, as are all that follow.
            hf_split: See `task_metadata`.
            hf_subset: See `task_metadata`.
            encode_kwargs: See `task_metadata`; batches have no meaning here.
            num_proc: See `task_metadata`; the encoder knows its threads.
            **kwargs: See `task_metadata`; mteb reserves them for what it may pass one day.

        Raises:
            InvalidInputError: `close` was called, or a row has no text.
            CorpusError: Two rows have the same id.
        """
        self._drop()
        if not self._remove.alive:
            raise InvalidInputError("this PocketColbertSearch is closed; make another.")
        index = Index.create(
            Path(self._folder) / "corpus.index", self.config, threads=self.encoder.threads
        )
        self._retriever = Retriever(self.encoder, index)
        try:
            sync(self._retriever, _documents(corpus), ["corpus"])
        except BaseException:
            self._drop()  # a part of a corpus must not be searched as if it were all of it
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
            queries: Rows with "id", "text" and perhaps "instruction".
            task_metadata: See `index`.
            hf_split: See `index`.
            hf_subset: See `index`.
            top_k: Documents a query at most.
            encode_kwargs: See `index`.
            top_ranked: For reranking, the ids of the documents that each query may choose from.
            num_proc: See `index`.
            **kwargs: See `index`.

        Returns:
            For each query's id the scores of its documents by their ids.

        Raises:
            InvalidInputError: Nothing was indexed, a query is no text, or top_ranked names a
                document that is not in the corpus.
        """
        run: dict[str, dict[str, float]] = {}
        remaining = _queries(queries)
        while batch := list(islice(remaining, _QUERIES)):
            ids, texts = [item[0] for item in batch], [item[1] for item in batch]
            if top_ranked is None:
                found = self._retriever.retrieve(texts, top_k, parameters=self.parameters)
            else:
                found = [
                    self._retriever.retrieve(
                        [text], top_k, parameters=self.parameters, subset=top_ranked[query_id]
                    )[0]
                    for query_id, text in batch
                ]
            run.update({query: dict(scores) for query, scores in to_run(ids, found).items()})
        return run

    def close(self) -> None:
        """Remove the index; going out of use does it too."""
        self._drop()
        self._remove()

    def _drop(self) -> None:
        """Close and remove the index of the corpus before."""
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
                "tasks whose corpus is text can be evaluated."
            )
        yield Document(str(row["id"]), text, row.get("title") or None, source="corpus")


def _queries(queries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in queries:
        text, instruction = row.get("text"), row.get("instruction")
        if not isinstance(text, str):
            raise InvalidInputError(
                f"query {row.get('id')!r} must be a text, got {type(text).__name__}; images and "
                "conversations cannot be searched for."
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
        # Results of other settings must not be taken for these.
        experiment_kwargs={
            "codes": config.codes,
            "dim": encoder.dim,
            "settings": hashlib.sha256(settings.encode()).hexdigest()[:8],
        },
    )
