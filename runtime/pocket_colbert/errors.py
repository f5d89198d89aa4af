"""Every error this package raises on purpose.

    PocketColbertError
    ├── InvalidInputError (also a ValueError)
    │   ├── DuplicateIdError
    │   └── UnsupportedError
    ├── DocumentNotFoundError (also a LookupError)
    ├── ClosedError
    ├── CorpusError
    ├── ModelError
    │   ├── ModelNotFoundError
    │   └── ModelFormatError
    ├── ProviderError
    ├── IndexFolderError
    │   ├── IndexNotFoundError
    │   ├── IndexExistsError
    │   ├── IndexFormatError
    │   └── IndexConflictError
    │       └── IndexLockedError
    ├── BackendError
    │   └── BackendNotFoundError
    ├── ClusterError
    ├── BundleError
    └── OptionalDependencyError (also an ImportError)

Catch `PocketColbertError` to catch them all. `TruncationWarning` and `LanguageWarning` are
the warnings.
"""

from __future__ import annotations


class PocketColbertError(Exception):
    """Base of all errors of this package."""


class InvalidInputError(PocketColbertError, ValueError):
    """An argument breaks a rule; the message gives the rule, the value and the next step."""


class DuplicateIdError(InvalidInputError):
    """A document id is given twice, or is already in the index."""


class DocumentNotFoundError(PocketColbertError, LookupError):
    """No document has that id; the message names the id and where it was looked for."""


class ClosedError(PocketColbertError):
    """An index, a backend or a server was used after it was closed; open it again."""


class UnsupportedError(InvalidInputError):
    """A backend's engine cannot do what was asked; the message says what to do instead."""


class CorpusError(PocketColbertError):
    """A file or folder of documents, queries or judgements cannot be read."""


class ModelError(PocketColbertError):
    """A model folder cannot be used."""


class ModelNotFoundError(ModelError):
    """No model folder is at that path, under that bundled name or at that hub id."""


class ModelFormatError(ModelError):
    """A model folder is incomplete, damaged, of another version, or not what its recipe says."""


class ProviderError(PocketColbertError):
    """An onnxruntime execution provider was asked for that is not available or does not start."""


class IndexFolderError(PocketColbertError):
    """An index folder cannot be used."""


class IndexNotFoundError(IndexFolderError):
    """No index is at that path."""


class IndexExistsError(IndexFolderError):
    """Something is already at the path a new index was to be written to."""


class IndexFormatError(IndexFolderError):
    """An index folder is incomplete, damaged, of another version, or not what it says it is."""


class IndexConflictError(IndexFolderError):
    """The index changed on disk under a writer, or it was opened read-only."""


class IndexLockedError(IndexConflictError):
    """Another writer has the index open; the message names it."""


class BackendError(PocketColbertError):
    """A backend on another engine is out of reach, incomplete, or answers in an unexpected way."""


class BackendNotFoundError(BackendError):
    """Nothing has been pushed to that address."""


class ClusterError(PocketColbertError):
    """Ray cannot be reached, no worker fits, or one failed for a reason of its own."""


class BundleError(PocketColbertError):
    """A deployment package cannot be made, is too large, or does not answer as it must."""


class OptionalDependencyError(PocketColbertError, ImportError):
    """A feature needs an extra that is not installed; the message has the pip line."""

    @classmethod
    def of(cls, what: str, extra: str) -> OptionalDependencyError:
        """Build the error for feature `what`, which `extra` brings."""
        return cls(f"{what} needs the {extra!r} extra: pip install 'pocket-colbert[{extra}]'.")


class LanguageWarning(UserWarning):
    """A text is in a language that the model was not made for; keywords rank it."""


class TruncationWarning(UserWarning):
    """A text was longer than the model's window and its end was not encoded."""
