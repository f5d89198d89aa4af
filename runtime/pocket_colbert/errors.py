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
    """Base of all errors of this package.

    Examples:
        >>> from pocket_colbert import Index, PocketColbertError
        >>> try:
        ...     Index.load("none.index")
        ... except PocketColbertError as error:
        ...     print(type(error).__name__)
        IndexNotFoundError
    """


class InvalidInputError(PocketColbertError, ValueError):
    """An argument breaks a rule; the message gives the rule, the value and the next step.

    Examples:
        >>> from pocket_colbert import Splitting
        >>> Splitting(overlap=-1)
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.InvalidInputError: overlap must be a whole ...
    """


class DuplicateIdError(InvalidInputError):
    """A document id is given twice, or is already in the index.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add(["one", "two"], ids=["a", "a"])
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.DuplicateIdError: document id 'a' is given ...
    """


class DocumentNotFoundError(PocketColbertError, LookupError):
    """No document has that id; the message names the id and where it was looked for.

    Examples:
        >>> from pocket_colbert import Index
        >>> Index(dim=96).get("none")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.DocumentNotFoundError: no document 'none' in the index.
    """


class ClosedError(PocketColbertError):
    """An index, a backend or a server was used after it was closed; open it again.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.close()
        >>> notes.search("bees")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.ClosedError: the collection is closed; open it again.
    """


class UnsupportedError(InvalidInputError):
    """A backend's engine cannot do what was asked; the message says what to do instead.

    Examples:
        >>> from pocket_colbert import InvalidInputError, UnsupportedError
        >>> issubclass(UnsupportedError, InvalidInputError)
        True
    """


class CorpusError(PocketColbertError):
    """A file or folder of documents, queries or judgements cannot be read.

    Examples:
        >>> from pocket_colbert import Collection
        >>> Collection(model="tiny").add_files("no-folder")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.CorpusError: there is no file or folder no-folder.
    """


class ModelError(PocketColbertError):
    """A model folder cannot be used.

    Examples:
        >>> from pocket_colbert import Encoder, ModelError
        >>> try:
        ...     Encoder.load("no-model")
        ... except ModelError as error:
        ...     print(type(error).__name__)
        ModelNotFoundError
    """


class ModelNotFoundError(ModelError):
    """No model folder is at that path, under that bundled name or at that hub id.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> Encoder.load("no-model")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.ModelNotFoundError: no model 'no-model': it is ...
    """


class ModelFormatError(ModelError):
    """A model folder is incomplete, damaged, of another version, or not what its recipe says.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import Encoder
        >>> Path("empty-model").mkdir()
        >>> Encoder.load("empty-model")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.ModelFormatError: empty-model has no ...
    """


class ProviderError(PocketColbertError):
    """An onnxruntime execution provider was asked for that is not available or does not start.

    Examples:
        >>> from pocket_colbert import Encoder
        >>> Encoder.load("tiny", provider="coreml")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.ProviderError: execution provider ...
    """


class IndexFolderError(PocketColbertError):
    """An index folder cannot be used.

    Examples:
        >>> from pocket_colbert import Index, IndexFolderError
        >>> try:
        ...     Index.load("none.index")
        ... except IndexFolderError as error:
        ...     print(type(error).__name__)
        IndexNotFoundError
    """


class IndexNotFoundError(IndexFolderError):
    """No index is at that path.

    Examples:
        >>> from pocket_colbert import Index
        >>> Index.load("none.index")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.IndexNotFoundError: no index at none.index: it ...
    """


class IndexExistsError(IndexFolderError):
    """Something is already at the path a new index was to be written to.

    Examples:
        >>> from pocket_colbert import Index, IndexConfig
        >>> Index.create("bees.index", IndexConfig(dim=96)).close()
        >>> Index.create("bees.index", IndexConfig(dim=96))
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.IndexExistsError: bees.index already exists and ...
    """


class IndexFormatError(IndexFolderError):
    """An index folder is incomplete, damaged, of another version, or not what it says it is.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import Index, IndexConfig
        >>> Index.create("bees.index", IndexConfig(dim=96)).close()
        >>> Path("bees.index/manifest.json").write_text("{}")
        2
        >>> Index.load("bees.index")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.IndexFormatError: bees.index/manifest.json is ...
    """


class IndexConflictError(IndexFolderError):
    """The index changed on disk under a writer, or it was opened read-only.

    Examples:
        >>> from pocket_colbert import Index, IndexConfig
        >>> Index.create("bees.index", IndexConfig(dim=96)).close()
        >>> Index.load("bees.index").delete(["d1"])  # opened for reading
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.IndexConflictError: bees.index was opened ...
    """


class IndexLockedError(IndexConflictError):
    """Another writer has the index open; the message names it.

    Examples:
        >>> from pocket_colbert import Index, IndexConfig
        >>> writer = Index.create("bees.index", IndexConfig(dim=96))
        >>> Index.load("bees.index", writable=True)
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.IndexLockedError: bees.index is being written ...
    """


class BackendError(PocketColbertError):
    """A backend on another engine is out of reach, incomplete, or answers in an unexpected way.

    Examples:
        >>> from pocket_colbert import BackendError, PocketColbertError
        >>> issubclass(BackendError, PocketColbertError)
        True
    """


class BackendNotFoundError(BackendError):
    """Nothing has been pushed to that address.

    Examples:
        >>> from pocket_colbert import BackendError, BackendNotFoundError
        >>> issubclass(BackendNotFoundError, BackendError)
        True
    """


class ClusterError(PocketColbertError):
    """Ray cannot be reached, no worker fits, or one failed for a reason of its own.

    Examples:
        >>> from pocket_colbert import ClusterError, PocketColbertError
        >>> issubclass(ClusterError, PocketColbertError)
        True
    """


class BundleError(PocketColbertError):
    """A deployment package cannot be made, is too large, or does not answer as it must.

    Examples:
        >>> from pocket_colbert import BundleError, PocketColbertError
        >>> issubclass(BundleError, PocketColbertError)
        True
    """


class OptionalDependencyError(PocketColbertError, ImportError):
    """A feature needs an extra that is not installed; the message has the pip line.

    Examples:
        >>> from pocket_colbert import OptionalDependencyError
        >>> raise OptionalDependencyError.of("reading PDF", "files")
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.OptionalDependencyError: reading PDF needs the ...
    """

    @classmethod
    def of(cls, what: str, extra: str) -> OptionalDependencyError:
        """Build the error for feature `what`, which `extra` brings."""
        return cls(f"{what} needs the {extra!r} extra: pip install 'pocket-colbert[{extra}]'.")


class LanguageWarning(UserWarning):
    """A text is in a language that the model was not made for; keywords rank it.

    Examples:
        >>> import warnings
        >>> from pocket_colbert import Collection, LanguageWarning
        >>> notes = Collection(model="tiny")
        >>> notes.add("The landlord repairs the roof.")
        1
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", LanguageWarning)
        ...     found = notes.search("кто ремонтирует крышу?")
    """


class TruncationWarning(UserWarning):
    """A text was longer than the model's window and its end was not encoded.

    Examples:
        >>> import warnings
        >>> from pocket_colbert import Encoder, TruncationWarning
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     encoded = Encoder.load("tiny").encode_document(["Bees swarm in May. " * 200])
        >>> encoded.truncated, caught[0].category is TruncationWarning
        (True, True)
    """
