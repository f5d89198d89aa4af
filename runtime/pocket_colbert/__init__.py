"""ColBERT search that fits in a pocket: late-interaction retrieval without torch.

Public names are imported when they are first used, so that a command or a function that starts
loads what it needs and no more: `import pocket_colbert` alone brings neither NumPy nor onnxruntime.

onnxruntime's telemetry, which some of its builds have switched on, is switched off for the process
unless `ORT_DISABLE_TELEMETRY` is set already ("0" leaves it on).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocket_colbert.backend import Backend
    from pocket_colbert.collection.collection import Collection, FilesReport
    from pocket_colbert.collection.results import Results
    from pocket_colbert.config import IndexConfig, Pruning, SearchParameters, Splitting
    from pocket_colbert.errors import (
        BackendError,
        BackendNotFoundError,
        BundleError,
        ClosedError,
        ClusterError,
        CorpusError,
        DocumentNotFoundError,
        DuplicateIdError,
        IndexConflictError,
        IndexExistsError,
        IndexFolderError,
        IndexFormatError,
        IndexLockedError,
        IndexNotFoundError,
        InvalidInputError,
        LanguageWarning,
        ModelError,
        ModelFormatError,
        ModelNotFoundError,
        OptionalDependencyError,
        PocketColbertError,
        ProviderError,
        TruncationWarning,
        UnsupportedError,
    )
    from pocket_colbert.evaluation.metrics import to_run
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex
    from pocket_colbert.index.stats import IndexInfo
    from pocket_colbert.ingest.indexing import IndexOptions, IndexReport, index_files
    from pocket_colbert.model.encoder import Encoder
    from pocket_colbert.model.folder import bundled_models
    from pocket_colbert.model.recipe import ModelConfig
    from pocket_colbert.retriever import Retriever
    from pocket_colbert.search.explanation import Explanation, TokenMatch
    from pocket_colbert.types import (
        Document,
        EncodedDocument,
        EncodedTexts,
        Hit,
        Hits,
        Passage,
        PassageHit,
        Query,
        Section,
        Token,
    )
    from pocket_colbert.vectors.device_maxsim import DeviceMaxSim
    from pocket_colbert.vectors.maxsim_float import maxsim, maxsim_pairwise

__version__ = "0.1.0"

# Here, as onnxruntime reads it when it is imported, and every import of it comes after this one.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Backend",
    "BackendError",
    "BackendNotFoundError",
    "BundleError",
    "ClosedError",
    "ClusterError",
    "Collection",
    "CorpusError",
    "DeviceMaxSim",
    "Document",
    "DocumentNotFoundError",
    "DuplicateIdError",
    "EncodedDocument",
    "EncodedTexts",
    "Encoder",
    "Explanation",
    "FilesReport",
    "Hit",
    "Hits",
    "Index",
    "IndexConfig",
    "IndexConflictError",
    "IndexExistsError",
    "IndexFolderError",
    "IndexFormatError",
    "IndexInfo",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexOptions",
    "IndexReport",
    "InvalidInputError",
    "LanguageWarning",
    "ModelConfig",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "MultiIndex",
    "OptionalDependencyError",
    "Passage",
    "PassageHit",
    "PocketColbertError",
    "ProviderError",
    "Pruning",
    "Query",
    "Results",
    "Retriever",
    "SearchParameters",
    "Section",
    "Splitting",
    "Token",
    "TokenMatch",
    "TruncationWarning",
    "UnsupportedError",
    "__version__",
    "bundled_models",
    "index_files",
    "maxsim",
    "maxsim_pairwise",
    "to_run",
]

_HOMES = {
    "Backend": "backend",
    "BackendError": "errors",
    "BackendNotFoundError": "errors",
    "BundleError": "errors",
    "ClosedError": "errors",
    "Collection": "collection.collection",
    "ClusterError": "errors",
    "CorpusError": "errors",
    "DeviceMaxSim": "vectors.device_maxsim",
    "Document": "types",
    "DocumentNotFoundError": "errors",
    "DuplicateIdError": "errors",
    "EncodedDocument": "types",
    "EncodedTexts": "types",
    "Encoder": "model.encoder",
    "Explanation": "search.explanation",
    "FilesReport": "collection.collection",
    "Hit": "types",
    "Hits": "types",
    "Index": "index.index",
    "IndexConfig": "config",
    "IndexConflictError": "errors",
    "IndexExistsError": "errors",
    "IndexFolderError": "errors",
    "IndexFormatError": "errors",
    "IndexInfo": "index.stats",
    "IndexLockedError": "errors",
    "IndexNotFoundError": "errors",
    "IndexOptions": "ingest.indexing",
    "IndexReport": "ingest.indexing",
    "InvalidInputError": "errors",
    "LanguageWarning": "errors",
    "ModelConfig": "model.recipe",
    "ModelError": "errors",
    "ModelFormatError": "errors",
    "ModelNotFoundError": "errors",
    "MultiIndex": "index.multi_index",
    "OptionalDependencyError": "errors",
    "Passage": "types",
    "PassageHit": "types",
    "PocketColbertError": "errors",
    "ProviderError": "errors",
    "Pruning": "config",
    "Query": "types",
    "Results": "collection.results",
    "Retriever": "retriever",
    "SearchParameters": "config",
    "Section": "types",
    "Splitting": "config",
    "Token": "types",
    "TokenMatch": "search.explanation",
    "TruncationWarning": "errors",
    "UnsupportedError": "errors",
    "bundled_models": "model.folder",
    "index_files": "ingest.indexing",
    "maxsim": "vectors.maxsim_float",
    "maxsim_pairwise": "vectors.maxsim_float",
    "to_run": "evaluation.metrics",
}
"""The module that defines each public name; a test compares it with the imports above."""


if not TYPE_CHECKING:  # to type checkers it would say that any name exists

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
