"""ColBERT search that fits in a pocket: late-interaction retrieval without torch."""

from __future__ import annotations

from pocket_colbert.config import IndexConfig, ModelConfig, Pruning, SearchParameters, Splitting
from pocket_colbert.documents import Document
from pocket_colbert.encoder import Encoder
from pocket_colbert.errors import (
    CorpusError,
    DuplicateIdError,
    IndexConflictError,
    IndexExistsError,
    IndexFolderError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidInputError,
    ModelError,
    ModelFormatError,
    ModelNotFoundError,
    OptionalDependencyError,
    PocketColbertError,
    ProviderError,
    TruncationWarning,
)
from pocket_colbert.explanation import Explanation, TokenMatch
from pocket_colbert.index import Index
from pocket_colbert.index_info import IndexInfo
from pocket_colbert.maxsim import maxsim, maxsim_pairwise
from pocket_colbert.model_files import bundled_models
from pocket_colbert.passages import Passage
from pocket_colbert.results import Hit, PassageHit, to_run
from pocket_colbert.retriever import Retriever
from pocket_colbert.tokenizer import Token

__version__ = "0.1.0"

__all__ = [
    "CorpusError",
    "Document",
    "DuplicateIdError",
    "Encoder",
    "Explanation",
    "Hit",
    "Index",
    "IndexConfig",
    "IndexConflictError",
    "IndexExistsError",
    "IndexFolderError",
    "IndexFormatError",
    "IndexInfo",
    "IndexLockedError",
    "IndexNotFoundError",
    "InvalidInputError",
    "ModelConfig",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "OptionalDependencyError",
    "Passage",
    "PassageHit",
    "PocketColbertError",
    "ProviderError",
    "Pruning",
    "Retriever",
    "SearchParameters",
    "Splitting",
    "Token",
    "TokenMatch",
    "TruncationWarning",
    "__version__",
    "bundled_models",
    "maxsim",
    "maxsim_pairwise",
    "to_run",
]
